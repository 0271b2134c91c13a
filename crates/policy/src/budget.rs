//! What overflow may cost: the edge's ledger of one UTC day, as a state machine.
//!
//! A call's cost is reserved before the call is made, within the relay's grant for its stream and
//! within the day's cap, and settled once when it has ended. Invariants: what is spent and reserved
//! stays within the cap but for calls that cost more than was reserved for them, which are counted;
//! a reservation is resolved once; the day never goes back, so that no clock brings money back.
//!
//! What is settled is booked on the day it is settled. A call that is open at midnight therefore
//! stays reserved against the new day: its money may be owed on either, and booked on the old day
//! all calls open at midnight would come on top of the new day's cap.
//!
//! Absent: storage. The shell keeps [`DayBook`] and the open reservations, and gives both back to
//! [`Budget::resume`].

mod day;
mod money;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

pub use day::Day;
pub use money::{Price, Usd};

/// Open reservations at once, count: four for each of the daemon's streams, of which a hedged or
/// retried one needs two. About 50 bytes each.
pub const MAX_OPEN_RESERVATIONS: usize = 1_024;

/// What may be spent in a day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cap {
    /// As much as the relay grants.
    Unlimited,
    /// This much in a UTC day.
    Daily(Usd),
}

impl Cap {
    fn limit(self) -> Usd {
        match self {
            Cap::Unlimited => Usd::MAX,
            Cap::Daily(limit) => limit,
        }
    }
}

/// One reservation's number in its ledger; never used again while the ledger lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReservationId(u64);

impl ReservationId {
    /// As stored.
    #[must_use]
    pub const fn from_number(number: u64) -> ReservationId {
        ReservationId(number)
    }

    /// To be stored.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Why nothing was reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exhausted {
    /// It is more than the relay grants this stream.
    Grant {
        /// What the call may cost.
        asked: Usd,
        /// What is left of the grant.
        left: Usd,
    },
    /// It is more than what is left of the day's cap.
    Daily {
        /// What the call may cost.
        asked: Usd,
        /// What is left of the cap.
        left: Usd,
        /// When the next day begins, Unix seconds.
        next_day: u64,
    },
    /// [`MAX_OPEN_RESERVATIONS`] are open.
    Open,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exhausted::Grant { asked, left } => {
                write!(f, "the call may cost {asked}, and {left} is left of what the relay grants this request")
            }
            Exhausted::Daily { asked, left, .. } => {
                write!(f, "the call may cost {asked}, and {left} is left of the day's budget")
            }
            Exhausted::Open => write!(f, "{MAX_OPEN_RESERVATIONS} calls are open already"),
        }
    }
}

impl Error for Exhausted {}

/// What was booked on one day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DayBook {
    /// The day.
    pub day: Day,
    /// The sum of all that was settled.
    pub spent: Usd,
    /// Calls settled, count.
    pub calls: u64,
    /// Calls that cost more than was reserved for them, count.
    pub overruns: u64,
}

/// The ledger at a glance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BudgetSnapshot {
    /// What may be spent.
    pub cap: Cap,
    /// What was.
    pub book: DayBook,
    /// The sum of the open reservations.
    pub reserved: Usd,
    /// Open reservations, count.
    pub open: usize,
}

impl BudgetSnapshot {
    /// What may still be reserved today; [`Usd::MAX`] and near it without a cap.
    #[must_use]
    pub fn left(&self) -> Usd {
        self.cap.limit().minus(self.book.spent).minus(self.reserved)
    }
}

/// See the module's head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Budget {
    cap: Cap,
    book: DayBook,
    open: BTreeMap<ReservationId, Usd>,
    /// The sum of `open`.
    reserved: Usd,
    next: ReservationId,
}

impl Budget {
    /// A ledger as it was stored. Reservations that are found open belong to calls that nobody has
    /// seen the end of: they count as spent in full, on `today`.
    pub fn resume(
        cap: Cap,
        today: Day,
        stored: DayBook,
        found: impl IntoIterator<Item = (ReservationId, Usd)>,
    ) -> Budget {
        let mut budget =
            Budget { cap, book: stored, open: BTreeMap::new(), reserved: Usd::ZERO, next: ReservationId(0) };
        budget.turn(today);
        for (id, amount) in found {
            budget.book.calls += 1;
            budget.book.spent = budget.book.spent.plus(amount);
            budget.next = budget.next.max(ReservationId(id.0.saturating_add(1)));
        }
        budget
    }

    /// Sets `amount` aside for one call. `grant`: what is left of what the relay grants its stream.
    ///
    /// # Errors
    ///
    /// Which of the two it exceeds.
    pub fn reserve(&mut self, today: Day, amount: Usd, grant: Usd) -> Result<ReservationId, Exhausted> {
        self.turn(today);
        if amount > grant {
            return Err(Exhausted::Grant { asked: amount, left: grant });
        }
        let left = self.snapshot(today).left();
        if amount > left {
            return Err(Exhausted::Daily { asked: amount, left, next_day: self.book.day.next().begins() });
        }
        if self.open.len() >= MAX_OPEN_RESERVATIONS {
            return Err(Exhausted::Open);
        }
        let id = self.next;
        self.next = ReservationId(id.0.saturating_add(1));
        self.open.insert(id, amount);
        // It fits within what is left, so that it is exact.
        self.reserved = self.reserved.plus(amount);
        Ok(id)
    }

    /// Books what a call really cost, also where that is more than was reserved: that money is gone.
    /// `false`: it was resolved before, and nothing happens.
    pub fn settle(&mut self, today: Day, id: ReservationId, real: Usd) -> bool {
        self.turn(today);
        let Some(amount) = self.close(id) else { return false };
        self.book.calls += 1;
        self.book.overruns += u64::from(real > amount);
        self.book.spent = self.book.spent.plus(real);
        true
    }

    /// Gives back what was set aside for a call that was never sent. `false`: it was resolved before,
    /// and nothing happens.
    pub fn release(&mut self, id: ReservationId) -> bool {
        self.close(id).is_some()
    }

    /// What is to be stored of the day.
    #[must_use]
    pub fn book(&self) -> DayBook {
        self.book
    }

    /// What is set aside for a call that is open.
    #[must_use]
    pub fn reservation(&self, id: ReservationId) -> Option<Usd> {
        self.open.get(&id).copied()
    }

    /// How it stands.
    #[must_use]
    pub fn snapshot(&self, today: Day) -> BudgetSnapshot {
        let book = turned(self.book, today);
        BudgetSnapshot { cap: self.cap, book, reserved: self.reserved, open: self.open.len() }
    }

    fn close(&mut self, id: ReservationId) -> Option<Usd> {
        let amount = self.open.remove(&id)?;
        self.reserved = self.reserved.minus(amount);
        Some(amount)
    }

    fn turn(&mut self, today: Day) {
        self.book = turned(self.book, today);
    }
}

/// The book of `today`, unless the clock was set back: then it stays.
fn turned(book: DayBook, today: Day) -> DayBook {
    if today > book.day { DayBook { day: today, ..DayBook::default() } } else { book }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
