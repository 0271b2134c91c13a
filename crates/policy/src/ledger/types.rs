//! What goes into the ledger and what comes out of it.
//!
//! Absent: text of any kind. A request is described by sizes, limits and hashes.

use std::time::{Duration, Instant};

/// A caller's key as the session numbers it: the same number for the same key, no other meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub u64);

/// Limits of the whole ledger.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that may wait for one model; beyond it the next is refused or overflows.
    pub queue: usize,
}

impl Limits {
    /// The most that [`Limits::queue`] is taken for: an entry is some 250 bytes, so a model's
    /// queue, with 256 whose slots are free as soon as it is loaded, stays below 350 KiB, and a decision over all of it below a quarter millisecond.
    pub const LONGEST_QUEUE: usize = 1_024;
}

impl Default for Limits {
    /// The contract's `queue-limit`.
    fn default() -> Limits {
        Limits { queue: 64 }
    }
}

/// A model that [`crate::Ledger::model`] was told of. An id outlives its model harmlessly: it then
/// names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ModelId {
    pub(crate) index: usize,
    pub(crate) generation: u64,
}

/// One request, from [`crate::Ledger::submit`] to its end. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ticket {
    /// First, so that tickets sort by age.
    pub(crate) serial: u64,
    pub(crate) model: usize,
}

/// What the configuration says of one model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModelSettings {
    /// `ollama.parallel` for this model; 0 counts as 1.
    pub parallel: u32,
    /// Its family is one that Ollama itself serves one at a time (inference.md, Facts 2).
    pub forced_one: bool,
}

/// Who is served first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Somebody waits for it.
    Interactive,
    /// Nobody does: embeddings, `x-causeway-priority: batch`.
    Batch,
}

/// By when the first token is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    /// Counted from the submission.
    pub after: Duration,
    /// Stated by the caller or its key: refused up front, or 504 when passed. A soft one (the
    /// configuration's) only moves requests that can overflow.
    pub hard: bool,
}

/// One request as the ledger sees it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The model it wants.
    pub model: ModelId,
    /// Whose it is.
    pub key: Key,
    /// Who is served first.
    pub class: Class,
    /// Bytes of all its text, as sent to the model.
    pub prompt_bytes: u64,
    /// The most tokens it may get (`num_predict`); `Some(0)` for embeddings, `None` for no limit.
    pub max_tokens: Option<u32>,
    /// A hash of the prompt's beginning: equal to the model's previous request's, the prompt cache
    /// may have saved part of the work, and its times teach nothing about prefill.
    pub prefix: u64,
    /// By when it wants its first token; `None`: no matter.
    pub deadline: Option<Deadline>,
    /// The longest it may wait in the queue.
    pub queue_timeout: Duration,
    /// Bedrock could serve it: mapped, allowed, within the budget.
    pub overflow: bool,
    /// Structured output of a thinking model: Ollama runs the prompt twice.
    pub runs_twice: bool,
    /// The caller asked that a prompt too long be cut, so that no prompt is too long.
    pub truncate: bool,
}

/// What happens to a request, said once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// Send it to Ollama now; the slot is taken.
    Admit,
    /// It waits. [`Event`] brings the decision.
    Queue(Forecast),
    /// Send it to Bedrock.
    Overflow(OverflowReason),
    /// Answer with this.
    Refuse(Refusal),
}

/// When a waiting request's first token is expected, from the time of asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forecast {
    /// Requests of the same model that are served before it.
    pub place: u32,
    /// The expected time to its slot.
    pub slot: Duration,
    /// The expected time to its first token.
    pub first_token: Duration,
    /// The time that nine of ten first tokens do not exceed.
    pub p90: Duration,
}

/// Why a request goes to Bedrock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverflowReason {
    /// The predicted first token comes after the deadline.
    PredictedWait,
    /// The same, but even an idle machine would be too late: the caller asked for the impossible.
    CallerDeadline,
    /// The deadline passed in the queue.
    Deadline,
    /// The longest time in the queue passed.
    QueueTimeout,
    /// The model's queue is full.
    QueueFull,
    /// All slots are taken and too few answers are known to predict the wait.
    NotLearnt,
    /// The model is not resident, and loading it would push out one that is in use.
    ColdModel,
    /// The model could not be loaded.
    LoadFailed,
    /// Prompt and answer do not fit the model's context.
    Context,
    /// Ollama is down or the model wedged.
    LocalDown,
}

/// A refusal with the time after which a retry is likely to be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Why.
    pub code: RefusalCode,
    /// From the predicted drain, 10 ms to an hour; a second where nothing can be predicted; zero only
    /// where no retry can cure it.
    pub retry_after: Duration,
}

/// Why a request is refused; the contract's codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalCode {
    /// `saturated`, 503.
    Saturated,
    /// `local_unavailable`, 503.
    LocalUnavailable,
    /// `deadline_exceeded`, 504: a hard deadline passed in the queue.
    DeadlineExceeded,
    /// `context_exceeded`, 400. Both in tokens.
    ContextExceeded {
        /// Estimated prompt plus the limit of the answer.
        needs: u64,
        /// The resident model's context length.
        has: u32,
    },
    /// `model_not_found`, 404: the id names no model any more.
    ModelNotFound,
}

/// Decisions about earlier requests, and commands. Drained with [`crate::Ledger::poll_event`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A queued request has its slot: send it to Ollama now.
    Granted(Ticket),
    /// A queued request goes to Bedrock; its ticket is done.
    Overflow(Ticket, OverflowReason),
    /// A queued request is refused; its ticket is done.
    Refused(Ticket, Refusal),
    /// An admitted request is silent at its deadline. Its slot is held until the session reports
    /// the end as always.
    Late(Ticket, Late),
    /// Load this model with a detached, patient request; report with [`crate::Ledger::loaded`].
    Preload(ModelId),
    /// Unload this wedged model; report with [`crate::Ledger::unloaded`].
    Unload(ModelId),
    /// Send this model a one-token request; report with [`crate::Ledger::probed`].
    Probe(ModelId),
}

/// What to do about an admitted request that is silent at its deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Late {
    /// Start Bedrock and cancel the local run.
    Overflow,
    /// Answer 504 and cancel the local run.
    Expired,
    /// Answer 504 but let the local run go on until its first byte: the model is loading, and
    /// to leave now would abort the load.
    ExpiredWhileLoading,
}

/// What Ollama says at the end of an answer. Believed only where it fits the wall time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measured {
    /// Prompt tokens, cached ones included.
    pub prompt_eval_count: Option<u64>,
    /// Prompt tokens that were cached, where told.
    pub cached: Option<u64>,
    /// Time of the prefill.
    pub prompt_eval_duration: Option<Duration>,
    /// Tokens of the answer.
    pub eval_count: Option<u64>,
    /// Time of the answer after the prefill.
    pub eval_duration: Option<Duration>,
    /// Time of the load before it.
    pub load_duration: Option<Duration>,
    /// The whole of it, waiting inside Ollama included.
    pub total_duration: Option<Duration>,
}

/// The first token beside what was promised for it, both from the submission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Promise {
    /// The expected time at submission; `None` while too few answers were known.
    pub predicted: Option<Duration>,
    /// The p90 forecast at submission.
    pub p90: Option<Duration>,
    /// What it took.
    pub actual: Duration,
    /// How much of it was spent in the queue.
    pub queued: Duration,
}

/// One row of `/api/ps`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resident {
    /// The model.
    pub model: ModelId,
    /// Its context length in tokens, where told.
    pub context: Option<u32>,
}

/// How a preload ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loaded {
    /// The model answers; the time Ollama took to load it, where told.
    Ready(Option<Duration>),
    /// It could not be loaded.
    Failed,
}

/// One model for the status page and the link's load frame.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelStatus {
    /// The model.
    pub id: ModelId,
    /// Its name.
    pub name: Box<str>,
    /// Slots as learnt, at most [`ModelStatus::configured`].
    pub slots: u32,
    /// Slots as configured.
    pub configured: u32,
    /// Whether Ollama has it in memory.
    pub resident: bool,
    /// Slots taken by running requests.
    pub in_flight: u32,
    /// Slots still taken after a cancel.
    pub releasing: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Expected time to a slot for a request that came now, behind all that wait.
    pub wait: Duration,
    /// Average time of a whole answer.
    pub answer: Duration,
    /// Speed of one stream at the present concurrency; 0 while unknown.
    pub tokens_per_second: f64,
    /// Ollama serves fewer at once than the configuration says.
    pub fault: Option<ParallelFault>,
    /// It has said nothing for long and gets nothing new until it is at rest and was probed.
    pub suspect: bool,
    /// The model hangs and waits to be unloaded.
    pub wedged: bool,
}

/// Fewer slots than configured were found; the operator's key is [`ParallelFault::KEY`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParallelFault {
    /// What the key says.
    pub configured: u32,
    /// What Ollama does.
    pub learnt: u32,
    /// Since when.
    pub since: Instant,
}

impl ParallelFault {
    /// The configuration key that is too high.
    pub const KEY: &'static str = "ollama.parallel";
}
