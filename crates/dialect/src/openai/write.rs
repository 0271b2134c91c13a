//! What the encoders of all three routes write alike: usage, ids, ends.

use causeway_wire::Code;
use serde_json::{Map, Value};

use crate::encode::{Answer, Stamp};
use crate::error;
use crate::event::{StopReason, Usage};
use crate::fields::free::mended;
use crate::route::Dialect;
use crate::write;
pub(super) use crate::write::{comment, json, member};

/// A comment: no client takes it for a part of the answer.
pub(super) const HEARTBEAT: &[u8] = b": keep-alive\n\n";

/// Ollama's mark of itself; clients compare it between answers at most.
pub(super) const FINGERPRINT: &str = "fp_ollama";

/// JSON without the blanks and line ends between its values, as it must be in a line of a stream, and
/// without halves of characters, on which strict readers choke.
pub(super) fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let kept = |c: &char| {
        if !inside {
            inside = *c == '"';
            return !c.is_ascii_whitespace();
        }
        inside = escaped || *c != '"';
        escaped = !escaped && *c == '\\';
        true
    };
    mended(json).chars().filter(kept).collect()
}

/// Appends what ends a stream of chunks: the chunk of its token counts, if they are wanted (with the
/// beginning that all chunks share), what is known only now, and the marker.
pub(super) fn last(usage_of: Option<(&[u8], &Usage)>, trailer: &Map<String, Value>, out: &mut Vec<u8>) {
    if let Some((head, counts)) = usage_of {
        out.extend_from_slice(head);
        out.extend_from_slice(b"],\"usage\":");
        usage(counts, out);
        out.extend_from_slice(b"}\n\n");
    }
    comment(trailer, out);
    out.extend_from_slice(b"data: [DONE]\n\n");
}

/// Why a chat or completion ended. As with Ollama an answer with calls ends in `tool_calls`, also
/// one that met its limit after them; without a call nobody is sent looking for one. `load` and
/// `unload` are no words of this dialect.
pub(super) fn finish_reason(reason: StopReason, called: bool) -> &'static str {
    match reason {
        StopReason::ContentFilter => "content_filter",
        _ if called => "tool_calls",
        StopReason::Length => "length",
        StopReason::Stop | StopReason::StopSequence | StopReason::ToolCalls | StopReason::Load | StopReason::Unload => {
            "stop"
        }
    }
}

/// Appends the token counts of a chat or completion; unknown ones are 0, as with Ollama.
pub(super) fn usage(usage: &Usage, out: &mut Vec<u8>) {
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    out.extend_from_slice(b"{\"prompt_tokens\":");
    json(&input, out);
    member("completion_tokens", &output, out);
    member("total_tokens", &input.saturating_add(output), out);
    if let Some(cached) = usage.cached {
        out.extend_from_slice(b",\"prompt_tokens_details\":{\"cached_tokens\":");
        json(&cached, out);
        out.push(b'}');
    }
    out.push(b'}');
}

/// A call's arguments as this dialect has them: JSON within a text.
pub(super) fn arguments(arguments: &Map<String, Value>) -> String {
    let mut text = Vec::new();
    json(arguments, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// A call's id; where the backend gave none, one that no other call of this answer has.
pub(super) fn call_id(given: &str, request: &str, place: usize) -> String {
    if given.is_empty() { format!("call_{request}_{place}") } else { given.to_owned() }
}

/// Appends the members that every object of a chat or completion begins with, and its opening brace.
pub(super) fn stamp(prefix: &str, object: &str, stamp: &Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    json(&format!("{prefix}-{}", stamp.id), out);
    member("object", object, out);
    member("created", &stamp.created, out);
    member("model", &stamp.model, out);
    member("system_fingerprint", FINGERPRINT, out);
}

/// Ends a single chat or completion after its choice's last member: token counts and trailer.
pub(super) fn end(answer: &Answer, trailer: Map<String, Value>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"}],\"usage\":");
    usage(&answer.finish.as_ref().map(|finish| finish.usage).unwrap_or_default(), out);
    write::trailer(&trailer, out);
    out.push(b'}');
}

/// The event that ends a broken stream.
pub(super) fn failure(code: Code, message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&error::body(Dialect::OpenAi, code, message));
    out.extend_from_slice(b"\n\n");
}
