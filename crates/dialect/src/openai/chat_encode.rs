//! `/v1/chat/completions`: the answer, streamed or whole.
//!
//! A stream: a chunk with the role, chunks of text, thought and whole calls, one with the reason of
//! its end, one with the token counts if asked for, `[DONE]`. A broken one ends in an error event
//! and has neither reason nor `[DONE]`.

use causeway_wire::Code;
use serde_json::{Map, Value};

use super::{logprobs, write};
use crate::chat::ToolCall;
use crate::encode::{Answer, Encode, Stamp};
use crate::error;
use crate::event::{Event, Finish};
use crate::route::Dialect;

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    /// Each chunk's beginning, up to the choices.
    head: Vec<u8>,
    id: String,
    include_usage: bool,
    trailer: Map<String, Value>,
    began: bool,
    ended: bool,
    /// Calls so far, count.
    calls: usize,
}

/// Ends of a chunk whose choice goes on.
const GOES_ON: &[u8] = b"},\"finish_reason\":null";

impl Encoder {
    /// An encoder of one stream.
    #[must_use]
    pub fn new(stamp: &Stamp) -> Self {
        let mut head = b"data: ".to_vec();
        write::stamp("chatcmpl", "chat.completion.chunk", stamp, &mut head);
        head.extend_from_slice(b",\"choices\":[");
        Self {
            head,
            id: stamp.id.clone(),
            include_usage: stamp.include_usage,
            trailer: Map::new(),
            began: false,
            ended: false,
            calls: 0,
        }
    }

    /// A chunk's beginning, up to the inside of its delta.
    fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{");
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.began {
            self.began = true;
            self.open(out);
            out.extend_from_slice(b"\"role\":\"assistant\",\"content\":\"\"");
            out.extend_from_slice(GOES_ON);
            close(out);
        }
    }

    /// A chunk with one text; `key` is JSON.
    fn text(&mut self, key: &[u8], text: &str, probabilities: Option<Value>, out: &mut Vec<u8>) {
        let entries = logprobs::entries(probabilities);
        if text.is_empty() && entries.is_empty() {
            return;
        }
        self.begin(out);
        self.open(out);
        out.extend_from_slice(key);
        write::json(text, out);
        out.extend_from_slice(GOES_ON);
        logprobs::chat(entries, out);
        close(out);
    }

    fn call(&mut self, call: &ToolCall, out: &mut Vec<u8>) {
        self.begin(out);
        self.open(out);
        out.extend_from_slice(b"\"tool_calls\":[");
        tool_call(call, &self.id, self.calls, out);
        out.extend_from_slice(b"]");
        out.extend_from_slice(GOES_ON);
        close(out);
        self.calls += 1;
    }

    fn finish(&mut self, finish: &Finish, out: &mut Vec<u8>) {
        self.begin(out);
        self.open(out);
        out.extend_from_slice(b"},\"finish_reason\":");
        write::json(write::finish_reason(finish.reason, self.calls > 0), out);
        close(out);
        let usage = self.include_usage.then_some((self.head.as_slice(), &finish.usage));
        write::last(usage, &self.trailer, out);
        self.ended = true;
    }

    fn fail(&mut self, code: Code, message: &str, out: &mut Vec<u8>) {
        write::comment(&self.trailer, out);
        write::failure(code, message, out);
        self.ended = true;
    }
}

impl Encode for Encoder {
    fn event(&mut self, _now: u64, event: Event, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Text { text, logprobs } => self.text(b"\"content\":", &text, logprobs, out),
            Event::Thinking(text) => self.text(b"\"reasoning\":", &text, None, out),
            Event::ToolCall(call) => self.call(&call, out),
            Event::Signature(_) | Event::Native(_) => {}
            Event::Finish(finish) => self.finish(&finish, out),
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

/// Ends a chunk after its choice's last member.
fn close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}]}\n\n");
}

fn tool_call(call: &ToolCall, request: &str, index: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"index\":");
    write::json(&index, out);
    write::member("id", &write::call_id(&call.id, request, index), out);
    out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
    write::json(&call.name, out);
    write::member("arguments", &write::arguments(&call.arguments), out);
    out.extend_from_slice(b"}}");
}

/// A single answer; one that broke off is the error's object. `now` is of no use: this dialect only says when the answer began.
#[must_use]
pub fn whole(answer: &Answer, stamp: &Stamp, _now: u64, trailer: Map<String, Value>) -> Vec<u8> {
    if let Some((code, message)) = &answer.failed {
        return error::body_with(Dialect::OpenAi, *code, message, trailer);
    }
    let mut out = Vec::with_capacity(answer.size() + 512);
    write::stamp("chatcmpl", "chat.completion", stamp, &mut out);
    out.extend_from_slice(b",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    write::json(&answer.text, &mut out);
    if !answer.thinking.is_empty() {
        write::member("reasoning", &answer.thinking, &mut out);
    }
    for (index, call) in answer.tool_calls.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b",\"tool_calls\":[" } else { b"," });
        tool_call(call, &stamp.id, index, &mut out);
    }
    if !answer.tool_calls.is_empty() {
        out.push(b']');
    }
    out.extend_from_slice(b"},\"finish_reason\":");
    let called = !answer.tool_calls.is_empty();
    let reason = answer.finish.as_ref().map(|finish| write::finish_reason(finish.reason, called));
    write::json(&reason, &mut out);
    logprobs::chat(logprobs::entries(Some(Value::Array(answer.logprobs.clone()))), &mut out);
    write::end(answer, trailer, &mut out);
    out
}

#[cfg(test)]
#[path = "chat_encode_tests.rs"]
mod tests;
