//! From an answer's events to bytes in the caller's dialect: what all encoders share.
//!
//! A stream is written event by event through an [`Encode`]; a single answer is gathered in an
//! [`Answer`] first. Both end with one terminal event, whatever they were told. Absent: HTTP (the
//! session puts status and content type), refusals before the headers ([`crate::error`]).

use causeway_wire::Code;
use serde_json::{Map, Value};

use crate::chat::ToolCall;
use crate::event::{Event, Finish};
use crate::weigh;

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

    /// Takes what is only known at the end (served-by, reason, cost, dropped), under its keys.
    ///
    /// To be called any number of times before the terminal event: a key that comes again takes the
    /// earlier one's place. It is written once, with the terminal event, be that a finish or a failure:
    /// in streams of events as a comment `: x_causeway {json}` before the last event (OpenAI's
    /// `[DONE]`, `response.completed` and the like, Anthropic's `message_stop`, an error), in NDJSON as
    /// the key `x_causeway` of the last object. Where nothing was taken, nothing is written; after the
    /// terminal event a call has no effect. A single answer has the same key on its object: see each
    /// dialect's `whole`.
    fn trailer(&mut self, members: Map<String, Value>);
}

/// A single answer, gathered.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// All text.
    pub text: String,
    /// All thought.
    pub thinking: String,
    /// The seal of the thought, where all of it has one.
    pub signature: Option<String>,
    /// Seals so far, count: with more than one, each is for a part of the thought.
    pub(crate) seals: u32,
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
    /// Bytes of all but text and thought, about; kept by [`Answer::take`].
    pub(crate) rest: usize,
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
                let more = match logprobs {
                    Some(Value::Array(more)) => more,
                    Some(other) => vec![other],
                    None => Vec::new(),
                };
                self.rest += more.iter().map(weigh::value).sum::<usize>();
                self.logprobs.extend(more);
            }
            Event::Thinking(text) => self.thinking.push_str(&text),
            Event::Signature(seal) => {
                self.seals += 1;
                self.signature = Some(seal).filter(|_| self.seals == 1);
            }
            Event::ToolCall(call) => {
                self.rest += weigh::call(&call);
                self.tool_calls.push(call);
            }
            Event::Native(members) => self.native(members),
            Event::Finish(finish) => {
                self.rest += size_of::<Finish>() + weigh::map(&finish.native);
                self.finish = Some(finish);
            }
            Event::Failed { code, message } => {
                self.rest += message.len();
                self.failed = Some((code, message));
            }
        }
    }

    /// Members that come again with other values take the earlier ones' place.
    fn native(&mut self, members: Map<String, Value>) {
        for (name, value) in members {
            self.rest += name.len() + weigh::value(&value);
            if let Some(earlier) = self.native.insert(name, value) {
                self.rest = self.rest.saturating_sub(weigh::value(&earlier));
            }
        }
    }

    /// Bytes it holds, about, of everything that came: for the session's bound. It costs nothing to ask
    /// after every event.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.len() + self.thinking.len() + self.signature.as_ref().map_or(0, String::len) + self.rest
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn the_size_of_an_answer_counts_all_that_it_holds() {
        let token = json!([{ "token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": [] }]);
        let arguments = json!({ "a": "x".repeat(5_000) }).as_object().unwrap().clone();
        let members = |text: &str| json!({ "remote_model": text }).as_object().unwrap().clone();
        let context = json!({ "context": vec![1; 1_000] }).as_object().unwrap().clone();
        for (event, least) in [
            (Event::Text { text: "x".repeat(100), logprobs: None }, 100),
            (Event::Text { text: String::new(), logprobs: Some(token.clone()) }, token.to_string().len()),
            (Event::Text { text: String::new(), logprobs: Some(json!({ "token": "x".repeat(900) })) }, 900),
            (Event::Thinking("x".repeat(100)), 100),
            (Event::ToolCall(ToolCall { id: "i".to_owned(), name: "f".to_owned(), arguments }), 5_000),
            (Event::Native(members(&"x".repeat(3_000))), 3_000),
            (Event::Finish(Box::new(Finish { native: context, ..Finish::default() })), 8_000),
            (Event::Failed { code: Code::Internal, message: "x".repeat(700) }, 700),
        ] {
            let mut answer = Answer::default();
            answer.take(event.clone());
            assert!((least..least * 9 + 1_000).contains(&answer.size()), "{event:?}: {}", answer.size());
        }
        let mut answer = Answer::default();
        (0..100).for_each(|_| answer.take(Event::Native(members(&"x".repeat(3_000)))));
        assert!(answer.size() < 8_000, "what was replaced is no longer held: {}", answer.size());
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
