//! What goes into a session and what comes out of it.

use std::time::Duration;

use causeway_bedrock::Kind;
use causeway_policy::{Late, OverflowReason, Refusal};
use causeway_wire::{Code, Failure};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Body bytes of the caller arrived, this many.
    Body(usize),
    /// The caller's body is whole.
    BodyEnd,
    /// The body was understood: so many requests to Ollama, one after the other.
    Ready(usize),
    /// The request, or its next part, waits for a slot.
    Queued,
    /// The admission has decided about it; with a refusal's code and words.
    Decided(Decision, Option<(Code, String)>),
    /// Ollama's status.
    Status(u16),
    /// More of Ollama's answer came; whether any of it can be seen by the caller.
    Told(bool),
    /// The answer, or its present part, is whole.
    Whole,
    /// Ollama's answer is an error, or broke off.
    Fault(Code, String),
    /// The connection to Ollama could not be made or broke.
    Broken(Trouble),
    /// More of Bedrock's answer came; whether any of it can be seen by the caller.
    AwayTold(bool),
    /// Bedrock's answer is whole.
    AwayWhole,
    /// The call to Bedrock failed.
    AwayBroken(Kind, String),
    /// The relay cancelled.
    Cancelled,
    /// The link failed the stream by itself.
    LinkFailed(Code),
    /// A timer may be due.
    Tick,
}

/// What an admission says of a request that it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It has its slot.
    Granted,
    /// It is answered with this.
    Refused(Refusal),
    /// It goes to Bedrock.
    Overflow(OverflowReason),
    /// It has its slot and is silent at its deadline.
    Late(Late),
}

/// What is wrong with the way to Ollama.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No connection: nothing ran.
    Down(String),
    /// The connection broke after the request was sent.
    Cut(String),
    /// The request could not be built; nothing ran.
    BadRequest(String),
}

/// What to do. `Fail`, `Break`, `Finish` and `Stop` are the last.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Nothing; wait for the next event.
    Wait,
    /// Read the body.
    Prepare,
    /// Ask the admission for a slot.
    Submit,
    /// Send the request, or its next part, to Ollama.
    Ask,
    /// Ask Bedrock after this pause; nothing more is wanted of Ollama.
    Leave(Duration),
    /// Ask Bedrock too, while Ollama is at work.
    Hedge,
    /// Write what came.
    Pass,
    /// Show the caller that the request is alive.
    Heartbeat,
    /// Write the end of the answer.
    Finish,
    /// Nothing has gone out: answer with this.
    Fail(Failure, Upstream),
    /// The headers are out: end the answer with this, in the caller's dialect.
    Break(Failure, Upstream),
    /// Drop everything: the stream has ended already.
    Stop,
}

/// What becomes of a request to Ollama whose answer nobody wants any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// Its connection is dropped, by which Ollama learns to stop.
    Drop,
    /// It is left alone until its first byte: the model is loading, and to leave would abort that.
    Linger,
}

/// How a request ended, for the accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The whole answer was passed on; its status.
    Served(u16),
    /// It never reached Ollama.
    Refused(Code),
    /// The caller left.
    Cancelled,
    /// It broke.
    Failed(Code),
}

/// What a session is told of its request.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Hard, from the opening; while the body comes in only: then it is the ledger's.
    pub deadline: Option<Duration>,
    /// The answer streams.
    pub streams: bool,
    /// Silence towards the caller after which it gets a sign of life; zero: never.
    pub heartbeat: Duration,
}

/// Whether another backend may answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Elsewhere {
    /// None.
    #[default]
    Never,
    /// Bedrock, where this machine cannot in time; after this much silence of Ollama beside it, zero: never.
    May(Duration),
    /// Bedrock alone.
    Must(Why),
}

/// Why Bedrock was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The ledger decided it.
    Ledger(OverflowReason),
    /// Ollama broke off, or does not answer.
    LocalFailed,
    /// Ollama was silent for long.
    Hedge,
    /// The request may not run on this machine.
    Route,
    /// This machine does not have the model.
    NotLocal,
    /// No local model reads a document of it.
    Document,
    /// No machine is there; the relay alone says so.
    EdgeOffline,
}

impl Why {
    /// Every reason that a machine's own program has, for its metrics.
    pub const ALL: [Self; 15] = [
        Self::Ledger(OverflowReason::PredictedWait),
        Self::Ledger(OverflowReason::CallerDeadline),
        Self::Ledger(OverflowReason::Deadline),
        Self::Ledger(OverflowReason::QueueTimeout),
        Self::Ledger(OverflowReason::QueueFull),
        Self::Ledger(OverflowReason::NotLearnt),
        Self::Ledger(OverflowReason::ColdModel),
        Self::Ledger(OverflowReason::LoadFailed),
        Self::Ledger(OverflowReason::Context),
        Self::Ledger(OverflowReason::LocalDown),
        Self::LocalFailed,
        Self::Hedge,
        Self::Route,
        Self::NotLocal,
        Self::Document,
    ];

    /// As `x-causeway-reason` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ledger(reason) => match reason {
                OverflowReason::PredictedWait => "predicted_wait",
                OverflowReason::CallerDeadline => "caller_deadline",
                OverflowReason::Deadline => "deadline",
                OverflowReason::QueueTimeout => "queue_timeout",
                OverflowReason::QueueFull => "queue_full",
                OverflowReason::NotLearnt => "not_learnt",
                OverflowReason::ColdModel => "cold_model",
                OverflowReason::LoadFailed => "load_failed",
                OverflowReason::Context => "context",
                OverflowReason::LocalDown => "local_down",
            },
            Self::LocalFailed => "local_failed",
            Self::Hedge => "hedge",
            Self::Route => "route",
            Self::NotLocal => "not_local",
            Self::Document => "document",
            Self::EdgeOffline => "edge_offline",
        }
    }
}

/// Tokens as far as they are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tokens {
    /// Of the prompt.
    pub input: Option<u64>,
    /// Of the answer.
    pub output: Option<u64>,
}
