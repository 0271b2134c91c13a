//! The ways to overflow that need no forecast, as gateways have them: by count, by timeout.
//!
//! Absent: Causeway's own (`causeway.rs`), and what each costs (`overflow.rs`).

use std::collections::VecDeque;

use causeway_policy::Measured;

use crate::systems::{Attempt, Command, System};

/// When a request goes to Bedrock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Rule {
    /// So many are at Ollama already.
    InFlight(usize),
    /// It had no first token for so many microseconds; its place at Ollama is given up.
    Silence(u64),
}

pub(crate) struct Spill {
    rule: Rule,
    /// Who is at Ollama, in the order of coming, until when a first token is awaited.
    open: VecDeque<Local>,
    commands: VecDeque<Command>,
}

struct Local {
    id: u64,
    until: Option<u64>,
}

impl Spill {
    pub(crate) fn new(rule: Rule) -> Spill {
        Spill { rule, open: VecDeque::new(), commands: VecDeque::new() }
    }

    /// It is at Ollama no more.
    fn gone(&mut self, id: u64) -> bool {
        let before = self.open.len();
        self.open.retain(|local| local.id != id);
        self.open.len() < before
    }
}

impl System for Spill {
    fn ask(&mut self, now: u64, attempt: Attempt<'_>) {
        let id = attempt.id;
        let until = match self.rule {
            Rule::InFlight(most) if self.open.len() >= most => {
                return self.commands.push_back(Command::Overflow(id));
            }
            Rule::InFlight(_) => None,
            Rule::Silence(most) => Some(now + most),
        };
        self.open.push_back(Local { id, until });
        self.commands.push_back(Command::Send(id));
    }

    fn left(&mut self, _now: u64, id: u64) {
        if self.gone(id) {
            self.commands.push_back(Command::Cancel(id));
        }
    }

    fn first(&mut self, _now: u64, id: u64) {
        for local in self.open.iter_mut().filter(|local| local.id == id) {
            local.until = None;
        }
    }

    fn ended(&mut self, _now: u64, id: u64, _measured: Measured) {
        self.gone(id);
    }

    fn next(&self) -> Option<u64> {
        self.open.iter().filter_map(|local| local.until).min()
    }

    fn tick(&mut self, now: u64) {
        let late: Vec<u64> = self
            .open
            .iter()
            .filter(|local| local.until.is_some_and(|until| until <= now))
            .map(|local| local.id)
            .collect();
        for id in late {
            self.gone(id);
            self.commands.extend([Command::Cancel(id), Command::Overflow(id)]);
        }
    }

    fn command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }
}
