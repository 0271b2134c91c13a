//! The input of a response: instructions and items become messages.
//!
//! What the model did in one turn comes as several items (thought, text, calls) and becomes one
//! message of the model's again. A function's result gets its function's name from its call.

use std::collections::HashMap;

use serde_json::Value;

use super::fields::{Budget, Dropped, Fields, Place};
use super::{MAX_MESSAGES, MAX_PARTS, shared};
use crate::chat::{BadRequest, Message, Part, Role, ToolCall, ToolResult};

const INPUT: Place<'static> = Place::Key(&Place::Top, "input");

/// Reads instructions and input; there must be something of either.
pub(super) fn read(
    instructions: Option<String>,
    input: Value,
    budget: &mut Budget,
    dropped: &mut Dropped,
) -> Result<Vec<Message>, BadRequest> {
    let mut reader = Reader { budget, dropped, names: HashMap::new(), messages: Vec::new(), thought: Vec::new() };
    reader.say(Role::System, shared::text_parts(instructions.unwrap_or_default()));
    match input {
        Value::Null => {}
        Value::String(text) => reader.say(Role::User, shared::text_parts(text)),
        Value::Array(items) if items.len() <= MAX_MESSAGES => {
            for (index, item) in items.into_iter().enumerate() {
                reader.item(item, &Place::Index(&INPUT, index))?;
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(INPUT.wants(&format!("a string or a list of at most {MAX_MESSAGES} items")));
        }
    }
    let thought = std::mem::take(&mut reader.thought);
    reader.say(Role::Assistant, thought);
    if reader.messages.is_empty() {
        return Err(INPUT.wants("a string or a list of items that says something"));
    }
    Ok(reader.messages)
}

struct Reader<'a> {
    budget: &'a mut Budget,
    dropped: &'a mut Dropped,
    /// Functions of the calls so far, by the calls' ids.
    names: HashMap<String, String>,
    messages: Vec<Message>,
    /// Thought that waits for what was said or called after it.
    thought: Vec<Part>,
}

impl Reader<'_> {
    /// Adds a message, unless it says nothing.
    fn say(&mut self, role: Role, parts: Vec<Part>) {
        if !parts.is_empty() {
            self.messages.push(Message { role, parts });
        }
    }

    fn item(&mut self, item: Value, at: &Place<'_>) -> Result<(), BadRequest> {
        let mut item = Fields::of(item, at)?;
        let kind = match item.text("type")? {
            Some(kind) if !kind.is_empty() => kind,
            _ if item.has("role") => "message".to_owned(),
            _ => String::new(),
        };
        // Ids and states of items that were ours or OpenAI's.
        for name in ["id", "status", "phase"] {
            item.take(name);
        }
        match kind.as_str() {
            "message" => self.message(&mut item)?,
            "function_call" => self.call(&mut item)?,
            "function_call_output" => self.result(&mut item)?,
            "reasoning" => self.reasoning(&mut item)?,
            _ => {
                let known =
                    "message, function_call, function_call_output or reasoning; nothing else is kept or run here";
                return Err(item.wants("type", known));
            }
        }
        self.dropped.rest("input.", item);
        Ok(())
    }

    fn message(&mut self, item: &mut Fields<'_>) -> Result<(), BadRequest> {
        let role = match item.text("role")?.unwrap_or_default().to_ascii_lowercase().as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err(item.wants("role", "system, developer, user or assistant")),
        };
        let mut parts = Vec::new();
        if role == Role::Assistant {
            parts.append(&mut self.thought);
        }
        parts.extend(self.content(item, "content")?);
        self.say(role, parts);
        Ok(())
    }

    fn call(&mut self, item: &mut Fields<'_>) -> Result<(), BadRequest> {
        let id = item.text("call_id")?.unwrap_or_default();
        let name = item.name("name")?;
        let arguments = shared::arguments(item, self.budget)?;
        if !id.is_empty() {
            self.names.insert(id.clone(), name.clone());
        }
        let mut parts = std::mem::take(&mut self.thought);
        parts.push(Part::ToolCall(ToolCall { id, name, arguments }));
        match self.messages.last_mut() {
            Some(last) if last.role == Role::Assistant => last.parts.append(&mut parts),
            _ => self.say(Role::Assistant, parts),
        }
        Ok(())
    }

    fn result(&mut self, item: &mut Fields<'_>) -> Result<(), BadRequest> {
        let id = item.text("call_id")?.filter(|id| !id.is_empty());
        let name = id.as_ref().and_then(|id| self.names.get(id).cloned());
        let parts = self.content(item, "output")?;
        self.say(Role::Tool, vec![Part::ToolResult(ToolResult { id, name, parts, failed: false })]);
        Ok(())
    }

    /// Thought, where it can be read: in `content`, else in `summary`. Only where neither has a word
    /// it is `encrypted_content`, which is plain text in answers of Ollama's and of ours but a
    /// cipher in OpenAI's own.
    fn reasoning(&mut self, item: &mut Fields<'_>) -> Result<(), BadRequest> {
        let sealed = item.text("encrypted_content")?.unwrap_or_default();
        let summary = thought(item, "summary")?;
        let content = thought(item, "content")?;
        let text = [content, summary, sealed].into_iter().find(|text| !text.is_empty());
        self.thought.extend(text.map(|text| Part::Thinking { text, signature: None }));
        Ok(())
    }

    fn content(&mut self, item: &mut Fields<'_>, key: &str) -> Result<Vec<Part>, BadRequest> {
        let at = Place::Key(item.at(), key);
        match item.take(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(shared::text_parts(text)),
            Some(Value::Array(list)) if list.len() <= MAX_PARTS => {
                let mut parts = Vec::with_capacity(list.len());
                for (index, part) in list.into_iter().enumerate() {
                    parts.extend(self.part(part, &Place::Index(&at, index))?);
                }
                Ok(parts)
            }
            Some(_) => Err(at.wants(&format!("a string or a list of at most {MAX_PARTS} parts"))),
        }
    }

    fn part(&mut self, part: Value, at: &Place<'_>) -> Result<Option<Part>, BadRequest> {
        let mut part = Fields::of(part, at)?;
        let key = match part.text("type")?.as_deref() {
            Some("input_text" | "output_text") => "text",
            Some("refusal") => "refusal",
            Some("input_image") => return self.picture(&mut part).map(Some),
            _ => {
                return Err(part.wants("type", "input_text, output_text, refusal or input_image; files are not taken"));
            }
        };
        let text = part.text(key)?.ok_or_else(|| part.wants(key, "a string"))?;
        Ok((!text.is_empty()).then_some(Part::Text(text)))
    }

    fn picture(&mut self, part: &mut Fields<'_>) -> Result<Part, BadRequest> {
        match part.text("image_url")? {
            Some(url) => shared::picture(&url, &Place::Key(part.at(), "image_url"), self.budget),
            None => Err(part.wants("image_url", "a string; no files are kept that a file_id could name")),
        }
    }
}

/// The texts of a list of parts, joined by blank lines.
fn thought(item: &mut Fields<'_>, key: &str) -> Result<String, BadRequest> {
    let list = item.list(key, MAX_PARTS)?.unwrap_or_default();
    let texts: Vec<&str> = list.iter().filter_map(|part| part.get("text")?.as_str()).collect();
    Ok(texts.join("\n\n"))
}
