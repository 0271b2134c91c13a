//! Rules: hello, welcome, and what closes a connection before it carries anything.

use causeway_wire::{ConnId, Frame, Input, ModelInfo};

use crate::hand::Hand;
use crate::world::ms;

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
