//! The systems that are compared, each between callers and one Ollama.
//!
//! A system is told what happened and answers with commands. Absent: Causeway (`causeway.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use causeway_policy::Measured;

use crate::arrivals::SECOND;
use crate::causeway::Causeway;
use crate::ollama::Ollama;
use crate::scenario::{Call, Scenario};
use crate::spill::{Rule, Spill};

/// One attempt of a call, from its sending to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) id: u64,
    pub(crate) call: &'a Call,
    /// What is left of its deadline.
    pub(crate) deadline: u64,
}

/// What a system wants done.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Command {
    /// To Ollama.
    Send(u64),
    /// Drop its request to Ollama.
    Cancel(u64),
    /// Answer 503, with a time after which to ask again.
    Refuse(u64, Option<Duration>),
    /// Answer 504.
    Expire(u64),
    /// To Bedrock.
    Overflow(u64),
    Preload(usize),
}

/// What Causeway alone can tell of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// Promised and real first token in milliseconds, and whether p90 held.
    pub(crate) promises: Vec<(f64, f64, bool)>,
    /// `retry-after-ms` and the real wait for a slot, in milliseconds.
    pub(crate) retries: Vec<(f64, f64)>,
    /// Overlapping answers and seconds until the slots were the real ones.
    pub(crate) learnt: Option<(u32, f64)>,
}

pub(crate) trait System {
    /// Looks at Ollama; before every other verb.
    fn look(&mut self, _now: u64, _ollama: &Ollama) {}
    fn ask(&mut self, now: u64, attempt: Attempt<'_>);
    /// The caller has gone.
    fn left(&mut self, now: u64, id: u64);
    fn first(&mut self, _now: u64, _id: u64) {}
    fn ended(&mut self, now: u64, id: u64, measured: Measured);
    fn loaded(&mut self, _now: u64, _model: usize, _took: u64) {}
    /// What `/api/ps` shows.
    fn resident(&mut self, _now: u64, _models: &[usize]) {}
    /// Bedrock's first token came after so long.
    fn elsewhere(&mut self, _model: usize, _took: u64) {}
    fn next(&self) -> Option<u64> {
        None
    }
    fn tick(&mut self, _now: u64) {}
    fn command(&mut self) -> Option<Command>;
    fn notes(&mut self) -> Notes {
        Notes::default()
    }
}

/// The name of a system in tables, and how it is built.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Which {
    Alone,
    /// As many in flight as so many times the configured slots, the next is refused.
    Limit(u32),
    /// A queue in the order of arrival in front of the configured slots; so many seconds in it at
    /// most.
    Fifo(u64),
    Causeway,
    /// With Bedrock to go to.
    Overflow,
    /// To Bedrock by a rule that foresees nothing.
    Spill(Rule),
}

/// The systems of the tables.
pub(crate) const COMPARED: [Which; 5] =
    [Which::Alone, Which::Limit(2), Which::Fifo(10), Which::Causeway, Which::Overflow];

impl Which {
    pub(crate) fn name(self) -> String {
        match self {
            Which::Alone => "Ollama alone".to_owned(),
            Which::Limit(2) => "limit".to_owned(),
            Which::Limit(times) => format!("limit ×{times}"),
            Which::Fifo(10) => "FIFO".to_owned(),
            Which::Fifo(seconds) => format!("FIFO {seconds} s"),
            Which::Causeway => "Causeway".to_owned(),
            Which::Overflow => "with Bedrock".to_owned(),
            Which::Spill(rule) => format!("{rule:?}"),
        }
    }

    pub(crate) fn build(self, scenario: &Scenario) -> Box<dyn System> {
        let slots = scenario.configured as usize;
        match self {
            Which::Alone => Box::new(Limit::new(usize::MAX)),
            Which::Limit(times) => Box::new(Limit::new(slots * times as usize)),
            Which::Fifo(seconds) => Box::new(Fifo::new(slots, seconds * SECOND)),
            Which::Spill(rule) => Box::new(Spill::new(rule)),
            Which::Causeway | Which::Overflow => Box::new(Causeway::new(scenario, self == Which::Overflow)),
        }
    }
}

/// Refuses beyond a number in flight; without a bound it is nothing, and Ollama is alone.
struct Limit {
    most: usize,
    in_flight: Vec<u64>,
    commands: VecDeque<Command>,
}

impl Limit {
    fn new(most: usize) -> Limit {
        Limit { most, in_flight: Vec::new(), commands: VecDeque::new() }
    }
}

impl System for Limit {
    fn ask(&mut self, _now: u64, attempt: Attempt<'_>) {
        if self.in_flight.len() >= self.most {
            return self.commands.push_back(Command::Refuse(attempt.id, None));
        }
        self.in_flight.push(attempt.id);
        self.commands.push_back(Command::Send(attempt.id));
    }

    fn left(&mut self, _now: u64, id: u64) {
        self.in_flight.retain(|other| *other != id);
        self.commands.push_back(Command::Cancel(id));
    }

    fn ended(&mut self, _now: u64, id: u64, _measured: Measured) {
        self.in_flight.retain(|other| *other != id);
    }

    fn command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }
}

/// Waiting requests of the queue; as many as Causeway's.
const QUEUE: usize = 64;

struct Fifo {
    slots: usize,
    timeout: u64,
    in_flight: Vec<u64>,
    waiting: VecDeque<(u64, u64)>,
    commands: VecDeque<Command>,
}

impl Fifo {
    fn new(slots: usize, timeout: u64) -> Fifo {
        Fifo { slots, timeout, in_flight: Vec::new(), waiting: VecDeque::new(), commands: VecDeque::new() }
    }

    fn serve(&mut self) {
        while self.in_flight.len() < self.slots {
            let Some((id, _)) = self.waiting.pop_front() else { return };
            self.in_flight.push(id);
            self.commands.push_back(Command::Send(id));
        }
    }
}

impl System for Fifo {
    fn ask(&mut self, now: u64, attempt: Attempt<'_>) {
        if self.waiting.len() >= QUEUE {
            return self.commands.push_back(Command::Refuse(attempt.id, None));
        }
        self.waiting.push_back((attempt.id, now + self.timeout));
        self.serve();
    }

    fn left(&mut self, _now: u64, id: u64) {
        self.waiting.retain(|(other, _)| *other != id);
        if self.in_flight.contains(&id) {
            self.in_flight.retain(|other| *other != id);
            self.commands.push_back(Command::Cancel(id));
        }
        self.serve();
    }

    fn ended(&mut self, _now: u64, id: u64, _measured: Measured) {
        self.in_flight.retain(|other| *other != id);
        self.serve();
    }

    fn next(&self) -> Option<u64> {
        self.waiting.front().map(|(_, until)| *until)
    }

    fn tick(&mut self, now: u64) {
        while let Some((id, _)) = self.waiting.front().filter(|(_, until)| *until <= now) {
            self.commands.push_back(Command::Refuse(*id, None));
            self.waiting.pop_front();
        }
    }

    fn command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }
}
