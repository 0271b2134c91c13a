//! Ollama's NDJSON answer, read as it comes.
//!
//! Bytes may be cut anywhere, even inside a character. Invariant: exactly one terminal event, the
//! last; it is [`Event::Finish`] only where Ollama said `done`. Absent: HTTP, and what to do about a
//! failure.

use causeway_wire::Code;
use memchr::memchr;
use serde_json::{Map, Value};

use super::fault::in_stream;
use super::line::{CallLine, Line};
use crate::chat::{Input, Part, Request, ToolCall};
use crate::event::{Event, Finish, StopReason};
use crate::fields::free;

/// Longest line of an answer, bytes. A line is a token or a whole call; the last one of
/// `/api/generate` also carries its context, some bytes a token. 8 MiB is the link's whole buffer
/// for one answer.
pub const MAX_LINE: usize = 8 * 1024 * 1024;

/// A line buffer larger than this is given back once its line has ended, bytes.
const KEPT_BUFFER: usize = 16 * 1024;

/// Digits of a call's number that are read, count: ids that others chose may have more.
const MAX_DIGITS: usize = 9;

/// Reads one answer of `/api/chat` or `/api/generate`.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The unfinished line.
    line: Vec<u8>,
    /// Number of the next call that comes without an id.
    next_call: u64,
    called: bool,
    /// Members of the last line that had any: those that stay the same are told once.
    native: Map<String, Value>,
    ended: bool,
}

impl Reader {
    /// The answer to `request`: ids that are made here differ from those of its earlier calls.
    #[must_use]
    pub fn new(request: &Request) -> Self {
        let messages = match &request.input {
            Input::Chat(messages) => messages.as_slice(),
            Input::Prompt(_) => &[],
        };
        let numbers = messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
            Part::ToolCall(call) => number(&call.id),
            Part::ToolResult(result) => number(result.id.as_deref()?),
            Part::Text(_) | Part::Image(_) | Part::Document(_) | Part::CachePoint(_) | Part::Thinking { .. } => None,
        });
        let next_call = numbers.max().map_or(0, |last| last + 1);
        Self { line: Vec::new(), next_call, called: false, native: Map::new(), ended: false }
    }

    /// Takes the next bytes and appends what they say. Bytes after the terminal event say nothing.
    pub fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) {
        while !self.ended
            && let Some(end) = memchr(b'\n', bytes)
        {
            let (piece, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.line.is_empty() && piece.len() <= MAX_LINE {
                self.read(piece, events);
            } else if self.keep(piece, events) {
                self.read_kept(events);
            }
        }
        if !self.ended {
            self.keep(bytes, events);
        }
    }

    /// The bytes have ended: reads a last line that has no end, and judges.
    pub fn finish(&mut self, events: &mut Vec<Event>) {
        if !self.ended {
            self.read_kept(events);
        }
        if !self.ended {
            let message = "Ollama's answer ended without its last line; try again";
            self.fail(Code::UpstreamIncomplete, message.to_owned(), events);
        }
    }

    /// The terminal event has been told.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn keep(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> bool {
        if self.line.len() + bytes.len() > MAX_LINE {
            self.line = Vec::new();
            let message = format!("a line of Ollama's answer is longer than {} MiB", MAX_LINE / 1024 / 1024);
            self.fail(Code::UpstreamIncomplete, message, events);
            return false;
        }
        self.line.extend_from_slice(bytes);
        true
    }

    fn read_kept(&mut self, events: &mut Vec<Event>) {
        let mut line = std::mem::take(&mut self.line);
        self.read(&line, events);
        line.clear();
        line.shrink_to(KEPT_BUFFER);
        self.line = line;
    }

    fn read(&mut self, line: &[u8], events: &mut Vec<Event>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match serde_json::from_slice(line) {
            Ok(line) => self.tell(line, events),
            Err(error) => {
                let message = format!("a line of Ollama's answer cannot be read ({})", kind(&error));
                self.fail(Code::UpstreamIncomplete, message, events);
            }
        }
    }

    fn tell(&mut self, line: Line, events: &mut Vec<Event>) {
        if let Some(error) = &line.error {
            let (code, message) = in_stream(error);
            return self.fail(code, message, events);
        }
        let native = if line.done { line.native } else { self.tell_native(line.native, events) };
        if !line.thinking.is_empty() {
            events.push(Event::Thinking(line.thinking));
        }
        if !line.text.is_empty() || line.logprobs.is_some() {
            events.push(Event::Text { text: line.text, logprobs: line.logprobs });
        }
        for call in line.calls {
            let Some(call) = self.call(call) else {
                let message = "the model's call of a function has arguments that are no JSON object";
                return self.fail(Code::UpstreamIncomplete, message.to_owned(), events);
            };
            events.push(Event::ToolCall(call));
        }
        if line.done {
            self.ended = true;
            events.push(Event::Finish(Box::new(Finish {
                reason: self.reason(line.done_reason.as_deref()),
                stop_sequence: None,
                usage: line.usage,
                durations: line.durations,
                native,
            })));
        }
    }

    /// Members that the line before had too are not told again (`remote_model` stands in each).
    fn tell_native(&mut self, members: Map<String, Value>, events: &mut Vec<Event>) -> Map<String, Value> {
        if !members.is_empty() && members != self.native {
            self.native.clone_from(&members);
            events.push(Event::Native(members));
        }
        Map::new()
    }

    fn call(&mut self, line: CallLine) -> Option<ToolCall> {
        let arguments = match line.function.arguments {
            Value::Object(arguments) => arguments,
            Value::Null => Map::new(),
            // Some parsers of Ollama have passed on the model's text as it was.
            Value::String(text) if text.trim().is_empty() => Map::new(),
            Value::String(text) => free::read(&text).ok()?,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => return None,
        };
        self.called = true;
        let id = self.id(line.id.unwrap_or_default());
        Some(ToolCall { id, name: line.function.name, arguments })
    }

    /// The id, or one made in order where there is none or an earlier call has it.
    fn id(&mut self, given: String) -> String {
        match number(&given) {
            Some(number) if number >= self.next_call => self.next_call = number + 1,
            None if !given.is_empty() => {}
            Some(_) | None => {
                let made = format!("call_{}", self.next_call);
                self.next_call += 1;
                return made;
            }
        }
        given
    }

    fn reason(&self, word: Option<&str>) -> StopReason {
        match word {
            Some("length") => StopReason::Length,
            Some("load") => StopReason::Load,
            Some("unload") => StopReason::Unload,
            _ if self.called => StopReason::ToolCalls,
            _ => StopReason::Stop,
        }
    }

    fn fail(&mut self, code: Code, message: String, events: &mut Vec<Event>) {
        self.ended = true;
        events.push(Event::Failed { code, message });
    }
}

/// The number in an id of our own form.
fn number(id: &str) -> Option<u64> {
    let digits = id.strip_prefix("call_")?;
    let own = digits.len() <= MAX_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if own { digits.parse().ok() } else { None }
}

/// What is wrong with a line, without a word of it.
fn kind(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Eof => "it is cut off",
        serde_json::error::Category::Data => "a member has another type",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "it is not JSON",
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
