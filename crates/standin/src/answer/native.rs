//! Ollama's own dialect: NDJSON of `/api/chat` and `/api/generate`.
//!
//! Invariants: zero durations and counts are left out, as Go's `omitempty` does; the order of members
//! is the recorded one, `thinking` and `tool_calls` behind `content`, `thinking` behind `response`.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;

use super::{Encode, Said, Stats, rfc3339, string};
use crate::script::{Call, Piece};

/// `/api/chat`.
pub(crate) struct Chat {
    pub(crate) model: String,
}

/// `/api/generate`.
pub(crate) struct Generate {
    pub(crate) model: String,
    /// `raw` answers carry no `context`.
    pub(crate) raw: bool,
}

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json; charset=utf-8";

/// The token ids of the final line. Ollama gives the whole conversation's; three stand for them.
const CONTEXT: &str = "[1,4093,198]";

fn head(out: &mut BytesMut, model: &str) {
    let _ = write!(out, "{{\"model\":{},\"created_at\":\"{}\",", string(model), rfc3339(SystemTime::now()));
}

fn tail(out: &mut BytesMut, stats: &Stats, context: bool) {
    let reason = if stats.limited { "length" } else { "stop" };
    let _ = write!(out, ",\"done\":true,\"done_reason\":\"{reason}\"");
    if context {
        let _ = write!(out, ",\"context\":{CONTEXT}");
    }
    nanos(out, "total_duration", stats.total);
    nanos(out, "load_duration", stats.load);
    let _ = write!(out, ",\"prompt_eval_count\":{}", stats.prompt_tokens);
    nanos(out, "prompt_eval_duration", stats.prefill);
    let _ = write!(out, ",\"eval_count\":{}", stats.tokens);
    nanos(out, "eval_duration", stats.eval);
    out.extend_from_slice(b"}");
}

fn nanos(out: &mut BytesMut, name: &str, duration: Duration) {
    if !duration.is_zero() {
        let _ = write!(out, ",\"{name}\":{}", duration.as_nanos());
    }
}

/// The answer to a request without a prompt: the model was loaded or unloaded.
pub(crate) fn quiet(model: &str, chat: bool, reason: &str) -> String {
    let empty = if chat { r#""message":{"role":"assistant","content":""}"# } else { r#""response":"""# };
    let created = rfc3339(SystemTime::now());
    format!(
        "{{\"model\":{},\"created_at\":\"{created}\",{empty},\"done\":true,\"done_reason\":\"{reason}\"}}",
        string(model)
    )
}

fn content_type(stream: bool) -> &'static str {
    if stream { NDJSON } else { JSON }
}

/// `message` of a chat.
fn message(out: &mut BytesMut, text: &str, thinking: &str, calls: &[Call]) {
    let _ = write!(out, "\"message\":{{\"role\":\"assistant\",\"content\":{}", string(text));
    if !thinking.is_empty() {
        let _ = write!(out, ",\"thinking\":{}", string(thinking));
    }
    for (at, call) in calls.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b",\"tool_calls\":[" } else { b"," });
        let Call { id, index, name, arguments } = call;
        let (id, name) = (string(id), string(name));
        // Outside of strings these three do not occur in JSON.
        let arguments = arguments.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        let _ =
            write!(out, "{{\"id\":{id},\"function\":{{\"index\":{index},\"name\":{name},\"arguments\":{arguments}}}}}");
    }
    out.extend_from_slice(if calls.is_empty() { b"}" } else { b"]}" });
}

/// `response` of a generation.
fn response(out: &mut BytesMut, text: &str, thinking: &str) {
    let _ = write!(out, "\"response\":{}", string(text));
    if !thinking.is_empty() {
        let _ = write!(out, ",\"thinking\":{}", string(thinking));
    }
}

/// What one piece says: text, thinking, call.
fn parts(piece: &Piece) -> (&str, &str, &[Call]) {
    match piece {
        Piece::Text(text) => (text, "", &[]),
        Piece::Thinking(text) => ("", text, &[]),
        Piece::Call(call) => ("", "", std::slice::from_ref(call)),
    }
}

impl Encode for Chat {
    fn content_type(&self, stream: bool) -> &'static str {
        content_type(stream)
    }

    fn token(&mut self, out: &mut BytesMut, _: u32, text: &str) {
        head(out, &self.model);
        message(out, text, "", &[]);
        out.extend_from_slice(b",\"done\":false}\n");
    }

    fn finish(&mut self, out: &mut BytesMut, stats: &Stats) {
        self.whole(out, "", stats);
        out.extend_from_slice(b"\n");
    }

    fn whole(&mut self, out: &mut BytesMut, text: &str, stats: &Stats) {
        head(out, &self.model);
        message(out, text, "", &[]);
        tail(out, stats, false);
    }

    fn piece(&mut self, out: &mut BytesMut, _: u32, piece: &Piece) {
        let (text, thinking, calls) = parts(piece);
        head(out, &self.model);
        message(out, text, thinking, calls);
        out.extend_from_slice(b",\"done\":false}\n");
    }

    fn whole_said(&mut self, out: &mut BytesMut, said: &Said, stats: &Stats) {
        head(out, &self.model);
        message(out, &said.text, &said.thinking, &said.calls);
        tail(out, stats, false);
    }
}

impl Encode for Generate {
    fn content_type(&self, stream: bool) -> &'static str {
        content_type(stream)
    }

    fn token(&mut self, out: &mut BytesMut, _: u32, text: &str) {
        head(out, &self.model);
        response(out, text, "");
        out.extend_from_slice(b",\"done\":false}\n");
    }

    fn finish(&mut self, out: &mut BytesMut, stats: &Stats) {
        self.whole(out, "", stats);
        out.extend_from_slice(b"\n");
    }

    fn whole(&mut self, out: &mut BytesMut, text: &str, stats: &Stats) {
        head(out, &self.model);
        response(out, text, "");
        tail(out, stats, !self.raw);
    }

    fn piece(&mut self, out: &mut BytesMut, _: u32, piece: &Piece) {
        let (text, thinking, _) = parts(piece);
        head(out, &self.model);
        response(out, text, thinking);
        out.extend_from_slice(b",\"done\":false}\n");
    }

    fn whole_said(&mut self, out: &mut BytesMut, said: &Said, stats: &Stats) {
        head(out, &self.model);
        response(out, &said.text, &said.thinking);
        tail(out, stats, !self.raw);
    }
}
