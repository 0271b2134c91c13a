//! What all requests share: Ollama, its settings, the ledger, the bodies' pool, the accounts.
//!
//! Invariants: a place in the ledger is given back when its [`Permit`] is dropped, whatever
//! happened; bytes of bodies likewise with their [`BodyShare`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use causeway_wire::Load;
use tokio::sync::Notify;

use crate::catalog::Catalog;
use crate::config;
use crate::ledger::{Ledger, Ticket};
use crate::observe::Observer;
use crate::ollama::Ollama;

/// Request bodies held at once, all requests together, bytes: eight of the largest.
const BODIES_POOL: usize = 256 * 1024 * 1024;

/// The shared state of all requests.
pub(crate) struct Work {
    pub(crate) ollama: Ollama,
    pub(crate) settings: config::Ollama,
    pub(crate) catalog: Catalog,
    pub(crate) observer: Observer,
    pub(crate) bodies: Bodies,
    /// Rung whenever the ledger changes; the load reporter listens.
    pub(crate) load_changed: Notify,
    ledger: Mutex<Ledger>,
}

impl Work {
    pub(crate) fn new(ollama: Ollama, settings: config::Ollama, catalog: Catalog, observer: Observer) -> Self {
        let (bodies, load_changed, ledger) = (Bodies::default(), Notify::new(), Mutex::default());
        Self { ollama, settings, catalog, observer, bodies, load_changed, ledger }
    }

    /// Occupies a place of the model until the permit is dropped.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant, model: &str) -> Permit {
        let ticket = self.ledger().admit(now, model, self.settings.slots(model));
        self.load_changed.notify_one();
        Permit { work: Arc::clone(self), model: model.to_owned(), ticket, answered: None }
    }

    /// For the link.
    pub(crate) fn load(&self) -> Load {
        Load { models: self.ledger().load() }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place of a model.
pub(crate) struct Permit {
    work: Arc<Work>,
    model: String,
    ticket: Ticket,
    answered: Option<Instant>,
}

impl Permit {
    /// The answer was whole: its time counts for the prediction.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.answered = Some(now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = self.answered.unwrap_or_else(|| tokio::time::Instant::now().into_std());
        self.work.ledger().release(now, &self.model, self.ticket, self.answered.is_some());
        self.work.load_changed.notify_one();
    }
}

/// Bytes of request bodies held by all requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bodies(Arc<AtomicUsize>);

impl Bodies {
    pub(crate) fn share(&self) -> BodyShare {
        BodyShare { pool: self.clone(), held: 0 }
    }
}

/// One request's part of the pool.
#[derive(Debug)]
pub(crate) struct BodyShare {
    pool: Bodies,
    held: usize,
}

impl BodyShare {
    /// Takes more; `false` where the pool is used up.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        if self.pool.0.fetch_add(bytes, Ordering::Relaxed) + bytes > BODIES_POOL {
            self.pool.0.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.held += bytes;
        true
    }

    /// The bytes are gone.
    pub(crate) fn give_back(&mut self) {
        self.pool.0.fetch_sub(std::mem::take(&mut self.held), Ordering::Relaxed);
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bodies_pool_refuses_what_is_too_much_and_takes_back_what_was_held() {
        let bodies = Bodies::default();
        let mut first = bodies.share();
        assert!(first.grow(BODIES_POOL));
        let mut second = bodies.share();
        assert!(!second.grow(1));
        drop(first);
        assert!(second.grow(1));
    }
}
