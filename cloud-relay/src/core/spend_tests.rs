//! Amounts, grants and their sums.

use proptest::prelude::*;

use super::*;

const CENT: Usd = Usd(10_000_000);
const NOON: u64 = 20_000 * DAY + DAY / 2;

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

#[test]
fn amounts_are_read_as_people_write_them_and_nonsense_is_refused() {
    for (text, nanos, shown) in [
        ("0", 0, "0.00"),
        ("5", 5_000_000_000, "5.00"),
        ("0.0012", 1_200_000, "0.0012"),
        ("1e3", 1_000_000_000_000, "1000.00"),
    ] {
        assert_eq!((usd(text).nanos(), usd(text).to_string().as_str()), (nanos, shown));
    }
    for text in ["", "-1", "-0.01", "NaN", "inf", "1e7", "five", "5 USD", "0x5"] {
        assert!(Usd::parse(text).unwrap_err().contains("from 0 to 1000000"), "{text}");
    }
    assert_eq!(usd("-0"), Usd::ZERO);
}

#[test]
fn what_an_edge_reports_becomes_an_amount_whatever_it_is() {
    for (dollars, expected) in [
        (f64::NAN, 0),
        (-1.0, 0),
        (f64::NEG_INFINITY, 0),
        (f64::INFINITY, MOST),
        (1e300, MOST),
        (0.1 + 0.2, 300_000_000),
    ] {
        assert_eq!(Usd::from_f64(dollars).nanos(), expected, "{dollars}");
    }
    assert_eq!(Usd::from_f64(UNCAPPED.to_f64()), UNCAPPED);
}

#[test]
fn a_grant_is_a_twentieth_of_the_cap_or_a_cent_and_never_more_than_is_left() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.reserve("large", usd("40"), NOON).amount, usd("2"));
    assert_eq!(ledger.reserve("small", usd("0.05"), NOON).amount, CENT);
    assert_eq!(ledger.reserve("tiny", usd("0.004"), NOON).amount, usd("0.004"));
    assert_eq!(ledger.reserve("tiny", usd("0.004"), NOON).amount, Usd::ZERO);
    assert_eq!(ledger.reserve("never", Usd::ZERO, NOON).amount, Usd::ZERO);
}

#[test]
fn who_has_nothing_left_is_told_to_wait_for_the_next_utc_day_and_has_everything_then() {
    let (mut ledger, cap) = (Ledger::default(), usd("0.01"));
    let grant = ledger.reserve("k", cap, NOON);
    ledger.settle("k", grant, grant.amount);
    assert_eq!(ledger.reserve("k", cap, NOON + 1).amount, Usd::ZERO);
    let refusal = ledger.exhausted(cap, NOON + 1);
    assert_eq!((refusal.status, refusal.retry_after), (429, Some(Duration::from_secs(DAY / 2 - 1))));
    assert_eq!(ledger.reserve("k", cap, NOON + DAY / 2).amount, cap);
}

#[test]
fn a_clock_that_is_set_back_gives_no_day_a_second_time() {
    let (mut ledger, cap) = (Ledger::new(20_001, [("k".to_owned(), CENT)]), CENT);
    assert_eq!(ledger.reserve("k", cap, NOON), Grant { day: 20_001, amount: Usd::ZERO });
    let wait = ledger.exhausted(cap, NOON).retry_after.unwrap();
    assert_eq!(wait.as_secs(), 2 * DAY - DAY / 2);
    assert_eq!(ledger.reserve("other", cap, NOON).day, 20_001);
}

#[test]
fn what_is_settled_after_midnight_counts_for_the_day_it_was_granted_on() {
    let (mut ledger, cap) = (Ledger::default(), CENT);
    let late = ledger.reserve("k", cap, NOON);
    let next = ledger.reserve("k", cap, NOON + DAY);
    ledger.settle("k", late, CENT);
    assert_eq!((next.day, next.amount), (late.day + 1, CENT));
    ledger.settle("k", next, Usd::ZERO);
    assert_eq!(ledger.reserve("k", cap, NOON + DAY).amount, CENT);
}

#[test]
fn a_purse_goes_to_a_second_edge_with_what_the_first_has_left() {
    let mut purse = Purse::new(usd("1"));
    purse.sent();
    purse.back(Word::of_failure(&Failure::new(Code::Draining, "m")));
    assert_eq!(purse.left(), usd("1"), "it said that it spent nothing");
    purse.sent();
    let outcome = Outcome { usd: Some(0.25), ..Outcome::default() };
    purse.back(Word::of_failure(&Failure { outcome, ..Failure::new(Code::LocalUnavailable, "m") }));
    assert_eq!(purse.left(), usd("0.75"));
    let closed = purse.close();
    assert_eq!((closed.spent, closed.silent, closed.over), (usd("0.25"), false, false));
}

#[test]
fn an_edge_that_says_nothing_has_spent_its_grant() {
    for code in [Code::LinkLost, Code::WrongInstance, Code::Internal] {
        let mut purse = Purse::new(usd("1"));
        purse.sent();
        purse.back(Word::of_failure(&Failure::new(code, "m")));
        assert_eq!(purse.left(), Usd::ZERO, "nothing is left for another edge");
        assert_eq!(purse.close(), Closed { spent: usd("1"), said: Usd::ZERO, over: false, silent: true });
    }
    let mut purse = Purse::new(usd("1"));
    assert_eq!(purse.close().spent, Usd::ZERO, "it was never sent anywhere");
    purse.sent();
    assert_eq!(purse.close().spent, usd("1"));
}

#[test]
fn an_edge_that_spends_more_than_its_grant_is_booked_with_what_it_spent() {
    let mut purse = Purse::new(CENT);
    purse.sent();
    purse.back(Word::of_end(Some(&Outcome { usd: Some(3.0), ..Outcome::default() })));
    assert_eq!(purse.close(), Closed { spent: usd("3"), said: usd("3"), over: true, silent: false });
    let mut empty = Purse::new(Usd::ZERO);
    empty.sent();
    assert!(!empty.is_out());
    empty.back(Word::Spent(CENT));
    assert_eq!(empty.close(), Closed { spent: CENT, said: CENT, over: true, silent: false });
    empty.sent();
    assert_eq!(empty.close().spent, Usd::ZERO.plus(CENT), "silence about nothing costs nothing");
    let mut ledger = Ledger::default();
    let grant = ledger.reserve("k", CENT, NOON);
    ledger.settle("k", grant, usd("3"));
    assert_eq!(ledger.reserve("k", CENT, NOON).amount, Usd::ZERO);
}

/// What happens to one key.
#[derive(Clone, Debug)]
enum Step {
    Reserve,
    /// Settles one of the open grants with this part of it, in percent.
    Settle(usize, u64),
    /// The process ends and starts again with what was on disk.
    Crash,
    /// The clock moves, in hours.
    Clock(i64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Reserve),
        4 => (any::<usize>(), 0..=100_u64).prop_map(|(which, percent)| Step::Settle(which, percent)),
        1 => Just(Step::Crash),
        2 => (-60..60_i64).prop_map(Step::Clock),
    ]
}

proptest! {
    #[test]
    fn no_day_of_a_key_is_ever_above_its_cap(
        cap in prop_oneof![Just(0), 1..30_000_000_u64, 1_000_000_000..90_000_000_000_u64].prop_map(Usd::from_nanos),
        steps in prop::collection::vec(any_step(), 1..200),
    ) {
        let mut ledger = Ledger::default();
        let mut now = NOON;
        let mut latest = 0;
        // What the disk has: settled by day, and open grants.
        let mut settled: HashMap<u64, Usd> = HashMap::new();
        let mut open: Vec<Grant> = Vec::new();
        for step in steps {
            match step {
                Step::Reserve => {
                    let grant = ledger.reserve("k", cap, now);
                    prop_assert!(grant.day >= latest, "a day came a second time");
                    latest = grant.day;
                    open.push(grant);
                }
                Step::Settle(_, _) if open.is_empty() => {}
                Step::Settle(which, percent) => {
                    let grant = open.swap_remove(which % open.len());
                    let spent = Usd::from_nanos(grant.amount.nanos() / 100 * percent);
                    ledger.settle("k", grant, spent);
                    let day = settled.entry(grant.day).or_default();
                    *day = day.plus(spent);
                }
                Step::Crash => {
                    for grant in open.drain(..) {
                        let day = settled.entry(grant.day).or_default();
                        *day = day.plus(grant.amount);
                    }
                    let day = settled.keys().copied().max().unwrap_or(0);
                    let spent = settled.get(&day).map(|spent| ("k".to_owned(), *spent));
                    ledger = Ledger::new(day, spent);
                    latest = day;
                }
                Step::Clock(hours) => now = now.saturating_add_signed(hours * 3_600),
            }
            for (day, spent) in &settled {
                let reserved = open.iter().filter(|grant| grant.day == *day);
                let all = reserved.fold(*spent, |sum, grant| sum.plus(grant.amount));
                prop_assert!(all <= cap, "{all} of {cap} on day {day}");
            }
        }
    }
}
