//! The ledger step by step; any course of events is in `crates/policy/tests/budget.rs`.

use super::*;

const TODAY: Day = Day::from_number(20_780);

fn usd(nanos: u64) -> Usd {
    Usd::from_nanos(nanos)
}

fn ledger(cap: Cap) -> Budget {
    Budget::resume(cap, TODAY, DayBook::default(), [])
}

/// A ledger with a cap of 100.
fn hundred() -> Budget {
    ledger(Cap::Daily(usd(100)))
}

#[test]
fn what_is_reserved_counts_until_it_is_settled_and_then_what_it_cost() {
    let mut budget = hundred();
    let id = budget.reserve(TODAY, usd(60), Usd::MAX).unwrap();
    assert_eq!(budget.reservation(id), Some(usd(60)));
    assert_eq!(budget.snapshot(TODAY).left(), usd(40));
    assert!(budget.settle(TODAY, id, usd(25)));
    let told = budget.snapshot(TODAY);
    assert_eq!((told.book.spent, told.book.calls, told.reserved, told.open), (usd(25), 1, Usd::ZERO, 0));
    assert_eq!(told.left(), usd(75));
}

#[test]
fn the_cap_can_be_spent_to_the_last_nano_dollar_and_no_further() {
    let mut budget = hundred();
    let id = budget.reserve(TODAY, usd(100), usd(100)).unwrap();
    let refused = Exhausted::Daily { asked: usd(1), left: Usd::ZERO, next_day: TODAY.next().begins() };
    assert_eq!(budget.reserve(TODAY, usd(1), Usd::MAX), Err(refused));
    assert!(budget.settle(TODAY, id, usd(100)));
    assert_eq!(budget.reserve(TODAY, usd(1), Usd::MAX), Err(refused));
    assert!(budget.reserve(TODAY, Usd::ZERO, Usd::ZERO).is_ok(), "what costs nothing needs none");
}

#[test]
fn the_relays_grant_bounds_a_call_also_without_a_cap() {
    let mut budget = ledger(Cap::Unlimited);
    let refused = Exhausted::Grant { asked: usd(11), left: usd(10) };
    assert_eq!(budget.reserve(TODAY, usd(11), usd(10)), Err(refused));
    assert!(budget.reserve(TODAY, usd(10), usd(10)).is_ok());
    let told = refused.to_string();
    assert_eq!(told, "the call may cost $0.000000011, and $0.00000001 is left of what the relay grants this request");
}

#[test]
fn without_a_cap_sums_still_do_not_wrap() {
    let mut budget = ledger(Cap::Unlimited);
    let id = budget.reserve(TODAY, Usd::MAX, Usd::MAX).unwrap();
    assert!(matches!(budget.reserve(TODAY, usd(1), Usd::MAX), Err(Exhausted::Daily { .. })));
    assert!(budget.release(id));
    assert_eq!(budget.snapshot(TODAY).left(), Usd::MAX);
}

#[test]
fn a_call_that_cost_more_than_was_reserved_is_booked_as_it_is_and_counted() {
    let mut budget = hundred();
    let id = budget.reserve(TODAY, usd(90), Usd::MAX).unwrap();
    assert!(budget.settle(TODAY, id, usd(120)));
    let told = budget.snapshot(TODAY);
    assert_eq!((told.book.spent, told.book.overruns, told.left()), (usd(120), 1, Usd::ZERO));
}

#[test]
fn a_reservation_is_resolved_once() {
    let mut budget = hundred();
    let [settled, released] = [60, 40].map(|amount| budget.reserve(TODAY, usd(amount), Usd::MAX).unwrap());
    assert!(budget.settle(TODAY, settled, usd(60)) && budget.release(released));
    let before = budget.clone();
    for id in [settled, released] {
        assert!(!budget.settle(TODAY, id, usd(1)));
        assert!(!budget.release(id));
    }
    assert_eq!(budget, before);
}

#[test]
fn a_new_day_begins_with_nothing_spent_and_with_what_is_still_open() {
    let mut budget = hundred();
    let spent = budget.reserve(TODAY, usd(30), Usd::MAX).unwrap();
    let open = budget.reserve(TODAY, usd(70), Usd::MAX).unwrap();
    assert!(budget.settle(TODAY, spent, usd(30)));
    let tomorrow = TODAY.next();
    assert_eq!(budget.snapshot(tomorrow).left(), usd(30), "seen before anything happens on it");
    assert!(budget.reserve(tomorrow, usd(31), Usd::MAX).is_err());
    assert!(budget.settle(tomorrow, open, usd(50)));
    let book = budget.book();
    assert_eq!((book.day, book.spent, book.calls), (tomorrow, usd(50), 1), "booked on the day it settled");
}

#[test]
fn a_clock_that_steps_back_brings_no_money_back() {
    let mut budget = hundred();
    let id = budget.reserve(TODAY, usd(100), Usd::MAX).unwrap();
    let yesterday = Day::from_number(TODAY.number() - 1);
    assert!(budget.settle(yesterday, id, usd(100)));
    let refused = Exhausted::Daily { asked: usd(1), left: Usd::ZERO, next_day: TODAY.next().begins() };
    assert_eq!(budget.reserve(yesterday, usd(1), Usd::MAX), Err(refused));
    assert_eq!(budget.snapshot(yesterday).book.day, TODAY);
    let again = Budget::resume(Cap::Daily(usd(100)), yesterday, budget.book(), []);
    assert_eq!(again.snapshot(yesterday).left(), Usd::ZERO);
}

#[test]
fn reservations_found_at_the_start_are_spent_in_full_today_and_their_numbers_are_not_used_again() {
    let found = [(ReservationId::from_number(7), usd(20)), (ReservationId::from_number(3), usd(5))];
    let stored = DayBook { day: TODAY, spent: usd(30), calls: 4, overruns: 1 };
    let mut budget = Budget::resume(Cap::Daily(usd(100)), TODAY, stored, found);
    assert_eq!(budget.book(), DayBook { spent: usd(55), calls: 6, ..stored });
    assert_eq!(budget.reserve(TODAY, usd(1), Usd::MAX), Ok(ReservationId::from_number(8)));
    let next_day = Budget::resume(Cap::Daily(usd(100)), TODAY.next(), stored, found);
    assert_eq!(next_day.book(), DayBook { day: TODAY.next(), spent: usd(25), calls: 2, overruns: 0 });
}

#[test]
fn only_so_many_calls_are_open_at_once() {
    let mut budget = ledger(Cap::Unlimited);
    let ids: Vec<_> = (0..MAX_OPEN_RESERVATIONS).map(|_| budget.reserve(TODAY, usd(1), Usd::MAX).unwrap()).collect();
    assert_eq!(budget.reserve(TODAY, usd(1), Usd::MAX), Err(Exhausted::Open));
    assert!(budget.release(ids[0]));
    assert!(budget.reserve(TODAY, usd(1), Usd::MAX).is_ok());
}

#[test]
fn a_cap_lowered_below_what_is_spent_lets_nothing_through_until_tomorrow() {
    let stored = DayBook { day: TODAY, spent: usd(80), calls: 1, overruns: 0 };
    let mut budget = Budget::resume(Cap::Daily(usd(50)), TODAY, stored, []);
    assert!(budget.reserve(TODAY, usd(1), Usd::MAX).is_err());
    assert!(budget.reserve(TODAY.next(), usd(50), Usd::MAX).is_ok());
}
