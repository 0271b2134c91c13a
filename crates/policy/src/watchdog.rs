//! The wedge watchdog of one model: silence, then a probe, then a verdict.
//!
//! A model is wedged when Ollama lists it as resident, nothing of ours is in flight, and yet a
//! one-token request hangs (a lost slot of its runner's semaphore, a runner that is "Stopping…").
//! Invariants: no probe without silence before it; one probe at a time; nothing new is sent to a suspect
//! model, so that it comes to rest and can be probed; a wedge is healed
//! only by an unload that was reported done. Absent: the probe and the unload themselves.

use std::time::{Duration, Instant};

/// Silence shorter than this is never suspicious: a long prompt on a slow GPU takes as much.
const LEAST_SILENCE: Duration = Duration::from_secs(60);
/// Silence is measured against this many times what was predicted.
const PREDICTED_TIMES: u32 = 10;
/// A resident model gives one token well within this, even behind somebody else's long answer.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// What the shell is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// Send a one-token request and report with [`Watchdog::probed`].
    Probe,
    /// The model is wedged: unload it and report with [`Watchdog::unloaded`].
    Unload,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Calm,
    Suspect,
    Probing {
        until: Instant,
    },
    Wedged,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub struct Watchdog {
    state: State,
    /// Time with requests in flight and no token of any, as far as requests have ended in it.
    mute: Duration,
}

impl Watchdog {
    /// How long a stream may be silent before it is reported to [`Watchdog::silent`].
    #[must_use]
    pub fn patience(predicted: Duration) -> Duration {
        predicted.saturating_mul(PREDICTED_TIMES).max(LEAST_SILENCE)
    }

    /// A stream of this model was silent for its whole [`Watchdog::patience`].
    pub fn silent(&mut self) {
        if self.state == State::Calm {
            self.state = State::Suspect;
        }
    }

    /// A request ended without a token after so much further time in which no other gave one either.
    /// Callers with short deadlines never wait for a stream's whole patience: their time is added up.
    pub fn mute(&mut self, passed: Duration, patience: Duration) {
        self.mute = self.mute.saturating_add(passed);
        if self.mute >= patience {
            self.silent();
        }
    }

    /// A stream of this model gave a token: it is alive.
    pub fn alive(&mut self) {
        self.mute = Duration::ZERO;
        if self.state == State::Suspect {
            self.state = State::Calm;
        }
    }

    /// Nothing is in flight on this resident model: the time to probe, if it is suspect.
    pub fn idle(&mut self, now: Instant) -> Option<Check> {
        if self.state != State::Suspect {
            return None;
        }
        self.state = State::Probing { until: now + PROBE_LIMIT };
        Some(Check::Probe)
    }

    /// The probe ended: answered, or failed in a way that is no hang (the breaker counts those).
    pub fn probed(&mut self) {
        if matches!(self.state, State::Probing { .. }) {
            *self = Self::default();
        }
    }

    /// The probe's limit has passed without a report: wedged.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Check> {
        match self.state {
            State::Probing { until } if until <= now => {
                self.state = State::Wedged;
                Some(Check::Unload)
            }
            State::Calm | State::Suspect | State::Probing { .. } | State::Wedged => None,
        }
    }

    /// The wedged model was unloaded (or found gone): its next load starts a new runner.
    pub fn unloaded(&mut self) {
        *self = Self::default();
    }

    /// When [`Watchdog::handle_timeout`] is next due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Probing { until } => Some(until),
            State::Calm | State::Suspect | State::Wedged => None,
        }
    }

    /// Whether nothing may be sent to this model: it is being probed, or wedged.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Probing { .. } | State::Wedged)
    }

    /// Whether it has been silent for too long and is not probed yet.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.state == State::Suspect
    }

    /// Whether the model was found wedged.
    #[must_use]
    pub fn is_wedged(&self) -> bool {
        self.state == State::Wedged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::start;

    #[test]
    fn an_idle_model_is_probed_only_after_a_silent_stream() {
        let (mut dog, now) = (Watchdog::default(), start());
        assert_eq!(dog.idle(now), None);
        dog.silent();
        assert_eq!(dog.idle(now), Some(Check::Probe));
        assert_eq!(dog.idle(now), None);
    }

    #[test]
    fn requests_that_end_without_a_token_one_after_the_other_are_a_silence_too() {
        let (mut dog, second) = (Watchdog::default(), Duration::from_secs(1));
        dog.mute(40 * second, 60 * second);
        dog.alive();
        dog.mute(40 * second, 60 * second);
        assert!(!dog.is_suspect());
        dog.mute(20 * second, 60 * second);
        assert!(dog.is_suspect());
    }

    #[test]
    fn a_token_takes_the_suspicion_away() {
        let mut dog = Watchdog::default();
        dog.silent();
        dog.alive();
        assert_eq!(dog.idle(start()), None);
    }

    #[test]
    fn a_probe_that_hangs_is_a_wedge_until_the_model_was_unloaded() {
        let (mut dog, now) = (Watchdog::default(), start());
        dog.silent();
        dog.idle(now);
        assert_eq!(dog.handle_timeout(now + PROBE_LIMIT - Duration::from_millis(1)), None);
        assert_eq!(dog.handle_timeout(now + PROBE_LIMIT), Some(Check::Unload));
        assert_eq!(dog.handle_timeout(now + PROBE_LIMIT * 2), None);
        dog.probed();
        assert!(dog.is_wedged() && dog.holds());
        dog.unloaded();
        assert!(!dog.holds());
    }

    #[test]
    fn a_probe_that_was_answered_clears_the_model() {
        let (mut dog, now) = (Watchdog::default(), start());
        dog.silent();
        dog.idle(now);
        assert!(dog.holds() && dog.poll_timeout() == Some(now + PROBE_LIMIT));
        dog.probed();
        assert!(!dog.holds() && dog.poll_timeout().is_none());
    }

    #[test]
    fn patience_is_ten_times_the_prediction_and_at_least_a_minute() {
        assert_eq!(Watchdog::patience(Duration::from_secs(1)), LEAST_SILENCE);
        assert_eq!(Watchdog::patience(Duration::from_secs(30)), Duration::from_secs(300));
        assert_eq!(Watchdog::patience(Duration::MAX), Duration::MAX);
    }
}
