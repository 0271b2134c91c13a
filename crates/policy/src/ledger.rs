//! The slot ledger: who runs, who waits, who goes elsewhere, for every model of one Ollama.
//!
//! Sans-I/O. Drive it in this order: a verb (`submit`, a report of the session, `resident`,
//! `handle_timeout`), then `poll_event` until it returns `None`, then `poll_timeout` to learn when
//! `handle_timeout` is next due. Which verb when, and two requests from end to end: [`Ledger`].
//!
//! Invariants: a model never has more granted requests than slots; a slot never idles while a
//! request that it may serve waits; every ticket is resolved exactly once; no request waits past
//! its deadline; nothing grows without a named bound. A clock that steps back is taken to stand.
//! Absent: clocks, sockets, texts, budget (the shell knows whether Bedrock may serve a request).

mod cold;
mod demand;
mod door;
mod model;
mod plan;
mod predict;
mod queue;
mod ready;
mod running;
mod slots;
mod status;
mod strikes;
mod types;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cold::Loader;
use door::refuse;
use model::{Model, Residency};
use plan::{Desk, Newcomer};
pub use types::*;

/// Models known at a time; a place that nobody uses is given to the next. A model's figures are
/// some 20 KiB, so these are below 3 MiB. Also the width of the set of models seen together.
const MOST_MODELS: usize = 128;

/// The slot ledger of one Ollama: who runs, who waits, who goes elsewhere.
///
/// # Which verb when
///
/// Each verb takes the time; after each, drain [`Ledger::poll_event`], then set a timer to
/// [`Ledger::poll_timeout`] and call [`Ledger::handle_timeout`] when it is due.
///
/// | it happened | say |
/// |---|---|
/// | a request came | [`Ledger::submit`]; act on its [`Verdict`] |
/// | [`Verdict::Admit`] or [`Event::Granted`] | nothing: it holds a slot; send it to Ollama |
/// | its first token came, visible or not | [`Ledger::first_token`] |
/// | more came | [`Ledger::progress`] with the chunks so far |
/// | its answer ended whole | [`Ledger::finished`]; the ticket is done |
/// | Ollama refused it or broke off | [`Ledger::failed`]; the ticket is done |
/// | its caller left, queued or running | [`Ledger::cancelled`]; a queued one is done, a running one's slot is *releasing* |
/// | Ollama is known to have stopped after that | [`Ledger::released`]; without it the slot is free after an estimated time |
/// | [`Verdict::Overflow`] or [`Event::Overflow`] | nothing: the ticket is done; send it to Bedrock |
/// | [`Event::Late`] | what [`Late`] says, then [`Ledger::cancelled`] where it says cancel |
/// | Bedrock's first token came for any of these | [`Ledger::overflowed`] with the time it took there |
/// | [`Verdict::Refuse`] or [`Event::Refused`] | nothing: the ticket is done; answer with it |
/// | [`Event::Preload`] | load the model, then [`Ledger::loaded`], then [`Ledger::resident`] |
/// | [`Event::Probe`], [`Event::Unload`] | do it, then [`Ledger::probed`], [`Ledger::unloaded`] |
/// | `/api/ps` was read | [`Ledger::resident`] with all its rows |
/// | Ollama does not answer at all | [`Ledger::down`] |
///
/// A report may come late or twice: one about a ticket that is done is ignored, and so is one of a run
/// about a ticket that still waits.
///
/// # A request from its submission to its end
///
/// Its model is not in memory, so that it waits for a load; it is granted, answers, and ends.
///
/// ```
/// use std::time::{Duration, Instant};
/// use causeway_policy::{
///     Ask, Class, Event, Key, Ledger, Limits, Loaded, Measured, ModelSettings, Resident, Verdict,
/// };
///
/// let mut now = Instant::now();
/// let mut ledger = Ledger::new(Limits::default());
/// let settings = ModelSettings { parallel: 1, forced_one: false };
/// let model = ledger.model(now, "llama3.2:latest", settings).unwrap();
/// let ask = Ask {
///     model,
///     key: Key(1),
///     class: Class::Interactive,
///     prompt_bytes: 400,
///     max_tokens: None,
///     prefix: 7,
///     deadline: None,
///     queue_timeout: Duration::from_secs(60),
///     overflow: false,
///     runs_twice: false,
///     truncate: false,
/// };
///
/// let (ticket, verdict) = ledger.submit(now, &ask);
/// assert!(matches!(verdict, Verdict::Queue(_)));
/// assert_eq!(ledger.poll_event(), Some(Event::Preload(model)));
///
/// // The load takes four seconds.
/// now += Duration::from_secs(4);
/// ledger.loaded(now, model, Loaded::Ready(Some(Duration::from_secs(4))));
/// assert_eq!(ledger.poll_event(), Some(Event::Granted(ticket)));
/// ledger.resident(now, &[Resident { model, context: Some(8_192) }]);
///
/// now += Duration::from_millis(100);
/// let promise = ledger.first_token(now, ticket).unwrap();
/// assert_eq!(promise.queued, Duration::from_secs(4));
/// now += Duration::from_secs(1);
/// ledger.progress(now, ticket, 50);
/// ledger.finished(now, ticket, Measured { eval_count: Some(50), ..Measured::default() });
///
/// assert_eq!(ledger.poll_event(), None);
/// let [status] = &ledger.snapshot(now)[..] else { panic!("one model") };
/// assert_eq!((status.in_flight, status.queued), (0, 0));
/// ```
///
/// # One that waits for a slot
///
/// The caller of the request ahead leaves; its slot is releasing until Ollama has stopped.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use causeway_policy::{Ask, Class, Event, Key, Ledger, Limits, ModelSettings, Resident, Verdict};
/// # let mut now = Instant::now();
/// # let mut ledger = Ledger::new(Limits::default());
/// # let settings = ModelSettings { parallel: 1, forced_one: false };
/// # let model = ledger.model(now, "llama3.2:latest", settings).unwrap();
/// # let ask = Ask {
/// #     model,
/// #     key: Key(1),
/// #     class: Class::Interactive,
/// #     prompt_bytes: 400,
/// #     max_tokens: None,
/// #     prefix: 7,
/// #     deadline: None,
/// #     queue_timeout: Duration::from_secs(60),
/// #     overflow: false,
/// #     runs_twice: false,
/// #     truncate: false,
/// # };
/// ledger.resident(now, &[Resident { model, context: None }]);
/// let (ahead, verdict) = ledger.submit(now, &ask);
/// assert_eq!(verdict, Verdict::Admit);
/// let (waiting, verdict) = ledger.submit(now, &ask);
/// let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
/// assert_eq!(forecast.place, 0);
/// assert_eq!(ledger.poll_timeout(), Some(now + Duration::from_secs(60)));
///
/// now += Duration::from_millis(300);
/// ledger.cancelled(now, ahead);
/// assert_eq!(ledger.poll_event(), None);
///
/// // Ollama closed the connection: earlier than estimated.
/// now += Duration::from_millis(20);
/// assert!(ledger.poll_timeout().is_some_and(|due| due > now));
/// ledger.released(now, ahead);
/// assert_eq!(ledger.poll_event(), Some(Event::Granted(waiting)));
///
/// // From here on as above. This time Ollama breaks off.
/// ledger.failed(now, waiting);
/// assert_eq!(ledger.poll_timeout(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Ledger {
    limits: Limits,
    models: Vec<Model>,
    loader: Loader,
    desk: Desk,
    events: VecDeque<Event>,
    serial: u64,
    generation: u64,
    now: Option<Instant>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(limits: Limits) -> Ledger {
        let queue = limits.queue.clamp(1, Limits::LONGEST_QUEUE);
        Ledger {
            limits: Limits { queue },
            models: Vec::new(),
            loader: Loader::default(),
            desk: Desk::default(),
            events: VecDeque::new(),
            serial: 0,
            generation: 0,
            now: None,
        }
    }

    /// Makes a model known, or gives a known one new settings. `None`: 128 models are
    /// in use already.
    pub fn model(&mut self, now: Instant, name: &str, settings: ModelSettings) -> Option<ModelId> {
        let now = self.advance(now);
        if let Some(index) = self.models.iter().position(|model| &*model.name == name) {
            let model = self.models.get_mut(index)?;
            model.parallel.set(settings);
            let id = model.id;
            self.changed(now, index);
            return Some(id);
        }
        self.generation += 1;
        let generation = self.generation;
        if self.models.len() < MOST_MODELS {
            let id = ModelId { index: self.models.len(), generation };
            self.models.push(Model::new(now, id, name, settings));
            return Some(id);
        }
        let spare = self
            .models
            .iter()
            .enumerate()
            .filter(|(index, model)| model.idle() && !self.loader.is_loading(*index) && !model.watchdog.holds());
        let (index, _) = spare.min_by_key(|(_, model)| model.last_used)?;
        self.loader.forget(index);
        let id = ModelId { index, generation };
        *self.models.get_mut(index)? = Model::new(now, id, name, settings);
        Some(id)
    }

    /// Decides about a new request. A verdict other than [`Verdict::Queue`] and [`Verdict::Admit`]
    /// ends its ticket.
    pub fn submit(&mut self, now: Instant, ask: &Ask) -> (Ticket, Verdict) {
        let now = self.advance(now);
        self.serial += 1;
        let ticket = Ticket { serial: self.serial, model: ask.model.index };
        let Some(index) = self.index_of(ask.model) else {
            return (ticket, refuse(RefusalCode::ModelNotFound, Duration::ZERO));
        };
        let loads = self.loads();
        self.settle(now, index);
        let verdict = match self.at_the_door(now, index, ticket, ask) {
            Some(verdict) => verdict,
            None => self.enqueue(now, index, ticket, ask),
        };
        if loads || self.loads() {
            // It may have tipped the scale between two models, or left a load without a cause.
            self.handle_timeout(now);
        }
        (ticket, verdict)
    }

    /// The first token came, visible or not. What had been promised for it, once.
    pub fn first_token(&mut self, now: Instant, ticket: Ticket) -> Option<Promise> {
        let now = self.advance(now);
        let model = self.models.get_mut(ticket.model)?;
        let promise = model.first_token(now, ticket)?;
        self.changed(now, ticket.model);
        Some(promise)
    }

    /// So many chunks with tokens have come in all. Cheap: changes no decision by itself.
    pub fn progress(&mut self, now: Instant, ticket: Ticket, tokens: u32) {
        let now = self.advance(now);
        let running = self.models.get_mut(ticket.model).and_then(|model| model.running_mut(ticket));
        if let Some(running) = running {
            running.tokens = running.tokens.max(tokens);
            running.last_sign = now;
        }
    }

    /// A whole answer was served.
    pub fn finished(&mut self, now: Instant, ticket: Ticket, measured: Measured) {
        let now = self.advance(now);
        if self.models.get_mut(ticket.model).is_some_and(|model| model.finish(now, ticket, measured)) {
            self.changed(now, ticket.model);
        }
    }

    /// The caller left, or Bedrock took over. A queued request is done; a running one's slot is
    /// *releasing* from now, until [`Ledger::released`] or for as long as Ollama is estimated to need.
    pub fn cancelled(&mut self, now: Instant, ticket: Ticket) {
        let now = self.advance(now);
        let Some(model) = self.models.get_mut(ticket.model) else { return };
        if let Some(running) = model.running_mut(ticket) {
            running.release(now);
        } else if model.queue.remove(ticket).is_none() {
            return;
        }
        self.changed(now, ticket.model);
    }

    /// Ollama refused or broke the request off: its slot is free.
    pub fn failed(&mut self, now: Instant, ticket: Ticket) {
        self.released(now, ticket);
    }

    /// Ollama is known to have stopped: the slot is free before its estimated time.
    pub fn released(&mut self, now: Instant, ticket: Ticket) {
        let now = self.advance(now);
        if self.models.get_mut(ticket.model).is_some_and(|model| model.drop_running(now, ticket)) {
            self.changed(now, ticket.model);
        }
    }

    /// A request that overflowed from this model had its first token of Bedrock after this time,
    /// counted from its start there. Changes no decision by itself.
    pub fn overflowed(&mut self, model: ModelId, first_token: Duration) {
        if let Some(model) = self.index_of(model).and_then(|index| self.models.get_mut(index)) {
            model.learnt.record_overflow(first_token);
        }
    }

    /// What `/api/ps` shows, all of it. Every few seconds, and at once after a preload.
    pub fn resident(&mut self, now: Instant, rows: &[Resident]) {
        let now = self.advance(now);
        let mut listed = 0_u128;
        for row in rows {
            if let Some(index) = self.index_of(row.model) {
                listed |= 1 << index;
                self.models.get_mut(index).into_iter().for_each(|model| model.context = row.context);
            }
        }
        self.loader.seen(listed, &mut self.models);
        self.handle_timeout(now);
    }

    /// The preload of an [`Event::Preload`] ended. Ignored where none is under way: the report is late.
    pub fn loaded(&mut self, now: Instant, model: ModelId, how: Loaded) {
        let now = self.advance(now);
        if let Some(index) = self.index_of(model) {
            self.loader.ended(now, index, how, &mut self.models, &mut self.events);
            self.handle_timeout(now);
        }
    }

    /// A probe was answered, well or badly: the model does not hang.
    pub fn probed(&mut self, now: Instant, model: ModelId) {
        let now = self.advance(now);
        if let Some(index) = self.index_of(model) {
            self.models.get_mut(index).into_iter().for_each(|model| model.watchdog.probed());
            self.changed(now, index);
        }
    }

    /// A wedged model was unloaded. Ignored for one that is not wedged: the report is late.
    pub fn unloaded(&mut self, now: Instant, model: ModelId) {
        let now = self.advance(now);
        let model = self.index_of(model).and_then(|index| self.models.get_mut(index));
        if let Some(model) = model.filter(|model| model.watchdog.is_wedged()) {
            model.watchdog.unloaded();
            model.residency = Residency::Absent;
            self.handle_timeout(now);
        }
    }

    /// Ollama does not answer at all: every waiting request is resolved. The breaker keeps new ones
    /// away; `retry_after` is its pause.
    pub fn down(&mut self, now: Instant, retry_after: Duration) {
        let now = self.advance(now);
        for model in &mut self.models {
            model.flush(OverflowReason::LocalDown, retry_after, &mut self.events);
        }
        self.handle_timeout(now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        loop {
            (0..self.models.len()).for_each(|index| self.settle(now, index));
            if self.loader.step(now, &mut self.models, &mut self.events) {
                continue;
            }
            (0..self.models.len()).for_each(|index| self.decide(now, index, &mut None));
            if !self.loader.is_vain(&self.models) {
                return;
            }
        }
    }

    /// When [`Ledger::handle_timeout`] is next due; `None` while nothing waits for time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let models = self.models.iter().filter_map(Model::next);
        models.chain(self.loader.next(&self.models)).min()
    }

    /// The next decision or command.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The place of a waiting request and when it is expected to be served.
    #[must_use]
    pub fn forecast(&self, now: Instant, ticket: Ticket) -> Option<Forecast> {
        self.models.get(ticket.model)?.forecast(now, ticket)
    }

    /// Resolves, grants and watches one model after a change, then predicts anew; all models while
    /// one waits for a load, for then each depends on the others.
    fn changed(&mut self, now: Instant, index: usize) {
        if self.loads() {
            self.handle_timeout(now);
            return;
        }
        self.settle(now, index);
        self.decide(now, index, &mut None);
    }

    /// Whether a model is being loaded or wanted that is not in memory.
    fn loads(&self) -> bool {
        let cold = |model: &Model| model.residency == Residency::Absent && !model.queue.is_empty();
        self.loader.is_busy() || self.models.iter().any(cold)
    }

    fn settle(&mut self, now: Instant, index: usize) {
        let ready = self.loader.ready(now, index, &self.models);
        let Some(model) = self.models.get_mut(index) else { return };
        model.pass_time(now);
        model.say_late(now, &mut self.events);
        model.expire(now, ready, &mut self.events);
        model.grant(now, &mut self.events);
        model.watch(now, &mut self.events);
    }

    fn decide(&mut self, now: Instant, index: usize, newcomer: &mut Option<Newcomer>) {
        let ready = self.loader.ready(now, index, &self.models);
        let Some(model) = self.models.get_mut(index).filter(|model| !model.queue.is_empty()) else { return };
        model.decide(now, ready, &mut self.desk, newcomer, &mut self.events);
    }

    /// Time until a slot is free behind all that wait.
    fn drain(&self, now: Instant, index: usize) -> Duration {
        let ready = self.loader.ready(now, index, &self.models);
        self.models.get(index).map(|model| plan::drain(model, now, ready)).unwrap_or_default()
    }

    fn index_of(&self, id: ModelId) -> Option<usize> {
        self.models.get(id.index).filter(|model| model.id == id).map(|_| id.index)
    }

    /// The ledger's own time: that of the latest call, or later.
    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.now.map_or(now, |last| last.max(now));
        self.now = Some(now);
        now
    }
}
