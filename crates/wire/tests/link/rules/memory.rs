//! Rules: the bounds of what is held.

use bytes::Bytes;
use causeway_wire::limits::{MAX_HEADER, MAX_MESSAGE, MAX_REASON, MAX_REPLY, MAX_TOMBSTONES, TOTAL_BUFFER};
use causeway_wire::{Code, ConnId, Failure, Frame, Head, Input, Open, Outcome, SendRefused, StreamId, encode};

use crate::hand::{Hand, open_for};
use crate::world::stream_id;

const MEBIBYTE: usize = 1024 * 1024;

fn block(mebibytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; mebibytes * MEBIBYTE])
}

/// An edge with so many requests of which nothing was answered yet.
fn with_requests(count: u64) -> (Hand, ConnId) {
    let mut hand = Hand::edge_with(1_000);
    let conn = hand.up();
    for call in 0..count {
        hand.message(conn, &open_for(&hand, stream_id(call)));
    }
    (hand, conn)
}

fn send(hand: &mut Hand, call: u64, body: &Bytes) -> Result<(), SendRefused> {
    let result = hand.link.send(hand.now, stream_id(call), body.clone());
    hand.drain();
    assert!(hand.link.status().buffered <= TOTAL_BUFFER);
    result
}

#[test]
fn the_fullest_stream_fails_when_the_process_is_full() {
    let count = u64::try_from(TOTAL_BUFFER / (7 * MEBIBYTE)).unwrap();
    let (mut hand, _) = with_requests(count + 1);
    let block = block(1);
    for call in 0..=count {
        for _ in 0..if call == 3 { 8 } else { 7 } {
            send(&mut hand, call, &block).unwrap();
        }
    }
    assert_eq!(hand.failed, [(stream_id(3), Code::SlowReader)]);
}

#[test]
fn a_whole_answer_that_its_caller_does_not_read_fails_before_smaller_ones_and_keeps_its_outcome() {
    let (mut hand, conn) = with_requests(64);
    send(&mut hand, 3, &block(7)).unwrap();
    let outcome = Outcome { output_tokens: Some(9), ..Outcome::default() };
    hand.link.finish(hand.now, stream_id(3), Some(outcome.clone()));
    for call in (0..64).filter(|call| *call != 3) {
        send(&mut hand, call, &block(4)).unwrap();
    }
    assert_eq!(hand.failed, [(stream_id(3), Code::SlowReader)]);
    let failure = hand.out(conn).into_iter().find_map(|frame| {
        let Frame::Fail { failure, .. } = frame else { return None };
        Some(failure)
    });
    assert_eq!(failure.map(|failure| (failure.code, failure.outcome)), Some((Code::SlowReader, outcome)));
}

#[test]
fn a_stream_that_would_itself_hold_most_is_the_one_that_fails() {
    let (mut hand, _) = with_requests(64);
    for call in 1..64 {
        send(&mut hand, call, &block(4)).unwrap();
    }
    assert_eq!(send(&mut hand, 0, &block(7)), Err(SendRefused::Overrun));
    assert_eq!(hand.failed, [(stream_id(0), Code::SlowReader)]);
}

#[test]
fn where_all_is_in_flight_only_the_stream_that_wants_more_fails() {
    let mut hand = Hand::edge_with(1_000);
    let conn = hand.connect();
    let mut welcome = hand.welcome(1);
    (welcome.window, welcome.max_message) = (u64::MAX, MAX_MESSAGE as u64);
    hand.message(conn, &Frame::Welcome(welcome));
    for call in 0..33 {
        hand.message(conn, &open_for(&hand, stream_id(call)));
    }
    for call in 0..32 {
        send(&mut hand, call, &block(8)).unwrap();
        while hand.link.poll_transmit(hand.now, conn).is_some() {}
    }
    assert_eq!(hand.link.status().buffered, TOTAL_BUFFER);
    assert_eq!(send(&mut hand, 32, &Bytes::from_static(b"x")), Err(SendRefused::Overrun));
    assert_eq!(hand.failed, [(stream_id(32), Code::SlowReader)]);
}

#[test]
fn bytes_for_a_stream_that_has_ended_cost_no_other_stream_anything() {
    let (mut hand, _) = with_requests(33);
    hand.link.finish(hand.now, stream_id(32), None);
    for call in 0..32 {
        send(&mut hand, call, &block(8)).unwrap();
    }
    assert_eq!(send(&mut hand, 32, &block(1)), Err(SendRefused::Ended));
    assert_eq!(hand.failed, []);
}

#[test]
fn room_in_a_full_process_is_told_to_all_the_oldest_request_first() {
    let (mut hand, conn) = with_requests(36);
    for call in 4..36 {
        send(&mut hand, call, &block(8)).unwrap();
    }
    assert_eq!(hand.link.send_room(stream_id(0)), 0);
    let mut told_at = Vec::new();
    for gone in 4..36 {
        hand.message(conn, &Frame::Cancel { stream: stream_id(gone), reason: "gone".to_owned() });
        if !hand.writable.is_empty() {
            told_at.push((gone, std::mem::take(&mut hand.writable)));
        }
    }
    // Under three quarters full: the ninth gone leaves 23 of 32; full ones have no room of their own.
    assert_eq!(told_at, [(12, (0..4).map(stream_id).collect::<Vec<_>>())]);
}

#[test]
fn a_head_whose_escaped_headers_no_header_holds_fails_its_stream_alone() {
    let (mut hand, conn) = with_requests(2);
    hand.out(conn);
    let headers = vec![("x".to_owned(), "\u{1}".repeat(2_000))];
    hand.link.send_head(hand.now, stream_id(0), Head { status: 200, headers });
    hand.link.send_head(hand.now, stream_id(1), Head { status: 200, headers: Vec::new() });
    hand.drain();
    assert_eq!(hand.failed, [(stream_id(0), Code::Internal)]);
    let frames = hand.out(conn);
    assert!(matches!(frames[..], [Frame::Fail { seq: 0, .. }, Frame::Head { .. }]), "{frames:?}");
}

#[test]
fn the_longest_reply_and_texts_in_their_longest_form_fit_every_header() {
    let mut hand = Hand::edge_with(1_000);
    let conn = hand.up();
    let reply = Some("\u{1}".repeat(MAX_REPLY));
    let mut longest = 0;
    for call in 0..400 {
        let id = stream_id(call);
        let open = Box::new(Open { reply: reply.clone(), ..hand.open() });
        hand.message(conn, &Frame::Open { stream: id, open, body: Bytes::new(), fin: true });
        let headers = vec![("x".to_owned(), "\u{1}".repeat(10 * usize::try_from(call).unwrap()))];
        hand.link.send_head(hand.now, id, Head { status: 200, headers });
        hand.link.fail(hand.now, id, Failure::new(Code::Internal, "\u{1}".repeat(MAX_REASON)));
        hand.drain();
        for frame in hand.out(conn) {
            longest = longest.max(encode(&frame).len());
        }
    }
    assert!(longest <= MAX_HEADER && longest > MAX_HEADER - 200, "{longest}");
}

#[test]
fn an_open_with_the_longest_reply_fits_its_header() {
    let mut hand = Hand::relay();
    let conn = hand.up();
    let reply = Some("\u{1}".repeat(MAX_REPLY));
    let open = Open { reply, path: "\u{1}".repeat(900), ..hand.open() };
    assert!(hand.link.open(hand.now, stream_id(0), open.clone(), Bytes::new(), true).is_err());
    let shorter = Open { path: "\u{1}".repeat(700), ..open };
    hand.link.open(hand.now, stream_id(1), shorter, Bytes::new(), true).unwrap();
    assert!(matches!(hand.out(conn)[..], [Frame::Open { .. }]));
}

#[test]
fn of_65536_tombstones_the_oldest_goes_first() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let ids = |call: usize| StreamId::new(1, call as u128);
    let cancelled = |hand: &mut Hand, call| {
        hand.message(conn, &Frame::Cancel { stream: ids(call), reason: String::new() });
        hand.out(conn);
    };
    (0..MAX_TOMBSTONES).for_each(|call| cancelled(&mut hand, call));
    hand.message(conn, &open_for(&hand, ids(0)));
    assert_eq!(hand.incoming, 0, "all of them are remembered");
    cancelled(&mut hand, MAX_TOMBSTONES);
    hand.message(conn, &open_for(&hand, ids(1)));
    assert_eq!(hand.incoming, 0, "only the oldest is forgotten");
    hand.message(conn, &open_for(&hand, ids(0)));
    assert_eq!(hand.incoming, 1);
}

#[test]
fn a_relay_holds_eight_connections_of_one_link_and_closes_the_ninth() {
    let mut hand = Hand::relay();
    for conn in 0..9 {
        hand.take(ConnId(conn), Input::Connected(ConnId(conn)));
    }
    assert_eq!(hand.closes, [(ConnId(8), 1013, "too many connections")]);
    hand.closed(ConnId(0));
    hand.take(ConnId(9), Input::Connected(ConnId(9)));
    assert_eq!(hand.closes.len(), 1, "there is room again");
}
