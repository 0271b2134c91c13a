//! Rules: what goes first, and what waits for company.

use std::time::Duration;

use bytes::Bytes;
use causeway_wire::limits::FINAL_ACK_DELAY;
use causeway_wire::{ConnId, Frame, Head, encode};

use crate::hand::{Hand, open_for};
use crate::world::stream_id;

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
