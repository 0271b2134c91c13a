//! The daemon's part: the shell of the real [`Ledger`], in virtual time.
//!
//! It drives the ledger as its head says: a verb, then every event, then the timer. Everything that
//! is decided is decided by the ledger; here events become commands. Absent: the breaker (this
//! Ollama is never down) and the budget (Bedrock may always be asked, or never).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use causeway_policy::{
    Ask, Class, Deadline, Event, Key, Late, Ledger, Limits, Loaded, Measured, ModelId, ModelSettings, RefusalCode,
    Resident, Ticket, Verdict,
};

use crate::ollama::Ollama;
use crate::scenario::{Call, Scenario};
use crate::systems::{Attempt, Command, Notes, System};

/// The configuration's `queue-timeout-ms` and `first-token-ms`.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(300);
const FIRST_TOKEN: Duration = Duration::from_secs(4);
/// No prompt of the scenarios is too long.
const CONTEXT: u32 = 131_072;

pub(crate) struct Causeway {
    ledger: Ledger,
    start: Instant,
    models: Vec<ModelId>,
    overflow: bool,
    stated: bool,
    /// Slots that Ollama really has.
    real: u32,
    configured: u32,
    open: BTreeMap<Ticket, Open>,
    tickets: BTreeMap<u64, Ticket>,
    commands: VecDeque<Command>,
    notes: Notes,
    /// Requests that stopped being ahead of others, by model, and the refusals that watch it.
    gone: Vec<u64>,
    watched: Vec<(usize, u64, u64, f64)>,
    overlapped: BTreeSet<u64>,
    overlaps: u32,
}

/// One ticket.
struct Open {
    id: u64,
    model: usize,
    running: bool,
    /// 504 was said: it is to be dropped at its first byte, not before.
    abandoned: bool,
}

impl Causeway {
    pub(crate) fn new(scenario: &Scenario, overflow: bool) -> Causeway {
        let (mut ledger, start) = (Ledger::new(Limits::default()), Instant::now());
        let settings = ModelSettings { parallel: scenario.configured, forced_one: false };
        let names = (0..scenario.models.len()).map(|index| format!("model-{index}"));
        let models: Vec<ModelId> = names.filter_map(|name| ledger.model(start, &name, settings)).collect();
        Causeway {
            gone: vec![0; models.len()],
            ledger,
            start,
            models,
            overflow,
            stated: scenario.stated,
            real: u32::try_from(scenario.real).unwrap_or(u32::MAX),
            configured: scenario.configured,
            open: BTreeMap::new(),
            tickets: BTreeMap::new(),
            commands: VecDeque::new(),
            notes: Notes::default(),
            watched: Vec::new(),
            overlapped: BTreeSet::new(),
            overlaps: 0,
        }
    }

    fn at(&self, now: u64) -> Instant {
        self.start + Duration::from_micros(now)
    }

    fn ask_of(&self, call: &Call, deadline: u64) -> Ask {
        let stated = Deadline { after: Duration::from_micros(deadline), hard: true };
        Ask {
            model: self.models[call.model],
            key: Key(call.key as u64),
            class: Class::Interactive,
            prompt_bytes: call.bytes,
            max_tokens: call.max_tokens,
            prefix: call.prefix,
            deadline: Some(if self.stated { stated } else { Deadline { after: FIRST_TOKEN, hard: false } }),
            queue_timeout: QUEUE_TIMEOUT,
            overflow: self.overflow,
            runs_twice: false,
            truncate: false,
        }
    }

    fn drain(&mut self, now: u64) {
        while let Some(event) = self.ledger.poll_event() {
            match event {
                Event::Granted(ticket) => self.granted(ticket),
                Event::Overflow(ticket, _) => {
                    if let Some(open) = self.close(ticket) {
                        self.commands.push_back(Command::Overflow(open.id));
                    }
                }
                Event::Refused(ticket, refusal) => {
                    let Some(open) = self.close(ticket) else { continue };
                    self.commands.push_back(match refusal.code {
                        RefusalCode::DeadlineExceeded => Command::Expire(open.id),
                        RefusalCode::Saturated
                        | RefusalCode::LocalUnavailable
                        | RefusalCode::ContextExceeded { .. }
                        | RefusalCode::ModelNotFound => Command::Refuse(open.id, Some(refusal.retry_after)),
                    });
                }
                Event::Late(ticket, late) => self.late(now, ticket, late),
                Event::Preload(id) => {
                    let model = self.models.iter().position(|model| *model == id);
                    self.commands.extend(model.map(Command::Preload));
                }
                // This Ollama never hangs: a probe is answered at once.
                Event::Probe(id) => self.ledger.probed(self.at(now), id),
                Event::Unload(id) => self.ledger.unloaded(self.at(now), id),
            }
        }
        self.settle_watched(now);
    }

    fn granted(&mut self, ticket: Ticket) {
        let Some(open) = self.open.get_mut(&ticket) else { return };
        open.running = true;
        let (id, model) = (open.id, open.model);
        self.note_overlap(id, model);
        self.commands.push_back(Command::Send(id));
    }

    fn late(&mut self, now: u64, ticket: Ticket, late: Late) {
        let Some(open) = self.open.get_mut(&ticket) else { return };
        let id = open.id;
        match late {
            Late::ExpiredWhileLoading => {
                open.abandoned = true;
                self.commands.push_back(Command::Expire(id));
                return;
            }
            Late::Expired => self.commands.push_back(Command::Expire(id)),
            Late::Overflow => self.commands.push_back(Command::Overflow(id)),
        }
        self.drop_local(now, ticket);
    }

    fn drop_local(&mut self, now: u64, ticket: Ticket) {
        let Some(open) = self.close(ticket) else { return };
        if open.running {
            self.commands.push_back(Command::Cancel(open.id));
        }
        self.ledger.cancelled(self.at(now), ticket);
    }

    fn close(&mut self, ticket: Ticket) -> Option<Open> {
        let open = self.open.remove(&ticket)?;
        self.tickets.remove(&open.id);
        self.overlapped.remove(&open.id);
        self.gone[open.model] += 1;
        Some(open)
    }

    fn note_overlap(&mut self, id: u64, model: usize) {
        let beside = self.open.values().any(|open| open.running && open.model == model && open.id != id);
        if beside {
            self.overlapped.insert(id);
        }
    }

    /// A refusal's `retry-after` is right when by then so many have gone that a slot is free.
    fn watch_refusal(&mut self, now: u64, model: usize, retry_after: Duration) {
        let status = self.ledger.snapshot(self.at(now)).swap_remove(model);
        let ahead = status.in_flight + status.releasing + status.queued;
        let until = self.gone[model] + u64::from((ahead + 1).saturating_sub(status.slots));
        self.watched.push((model, until, now, retry_after.as_secs_f64() * 1_000.0));
    }

    fn settle_watched(&mut self, now: u64) {
        let (gone, retries) = (&self.gone, &mut self.notes.retries);
        self.watched.retain(|(model, until, since, told)| {
            let waits = gone[*model] < *until;
            if !waits {
                retries.push((*told, (now - since) as f64 / 1_000.0));
            }
            waits
        });
    }
}

impl System for Causeway {
    /// What the session has read since: it says so chunk by chunk, which decides nothing by itself.
    fn look(&mut self, now: u64, ollama: &Ollama) {
        let at = self.at(now);
        for (ticket, open) in self.open.iter().filter(|(_, open)| open.running) {
            if let Some(tokens) = ollama.progress(open.id) {
                self.ledger.progress(at, *ticket, tokens);
            }
        }
    }

    fn ask(&mut self, now: u64, attempt: Attempt<'_>) {
        let Attempt { id, call, deadline } = attempt;
        let ask = self.ask_of(call, deadline);
        let (ticket, verdict) = self.ledger.submit(self.at(now), &ask);
        let running = verdict == Verdict::Admit;
        match verdict {
            Verdict::Overflow(_) => self.commands.push_back(Command::Overflow(id)),
            Verdict::Refuse(refusal) => {
                self.watch_refusal(now, call.model, refusal.retry_after);
                self.commands.push_back(Command::Refuse(id, Some(refusal.retry_after)));
            }
            Verdict::Admit | Verdict::Queue(_) => {
                self.open.insert(ticket, Open { id, model: call.model, running, abandoned: false });
                self.tickets.insert(id, ticket);
                if running {
                    self.note_overlap(id, call.model);
                    self.commands.push_back(Command::Send(id));
                }
            }
        }
        self.drain(now);
    }

    fn left(&mut self, now: u64, id: u64) {
        if let Some(ticket) = self.tickets.get(&id).copied() {
            self.drop_local(now, ticket);
            self.drain(now);
        }
    }

    fn first(&mut self, now: u64, id: u64) {
        let Some(ticket) = self.tickets.get(&id).copied() else { return };
        let promise = self.ledger.first_token(self.at(now), ticket);
        if let Some((promise, predicted)) = promise.and_then(|promise| Some((promise, promise.predicted?))) {
            let (predicted, actual) = (predicted.as_secs_f64() * 1e3, promise.actual.as_secs_f64() * 1e3);
            let held = promise.p90.is_some_and(|p90| promise.actual <= p90);
            self.notes.promises.push((predicted, actual, held));
        }
        if self.open.get(&ticket).is_some_and(|open| open.abandoned) {
            self.drop_local(now, ticket);
        }
        self.drain(now);
    }

    fn ended(&mut self, now: u64, id: u64, measured: Measured) {
        let Some(ticket) = self.tickets.get(&id).copied() else { return };
        self.overlaps += u32::from(self.overlapped.contains(&id));
        self.close(ticket);
        self.ledger.finished(self.at(now), ticket, measured);
        self.drain(now);
        if self.notes.learnt.is_none() && self.configured > self.real {
            let status = self.ledger.snapshot(self.at(now)).swap_remove(0);
            if status.slots <= self.real {
                self.notes.learnt = Some((self.overlaps, now as f64 / 1e6));
            }
        }
    }

    fn loaded(&mut self, now: u64, model: usize, took: u64) {
        self.ledger.loaded(self.at(now), self.models[model], Loaded::Ready(Some(Duration::from_micros(took))));
        self.drain(now);
    }

    fn resident(&mut self, now: u64, models: &[usize]) {
        let row = |model: &usize| Resident { model: self.models[*model], context: Some(CONTEXT) };
        let rows: Vec<Resident> = models.iter().map(row).collect();
        self.ledger.resident(self.at(now), &rows);
        self.drain(now);
    }

    fn elsewhere(&mut self, model: usize, took: u64) {
        self.ledger.overflowed(self.models[model], Duration::from_micros(took));
    }

    fn next(&self) -> Option<u64> {
        let at = self.ledger.poll_timeout()?;
        // Rounded up: a timer that comes a part of a microsecond early would come again for ever.
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos.div_ceil(1_000)).ok()
    }

    fn tick(&mut self, now: u64) {
        self.ledger.handle_timeout(self.at(now));
        self.drain(now);
    }

    fn command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    fn notes(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }
}
