//! Ollama's errors, as codes that callers and the session act on.
//!
//! Ollama has statuses but no codes, and says 500 of much that is the caller's doing, so its texts
//! are read too (`server/routes.go`, `server/sched.go`, `llm/server.go`). Messages pass on what
//! Ollama said, cut to a length; never its `signin_url`.

use causeway_wire::Code;
use serde::Deserialize;
use serde_json::Value;

/// Longest message passed on, bytes: Ollama's own have under 300, a proxy's page may have thousands.
pub const MAX_MESSAGE: usize = 1_024;

/// What the texts say, whatever the status; the first that fits counts. Lower case.
const TEXTS: [(&str, Code); 14] = [
    ("exceeds the context length", Code::ContextExceeded),
    ("exceeds maximum context length", Code::ContextExceeded),
    ("exceed_context_size", Code::ContextExceeded),
    ("maximum pending requests exceeded", Code::Saturated),
    ("invalid format", Code::InvalidRequest),
    ("invalid json schema", Code::InvalidRequest),
    ("does not support", Code::InvalidRequest),
    ("must be of type", Code::InvalidRequest),
    ("must be of an array of strings", Code::InvalidRequest),
    ("request canceled", Code::Cancelled),
    ("unexpectedly stopped", Code::LocalUnavailable),
    ("no longer running", Code::LocalUnavailable),
    ("requires more system memory", Code::LocalUnavailable),
    ("timed out waiting for", Code::LocalUnavailable),
];

/// Code and message of an answer that is not 200. `body`: as far as it came.
#[must_use]
pub fn fault(status: u16, body: &[u8]) -> (Code, String) {
    let said = said(body);
    let code = of_text(&said).unwrap_or_else(|| of_status(status, &said));
    let message = if said.is_empty() { default_message(status) } else { said };
    (code, message)
}

/// Code and message of an error line within an answer: `{"error":"…"}` at status 200.
pub(super) fn in_stream(error: &Value) -> (Code, String) {
    let said = message_of(error);
    let code = of_text(&said).unwrap_or(Code::UpstreamIncomplete);
    let message =
        if said.is_empty() { "Ollama broke off its answer without a reason; try again".to_owned() } else { said };
    (code, message)
}

fn of_text(said: &str) -> Option<Code> {
    let said = said.to_ascii_lowercase();
    TEXTS.into_iter().find(|(text, _)| said.contains(text)).map(|(_, code)| code)
}

fn of_status(status: u16, said: &str) -> Code {
    match status {
        // Its word for a name that it cannot find or read: ours always has one.
        400 if said == "model is required" => Code::ModelNotFound,
        400 | 422 => Code::InvalidRequest,
        // Its account at ollama.com is asked for: the machine's owner must act, no caller can.
        401 | 402 => Code::LocalUnavailable,
        // With a text: its cloud is switched off, and the model is there. Without: our Host header.
        403 if !said.is_empty() => Code::RouteConflict,
        403 => Code::LocalUnavailable,
        404 if said.contains("model") => Code::ModelNotFound,
        // A version without this route.
        404 | 405 => Code::LocalUnavailable,
        413 => Code::TooLarge,
        429 => Code::RateLimited,
        499 => Code::Cancelled,
        408 | 500..=599 => Code::LocalUnavailable,
        _ => Code::Internal,
    }
}

fn default_message(status: u16) -> String {
    match status {
        403 => "Ollama refuses this machine's requests (403); check OLLAMA_HOST and OLLAMA_ORIGINS".to_owned(),
        _ => format!("Ollama answered with status {status} and no reason"),
    }
}

/// The error's text: Ollama's form, OpenAI's, or the body as it is.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Value,
    }
    match serde_json::from_slice(body) {
        Ok(Body { error }) => message_of(&error),
        // A proxy's page is nothing to read for a caller.
        Err(_) if body.trim_ascii_start().starts_with(b"<") => String::new(),
        Err(_) => cut(String::from_utf8_lossy(body).trim()),
    }
}

fn message_of(error: &Value) -> String {
    match error {
        Value::String(text) => cut(text.trim()),
        Value::Object(members) => cut(members.get("message").and_then(Value::as_str).unwrap_or_default().trim()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => String::new(),
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
