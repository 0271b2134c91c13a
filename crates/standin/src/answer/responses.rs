//! OpenAI's Responses as Ollama writes them.
//!
//! Invariant: sequence numbers count from 0 without a hole.

use std::fmt::Write;
use std::time::SystemTime;

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{Encode, Stats, unix};

/// `/v1/responses`.
pub(crate) struct Responses {
    pub(crate) id: u64,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) limit: Option<u32>,
    pub(crate) sequence: u32,
    pub(crate) text: String,
}

impl Responses {
    fn response(&self, status: &str, output: Value, usage: Value) -> Value {
        let done = (status == "completed").then(|| unix(SystemTime::now()));
        json!({
            "id": format!("resp_{}", self.id), "object": "response", "created_at": self.created,
            "completed_at": done, "status": status, "incomplete_details": null, "model": self.model,
            "previous_response_id": null, "instructions": null, "output": output, "error": null,
            "tools": [], "tool_choice": "auto", "truncation": "disabled", "parallel_tool_calls": true,
            "text": {"format": {"type": "text"}}, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0,
            "top_logprobs": 0, "temperature": 1, "reasoning": null, "usage": usage,
            "max_output_tokens": self.limit, "max_tool_calls": null, "store": false, "background": false,
            "service_tier": "default", "metadata": {}, "safety_identifier": null, "prompt_cache_key": null,
        })
    }

    fn item(&self, status: &str, content: Value) -> Value {
        json!({"id": format!("msg_{}", self.id), "type": "message", "status": status,
            "role": "assistant", "content": content})
    }

    fn event(&mut self, out: &mut BytesMut, kind: &str, mut fields: Value) {
        if let Some(map) = fields.as_object_mut() {
            map.insert("sequence_number".to_owned(), self.sequence.into());
            map.insert("type".to_owned(), kind.into());
        }
        self.sequence += 1;
        let _ = write!(out, "event: {kind}\ndata: {fields}\n\n");
    }

    fn message(&self) -> String {
        format!("msg_{}", self.id)
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn usage(stats: &Stats) -> Value {
    let tokens = usize::try_from(stats.tokens).unwrap_or(usize::MAX);
    json!({"input_tokens": stats.prompt_tokens, "output_tokens": tokens,
        "total_tokens": stats.prompt_tokens.saturating_add(tokens),
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}})
}

impl Encode for Responses {
    fn content_type(&self, stream: bool) -> &'static str {
        if stream { "text/event-stream" } else { "application/json" }
    }

    fn token(&mut self, out: &mut BytesMut, index: u32, text: &str) {
        if index == 0 {
            let open = self.response("in_progress", json!([]), Value::Null);
            self.event(out, "response.created", json!({"response": open}));
            self.event(out, "response.in_progress", json!({"response": open}));
            let item = self.item("in_progress", json!([]));
            self.event(out, "response.output_item.added", json!({"item": item, "output_index": 0}));
            let fields = json!({"content_index": 0, "item_id": self.message(), "output_index": 0, "part": part("")});
            self.event(out, "response.content_part.added", fields);
        }
        self.text.push_str(text);
        let fields = json!({"content_index": 0, "delta": text, "item_id": self.message(), "logprobs": [],
            "output_index": 0});
        self.event(out, "response.output_text.delta", fields);
    }

    fn finish(&mut self, out: &mut BytesMut, stats: &Stats) {
        let (text, id) = (std::mem::take(&mut self.text), self.message());
        let fields = json!({"content_index": 0, "item_id": id, "logprobs": [], "output_index": 0, "text": text});
        self.event(out, "response.output_text.done", fields);
        let fields = json!({"content_index": 0, "item_id": id, "output_index": 0, "part": part(&text)});
        self.event(out, "response.content_part.done", fields);
        let item = self.item("completed", json!([part(&text)]));
        self.event(out, "response.output_item.done", json!({"item": item, "output_index": 0}));
        let whole = self.response("completed", json!([item]), usage(stats));
        self.event(out, "response.completed", json!({"response": whole}));
    }

    fn whole(&mut self, out: &mut BytesMut, text: &str, stats: &Stats) {
        let item = self.item("completed", json!([part(text)]));
        let _ = writeln!(out, "{}", self.response("completed", json!([item]), usage(stats)));
    }
}
