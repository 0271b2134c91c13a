//! How a request goes to Bedrock, and what becomes of it when that fails.
//!
//! Invariants: it changes its backend only before the first visible token; it comes back to this machine
//! at most once; calls that fail in a way that passes are repeated only within its deadline.

use std::time::{Duration, Instant};

use causeway_bedrock::Kind;
use causeway_wire::{Backend, Code};

use super::{Command, Elsewhere, Ending, PAUSE, Phase, Session, Tokens, Why};

impl Session {
    /// Bedrock may still take it.
    pub fn may_leave(&self) -> bool {
        self.elsewhere != Elsewhere::Never && !self.visible && (self.calls == 0 || self.hedging)
    }

    /// From now on Bedrock alone is asked; where it is already, it just goes on.
    pub(super) fn leave(&mut self, now: Instant, why: Why) -> Command {
        if !std::mem::take(&mut self.hedging) {
            self.calls += 1;
        }
        self.why = Some(why);
        self.forget();
        self.enter(now, Phase::Away);
        Command::Leave(Duration::ZERO)
    }

    pub(super) fn on_away_told(&mut self, now: Instant, visible: bool) -> Command {
        self.begin(now, Backend::Bedrock);
        self.show(now, visible)
    }

    pub(super) fn on_away_whole(&mut self, now: Instant) -> Command {
        self.begin(now, Backend::Bedrock);
        self.phase = Phase::Ended(Ending::Served(200));
        Command::Finish
    }

    pub(super) fn on_away_broken(&mut self, now: Instant, kind: Kind, message: String) -> Command {
        if std::mem::take(&mut self.hedging) {
            // Ollama is at work, and what it says is awaited as before.
            self.why = None;
            return Command::Wait;
        }
        if self.visible {
            return self.fail(now, Code::UpstreamIncomplete, message);
        }
        self.forget();
        let pause = PAUSE * self.calls;
        if self.calls < kind.tries() && self.has_time_for(now, pause) {
            self.calls += 1;
            self.enter(now, Phase::Away);
            return Command::Leave(pause);
        }
        if matches!(self.elsewhere, Elsewhere::May(_)) && !self.local_failed {
            self.elsewhere = Elsewhere::Never;
            self.why = None;
            return self.submit(now);
        }
        // What this machine's own trouble was is told by what came of it: it can be cured by another try.
        let code = if self.local_failed && !kind.may_pass() { Code::LocalUnavailable } else { kind.code() };
        self.fail(now, code, message)
    }

    /// Nothing of the run before counts.
    fn forget(&mut self) {
        self.first_byte = None;
        self.backend = Backend::Local;
        self.tokens = Tokens::default();
    }

    /// A call after this pause could still be in time: half of what is left is kept for the answer.
    fn has_time_for(&self, now: Instant, pause: Duration) -> bool {
        self.deadline().is_none_or(|deadline| now + pause * 2 < deadline)
    }
}
