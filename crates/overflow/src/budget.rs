//! A program's budget of overflow on the disk: what a call may cost is reserved there before the call.
//!
//! [`Purse`] keeps a [`Budget`] in a file. Invariants: [`Purse::reserve`] returns when the reservation
//! is on the disk, so that after a crash, loss of power included, every call that was made is counted;
//! what is found open at a start counts as spent in full; a [`Reserved`] that is dropped is settled in
//! full; while nothing can be written nothing is reserved. The runtime never waits for the disk: a
//! thread of its own writes (`budget/writer.rs`), started by [`Purse::open`] and ended by
//! [`Purse::close`] or with the purse; should it end before, [`Purse::ended`] says so.
//!
//! Absent: prices and grants, which the caller brings; and a clock, for the same reason.

mod store;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_dialect::time::{Utc, utc};
use causeway_policy::{Budget, BudgetCap, BudgetSnapshot, Day, Exhausted, ReservationId, Usd};

pub use store::PurseError;
use store::Store;
use writer::{Shared, Turned};

/// Why a call may not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It may cost more than there is.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// It could not be written down; says what to do.
    #[error("{0}")]
    Fault(Arc<str>),
    /// The disk is slower than the calls come.
    #[error("too many calls wait for the budget's disk")]
    Busy,
}

/// See the module's head. Cheap to clone; all clones are one purse.
#[derive(Clone)]
pub struct Purse(Arc<Owner>);

/// With its last purse the thread ends.
struct Owner {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Purse {
    /// Opens the file, or makes it where there is none, and starts the thread that writes it.
    /// Waits for the disk: for the start of a program.
    ///
    /// # Errors
    ///
    /// What is wrong with the file and what to do; nothing may overflow then.
    pub fn open(path: &Path, cap: BudgetCap, now_unix_secs: u64) -> Result<Self, PurseError> {
        let (store, kept) = Store::open(path)?;
        if !kept.open.is_empty() {
            let lost: Usd = kept.open.iter().map(|(_, amount)| *amount).sum();
            tracing::warn!(calls = kept.open.len(), %lost, "calls that the last run did not see the end of count in full");
        }
        let found: Vec<ReservationId> = kept.open.iter().map(|(id, _)| *id).collect();
        let budget = Budget::resume(cap, Day::of(now_unix_secs), kept.book, kept.open);
        let shared = Shared::start(store, budget, found.into_iter())
            .map_err(|error| PurseError::Other { path: path.to_owned(), detail: error.to_string() })?;
        Ok(Self(Arc::new(Owner { path: path.to_owned(), shared })))
    }

    /// Sets aside what a call may cost; it may be made when this returns. `grant`: what is left of
    /// what the relay grants the call's stream. Given up while it waits, nothing stays reserved.
    ///
    /// # Errors
    ///
    /// Why it may not be made. Nothing is reserved.
    pub async fn reserve(&self, now_unix_secs: u64, amount: Usd, grant: Usd) -> Result<Reserved, Refused> {
        let shared = &self.0.shared;
        let turned = shared.lock().reserve(Day::of(now_unix_secs), amount, grant);
        let (id, written) = turned.map_err(|turned| match turned {
            Turned::Exhausted(exhausted) => Refused::Exhausted(exhausted),
            Turned::Fault(fault) => Refused::Fault(fault),
            Turned::Busy => Refused::Busy,
        })?;
        shared.wake();
        let mut reserved = Reserved { shared: Arc::clone(shared), id, amount, left_alone: LeftAlone::Release };
        match written.await {
            Ok(Ok(())) => {
                reserved.left_alone = LeftAlone::SettleInFull;
                Ok(reserved)
            }
            Ok(Err(fault)) => Err(Refused::Fault(fault)),
            // The thread dies, and may not have come to say so.
            Err(_gone) => Err(Refused::Fault(writer::CLOSED.into())),
        }
    }

    /// How the day stands; never waits for the disk.
    pub fn snapshot(&self, now_unix_secs: u64) -> BudgetSnapshot {
        self.0.shared.lock().budget.snapshot(Day::of(now_unix_secs))
    }

    /// What keeps calls from being made although there may be money, and what to do.
    pub fn fault(&self, now_unix_secs: u64) -> Option<Arc<str>> {
        let state = self.0.shared.lock();
        let (day, today) = (state.budget.book().day, Day::of(now_unix_secs));
        let ahead = || {
            // A step back over midnight is over soon; this one is not.
            (day > today.next()).then(|| {
                let Utc { year, month, day, .. } = utc(day.begins());
                let path = self.0.path.display();
                format!(
                    "the budget counts {year:04}-{month:02}-{day:02}, which is ahead of this machine's clock, and \
                     no new day begins before; set the clock, or move {path} away, which forgets what was spent today"
                )
                .into()
            })
        };
        state.fault.clone().or_else(ahead)
    }

    /// Writes what is not written yet and frees the file; nothing can be reserved any more.
    pub async fn close(&self) {
        self.0.shared.stop();
        self.ended().await;
    }

    /// Returns when the thread has ended, which without [`Purse::close`] it must not.
    pub async fn ended(&self) {
        self.0.shared.ended().await;
    }
}

/// What a call may cost, set aside on the disk. It is for one call.
#[must_use = "dropped, it is booked in full"]
pub struct Reserved {
    shared: Arc<Shared>,
    id: ReservationId,
    amount: Usd,
    left_alone: LeftAlone,
}

/// What becomes of a reservation that is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LeftAlone {
    /// Its caller left before the disk had it, so that no call was made.
    Release,
    /// A call may have been made.
    SettleInFull,
    /// It is resolved.
    Nothing,
}

impl Reserved {
    /// What was set aside.
    pub fn amount(&self) -> Usd {
        self.amount
    }

    /// Books what the call cost, whether less or more. What it frees can be reserved at once.
    pub fn settle(mut self, now_unix_secs: u64, real: Usd) {
        self.left_alone = LeftAlone::Nothing;
        self.shared.lock().settle(Day::of(now_unix_secs), self.id, real);
        self.shared.wake();
    }

    /// Gives all of it back: the call was never sent.
    pub fn release(mut self) {
        self.left_alone = LeftAlone::Nothing;
        self.shared.lock().release(self.id);
        self.shared.wake();
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        match self.left_alone {
            LeftAlone::Nothing => return,
            LeftAlone::Release => self.shared.lock().release(self.id),
            // On the day that the ledger is on: there is no clock here, and no day comes before it.
            LeftAlone::SettleInFull => self.shared.lock().settle(Day::default(), self.id, self.amount),
        }
        self.shared.wake();
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod kill_tests;
