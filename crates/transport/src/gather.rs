//! When a connection writes what its link has to say: as soon as the other tasks have said theirs.
//!
//! A burst of tokens would otherwise go out one by one, each with its own TLS record, system call
//! and waking of the peer. Invariants: where no other task is ready nothing waits longer than five
//! polls; whatever happens, nothing waits longer than [`LONGEST`].
//! Pure: the pump asks, and comes back after the tasks that are ready have run.

use std::time::{Duration, Instant};

/// Longest time from the first look to the write: about the cost of ten writes, and far below what
/// a person or another machine can notice.
const LONGEST: Duration = Duration::from_micros(200);

/// All has been said once so many turns in a row brought nothing, count. A chunk comes from the
/// HTTP client through two tasks, and a request goes to it through three: an `open` is acknowledged
/// after the request it brought has gone out, since each write that wakes an idle peer costs the
/// writer some 30 µs.
const QUIET_TURNS: u8 = 5;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    since: Option<Instant>,
    quiet: u8,
}

impl Gather {
    /// Whether to wait one more turn before the write. `stirred`: something came from the socket
    /// or happened at the link since the last turn.
    pub(crate) fn waits(&mut self, now: Instant, stirred: bool) -> bool {
        let Some(since) = self.since else {
            self.since = Some(now);
            self.quiet = 0;
            return true;
        };
        self.quiet = if stirred { 0 } else { self.quiet + 1 };
        self.quiet < QUIET_TURNS && now.saturating_duration_since(since) < LONGEST
    }

    /// It is written now.
    pub(crate) fn wrote(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_its_quiet_turns_it_is_written() {
        let now = Instant::now();
        let mut gather = Gather::default();
        let turns = std::iter::from_fn(|| gather.waits(now, false).then_some(())).count();
        assert_eq!(turns, usize::from(QUIET_TURNS));
    }

    #[test]
    fn what_is_said_meanwhile_is_waited_for_but_not_for_long() {
        let now = Instant::now();
        let mut gather = Gather::default();
        for turn in 0..100 {
            assert!(gather.waits(now + Duration::from_micros(turn), true));
        }
        assert!(!gather.waits(now + LONGEST, true));
        gather.wrote();
        assert!(gather.waits(now + LONGEST, false));
    }
}
