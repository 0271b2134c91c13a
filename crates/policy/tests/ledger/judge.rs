//! A reference that knows only which state each ticket may be in, what was commanded, and what was
//! seen together in memory; it watches a ledger and fails where the ledger breaks an invariant.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use causeway_policy::{
    Ask, Class, Deadline, Event, Key, Ledger, Limits, Loaded, ModelId, ModelStatus, Resident, Ticket, Verdict,
};

use crate::steps::{Report, Request, Step, Which};
use crate::world::{ms, settings, start};

/// A load without report is given up after this.
const LOAD_LIMIT: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Queued { deadline: Option<Instant> },
    Running { late: bool },
    Releasing,
    Done,
}

pub(crate) struct Judge {
    ledger: Ledger,
    models: Vec<ModelId>,
    names: Vec<String>,
    now: Instant,
    /// Every ticket in the order of submission, with its model.
    tickets: Vec<(Ticket, usize)>,
    states: HashMap<Ticket, State>,
    /// Models that were listed together, in both orders.
    together: Vec<(ModelId, ModelId)>,
    /// Commands without report.
    loading: Option<(ModelId, Instant)>,
    probing: Vec<ModelId>,
    wedged: Vec<ModelId>,
}

impl Judge {
    /// The first of the models is in memory.
    pub(crate) fn new(models: usize, slots: u32) -> Judge {
        let (mut ledger, now) = (Ledger::new(Limits { queue: 12 }), start());
        let names: Vec<String> = (0..models).map(|index| index.to_string()).collect();
        let models: Vec<ModelId> = names.iter().map(|name| ledger.model(now, name, settings(slots)).unwrap()).collect();
        let first = models.iter().take(1).map(|model| Resident { model: *model, context: Some(4_096) });
        let first: Vec<Resident> = first.collect();
        ledger.resident(now, &first);
        Judge {
            ledger,
            models,
            names,
            now,
            tickets: Vec::new(),
            states: HashMap::new(),
            together: Vec::new(),
            loading: None,
            probing: Vec::new(),
            wedged: Vec::new(),
        }
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        let now = self.now;
        match step {
            Step::Submit(request) => self.submit(request),
            Step::Wait(time) => return self.wait(ms(*time)),
            // Nobody looks at a timer meanwhile.
            Step::Leap(time) => self.now += ms(*time),
            Step::Back(time) => self.ledger.handle_timeout(now.checked_sub(ms(*time)).unwrap_or(now)),
            Step::Report(which, report) => self.report(which, report),
            Step::Resident(bits) => self.list(*bits),
            Step::Loaded(how) => {
                if let Some((model, _)) = self.loading.take() {
                    self.ledger.loaded(now, model, *how);
                }
            }
            // Of a load that was given up, or of one that the ledger did not ask for.
            Step::StrayLoaded(which, how) => {
                let model = *which.get(&self.models);
                if self.loading.is_none_or(|(loading, _)| loading != model) {
                    self.ledger.loaded(now, model, *how);
                }
            }
            Step::Probed => self.probing.drain(..).for_each(|model| self.ledger.probed(now, model)),
            Step::Unloaded => self.wedged.drain(..).for_each(|model| self.ledger.unloaded(now, model)),
            Step::StrayUnloaded(which) => {
                let model = *which.get(&self.models);
                if !self.wedged.contains(&model) {
                    let before = self.ledger.snapshot(now);
                    self.ledger.unloaded(now, model);
                    self.probing_goes_on(&before);
                }
            }
            Step::Overflowed(which, first_token) => self.ledger.overflowed(*which.get(&self.models), *first_token),
            Step::Parallel(which, slots) => {
                let name = which.get(&self.names);
                self.ledger.model(now, name, settings(*slots)).unwrap();
            }
            Step::Down => self.ledger.down(now, ms(1_000)),
        }
        self.drain(None);
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
        self.drain((verdict == Verdict::Admit).then_some(place));
    }

    /// A report of the session, which may be late, said before, or about a ticket that is done.
    fn report(&mut self, which: &Which, report: &Report) {
        let Some(ticket) = self.choose(which) else { return };
        let (now, state) = (self.now, self.states[&ticket]);
        let before = self.ledger.snapshot(now);
        let promise = match report {
            Report::First => self.ledger.first_token(now, ticket),
            Report::Progress(tokens) => {
                self.ledger.progress(now, ticket, *tokens);
                None
            }
            Report::Finished(measured) => {
                self.ledger.finished(now, ticket, *measured);
                None
            }
            Report::Failed => {
                self.ledger.failed(now, ticket);
                None
            }
            Report::Released => {
                self.ledger.released(now, ticket);
                None
            }
            Report::Cancelled => {
                self.ledger.cancelled(now, ticket);
                None
            }
        };
        let ends = matches!(report, Report::Finished(_) | Report::Failed | Report::Released);
        match state {
            State::Done => {
                assert_eq!((self.ledger.snapshot(now), promise), (before, None), "a ticket that is done");
                assert_eq!(self.ledger.poll_event(), None, "a ticket that is done");
            }
            // A report of a run counts only for what holds a slot.
            State::Queued { .. } if *report != Report::Cancelled => {
                assert_eq!((self.ledger.snapshot(now), promise), (before, None), "a ticket that waits");
            }
            State::Queued { .. } => drop(self.states.insert(ticket, State::Done)),
            State::Running { .. } | State::Releasing if ends => drop(self.states.insert(ticket, State::Done)),
            State::Running { .. } if *report == Report::Cancelled => {
                self.states.insert(ticket, State::Releasing);
            }
            State::Running { .. } | State::Releasing => {}
        }
    }

    fn choose(&self, which: &Which) -> Option<Ticket> {
        let live = |ticket: &Ticket| !which.live || self.states[ticket] != State::Done;
        let chosen: Vec<Ticket> = self.tickets.iter().map(|(ticket, _)| *ticket).filter(live).collect();
        (!chosen.is_empty()).then(|| *which.index.get(&chosen))
    }

    /// What `/api/ps` says: bits of the models.
    fn list(&mut self, bits: u8) {
        let listed = self.models.iter().enumerate().filter(|(index, _)| bits & (1 << index) != 0);
        let listed: Vec<ModelId> = listed.map(|(_, model)| *model).collect();
        let rows: Vec<Resident> = listed.iter().map(|model| Resident { model: *model, context: None }).collect();
        self.wedged.retain(|model| listed.contains(model));
        // A model that still loads is listed too, which says nothing.
        let there = |model: &&ModelId| self.loading.is_none_or(|(loading, _)| loading != **model);
        let there: Vec<ModelId> = listed.iter().filter(there).copied().collect();
        self.together.extend(there.iter().flat_map(|one| there.iter().map(|other| (*one, *other))));
        self.ledger.resident(self.now, &rows);
    }

    fn loading(&self) -> Option<ModelId> {
        self.loading.filter(|(_, since)| self.now - *since < LOAD_LIMIT).map(|(model, _)| model)
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let mut turns = 0;
        while let Some(at) = self.ledger.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.ledger.handle_timeout(self.now);
            self.drain(None);
            let next = self.ledger.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a timer that does not move");
            turns += 1;
            assert!(turns < 10_000, "timers without end");
        }
        self.now = until;
        self.ledger.handle_timeout(self.now);
        self.drain(None);
    }

    /// Takes over what was said, and holds it against what is known. `admitted`: the model of a
    /// request that was just given a slot without waiting.
    fn drain(&mut self, admitted: Option<usize>) {
        let mut granted = vec![false; self.models.len()];
        admitted.into_iter().for_each(|place| granted[place] = true);
        while let Some(event) = self.ledger.poll_event() {
            match event {
                Event::Granted(ticket) => {
                    self.resolve(ticket, State::Running { late: false });
                    granted[self.place(ticket)] = true;
                }
                Event::Overflow(ticket, _) | Event::Refused(ticket, _) => self.resolve(ticket, State::Done),
                Event::Late(ticket, _) => {
                    assert_eq!(self.states[&ticket], State::Running { late: false });
                    self.states.insert(ticket, State::Running { late: true });
                }
                Event::Preload(model) => {
                    assert_eq!(self.loading(), None, "two loads at once");
                    self.loading = Some((model, self.now));
                }
                Event::Probe(model) => self.probing.push(model),
                Event::Unload(model) => {
                    self.probing.retain(|other| *other != model);
                    self.wedged.push(model);
                }
            }
        }
        if self.loading().is_none() && !self.is_due() {
            // It was given up.
            self.loading = None;
        }
        let snapshot = self.ledger.snapshot(self.now);
        self.check_slots(&snapshot, &granted);
        self.check_load(&snapshot);
        self.check_deadlines();
        self.check_work(&snapshot);
    }

    fn resolve(&mut self, ticket: Ticket, state: State) {
        assert!(matches!(self.states[&ticket], State::Queued { .. }), "{state:?} after {:?}", self.states[&ticket]);
        self.states.insert(ticket, state);
    }

    /// Slots are not over-committed, and the counts are those of the reference.
    fn check_slots(&mut self, snapshot: &[ModelStatus], granted: &[bool]) {
        for (index, status) in snapshot.iter().enumerate() {
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
        for (ticket, state) in &self.states {
            let queued = matches!(state, State::Queued { .. });
            assert_eq!(self.ledger.forecast(self.now, *ticket).is_some(), queued, "{state:?}");
        }
    }

    /// Nothing runs on a model that a load may push out.
    fn check_load(&self, snapshot: &[ModelStatus]) {
        let Some(loading) = self.loading() else { return };
        for status in snapshot.iter().filter(|status| !self.beside(status.id, loading)) {
            assert_eq!(status.in_flight + status.releasing, 0, "beside the load of {loading:?}: {status:?}");
        }
    }

    /// Whoever is past its deadline is resolved, or a timer is due that does it.
    fn check_deadlines(&self) {
        for (ticket, state) in &self.states {
            let State::Queued { deadline } = state else { continue };
            let over = deadline.is_some_and(|deadline| deadline <= self.now);
            assert!(!over || self.is_due(), "{ticket:?} is past its deadline");
        }
    }

    /// A free slot of a model in memory means that nobody waits for it, unless a load that may push it
    /// out is under way or wanted.
    fn check_work(&self, snapshot: &[ModelStatus]) {
        if self.is_due() {
            return;
        }
        for status in snapshot.iter().filter(|status| status.resident && status.queued > 0) {
            let held = status.suspect || status.wedged || self.probing.contains(&status.id);
            let loads = |other: &&ModelStatus| {
                self.loading() == Some(other.id) || (!other.resident && other.queued > 0) && other.in_flight == 0
            };
            let has_to_leave = snapshot.iter().filter(loads).any(|other| !self.beside(status.id, other.id));
            let free = status.in_flight + status.releasing < status.slots;
            assert!(!free || held || has_to_leave, "an idle slot: {status:?}");
        }
    }

    /// A late report of an unload does not take a model that works for gone.
    fn probing_goes_on(&self, before: &[ModelStatus]) {
        let after = self.ledger.snapshot(self.now);
        assert!(before.iter().zip(&after).all(|(before, after)| before.resident == after.resident));
    }

    fn is_due(&self) -> bool {
        self.ledger.poll_timeout().is_some_and(|at| at <= self.now)
    }

    fn beside(&self, one: ModelId, other: ModelId) -> bool {
        one == other || self.together.contains(&(one, other))
    }

    fn place(&self, ticket: Ticket) -> usize {
        self.tickets.iter().find(|(other, _)| *other == ticket).map(|(_, place)| *place).unwrap()
    }

    /// Everything ends by itself once nothing more is reported.
    pub(crate) fn finish(&mut self) {
        self.wait(Duration::from_secs(2 * 3_600));
        let queued = |state: &&State| matches!(state, State::Queued { .. });
        assert_eq!(self.states.values().filter(queued).count(), 0);
    }
}

/// What an Ollama says of a load, true or not.
pub(crate) fn loads() -> [Loaded; 5] {
    [
        Loaded::Ready(None),
        Loaded::Ready(Some(Duration::ZERO)),
        Loaded::Ready(Some(ms(3_000))),
        Loaded::Ready(Some(Duration::MAX)),
        Loaded::Failed,
    ]
}
