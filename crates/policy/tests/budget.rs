//! Any course of reservations, ends, crashes and clock jumps, watched by a reference.

use std::collections::BTreeMap;

use causeway_policy::{Budget, BudgetCap, Day, DayBook, Exhausted, MAX_OPEN_RESERVATIONS, ReservationId, Usd};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Reserve {
        amount: u64,
        grant: u64,
    },
    /// Of the open ones the one at `pick`; thousandths of its reservation.
    Settle {
        pick: usize,
        thousandths: u64,
    },
    Release {
        pick: usize,
    },
    /// Something that was resolved before, or never was.
    Again {
        number: u64,
    },
    /// Days, also backwards.
    Clock {
        days: i64,
    },
    /// The process dies and starts with what was stored.
    Crash,
}

fn steps(overruns: bool) -> impl Strategy<Value = Step> {
    let most = if overruns { 1_500_u64 } else { 1_000 };
    prop_oneof![
        6 => (0_u64..60, 0_u64..80).prop_map(|(amount, grant)| Step::Reserve { amount, grant }),
        4 => (any::<usize>(), 0..=most).prop_map(|(pick, thousandths)| Step::Settle { pick, thousandths }),
        2 => any::<usize>().prop_map(|pick| Step::Release { pick }),
        1 => (0_u64..100).prop_map(|number| Step::Again { number }),
        1 => (-3_i64..4).prop_map(|days| Step::Clock { days }),
        1 => Just(Step::Crash),
    ]
}

/// What must be true, kept in the plainest way.
struct Judge {
    budget: Budget,
    cap: u64,
    clock: i64,
    latest: u64,
    open: BTreeMap<u64, u64>,
    /// By day: what was settled, and by how much calls exceeded their reservations.
    settled: BTreeMap<u64, u64>,
    exceeded: BTreeMap<u64, u64>,
    calls: u64,
}

impl Judge {
    fn new(cap: u64) -> Judge {
        let clock = 1_000;
        let budget = Budget::resume(cap_of(cap), Day::from_number(clock), DayBook::default(), []);
        let (open, settled, exceeded) = Default::default();
        Judge { budget, cap, clock: clock as i64, latest: clock, open, settled, exceeded, calls: 0 }
    }

    fn apply(&mut self, step: Step) {
        let today = Day::from_number(self.clock.unsigned_abs());
        match step {
            Step::Reserve { amount, grant } => self.reserve(today, amount, grant),
            Step::Settle { pick, thousandths } => {
                let Some((id, amount)) = self.take(pick) else { return };
                let real = amount * thousandths / 1_000;
                assert!(self.budget.settle(today, ReservationId::from_number(id), Usd::from_nanos(real)));
                self.book(today, real, amount);
            }
            Step::Release { pick } => {
                let Some((id, _)) = self.take(pick) else { return };
                assert!(self.budget.release(ReservationId::from_number(id)));
            }
            Step::Again { number } => {
                if !self.open.contains_key(&number) {
                    assert!(!self.budget.settle(today, ReservationId::from_number(number), Usd::from_nanos(1)));
                    assert!(!self.budget.release(ReservationId::from_number(number)));
                    self.saw(today);
                }
            }
            Step::Clock { days } => self.clock += days,
            Step::Crash => {
                let found = std::mem::take(&mut self.open);
                let rows = found.iter().map(|(id, amount)| (ReservationId::from_number(*id), Usd::from_nanos(*amount)));
                self.budget = Budget::resume(cap_of(self.cap), today, self.budget.book(), rows);
                self.saw(today);
                found.values().for_each(|amount| self.book(today, *amount, *amount));
            }
        }
        self.check(today);
    }

    fn reserve(&mut self, today: Day, amount: u64, grant: u64) {
        self.saw(today);
        let used = self.settled_today() + self.open.values().sum::<u64>();
        let left = self.cap.saturating_sub(used);
        match self.budget.reserve(today, Usd::from_nanos(amount), Usd::from_nanos(grant)) {
            Ok(id) => {
                assert!(amount <= grant && amount <= left, "{amount} of {grant} and {left}");
                assert_eq!(self.open.insert(id.number(), amount), None, "a number twice");
            }
            Err(Exhausted::Grant { left, .. }) => assert!(amount > grant && left.nanos() == grant),
            Err(Exhausted::Daily { left: told, next_day, .. }) => {
                assert!(amount > left && told.nanos() == left);
                assert_eq!(next_day, (self.latest + 1) * 86_400);
            }
            Err(Exhausted::Open) => assert_eq!(self.open.len(), MAX_OPEN_RESERVATIONS),
        }
    }

    fn take(&mut self, pick: usize) -> Option<(u64, u64)> {
        let id = *self.open.keys().nth(pick.checked_rem(self.open.len())?)?;
        self.open.remove_entry(&id)
    }

    fn book(&mut self, today: Day, real: u64, reserved: u64) {
        self.saw(today);
        *self.settled.entry(self.latest).or_default() += real;
        *self.exceeded.entry(self.latest).or_default() += real.saturating_sub(reserved);
        self.calls += 1;
    }

    fn saw(&mut self, today: Day) {
        if today.number() > self.latest {
            self.latest = today.number();
            self.calls = 0;
        }
    }

    fn settled_today(&self) -> u64 {
        self.settled.get(&self.latest).copied().unwrap_or(0)
    }

    fn check(&self, today: Day) {
        // A step that does not look at the clock leaves the ledger on its day.
        let told = self.budget.snapshot(Day::default());
        assert_eq!(told.book.day.number(), self.latest);
        assert_eq!(told.book.spent.nanos(), self.settled_today());
        assert_eq!(told.book.calls, self.calls);
        assert_eq!(told.reserved.nanos(), self.open.values().sum::<u64>());
        assert_eq!(told.open, self.open.len());
        let exceeded = self.exceeded.get(&self.latest).copied().unwrap_or(0);
        assert!(told.book.spent.nanos() + told.reserved.nanos() <= self.cap + exceeded);
        assert!(self.budget.snapshot(today).book.day >= told.book.day);
    }
}

fn cap_of(cap: u64) -> BudgetCap {
    BudgetCap::Daily(Usd::from_nanos(cap))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_course_of_events_stays_within_the_cap_of_every_day(
        cap in 0_u64..300, steps in prop::collection::vec(steps(false), 1..200)
    ) {
        let mut judge = Judge::new(cap);
        steps.into_iter().for_each(|step| judge.apply(step));
        prop_assert!(judge.settled.values().all(|settled| *settled <= cap));
    }

    #[test]
    fn calls_that_cost_more_than_reserved_exceed_the_cap_by_no_more_than_that(
        cap in 0_u64..300, steps in prop::collection::vec(steps(true), 1..200)
    ) {
        let mut judge = Judge::new(cap);
        steps.into_iter().for_each(|step| judge.apply(step));
        let exceeded = |day| judge.exceeded.get(day).copied().unwrap_or(0);
        prop_assert!(judge.settled.iter().all(|(day, settled)| *settled <= cap + exceeded(day)));
    }
}
