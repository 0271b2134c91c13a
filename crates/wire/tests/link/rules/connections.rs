//! Rules: loss, silence, rotation and restarts.

use std::time::Duration;

use causeway_wire::{Code, Frame, Input, Scope, StreamId};

use super::{edge_link, said, up};
use crate::hand::{Hand, open_for};
use crate::net::Way;
use crate::script::Script;
use crate::world::{Plan, Verdict, ms, stream_id};

#[test]
fn a_silent_connection_with_work_is_pinged_after_one_second_and_dead_after_two() {
    let mut world = up(30);
    world.open(0, Script::plain(b"{}", 8_000, 10, 10));
    world.run_for(ms(1_000));
    let before = world.calls[&0].received;
    world.net.wires.values_mut().for_each(|wire| wire.silent = true);
    world.run_for(ms(2_700));
    assert!(world.calls[&0].received > before, "{:?}", world.events);
    world.run_for(ms(20_000));
    assert_eq!(world.calls[&0].verdict, Some(Verdict::Whole));
    assert!(world.calls[&0].gap < ms(2_600), "gap {:?}", world.calls[&0].gap);
    world.judge_rest();
}

#[test]
fn one_of_two_dying_connections_costs_no_pause() {
    let mut world = up(31);
    world.open(0, Script::plain(b"{}", 3_000, 10, 10));
    for _ in 0..2 {
        world.run_for(ms(1_200));
        world.carry_out(Plan::ResetOne);
        world.drain();
    }
    world.run_for(ms(5_000));
    assert_eq!(world.calls[&0].verdict, Some(Verdict::Whole));
    assert!(world.calls[&0].gap < ms(60), "gap {:?}", world.calls[&0].gap);
    world.judge_rest();
}

#[test]
fn rotation_makes_before_it_breaks_and_nobody_notices() {
    let mut world = up(32);
    world.open(0, Script::plain(b"{}", 6_000, 10, 10));
    world.run_for(ms(500));
    world.record = true;
    world.carry_out(Plan::Rotate);
    world.drain();
    world.run_for(ms(3_000));
    let goodbyes = said(&mut world, Way::ToRelay).into_iter();
    assert_eq!(goodbyes.filter(|frame| *frame == Frame::Goodbye { scope: Scope::Connection }).count(), 2);
    assert_eq!(edge_link(&mut world).status().connections, 2);
    assert_eq!(world.net.wires.len(), 2, "the old ones are closed");
    world.run_for(ms(9_000));
    assert_eq!(world.calls[&0].verdict, Some(Verdict::Whole));
    assert!(world.calls[&0].gap < ms(60), "gap {:?}", world.calls[&0].gap);
    assert!(!world.events.iter().any(|event| event.contains("Down")), "{:?}", world.events);
}

#[test]
fn every_connection_rotates_between_90_and_110_minutes() {
    let mut world = up(33);
    let first: Vec<u64> = world.net.wires.keys().copied().collect();
    world.run_for(Duration::from_secs(89 * 60));
    assert!(first.iter().all(|wire| world.net.wires.contains_key(wire)));
    world.run_for(Duration::from_secs(22 * 60));
    assert!(first.iter().all(|wire| !world.net.wires.contains_key(wire)));
    assert_eq!(edge_link(&mut world).status().connections, 2);
}

#[test]
fn a_goaway_of_one_connection_replaces_it() {
    let mut hand = Hand::edge();
    let old = hand.up();
    let goaway = Frame::Goaway { scope: Scope::Connection, reason: "x".to_owned(), reconnect_in_ms: Some((500, 500)) };
    hand.message(old, &goaway);
    assert!(hand.dials.is_empty());
    hand.run_for(ms(501), old, |_, _| {});
    let new = hand.dials.pop().expect("a replacement is dialled");
    hand.take(new, Input::Connected(new));
    assert!(hand.out(old).is_empty(), "no goodbye before the welcome");
    hand.message(new, &Frame::Welcome(hand.welcome(1)));
    assert!(hand.out(old).contains(&Frame::Goodbye { scope: Scope::Connection }));
    hand.run_for(ms(10_001), new, |_, _| {});
    assert!(hand.closes.contains(&(old, 1000, "replaced")));
}

#[test]
fn a_restarted_relay_means_that_the_callers_are_gone() {
    let mut world = up(34);
    world.open(0, Script::plain(b"{}", 60_000, 10, 10));
    world.run_for(ms(1_000));
    world.carry_out(Plan::RestartRelay);
    world.drain();
    world.run_for(ms(5_000));
    assert!(world.jobs.values().all(|job| job.stopped && job.released.is_some()));
    assert_eq!(edge_link(&mut world).status().connections, 2);
    world.open(1, Script::plain(b"{}", 100, 10, 10));
    world.run_for(ms(5_000));
    assert_eq!(world.calls[&1].verdict, Some(Verdict::Whole));
}

#[test]
fn a_restarted_edge_fails_the_old_streams_at_once() {
    let mut world = up(35);
    world.open(0, Script::plain(b"{}", 60_000, 10, 10));
    world.run_for(ms(1_000));
    world.carry_out(Plan::RestartEdge);
    world.drain();
    world.run_for(ms(2_000));
    assert_eq!(world.calls[&0].verdict, Some(Verdict::Failed(Code::LinkLost)));
    world.open(1, Script::plain(b"{}", 100, 10, 10));
    world.run_for(ms(3_000));
    assert_eq!(world.calls[&1].verdict, Some(Verdict::Whole));
    world.judge_rest();
}

#[test]
fn a_superseded_edge_stops_its_streams_and_does_not_dial_for_five_minutes() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    hand.message(conn, &open_for(&hand, stream_id(0)));
    hand.out(conn);
    hand.message(conn, &Frame::Goaway { scope: Scope::Link, reason: "superseded".to_owned(), reconnect_in_ms: None });
    hand.closed(conn);
    assert_eq!((hand.superseded, hand.released.len()), (1, 1));
    hand.run_for(Duration::from_secs(299), conn, |_, _| {});
    assert!(hand.dials.is_empty());
    hand.run_for(Duration::from_secs(2), conn, |_, _| {});
    assert_eq!(hand.dials.len(), 1);
}

#[test]
fn a_draining_relay_says_goaway_and_its_streams_live_on() {
    let mut world = up(36);
    world.open(0, Script::plain(b"{}", 3_000, 10, 10));
    world.run_for(ms(500));
    let now = world.net.now;
    world.relay[0].1.drain(now);
    world.drain();
    world.run_for(ms(100));
    assert!(edge_link(&mut world).status().draining);
    world.open(1, Script::plain(b"{}", 100, 10, 10));
    assert!(!world.calls.contains_key(&1));
    world.run_for(ms(5_000));
    assert_eq!(world.calls[&0].verdict, Some(Verdict::Whole));
}

#[test]
fn an_outage_longer_than_the_resume_window_ends_both_sides() {
    let mut world = up(37);
    world.open(0, Script::plain(b"{}", 60_000, 10, 10));
    world.run_for(ms(1_000));
    world.carry_out(Plan::Cut(true));
    world.drain();
    world.run_for(ms(59_000));
    assert_eq!(world.calls[&0].verdict, None);
    world.run_for(ms(2_000));
    assert_eq!(world.calls[&0].verdict, Some(Verdict::Failed(Code::LinkLost)));
    world.judge_rest();
}

#[test]
fn both_connections_reset_every_two_seconds_lose_repeat_and_alter_nothing() {
    let mut world = up(38);
    for call in 0..100 {
        world.open(call, Script::plain(b"{\"model\":\"m\"}", 10_000, 20, 20));
    }
    for _ in 0..30 {
        world.run_for(ms(2_000));
        world.carry_out(Plan::ResetAll);
        world.drain();
    }
    world.run_for(ms(30_000));
    world.judge_rest();
    assert!(world.calls.values().all(|call| call.verdict == Some(Verdict::Whole)));
    let mut gaps: Vec<Duration> = world.calls.values().flat_map(|call| call.gaps.iter().copied()).collect();
    gaps.sort_unstable();
    let longest = *gaps.last().unwrap();
    assert!(longest <= ms(2_000), "longest gap {longest:?}");
    assert!(gaps[gaps.len() * 99 / 100] <= ms(600), "p99 {:?}", gaps[gaps.len() * 99 / 100]);
}

#[test]
fn a_link_without_a_connection_for_the_resume_window_is_dead() {
    let mut hand = Hand::relay();
    let conn = hand.up();
    assert!(!hand.link.is_dead(hand.now));
    hand.closed(conn);
    assert!(!hand.link.is_dead(hand.now + ms(59_999)));
    assert!(hand.link.is_dead(hand.now + ms(60_000)));
}

#[test]
fn ids_of_streams_sort_by_their_time() {
    assert!(StreamId::new(1, u128::MAX) < StreamId::new(2, 0));
    let id = stream_id(7);
    assert_eq!(id.to_string().parse(), Ok(id));
}
