//! From an answer's events to bytes in the caller's dialect: what all encoders share.
//!
//! A stream is written event by event through an [`Encode`]; a single answer is gathered in an
//! [`Answer`] first. Both end with one terminal event, whatever they were told. Absent: HTTP (the
//! session puts status and content type), refusals before the headers ([`crate::error`]).

use causeway_wire::Code;
use serde_json::{Map, Value};

use crate::chat::ToolCall;
use crate::event::{Event, Finish};

/// What an encoder must know beside the events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The model as the caller wrote it.
    pub model: String,
    /// Our id of the request: the dialects' own ids are made from it.
    pub id: String,
    /// When the answer began, seconds since 1970: OpenAI's `created`, pinned for the stream.
    pub created: u64,
    /// OpenAI: the stream ends with its token counts.
    pub include_usage: bool,
    /// Estimated tokens of the prompt: Anthropic says them before the answer.
    pub input_estimate: u64,
}

/// Writes one stream.
pub trait Encode: Send {
    /// Appends what this event is in the dialect; often nothing. `now`: the time, nanoseconds since
    /// 1970 (Ollama stamps each line). After the terminal event nothing is written any more.
    fn event(&mut self, now: u64, event: Event, out: &mut Vec<u8>);

    /// Appends a sign of life that no client takes for a part of the answer.
    fn heartbeat(&mut self, now: u64, out: &mut Vec<u8>);

    /// Appends what is only known at the end (`x_causeway`: served-by, reason, cost, dropped), to be
    /// called before the terminal event; encoders keep it until then.
    fn trailer(&mut self, members: Map<String, Value>);
}

/// A single answer, gathered.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// All text.
    pub text: String,
    /// All thought.
    pub thinking: String,
    /// All calls, in order.
    pub tool_calls: Vec<ToolCall>,
    /// Ollama's `logprobs`, joined in order.
    pub logprobs: Vec<Value>,
    /// Ollama's further members; of each name the last.
    pub native: Map<String, Value>,
    /// How it ended; none while it has not.
    pub finish: Option<Box<Finish>>,
    /// It broke off instead.
    pub failed: Option<(Code, String)>,
}

impl Answer {
    /// Takes the next event; nothing more once it has ended.
    pub fn take(&mut self, event: Event) {
        if self.finish.is_some() || self.failed.is_some() {
            return;
        }
        match event {
            Event::Text { text, logprobs } => {
                self.text.push_str(&text);
                match logprobs {
                    Some(Value::Array(more)) => self.logprobs.extend(more),
                    Some(other) => self.logprobs.push(other),
                    None => {}
                }
            }
            Event::Thinking(text) => self.thinking.push_str(&text),
            Event::ToolCall(call) => self.tool_calls.push(call),
            Event::Native(members) => self.native.extend(members),
            Event::Finish(finish) => self.finish = Some(finish),
            Event::Failed { code, message } => self.failed = Some((code, message)),
        }
    }

    /// Bytes it holds, about: for the session's bound.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.len() + self.thinking.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Event {
        Event::Text { text: text.to_owned(), logprobs: None }
    }

    #[test]
    fn an_answer_gathers_its_pieces_in_order() {
        let mut answer = Answer::default();
        for event in [text("Hel"), Event::Thinking("hm".to_owned()), text("lo"), Event::Finish(Box::default())] {
            answer.take(event);
        }
        assert_eq!((answer.text.as_str(), answer.thinking.as_str()), ("Hello", "hm"));
        assert!(answer.finish.is_some() && answer.failed.is_none());
    }

    #[test]
    fn nothing_is_added_to_an_answer_that_has_ended() {
        let mut answer = Answer::default();
        answer.take(Event::Failed { code: Code::UpstreamIncomplete, message: "broke off".to_owned() });
        answer.take(text("late"));
        answer.take(Event::Finish(Box::default()));
        assert!(answer.text.is_empty() && answer.finish.is_none());
    }
}
