//! Rules: frames of streams that this end does not know.

use bytes::Bytes;
use causeway_wire::limits::ORPHAN_POOL;
use causeway_wire::{Code, Frame, Head, Open, StreamId};

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

/// A request whose answer is to go by way of this `reply`.
fn open_by_way_of(hand: &Hand, stream: StreamId, reply: &str) -> Frame {
    let open = Box::new(Open { reply: Some(reply.to_owned()), ..hand.open() });
    Frame::Open { stream, open, body: Bytes::new(), fin: true }
}

fn reply_of(frame: &Frame) -> Option<&str> {
    let (Frame::Head { reply, .. }
    | Frame::Data { reply, .. }
    | Frame::End { reply, .. }
    | Frame::Fail { reply, .. }
    | Frame::Ack { reply, .. }
    | Frame::Probe { reply, .. }) = frame
    else {
        panic!("no frame of a stream: {frame:?}")
    };
    reply.as_deref()
}

#[test]
fn every_frame_of_a_stream_and_of_its_tombstone_echoes_reply() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let id = stream_id(1);
    let open = open_by_way_of(&hand, id, "way");
    hand.message(conn, &open);
    let mut frames = hand.out(conn);
    assert!(matches!(frames[..], [Frame::Ack { .. }]), "{frames:?}");
    hand.link.send_head(hand.now, id, Head { status: 200, headers: Vec::new() });
    hand.link.send(hand.now, id, Bytes::from_static(b"a")).unwrap();
    frames.extend(hand.out(conn));
    hand.link.send(hand.now, id, Bytes::from_static(b"b")).unwrap();
    frames.extend(hand.out(conn));
    hand.idle_for(ms(900), &[]);
    hand.link.finish(hand.now, id, None);
    frames.extend(hand.out(conn));
    hand.message(conn, &Frame::Ack { stream: id, next: 3, limit: 0, miss: vec![], reply: None });
    assert_eq!(hand.released, [id]);
    for late in [&open, &Frame::Data { stream: id, seq: 1, body: Bytes::new(), reply: None }] {
        hand.message(conn, late);
        let answer = hand.out(conn);
        assert!(matches!(answer[..], [Frame::Ack { next: 1, .. }]), "{answer:?}");
        frames.extend(answer);
    }
    assert_eq!(frames.len(), 6);
    assert!(frames.iter().all(|frame| reply_of(frame) == Some("way")), "{frames:?}");
}

#[test]
fn the_answers_of_a_stream_that_was_given_up_echo_reply() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let id = stream_id(1);
    let open = open_by_way_of(&hand, id, "way");
    hand.message(conn, &open);
    hand.closed(conn);
    hand.idle_for(ms(60_000), &[]);
    assert_eq!(hand.failed, [(id, Code::LinkLost)]);
    hand.dials.clear();
    let conn = hand.up();
    hand.message(conn, &Frame::Probe { stream: id, reply: None });
    let answer = hand.out(conn);
    assert!(matches!(&answer[..], [Frame::Fail { failure, .. }] if failure.code == Code::LinkLost), "{answer:?}");
    assert_eq!(reply_of(&answer[0]), Some("way"));
}

#[test]
fn refusals_echo_reply_the_first_time_and_later() {
    let mut hand = Hand::edge_with(1);
    let conn = hand.up();
    let running = open_by_way_of(&hand, stream_id(0), "running");
    hand.message(conn, &running);
    hand.out(conn);
    let refused = |hand: &mut Hand, frame: &Frame, code: Code, reply: &str| {
        hand.message(conn, frame);
        let answer = hand.out(conn);
        assert!(matches!(&answer[..], [Frame::Fail { failure, .. }] if failure.code == code), "{answer:?}");
        assert_eq!(reply_of(&answer[0]), Some(reply));
    };
    let Frame::Open { stream, mut open, body, fin } = open_by_way_of(&hand, stream_id(1), "other") else { panic!() };
    open.edge_instance = causeway_wire::InstanceId::new(999);
    refused(&mut hand, &Frame::Open { stream, open, body, fin }, Code::WrongInstance, "other");
    let saturated = open_by_way_of(&hand, stream_id(2), "full");
    refused(&mut hand, &saturated, Code::Saturated, "full");
    refused(&mut hand, &Frame::Probe { stream: stream_id(2), reply: None }, Code::Saturated, "full");
    hand.link.drain(hand.now);
    hand.out(conn);
    let draining = open_by_way_of(&hand, stream_id(3), "late");
    refused(&mut hand, &draining, Code::Draining, "late");
    refused(&mut hand, &Frame::Probe { stream: stream_id(3), reply: None }, Code::Draining, "late");
    // A cancel comes without one; the open that it overtook brings it.
    hand.message(conn, &Frame::Cancel { stream: stream_id(4), reason: "gone".to_owned() });
    assert_eq!(reply_of(&hand.out(conn)[0]), None);
    let overtaken = open_by_way_of(&hand, stream_id(4), "overtaken");
    refused(&mut hand, &overtaken, Code::Cancelled, "overtaken");
}
