//! Several models of one Ollama that serves and loads as asked, and lies about how long it takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use causeway_policy::{
    Ask, Class, Event, Key, Ledger, Limits, Loaded, ModelId, OverflowReason, Resident, Ticket, Verdict,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::judge::loads;
use crate::world::{ANSWER, PREFILL, TOKENS, honest, ms, settings, start};

/// How often `/api/ps` is asked.
const LISTED_EVERY: Duration = Duration::from_secs(5);
/// What a load really takes.
const LOAD: Duration = Duration::from_secs(4);
/// The ledger lets a model that was just loaded be for so long.
const TURN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    First(Ticket),
    End(Ticket),
    Loaded,
    List,
}

/// One Ollama with room for one of its models, or for all of them.
struct Ollama {
    ledger: Ledger,
    now: Instant,
    models: Vec<ModelId>,
    room: usize,
    /// Models in memory, the one used longest ago first.
    memory: Vec<usize>,
    loading: Option<usize>,
    lie: Loaded,
    due: BTreeMap<(Instant, Due), usize>,
    running: Vec<(Ticket, usize)>,
    /// Who waits, for which model, and whether it can overflow.
    waiting: Vec<(Ticket, usize, bool, Instant)>,
    longest: Duration,
}

impl Ollama {
    fn new(models: usize, slots: u32, room: usize, lie: Loaded) -> Ollama {
        let (mut ledger, now) = (Ledger::new(Limits { queue: 64 }), start());
        let known = |index: usize| ledger.model(now, &index.to_string(), settings(slots)).unwrap();
        let models: Vec<ModelId> = (0..models).map(known).collect();
        let mut ollama = Ollama {
            ledger,
            now,
            models,
            room,
            memory: vec![0],
            loading: None,
            lie,
            due: BTreeMap::from([((now, Due::List), 0)]),
            running: Vec::new(),
            waiting: Vec::new(),
            longest: Duration::ZERO,
        };
        ollama.pass(Duration::ZERO);
        ollama
    }

    fn submit(&mut self, model: usize, key: u64, batch: bool, overflow: bool) {
        let ask = Ask {
            model: self.models[model],
            key: Key(key),
            class: if batch { Class::Batch } else { Class::Interactive },
            prompt_bytes: 400,
            max_tokens: None,
            prefix: u64::try_from(self.waiting.len()).unwrap(),
            deadline: None,
            queue_timeout: Duration::from_secs(3_600),
            overflow,
            runs_twice: false,
            truncate: false,
        };
        let (ticket, verdict) = self.ledger.submit(self.now, &ask);
        match verdict {
            Verdict::Admit => self.serve(ticket, model),
            Verdict::Queue(_) => self.waiting.push((ticket, model, overflow, self.now)),
            Verdict::Overflow(_) => assert!(overflow),
            Verdict::Refuse(refusal) => panic!("{refusal:?}"),
        }
        self.listen();
    }

    /// A request comes to Ollama: it must find its model in memory, and no load beside it that could
    /// push it out.
    fn serve(&mut self, ticket: Ticket, model: usize) {
        assert!(self.memory.contains(&model), "model {model} is not in memory");
        assert!(self.loading.is_none() || self.memory.len() < self.room, "sent beside a load");
        self.memory.retain(|other| *other != model);
        self.memory.push(model);
        self.running.push((ticket, model));
        self.due.insert((self.now + PREFILL, Due::First(ticket)), model);
        self.due.insert((self.now + ANSWER, Due::End(ticket)), model);
    }

    fn listen(&mut self) {
        while let Some(event) = self.ledger.poll_event() {
            match event {
                Event::Granted(ticket) => {
                    let (_, model, _, since) = self.leave(ticket);
                    self.longest = self.longest.max(self.now - since);
                    self.serve(ticket, model);
                }
                Event::Overflow(ticket, reason) => {
                    let (.., overflow, _) = self.leave(ticket);
                    assert!(overflow && reason != OverflowReason::QueueTimeout, "{reason:?}");
                }
                Event::Preload(model) => {
                    let model = self.models.iter().position(|other| *other == model).unwrap();
                    assert_eq!(self.loading, None);
                    self.loading = Some(model);
                    self.due.insert((self.now + LOAD, Due::Loaded), model);
                }
                Event::Refused(..) | Event::Late(..) | Event::Unload(_) | Event::Probe(_) => panic!("{event:?}"),
            }
        }
    }

    fn leave(&mut self, ticket: Ticket) -> (Ticket, usize, bool, Instant) {
        let place = self.waiting.iter().position(|(other, ..)| *other == ticket).unwrap();
        self.waiting.remove(place)
    }

    fn list(&mut self) {
        let listed = self.memory.iter().chain(&self.loading);
        let rows: Vec<Resident> = listed.map(|model| Resident { model: self.models[*model], context: None }).collect();
        self.ledger.resident(self.now, &rows);
    }

    fn happen(&mut self, due: Due, model: usize) {
        match due {
            Due::First(ticket) => drop(self.ledger.first_token(self.now, ticket)),
            Due::End(ticket) => {
                self.running.retain(|(other, _)| *other != ticket);
                self.ledger.progress(self.now, ticket, TOKENS);
                self.ledger.finished(self.now, ticket, honest(TOKENS));
            }
            Due::Loaded => {
                while self.memory.len() >= self.room {
                    let leaves = self.memory.remove(0);
                    assert!(!self.running.iter().any(|(_, other)| *other == leaves), "a load behind a stream");
                }
                self.memory.push(model);
                self.loading = None;
                self.ledger.loaded(self.now, self.models[model], self.lie);
                self.listen();
                self.list();
            }
            Due::List => {
                self.due.insert((self.now + LISTED_EVERY, Due::List), 0);
                self.list();
            }
        }
        self.listen();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let timer = self.ledger.poll_timeout().filter(|at| *at <= until);
            let next = self.due.first_key_value().map(|((at, due), model)| (*at, *due, *model));
            match (timer, next.filter(|(at, ..)| *at <= until)) {
                (None, None) => break,
                (Some(timer), next) if next.is_none_or(|(at, ..)| timer < at) => {
                    self.now = self.now.max(timer);
                    self.ledger.handle_timeout(self.now);
                    self.listen();
                }
                (_, Some((at, due, model))) => {
                    self.now = at;
                    self.due.remove(&(at, due));
                    self.happen(due, model);
                }
                (Some(_), None) => unreachable!("its time is before nothing"),
            }
        }
        self.now = until;
    }
}

fn truths() -> Vec<Loaded> {
    loads().into_iter().filter(|how| matches!(how, Loaded::Ready(_))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Requests for models that have to share the memory: Ollama is never asked for a model that it
    /// would have to load by itself, and everybody is served in the time that the work and one turn of
    /// each other model for each of its requests takes.
    #[test]
    fn models_that_share_the_memory_take_turns_until_everybody_is_served(
        models in 2_usize..5,
        slots in 1_u32..4,
        roomy in prop::bool::weighted(0.2),
        lie in select(truths()),
        requests in prop::collection::vec(
            (0_usize..4, 0_u64..4, prop::bool::weighted(0.2), prop::bool::weighted(0.3), 0_u64..8_000), 1..60
        ),
    ) {
        let mut ollama = Ollama::new(models, slots, if roomy { models } else { 1 }, lie);
        let all = u32::try_from(requests.len()).unwrap();
        for (model, key, batch, overflow, pause) in requests {
            ollama.submit(model % models, key, batch, overflow);
            ollama.pass(ms(pause));
        }
        ollama.pass((TURN + LOAD + ANSWER) * all);
        prop_assert_eq!(ollama.waiting.len(), 0);
        let turns = u32::try_from(models).unwrap() * 2;
        prop_assert!(ollama.longest <= (TURN + LOAD) * turns + ANSWER * all, "{:?}", ollama.longest);
    }
}
