//! The shell around the slot ledger: who may send a request to Ollama, and when.
//!
//! One lock holds the ledger, the breaker in front of it and a mailbox for each request that has
//! not ended. Every change drains the ledger's decisions into those mailboxes and its commands into
//! the [`chores`] task, which also lets time pass. Invariants: a [`Place`] gives its slot back when
//! it is dropped, whatever happened; no clock is read here. Absent: what a request says, HTTP.

pub(crate) mod chores;
mod inner;
mod live;
mod place;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use causeway_overflow::session::Decision;
use causeway_overflow::session::too_late;
use causeway_policy::{
    Ask, Breaker, Forecast, Key, Ledger, Limits, Loaded, ModelId, ModelSettings, ModelStatus, OverflowReason, Refusal,
    RefusalCode, Resident, Ticket, Verdict,
};
use causeway_wire::{Code, Load, ModelLoad};
use tokio::sync::{Notify, mpsc};

use inner::Probes;
pub(crate) use live::Live;
pub(crate) use place::{Health, Place};

/// Decisions that one request can still get once it was submitted, count: a grant or its end, then
/// perhaps that it is late.
const MAILBOX: usize = 2;

/// Commands of the ledger not yet begun, count: three kinds for each of its 128 models.
const CHORES: usize = 384;

/// Models whose ids are kept, count: twice what the ledger knows at a time; beyond it those that it
/// has forgotten are looked for.
const KEPT_MODELS: usize = 256;

/// A command of the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chore {
    pub(crate) model: ModelId,
    pub(crate) name: String,
    pub(crate) kind: ChoreKind,
}

/// See the ledger's events of these names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ChoreKind {
    Preload,
    Unload,
    Probe,
}

/// One model as its request needs it named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Our id of the request.
    pub(crate) id: &'a str,
    /// The reduced name.
    pub(crate) model: &'a str,
    /// Its slots, as configured.
    pub(crate) settings: ModelSettings,
    /// Bedrock could serve it.
    pub(crate) overflow: bool,
}

/// The shared admission of all requests.
pub(crate) struct Admission {
    inner: Mutex<Inner>,
    /// Rung when time must be looked at earlier than before.
    timer: Notify,
    /// Rung whenever the load changed; the load reporter listens.
    pub(crate) load_changed: Notify,
    keys: RandomState,
}

struct Inner {
    ledger: Ledger,
    /// Shut while Ollama does not answer at all.
    breaker: Breaker,
    models: HashMap<String, Known>,
    entries: HashMap<Ticket, Entry>,
    chores: mpsc::Sender<Chore>,
    /// When the chores task looks at the time next.
    armed: Option<Instant>,
    /// When a model was last loaded or unloaded by us: what `/api/ps` said before is stale.
    moved: Option<Instant>,
}

/// A model that the ledger knows.
struct Known {
    id: ModelId,
    settings: ModelSettings,
    /// Shut while its runner breaks again and again: other models are not held back by that.
    breaker: Breaker,
    /// Why it could not be loaded the last time.
    fault: Option<(Code, String)>,
    /// It is in memory since this daemon loaded it: whatever its context, it is what can be had.
    loaded: bool,
}

/// A model in Ollama's memory, by its reduced name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) settings: ModelSettings,
    /// Its context length, tokens.
    pub(crate) context: Option<u32>,
    /// The context that this daemon asks for, where it does.
    pub(crate) wanted: Option<u32>,
}

/// A request that has not ended.
struct Entry {
    id: String,
    model: String,
    submitted: Instant,
    granted: Option<Instant>,
    /// What was promised when it had to wait.
    promised: Option<Forecast>,
    mailbox: mpsc::Sender<Decision>,
}

impl Admission {
    /// An idle admission, and the commands that its [`chores`] task takes.
    pub(crate) fn new(limits: Limits) -> (Arc<Self>, mpsc::Receiver<Chore>) {
        let (chores, taken) = mpsc::channel(CHORES);
        let inner = Inner {
            ledger: Ledger::new(limits),
            breaker: Breaker::default(),
            models: HashMap::new(),
            entries: HashMap::new(),
            chores,
            armed: None,
            moved: None,
        };
        let admission = Self {
            inner: Mutex::new(inner),
            timer: Notify::new(),
            load_changed: Notify::new(),
            keys: RandomState::new(),
        };
        (Arc::new(admission), taken)
    }

    /// The ledger's number of a caller's key.
    pub(crate) fn key(&self, id: &str) -> Key {
        Key(self.keys.hash_one(id))
    }

    /// Asks for a slot; `ask` describes the request to the ledger. A refusal has no place.
    pub(crate) fn submit(
        self: &Arc<Self>,
        now: Instant,
        wanted: Wanted<'_>,
        ask: impl Fn(ModelId) -> Ask,
    ) -> (Verdict, Option<Place>) {
        let mut inner = self.inner();
        let probes = match inner.pass(now, wanted.model) {
            Ok(probes) => probes,
            Err(_) if wanted.overflow => return (Verdict::Overflow(OverflowReason::LocalDown), None),
            Err(pause) => {
                let refusal = Refusal { code: RefusalCode::LocalUnavailable, retry_after: pause };
                return (Verdict::Refuse(refusal), None);
            }
        };
        let (ticket, verdict) = inner.submit(now, wanted, ask);
        let place = match (verdict, ticket) {
            (Verdict::Admit | Verdict::Queue(_), Some(ticket)) => {
                let (mailbox, decisions) = mpsc::channel(MAILBOX);
                let id = inner.models.get(wanted.model).map(|known| known.id);
                let learnt = id.is_some_and(|id| inner.ledger.predicts(id));
                let promised = match verdict {
                    Verdict::Queue(forecast) => Some(forecast).filter(|_| learnt),
                    Verdict::Admit | Verdict::Overflow(_) | Verdict::Refuse(_) => None,
                };
                let granted = matches!(verdict, Verdict::Admit).then_some(now);
                let (id, model) = (wanted.id.to_owned(), wanted.model.to_owned());
                inner.entries.insert(ticket, Entry { id, model, submitted: now, granted, promised, mailbox });
                Some(Place::new(Arc::clone(self), ticket, decisions, probes))
            }
            (Verdict::Admit | Verdict::Queue(_) | Verdict::Overflow(_) | Verdict::Refuse(_), _) => {
                inner.abandoned(now, wanted.model, probes);
                None
            }
        };
        self.settle(inner, now);
        (verdict, place)
    }

    /// What `/api/ps` said to a question that went out at `asked`. A model that somebody else has loaded
    /// with another context than ours counts as not loaded: a request would have it loaded anew.
    pub(crate) fn resident<'a>(&self, now: Instant, asked: Instant, rows: impl Iterator<Item = Row<'a>>) {
        let mut inner = self.inner();
        // It answers.
        inner.breaker.success();
        if inner.moved.is_some_and(|moved| moved >= asked) {
            return;
        }
        let rows: Vec<Resident> = rows.filter_map(|row| inner.resident(now, row)).collect();
        for known in inner.models.values_mut() {
            known.loaded &= rows.iter().any(|row| row.model == known.id);
        }
        inner.ledger.resident(now, &rows);
        self.settle(inner, now);
    }

    /// A preload ended; a failed one with its reason.
    pub(crate) fn loaded(&self, now: Instant, model: ModelId, how: Result<Option<Duration>, (Code, String)>) {
        let mut inner = self.inner();
        inner.moved = Some(now);
        let (how, fault) = match how {
            Ok(took) => (Loaded::Ready(took), None),
            Err(fault) => (Loaded::Failed, Some(fault)),
        };
        if let Some(known) = inner.models.values_mut().find(|known| known.id == model) {
            known.fault = fault;
            known.loaded = matches!(how, Loaded::Ready(_));
        }
        inner.ledger.loaded(now, model, how);
        self.settle(inner, now);
    }

    /// A probe was answered.
    pub(crate) fn probed(&self, now: Instant, model: ModelId) {
        let mut inner = self.inner();
        inner.ledger.probed(now, model);
        self.settle(inner, now);
    }

    /// Bedrock's first token for one of this model's requests took so long, from its start there.
    pub(crate) fn overflowed(&self, model: &str, first_token: Duration) {
        let mut inner = self.inner();
        if let Some(id) = inner.models.get(model).map(|known| known.id) {
            inner.ledger.overflowed(id, first_token);
        }
    }

    /// A wedged model was unloaded.
    pub(crate) fn unloaded(&self, now: Instant, model: ModelId) {
        let mut inner = self.inner();
        inner.moved = Some(now);
        inner.ledger.unloaded(now, model);
        self.settle(inner, now);
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&self, now: Instant) {
        let mut inner = self.inner();
        inner.armed = None;
        inner.ledger.handle_timeout(now);
        self.settle(inner, now);
    }

    /// When time matters next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let mut inner = self.inner();
        inner.armed = inner.ledger.poll_timeout();
        inner.armed
    }

    /// Waits until [`Self::poll_timeout`] has come nearer.
    pub(crate) async fn timer_changed(&self) {
        self.timer.notified().await;
    }

    /// What a caller is told of a refusal, and whether another edge may take the request.
    pub(crate) fn explain(&self, refusal: Refusal, model: &str) -> (Code, String) {
        let inner = self.inner();
        let fault = inner.models.get(model).and_then(|known| known.fault.clone());
        match (refusal.code, fault) {
            (RefusalCode::LocalUnavailable, Some((code, message))) => (code, message),
            (RefusalCode::LocalUnavailable, None) => (Code::LocalUnavailable, inner.why_unavailable(model).to_owned()),
            (RefusalCode::Saturated, _) => {
                let message = "every slot of the model is taken and the wait would be too long: try again after \
                               the time in retry-after, or allow more time (x-causeway-first-token-ms)";
                (Code::Saturated, message.to_owned())
            }
            (RefusalCode::DeadlineExceeded, _) => (Code::DeadlineExceeded, too_late()),
            (RefusalCode::ContextExceeded { needs, has }, _) => {
                let message = format!(
                    "prompt and answer need about {needs} tokens and the model's context has {has}: send less, or \
                     ask for fewer (num_predict, max_tokens)"
                );
                (Code::ContextExceeded, message)
            }
            (RefusalCode::ModelNotFound, _) => (Code::ModelNotFound, format!("model '{model}' not found")),
        }
    }

    /// All models' figures.
    pub(crate) fn snapshot(&self, now: Instant) -> Vec<ModelStatus> {
        self.inner().ledger.snapshot(now)
    }

    /// Whether requests pass freely to Ollama.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner().breaker.is_closed()
    }

    /// For the link.
    pub(crate) fn load(&self, now: Instant) -> Load {
        let models = self.snapshot(now).into_iter().map(|model| ModelLoad {
            in_flight: model.in_flight + model.releasing,
            queued: model.queued,
            wait_ms: milliseconds(model.wait),
            answer_ms: milliseconds(model.answer),
            tokens_per_s: model.tokens_per_second,
            model: model.name.into(),
        });
        Load { models: models.collect() }
    }

    /// Slots taken and requests waiting, all models together.
    pub(crate) fn total(&self, now: Instant) -> u32 {
        let models = self.snapshot(now);
        models.iter().map(|model| model.in_flight + model.releasing + model.queued).sum()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After every change: tells whom it concerns.
    fn settle(&self, mut inner: MutexGuard<'_, Inner>, now: Instant) {
        inner.tell(now);
        let next = inner.ledger.poll_timeout();
        let nearer = next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed));
        drop(inner);
        if nearer {
            self.timer.notify_one();
        }
        self.load_changed.notify_one();
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
