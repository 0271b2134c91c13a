//! The rules of one stream, both ends by hand: each frame is carried, lost or kept by the test.

mod refused;
mod timing;

use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway_wire::limits::{EDGE_WINDOW, RELAY_WINDOW, STREAM_BUFFER};
use causeway_wire::{
    Code, ConnId, Failure, Frame, Gone, Head, InstanceId, Limits, Open, Outcome, Policy, SendRefused, Stream,
    StreamEvent, StreamId, Windows,
};

use crate::world::{epoch, ms};

const CONN: ConnId = ConnId(0);
const OTHER: ConnId = ConnId(1);
const LIMITS: Limits = Limits::STANDALONE;

fn id() -> StreamId {
    StreamId::new(1, 1)
}

fn open() -> Open {
    Open {
        edge_instance: InstanceId::new(1),
        method: "POST".to_owned(),
        path: "/api/chat".to_owned(),
        headers: Vec::new(),
        model: None,
        stream: None,
        policy: Policy::local(),
        key: "k".to_owned(),
        traceparent: None,
        reply: None,
    }
}

fn relay(now: Instant, body: &'static str, fin: bool) -> Stream {
    let windows = Windows { peer: EDGE_WINDOW, own: RELAY_WINDOW };
    Stream::relay(id(), LIMITS, windows, now, Box::new(open()), Bytes::from_static(body.as_bytes()), fin)
}

fn edge(now: Instant) -> Stream {
    let windows = Windows { peer: RELAY_WINDOW, own: EDGE_WINDOW };
    let mut stream = Stream::edge(id(), LIMITS, windows, now, &open(), Bytes::new(), true);
    assert_eq!(events(&mut stream), [StreamEvent::End(None)]);
    assert!(matches!(sent(&mut stream, now)[..], [Frame::Ack { next: 1, .. }]));
    stream
}

fn sent(stream: &mut Stream, now: Instant) -> Vec<Frame> {
    std::iter::from_fn(|| stream.poll_transmit(now, CONN)).collect()
}

fn events(stream: &mut Stream) -> Vec<StreamEvent> {
    std::iter::from_fn(|| stream.poll_event()).collect()
}

fn data(seq: u64, body: &'static str) -> Frame {
    Frame::Data { stream: id(), seq, body: Bytes::from_static(body.as_bytes()), reply: None }
}

fn ack(next: u64, limit: u64) -> Frame {
    Frame::Ack { stream: id(), next, limit, miss: Vec::new(), reply: None }
}

fn fail(seq: u64, code: Code) -> Frame {
    Frame::Fail { stream: id(), seq, failure: Box::new(Failure::new(code, "")), reply: None }
}

/// Runs the timers up to `end` and gives what went out, each with its time since `now`.
fn run(stream: &mut Stream, now: Instant, end: Duration) -> Vec<(u64, Frame)> {
    let mut out = Vec::new();
    while let Some(at) = stream.poll_timeout().filter(|at| *at <= now + end) {
        stream.handle_timeout(at);
        let since = u64::try_from((at - now).as_millis()).unwrap();
        out.extend(sent(stream, at).into_iter().map(|frame| (since, frame)));
    }
    out
}

fn times(sent: &[(u64, Frame)]) -> Vec<u64> {
    sent.iter().map(|(at, _)| *at).collect()
}

fn body_of(frame: &Frame) -> &[u8] {
    let (Frame::Data { body, .. } | Frame::End { body, .. } | Frame::Head { body, .. }) = frame else {
        panic!("no body in {frame:?}")
    };
    body
}

#[test]
fn an_open_without_any_answer_goes_again_after_two_seconds_and_then_less_often() {
    let now = epoch();
    let mut stream = relay(now, "{}", true);
    assert!(matches!(sent(&mut stream, now)[..], [Frame::Open { fin: true, .. }]));
    let again = run(&mut stream, now, ms(10_000));
    assert_eq!(times(&again), [2_000, 4_000, 8_000]);
    assert!(again.iter().all(|(_, frame)| matches!(frame, Frame::Open { .. })));
}

#[test]
fn the_oldest_frame_goes_again_after_one_second_doubling_to_eight() {
    let now = epoch();
    let mut stream = edge(now);
    stream.send(now, Bytes::from_static(b"a")).unwrap();
    sent(&mut stream, now);
    stream.send(now, Bytes::from_static(b"b")).unwrap();
    sent(&mut stream, now);
    let again = run(&mut stream, now, ms(29_000));
    assert_eq!(times(&again), [1_000, 3_000, 7_000, 15_000, 23_000]);
    assert!(again.iter().all(|(_, frame)| *frame == data(0, "a")));
}

#[test]
fn an_ack_waits_a_quarter_second_for_company() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    stream.handle_input(now, data(0, "a"));
    stream.handle_input(now + ms(100), data(1, "b"));
    assert_eq!(sent(&mut stream, now + ms(200)), []);
    assert_eq!(run(&mut stream, now, ms(300)), [(250, ack(2, RELAY_WINDOW))]);
}

#[test]
fn a_duplicate_is_acknowledged_at_once_and_not_delivered() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    for _ in 0..2 {
        stream.handle_input(now, data(0, "a"));
    }
    assert_eq!(events(&mut stream), [StreamEvent::Readable]);
    assert_eq!((stream.recv(now).unwrap(), stream.recv(now)), (Bytes::from_static(b"a"), None));
    assert!(matches!(sent(&mut stream, now)[..], [Frame::Ack { next: 1, .. }]));
}

#[test]
fn a_terminal_frame_is_acknowledged_at_once() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    stream.handle_input(now, Frame::End { stream: id(), seq: 0, body: Bytes::new(), outcome: None, reply: None });
    assert!(matches!(sent(&mut stream, now)[..], [Frame::Ack { next: 1, .. }]));
    assert_eq!(stream.gone(), Some(Gone::Done { next: 1 }));
}

#[test]
fn a_gap_of_fifty_milliseconds_is_reported_and_only_the_missing_frames_go_again() {
    let now = epoch();
    let (mut from, mut to) = (edge(now), relay(now, "", true));
    sent(&mut to, now);
    let mut frames = Vec::new();
    for piece in ["a", "b", "c", "d"] {
        from.send(now, Bytes::from_static(piece.as_bytes())).unwrap();
        frames.extend(sent(&mut from, now));
    }
    to.handle_input(now, frames[0].clone());
    to.handle_input(now, frames[3].clone());
    let report = run(&mut to, now, ms(60));
    let expected = Frame::Ack { stream: id(), next: 1, limit: RELAY_WINDOW, miss: vec![1, 2], reply: None };
    assert_eq!(report, [(50, expected.clone())]);
    from.handle_input(now + ms(60), expected);
    assert_eq!(sent(&mut from, now + ms(60)), frames[1..3]);
}

#[test]
fn reading_half_a_window_opens_it_at_once() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    let half = Bytes::from(vec![b'x'; 131_072]);
    stream.handle_input(now, Frame::Data { stream: id(), seq: 0, body: half, reply: None });
    assert_eq!(sent(&mut stream, now), []);
    stream.recv(now).unwrap();
    assert_eq!(sent(&mut stream, now), [ack(1, RELAY_WINDOW + 131_072)]);
}

#[test]
fn acks_are_applied_by_maximum_and_never_for_frames_that_were_not_sent() {
    let now = epoch();
    let mut stream = edge(now);
    for piece in ["a", "b", "c"] {
        stream.send(now, Bytes::from_static(piece.as_bytes())).unwrap();
        sent(&mut stream, now);
    }
    stream.handle_input(now, ack(4, u64::MAX));
    assert_eq!(stream.unacked(), 3);
    stream.handle_input(now, ack(2, u64::MAX));
    stream.handle_input(now, ack(1, 0));
    assert_eq!(stream.unacked(), 1);
    stream.handle_input(now, ack(3, 5));
    assert_eq!(stream.unacked(), 0);
}

#[test]
fn what_was_last_sent_on_a_dead_connection_goes_again_at_once_on_another() {
    let now = epoch();
    let mut stream = edge(now);
    for (piece, conn) in [("a", CONN), ("b", OTHER), ("c", CONN)] {
        stream.send(now, Bytes::from_static(piece.as_bytes())).unwrap();
        stream.poll_transmit(now, conn).unwrap();
    }
    assert!(stream.unacked_on(CONN));
    stream.conn_lost(CONN);
    let again: Vec<Frame> = std::iter::from_fn(|| stream.poll_transmit(now, OTHER)).collect();
    assert_eq!(again, [data(0, "a"), data(2, "c")]);
    assert!(!stream.unacked_on(CONN));
}

#[test]
fn a_sender_stopped_by_the_window_probes_for_a_lost_ack() {
    let now = epoch();
    let mut stream = edge(now);
    stream.send(now, Bytes::from(vec![b'x'; 300_000])).unwrap();
    let first: usize = sent(&mut stream, now).iter().map(|frame| body_of(frame).len()).sum();
    assert_eq!(first as u64, RELAY_WINDOW);
    let frames = RELAY_WINDOW / 65_536;
    stream.handle_input(now, ack(frames, RELAY_WINDOW));
    assert_eq!(sent(&mut stream, now), []);
    let probes = run(&mut stream, now, ms(8_000));
    assert_eq!(times(&probes), [1_000, 3_000, 7_000]);
    assert!(probes.iter().all(|(_, frame)| matches!(frame, Frame::Probe { .. })));
    stream.handle_input(now + ms(8_000), ack(frames, RELAY_WINDOW * 2));
    assert_eq!(body_of(&sent(&mut stream, now + ms(8_000))[0]).len(), 300_000 - first);
}

#[test]
fn a_probe_is_answered_with_an_ack() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    stream.handle_input(now, Frame::Probe { stream: id(), reply: None });
    assert_eq!(sent(&mut stream, now), [ack(0, RELAY_WINDOW)]);
}

#[test]
fn a_cancel_is_repeated_until_a_terminal_frame_comes() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    stream.cancel(now, "caller gone");
    let cancel = Frame::Cancel { stream: id(), reason: "caller gone".to_owned() };
    assert_eq!(sent(&mut stream, now)[..], std::slice::from_ref(&cancel)[..]);
    let again = run(&mut stream, now, ms(16_000));
    assert_eq!(times(&again), [1_000, 3_000, 7_000, 15_000]);
    assert!(again.iter().all(|(_, frame)| *frame == cancel));
    stream.handle_input(now + ms(16_000), fail(0, Code::Cancelled));
    assert!(matches!(events(&mut stream)[..], [StreamEvent::Failed(Failure { code: Code::Cancelled, .. })]));
    assert_eq!(stream.gone(), Some(Gone::Done { next: 1 }));
}

#[test]
fn a_cancel_that_nobody_answers_ends_after_the_resume_window() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    stream.cancel(now, "caller gone");
    run(&mut stream, now, ms(60_000));
    assert!(matches!(events(&mut stream)[..], [StreamEvent::Failed(Failure { code: Code::LinkLost, .. })]));
}

#[test]
fn a_request_that_was_never_sent_is_cancelled_without_a_word() {
    let now = epoch();
    let mut stream = relay(now, "{}", true);
    stream.cancel(now, "caller gone");
    assert_eq!(sent(&mut stream, now), []);
    assert_eq!(stream.gone(), Some(Gone::Unsent));
}

#[test]
fn bytes_after_a_cancel_are_dropped_and_still_acknowledged() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    stream.cancel(now, "caller gone");
    sent(&mut stream, now);
    stream.handle_input(now, data(0, "late"));
    assert_eq!((events(&mut stream), stream.recv(now)), (vec![], None));
    assert!(run(&mut stream, now, ms(260)).contains(&(250, ack(1, RELAY_WINDOW + 4))));
}

#[test]
fn the_edge_answers_a_cancel_with_what_was_used_and_drops_the_rest() {
    let now = epoch();
    let mut stream = edge(now);
    stream.send(now, Bytes::from_static(b"unsent")).unwrap();
    stream.handle_input(now, Frame::Cancel { stream: id(), reason: "gone".to_owned() });
    stream.handle_input(now, Frame::Cancel { stream: id(), reason: "gone".to_owned() });
    assert_eq!(events(&mut stream), [StreamEvent::Cancelled("gone".to_owned())]);
    assert_eq!(stream.send(now, Bytes::from_static(b"x")), Err(SendRefused::Ended));
    let outcome = Outcome { output_tokens: Some(3), ..Outcome::default() };
    stream.fail(now, Failure { outcome: outcome.clone(), ..Failure::new(Code::Cancelled, "stopped") });
    let [Frame::Fail { seq: 0, failure, .. }] = &sent(&mut stream, now)[..] else { panic!("one fail") };
    assert_eq!((failure.code, &failure.outcome), (Code::Cancelled, &outcome));
}

#[test]
fn an_end_that_was_queued_before_the_cancel_stands() {
    let now = epoch();
    let mut stream = edge(now);
    stream.send(now, Bytes::from_static(b"all")).unwrap();
    stream.finish(now, None);
    stream.handle_input(now, Frame::Cancel { stream: id(), reason: "gone".to_owned() });
    assert_eq!(events(&mut stream), []);
    assert!(matches!(&sent(&mut stream, now)[..], [Frame::End { seq: 0, body, .. }] if body == "all"));
}

#[test]
fn no_progress_for_the_resume_window_ends_the_stream() {
    let now = epoch();
    let mut stream = edge(now);
    stream.send(now, Bytes::from_static(b"a")).unwrap();
    sent(&mut stream, now);
    run(&mut stream, now, ms(59_999));
    assert_eq!(events(&mut stream), []);
    stream.handle_timeout(now + ms(60_000));
    assert!(matches!(events(&mut stream)[..], [StreamEvent::Failed(Failure { code: Code::LinkLost, .. })]));
    assert_eq!(stream.gone(), Some(Gone::Lost { seq: 1 }));
}

#[test]
fn a_stream_that_hears_nothing_for_half_a_resume_window_asks() {
    let now = epoch();
    let mut stream = edge(now);
    let asked = run(&mut stream, now, ms(65_000));
    assert_eq!(times(&asked), [30_000, 60_000]);
    assert!(asked.iter().all(|(_, frame)| matches!(frame, Frame::Probe { .. })));
}

#[test]
fn a_stream_ends_after_half_an_hour() {
    let now = epoch();
    let mut stream = edge(now);
    stream.handle_timeout(now + ms(1_800_000));
    assert!(matches!(events(&mut stream)[..], [StreamEvent::Failed(Failure { code: Code::DeadlineExceeded, .. })]));
    assert!(matches!(sent(&mut stream, now).last(), Some(Frame::Fail { .. })));
}

#[test]
fn head_and_first_bytes_are_one_message_and_the_end_takes_the_last() {
    let now = epoch();
    let mut stream = edge(now);
    stream.send_head(now, Head { status: 200, headers: Vec::new() });
    stream.send(now, Bytes::from_static(b"first")).unwrap();
    assert!(matches!(&sent(&mut stream, now)[..], [Frame::Head { body, .. }] if body == "first"));
    stream.send(now, Bytes::from_static(b"la")).unwrap();
    stream.send(now, Bytes::from_static(b"st")).unwrap();
    stream.finish(now, None);
    assert!(matches!(&sent(&mut stream, now)[..], [Frame::End { seq: 1, body, .. }] if body == "last"));
    assert_eq!(stream.gone(), None);
    stream.handle_input(now, ack(2, RELAY_WINDOW));
    assert_eq!(stream.gone(), Some(Gone::Done { next: 1 }));
}

#[test]
fn a_failure_comes_after_the_bytes_before_it() {
    let now = epoch();
    let mut stream = edge(now);
    stream.send(now, Bytes::from_static(b"half")).unwrap();
    stream.fail(now, Failure::new(Code::UpstreamIncomplete, "broke off"));
    let frames = sent(&mut stream, now);
    assert!(matches!(&frames[..], [Frame::Data { seq: 0, .. }, Frame::Fail { seq: 1, .. }]), "{frames:?}");
}

#[test]
fn characters_are_not_split_between_messages() {
    let now = epoch();
    let mut stream = edge(now);
    let crab = "🦀".as_bytes();
    stream.send(now, Bytes::from_static(b"a")).unwrap();
    stream.send(now, Bytes::copy_from_slice(&crab[..3])).unwrap();
    assert_eq!(sent(&mut stream, now), [data(0, "a")]);
    stream.send(now, Bytes::copy_from_slice(&crab[3..])).unwrap();
    assert_eq!(sent(&mut stream, now), [data(1, "🦀")]);
}

#[test]
fn only_truly_invalid_bytes_are_sent_apart() {
    let now = epoch();
    let mut stream = edge(now);
    let plain = "é".repeat(100);
    let mut bytes = plain.clone().into_bytes();
    bytes.extend([0xFF, b'a', 0xC0]);
    bytes.extend(plain.as_bytes());
    stream.send(now, Bytes::from(bytes)).unwrap();
    let frames = sent(&mut stream, now);
    let bodies: Vec<&[u8]> = frames.iter().map(body_of).collect();
    assert_eq!(bodies, [plain.as_bytes(), b"\xFFa\xC0", plain.as_bytes()]);
}

#[test]
fn half_a_character_at_the_end_is_sent_as_it_is() {
    let now = epoch();
    let mut stream = edge(now);
    stream.send(now, Bytes::copy_from_slice(&"🦀".as_bytes()[..2])).unwrap();
    assert_eq!(sent(&mut stream, now), []);
    stream.finish(now, None);
    assert!(matches!(&sent(&mut stream, now)[..], [Frame::End { body, .. }] if body.len() == 2));
}

#[test]
fn a_full_buffer_fails_the_stream_as_slow_reader() {
    let now = epoch();
    let mut stream = edge(now);
    let mebibyte = Bytes::from(vec![b'x'; 1024 * 1024]);
    while stream.send_room() > 0 {
        stream.send(now, mebibyte.clone()).unwrap();
        sent(&mut stream, now);
    }
    assert_eq!(stream.unacked(), STREAM_BUFFER);
    assert_eq!(stream.send(now, Bytes::from_static(b"x")), Err(SendRefused::Overrun));
    assert!(matches!(events(&mut stream)[..], [StreamEvent::Failed(Failure { code: Code::SlowReader, .. })]));
    assert!(stream.unacked() <= 256 * 1024, "only what is in flight is kept");
}

#[test]
fn a_peer_that_sends_past_its_window_is_cut_off() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    let body = Bytes::from(vec![b'x'; 262_145]);
    stream.handle_input(now, Frame::Data { stream: id(), seq: 0, body, reply: None });
    assert!(matches!(events(&mut stream)[..], [StreamEvent::Failed(Failure { code: Code::Internal, .. })]));
    assert!(matches!(sent(&mut stream, now)[..], [Frame::Cancel { .. }]));
}

#[test]
fn a_jump_of_numbers_is_not_held() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    for seq in [1_025, 1 << 60, u64::MAX] {
        stream.handle_input(now, data(seq, "far"));
    }
    stream
        .handle_input(now, Frame::End { stream: id(), seq: u64::MAX, body: Bytes::new(), outcome: None, reply: None });
    stream.handle_input(now, data(0, "a"));
    assert_eq!(stream.recv(now), Some(Bytes::from_static(b"a")));
    assert_eq!(stream.recv(now), None);
}

#[test]
fn a_short_answer_makes_the_relay_forget_the_rest_of_its_body() {
    let now = epoch();
    let mut stream = relay(now, "begin", false);
    sent(&mut stream, now);
    stream.handle_input(now, fail(0, Code::TooLarge));
    assert_eq!(stream.send(now, Bytes::from_static(b"more")), Err(SendRefused::Ended));
    assert!(matches!(sent(&mut stream, now)[..], [Frame::Ack { next: 1, .. }]));
    assert_eq!(stream.poll_timeout(), None);
}

#[test]
fn an_answer_that_is_lost_at_the_edge_ends_whatever_number_it_has() {
    let now = epoch();
    let mut stream = relay(now, "", true);
    sent(&mut stream, now);
    stream.handle_input(now, fail(77, Code::LinkLost));
    assert!(matches!(events(&mut stream)[..], [StreamEvent::Failed(Failure { code: Code::LinkLost, .. })]));
}

#[test]
fn a_sender_that_may_wait_hears_when_there_is_room_again() {
    let now = epoch();
    let mut stream = relay(now, "", false);
    stream.handle_input(now, ack(0, u64::MAX));
    stream.send(now, Bytes::from(vec![b'x'; stream.send_room()])).unwrap();
    assert_eq!(stream.send(now, Bytes::from_static(b"x")), Err(SendRefused::Overrun));
    let frames = sent(&mut stream, now).len() as u64;
    stream.handle_input(now, ack(frames, u64::MAX));
    assert_eq!(events(&mut stream), [StreamEvent::Writable]);
}

#[test]
fn a_whole_answer_that_is_not_taken_yet_survives_the_longest_life_of_a_stream() {
    let now = epoch();
    let mut stream = relay(now, "{}", true);
    sent(&mut stream, now);
    let head = Head { status: 200, headers: Vec::new() };
    stream.handle_input(now, Frame::Head { stream: id(), head, body: Bytes::from_static(b"abc"), reply: None });
    let end = Frame::End { stream: id(), seq: 1, body: Bytes::from_static(b"def"), outcome: None, reply: None };
    stream.handle_input(now, end);
    run(&mut stream, now, LIMITS.stream_max + 3 * LIMITS.resume_window);
    let later = now + LIMITS.stream_max + 3 * LIMITS.resume_window;
    assert_eq!(stream.recv(later).as_deref(), Some(&b"abc"[..]));
    assert_eq!(stream.recv(later).as_deref(), Some(&b"def"[..]));
    assert!(stream.gone().is_some());
}
