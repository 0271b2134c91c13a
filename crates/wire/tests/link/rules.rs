//! The rules of a link: what the two ends say to each other beside their streams.

use std::time::Duration;

use bytes::Bytes;
use causeway_wire::limits::{FINAL_ACK_DELAY, ORPHAN_POOL, TOTAL_BUFFER};
use causeway_wire::{
    Code, ConnId, DialFailure, Frame, Head, Input, Link, Load, ModelInfo, ModelLoad, OpenRefused, Scope, StreamId,
    encode,
};

use crate::hand::{Hand, open_for};
use crate::happy::quiet;
use crate::net::Way;
use crate::script::Script;
use crate::world::{Plan, Verdict, World, ms, stream_id};

fn up(seed: u64) -> World {
    let mut world = World::new(seed, quiet());
    world.run_for(ms(1_000));
    world
}

fn edge_link(world: &mut World) -> &mut Link {
    &mut world.edge.as_mut().unwrap().link
}

/// The frames of one way since the last call, without pings and pongs.
fn said(world: &mut World, way: Way) -> Vec<Frame> {
    let frames = std::mem::take(&mut world.frames);
    let frames = frames.into_iter().filter(|(_, of, _)| *of == way).map(|(_, _, frame)| frame);
    frames.filter(|frame| !matches!(frame, Frame::Ping { .. } | Frame::Pong { .. })).collect()
}

// Greeting.

#[test]
fn hello_is_said_first_again_after_two_and_four_seconds_and_nothing_else_before_welcome() {
    let mut hand = Hand::edge();
    let conn = hand.connect();
    hand.link.set_catalog(hand.now, vec![ModelInfo::default()]);
    let start = hand.now;
    let mut said = Vec::new();
    hand.run_for(ms(9_900), conn, |at, frame| said.push((at - start, matches!(frame, Frame::Hello(_)))));
    assert_eq!(said, [(ms(0), true), (ms(2_000), true), (ms(4_000), true)]);
    assert!(hand.closes.is_empty());
    hand.run_for(ms(200), conn, |_, _| {});
    assert_eq!(hand.closes, [(conn, 1002, "no welcome")]);
    hand.closed(conn);
    hand.run_for(ms(600), conn, |_, _| {});
    assert_eq!(hand.dials.len(), 1, "it dials again");
}

#[test]
fn a_hello_with_another_edge_name_closes_the_connection() {
    let mut hand = Hand::relay();
    hand.take(ConnId(9), Input::Connected(ConnId(9)));
    let mut hello = hand.hello();
    hello.edge = "other".to_owned();
    hand.message(ConnId(9), &Frame::Hello(hello));
    assert_eq!(hand.closes, [(ConnId(9), 1008, "wrong edge name")]);
}

#[test]
fn a_later_smaller_welcome_closes_that_connection() {
    let mut hand = Hand::edge();
    let first = hand.connect();
    hand.message(first, &Frame::Welcome(hand.welcome(2)));
    let second = hand.dials.pop().expect("the relay wants two connections");
    hand.take(second, Input::Connected(second));
    let mut smaller = hand.welcome(2);
    smaller.max_message = 32_000;
    hand.message(second, &Frame::Welcome(smaller));
    assert_eq!(hand.closes, [(second, 1008, "limit_shrunk")]);
}

#[test]
fn text_that_is_no_frame_closes_the_connection_with_a_fault() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    hand.take(conn, Input::Message(conn, "{\"type\":\"shout\"}"));
    assert_eq!(hand.closes, [(conn, 1002, "protocol error")]);
    assert_eq!(hand.faults.len(), 1);
}

// Streams nobody knows.

#[test]
fn a_cancel_before_its_open_keeps_the_request_from_running() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let id = stream_id(1);
    hand.message(conn, &Frame::Cancel { stream: id, reason: "gone".to_owned() });
    assert!(matches!(&hand.out(conn)[..], [Frame::Fail { failure, .. }] if failure.code == Code::Cancelled));
    hand.message(conn, &open_for(&hand, id));
    assert!(matches!(&hand.out(conn)[..], [Frame::Fail { failure, .. }] if failure.code == Code::Cancelled));
    assert_eq!(hand.incoming, 0);
}

#[test]
fn an_ended_stream_leaves_a_tombstone_that_acknowledges_and_never_runs() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let id = stream_id(1);
    let open = open_for(&hand, id);
    hand.message(conn, &open);
    hand.link.finish(hand.now, id, None);
    hand.out(conn);
    hand.message(conn, &Frame::Ack { stream: id, next: 1, limit: 0, miss: vec![], reply: None });
    assert_eq!(hand.released, [id]);
    hand.message(conn, &open);
    assert!(matches!(&hand.out(conn)[..], [Frame::Ack { next: 1, .. }]));
    assert_eq!(hand.incoming, 1);
}

#[test]
fn tombstones_fade_after_twice_the_resume_window() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let id = stream_id(1);
    hand.message(conn, &Frame::Cancel { stream: id, reason: "gone".to_owned() });
    hand.now += ms(120_001);
    hand.link.handle_timeout(hand.now);
    hand.drain();
    let conn = hand.up();
    hand.message(conn, &open_for(&hand, id));
    assert_eq!(hand.incoming, 1);
}

#[test]
fn data_before_its_open_waits_and_is_delivered_in_order() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let id = stream_id(1);
    let Frame::Open { stream, open, .. } = open_for(&hand, id) else { panic!("an open") };
    hand.message(conn, &Frame::End { stream: id, seq: 1, body: Bytes::from_static(b"b"), outcome: None, reply: None });
    hand.message(conn, &Frame::Open { stream, open, body: Bytes::from_static(b"a"), fin: false });
    assert_eq!(hand.link.recv(hand.now, id).unwrap(), "a");
    assert_eq!(hand.link.recv(hand.now, id).unwrap(), "b");
    assert_eq!(hand.incoming, 1);
}

#[test]
fn data_whose_open_does_not_come_is_refused_after_five_seconds_for_good() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let id = stream_id(1);
    hand.message(conn, &Frame::Data { stream: id, seq: 1, body: Bytes::from_static(b"x"), reply: None });
    let (start, mut refused) = (hand.now, Vec::new());
    hand.run_for(ms(5_500), conn, |at, frame| {
        if let Frame::Fail { failure, .. } = frame {
            refused.push((at - start, failure.code));
        }
    });
    assert_eq!(refused, [(ms(5_000), Code::UnknownStream)]);
    hand.message(conn, &open_for(&hand, id));
    assert!(matches!(&hand.out(conn)[..], [Frame::Fail { .. }]));
    assert_eq!(hand.incoming, 0);
}

#[test]
fn orphans_never_hold_more_than_their_pool() {
    let mut hand = Hand::edge_with(100);
    let conn = hand.up();
    let body = Bytes::from(vec![b'x'; 200_000]);
    for call in 0..40 {
        hand.message(conn, &Frame::Data { stream: stream_id(call), seq: 1, body: body.clone(), reply: None });
    }
    let mut held = 0;
    for call in 0..40 {
        let stream = stream_id(call);
        let open = Box::new(hand.open());
        hand.message(conn, &Frame::Open { stream, open, body: Bytes::new(), fin: false });
        held += hand.link.recv(hand.now, stream).map_or(0, |body| body.len());
    }
    assert!(held > 0 && held <= ORPHAN_POOL, "{held}");
}

#[test]
fn the_relay_cancels_streams_that_it_does_not_know_and_acknowledges_their_ends() {
    let mut hand = Hand::relay();
    let conn = hand.up();
    let (stream, reply) = (stream_id(1), None);
    hand.message(conn, &Frame::Data { stream, seq: 4, body: Bytes::from_static(b"x"), reply: None });
    assert!(matches!(&hand.out(conn)[..], [Frame::Cancel { reason, .. }] if reason == "unknown_stream"));
    hand.message(conn, &Frame::End { stream, seq: 9, body: Bytes::new(), outcome: None, reply });
    assert!(matches!(&hand.out(conn)[..], [Frame::Ack { next: 10, .. }]));
}

// Refusals.

#[test]
fn a_request_for_another_run_of_the_edge_is_refused_as_retryable() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let Frame::Open { stream, mut open, body, fin } = open_for(&hand, stream_id(1)) else { panic!("an open") };
    open.edge_instance = causeway_wire::InstanceId::new(999);
    hand.message(conn, &Frame::Open { stream, open, body, fin });
    let out = hand.out(conn);
    assert!(
        matches!(&out[..], [Frame::Fail { failure, .. }] if failure.code == Code::WrongInstance && failure.retryable)
    );
    assert_eq!(hand.incoming, 0);
}

#[test]
fn a_draining_edge_says_goodbye_refuses_new_requests_and_finishes_old_ones() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    hand.message(conn, &open_for(&hand, stream_id(1)));
    hand.out(conn);
    hand.link.drain(hand.now);
    assert_eq!(hand.out(conn), [Frame::Goodbye { scope: Scope::Link }]);
    hand.message(conn, &open_for(&hand, stream_id(2)));
    let out = hand.out(conn);
    assert!(matches!(&out[..], [Frame::Fail { failure, .. }] if failure.code == Code::Draining && failure.retryable));
    hand.link.finish(hand.now, stream_id(1), None);
    assert!(matches!(&hand.out(conn)[..], [Frame::End { .. }]));
    assert!(hand.link.status().draining);
}

#[test]
fn more_streams_than_the_edge_takes_are_refused_as_saturated() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    for call in 0..=4 {
        hand.message(conn, &open_for(&hand, stream_id(call)));
    }
    let refused = hand.out(conn).into_iter().filter_map(|frame| {
        let Frame::Fail { failure, stream, .. } = frame else { return None };
        Some((stream, failure.code, failure.retryable))
    });
    assert_eq!(refused.collect::<Vec<_>>(), [(stream_id(4), Code::Saturated, true)]);
    assert_eq!(hand.incoming, 4);
}

#[test]
fn the_relay_opens_nothing_offline_over_the_limit_or_too_long() {
    let mut hand = Hand::relay();
    let open = hand.open();
    let refused = |hand: &mut Hand, call, open| hand.link.open(hand.now, stream_id(call), open, Bytes::new(), true);
    assert_eq!(refused(&mut hand, 0, open.clone()), Err(OpenRefused::Offline));
    let conn = hand.up();
    let mut long = open.clone();
    long.path = "/".repeat(3_000);
    assert_eq!(refused(&mut hand, 0, long), Err(OpenRefused::TargetTooLong));
    let mut wide = open.clone();
    wide.headers = vec![("a".to_owned(), "b".repeat(4_096))];
    assert_eq!(refused(&mut hand, 0, wide), Err(OpenRefused::HeadersTooLong));
    let mut escaped = open.clone();
    escaped.headers = vec![("a".to_owned(), "\u{1}".repeat(2_000))];
    assert_eq!(refused(&mut hand, 0, escaped), Err(OpenRefused::HeadersTooLong));
    for call in 0..4 {
        assert_eq!(refused(&mut hand, call, open.clone()), Ok(()));
    }
    assert_eq!(refused(&mut hand, 5, open.clone()), Err(OpenRefused::Full));
    hand.message(conn, &Frame::Goodbye { scope: Scope::Link });
    assert_eq!(refused(&mut hand, 6, open), Err(OpenRefused::Offline));
}

// Order of sending.

#[test]
fn control_overtakes_queued_data_and_streams_take_turns() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    for call in 0..3 {
        hand.message(conn, &open_for(&hand, stream_id(call)));
    }
    hand.out(conn);
    for call in 0..3 {
        hand.link.send_head(hand.now, stream_id(call), Head { status: 200, headers: Vec::new() });
        hand.link.send(hand.now, stream_id(call), Bytes::from(vec![b'x'; 200_000])).unwrap();
    }
    hand.message(conn, &Frame::Ping { token: 7 });
    hand.message(conn, &Frame::Probe { stream: stream_id(2), reply: None });
    let order = hand.out(conn).into_iter().map(|frame| {
        if let Frame::Head { stream, .. } | Frame::Data { stream, .. } = frame {
            return (0..3).find(|call| stream_id(*call) == stream).unwrap().to_string();
        }
        let text = encode(&frame);
        text.split('"').nth(3).unwrap().to_owned()
    });
    let order: Vec<String> = order.take(8).collect();
    assert_eq!(order, ["pong", "ack", "0", "1", "2", "0", "1", "2"]);
}

/// A relay that was given a whole answer to each of these requests, and the answers taken.
fn answered(calls: std::ops::Range<u64>) -> (Hand, ConnId) {
    let mut hand = Hand::relay();
    let conn = hand.up();
    for call in calls {
        let open = hand.open();
        hand.link.open(hand.now, stream_id(call), open, Bytes::new(), true).unwrap();
    }
    hand.out(conn);
    (hand, conn)
}

fn end_of(call: u64) -> Frame {
    Frame::End { stream: stream_id(call), seq: 0, body: Bytes::new(), outcome: None, reply: None }
}

#[test]
fn the_last_ack_of_a_stream_goes_with_the_next_frame() {
    let (mut hand, conn) = answered(0..2);
    hand.message(conn, &end_of(0));
    assert!(!hand.link.wants_transmit(conn));
    assert!(hand.out(conn).is_empty());
    hand.link.cancel(hand.now, stream_id(1), "caller gone");
    assert!(matches!(hand.out(conn)[..], [Frame::Cancel { .. }, Frame::Ack { next: 1, .. }]));
}

#[test]
fn an_answer_is_undelivered_until_its_last_frame_is_acknowledged() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    hand.message(conn, &open_for(&hand, stream_id(0)));
    hand.link.finish(hand.now, stream_id(0), None);
    hand.out(conn);
    let status = hand.link.status();
    assert_eq!((status.streams, status.undelivered), (0, 1));
    hand.message(conn, &Frame::Ack { stream: stream_id(0), next: 1, limit: 1, miss: Vec::new(), reply: None });
    assert_eq!(hand.link.status().undelivered, 0);
}

#[test]
fn alone_the_last_ack_of_a_stream_waits_ten_milliseconds() {
    let (mut hand, conn) = answered(0..1);
    hand.message(conn, &end_of(0));
    let begun = hand.now;
    let mut acks = Vec::new();
    hand.run_for(Duration::from_secs(1), conn, |now, frame| {
        if let Frame::Ack { stream, .. } = frame {
            acks.push((now - begun, stream));
        }
    });
    assert_eq!(acks, [(FINAL_ACK_DELAY, stream_id(0))]);
}

#[test]
fn wants_transmit_says_when_there_is_something() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    assert!(!hand.link.wants_transmit(conn));
    hand.message(conn, &open_for(&hand, stream_id(0)));
    assert!(hand.link.wants_transmit(conn));
    hand.out(conn);
    assert!(!hand.link.wants_transmit(conn));
}

// Connections.

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
    assert!(world.jobs.values().all(|job| job.stopped && job.released));
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

// Dialling.

#[test]
fn five_refusals_in_a_row_wait_five_minutes_and_a_stated_time_wins() {
    let mut hand = Hand::edge();
    for _ in 0..5 {
        let conn = hand.next_dial();
        hand.take(conn, Input::DialFailed(conn, DialFailure::Refused));
    }
    hand.run_for(Duration::from_secs(299), ConnId(0), |_, _| {});
    assert!(hand.dials.is_empty());
    hand.run_for(Duration::from_secs(2), ConnId(0), |_, _| {});
    let conn = hand.dials.pop().expect("it tries again");
    hand.take(conn, Input::DialFailed(conn, DialFailure::RetryAfter(Duration::from_secs(77))));
    hand.run_for(Duration::from_secs(76), ConnId(0), |_, _| {});
    assert!(hand.dials.is_empty());
    hand.run_for(Duration::from_secs(2), ConnId(0), |_, _| {});
    assert_eq!(hand.dials.len(), 1);
}

#[test]
fn a_loss_after_a_success_is_followed_within_a_quarter_second() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    hand.message(conn, &Frame::Pong { token: 1 });
    hand.closed(conn);
    hand.run_for(ms(251), conn, |_, _| {});
    assert_eq!(hand.dials.len(), 1);
}

#[test]
fn more_than_ten_losses_a_minute_are_a_fault_and_hold_the_delay_at_one_second() {
    let mut hand = Hand::edge();
    for _ in 0..11 {
        let conn = hand.up();
        hand.message(conn, &Frame::Pong { token: 1 });
        hand.closed(conn);
    }
    assert_eq!(hand.faults.len(), 1);
    hand.run_for(ms(999), ConnId(0), |_, _| {});
    assert!(hand.dials.is_empty());
    hand.run_for(ms(2), ConnId(0), |_, _| {});
    assert_eq!(hand.dials.len(), 1);
    hand.take(hand.dials[0], Input::DialFailed(hand.dials[0], DialFailure::Unreachable));
    hand.dials.clear();
    hand.link.reconnect_now(hand.now);
    hand.drain();
    assert_eq!(hand.dials.len(), 1, "reconnect_now waits for nothing");
}

// Catalog, load, memory.

#[test]
fn a_catalog_of_many_parts_arrives_whole_and_only_when_it_changed() {
    let mut world = up(40);
    let model = |number: usize| ModelInfo { name: format!("model-{number}"), slots: 1, ..ModelInfo::default() };
    let models: Vec<ModelInfo> = (0..2_000).map(model).collect();
    let now = world.net.now;
    world.record = true;
    edge_link(&mut world).set_catalog(now, models.clone());
    world.drain();
    world.run_for(ms(100));
    let parts = said(&mut world, Way::ToRelay);
    assert!(
        parts.len() > 1
            && parts.iter().all(|frame| matches!(frame, Frame::Catalog { body, .. } if body.len() <= 24 * 1024))
    );
    let now = world.net.now;
    edge_link(&mut world).set_catalog(now, models.clone());
    world.drain();
    world.run_for(ms(100));
    assert_eq!(said(&mut world, Way::ToRelay), []);
    let mut hand = Hand::relay();
    let conn = hand.up();
    for part in parts.iter().rev().chain(&parts) {
        hand.message(conn, part);
    }
    assert_eq!(hand.catalogs.len(), 1);
    let mut names: Vec<String> = hand.catalogs[0].iter().map(|model| model.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), models.len());
    let older = Frame::Catalog { rev: 0, part: 0, of: 1, body: Bytes::from_static(b"[]") };
    hand.message(conn, &older);
    assert_eq!(hand.catalogs.len(), 1);
    hand.message(conn, &Frame::Catalog { rev: 99, part: 0, of: u32::MAX, body: Bytes::from_static(b"[]") });
    assert_eq!(hand.closes.len(), 1);
}

#[test]
fn load_is_said_on_a_change_of_a_fifth_and_at_most_every_quarter_second() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let load = |wait_ms| Load { models: vec![ModelLoad { model: "m".to_owned(), wait_ms, ..ModelLoad::default() }] };
    let (start, mut said) = (hand.now, Vec::new());
    let mut note = |at, frame: Frame| {
        if let Frame::Load { rev, load } = frame {
            said.push((at - start, rev, load.models[0].wait_ms));
        }
    };
    hand.link.set_load(hand.now, load(1_000));
    hand.run_for(ms(10), conn, &mut note);
    hand.link.set_load(hand.now, load(1_100));
    hand.run_for(ms(500), conn, &mut note);
    hand.link.set_load(hand.now, load(2_000));
    hand.run_for(ms(10), conn, &mut note);
    hand.link.set_load(hand.now, load(4_000));
    hand.run_for(ms(500), conn, &mut note);
    assert_eq!(said, [(ms(0), 1, 1_000), (ms(510), 2, 2_000), (ms(760), 3, 4_000)]);
}

#[test]
fn the_fullest_stream_fails_when_the_process_is_full() {
    let mut hand = Hand::edge_with(100);
    let conn = hand.up();
    let block = Bytes::from(vec![b'x'; 1024 * 1024]);
    let count = u64::try_from(TOTAL_BUFFER / (7 * block.len())).unwrap();
    for call in 0..=count {
        hand.message(conn, &open_for(&hand, stream_id(call)));
    }
    for call in 0..=count {
        for _ in 0..if call == 3 { 8 } else { 7 } {
            hand.link.send(hand.now, stream_id(call), block.clone()).unwrap();
            hand.drain();
            assert!(hand.link.status().buffered <= TOTAL_BUFFER);
        }
    }
    assert_eq!(hand.failed, [(stream_id(3), Code::SlowReader)]);
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
