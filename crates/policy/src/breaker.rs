//! The circuit breaker in front of Ollama: closed, open, probing.
//!
//! Invariants: open, nothing passes; probing, exactly one request is out, and it is a real one
//! whose caller has somewhere else to go if it fails. Absent: what counts as a failure (the shell
//! reports refused connections, 5xx and a wedge; a caller's own 4xx is a success).

use std::time::{Duration, Instant};

/// Failures in a row that open it: one may be chance, three of a local server are not.
const FAILURES: u32 = 3;
/// The first pause. A crashed Ollama is restarted by its service manager within seconds.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause: a machine that comes back is used again within a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After this long without a request that has a fallback, one without may probe: else a machine
/// without overflow would never heal.
const FALLBACK_PATIENCE: Duration = Duration::from_secs(5);
/// A probe that was never reported on is given up, so that a lost report cannot shut the door.
const PROBE_LIMIT: Duration = Duration::from_secs(120);

/// What a request may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// Go on; report the outcome.
    Go,
    /// Go on as the one probe; report the outcome, it decides for all.
    Probe,
    /// Do not touch Ollama before this much time has passed.
    Shut(Duration),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    Probing { since: Instant, pause: Duration },
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker { state: State::Closed { failures: 0 } }
    }
}

impl Breaker {
    /// Asks for one request; `fallback`: its caller can be served elsewhere if it fails.
    pub fn ask(&mut self, now: Instant, fallback: bool) -> Pass {
        match self.state {
            State::Closed { .. } => Pass::Go,
            State::Open { until, pause } => {
                let from = if fallback { until } else { until + FALLBACK_PATIENCE };
                self.probe_from(now, from, pause)
            }
            State::Probing { since, pause } => self.probe_from(now, since + PROBE_LIMIT, pause),
        }
    }

    /// A request was answered.
    pub fn success(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// A request failed in a way that speaks against Ollama, not against the request.
    pub fn failure(&mut self, now: Instant) {
        match self.state {
            State::Closed { failures } if failures + 1 < FAILURES => {
                self.state = State::Closed { failures: failures + 1 };
            }
            State::Closed { .. } => self.open(now, FIRST_PAUSE),
            State::Probing { pause, .. } => self.open(now, (pause * 2).min(LONGEST_PAUSE)),
            // A straggler from before it opened says nothing new.
            State::Open { .. } => {}
        }
    }

    /// The probe ended without an outcome (its caller left): the next request may probe.
    pub fn abandoned(&mut self, now: Instant) {
        if let State::Probing { pause, .. } = self.state {
            self.state = State::Open { until: now, pause };
        }
    }

    /// Opens at once, without counting: the watchdog has seen a wedge.
    pub fn trip(&mut self, now: Instant) {
        if matches!(self.state, State::Closed { .. }) {
            self.open(now, FIRST_PAUSE);
        }
    }

    /// Whether requests pass freely.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    fn open(&mut self, now: Instant, pause: Duration) {
        self.state = State::Open { until: now + pause, pause };
    }

    fn probe_from(&mut self, now: Instant, from: Instant, pause: Duration) -> Pass {
        if now < from {
            return Pass::Shut(from - now);
        }
        self.state = State::Probing { since: now, pause };
        Pass::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::start;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.failure(now));
        breaker
    }

    #[test]
    fn it_opens_at_the_third_failure_in_a_row_and_a_success_starts_the_count_anew() {
        let (mut breaker, now) = (Breaker::default(), start());
        for _ in 0..5 {
            breaker.failure(now);
            breaker.failure(now);
            breaker.success();
        }
        assert_eq!(breaker.ask(now, true), Pass::Go);
        (0..FAILURES).for_each(|_| breaker.failure(now));
        assert_eq!(breaker.ask(now, true), Pass::Shut(FIRST_PAUSE));
    }

    #[test]
    fn after_the_pause_exactly_one_request_probes() {
        let now = start();
        let mut breaker = opened(now);
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.ask(later, true), Pass::Probe);
        assert!(matches!(breaker.ask(later, true), Pass::Shut(_)));
        breaker.success();
        assert_eq!(breaker.ask(later, false), Pass::Go);
    }

    #[test]
    fn a_request_without_fallback_probes_only_when_none_with_one_came() {
        let now = start();
        let mut breaker = opened(now);
        assert_eq!(breaker.ask(now + FIRST_PAUSE, false), Pass::Shut(FALLBACK_PATIENCE));
        assert_eq!(breaker.ask(now + FIRST_PAUSE + FALLBACK_PATIENCE, false), Pass::Probe);
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_the_longest() {
        let mut now = start();
        let mut breaker = opened(now);
        let mut expected = FIRST_PAUSE;
        for _ in 0..10 {
            assert_eq!(breaker.ask(now, true), Pass::Shut(expected));
            now += expected;
            assert_eq!(breaker.ask(now, true), Pass::Probe);
            breaker.failure(now);
            expected = (expected * 2).min(LONGEST_PAUSE);
        }
        assert_eq!(expected, LONGEST_PAUSE);
    }

    #[test]
    fn a_probe_whose_caller_left_passes_its_turn_on_and_a_lost_one_expires() {
        let now = start();
        let mut breaker = opened(now);
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.ask(later, true), Pass::Probe);
        breaker.abandoned(later);
        assert_eq!(breaker.ask(later, true), Pass::Probe);
        assert_eq!(breaker.ask(later + PROBE_LIMIT, true), Pass::Probe);
    }

    #[test]
    fn a_straggler_does_not_lengthen_the_pause_and_a_wedge_opens_at_once() {
        let now = start();
        let mut breaker = Breaker::default();
        breaker.trip(now);
        assert!(!breaker.is_closed());
        breaker.failure(now + Duration::from_secs(1));
        assert_eq!(breaker.ask(now, true), Pass::Shut(FIRST_PAUSE));
    }
}
