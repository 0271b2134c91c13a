//! A model at run time: its slots, whether it is resident, and the permit of one running answer.
//!
//! Invariants: a permit lives until the last byte or until the client is gone; dropping it is the
//! one place where an answer's end is recorded.
//! Absent: eviction. A model stays resident until `keep_alive: 0` unloads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::{Config, Fault, Model, Pace};
use crate::observe::{Cancel, Observations, Ran};

/// One model of a running stand-in.
pub(crate) struct Slots {
    pub(crate) model: Model,
    pub(crate) pace: Pace,
    pub(crate) parallel: usize,
    pub(crate) modified: SystemTime,
    semaphore: Arc<Semaphore>,
    /// Loads do not end while this is true.
    held: watch::Receiver<bool>,
    resident: AtomicBool,
}

impl Slots {
    pub(crate) fn new(model: Model, config: &Config, held: watch::Receiver<bool>) -> Self {
        let parallel = model.parallel.unwrap_or(config.parallel).max(1);
        Self {
            pace: model.pace.unwrap_or(config.pace),
            semaphore: Arc::new(Semaphore::new(parallel)),
            parallel,
            held,
            modified: SystemTime::now(),
            resident: AtomicBool::new(false),
            model,
        }
    }

    pub(crate) fn resident(&self) -> bool {
        self.resident.load(Ordering::Relaxed)
    }

    pub(crate) fn unload(&self) {
        self.resident.store(false, Ordering::Relaxed);
    }

    pub(crate) fn in_use(&self) -> usize {
        self.parallel - self.semaphore.available_permits().min(self.parallel)
    }

    /// Loads the model if needed and returns the time that took.
    pub(crate) async fn load(&self) -> Duration {
        let begun = Instant::now();
        if !self.resident() {
            if !self.model.load.is_zero() {
                tokio::time::sleep(self.model.load).await;
            }
            // An error is a stand-in that ends.
            let _ = self.held.clone().wait_for(|held| !held).await;
            self.resident.store(true, Ordering::Relaxed);
        }
        begun.elapsed()
    }

    /// Waits for a slot without a byte, for as long as the client stays.
    pub(crate) async fn run(&self, seed: u64, fault: Option<Fault>, observations: &Arc<Observations>) -> Run {
        observations.enter();
        let mut run = Run {
            seed,
            came: Instant::now(),
            began: None,
            tokens: 0,
            finished: None,
            fault: fault.or_else(|| self.model.fault.clone()),
            observations: Arc::clone(observations),
            permit: None,
        };
        run.permit = Arc::clone(&self.semaphore).acquire_owned().await.ok();
        run.began = Some(Instant::now());
        run
    }
}

/// One answer being made. Dropped unfinished: the client left.
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) tokens: u32,
    pub(crate) fault: Option<Fault>,
    pub(crate) observations: Arc<Observations>,
    came: Instant,
    began: Option<Instant>,
    finished: Option<Instant>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Run {
    /// The answer is whole, or was broken off on purpose: no cancel.
    pub(crate) fn finish(&mut self) {
        self.finished = Some(Instant::now());
        self.permit = None;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.permit = None;
        let (now, seed, tokens) = (Instant::now(), self.seed, self.tokens);
        let ended = self.finished.unwrap_or(now);
        self.observations.ran(Ran { seed, came: self.came, began: self.began, ended, tokens });
        self.observations.leave(self.finished.is_none().then_some(Cancel { at: now, seed, tokens }));
    }
}
