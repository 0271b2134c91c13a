//! What all requests share: Ollama, its settings, the admission, the bodies' pool, the accounts.
//!
//! Invariant: bytes of bodies are given back when their [`BodyShare`] is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use causeway_overflow::Overflow;
use causeway_policy::Limits;
use tokio::sync::mpsc;

use crate::admission::{Admission, Chore};
use crate::catalog::Catalog;
use crate::config;
use crate::observe::Observer;
use crate::ollama::Ollama;
use crate::routes::Routes;

/// Request bodies and gathered embeddings held at once, all requests together, bytes: eight of the
/// largest bodies, or two of the largest answers.
pub(crate) const BODIES_POOL: usize = 256 * 1024 * 1024;

/// The shared state of all requests.
pub(crate) struct Work {
    pub(crate) ollama: Ollama,
    pub(crate) settings: config::Ollama,
    pub(crate) admit: config::Admission,
    pub(crate) catalog: Catalog,
    pub(crate) observer: Observer,
    pub(crate) bodies: Bodies,
    pub(crate) admission: Arc<Admission>,
    /// Where each model's requests may go.
    pub(crate) routes: Routes,
    /// The second backend, where there is one.
    pub(crate) overflow: Option<Arc<Overflow>>,
}

impl Work {
    /// Nothing runs yet; the commands are for [`crate::admission::chores::run`].
    pub(crate) fn new(
        ollama: Ollama,
        (settings, admit): (config::Ollama, config::Admission),
        (routes, overflow): (Routes, Option<Arc<Overflow>>),
        catalog: Catalog,
        observer: Observer,
    ) -> (Arc<Self>, mpsc::Receiver<Chore>) {
        let limits = Limits { queue: usize::try_from(admit.queue_limit).unwrap_or(usize::MAX) };
        let (admission, chores) = Admission::new(limits);
        let bodies = Bodies::default();
        let work = Self { ollama, settings, admit, catalog, observer, bodies, admission, routes, overflow };
        (Arc::new(work), chores)
    }
}

/// Bytes of request bodies and gathered embeddings held by all requests.
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

    /// It holds more than this many bytes.
    pub(crate) fn is_over(&self, bytes: usize) -> bool {
        self.held > bytes
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
