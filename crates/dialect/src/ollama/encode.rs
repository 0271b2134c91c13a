//! From events to Ollama's lines, and to its single answer.
//!
//! A line is written straight into the caller's buffer: no tree is built for a token. Members that
//! Ollama leaves out where they are empty (`thinking`, `tool_calls`, zero durations) are left out
//! here too. Absent: `remote_model` and the like as such; they come as [`Event::Native`].

use serde::Serialize;
use serde_json::{Map, Value};

use super::Route;
use crate::chat::ToolCall;
use crate::encode::{Answer, Encode, Stamp};
use crate::event::{Event, Finish, StopReason};
use crate::time::rfc3339;
use crate::write::{self, json, member};

/// Members of a line that are ours to write; a backend's further members never replace them.
const OWN: [&str; 17] = [
    "model",
    "created_at",
    "message",
    "response",
    "thinking",
    "tool_calls",
    "logprobs",
    "done",
    "done_reason",
    "error",
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
    "x_causeway",
];

/// Writes an NDJSON stream.
#[derive(Debug)]
pub struct Encoder {
    route: Route,
    /// `{"model":"…","created_at":"`, which begins every line.
    head: Vec<u8>,
    /// Calls so far: Ollama numbers them through the answer.
    calls: usize,
    trailer: Map<String, Value>,
    ended: bool,
}

impl Encoder {
    /// The stream of one answer.
    #[must_use]
    pub fn new(route: Route, stamp: &Stamp) -> Self {
        Self { route, head: head(&stamp.model), calls: 0, trailer: Map::new(), ended: false }
    }

    /// A line up to its text: what begins it, when, and the opening of what holds the text.
    fn open(&self, now: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(rfc3339(now).as_bytes());
        out.extend_from_slice(match self.route {
            Route::Chat => br#"","message":{"role":"assistant","content":"#,
            Route::Generate => br#"","response":"#,
        });
    }

    /// The end of what holds the text.
    fn close(&self, out: &mut Vec<u8>) {
        match self.route {
            Route::Chat => out.push(b'}'),
            Route::Generate => {}
        }
    }

    fn text(&self, now: u64, text: &str, logprobs: Option<&Value>, out: &mut Vec<u8>) {
        self.open(now, out);
        json(text, out);
        self.close(out);
        out.extend_from_slice(br#","done":false"#);
        if let Some(logprobs) = logprobs {
            member("logprobs", logprobs, out);
        }
        out.extend_from_slice(b"}\n");
    }

    fn thinking(&self, now: u64, text: &str, out: &mut Vec<u8>) {
        self.open(now, out);
        out.extend_from_slice(br#""""#);
        member("thinking", text, out);
        self.close(out);
        out.extend_from_slice(b",\"done\":false}\n");
    }

    fn tool_call(&mut self, now: u64, call: &ToolCall, out: &mut Vec<u8>) {
        self.open(now, out);
        out.extend_from_slice(br#""""#);
        member("tool_calls", &[Call::new(self.calls, call)], out);
        self.calls += 1;
        self.close(out);
        out.extend_from_slice(b",\"done\":false}\n");
    }

    fn native(&self, now: u64, members: &Map<String, Value>, out: &mut Vec<u8>) {
        if foreign(members).next().is_none() {
            return;
        }
        self.open(now, out);
        out.extend_from_slice(br#""""#);
        self.close(out);
        out.extend_from_slice(br#","done":false"#);
        put_foreign(out, members);
        out.extend_from_slice(b"}\n");
    }

    fn finish(&mut self, now: u64, finish: &Finish, out: &mut Vec<u8>) {
        self.ended = true;
        self.open(now, out);
        out.extend_from_slice(br#""""#);
        self.close(out);
        put_finish(out, finish);
        put_trailer(out, std::mem::take(&mut self.trailer), finish.reason);
        out.extend_from_slice(b"}\n");
    }

    fn failed(&mut self, message: &str, out: &mut Vec<u8>) {
        self.ended = true;
        put_error(out, message, std::mem::take(&mut self.trailer));
        out.push(b'\n');
    }
}

impl Encode for Encoder {
    fn event(&mut self, now: u64, event: Event, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Text { text, logprobs } => self.text(now, &text, logprobs.as_ref(), out),
            Event::Thinking(text) => self.thinking(now, &text, out),
            Event::ToolCall(call) => self.tool_call(now, &call, out),
            Event::Signature(_) => {}
            Event::Native(members) => self.native(now, &members, out),
            Event::Finish(finish) => self.finish(now, &finish, out),
            Event::Failed { code: _, message } => self.failed(&message, out),
        }
    }

    fn heartbeat(&mut self, now: u64, out: &mut Vec<u8>) {
        if !self.ended {
            self.text(now, "", None, out);
        }
    }

    fn trailer(&mut self, members: Map<String, Value>) {
        self.trailer.extend(members);
    }
}

/// The single answer: one object, without a line end.
///
/// `now`: nanoseconds since 1970; `trailer`: the members of `x_causeway`. An answer that broke off
/// is the error's object: the way out where leading spaces have committed the headers.
#[must_use]
pub fn whole(route: Route, answer: &Answer, stamp: &Stamp, now: u64, trailer: Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.text.len() + answer.thinking.len() + 512);
    if let Some((_, message)) = &answer.failed {
        put_error(&mut out, message, trailer);
        return out;
    }
    out.extend_from_slice(&head(&stamp.model));
    out.extend_from_slice(rfc3339(now).as_bytes());
    out.extend_from_slice(match route {
        Route::Chat => br#"","message":{"role":"assistant","content":"#,
        Route::Generate => br#"","response":"#,
    });
    json(&answer.text, &mut out);
    if !answer.thinking.is_empty() {
        member("thinking", &answer.thinking, &mut out);
    }
    if !answer.tool_calls.is_empty() {
        let calls: Vec<Call<'_>> = answer.tool_calls.iter().enumerate().map(|(n, call)| Call::new(n, call)).collect();
        member("tool_calls", &calls, &mut out);
    }
    if route == Route::Chat {
        out.push(b'}');
    }
    if !answer.logprobs.is_empty() {
        member("logprobs", &answer.logprobs, &mut out);
    }
    let known = |name: &str| answer.finish.as_ref().is_some_and(|finish| finish.native.contains_key(name));
    let early = answer.native.iter().filter(|(name, _)| !known(name));
    put_foreign(&mut out, &early.map(|(name, value)| (name.clone(), value.clone())).collect());
    match &answer.finish {
        Some(finish) => {
            put_finish(&mut out, finish);
            put_trailer(&mut out, trailer, finish.reason);
        }
        None => {
            out.extend_from_slice(br#","done":false"#);
            put_trailer(&mut out, trailer, StopReason::Stop);
        }
    }
    out.push(b'}');
    out
}

/// What begins every line of an answer.
fn head(model: &str) -> Vec<u8> {
    let mut head = br#"{"model":"#.to_vec();
    json(model, &mut head);
    head.extend_from_slice(br#","created_at":""#);
    head
}

/// `done`, why, the backend's further members, and what it measured.
fn put_finish(out: &mut Vec<u8>, finish: &Finish) {
    out.extend_from_slice(br#","done":true"#);
    member("done_reason", done_reason(finish.reason), out);
    put_foreign(out, &finish.native);
    let (usage, durations) = (&finish.usage, &finish.durations);
    for (name, figure) in [
        ("total_duration", durations.total),
        ("load_duration", durations.load),
        ("prompt_eval_count", usage.input),
        ("prompt_eval_duration", durations.prompt_eval),
        ("eval_count", usage.output),
        ("eval_duration", durations.eval),
    ] {
        if let Some(figure) = figure.filter(|figure| *figure > 0) {
            member(name, &figure, out);
        }
    }
}

fn done_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Stop | StopReason::StopSequence | StopReason::ToolCalls | StopReason::ContentFilter => "stop",
        StopReason::Length => "length",
        StopReason::Load => "load",
        StopReason::Unload => "unload",
    }
}

/// `x_causeway`. Ollama has no word for a filter's stop: the flag says it there.
fn put_trailer(out: &mut Vec<u8>, mut trailer: Map<String, Value>, reason: StopReason) {
    if reason == StopReason::ContentFilter {
        trailer.insert("content_filtered".to_owned(), Value::Bool(true));
    }
    write::trailer(&trailer, out);
}

fn put_error(out: &mut Vec<u8>, message: &str, trailer: Map<String, Value>) {
    out.extend_from_slice(br#"{"error":"#);
    json(message, out);
    put_trailer(out, trailer, StopReason::Stop);
    out.push(b'}');
}

/// Members that are not ours to write.
fn foreign(members: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    members.iter().filter(|(name, _)| !OWN.contains(&name.as_str()))
}

fn put_foreign(out: &mut Vec<u8>, members: &Map<String, Value>) {
    for (name, value) in foreign(members) {
        member(name, value, out);
    }
}

/// A call as Ollama writes it.
#[derive(Serialize)]
pub(crate) struct Call<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    index: usize,
    name: &'a str,
    arguments: &'a Map<String, Value>,
}

impl<'a> Call<'a> {
    /// `index`: its place among the calls of the message.
    pub(crate) fn new(index: usize, call: &'a ToolCall) -> Self {
        Self { id: &call.id, function: Function { index, name: &call.name, arguments: &call.arguments } }
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
