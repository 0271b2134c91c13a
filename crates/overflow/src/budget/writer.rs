//! The thread that writes the budget: what gathers while it waits for the disk is its next write.
//!
//! Decisions are made in memory at once ([`State`]); what they need on the disk goes out in one
//! transaction, which holds everything up to a moment. So whatever is in the file was true at that
//! moment, and a reservation made with money that a settlement freed is never there without it.
//! Invariants: whoever waits is told once, after its reservation is on the disk or when it will not
//! be; a write that failed is tried again with what has gathered since. Absent: who waits and why.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_policy::{Budget, Day, Exhausted, MAX_OPEN_RESERVATIONS, ReservationId, Usd};
use tokio::sync::{oneshot, watch};

use super::store::{Change, PurseError, Store};

/// A disk that refused is tried again after this.
const AGAIN: Duration = if cfg!(test) { Duration::from_millis(2) } else { Duration::from_secs(1) };

/// After this long without a change the log is moved into the file.
const REST: Duration = Duration::from_secs(1);

/// Reservations that wait for the disk, count: also those that were given up while it hangs.
const MAX_WAITING: usize = MAX_OPEN_RESERVATIONS;

/// What is told where there is no thread any more.
pub(super) const CLOSED: &str = "the budget is closed; nothing overflows until this program is started again";

/// What has become of a write: done, or the standing fault.
pub(super) type Written = Result<(), Arc<str>>;

/// The ledger with what the file does not have of it yet.
pub(super) struct State {
    pub(super) budget: Budget,
    change: Change,
    waiting: Vec<oneshot::Sender<Written>>,
    /// Why nothing can be written now.
    pub(super) fault: Option<Arc<str>>,
    stop: bool,
    /// Transactions written, count.
    #[cfg(test)]
    pub(super) writes: usize,
    /// SQL to be run before the next one.
    #[cfg(test)]
    pub(super) tamper: Vec<String>,
}

/// Between the runtime and the thread.
pub(super) struct Shared {
    state: Mutex<State>,
    /// There is something to write, or it is time to stop.
    wake: Condvar,
    /// The thread is gone, and the file is free.
    ended: watch::Sender<bool>,
}

/// What one write is made of.
struct Taken {
    change: Change,
    waiting: Vec<oneshot::Sender<Written>>,
    /// It is the last.
    stop: bool,
}

/// Why there is nothing to wait for.
pub(super) enum Turned {
    Exhausted(Exhausted),
    Fault(Arc<str>),
    Busy,
}

impl State {
    /// Reserves; the receiver hears when the disk has it.
    pub(super) fn reserve(
        &mut self,
        today: Day,
        amount: Usd,
        grant: Usd,
    ) -> Result<(ReservationId, oneshot::Receiver<Written>), Turned> {
        if self.stop {
            return Err(Turned::Fault(CLOSED.into()));
        }
        if let Some(fault) = &self.fault {
            return Err(Turned::Fault(Arc::clone(fault)));
        }
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.retain(|waiting| !waiting.is_closed());
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(Turned::Busy);
        }
        let id = self.budget.reserve(today, amount, grant).map_err(Turned::Exhausted)?;
        let (tell, told) = oneshot::channel();
        self.waiting.push(tell);
        self.change.opened.insert(id, amount);
        self.note_book();
        Ok((id, told))
    }

    /// Books what a call cost.
    pub(super) fn settle(&mut self, today: Day, id: ReservationId, real: Usd) {
        if self.budget.settle(today, id, real) {
            self.note_closed(id);
        }
    }

    /// Gives back what was for a call that was never sent.
    pub(super) fn release(&mut self, id: ReservationId) {
        if self.budget.release(id) {
            self.note_closed(id);
        }
    }

    fn note_closed(&mut self, id: ReservationId) {
        // What no write has taken yet needs none. Else it may be in the file even where the write
        // failed: a disk can report an error for what it has.
        if self.change.opened.remove(&id).is_none() {
            self.change.closed.insert(id);
        }
        self.note_book();
    }

    fn note_book(&mut self) {
        let book = self.budget.book();
        self.change.books.insert(book.day, book);
    }

    /// Puts back what could not be written. Its reservations are refused and so not among it.
    fn put_back(&mut self, failed: Change) {
        self.change.closed.extend(failed.closed);
        for (day, book) in failed.books {
            self.change.books.entry(day).or_insert(book);
        }
    }
}

impl Shared {
    /// Starts the thread. `found`: reservations in the file that `budget` counts as spent.
    pub(super) fn start(
        store: Store,
        budget: Budget,
        found: impl Iterator<Item = ReservationId>,
    ) -> std::io::Result<Arc<Self>> {
        let mut state = State {
            budget,
            change: Change { closed: found.collect(), ..Change::default() },
            waiting: Vec::new(),
            fault: None,
            stop: false,
            #[cfg(test)]
            writes: 0,
            #[cfg(test)]
            tamper: Vec::new(),
        };
        state.note_book();
        let shared =
            Arc::new(Self { state: Mutex::new(state), wake: Condvar::new(), ended: watch::Sender::new(false) });
        let last = Last(Arc::clone(&shared));
        std::thread::Builder::new().name("budget".to_owned()).spawn(move || last.0.write_until_stopped(store))?;
        Ok(shared)
    }

    /// For a moment, in memory alone.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to write.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Writes what there is and ends the thread.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.wake();
    }

    /// Waits until the thread is gone.
    pub(super) async fn ended(&self) {
        // The sender is this one's own.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    fn write_until_stopped(&self, mut store: Store) {
        let mut rested = false;
        loop {
            let Taken { change, waiting, stop } = self.take(rested);
            rested = change.is_empty();
            if rested {
                store.settle_down();
                if stop {
                    return;
                }
                continue;
            }
            #[cfg(test)]
            std::mem::take(&mut self.lock().tamper).iter().for_each(|sql| store.tamper(sql));
            let outcome = store.write(&change);
            let failed = outcome.is_err();
            self.tell(change, waiting, outcome);
            if stop && failed {
                return;
            }
        }
    }

    /// Waits for something to write. There is nothing at the end, or after a while of rest; `rested`:
    /// that was told already.
    fn take(&self, rested: bool) -> Taken {
        let mut state = self.lock();
        if state.fault.is_some() {
            let on = |state: &mut State| !state.stop;
            state = self.wake.wait_timeout_while(state, AGAIN, on).unwrap_or_else(PoisonError::into_inner).0;
            // Also where all is resolved by now: it is the writing that is tried.
            state.note_book();
        } else {
            let patience = if rested { Duration::MAX } else { REST };
            let idle = |state: &mut State| !state.stop && state.change.is_empty();
            state = self.wake.wait_timeout_while(state, patience, idle).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (change, waiting) = (std::mem::take(&mut state.change), std::mem::take(&mut state.waiting));
        Taken { change, waiting, stop: state.stop }
    }

    fn tell(&self, change: Change, mut waiting: Vec<oneshot::Sender<Written>>, outcome: Result<(), PurseError>) {
        let mut state = self.lock();
        let fault: Option<Arc<str>> = outcome.err().map(|error| error.to_string().into());
        match (&state.fault, &fault) {
            (None, Some(fault)) => tracing::error!(%fault, "nothing overflows: the budget cannot be kept"),
            (Some(_), None) => tracing::info!("the budget can be kept again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        state.fault.clone_from(&fault);
        if fault.is_some() {
            state.put_back(change);
            // Who came meanwhile does not wait for the next try either.
            waiting.append(&mut state.waiting);
        } else {
            #[cfg(test)]
            {
                state.writes += 1;
            }
        }
        drop(state);
        let written = fault.map_or(Ok(()), Err);
        for tell in waiting {
            // Whoever has left has given its reservation back.
            let _ = tell.send(written.clone());
        }
    }
}

/// However the thread ends, nobody waits for it any more and nothing more is reserved.
struct Last(Arc<Shared>);

impl Drop for Last {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.fault.get_or_insert_with(|| CLOSED.into());
        state.waiting.clear();
        drop(state);
        self.0.ended.send_replace(true);
    }
}
