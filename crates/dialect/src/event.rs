//! One answer in no dialect: what every backend tells and every encoder writes.
//!
//! Order: any number of [`Event::Text`], [`Event::Thinking`], [`Event::Signature`],
//! [`Event::ToolCall`] and [`Event::Native`], then exactly one of [`Event::Finish`] and [`Event::Failed`]; nothing after
//! that. Encoders write a well-formed stream whatever order they are told.

use causeway_wire::Code;
use serde_json::{Map, Value};

use crate::chat::ToolCall;

/// What happened in an answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// More of the answer's text; may be empty.
    Text {
        /// The text.
        text: String,
        /// Ollama's `logprobs` of these tokens, as it wrote them.
        logprobs: Option<Value>,
    },
    /// More of what the model thinks.
    Thinking(String),
    /// The seal of the thought before it, by the service that thought it: who gives the thought back must
    /// give it too. Only Anthropic's dialect shows it.
    Signature(String),
    /// A whole call.
    ToolCall(ToolCall),
    /// Members of one of Ollama's lines that no other event carries: only its own dialect shows
    /// them.
    Native(Map<String, Value>),
    /// The answer is whole.
    Finish(Box<Finish>),
    /// The answer broke off.
    Failed {
        /// Why, for programs.
        code: Code,
        /// Why, for people, and what to do.
        message: String,
    },
}

impl Event {
    /// The caller would see something of it: from here on no other backend may take over
    /// (architecture, invariant 5).
    #[must_use]
    pub fn is_visible(&self) -> bool {
        match self {
            Self::Text { text, .. } => !text.is_empty(),
            Self::Thinking(text) => !text.is_empty(),
            Self::ToolCall(_) => true,
            Self::Signature(_) | Self::Native(_) | Self::Finish(_) | Self::Failed { .. } => false,
        }
    }
}

/// How an answer ended.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Finish {
    /// Why.
    pub reason: StopReason,
    /// Which of the caller's texts ended it, where the backend says so.
    pub stop_sequence: Option<String>,
    /// Tokens, as far as the backend counted them.
    pub usage: Usage,
    /// Times, as far as the backend took them.
    pub durations: Durations,
    /// Members of Ollama's last line that have no place here (`context`): only its own dialect
    /// shows them.
    pub native: Map<String, Value>,
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum StopReason {
    /// The model was done.
    #[default]
    Stop,
    /// One of the caller's texts came.
    StopSequence,
    /// The caller's or the model's limit was reached.
    Length,
    /// The model wants a function's result.
    ToolCalls,
    /// A filter stopped it.
    ContentFilter,
    /// The model was loaded, as asked; there is no answer.
    Load,
    /// The model was unloaded, as asked; there is no answer.
    Unload,
}

/// Tokens of one answer, count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Of the prompt, cached ones included.
    pub input: Option<u64>,
    /// Of the answer, thinking included.
    pub output: Option<u64>,
    /// Of `input`, how many came from a cache.
    pub cached: Option<u64>,
}

/// Times of one answer, nanoseconds, as Ollama counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "Ollama's own names")]
pub struct Durations {
    pub total: Option<u64>,
    pub load: Option<u64>,
    pub prompt_eval: Option<u64>,
    pub eval: Option<u64>,
}
