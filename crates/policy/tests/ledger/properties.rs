//! Any course of events, against a reference that knows only which state each ticket may be in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use causeway_policy::{
    Ask, Class, Deadline, Event, Key, Ledger, Limits, Loaded, Measured, ModelId, Resident, Ticket, Verdict,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::{ms, settings, start};

#[derive(Clone, Debug)]
struct Request {
    model: Index,
    key: u64,
    batch: bool,
    prompt_bytes: u64,
    max_tokens: Option<u32>,
    prefix: u64,
    deadline: Option<(u64, bool)>,
    queue_timeout: u64,
    overflow: bool,
    runs_twice: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Submit(Request),
    Wait(u64),
    Back(u64),
    First(Index),
    Progress(Index, u32),
    Finish(Index, Measured),
    Cancel(Index),
    Fail(Index),
    Resident(u8),
    Loaded(bool),
    Probed,
    Unloaded,
    Parallel(Index, u32),
    Down,
}

fn requests() -> impl Strategy<Value = Request> {
    let size = (
        prop_oneof![0_u64..20_000, Just(u64::MAX)],
        prop_oneof![Just(None), (0_u32..2_000).prop_map(Some)],
        0_u64..4,
        any::<bool>(),
    );
    let after = prop_oneof![0_u64..5_000, Just(0), Just(1_000_000_000_000), Just(u64::MAX)];
    let wishes = (prop::option::of((after, any::<bool>())), prop_oneof![1_u64..60_000, Just(u64::MAX)], any::<bool>());
    (any::<Index>(), 0_u64..5, prop::bool::weighted(0.2), size, wishes).prop_map(
        |(model, key, batch, (prompt_bytes, max_tokens, prefix, runs_twice), (deadline, queue_timeout, overflow))| {
            let runs_twice = runs_twice && prefix == 0;
            Request {
                model,
                key,
                batch,
                prompt_bytes,
                max_tokens,
                prefix,
                deadline,
                queue_timeout,
                overflow,
                runs_twice,
            }
        },
    )
}

fn measured() -> impl Strategy<Value = Measured> {
    let count = || prop::option::of(prop_oneof![0_u64..5_000, Just(u64::MAX)]);
    let time = || prop::option::of(prop_oneof![(0_u64..5_000).prop_map(ms), Just(Duration::ZERO), Just(Duration::MAX)]);
    (count(), count(), time(), count(), time(), time(), time()).prop_map(
        |(
            prompt_eval_count,
            cached,
            prompt_eval_duration,
            eval_count,
            eval_duration,
            load_duration,
            total_duration,
        )| {
            Measured {
                prompt_eval_count,
                cached,
                prompt_eval_duration,
                eval_count,
                eval_duration,
                load_duration,
                total_duration,
            }
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => requests().prop_map(Step::Submit),
        5 => prop_oneof![0_u64..3_000, 0_u64..200_000].prop_map(Step::Wait),
        1 => (0_u64..100_000).prop_map(Step::Back),
        5 => any::<Index>().prop_map(Step::First),
        3 => (any::<Index>(), 0_u32..100_000).prop_map(|(which, tokens)| Step::Progress(which, tokens)),
        6 => (any::<Index>(), measured()).prop_map(|(which, measured)| Step::Finish(which, measured)),
        2 => any::<Index>().prop_map(Step::Cancel),
        1 => any::<Index>().prop_map(Step::Fail),
        2 => any::<u8>().prop_map(Step::Resident),
        2 => any::<bool>().prop_map(Step::Loaded),
        1 => Just(Step::Probed),
        1 => Just(Step::Unloaded),
        1 => (any::<Index>(), 0_u32..6).prop_map(|(which, slots)| Step::Parallel(which, slots)),
        1 => Just(Step::Down),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Queued { deadline: Option<Instant> },
    Running { late: bool },
    Releasing,
    Done,
}

struct Judge {
    ledger: Ledger,
    models: Vec<ModelId>,
    names: Vec<String>,
    now: Instant,
    /// Every ticket in the order of submission, with its model.
    tickets: Vec<(Ticket, usize)>,
    states: HashMap<Ticket, State>,
    /// Commands without report.
    loading: Option<ModelId>,
    probing: Vec<ModelId>,
    wedged: Vec<ModelId>,
}

impl Judge {
    fn new(models: usize, slots: u32) -> Judge {
        let (mut ledger, now) = (Ledger::new(Limits { queue: 12 }), start());
        let names: Vec<String> = (0..models).map(|index| index.to_string()).collect();
        let models: Vec<ModelId> = names.iter().map(|name| ledger.model(now, name, settings(slots)).unwrap()).collect();
        let first = models.iter().take(1).map(|model| Resident { model: *model, context: Some(4_096) });
        let first: Vec<Resident> = first.collect();
        ledger.resident(now, &first);
        let (loading, probing, wedged) = (None, Vec::new(), Vec::new());
        Judge { ledger, models, names, now, tickets: Vec::new(), states: HashMap::new(), loading, probing, wedged }
    }

    fn live(&self, which: &Index) -> Option<Ticket> {
        let live: Vec<Ticket> = self
            .tickets
            .iter()
            .map(|(ticket, _)| *ticket)
            .filter(|ticket| self.states[ticket] != State::Done)
            .collect();
        (!live.is_empty()).then(|| *which.get(&live))
    }

    fn submit(&mut self, request: &Request) {
        let place = request.model.index(self.models.len());
        let ask = Ask {
            model: self.models[place],
            key: Key(request.key),
            class: if request.batch { Class::Batch } else { Class::Interactive },
            prompt_bytes: request.prompt_bytes,
            max_tokens: request.max_tokens,
            prefix: request.prefix,
            deadline: request.deadline.map(|(after, hard)| Deadline { after: ms(after), hard }),
            queue_timeout: ms(request.queue_timeout),
            overflow: request.overflow,
            runs_twice: request.runs_twice,
            truncate: false,
        };
        let (ticket, verdict) = self.ledger.submit(self.now, &ask);
        let moves = ask.deadline.filter(|deadline| deadline.hard || ask.overflow);
        let deadline = moves.and_then(|deadline| self.now.checked_add(deadline.after));
        let expires = self.now + ask.queue_timeout.min(Duration::from_secs(3_600));
        let deadline = deadline.into_iter().chain([expires]).min();
        let state = match verdict {
            Verdict::Admit => State::Running { late: false },
            Verdict::Queue(_) => State::Queued { deadline },
            Verdict::Overflow(_) => {
                assert!(ask.overflow);
                State::Done
            }
            Verdict::Refuse(_) => State::Done,
        };
        assert_eq!(self.states.insert(ticket, state), None, "a ticket twice");
        self.tickets.push((ticket, place));
    }

    fn apply(&mut self, step: &Step) {
        let now = self.now;
        match step {
            Step::Submit(request) => self.submit(request),
            Step::Wait(time) => return self.wait(ms(*time)),
            Step::Back(time) => self.ledger.handle_timeout(now.checked_sub(ms(*time)).unwrap_or(now)),
            Step::First(which) => {
                if let Some(ticket) = self.live(which) {
                    let running = matches!(self.states[&ticket], State::Running { .. });
                    let promise = self.ledger.first_token(now, ticket);
                    assert!(promise.is_none() || running || self.states[&ticket] == State::Releasing);
                }
            }
            Step::Progress(which, tokens) => {
                self.live(which).into_iter().for_each(|ticket| self.ledger.progress(now, ticket, *tokens));
            }
            Step::Finish(which, measured) => {
                if let Some(ticket) = self.live(which) {
                    self.ledger.finished(now, ticket, *measured);
                    self.ended(ticket);
                }
            }
            Step::Fail(which) => {
                if let Some(ticket) = self.live(which) {
                    self.ledger.failed(now, ticket);
                    self.ended(ticket);
                }
            }
            Step::Cancel(which) => {
                if let Some(ticket) = self.live(which) {
                    self.ledger.cancelled(now, ticket);
                    let queued = matches!(self.states[&ticket], State::Queued { .. });
                    self.states.insert(ticket, if queued { State::Done } else { State::Releasing });
                }
            }
            Step::Resident(bits) => {
                let listed = self.models.iter().enumerate().filter(|(index, _)| bits & (1 << index) != 0);
                let rows: Vec<Resident> = listed.map(|(_, model)| Resident { model: *model, context: None }).collect();
                let gone = |model: &ModelId| !rows.iter().any(|row| row.model == *model);
                self.wedged.retain(|model| !gone(model));
                self.ledger.resident(now, &rows);
            }
            Step::Loaded(well) => {
                if let Some(model) = self.loading.take() {
                    self.ledger.loaded(now, model, if *well { Loaded::Ready(None) } else { Loaded::Failed });
                }
            }
            Step::Probed => self.probing.drain(..).for_each(|model| self.ledger.probed(now, model)),
            Step::Unloaded => self.wedged.drain(..).for_each(|model| self.ledger.unloaded(now, model)),
            Step::Parallel(which, slots) => {
                let name = which.get(&self.names);
                self.ledger.model(now, name, settings(*slots)).unwrap();
            }
            Step::Down => self.ledger.down(now, ms(1_000)),
        }
        self.drain();
    }

    /// A report of an end counts only for what holds a slot.
    fn ended(&mut self, ticket: Ticket) {
        if !matches!(self.states[&ticket], State::Queued { .. }) {
            self.states.insert(ticket, State::Done);
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let mut turns = 0;
        while let Some(at) = self.ledger.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.ledger.handle_timeout(self.now);
            self.drain();
            let next = self.ledger.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a timer that does not move");
            turns += 1;
            assert!(turns < 10_000, "timers without end");
        }
        self.now = until;
        self.ledger.handle_timeout(self.now);
        self.drain();
        for (ticket, state) in &self.states {
            if let State::Queued { deadline } = state {
                assert!(deadline.is_none_or(|deadline| deadline > self.now), "{ticket:?} is past its deadline");
            }
        }
    }

    fn drain(&mut self) {
        let mut granted = vec![false; self.models.len()];
        while let Some(event) = self.ledger.poll_event() {
            match event {
                Event::Granted(ticket) => {
                    assert!(matches!(self.states[&ticket], State::Queued { .. }), "granted {:?}", self.states[&ticket]);
                    self.states.insert(ticket, State::Running { late: false });
                    granted[self.place(ticket)] = true;
                }
                Event::Overflow(ticket, _) | Event::Refused(ticket, _) => {
                    assert!(
                        matches!(self.states[&ticket], State::Queued { .. }),
                        "resolved {:?}",
                        self.states[&ticket]
                    );
                    self.states.insert(ticket, State::Done);
                }
                Event::Late(ticket, _) => {
                    assert_eq!(self.states[&ticket], State::Running { late: false });
                    self.states.insert(ticket, State::Running { late: true });
                }
                Event::Preload(model) => self.loading = Some(model),
                Event::Probe(model) => self.probing.push(model),
                Event::Unload(model) => {
                    self.probing.retain(|other| *other != model);
                    self.wedged.push(model);
                }
            }
        }
        self.check_slots(&granted);
    }

    /// Slots are not over-committed, and the counts are those of the reference.
    fn check_slots(&mut self, granted: &[bool]) {
        for (index, status) in self.ledger.snapshot(self.now).into_iter().enumerate() {
            let mine = self.tickets.iter().filter(|(_, place)| *place == index).map(|(ticket, _)| *ticket);
            let mine: Vec<Ticket> = mine.collect();
            let count = |wanted: fn(&State) -> bool| mine.iter().filter(|ticket| wanted(&self.states[ticket])).count();
            assert_eq!(count(|state| matches!(state, State::Queued { .. })), status.queued as usize);
            assert_eq!(count(|state| matches!(state, State::Running { .. })), status.in_flight as usize);
            let releasing: Vec<Ticket> =
                mine.iter().copied().filter(|ticket| self.states[ticket] == State::Releasing).collect();
            assert!(releasing.len() >= status.releasing as usize);
            assert!(!granted[index] || status.in_flight + status.releasing <= status.slots, "{status:?}");
            if status.releasing == 0 {
                self.states.extend(releasing.into_iter().map(|ticket| (ticket, State::Done)));
            }
        }
    }

    fn place(&self, ticket: Ticket) -> usize {
        self.tickets.iter().find(|(other, _)| *other == ticket).map(|(_, place)| *place).unwrap()
    }

    /// With one model in memory and nothing to hold it, a free slot means that nobody waits.
    fn check_work_conserving(&self) {
        let status = &self.ledger.snapshot(self.now)[0];
        let free = status.resident && self.probing.is_empty() && !status.wedged;
        let taken = status.in_flight + status.releasing;
        assert!(!free || taken >= status.slots || status.queued == 0, "an idle slot: {status:?}");
    }

    /// Everything ends by itself once nothing more is reported.
    fn finish(&mut self) {
        self.wait(Duration::from_secs(2 * 3_600));
        let queued = |state: &&State| matches!(state, State::Queued { .. });
        assert_eq!(self.states.values().filter(queued).count(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_course_of_events_keeps_slots_deadlines_and_tickets(
        slots in 1_u32..5, models in 1_usize..4, steps in prop::collection::vec(steps(), 1..120)
    ) {
        let mut judge = Judge::new(models, slots);
        for step in &steps {
            judge.apply(step);
        }
        judge.finish();
    }

    #[test]
    fn a_slot_never_idles_while_somebody_it_may_serve_waits(
        slots in 1_u32..5, steps in prop::collection::vec(steps(), 1..120)
    ) {
        let mut judge = Judge::new(1, slots);
        for step in &steps {
            judge.apply(step);
            judge.check_work_conserving();
        }
        judge.finish();
    }

    /// All requests alike: between the coming of a key's only request and its grant, each other
    /// key of its class is served at most twice, and batch work waits for at most ten grants a turn.
    #[test]
    fn every_key_of_every_class_is_served_within_a_bound(
        arrivals in prop::collection::vec((0_u64..4, prop::bool::weighted(0.3), 0_usize..3), 1..80)
    ) {
        let mut world = crate::world::World::learnt(1);
        let mut running = world.admitted();
        let mut waiting: Vec<(Ticket, u64, bool, Vec<u64>)> = Vec::new();
        for (key, batch, answers) in arrivals {
            let class = if batch { Class::Batch } else { Class::Interactive };
            let flood = key == 0;
            if (flood || !waiting.iter().any(|(_, other, lane, _)| (*other, *lane) == (key, batch))) && waiting.len() < 60 {
                let ask = Ask { key: Key(key), class, ..world.ask() };
                waiting.push((world.queued(&ask), key, batch, Vec::new()));
            }
            for _ in 0..answers {
                if waiting.is_empty() {
                    break;
                }
                world.answer(running);
                let events = world.events();
                let [Event::Granted(ticket)] = events[..] else { panic!("{events:?}") };
                let place = waiting.iter().position(|(other, ..)| *other == ticket).unwrap();
                let (_, key, lane, seen) = waiting.remove(place);
                prop_assert!(key == 0 || seen.len() <= if lane { 90 } else { 12 }, "{seen:?}");
                for other in 1..4 {
                    let times = seen.iter().filter(|served| **served == other).count();
                    prop_assert!(key == 0 || lane || times <= 2, "{seen:?}");
                }
                let of_its_lane = waiting.iter_mut().filter(|(_, _, other, _)| lane || !other || *other);
                of_its_lane.for_each(|(.., seen)| seen.push(if lane { 9 } else { key }));
                running = ticket;
            }
        }
    }
}
