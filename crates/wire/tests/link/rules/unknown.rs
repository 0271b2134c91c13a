//! Rules: frames of streams that this end does not know.

use bytes::Bytes;
use causeway_wire::limits::ORPHAN_POOL;
use causeway_wire::{Code, Frame};

use crate::hand::{Hand, open_for};
use crate::world::{ms, stream_id};

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
