//! docs/protocol.md says what the code does: its tables of limits and frames, row by row.

use std::collections::BTreeMap;

use causeway_wire::Limits;
use causeway_wire::limits::{
    CATALOG_PART, CHUNK, EDGE_WINDOW, MAX_CONNECTIONS, MAX_HEADER, MAX_HEADERS, MAX_HELD_FRAMES, MAX_MESSAGE, MAX_MISS,
    MAX_REPLY, MAX_TARGET, MAX_TOMBSTONES, ORPHAN_POOL, RELAY_WINDOW, STREAM_BUFFER, SUBPROTOCOL, TOTAL_BUFFER,
};

const PAGE: &str = include_str!("../../../docs/protocol.md");

/// Rows `| name | value | …` of the table whose head begins like this.
fn table(head: &str) -> BTreeMap<String, String> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[2].trim_matches('`').to_owned())
    })
    .collect()
}

fn expected<const N: usize>(rows: [(&str, u128); N]) -> BTreeMap<String, String> {
    rows.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect()
}

#[test]
fn the_limits_of_a_welcome_are_the_standalone_ones() {
    let limits = Limits::STANDALONE;
    let rows = [
        ("max_message", limits.max_message as u128),
        ("flush_ms", limits.flush.as_millis()),
        ("load_ms", limits.load_interval.as_millis()),
        ("ping_idle_ms", limits.ping_idle.as_millis()),
        ("ping_busy_ms", limits.ping_busy.as_millis()),
        ("floor_ms", limits.liveness_floor.as_millis()),
        ("rto_min_ms", limits.rto_min.as_millis()),
        ("reorder_ms", limits.reorder.as_millis()),
        ("ack_delay_ms", limits.ack_delay.as_millis()),
        ("open_resend_ms", limits.open_resend.as_millis()),
        ("resume_ms", limits.resume_window.as_millis()),
        ("stream_max_ms", limits.stream_max.as_millis()),
    ];
    assert_eq!(table("| field of `welcome` |"), expected(rows));
}

#[test]
fn the_fixed_limits_are_those_of_the_code() {
    let rows = [
        ("MAX_HEADER", MAX_HEADER as u128),
        ("MAX_MESSAGE", MAX_MESSAGE as u128),
        ("CHUNK", CHUNK as u128),
        ("MAX_TARGET", MAX_TARGET as u128),
        ("MAX_HEADERS", MAX_HEADERS as u128),
        ("MAX_REPLY", MAX_REPLY as u128),
        ("MAX_HELD_FRAMES", MAX_HELD_FRAMES as u128),
        ("MAX_MISS", MAX_MISS as u128),
        ("EDGE_WINDOW", u128::from(EDGE_WINDOW)),
        ("RELAY_WINDOW", u128::from(RELAY_WINDOW)),
        ("STREAM_BUFFER", STREAM_BUFFER as u128),
        ("TOTAL_BUFFER", TOTAL_BUFFER as u128),
        ("ORPHAN_POOL", ORPHAN_POOL as u128),
        ("MAX_TOMBSTONES", MAX_TOMBSTONES as u128),
        ("CATALOG_PART", CATALOG_PART as u128),
        ("MAX_CONNECTIONS", u128::from(MAX_CONNECTIONS)),
    ];
    assert_eq!(table("| constant |"), expected(rows));
    assert!(PAGE.starts_with(&format!("# The link protocol, `{SUBPROTOCOL}`")));
}

#[test]
fn the_frame_table_names_every_type_that_is_read_and_no_other() {
    // The types of rare frames are written by the encoder, those of the others by their headers.
    let encoder = include_str!("../src/frame/codec/encoder.rs").split(['(', ' ', '\n']);
    let rare = encoder.filter_map(|word| word.strip_prefix('"')?.strip_suffix("\","));
    let headers = include_str!("../src/frame/codec/headers.rs").lines();
    let own = headers.filter_map(|line| line.split_once("tag = \"type\", rename = \"")?.1.strip_suffix("\")]"));
    let lower = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase());
    let mut written: Vec<&str> = rare.chain(own).filter(lower).collect();
    written.sort_unstable();
    let rows = PAGE.lines().skip_while(|line| !line.starts_with("| direction | `type` |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut shown: Vec<&str> = rows.map(|row| row.split('|').nth(2).unwrap().trim().trim_matches('`')).collect();
    shown.sort_unstable();
    assert_eq!(shown, written);
}
