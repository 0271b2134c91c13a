//! The frames of the link protocol as types. How they look as text is `frame/codec.rs`.
//!
//! One text message is one frame: a compact JSON header, then, if it carries a body, a newline
//! and the raw UTF-8 body (`docs/protocol.md`, "Message").

mod codec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use codec::fits_header;
pub use codec::{CodecError, decode, encode};

use crate::{Code, InstanceId, StreamId};

/// Where a request may run and where an answer came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The edge's own Ollama.
    Local,
    /// Amazon Bedrock.
    Bedrock,
    /// Ollama's own cloud models.
    OllamaCloud,
}

/// The effective policy of one request, computed by the relay; the edge may only narrow it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Backends the caller's key, headers and model leave.
    pub allow: Vec<Backend>,
    /// Batch requests give way to interactive ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
    /// Time left to the first token, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The deadline was stated by the caller or its key: missing it ends the request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hard: bool,
    /// Most that the edge may spend on this request, US dollars.
    #[serde(default)]
    pub spend_max_usd: f64,
}

impl Policy {
    /// On the edge's own machine alone: interactive, without a deadline, and nothing may be spent.
    #[must_use]
    pub fn local() -> Self {
        Self { allow: vec![Backend::Local], batch: false, deadline_ms: None, hard: false, spend_max_usd: 0.0 }
    }
}

/// Header names and values as passed on, in order.
pub type Headers = Vec<(String, String)>;

/// `open`: a new request, relay to edge, sequence 0.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// The edge instance this request is for; another one must refuse it.
    pub edge_instance: InstanceId,
    /// HTTP method.
    pub method: String,
    /// Path and query, origin form.
    pub path: String,
    /// Passed-on request headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Headers,
    /// The model as the relay read and reduced it; the edge uses this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The stream flag as the relay read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// What the request may do.
    pub policy: Policy,
    /// Id (never the secret) of the caller's key.
    pub key: String,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Opaque to the edge, echoed on every frame it sends for this stream; at most 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

/// `head`: status and headers of an answer, edge to relay, sequence 0.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Answer headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Headers,
}

/// What an answer used and how long it took, where known. Carried by the edge's `end` and `fail`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Prompt tokens, count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Answer tokens, count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Spent, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Backend that answered; none if none began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<Backend>,
    /// From `open` to the backend's first answer byte, milliseconds, on the edge's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// From `open` to the end, milliseconds, on the edge's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
    /// The answer's last bytes are an error in the caller's dialect, and this is its code: its
    /// headers were committed before it broke. Only an `end` says so; a `fail` has its own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broke: Option<Code>,
}

/// `fail`: a request that ended without its whole answer, edge to relay.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, from the shared table.
    pub code: Code,
    /// For the person who reads it: what happened and what to do.
    pub message: String,
    /// The request did not run (or may run again) and another edge may take it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
    /// When another try is likely to be served, milliseconds, where the edge can predict it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What was used all the same.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Failure {
    /// A failure that used nothing.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (message, outcome) = (message.into(), Outcome::default());
        Self { code, message, retryable: false, retry_after_ms: None, outcome }
    }

    /// The same, marked as one another edge may take.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}

/// One model of an edge's catalog.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name as Ollama lists it.
    pub name: String,
    /// Content digest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Context length, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// Ollama's capability names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Loaded now.
    #[serde(default)]
    pub resident: bool,
    /// Requests it answers at once, count.
    pub slots: u32,
    /// Most open backends its owner allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ceiling: Vec<Backend>,
}

/// One model's load.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ModelLoad {
    /// Model name as in the catalog.
    pub model: String,
    /// Requests running, count.
    pub in_flight: u32,
    /// Requests waiting, count.
    pub queued: u32,
    /// Predicted wait of a request that came now, milliseconds.
    pub wait_ms: u64,
    /// Moving average of whole answers' time, milliseconds; 0 while unknown.
    #[serde(default)]
    pub answer_ms: u64,
    /// Tokens a second at present, all answers together.
    #[serde(default)]
    pub tokens_per_s: f64,
}

/// `load`: how busy the edge is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    /// One entry a model that has any load or a changed one.
    pub models: Vec<ModelLoad>,
}

/// `hello`: the first frame on every connection, edge to relay.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Highest protocol version the edge speaks.
    pub version: u32,
    /// Edge name; must equal the certificate's.
    pub edge: String,
    /// The edge's run.
    pub instance: InstanceId,
    /// Software version, for people.
    pub software: String,
    /// Streams the edge takes at once, count.
    pub max_streams: u32,
    /// Body bytes it accepts per stream.
    pub window: u64,
    /// Most open backends that its own configuration allows.
    pub ceiling: Vec<Backend>,
}

/// `welcome`: the relay's answer to `hello`. Limits as in [`crate::Limits`], times in milliseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the limit fields are documented once, at `Limits`")]
pub struct Welcome {
    /// Version both speak from here.
    pub version: u32,
    /// The relay's run.
    pub instance: InstanceId,
    /// Software version, for people.
    pub software: String,
    /// Body bytes it accepts per stream.
    pub window: u64,
    /// Connections it wants per link.
    pub max_connections: u8,
    pub max_message: u64,
    pub flush_ms: u64,
    pub load_ms: u64,
    pub ping_idle_ms: u64,
    pub ping_busy_ms: u64,
    pub floor_ms: u64,
    pub rto_min_ms: u64,
    pub reorder_ms: u64,
    pub ack_delay_ms: u64,
    pub open_resend_ms: u64,
    pub resume_ms: u64,
    pub stream_max_ms: u64,
}

/// What a `goaway` or `goodbye` is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This connection only.
    Connection,
    /// The whole link.
    Link,
}

/// Any frame. Stream frames carry `stream` and, edge to relay, echo `reply`.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "field meanings are those of docs/protocol.md's frame table")]
pub enum Frame {
    Hello(Hello),
    Welcome(Welcome),
    Catalog {
        rev: u64,
        part: u32,
        of: u32,
        body: Bytes,
    },
    Load {
        rev: u64,
        load: Load,
    },
    Open {
        stream: StreamId,
        open: Box<Open>,
        body: Bytes,
        fin: bool,
    },
    Head {
        stream: StreamId,
        head: Head,
        body: Bytes,
        reply: Option<String>,
    },
    Data {
        stream: StreamId,
        seq: u64,
        body: Bytes,
        reply: Option<String>,
    },
    End {
        stream: StreamId,
        seq: u64,
        body: Bytes,
        outcome: Option<Box<Outcome>>,
        reply: Option<String>,
    },
    Fail {
        stream: StreamId,
        seq: u64,
        failure: Box<Failure>,
        reply: Option<String>,
    },
    Ack {
        stream: StreamId,
        next: u64,
        limit: u64,
        miss: Vec<u64>,
        reply: Option<String>,
    },
    Probe {
        stream: StreamId,
        reply: Option<String>,
    },
    Cancel {
        stream: StreamId,
        reason: String,
    },
    Ping {
        token: u64,
    },
    Pong {
        token: u64,
    },
    Goaway {
        scope: Scope,
        reason: String,
        reconnect_in_ms: Option<(u64, u64)>,
    },
    Goodbye {
        scope: Scope,
    },
    /// A frame of a type this version does not know, marked optional by its sender: ignored.
    Unknown,
}
