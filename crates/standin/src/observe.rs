//! What the stand-in saw: requests, cancels, how many at once, digests of answers.
//!
//! Invariants: every store is bounded; recording a request is off unless asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

use crate::config::Config;

/// Cancels, digests and runs kept: 100,000 of each take under 10 MB, and no run here has more.
const KEPT: usize = 100_000;

/// A client that left before its answer was whole.
#[derive(Clone, Copy, Debug)]
pub struct Cancel {
    /// When the stand-in noticed.
    pub at: Instant,
    /// [`crate::text::seed`] of its prompt.
    pub seed: u64,
    /// Tokens produced until then; 0 while it waited for a slot or the first token.
    pub tokens: u32,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When its body was complete.
    pub at: Instant,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Bytes,
}

/// One answer's time here, whole or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ran {
    /// [`crate::text::seed`] of its prompt.
    pub seed: u64,
    /// When its request was here.
    pub came: Instant,
    /// When it had its slot; none for a client that left before.
    pub began: Option<Instant>,
    /// When its last byte was handed out, or its client was seen to be gone.
    pub ended: Instant,
    /// Tokens produced.
    pub tokens: u32,
}

/// Shared by all connections.
#[derive(Default)]
pub(crate) struct Observations {
    record: usize,
    digest: bool,
    log_runs: bool,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
    served: AtomicUsize,
    cancels: Mutex<VecDeque<Cancel>>,
    requests: Mutex<VecDeque<Seen>>,
    digests: Mutex<HashMap<u64, u64>>,
    runs: Mutex<VecDeque<Ran>>,
    /// Changes whenever a request begins or ends.
    changed: watch::Sender<()>,
}

impl Observations {
    pub(crate) fn new(config: &Config) -> Self {
        Self { record: config.record, digest: config.digest, log_runs: config.log_runs, ..Self::default() }
    }

    pub(crate) fn records(&self) -> bool {
        self.record > 0
    }

    pub(crate) fn request(&self, seen: Seen) {
        let mut requests = lock(&self.requests);
        if requests.len() >= self.record {
            requests.pop_front();
        }
        requests.push_back(seen);
    }

    pub(crate) fn enter(&self) {
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.max_in_flight.fetch_max(now, Ordering::Relaxed);
        self.changed.send_replace(());
    }

    /// The other end of [`Self::enter`]; `cancel` if the client left first.
    pub(crate) fn leave(&self, cancel: Option<Cancel>) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        match cancel {
            None => {
                self.served.fetch_add(1, Ordering::Relaxed);
            }
            Some(cancel) => {
                let mut cancels = lock(&self.cancels);
                if cancels.len() >= KEPT {
                    cancels.pop_front();
                }
                cancels.push_back(cancel);
            }
        }
        self.changed.send_replace(());
    }

    pub(crate) fn ran(&self, ran: Ran) {
        if self.log_runs {
            let mut runs = lock(&self.runs);
            if runs.len() >= KEPT {
                runs.pop_front();
            }
            runs.push_back(ran);
        }
    }

    pub(crate) fn runs(&self) -> Vec<Ran> {
        lock(&self.runs).iter().copied().collect()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn digests(&self) -> bool {
        self.digest
    }

    pub(crate) fn sent(&self, seed: u64, digest: u64) {
        let mut digests = lock(&self.digests);
        if digests.len() >= KEPT {
            digests.clear();
        }
        digests.insert(seed, digest);
    }

    pub(crate) fn take_digest(&self, seed: u64) -> Option<u64> {
        lock(&self.digests).remove(&seed)
    }

    pub(crate) fn cancels(&self) -> Vec<Cancel> {
        lock(&self.cancels).iter().copied().collect()
    }

    pub(crate) fn take_cancel(&self, seed: u64) -> Option<Cancel> {
        let mut cancels = lock(&self.cancels);
        let at = cancels.iter().rposition(|cancel| cancel.seed == seed)?;
        cancels.remove(at)
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        lock(&self.requests).iter().cloned().collect()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn max_in_flight(&self) -> usize {
        self.max_in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        lock(&self.cancels).clear();
        lock(&self.requests).clear();
        lock(&self.digests).clear();
        lock(&self.runs).clear();
        self.max_in_flight.store(self.in_flight(), Ordering::Relaxed);
    }
}

/// A panic elsewhere leaves only finished entries behind, so the store stays usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
