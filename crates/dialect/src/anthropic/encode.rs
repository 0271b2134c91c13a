//! Answers as Anthropic writes them: the event stream and the single message.
//!
//! Invariants of the stream, whatever the order of events: `message_start` comes first, one block is
//! open at a time, and after `message_stop` or `error` nothing follows. Thought of a local model
//! carries an empty signature and no `signature_delta`: only the service that thought it can seal one.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::chat::ToolCall;
use crate::encode::{Answer, Encode, Stamp};
use crate::error;
use crate::event::{Event, Finish, StopReason, Usage};
use crate::route::Dialect;
use crate::write::{self, json};

/// Writes the stream of one answer.
#[derive(Debug)]
pub struct Encoder {
    stamp: Stamp,
    phase: Phase,
    /// The block that deltas go to; the bytes of a delta up to its text are kept beside it.
    open: Option<Kind>,
    delta_head: Vec<u8>,
    /// Index of the open block or, with none open, of the next one.
    index: u32,
    /// Calls so far, count.
    calls: u32,
    trailer: Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is written.
    Fresh,
    /// `message_start` is.
    Started,
    /// The terminal event is.
    Ended,
}

/// A block that comes in pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Text,
    Thinking,
}

impl Encoder {
    /// An encoder that has written nothing yet.
    #[must_use]
    pub fn new(stamp: Stamp) -> Self {
        let (open, delta_head) = (None, Vec::new());
        Self { stamp, phase: Phase::Fresh, open, delta_head, index: 0, calls: 0, trailer: Map::new() }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if self.phase != Phase::Fresh {
            return;
        }
        self.phase = Phase::Started;
        let usage = Tokens { input_tokens: self.stamp.input_estimate, ..Tokens::default() };
        put(&Data::MessageStart { message: Message::new(&self.stamp, Vec::new(), None, usage) }, out);
    }

    /// More of a text or thought: the path of every token.
    fn delta(&mut self, kind: Kind, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.open != Some(kind) {
            self.begin(kind, out);
        }
        out.extend_from_slice(&self.delta_head);
        json(text, out);
        out.extend_from_slice(b"}}\n\n");
    }

    fn begin(&mut self, kind: Kind, out: &mut Vec<u8>) {
        self.start(out);
        self.close(out);
        let (content_block, delta) = match kind {
            Kind::Text => (Block::Text { text: "" }, r#""text_delta","text""#),
            Kind::Thinking => (Block::Thinking { thinking: "", signature: "" }, r#""thinking_delta","thinking""#),
        };
        put(&Data::ContentBlockStart { index: self.index, content_block }, out);
        let head = format!(
            "event: content_block_delta\ndata: \
             {{\"type\":\"content_block_delta\",\"index\":{},\"delta\":{{\"type\":{delta}:",
            self.index
        );
        self.open = Some(kind);
        self.delta_head = head.into_bytes();
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            put(&Data::ContentBlockStop { index: self.index }, out);
            self.index += 1;
        }
    }

    /// The seal ends its thought, which may have been kept back by who thought it.
    fn seal(&mut self, signature: String, out: &mut Vec<u8>) {
        if self.open != Some(Kind::Thinking) {
            self.begin(Kind::Thinking, out);
        }
        put(&Data::ContentBlockDelta { index: self.index, delta: Delta::SignatureDelta { signature } }, out);
        self.close(out);
    }

    fn tool_call(&mut self, call: ToolCall, out: &mut Vec<u8>) {
        self.start(out);
        self.close(out);
        let id = tool_id(&call, &self.stamp, self.calls);
        let index = self.index;
        let content_block = Block::ToolUse { id, name: &call.name, input: &Map::new() };
        put(&Data::ContentBlockStart { index, content_block }, out);
        let partial_json = Value::Object(call.arguments).to_string();
        put(&Data::ContentBlockDelta { index, delta: Delta::InputJsonDelta { partial_json } }, out);
        put(&Data::ContentBlockStop { index }, out);
        self.index += 1;
        self.calls += 1;
    }

    fn finish(&mut self, finish: &Finish, out: &mut Vec<u8>) {
        self.start(out);
        self.close(out);
        let delta = End::new(finish, self.calls > 0);
        put(&Data::MessageDelta { delta, usage: Tokens::of(finish.usage, &self.stamp) }, out);
        self.end(out);
        put(&Data::MessageStop {}, out);
    }

    /// To be written before the terminal event: clients stop reading there.
    fn end(&mut self, out: &mut Vec<u8>) {
        self.phase = Phase::Ended;
        write::comment(&self.trailer, out);
    }
}

impl Encode for Encoder {
    fn event(&mut self, _now: u64, event: Event, out: &mut Vec<u8>) {
        if self.phase == Phase::Ended {
            return;
        }
        match event {
            Event::Text { text, .. } => self.delta(Kind::Text, &text, out),
            Event::Thinking(text) => self.delta(Kind::Thinking, &text, out),
            Event::ToolCall(call) => self.tool_call(call, out),
            Event::Signature(seal) => self.seal(seal, out),
            Event::Native(_) => {}
            Event::Finish(finish) => self.finish(&finish, out),
            Event::Failed { code, message } => {
                self.end(out);
                out.extend_from_slice(b"event: error\ndata: ");
                out.extend_from_slice(&error::body(Dialect::Anthropic, code, &message));
                out.extend_from_slice(b"\n\n");
            }
        }
    }

    /// A `ping`, after `message_start`: some clients take nothing else for the first event.
    fn heartbeat(&mut self, _now: u64, out: &mut Vec<u8>) {
        if self.phase == Phase::Ended {
            return;
        }
        self.start(out);
        put(&Data::Ping {}, out);
    }

    fn trailer(&mut self, members: Map<String, Value>) {
        self.trailer.extend(members);
    }
}

/// A single answer: one JSON object, with `trailer` as its `x_causeway` where that says something.
/// One that has not ended has a `stop_reason` of null; one that broke off is the error's object. `_now`: nothing here is dated.
#[must_use]
pub fn whole(answer: &Answer, stamp: &Stamp, _now: u64, trailer: Map<String, Value>) -> Vec<u8> {
    if let Some((code, message)) = &answer.failed {
        return error::body_with(Dialect::Anthropic, *code, message, trailer);
    }
    let mut content = Vec::new();
    let seal = answer.signature.as_deref();
    if !answer.thinking.is_empty() || seal.is_some() {
        content.push(Block::Thinking { thinking: &answer.thinking, signature: seal.unwrap_or_default() });
    }
    if !answer.text.is_empty() {
        content.push(Block::Text { text: &answer.text });
    }
    for (number, call) in (0..).zip(&answer.tool_calls) {
        content.push(Block::ToolUse { id: tool_id(call, stamp, number), name: &call.name, input: &call.arguments });
    }
    let finish = answer.finish.as_deref();
    let end = finish.map(|finish| End::new(finish, !answer.tool_calls.is_empty()));
    let usage = Tokens::of(finish.map(|finish| finish.usage).unwrap_or_default(), stamp);
    let mut out = Vec::with_capacity(512 + answer.size());
    json(&Message::new(stamp, content, end, usage), &mut out);
    out.pop();
    write::trailer(&trailer, &mut out);
    out.push(b'}');
    out
}

/// The call's own id, or one made from the request's: a conversation must not lose it.
fn tool_id(call: &ToolCall, stamp: &Stamp, number: u32) -> String {
    if call.id.is_empty() { format!("toolu_{}_{number}", stamp.id) } else { call.id.clone() }
}

/// The data of one event; its `type` is the event's name too.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Data<'a> {
    MessageStart { message: Message<'a> },
    ContentBlockStart { index: u32, content_block: Block<'a> },
    ContentBlockDelta { index: u32, delta: Delta },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: End<'a>, usage: Tokens },
    MessageStop {},
    Ping {},
}

impl Data<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop {} => "message_stop",
            Self::Ping {} => "ping",
        }
    }
}

/// A delta that is not of text: those are written without a detour, in [`Encoder::delta`].
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delta {
    InputJsonDelta { partial_json: String },
    SignatureDelta { signature: String },
}

#[derive(Serialize)]
struct Message<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    #[serde(flatten)]
    end: End<'a>,
    usage: Tokens,
}

impl<'a> Message<'a> {
    fn new(stamp: &'a Stamp, content: Vec<Block<'a>>, end: Option<End<'a>>, usage: Tokens) -> Self {
        Self {
            id: format!("msg_{}", stamp.id),
            kind: "message",
            role: "assistant",
            model: &stamp.model,
            content,
            end: end.unwrap_or_default(),
            usage,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
    },
    /// The signature is a required member for typed clients; an empty one claims nothing.
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    ToolUse {
        id: String,
        name: &'a str,
        input: &'a Map<String, Value>,
    },
}

#[derive(Serialize, Default)]
struct End<'a> {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
}

impl<'a> End<'a> {
    /// `called`: the answer holds a call. Agents look for one exactly when told `tool_use`, so that
    /// reason and the calls must agree, whatever the backend named.
    fn new(finish: &'a Finish, called: bool) -> Self {
        let (reason, sequence) = match (finish.reason, called) {
            (StopReason::Stop | StopReason::ToolCalls, true) => ("tool_use", None),
            (StopReason::Stop | StopReason::ToolCalls | StopReason::Load | StopReason::Unload, _) => ("end_turn", None),
            (StopReason::StopSequence, _) => ("stop_sequence", finish.stop_sequence.as_deref()),
            (StopReason::Length, _) => ("max_tokens", None),
            (StopReason::ContentFilter, _) => ("refusal", None),
        };
        Self { stop_reason: Some(reason), stop_sequence: sequence }
    }
}

/// Counts of tokens. Unlike ours, Anthropic's `input_tokens` leaves out what came from a cache.
#[derive(Serialize, Default)]
struct Tokens {
    input_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<u64>,
    output_tokens: u64,
}

impl Tokens {
    /// Where the backend did not count the prompt, the estimate stays.
    fn of(usage: Usage, stamp: &Stamp) -> Self {
        let input = usage.input.unwrap_or(stamp.input_estimate);
        Self {
            input_tokens: input.saturating_sub(usage.cached.unwrap_or(0)),
            cache_read_input_tokens: usage.cached,
            output_tokens: usage.output.unwrap_or(0),
        }
    }
}

fn put(data: &Data<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(data.name().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    json(data, out);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
