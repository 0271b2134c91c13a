//! The rules of one stream: what waits, for how long, and what goes again.

use std::time::Instant;

use bytes::Bytes;
use causeway_wire::limits::{CHUNK, EDGE_WINDOW, RELAY_WINDOW};
use causeway_wire::{Code, Failure, Frame, Head, Limits, Outcome, Stream, StreamEvent, Windows};

use super::{LIMITS, ack, data, edge, events, id, open, relay, run, sent};
use crate::world::{epoch, ms};

#[test]
fn a_frame_that_is_named_missing_twice_within_a_round_trip_goes_again_once() {
    let now = epoch();
    let mut stream = edge(now);
    let mut frames = Vec::new();
    for piece in ["a", "b", "c"] {
        stream.send(now, Bytes::from_static(piece.as_bytes())).unwrap();
        frames.extend(sent(&mut stream, now));
    }
    let missing = |next| Frame::Ack { stream: id(), next, limit: RELAY_WINDOW, miss: vec![1], reply: None };
    // Until a round trip was measured, the time a gap may stand takes its place: 50 ms.
    for (at, goes) in [(49, false), (50, true), (51, false), (99, false), (100, true)] {
        stream.handle_input(now + ms(at), missing(0));
        let expected = if goes { &frames[1..2] } else { &[] };
        assert_eq!(sent(&mut stream, now + ms(at)), expected, "after {at} ms");
    }
}

#[test]
fn a_relay_cancels_an_answer_that_takes_longer_than_a_stream_may_live() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    stream.handle_input(now, ack(1, EDGE_WINDOW));
    let out = run(&mut stream, now, LIMITS.stream_max);
    let cancels: Vec<_> = out.into_iter().filter(|(_, frame)| !matches!(frame, Frame::Probe { .. })).collect();
    let cancel = Frame::Cancel { stream: id(), reason: "stream_max".to_owned() };
    assert_eq!(cancels, [(1_800_000, cancel)]);
    run(&mut stream, now + LIMITS.stream_max, LIMITS.resume_window);
    assert!(matches!(events(&mut stream)[..], [StreamEvent::Failed(Failure { code: Code::LinkLost, .. })]));
}

/// An edge that lets later data wait 40 ms for company, its head sent.
fn patient_edge(now: Instant) -> Stream {
    let windows = Windows { peer: RELAY_WINDOW, own: EDGE_WINDOW };
    let limits = Limits { flush: ms(40), ..LIMITS };
    let mut stream = Stream::edge(id(), limits, windows, now, &open(), Bytes::new(), true);
    stream.send_head(now, Head { status: 200, headers: Vec::new() });
    stream.send(now, Bytes::from_static(b"first")).unwrap();
    let frames = sent(&mut stream, now);
    assert!(matches!(&frames[..], [Frame::Ack { .. }, Frame::Head { body, .. }] if body == "first"), "{frames:?}");
    stream
}

#[test]
fn later_data_waits_for_company_from_its_first_byte_and_no_longer() {
    let now = epoch();
    let mut stream = patient_edge(now);
    stream.send(now, Bytes::from_static(b"a")).unwrap();
    stream.send(now + ms(30), Bytes::from_static(b"b")).unwrap();
    assert_eq!(sent(&mut stream, now + ms(39)), []);
    assert_eq!(run(&mut stream, now, ms(60)), [(40, data(1, "ab"))]);
    stream.send(now + ms(60), Bytes::from_static(b"c")).unwrap();
    assert_eq!(run(&mut stream, now, ms(200)), [(100, data(2, "c"))]);
}

#[test]
fn a_full_message_and_the_end_wait_for_no_company() {
    let now = epoch();
    let mut stream = patient_edge(now);
    stream.send(now, Bytes::from(vec![b'x'; CHUNK])).unwrap();
    assert!(matches!(&sent(&mut stream, now)[..], [Frame::Data { body, .. }] if body.len() == CHUNK));
    stream.send(now, Bytes::from_static(b"last")).unwrap();
    assert_eq!(sent(&mut stream, now), []);
    stream.finish(now, None);
    assert!(matches!(&sent(&mut stream, now)[..], [Frame::End { body, .. }] if body == "last"));
}

#[test]
fn data_that_was_due_when_the_window_closed_does_not_wait_again() {
    let now = epoch();
    let mut stream = patient_edge(now);
    stream.send(now, Bytes::from(vec![b'x'; 262_144])).unwrap();
    sent(&mut stream, now);
    run(&mut stream, now, ms(41));
    stream.send(now + ms(50), Bytes::from_static(b"y")).unwrap();
    stream.handle_input(now + ms(50), ack(5, RELAY_WINDOW * 2));
    assert!(matches!(&sent(&mut stream, now + ms(50))[..], [Frame::Data { body, .. }] if body == "xxxxxy"));
}

#[test]
fn an_answer_that_ends_after_it_was_cancelled_for_its_length_is_not_taken_for_a_whole_one() {
    let now = epoch();
    let outcome = Outcome { output_tokens: Some(5), ..Outcome::default() };
    let used = Some(Box::new(outcome.clone()));
    let end = Frame::End { stream: id(), seq: 1, body: Bytes::new(), outcome: used, reply: None };
    let stopped = Failure { outcome: outcome.clone(), ..Failure::new(Code::Cancelled, "stopped") };
    let stopped = Frame::Fail { stream: id(), seq: 1, failure: Box::new(stopped), reply: None };
    for last in [end, stopped] {
        let mut stream = relay(now, "", true);
        sent(&mut stream, now);
        stream.handle_input(now, ack(1, EDGE_WINDOW));
        stream.handle_input(now, data(0, "untaken"));
        events(&mut stream);
        run(&mut stream, now, LIMITS.stream_max);
        stream.handle_input(now + LIMITS.stream_max, last);
        let [StreamEvent::Failed(failure)] = &events(&mut stream)[..] else { panic!("it failed") };
        assert_eq!((failure.code, &failure.outcome), (Code::DeadlineExceeded, &outcome));
    }
}
