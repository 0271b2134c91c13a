//! One output item of a response: thought, text or a call, open or done.
//!
//! Ids are made from the request's id and the item's place, so that no two of an answer are alike.

use serde_json::Value;

use super::write;
use crate::chat;
use crate::weigh;

/// An item that grows: a message or a thought.
#[derive(Debug)]
pub(super) struct Open {
    message: bool,
    id: String,
    /// A delta up to its number.
    head: Vec<u8>,
    text: String,
    logprobs: Vec<Value>,
    /// Bytes of `logprobs`, about.
    weight: usize,
}

/// An event's name and its members after the number.
type Rest = (&'static str, Vec<u8>);

impl Open {
    pub(super) fn message(request: &str, place: usize) -> Self {
        Self::new(true, format!("msg_{request}_{place}"), "response.output_text.delta", place)
    }

    pub(super) fn reasoning(request: &str, place: usize) -> Self {
        Self::new(false, format!("rs_{request}_{place}"), "response.reasoning_summary_text.delta", place)
    }

    fn new(message: bool, id: String, delta: &str, place: usize) -> Self {
        let mut head = format!("event: {delta}\ndata: {{\"type\":\"{delta}\"").into_bytes();
        where_it_is(message, &id, place, &mut head);
        head.extend_from_slice(b",\"sequence_number\":");
        Self { message, id, head, text: String::new(), logprobs: Vec::new(), weight: 0 }
    }

    /// The same with all its text.
    pub(super) fn with(mut self, text: &str, logprobs: Vec<Value>) -> Self {
        text.clone_into(&mut self.text);
        self.logprobs = logprobs;
        self
    }

    pub(super) fn is_message(&self) -> bool {
        self.message
    }

    pub(super) fn size(&self) -> usize {
        self.text.len() + self.weight
    }

    /// Appends the event of one more piece.
    pub(super) fn delta(&mut self, number: u64, text: &str, logprobs: Vec<Value>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        write::json(&number, out);
        out.extend_from_slice(b",\"delta\":");
        write::json(text, out);
        if self.message {
            write::member("logprobs", &logprobs, out);
        }
        out.extend_from_slice(b"}\n\n");
        self.text.push_str(text);
        self.weight += logprobs.iter().map(weigh::value).sum::<usize>();
        self.logprobs.extend(logprobs);
    }

    /// The item before its first piece.
    pub(super) fn beginning(&self) -> Vec<u8> {
        let mut out = self.item_head("in_progress");
        out.extend_from_slice(if self.message { b",\"content\":[]}" } else { b",\"summary\":[]}" });
        out
    }

    /// The item with all its pieces.
    pub(super) fn item(&self, status: &str) -> Vec<u8> {
        let mut out = self.item_head(status);
        if self.message {
            out.extend_from_slice(b",\"content\":[");
            self.part(&mut out);
            out.extend_from_slice(b"]}");
        } else {
            out.extend_from_slice(b",\"summary\":[{\"type\":\"summary_text\"");
            write::member("text", &self.text, &mut out);
            out.extend_from_slice(b"}]");
            // Plain text, as with Ollama: clients that keep nothing else hand it back.
            write::member("encrypted_content", &self.text, &mut out);
            out.push(b'}');
        }
        out
    }

    fn item_head(&self, status: &str) -> Vec<u8> {
        let mut out = b"{\"id\":".to_vec();
        write::json(&self.id, &mut out);
        write::member("type", if self.message { "message" } else { "reasoning" }, &mut out);
        if self.message {
            write::member("status", status, &mut out);
            write::member("role", "assistant", &mut out);
        }
        out
    }

    fn part(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"output_text\",\"annotations\":[]");
        write::member("logprobs", &self.logprobs, out);
        write::member("text", &self.text, out);
        out.push(b'}');
    }

    /// Members of the event with which a message's only part begins.
    pub(super) fn part_added(&self, place: usize) -> Vec<u8> {
        let mut out = Vec::new();
        where_it_is(self.message, &self.id, place, &mut out);
        out.extend_from_slice(b",\"part\":");
        self.part(&mut out);
        out
    }

    /// The events that end its text.
    pub(super) fn dones(&self, place: usize) -> Vec<Rest> {
        let mut text = Vec::new();
        where_it_is(self.message, &self.id, place, &mut text);
        write::member("text", &self.text, &mut text);
        if !self.message {
            return vec![("response.reasoning_summary_text.done", text)];
        }
        write::member("logprobs", &self.logprobs, &mut text);
        vec![("response.output_text.done", text), ("response.content_part.done", self.part_added(place))]
    }
}

/// Appends which item and which of its parts an event is about.
fn where_it_is(message: bool, id: &str, place: usize, out: &mut Vec<u8>) {
    write::member("item_id", id, out);
    write::member("output_index", &place, out);
    write::member(if message { "content_index" } else { "summary_index" }, &0, out);
}

/// A call, which comes whole.
pub(super) struct Call<'a> {
    id: String,
    call_id: String,
    name: &'a str,
    arguments: String,
}

impl<'a> Call<'a> {
    pub(super) fn new(call: &'a chat::ToolCall, request: &str, place: usize) -> Self {
        Self {
            id: format!("fc_{request}_{place}"),
            call_id: write::call_id(&call.id, request, place),
            name: &call.name,
            arguments: write::arguments(&call.arguments),
        }
    }

    pub(super) fn arguments(&self) -> &str {
        &self.arguments
    }

    pub(super) fn item(&self, status: &str, arguments: &str) -> Vec<u8> {
        let mut out = b"{\"id\":".to_vec();
        write::json(&self.id, &mut out);
        write::member("type", "function_call", &mut out);
        write::member("status", status, &mut out);
        write::member("call_id", &self.call_id, &mut out);
        write::member("name", self.name, &mut out);
        write::member("arguments", arguments, &mut out);
        out.push(b'}');
        out
    }

    /// The events that tell its arguments, in one piece.
    pub(super) fn events(&self, place: usize) -> Vec<Rest> {
        let mut head = Vec::new();
        write::member("item_id", &self.id, &mut head);
        write::member("output_index", &place, &mut head);
        let (mut delta, mut done) = (head.clone(), head);
        write::member("delta", &self.arguments, &mut delta);
        write::member("name", self.name, &mut done);
        write::member("arguments", &self.arguments, &mut done);
        vec![("response.function_call_arguments.delta", delta), ("response.function_call_arguments.done", done)]
    }
}
