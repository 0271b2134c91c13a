//! Rules: when the edge dials again.

use std::time::Duration;

use causeway_wire::{ConnId, DialFailure, Frame, Input, Scope};

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

/// How long from now until the edge dials.
fn wait_for_dial(hand: &mut Hand) -> Duration {
    let start = hand.now;
    hand.next_dial();
    hand.now - start
}

#[test]
fn a_loss_does_not_bring_a_stated_retry_after_forward() {
    let mut hand = Hand::edge();
    let first = hand.connect();
    hand.message(first, &Frame::Welcome(hand.welcome(2)));
    hand.message(first, &Frame::Pong { token: 1 });
    let second = hand.next_dial();
    hand.take(second, Input::DialFailed(second, DialFailure::RetryAfter(Duration::from_secs(40))));
    hand.closed(first);
    assert_eq!(wait_for_dial(&mut hand), Duration::from_secs(40));
}

#[test]
fn a_failed_try_does_not_bring_a_stated_retry_after_forward() {
    let mut hand = Hand::edge();
    let first = hand.connect();
    hand.message(first, &Frame::Welcome(hand.welcome(3)));
    let (second, third) = (hand.next_dial(), hand.next_dial());
    hand.take(second, Input::DialFailed(second, DialFailure::RetryAfter(Duration::from_secs(40))));
    hand.take(third, Input::DialFailed(third, DialFailure::Unreachable));
    assert_eq!(wait_for_dial(&mut hand), Duration::from_secs(40));
}

#[test]
fn a_loss_does_not_bring_a_goaway_range_forward() {
    for scope in [Scope::Link, Scope::Connection] {
        let mut hand = Hand::edge();
        let conn = hand.up();
        hand.message(conn, &Frame::Pong { token: 1 });
        let range = Some((30_000, 30_000));
        hand.message(conn, &Frame::Goaway { scope, reason: "deploy".to_owned(), reconnect_in_ms: range });
        hand.closed(conn);
        assert_eq!(wait_for_dial(&mut hand), Duration::from_secs(30), "{scope:?}");
    }
}

#[test]
fn a_connection_that_was_told_to_come_later_does_not_hold_back_another() {
    let mut hand = Hand::edge();
    let told = hand.connect();
    let welcome = Frame::Welcome(hand.welcome(2));
    hand.message(told, &welcome);
    let other = hand.connect();
    hand.message(other, &welcome);
    let range = Some((600_000, 600_000));
    let scope = Scope::Connection;
    hand.message(told, &Frame::Goaway { scope, reason: "deploy".to_owned(), reconnect_in_ms: range });
    hand.closed(told);
    assert!(hand.dials.is_empty(), "it comes when it was told");
    hand.closed(other);
    assert!(wait_for_dial(&mut hand) <= ms(500));
    let next = hand.next_dial();
    hand.take(next, Input::DialFailed(next, DialFailure::Unreachable));
    assert!(wait_for_dial(&mut hand) <= ms(1_000), "nor does a failed try");
}

#[test]
fn of_two_stated_times_the_later_one_counts() {
    let mut hand = Hand::edge();
    let conn = hand.connect();
    let welcome = Frame::Welcome(hand.welcome(2));
    hand.message(conn, &welcome);
    let other = hand.next_dial();
    hand.take(other, Input::DialFailed(other, DialFailure::RetryAfter(Duration::from_secs(40))));
    let range = Some((5_000, 5_000));
    let scope = Scope::Link;
    hand.message(conn, &Frame::Goaway { scope, reason: "deploy".to_owned(), reconnect_in_ms: range });
    hand.closed(conn);
    assert_eq!(wait_for_dial(&mut hand), Duration::from_secs(40));
}

#[test]
fn once_a_stated_time_has_passed_the_backoff_counts_again() {
    let mut hand = Hand::edge();
    let conn = hand.next_dial();
    hand.take(conn, Input::DialFailed(conn, DialFailure::RetryAfter(Duration::from_secs(40))));
    assert_eq!(wait_for_dial(&mut hand), Duration::from_secs(40));
    hand.now += ms(1);
    let conn = ConnId(1);
    hand.take(conn, Input::DialFailed(conn, DialFailure::Unreachable));
    assert!(wait_for_dial(&mut hand) <= ms(500));
}

#[test]
fn a_retry_after_of_nothing_is_no_busy_loop() {
    let mut hand = Hand::edge();
    let start = hand.now;
    for _ in 0..30 {
        let conn = hand.next_dial();
        hand.take(conn, Input::DialFailed(conn, DialFailure::RetryAfter(Duration::ZERO)));
    }
    assert!(hand.now - start > Duration::from_secs(60), "{:?}", hand.now - start);
}

#[test]
fn the_backoff_doubles_from_a_quarter_second_to_thirty_seconds() {
    let mut longest = [Duration::ZERO; 12];
    // Full jitter: over many links the longest wait nears the ceiling and never passes it.
    for seed in 0..300 {
        let mut hand = Hand::edge_seeded(seed);
        for longest in &mut longest {
            let conn = hand.next_dial();
            let start = hand.now;
            hand.take(conn, Input::DialFailed(conn, DialFailure::Unreachable));
            while hand.dials.is_empty() {
                hand.pass();
            }
            *longest = (*longest).max(hand.now - start);
        }
    }
    for (attempt, longest) in longest.into_iter().enumerate() {
        let ceiling = ms(250 << attempt.min(10)).min(Duration::from_secs(30));
        assert!(longest <= ceiling && longest > ceiling * 9 / 10, "attempt {attempt}: {longest:?} of {ceiling:?}");
    }
}
