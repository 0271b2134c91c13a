//! The one table of a link's timers; `poll_timeout` is its first row.
//!
//! Invariants: one row a key; a row may be early (its owner looks and arms it again) but never
//! late. So a deadline that moves away, as one does with every receipt, costs nothing.

use std::collections::BTreeSet;
use std::time::Instant;

use foldhash::HashMap;

use crate::{ConnId, StreamId};

/// Whose deadline a row is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    /// A connection: dial, hello, liveness, rotation, retirement.
    Conn(ConnId),
    /// A stream's own timers.
    Stream(StreamId),
    /// The next dial.
    Dial,
    /// The next `load` frame.
    Load,
    /// The oldest frame without its `open`.
    Orphans,
    /// The end of the resume window of a link without connections.
    Down,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    rows: BTreeSet<(Instant, Key)>,
    armed: HashMap<Key, Instant>,
}

impl Timers {
    /// Makes sure that the key's row comes at `at` or earlier.
    pub(super) fn arm(&mut self, key: Key, at: Option<Instant>) {
        let Some(at) = at else { return };
        match self.armed.get_mut(&key) {
            Some(armed) if *armed <= at => {}
            Some(armed) => {
                self.rows.remove(&(*armed, key));
                *armed = at;
                self.rows.insert((at, key));
            }
            None => {
                self.armed.insert(key, at);
                self.rows.insert((at, key));
            }
        }
    }

    pub(super) fn forget(&mut self, key: Key) {
        if let Some(at) = self.armed.remove(&key) {
            self.rows.remove(&(at, key));
        }
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Key> {
        let &(at, key) = self.rows.first()?;
        if at > now {
            return None;
        }
        self.forget(key);
        Some(key)
    }

    /// Whose rows there are.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.armed.keys()
    }

    /// For the audit: both halves of the table hold the same rows.
    pub(super) fn counts(&self) -> [(&'static str, usize, usize); 1] {
        let paired = self.rows.iter().filter(|(at, key)| self.armed.get(key) == Some(at)).count();
        [("rows", self.rows.len().max(self.armed.len()), paired)]
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.rows.first().map(|&(at, _)| at)
    }
}
