//! When to dial again: after a loss, a failed try, a refusal. Pure; `docs/protocol.md`, "Reconnect".
//!
//! Invariants: the backoff grows only over consecutive attempts without `welcome`; a stated time
//! (Retry-After, goaway) wins; more than 10 losses a minute hold every delay at 1 s.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::DialFailure;
use crate::limits::{
    BACKOFF_MAX, BACKOFF_MIN, LOSSES_A_MINUTE, LOSSY_DELAY, MAX_RETRY_AFTER, REDIAL_SOON, REFUSED_DELAY,
    REFUSED_IN_A_ROW,
};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Dialer {
    /// Attempts without `welcome` since the last one with.
    failures: u32,
    refused: u32,
    losses: VecDeque<Instant>,
    lossy: bool,
    earliest: Instant,
    /// When the relay said to come; while that is ahead, nothing that happens here changes it.
    stated: Option<Instant>,
}

impl Dialer {
    pub(super) fn new(now: Instant) -> Self {
        Self { failures: 0, refused: 0, losses: VecDeque::new(), lossy: false, earliest: now, stated: None }
    }

    /// No dial before this.
    pub(super) fn earliest(&self) -> Instant {
        self.earliest
    }

    /// The last attempts failed: one connection at a time tries.
    pub(super) fn failing(&self) -> bool {
        self.failures > 0
    }

    pub(super) fn welcomed(&mut self) {
        self.failures = 0;
        self.refused = 0;
    }

    /// A welcomed connection was lost; `proven` if it had carried an ack. Returns whether losses
    /// have just become a fault.
    pub(super) fn lost(&mut self, now: Instant, proven: bool, rng: &mut StdRng) -> bool {
        self.losses.push_back(now);
        self.forget_old(now);
        let lossy = self.losses.len() > LOSSES_A_MINUTE;
        let fault = lossy && !self.lossy;
        self.lossy = lossy;
        let delay = match (lossy, proven) {
            (true, _) => LOSSY_DELAY,
            (false, true) => jitter(rng, REDIAL_SOON),
            (false, false) => jitter(rng, self.ceiling()),
        };
        self.wait(now, delay);
        fault
    }

    /// An attempt ended without `welcome`.
    pub(super) fn failed(&mut self, now: Instant, failure: &DialFailure, rng: &mut StdRng) {
        let delay = match failure {
            // Nought states no time, and taken at its word it would make a busy loop.
            DialFailure::RetryAfter(wait) if !wait.is_zero() => {
                let wait = (*wait).min(MAX_RETRY_AFTER);
                self.stated = Some(now + wait);
                wait
            }
            DialFailure::Unreachable | DialFailure::RetryAfter(_) => {
                self.refused = 0;
                jitter(rng, self.ceiling())
            }
            DialFailure::Refused => {
                self.refused += 1;
                if self.refused >= REFUSED_IN_A_ROW { REFUSED_DELAY } else { jitter(rng, self.ceiling()) }
            }
        };
        self.failures = self.failures.saturating_add(1);
        self.forget_old(now);
        let held = if self.losses.len() > LOSSES_A_MINUTE { LOSSY_DELAY } else { Duration::ZERO };
        self.wait(now, delay.max(held));
    }

    fn wait(&mut self, now: Instant, delay: Duration) {
        self.earliest = self.stated.filter(|at| *at > now).unwrap_or(now + delay);
    }

    /// The relay said when to come.
    pub(super) fn come_at(&mut self, at: Instant) {
        let at = self.stated.map_or(at, |stated| stated.max(at));
        self.stated = Some(at);
        self.earliest = at;
    }

    /// The operator, or a new interface, says that now is the time.
    pub(super) fn come_now(&mut self, now: Instant) {
        self.stated = None;
        self.earliest = now;
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(&oldest) = self.losses.front()
            && (now.saturating_duration_since(oldest) > MINUTE || self.losses.len() > 2 * LOSSES_A_MINUTE)
        {
            self.losses.pop_front();
        }
    }

    fn ceiling(&self) -> Duration {
        (BACKOFF_MIN * (1_u32 << self.failures.min(16))).min(BACKOFF_MAX)
    }
}

/// Uniformly random from nothing to `most`.
pub(super) fn jitter(rng: &mut StdRng, most: Duration) -> Duration {
    between(rng, Duration::ZERO, most)
}

/// Uniformly random between two times; `low` where they are the wrong way round.
pub(super) fn between(rng: &mut StdRng, low: Duration, high: Duration) -> Duration {
    let span = u64::try_from(high.saturating_sub(low).as_micros()).unwrap_or(u64::MAX - 1);
    low + Duration::from_micros(rng.random_range(0..=span))
}
