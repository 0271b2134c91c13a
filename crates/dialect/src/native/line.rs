//! One line of Ollama's answer.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::event::{Durations, Usage};

/// What a line says, chat and generate alike.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) calls: Vec<CallLine>,
    pub(super) logprobs: Option<Value>,
    pub(super) done: bool,
    pub(super) done_reason: Option<String>,
    pub(super) error: Option<Value>,
    pub(super) usage: Usage,
    pub(super) durations: Durations,
    /// Members that have no place here.
    pub(super) native: Map<String, Value>,
}

/// A call as Ollama tells it.
#[derive(Debug, Deserialize)]
pub(super) struct CallLine {
    pub(super) id: Option<String>,
    pub(super) function: FunctionLine,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionLine {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: Value,
}

/// The message of a chat's line. Its further members have no place in any event.
#[derive(Deserialize, Default)]
struct MessageLine {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<CallLine>>,
}

/// A count or a time; none for anything that cannot be one (negative, over Go's int64, a text).
struct Figure(Option<u64>);

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(json)?;
        Ok(Self(value.as_i64().and_then(|figure| u64::try_from(figure).ok())))
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(LineVisitor)
    }
}

struct LineVisitor;

impl<'de> Visitor<'de> for LineVisitor {
    type Value = Line;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
        let mut line = Line::default();
        while let Some(Key(key)) = map.next_key()? {
            line.take(&key, &mut map)?;
        }
        Ok(line)
    }
}

/// A member's name, copied only where it has an escape: a line has some ten, and each token is one.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl Line {
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "model" | "created_at" => {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
            "message" => {
                let message: Option<MessageLine> = map.next_value()?;
                let message = message.unwrap_or_default();
                self.text = message.content.unwrap_or_default();
                self.thinking = message.thinking.unwrap_or_default();
                self.calls = message.tool_calls.unwrap_or_default();
            }
            "response" => self.text = text(map)?,
            "thinking" => self.thinking = text(map)?,
            "tool_calls" => self.calls = map.next_value::<Option<Vec<CallLine>>>()?.unwrap_or_default(),
            "logprobs" => self.logprobs = map.next_value()?,
            "done" => self.done = map.next_value::<Option<bool>>()?.unwrap_or_default(),
            "done_reason" => self.done_reason = map.next_value()?,
            "error" => self.error = map.next_value()?,
            "total_duration" => self.durations.total = figure(map)?,
            "load_duration" => self.durations.load = figure(map)?,
            "prompt_eval_count" => self.usage.input = figure(map)?,
            "prompt_eval_duration" => self.durations.prompt_eval = figure(map)?,
            "eval_count" => self.usage.output = figure(map)?,
            "eval_duration" => self.durations.eval = figure(map)?,
            other => {
                self.native.insert(other.to_owned(), map.next_value()?);
            }
        }
        Ok(())
    }
}

fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<String, A::Error> {
    Ok(map.next_value::<Option<String>>()?.unwrap_or_default())
}

fn figure<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<u64>, A::Error> {
    let figure: Figure = map.next_value()?;
    Ok(figure.0)
}
