//! Progress on standard error; the table, ready for docs/performance.md, on standard output.
//!
//! Invariant: a figure that was not measured is a dash, never a guess.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use crate::compare::{Sizes, Table, Way};
use crate::endurance::{Drain, Memory, Tally};

/// Everything of one run; `--json` writes it as it is.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) sizes: Sizes,
    pub(crate) haproxy: String,
    pub(crate) cores: usize,
    /// Every round's value, by way and figure; times in ms.
    pub(crate) rounds: Table,
    pub(crate) memory: Option<Memory>,
    pub(crate) resets: Option<Tally>,
    pub(crate) drain: Option<Drain>,
}

/// A line on standard error.
pub(crate) fn progress(line: &str) {
    // Nothing can be done about a closed terminal.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Text on standard output.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

pub(crate) fn number(value: f64, digits: usize) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{value:.digits$}") }
}

/// The markdown tables.
pub(crate) fn markdown(report: &Report) -> String {
    let table = &report.rounds;
    let mut out = String::from(
        "| figure | direct | haproxy pair | Causeway | Causeway ÷ pair | must | aim |\n|---|---|---|---|---|---|---|\n",
    );
    let mut row = |name: &str, values: [f64; 3], digits: usize, ratio: f64, must: &str, aim: &str| {
        let [direct, pair, own] = values.map(|value| number(value, digits));
        let _ = writeln!(out, "| {name} | {direct} | {pair} | {own} | {} | {must} | {aim} |", number(ratio, 2));
    };
    let figures = |name: &str| Way::ALL.map(|way| table.figure(way, name));
    let added = |name: &str| {
        [table.figure(Way::Direct, name), table.added(Way::Haproxy, name), table.added(Way::Causeway, name)]
    };
    let name = "single_first_p50";
    row(
        "first token, 1 caller, p50, ms (added over direct)",
        added(name),
        3,
        table.added_ratio(name),
        "≤ 2.0 ×",
        "≤ 1.1 ×",
    );
    let name = "single_whole_p99";
    row("whole 16-token answer, p99, ms", figures(name), 3, table.ratio(name), "≤ 1.0 ×", "≤ 0.5 ×");
    row("whole 16-token answer, p50, ms", figures("single_whole_p50"), 3, table.ratio("single_whole_p50"), "", "");
    row("gap between tokens, 1 caller, p99, ms", figures("single_gap_p99"), 3, table.ratio("single_gap_p99"), "", "");
    let cpu = ["CPU µs a request, client and stand-in", "CPU µs a request, what lies between"];
    for (what, suffix, must, aim) in [
        ("tokens written together by the stand-in", "", "≥ 0.5 ×", "≥ 1.0 ×"),
        ("each token written by itself", "_apart", "≥ 0.5 ×", "≥ 1.0 ×"),
    ] {
        let [rate, ends, between] =
            ["requests_per_second", "ends_cpu_us", "between_cpu_us"].map(|name| format!("{name}{suffix}"));
        let name = format!("non-stream requests/s, 32 callers, {what}");
        row(&name, figures(&rate), 0, table.ratio(&rate), must, aim);
        row(cpu[0], figures(&ends), 1, f64::NAN, "", "");
        row(cpu[1], figures(&between), 1, table.ratio(&between), "", "");
    }
    let name = "streams_gap_p99";
    row("200 streams × 20 tokens/s: gap p99, ms (added over direct)", added(name), 2, f64::NAN, "≤ 5 ms", "≤ 1 ms");
    let name = "streams_first_p99";
    row(
        "200 streams begun at once: first token p99, ms (all rounds pooled)",
        figures(name),
        1,
        table.ratio(name),
        "≤ 0.3 ×",
        "≤ 0.12 ×",
    );
    row(
        "200 streams begun at once: first token p50, ms",
        figures("streams_first_p50"),
        1,
        table.ratio("streams_first_p50"),
        "",
        "",
    );
    row("cancel seen by Ollama, p50, ms", figures("cancel_p50"), 2, table.ratio("cancel_p50"), "≤ 2 ms", "≤ 0.8 ms");
    row(
        "cancel seen by Ollama, p99, ms (all rounds pooled)",
        figures("cancel_p99"),
        2,
        table.ratio("cancel_p99"),
        "≤ 10 ms",
        "≤ 2 ms",
    );
    endurance(report, &mut out);
    out
}

fn endurance(report: &Report, out: &mut String) {
    out.push_str("\n| figure | Causeway | must | aim |\n|---|---|---|---|\n");
    if let Some(memory) = &report.memory {
        let Memory { daemon_idle, relay_idle, daemon_streams, relay_streams, .. } = memory;
        let _ = writeln!(
            out,
            "| daemon RSS idle / 200 streams, MB | {daemon_idle:.1} / {daemon_streams:.1} | ≤ 20 / ≤ 60 | ≤ 12 / ≤ 40 |"
        );
        let _ = writeln!(out, "| relay RSS idle / 200 streams, MB | {relay_idle:.1} / {relay_streams:.1} | | |");
        let (daemon, relay) = (memory.daemon_late - memory.daemon_early, memory.relay_late - memory.relay_early);
        let _ = writeln!(
            out,
            "| RSS after {} requests over after {}, MB: daemon, relay | {daemon:+.2} ({:.1}), {relay:+.2} ({:.1}) | ≤ +2 | |",
            memory.late, memory.early, memory.daemon_late, memory.relay_late
        );
    }
    if let Some(tally) = &report.resets {
        let Tally { answers, lost, repeated, altered, refused, connections_reset, gap_p99_ms, gap_max_ms } = tally;
        let _ = writeln!(
            out,
            "| link reset every 2 s for 60 s ({connections_reset} connections), {answers} requests for answers of 10 s: lost, repeated, altered; refused before they began | {lost}, {repeated}, {altered}; {refused} | 0 | |"
        );
        let _ = writeln!(out, "| the same: gap p99 / max, ms | {gap_p99_ms:.0} / {gap_max_ms:.0} | ≤ 2000 | ≤ 600 |");
    }
    if let Some(Drain { streams, cut_by_daemon, cut_by_relay }) = &report.drain {
        let _ = writeln!(
            out,
            "| SIGTERM with {streams} streams, cut: daemon, relay | {cut_by_daemon}, {cut_by_relay} | 0 | |"
        );
    }
}
