//! The blocks of an answer that have begun and not ended.

#![expect(clippy::wildcard_enum_match_arm, reason = "enums of the SDK have members to come")]

use aws_sdk_bedrockruntime::types::{ContentBlockDelta, ContentBlockStart, ReasoningContentBlockDelta};
use causeway_dialect::chat::ToolCall;
use causeway_dialect::event::Event;
use serde_json::{Map, Value};

/// Most bytes that all open calls may come to: what the link buffers of an answer.
const MOST_ARGUMENTS: usize = 8 * 1024 * 1024;

/// A call's arguments are too long, or no object.
#[derive(Debug)]
pub(super) struct BadCall;

/// A call as far as it has come.
#[derive(Clone, Debug)]
struct Open {
    index: i32,
    id: String,
    name: String,
    arguments: String,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    open: Vec<Open>,
    /// Bytes of all open calls' arguments.
    held: usize,
    /// The arguments of a call are the answer's text.
    writes_text: bool,
}

impl Blocks {
    pub(super) fn new(writes_text: bool) -> Self {
        Self { open: Vec::new(), held: 0, writes_text }
    }

    /// Only calls have a beginning that says something.
    pub(super) fn start(&mut self, index: i32, start: Option<ContentBlockStart>) {
        if let Some(ContentBlockStart::ToolUse(call)) = start {
            let (id, name) = (call.tool_use_id, call.name);
            self.open.push(Open { index, id, name, arguments: String::new() });
        }
    }

    pub(super) fn delta(
        &mut self,
        index: i32,
        delta: Option<ContentBlockDelta>,
        events: &mut Vec<Event>,
    ) -> Result<(), BadCall> {
        match delta {
            Some(ContentBlockDelta::Text(text)) if !self.writes_text && !text.is_empty() => {
                events.push(Event::Text { text, logprobs: None });
            }
            Some(ContentBlockDelta::ReasoningContent(delta)) => match delta {
                ReasoningContentBlockDelta::Text(text) if !text.is_empty() => events.push(Event::Thinking(text)),
                ReasoningContentBlockDelta::Signature(signature) => events.push(Event::Signature(signature)),
                // What is sealed nobody here can read, and no dialect but one could carry.
                _ => {}
            },
            Some(ContentBlockDelta::ToolUse(delta)) if self.writes_text => {
                if !delta.input.is_empty() {
                    events.push(Event::Text { text: delta.input, logprobs: None });
                }
            }
            Some(ContentBlockDelta::ToolUse(delta)) => return self.arguments(index, &delta.input),
            // What such a model says beside its one call is not the answer; citations have no place.
            Some(_) | None => {}
        }
        Ok(())
    }

    fn arguments(&mut self, index: i32, more: &str) -> Result<(), BadCall> {
        self.held += more.len();
        if self.held > MOST_ARGUMENTS {
            return Err(BadCall);
        }
        let open = self.open.iter_mut().rev().find(|open| open.index == index);
        open.into_iter().for_each(|open| open.arguments.push_str(more));
        Ok(())
    }

    /// A call that is told as one has begun and not ended.
    pub(super) fn has_open_call(&self) -> bool {
        !self.writes_text && !self.open.is_empty()
    }

    /// The call of a block that has ended.
    pub(super) fn stop(&mut self, index: i32) -> Result<Option<ToolCall>, BadCall> {
        let Some(place) = self.open.iter().position(|open| open.index == index) else { return Ok(None) };
        let Open { id, name, arguments, .. } = self.open.remove(place);
        self.held = self.held.saturating_sub(arguments.len());
        if self.writes_text {
            return Ok(None);
        }
        let arguments = match arguments.trim() {
            "" => Map::new(),
            text => match serde_json::from_str(text) {
                Ok(Value::Object(members)) => members,
                Ok(_) | Err(_) => return Err(BadCall),
            },
        };
        Ok(Some(ToolCall { id, name, arguments }))
    }
}
