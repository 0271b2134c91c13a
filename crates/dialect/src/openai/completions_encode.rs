//! `/v1/completions`: the answer, streamed or whole.
//!
//! Text only: this dialect has no place for thought and calls, and Ollama leaves them out as well.
//! The order and the ends are those of a chat, without a first chunk for the role.

use serde_json::{Map, Value};

use super::{logprobs, write};
use crate::encode::{Answer, Encode, Stamp};
use crate::error;
use crate::event::{Event, Finish};
use crate::route::Dialect;

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    /// Each chunk's beginning, up to the choices.
    head: Vec<u8>,
    include_usage: bool,
    trailer: Map<String, Value>,
    ended: bool,
    /// Characters whose probabilities were told, count.
    offset: usize,
}

impl Encoder {
    /// An encoder of one stream.
    #[must_use]
    pub fn new(stamp: &Stamp) -> Self {
        let mut head = b"data: ".to_vec();
        write::stamp("cmpl", "text_completion", stamp, &mut head);
        head.extend_from_slice(b",\"choices\":[");
        Self { head, include_usage: stamp.include_usage, trailer: Map::new(), ended: false, offset: 0 }
    }

    fn chunk(&mut self, text: &str, reason: Option<&str>, entries: &[Value], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        choice(text, reason, entries, &mut self.offset, out);
        out.extend_from_slice(b"}]}\n\n");
    }

    fn finish(&mut self, finish: &Finish, out: &mut Vec<u8>) {
        self.chunk("", Some(write::finish_reason(finish.reason, false)), &[], out);
        let usage = self.include_usage.then_some((self.head.as_slice(), &finish.usage));
        write::last(usage, &self.trailer, out);
        self.ended = true;
    }
}

impl Encode for Encoder {
    fn event(&mut self, _now: u64, event: Event, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Text { text, logprobs } => {
                let entries = logprobs::entries(logprobs);
                if !text.is_empty() || !entries.is_empty() {
                    self.chunk(&text, None, &entries, out);
                }
            }
            Event::Thinking(_) | Event::Signature(_) | Event::ToolCall(_) | Event::Native(_) => {}
            Event::Finish(finish) => self.finish(&finish, out),
            Event::Failed { code, message } => {
                write::comment(&self.trailer, out);
                write::failure(code, &message, out);
                self.ended = true;
            }
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

/// A choice without its closing brace.
fn choice(text: &str, reason: Option<&str>, entries: &[Value], offset: &mut usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"text\":");
    write::json(text, out);
    out.extend_from_slice(b",\"index\":0,\"finish_reason\":");
    write::json(&reason, out);
    logprobs::completion(entries, offset, out);
}

/// A single answer; one that broke off is the error's object. `now` is of no use: this dialect only says when the answer began.
#[must_use]
pub fn whole(answer: &Answer, stamp: &Stamp, _now: u64, trailer: Map<String, Value>) -> Vec<u8> {
    if let Some((code, message)) = &answer.failed {
        return error::body_with(Dialect::OpenAi, *code, message, trailer);
    }
    let mut out = Vec::with_capacity(answer.size() + 512);
    write::stamp("cmpl", "text_completion", stamp, &mut out);
    out.extend_from_slice(b",\"choices\":[");
    let reason = answer.finish.as_ref().map(|finish| write::finish_reason(finish.reason, false));
    let entries = logprobs::entries(Some(Value::Array(answer.logprobs.clone())));
    choice(&answer.text, reason, &entries, &mut 0, &mut out);
    write::end(answer, trailer, &mut out);
    out
}

#[cfg(test)]
#[path = "completions_encode_tests.rs"]
mod tests;
