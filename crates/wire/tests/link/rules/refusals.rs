//! Rules: requests that do not run.

use bytes::Bytes;
use causeway_wire::{Code, Frame, OpenRefused, Scope};

use crate::hand::{Hand, open_for};
use crate::world::stream_id;

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
