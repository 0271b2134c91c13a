//! `/v1/responses`: the answer, streamed or whole.
//!
//! A stream: created, in progress, then one output item after the other (each added, filled, done),
//! then exactly one of completed, incomplete and failed, which repeats all items. Every event has the
//! next sequence number. So the whole answer is held until its end; the session bounds it
//! ([`Encoder::held`]).

mod item;

use causeway_wire::Code;
use serde_json::{Map, Value};

use self::item::Open;
use super::responses::Echo;
use super::{logprobs, write};
use crate::chat::ToolCall;
use crate::encode::{Answer, Encode, Stamp};
use crate::event::{Event, Finish, StopReason, Usage};
use crate::weigh;

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    stamp: Stamp,
    echo: Echo,
    trailer: Map<String, Value>,
    began: bool,
    ended: bool,
    /// Number of the next event.
    sequence: u64,
    /// Items that are done, as JSON with commas between them.
    output: Vec<u8>,
    /// Items that are done, count: the open one's place.
    items: usize,
    open: Option<Open>,
}

/// How a response stands or ended.
enum Status<'a> {
    InProgress,
    Ended { reason: Option<StopReason>, usage: Usage, seconds: u64 },
    Failed { code: Code, message: &'a str },
}

impl Encoder {
    /// An encoder of one stream; `echo` as [`super::responses::read`] gave it.
    #[must_use]
    pub fn new(stamp: &Stamp, echo: Echo) -> Self {
        Self {
            stamp: stamp.clone(),
            echo,
            trailer: Map::new(),
            began: false,
            ended: false,
            sequence: 0,
            output: Vec::new(),
            items: 0,
            open: None,
        }
    }

    /// Bytes that it holds, about, of the answer and of what the answer repeats of the request: for the
    /// session's bound.
    #[must_use]
    pub fn held(&self) -> usize {
        let stamp = self.stamp.model.len() + self.stamp.id.len();
        let ends = self.echo.size() + weigh::map(&self.trailer) + stamp;
        self.output.len() + self.open.as_ref().map_or(0, Open::size) + ends
    }

    fn number(&mut self) -> u64 {
        let number = self.sequence;
        self.sequence += 1;
        number
    }

    /// An event up to its own members.
    fn head(&mut self, name: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: {\"type\":");
        write::json(name, out);
        write::member("sequence_number", &self.number(), out);
    }

    /// An event about the response as a whole.
    fn state(&mut self, name: &str, status: &Status<'_>, output: &[u8], out: &mut Vec<u8>) {
        self.head(name, out);
        out.extend_from_slice(b",\"response\":");
        response(&self.stamp, &self.echo, status, output, out);
        out.extend_from_slice(b"}\n\n");
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.began {
            self.began = true;
            self.state("response.created", &Status::InProgress, b"", out);
            self.state("response.in_progress", &Status::InProgress, b"", out);
        }
    }

    /// Ends the open item: its text once more, and itself.
    fn close(&mut self, status: &str, out: &mut Vec<u8>) {
        if let Some(open) = self.open.take() {
            for (name, rest) in open.dones(self.items) {
                self.head(name, out);
                out.extend_from_slice(&rest);
                out.extend_from_slice(b"}\n\n");
            }
            self.done(&open.item(status), out);
        }
    }

    /// An item that begins: the event and, for text, its first part.
    fn added(&mut self, item: &[u8], out: &mut Vec<u8>) {
        self.head("response.output_item.added", out);
        write::member("output_index", &self.items, out);
        out.extend_from_slice(b",\"item\":");
        out.extend_from_slice(item);
        out.extend_from_slice(b"}\n\n");
    }

    /// An item that is done; it is kept for the end.
    fn done(&mut self, item: &[u8], out: &mut Vec<u8>) {
        self.head("response.output_item.done", out);
        write::member("output_index", &self.items, out);
        out.extend_from_slice(b",\"item\":");
        out.extend_from_slice(item);
        out.extend_from_slice(b"}\n\n");
        push(item, &mut self.output);
        self.items += 1;
    }

    fn text(&mut self, text: &str, probabilities: Option<Value>, out: &mut Vec<u8>) {
        let entries = logprobs::complete(logprobs::entries(probabilities));
        if text.is_empty() && entries.is_empty() {
            return;
        }
        self.begin(out);
        if !self.open.as_ref().is_some_and(Open::is_message) {
            self.close("completed", out);
            let open = Open::message(&self.stamp.id, self.items);
            self.added(&open.beginning(), out);
            self.head("response.content_part.added", out);
            out.extend_from_slice(&open.part_added(self.items));
            out.extend_from_slice(b"}\n\n");
            self.open = Some(open);
        }
        self.delta(text, entries, out);
    }

    fn thinking(&mut self, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.begin(out);
        if self.open.as_ref().is_none_or(Open::is_message) {
            self.close("completed", out);
            let open = Open::reasoning(&self.stamp.id, self.items);
            self.added(&open.beginning(), out);
            self.open = Some(open);
        }
        self.delta(text, Vec::new(), out);
    }

    /// The one event per token.
    fn delta(&mut self, text: &str, entries: Vec<Value>, out: &mut Vec<u8>) {
        let number = self.number();
        if let Some(open) = &mut self.open {
            open.delta(number, text, entries, out);
        }
    }

    fn call(&mut self, call: &ToolCall, out: &mut Vec<u8>) {
        self.begin(out);
        self.close("completed", out);
        let call = item::Call::new(call, &self.stamp.id, self.items);
        self.added(&call.item("in_progress", ""), out);
        for (name, rest) in call.events(self.items) {
            self.head(name, out);
            out.extend_from_slice(&rest);
            out.extend_from_slice(b"}\n\n");
        }
        self.done(&call.item("completed", call.arguments()), out);
    }

    fn finish(&mut self, now: u64, finish: &Finish, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(item_status(finish.reason), out);
        write::comment(&self.trailer, out);
        let status = ended(Some(finish), now);
        let output = std::mem::take(&mut self.output);
        let name = match cut_short(finish.reason) {
            Some(_) => "response.incomplete",
            None => "response.completed",
        };
        self.state(name, &status, &output, out);
        self.ended = true;
    }

    /// What was open stays undone: its client has the pieces, and finds it again as incomplete.
    fn fail(&mut self, code: Code, message: &str, out: &mut Vec<u8>) {
        self.begin(out);
        write::comment(&self.trailer, out);
        let mut output = std::mem::take(&mut self.output);
        if let Some(open) = self.open.take() {
            push(&open.item("incomplete"), &mut output);
        }
        self.state("response.failed", &Status::Failed { code, message }, &output, out);
        self.ended = true;
    }
}

impl Encode for Encoder {
    fn event(&mut self, now: u64, event: Event, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Text { text, logprobs } => self.text(&text, logprobs, out),
            Event::Thinking(text) => self.thinking(&text, out),
            Event::ToolCall(call) => self.call(&call, out),
            Event::Signature(_) | Event::Native(_) => {}
            Event::Finish(finish) => self.finish(now, &finish, out),
            Event::Failed { code, message } => self.fail(code, &message, out),
        }
    }

    fn heartbeat(&mut self, _now: u64, out: &mut Vec<u8>) {
        if !self.ended {
            out.extend_from_slice(write::HEARTBEAT);
        }
    }

    fn trailer(&mut self, members: Map<String, Value>) {
        self.trailer.extend(members);
    }
}

/// Adds an item to a list.
fn push(item: &[u8], list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(item);
}

/// Why an answer is not whole, in this dialect's words; none for a whole one.
fn cut_short(reason: StopReason) -> Option<&'static str> {
    match reason {
        StopReason::Length => Some("max_output_tokens"),
        StopReason::ContentFilter => Some("content_filter"),
        StopReason::Stop | StopReason::StopSequence | StopReason::ToolCalls | StopReason::Load | StopReason::Unload => {
            None
        }
    }
}

fn item_status(reason: StopReason) -> &'static str {
    if cut_short(reason).is_some() { "incomplete" } else { "completed" }
}

/// `now`: nanoseconds since 1970.
fn ended(finish: Option<&Finish>, now: u64) -> Status<'static> {
    Status::Ended {
        reason: finish.map(|finish| finish.reason),
        usage: finish.map(|finish| finish.usage).unwrap_or_default(),
        seconds: now / 1_000_000_000,
    }
}

/// Appends the response object; `output`: items with commas between them.
fn response(stamp: &Stamp, echo: &Echo, status: &Status<'_>, output: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    write::json(&format!("resp_{}", stamp.id), out);
    write::member("object", "response", out);
    write::member("created_at", &stamp.created, out);
    write::member("model", &stamp.model, out);
    let (word, completed, details, failure, usage) = match status {
        Status::InProgress => ("in_progress", None, None, None, None),
        Status::Failed { code, message } => ("failed", None, None, Some((code, message)), None),
        Status::Ended { reason: Some(reason), usage, seconds } => match cut_short(*reason) {
            Some(details) => ("incomplete", None, Some(details), None, Some(usage)),
            None => ("completed", Some(seconds), None, None, Some(usage)),
        },
        Status::Ended { reason: None, usage, .. } => ("incomplete", None, None, None, Some(usage)),
    };
    write::member("status", word, out);
    write::member("completed_at", &completed, out);
    write::member("incomplete_details", &details.map(|reason| serde_json::json!({ "reason": reason })), out);
    let failure = failure.map(|(code, message)| serde_json::json!({ "code": code.as_str(), "message": message }));
    write::member("error", &failure, out);
    out.extend_from_slice(b",\"output\":[");
    out.extend_from_slice(output);
    out.extend_from_slice(b"],\"usage\":");
    write::json(&usage.map(counts), out);
    out.push(b',');
    out.extend_from_slice(&echo.members);
    out.push(b'}');
}

/// Token counts; unknown ones are 0, as with Ollama. It has no `cache_write_tokens`, which OpenAI's
/// newer clients require.
fn counts(usage: &Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    serde_json::json!({
        "input_tokens": input,
        "input_tokens_details": { "cached_tokens": usage.cached.unwrap_or(0), "cache_write_tokens": 0 },
        "output_tokens": output,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": input.saturating_add(output),
    })
}

/// A single answer: thought, text, calls. As with Ollama there is a message, if an empty one, where
/// there is no call. `now`: when it was complete.
#[must_use]
pub fn whole(answer: &Answer, stamp: &Stamp, echo: &Echo, now: u64, trailer: Map<String, Value>) -> Vec<u8> {
    let status = answer.finish.as_ref().map_or("incomplete", |finish| item_status(finish.reason));
    let (mut output, mut items) = (Vec::new(), 0);
    if !answer.thinking.is_empty() {
        let open = Open::reasoning(&stamp.id, items).with(&answer.thinking, Vec::new());
        push(&open.item(status), &mut output);
        items += 1;
    }
    if !answer.text.is_empty() || answer.tool_calls.is_empty() {
        let entries = logprobs::complete(logprobs::entries(Some(Value::Array(answer.logprobs.clone()))));
        push(&Open::message(&stamp.id, items).with(&answer.text, entries).item(status), &mut output);
        items += 1;
    }
    for call in &answer.tool_calls {
        let call = item::Call::new(call, &stamp.id, items);
        push(&call.item("completed", call.arguments()), &mut output);
        items += 1;
    }
    let status = match &answer.failed {
        Some((code, message)) => Status::Failed { code: *code, message },
        None => ended(answer.finish.as_deref(), now),
    };
    let mut out = Vec::with_capacity(output.len() + 1024);
    response(stamp, echo, &status, &output, &mut out);
    out.pop();
    crate::write::trailer(&trailer, &mut out);
    out.push(b'}');
    out
}

#[cfg(test)]
#[path = "responses_encode_tests.rs"]
mod tests;
