//! A simulated Ollama that serves `real` requests at once, in the order they came.

use std::collections::VecDeque;
use std::time::Instant;

use causeway_policy::{Ask, Event, Key, Measured, Promise, Ticket, Verdict};

use crate::world::{PER_TOKEN, PREFILL, TOKENS, World, ms};

struct Job {
    ticket: Ticket,
    key: Key,
    tokens: u32,
    begun: Option<Instant>,
    spoke: bool,
}

/// One answer that ended.
pub(crate) struct Done {
    pub(crate) key: Key,
    pub(crate) tokens: u32,
    pub(crate) promise: Promise,
}

pub(crate) struct Gpu {
    real: usize,
    jobs: Vec<Job>,
    waiting: VecDeque<(Ticket, Key, u32)>,
    promises: Vec<(Ticket, Promise)>,
}

impl Gpu {
    pub(crate) fn new(real: usize) -> Gpu {
        Gpu { real, jobs: Vec::new(), waiting: VecDeque::new(), promises: Vec::new() }
    }

    /// Requests that run or wait, of one key.
    pub(crate) fn of(&self, key: Key) -> usize {
        let running = self.jobs.iter().filter(|job| job.key == key).count();
        running + self.waiting.iter().filter(|(_, other, _)| *other == key).count()
    }

    /// Keeps `callers` standard requests in the system, all of key 1.
    pub(crate) fn fill(&mut self, world: &mut World, callers: usize) {
        while self.of(Key(1)) < callers {
            let ask = world.ask();
            self.submit(world, &ask, TOKENS);
        }
    }

    pub(crate) fn submit(&mut self, world: &mut World, ask: &Ask, tokens: u32) {
        let (ticket, verdict) = world.submit(ask);
        match verdict {
            Verdict::Admit => self.begin(ticket, ask.key, tokens),
            Verdict::Queue(_) => self.waiting.push_back((ticket, ask.key, tokens)),
            Verdict::Overflow(_) | Verdict::Refuse(_) => panic!("{verdict:?}"),
        }
        self.serve(world);
    }

    /// Advances to the next first token or end.
    pub(crate) fn step(&mut self, world: &mut World) -> Vec<Done> {
        self.serve(world);
        let next = self.jobs.iter().filter_map(Job::next).min().unwrap();
        world.now = next;
        for job in &mut self.jobs {
            let Some(begun) = job.begun.filter(|begun| *begun + PREFILL <= next) else { continue };
            let passed = (next - begun - PREFILL).as_millis() / PER_TOKEN.as_millis();
            world.ledger.progress(next, job.ticket, u32::try_from(passed).unwrap().min(job.tokens));
            if !job.spoke {
                job.spoke = true;
                self.promises.extend(world.ledger.first_token(next, job.ticket).map(|promise| (job.ticket, promise)));
            }
        }
        let mut done = Vec::new();
        while let Some(place) = self.jobs.iter().position(|job| job.end().is_some_and(|end| end <= next)) {
            let job = self.jobs.remove(place);
            let held = self.promises.iter().position(|(ticket, _)| *ticket == job.ticket).unwrap();
            world.ledger.finished(next, job.ticket, job.measured());
            let (_, promise) = self.promises.remove(held);
            done.push(Done { key: job.key, tokens: job.tokens, promise });
        }
        self.serve(world);
        done
    }

    fn serve(&mut self, world: &mut World) {
        for event in world.events() {
            let Event::Granted(ticket) = event else { panic!("{event:?}") };
            let place = self.waiting.iter().position(|(waiting, ..)| *waiting == ticket).unwrap();
            let (ticket, key, tokens) = self.waiting.remove(place).unwrap();
            self.begin(ticket, key, tokens);
        }
        for job in self.jobs.iter_mut().take(self.real) {
            job.begun.get_or_insert(world.now);
        }
    }

    fn begin(&mut self, ticket: Ticket, key: Key, tokens: u32) {
        self.jobs.push(Job { ticket, key, tokens, begun: None, spoke: false });
    }
}

impl Job {
    fn end(&self) -> Option<Instant> {
        self.begun.map(|begun| begun + PREFILL + PER_TOKEN * self.tokens)
    }

    fn next(&self) -> Option<Instant> {
        if self.spoke { self.end() } else { self.begun.map(|begun| begun + PREFILL) }
    }

    fn measured(&self) -> Measured {
        Measured {
            prompt_eval_count: Some(100),
            cached: None,
            prompt_eval_duration: Some(PREFILL),
            eval_count: Some(u64::from(self.tokens)),
            eval_duration: Some(PER_TOKEN * self.tokens),
            load_duration: Some(ms(5)),
            total_duration: None,
        }
    }
}
