//! The messages of a chat.
//!
//! Each message stays one, with its parts in order. A function's result gets its function's name
//! from the call that it answers, as far as the call is there.

use std::collections::HashMap;

use serde_json::Value;

use super::fields::{Budget, Dropped, Fields, Place};
use super::{MAX_CALLS, MAX_MESSAGES, MAX_PARTS, shared};
use crate::chat::{BadRequest, Message, Part, Role, ToolCall, ToolResult};

/// Reads `messages`; there must be one.
pub(super) fn read(
    top: &mut Fields<'_>,
    budget: &mut Budget,
    dropped: &mut Dropped,
) -> Result<Vec<Message>, BadRequest> {
    let at = Place::Key(top.at(), "messages");
    let list = top.list("messages", MAX_MESSAGES)?.unwrap_or_default();
    if list.is_empty() {
        return Err(at.wants("a list with at least one message"));
    }
    let mut reader = Reader { budget, dropped, names: HashMap::new() };
    list.into_iter().enumerate().map(|(index, message)| reader.message(message, &Place::Index(&at, index))).collect()
}

struct Reader<'a> {
    budget: &'a mut Budget,
    dropped: &'a mut Dropped,
    /// Functions of the calls so far, by the calls' ids.
    names: HashMap<String, String>,
}

impl Reader<'_> {
    fn message(&mut self, message: Value, at: &Place<'_>) -> Result<Message, BadRequest> {
        let mut fields = Fields::of(message, at)?;
        let role = role(&mut fields)?;
        let parts = match role {
            Role::System | Role::User => self.required_content(&mut fields)?,
            Role::Assistant => self.answer(&mut fields)?,
            Role::Tool => vec![self.result(&mut fields)?],
        };
        self.dropped.rest("messages.", fields);
        Ok(Message { role, parts })
    }

    fn required_content(&mut self, fields: &mut Fields<'_>) -> Result<Vec<Part>, BadRequest> {
        match self.content(fields)? {
            Some(parts) => Ok(parts),
            None => Err(fields.wants("content", "a string or a list of parts")),
        }
    }

    /// What the model said before: thought, text, calls, in this order.
    fn answer(&mut self, fields: &mut Fields<'_>) -> Result<Vec<Part>, BadRequest> {
        let mut parts = Vec::new();
        let foreign = fields.text("reasoning_content")?;
        if let Some(text) = fields.text("reasoning")?.or(foreign)
            && !text.is_empty()
        {
            parts.push(Part::Thinking { text, signature: None });
        }
        let refusal = fields.text("refusal")?;
        let calls = fields.has("tool_calls");
        match self.content(fields)? {
            Some(content) => parts.extend(content),
            None if calls || refusal.is_some() => {}
            None => return Err(fields.wants("content", "a string or a list of parts, where there are no tool_calls")),
        }
        parts.extend(refusal.map(shared::text_parts).unwrap_or_default());
        // Notes of OpenAI's own on its text, handed back by clients that repeat a whole message.
        fields.take("annotations");
        let at = Place::Key(fields.at(), "tool_calls");
        for (index, call) in fields.list("tool_calls", MAX_CALLS)?.unwrap_or_default().into_iter().enumerate() {
            parts.push(Part::ToolCall(self.call(call, &Place::Index(&at, index))?));
        }
        Ok(parts)
    }

    fn call(&mut self, call: Value, at: &Place<'_>) -> Result<ToolCall, BadRequest> {
        let mut call = Fields::of(call, at)?;
        let id = call.text("id")?.unwrap_or_default();
        shared::function_type(&mut call)?;
        let at = Place::Key(at, "function");
        let function = call.object("function")?.ok_or_else(|| at.wants("an object"))?;
        let mut function = Fields::new(function, &at);
        let arguments = shared::arguments(&mut function, self.budget)?;
        let name = function.name("name")?;
        if !id.is_empty() {
            self.names.insert(id.clone(), name.clone());
        }
        Ok(ToolCall { id, name, arguments })
    }

    fn result(&mut self, fields: &mut Fields<'_>) -> Result<Part, BadRequest> {
        let id = fields.text("tool_call_id")?.filter(|id| !id.is_empty());
        let said = fields.text("name")?.filter(|name| !name.is_empty());
        let name = said.or_else(|| id.as_ref().and_then(|id| self.names.get(id).cloned()));
        let parts = self.required_content(fields)?;
        Ok(Part::ToolResult(ToolResult { id, name, parts, failed: false }))
    }

    fn content(&mut self, fields: &mut Fields<'_>) -> Result<Option<Vec<Part>>, BadRequest> {
        let at = Place::Key(fields.at(), "content");
        match fields.take("content") {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(shared::text_parts(text))),
            Some(Value::Array(list)) if list.len() <= MAX_PARTS => {
                let mut parts = Vec::with_capacity(list.len());
                for (index, part) in list.into_iter().enumerate() {
                    parts.extend(self.part(part, &Place::Index(&at, index))?);
                }
                Ok(Some(parts))
            }
            Some(_) => Err(at.wants(&format!("a string or a list of at most {MAX_PARTS} parts"))),
        }
    }

    fn part(&mut self, part: Value, at: &Place<'_>) -> Result<Option<Part>, BadRequest> {
        let mut part = Fields::of(part, at)?;
        let kind = part.text("type")?.unwrap_or_default();
        let read = match kind.as_str() {
            "text" | "refusal" => {
                let text = part.text(&kind)?.ok_or_else(|| part.wants(&kind, "a string"))?;
                (!text.is_empty()).then_some(Part::Text(text))
            }
            "image_url" => Some(self.picture(&mut part)?),
            _ => return Err(part.wants("type", "text or image_url; audio and files are not taken")),
        };
        self.dropped.rest("messages.content.", part);
        Ok(read)
    }

    /// `{"image_url":{"url":…}}`, or the address alone, as Ollama takes it. `detail` is a hint about
    /// OpenAI's own price.
    fn picture(&mut self, part: &mut Fields<'_>) -> Result<Part, BadRequest> {
        let at = Place::Key(part.at(), "image_url");
        let url = match part.take("image_url") {
            Some(Value::String(url)) => url,
            Some(Value::Object(image)) => {
                let mut image = Fields::new(image, &at);
                image.text("url")?.ok_or_else(|| image.wants("url", "a string"))?
            }
            _ => return Err(at.wants("an object with a url")),
        };
        shared::picture(&url, &at, self.budget)
    }
}

fn role(fields: &mut Fields<'_>) -> Result<Role, BadRequest> {
    match fields.text("role")?.unwrap_or_default().to_ascii_lowercase().as_str() {
        "system" | "developer" => Ok(Role::System),
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "tool" => Ok(Role::Tool),
        _ => Err(fields.wants("role", "system, developer, user, assistant or tool")),
    }
}
