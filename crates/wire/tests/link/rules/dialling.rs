//! Rules: when the edge dials again.

use std::time::Duration;

use causeway_wire::{ConnId, DialFailure, Frame, Input};

use crate::hand::Hand;
use crate::world::ms;

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
