//! One request that holds a slot, from its grant to the end of its release.
//!
//! Invariant: it leaves only by an end that the session reported, or after a cancel by its
//! releasing time. Also the judgement of overlaps: whether a request that ran beside others of
//! ours had to wait inside Ollama. Absent: what follows from the judgement (`strikes.rs`).

use std::time::{Duration, Instant};

use super::plan::Outlook;
use super::predict::{Learnt, Need, Outcome, duration};
use super::types::{Class, Ticket};
use crate::Key;
use crate::histogram::Spread;
use crate::watchdog::Watchdog;

/// A cancelled stream that was decoding stops at its next token.
const RELEASE_DECODING: Duration = Duration::from_millis(100);
/// No estimate of a prefill holds a slot longer than this after a cancel.
const LONGEST_RELEASE: Duration = Duration::from_secs(30);
/// A hidden wait shorter than this is the noise of scheduling.
const HIDDEN_MS: f64 = 200.0;
/// And it must exceed so many predicted prefills, which the wait could otherwise be.
const HIDDEN_PREFILLS: f64 = 2.0;

#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) ticket: Ticket,
    pub(crate) key: Key,
    pub(crate) class: Class,
    pub(crate) need: Need,
    pub(crate) submitted: Instant,
    pub(crate) granted: Instant,
    pub(crate) first: Option<Instant>,
    pub(crate) last_sign: Instant,
    pub(crate) tokens: u32,
    /// What its key was charged in advance.
    pub(crate) charged: u64,
    /// Predicted time from grant to first token, in milliseconds: prefill alone, and with the wait
    /// behind foreign requests.
    pub(crate) prefill: f64,
    pub(crate) head: f64,
    pub(crate) promised: Option<Outlook>,
    /// When its silence has consequences; taken once they are said.
    pub(crate) deadline: Option<Instant>,
    pub(crate) overflow: bool,
    /// Its prefix is not the one of the request before it.
    pub(crate) uncached: bool,
    /// Another of ours held a slot when it was granted.
    pub(crate) overlaps: bool,
    /// The most streams of ours that were giving tokens at once while it was silent. Those that
    /// were silent themselves may have been waiting too, and show nothing.
    pub(crate) beside: u32,
    /// An earlier one of ours ended while it was silent.
    pub(crate) saw_end: bool,
    /// An earlier one of ours was cut off while it was silent: the wait may be the release's.
    pub(crate) saw_cut: bool,
    /// The model's sum of stream-milliseconds at its first token.
    pub(crate) busy_at_first: f64,
    /// It was reported to the watchdog.
    pub(crate) suspect: bool,
    pub(crate) releasing: Option<Instant>,
}

/// What an overlap shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Overlap {
    /// It waited for one of ours to end.
    Strike,
    /// It did not wait.
    Clean,
    /// It waited for somebody else, or there was no overlap.
    Foreign,
    /// It says nothing.
    Unclear,
}

impl Running {
    /// Slots that it and those beside it would need to be served together.
    pub(crate) fn depth(&self) -> u32 {
        self.beside.saturating_add(1)
    }

    /// Begins the release after a cancel. A second cancel changes nothing.
    pub(crate) fn release(&mut self, now: Instant) {
        if self.releasing.is_some() {
            return;
        }
        let until = if self.first.is_some() {
            now + RELEASE_DECODING
        } else {
            let prefill_end = self.granted.checked_add(duration(self.head)).unwrap_or(now + LONGEST_RELEASE);
            prefill_end.clamp(now + RELEASE_DECODING, now + LONGEST_RELEASE)
        };
        self.releasing = Some(until);
        self.deadline = None;
    }

    /// What is left of it, in milliseconds; `per_token` at the present concurrency.
    pub(crate) fn remaining(&self, now: Instant, learnt: &Learnt, per_token: f64) -> Spread {
        if let Some(until) = self.releasing {
            return Spread::exact(until.saturating_duration_since(now).as_secs_f64() * 1_000.0);
        }
        if self.first.is_some() {
            return learnt.residual(self.need, self.tokens, per_token);
        }
        let elapsed = now.saturating_duration_since(self.granted).as_secs_f64() * 1_000.0;
        let prefill = Spread::exact((self.head - elapsed).max(0.0));
        prefill.plus(learnt.length(self.need).times(per_token))
    }

    /// It is longer than every known answer: nothing says when it ends.
    pub(crate) fn outgrown(&self, learnt: &Learnt) -> bool {
        self.releasing.is_none() && self.first.is_some() && learnt.outgrown(self.need, self.tokens)
    }

    /// When its silence becomes suspicious.
    pub(crate) fn suspicious_at(&self) -> Option<Instant> {
        if self.suspect || self.releasing.is_some() {
            return None;
        }
        let predicted = if self.first.is_some() { Duration::ZERO } else { duration(self.head) };
        self.last_sign.checked_add(Watchdog::patience(predicted))
    }

    /// Judges what waiting inside Ollama its answer shows.
    pub(crate) fn judge(&self, outcome: &Outcome) -> Overlap {
        let Some(hidden) = outcome.hidden.filter(|_| !self.need.runs_twice) else { return Overlap::Unclear };
        let waited = hidden > HIDDEN_MS && hidden > HIDDEN_PREFILLS * self.prefill;
        match (self.beside > 0, waited) {
            (_, true) if self.overlaps && self.saw_cut => Overlap::Unclear,
            (false, false) if self.overlaps => Overlap::Unclear,
            (true, true) if self.saw_end => Overlap::Strike,
            (true, false) => Overlap::Clean,
            (true | false, true) | (false, false) => Overlap::Foreign,
        }
    }
}
