//! What keys may spend in a day, and what one request may and did.
//!
//! A key with a cap has a ledger of its day: what is settled, and what is reserved for requests that
//! run. A request's *purse* carries its grant from edge to edge. Amounts are whole nano-dollars, so
//! that sums are exact; days are UTC and never earlier than the latest one known.
//!
//! Invariants: what is settled and reserved of a key's day is never above its cap, but for what an
//! edge spends beyond its grant, which is booked in full; a grant of which no word came is spent.
//! Absent: the disk, which the shell writes before it uses a grant.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use causeway_wire::{Code, Failure, Outcome};

use crate::core::errors::Refusal;

/// Nano-dollars in a dollar.
const NANOS: f64 = 1e9;

/// The largest amount, nano-dollars: a million dollars, far more than a day costs. What an edge
/// reports beyond it is nonsense, and sums of thousands of it still fit a database's integer.
const MOST: u64 = 1_000_000 * 1_000_000_000;

const DAY: u64 = 86_400;

/// What one request of a key without a cap may spend. Finite, because `open` carries a number; far
/// more than any answer costs, because there is nothing to share out: the edge's own cap bounds it.
pub const UNCAPPED: Usd = Usd(1_000 * 1_000_000_000);

/// A grant is this part of the day's cap, so that so many requests run at once before one finds
/// everything reserved…
const SHARE: u64 = 20;

/// …or this much if that is more: less than a cent rarely pays for a whole answer.
const LEAST: Usd = Usd(10_000_000);

/// US dollars, in whole nano-dollars: zero to a million.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Usd(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// That many nano-dollars, bounded.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos.min(MOST))
    }

    /// The nearest amount to a number of dollars. What is no amount (negative, not a number) is zero.
    #[must_use]
    pub fn from_f64(dollars: f64) -> Self {
        // The cast saturates, and gives zero for what is not a number or negative.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating is what is wanted")]
        let nanos = (dollars * NANOS).round() as u64;
        Self::from_nanos(nanos)
    }

    /// Reads an amount as people write it.
    ///
    /// # Errors
    ///
    /// It is not a number of dollars from 0 to a million.
    pub fn parse(text: &str) -> Result<Self, String> {
        let dollars: Option<f64> = text.parse().ok();
        let within = |dollars: &f64| dollars.is_finite() && (0.0..=1_000_000.0).contains(dollars);
        let expected = "expected an amount of US dollars from 0 to 1000000, as in 5 or 0.50";
        dollars.filter(within).map(Self::from_f64).ok_or_else(|| expected.to_owned())
    }

    /// Nano-dollars.
    #[must_use]
    pub fn nanos(self) -> u64 {
        self.0
    }

    /// Dollars.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "up to nine million dollars every nano-dollar is exact")]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / NANOS
    }

    fn plus(self, other: Self) -> Self {
        Self::from_nanos(self.0.saturating_add(other.0))
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Usd {
    /// As short as it can be said, with cents at least: `5.00`, `0.0012`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let digits = format!("{part:09}");
        let digits = digits.trim_end_matches('0');
        write!(f, "{whole}.{digits:0<2}")
    }
}

/// A part of a key's day that is set aside for one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// UTC day, counted from 1970, which it belongs to whenever it is settled.
    pub day: u64,
    /// How much.
    pub amount: Usd,
}

/// All capped keys' days.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The latest day known.
    day: u64,
    keys: HashMap<String, Spent>,
}

/// One key's day.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    day: u64,
    settled: Usd,
    reserved: Usd,
}

impl Ledger {
    /// What is known from before: the latest day, and what keys have spent on it.
    #[must_use]
    pub fn new(day: u64, settled: impl IntoIterator<Item = (String, Usd)>) -> Self {
        let spent = |settled| Spent { day, settled, reserved: Usd::ZERO };
        Self { day, keys: settled.into_iter().map(|(key, settled)| (key, spent(settled))).collect() }
    }

    /// Today, though never earlier than a day that was before; `now` in Unix seconds.
    pub fn today(&mut self, now: u64) -> u64 {
        self.day = self.day.max(now / DAY);
        self.day
    }

    /// Sets aside what the next request of a key may spend: what is left of its day, at most a
    /// twentieth of the cap or one cent. Nothing is set aside where nothing is left.
    pub fn reserve(&mut self, key: &str, cap: Usd, now: u64) -> Grant {
        let day = self.today(now);
        let spent = self.of(key, day);
        let left = cap.minus(spent.settled).minus(spent.reserved);
        let amount = left.min(LEAST.max(Usd(cap.0 / SHARE)));
        spent.reserved = spent.reserved.plus(amount);
        Grant { day, amount }
    }

    /// A grant's request is over, having spent so much.
    pub fn settle(&mut self, key: &str, grant: Grant, spent: Usd) {
        // What is settled late belongs to a day that nobody asks about any more.
        if let Some(known) = self.keys.get_mut(key).filter(|known| known.day == grant.day) {
            known.reserved = known.reserved.minus(grant.amount);
            known.settled = known.settled.plus(spent);
        }
    }

    /// What a key without anything left is told.
    #[must_use]
    pub fn exhausted(&self, cap: Usd, now: u64) -> Refusal {
        let next = self.day.max(now / DAY).saturating_add(1).saturating_mul(DAY);
        let message = if cap == Usd::ZERO {
            "this key may spend nothing on Amazon Bedrock; let the edge's own machine answer (x-causeway-route: auto)"
                .to_owned()
        } else {
            format!(
                "the {cap} US dollars that this key may spend a day on Amazon Bedrock are spent, or set aside for \
                 requests that run; wait for the next day (UTC), or let the edge's own machine answer \
                 (x-causeway-route: auto)"
            )
        };
        Refusal::new(Code::BudgetExhausted, message).after(Duration::from_secs(next.saturating_sub(now)))
    }

    fn of(&mut self, key: &str, day: u64) -> &mut Spent {
        let spent = self.keys.entry(key.to_owned()).or_default();
        if spent.day != day {
            *spent = Spent { day, ..Spent::default() };
        }
        spent
    }
}

/// What the end of a stream says of its spending.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Word {
    /// The edge says how much.
    Spent(Usd),
    /// Nobody says: the edge or the way to it is gone.
    None,
}

impl Word {
    /// An edge that ends without an amount has spent nothing.
    #[must_use]
    pub fn of_end(outcome: Option<&Outcome>) -> Self {
        Self::Spent(outcome.and_then(|outcome| outcome.usd).map_or(Usd::ZERO, Usd::from_f64))
    }

    /// A failure without an amount has cost nothing, unless it comes from the link (or another run of
    /// the edge, after `open` was sent) or from an edge that lost track of the request.
    #[must_use]
    pub fn of_failure(failure: &Failure) -> Self {
        match (failure.outcome.usd, failure.code) {
            (Some(dollars), _) => Self::Spent(Usd::from_f64(dollars)),
            (None, Code::LinkLost | Code::WrongInstance | Code::Internal) => Self::None,
            (None, _) => Self::Spent(Usd::ZERO),
        }
    }
}

/// What one request may spend, over all edges that it is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purse {
    left: Usd,
    spent: Usd,
    /// What the edges themselves have said.
    said: Usd,
    /// An edge has it and has not said what it spent.
    open: bool,
    over: bool,
    silent: bool,
}

impl Purse {
    /// With a grant in it.
    #[must_use]
    pub fn new(grant: Usd) -> Self {
        let none = Usd::ZERO;
        Self { left: grant, spent: none, said: none, open: false, over: false, silent: false }
    }

    /// What the next edge may spend.
    #[must_use]
    pub fn left(&self) -> Usd {
        self.left
    }

    /// An `open` that carries it goes out, also one with nothing in it: an edge can report all the same.
    pub fn sent(&mut self) {
        self.open = true;
    }

    /// An edge may be spending it now.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.open && self.left > Usd::ZERO
    }

    /// The edge that had it is done with it, or is given up.
    pub fn back(&mut self, word: Word) {
        if !self.open {
            return;
        }
        self.open = false;
        match word {
            Word::Spent(spent) => {
                self.over |= spent > self.left;
                self.left = self.left.minus(spent);
                self.spent = self.spent.plus(spent);
                self.said = self.said.plus(spent);
            }
            Word::None => {
                self.silent |= self.left > Usd::ZERO;
                self.spent = self.spent.plus(self.left);
                self.left = Usd::ZERO;
            }
        }
    }

    /// What is booked; an edge that still has it is given up.
    #[must_use]
    pub fn close(mut self) -> Closed {
        self.back(Word::None);
        Closed { spent: self.spent, said: self.said, over: self.over, silent: self.silent }
    }
}

/// What became of a purse.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Closed {
    /// Said by edges, and granted to those that fell silent.
    pub spent: Usd,
    /// Said by edges alone.
    pub said: Usd,
    /// An edge spent more than it was granted.
    pub over: bool,
    /// An edge never said what it spent.
    pub silent: bool,
}

#[cfg(test)]
#[path = "spend_tests.rs"]
mod tests;
