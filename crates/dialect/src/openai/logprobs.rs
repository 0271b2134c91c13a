//! Probabilities of tokens: from Ollama's list to the two shapes of OpenAI's.
//!
//! Ollama says `[{token, logprob, bytes?, top_logprobs?}]`. Chat and responses want the same with
//! all four members; completions want four lists side by side. What is no such list is left out.

use serde_json::{Map, Value, json};

use super::write;

/// Entries of one event, as a list whatever it is wrapped in.
pub(super) fn entries(logprobs: Option<Value>) -> Vec<Value> {
    match logprobs {
        Some(Value::Array(list)) => list.into_iter().filter(Value::is_object).collect(),
        Some(Value::Object(one)) => vec![Value::Object(one)],
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => Vec::new(),
    }
}

/// Entries with all members that OpenAI's clients read.
pub(super) fn complete(entries: Vec<Value>) -> Vec<Value> {
    entries
        .into_iter()
        .map(|mut entry| {
            if let Some(members) = entry.as_object_mut() {
                fill(members);
                members.entry("top_logprobs").or_insert_with(|| json!([]));
                if let Some(Value::Array(others)) = members.get_mut("top_logprobs") {
                    others.iter_mut().filter_map(Value::as_object_mut).for_each(fill);
                }
            }
            entry
        })
        .collect()
}

/// A token's bytes: clients of responses want a list. Ollama leaves them out only where there are none.
fn fill(members: &mut Map<String, Value>) {
    if !members.get("bytes").is_some_and(Value::is_array) {
        let token = members.get("token").and_then(Value::as_str).unwrap_or_default();
        let bytes = Value::from(token.as_bytes());
        members.insert("bytes".to_owned(), bytes);
    }
}

/// Appends `,"logprobs":{"content":[…]}`, the shape of chat; nothing without entries.
pub(super) fn chat(entries: Vec<Value>, out: &mut Vec<u8>) {
    if !entries.is_empty() {
        out.extend_from_slice(b",\"logprobs\":{\"content\":");
        write::json(&complete(entries), out);
        out.push(b'}');
    }
}

/// Appends `,"logprobs":{tokens, token_logprobs, top_logprobs, text_offset}`, the shape of
/// completions; nothing without entries. `offset`: characters of the answer before these tokens, and
/// after the call before the next ones.
pub(super) fn completion(entries: &[Value], offset: &mut usize, out: &mut Vec<u8>) {
    if entries.is_empty() {
        return;
    }
    let (mut tokens, mut own, mut others, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let token = entry.get("token").and_then(Value::as_str).unwrap_or_default();
        tokens.push(token);
        own.push(entry.get("logprob").unwrap_or(&Value::Null));
        others.push(alternatives(entry));
        offsets.push(*offset);
        *offset += token.chars().count();
    }
    out.extend_from_slice(b",\"logprobs\":{\"tokens\":");
    write::json(&tokens, out);
    write::member("token_logprobs", &own, out);
    write::member("top_logprobs", &others, out);
    write::member("text_offset", &offsets, out);
    out.push(b'}');
}

/// `{token: logprob}` of the likeliest, or null where none were asked for.
fn alternatives(entry: &Value) -> Value {
    let Some(list) = entry.get("top_logprobs").and_then(Value::as_array) else {
        return Value::Null;
    };
    let pair = |one: &Value| Some((one.get("token")?.as_str()?.to_owned(), one.get("logprob")?.clone()));
    Value::Object(list.iter().filter_map(pair).collect())
}
