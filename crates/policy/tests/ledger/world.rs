//! One ledger with one resident model, its clock, and requests of a known size.
//!
//! The standard prompt is 400 bytes, which are 100 tokens at 1 ms; the standard answer 50 tokens at
//! 20 ms. So one answer takes 1.1 s, 0.1 s of it before the first token.

use std::time::{Duration, Instant};

use causeway_policy::{
    Ask, Class, Deadline, Event, Key, Ledger, Limits, Measured, ModelId, ModelSettings, ModelStatus, OverflowReason,
    Refusal, RefusalCode, Resident, Ticket, Verdict,
};

pub(crate) const PREFILL: Duration = Duration::from_millis(100);
pub(crate) const TOKENS: u32 = 50;
pub(crate) const PER_TOKEN: Duration = Duration::from_millis(20);
pub(crate) const ANSWER: Duration = Duration::from_millis(1_100);

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) now: Instant,
    pub(crate) model: ModelId,
    pub(crate) prefix: u64,
}

#[expect(clippy::disallowed_methods, reason = "virtual time needs one beginning")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn settings(parallel: u32) -> ModelSettings {
    ModelSettings { parallel, forced_one: false }
}

impl World {
    /// A resident model with `parallel` slots of which nothing is known.
    pub(crate) fn new(parallel: u32) -> World {
        let (mut ledger, now) = (Ledger::new(Limits::default()), start());
        let model = ledger.model(now, "m", settings(parallel)).unwrap();
        ledger.resident(now, &[Resident { model, context: Some(4_096) }]);
        World { ledger, now, model, prefix: 0 }
    }

    /// The same after 20 standard answers.
    pub(crate) fn learnt(parallel: u32) -> World {
        let mut world = World::new(parallel);
        for _ in 0..20 {
            let ticket = world.admitted();
            world.answer(ticket);
        }
        world
    }

    /// The standard request: no deadline, no overflow.
    pub(crate) fn ask(&mut self) -> Ask {
        self.prefix += 1;
        Ask {
            model: self.model,
            key: Key(1),
            class: Class::Interactive,
            prompt_bytes: 400,
            max_tokens: None,
            prefix: self.prefix,
            deadline: None,
            queue_timeout: Duration::from_secs(300),
            overflow: false,
            runs_twice: false,
            truncate: false,
        }
    }

    pub(crate) fn soft(&mut self, after: u64) -> Ask {
        Ask { deadline: Some(Deadline { after: ms(after), hard: false }), overflow: true, ..self.ask() }
    }

    pub(crate) fn hard(&mut self, after: u64) -> Ask {
        Ask { deadline: Some(Deadline { after: ms(after), hard: true }), ..self.ask() }
    }

    pub(crate) fn submit(&mut self, ask: &Ask) -> (Ticket, Verdict) {
        self.ledger.submit(self.now, ask)
    }

    pub(crate) fn admitted(&mut self) -> Ticket {
        let ask = self.ask();
        let (ticket, verdict) = self.submit(&ask);
        assert_eq!(verdict, Verdict::Admit);
        ticket
    }

    pub(crate) fn queued(&mut self, ask: &Ask) -> Ticket {
        let (ticket, verdict) = self.submit(ask);
        assert!(matches!(verdict, Verdict::Queue(_)), "{verdict:?}");
        ticket
    }

    /// Lets time pass as the shell would, and gives what was said meanwhile.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Event> {
        let (until, mut events) = (self.now + time, self.events());
        while let Some(at) = self.ledger.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.ledger.handle_timeout(self.now);
            events.append(&mut self.events());
            let next = self.ledger.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a timer in the past");
        }
        self.now = until;
        events
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.ledger.poll_event()).collect()
    }

    /// A standard answer from its grant, which is now, to its end.
    pub(crate) fn answer(&mut self, ticket: Ticket) {
        self.now += PREFILL;
        self.ledger.first_token(self.now, ticket);
        self.finish(ticket);
    }

    /// The rest of a standard answer whose first token came now.
    pub(crate) fn finish(&mut self, ticket: Ticket) {
        self.finish_with(ticket, TOKENS);
    }

    /// The same for an answer of so many tokens.
    pub(crate) fn finish_with(&mut self, ticket: Ticket, tokens: u32) {
        self.now += PER_TOKEN * tokens;
        self.ledger.progress(self.now, ticket, tokens);
        self.ledger.finished(self.now, ticket, honest(tokens));
    }

    pub(crate) fn status(&self) -> ModelStatus {
        self.ledger.snapshot(self.now).into_iter().find(|status| status.id == self.model).unwrap()
    }
}

/// What an honest Ollama says of an answer of so many tokens to the standard prompt.
pub(crate) fn honest(tokens: u32) -> Measured {
    Measured {
        prompt_eval_count: Some(100),
        cached: None,
        prompt_eval_duration: Some(PREFILL),
        eval_count: Some(u64::from(tokens)),
        eval_duration: Some(PER_TOKEN * tokens),
        load_duration: Some(ms(5)),
        total_duration: Some(PREFILL + PER_TOKEN * tokens),
    }
}

pub(crate) fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refuse(refusal) => refusal,
        Verdict::Admit | Verdict::Queue(_) | Verdict::Overflow(_) => panic!("{verdict:?}"),
    }
}

pub(crate) fn saturated(verdict: Verdict) -> Duration {
    let refusal = refusal(verdict);
    assert_eq!(refusal.code, RefusalCode::Saturated);
    refusal.retry_after
}

pub(crate) fn overflow(reason: OverflowReason) -> Verdict {
    Verdict::Overflow(reason)
}

pub(crate) fn close(a: Duration, b: Duration, slack: u64) {
    assert!(a.abs_diff(b) <= ms(slack), "{a:?} is not within {slack} ms of {b:?}");
}
