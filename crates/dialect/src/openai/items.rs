//! The input of a response: instructions and items become messages.
//!
//! What the model did in one turn comes as several items (thought, text, calls) and becomes one
//! message of the model's again. A function's result gets its function's name from its call.

use std::collections::HashMap;

use super::shared::{self, Pictures};
use super::{MAX_MESSAGES, MAX_PARTS};
use crate::chat::{BadRequest, Message, Part, Role, ToolCall, ToolResult};
use crate::fields::{ANY, Dropped, Fields, Item, Kind};

/// Reads instructions and input; there must be something of either.
pub(super) fn read(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Vec<Message>, BadRequest> {
    let instructions = top.some_text("instructions")?.unwrap_or_default();
    let mut reader =
        Reader { pictures: Pictures::new(), dropped, names: HashMap::new(), messages: Vec::new(), thought: Vec::new() };
    reader.say(Role::System, shared::text_parts(instructions));
    match top.take("input") {
        None => {}
        Some(input) if input.kind() == Kind::Text => {
            reader.say(Role::User, shared::text_parts(input.text()?.into_owned()));
        }
        Some(input) => {
            let what = format!("a string or a list of at most {MAX_MESSAGES} items");
            let items = input.items(MAX_MESSAGES).map_err(|_| top.expected("input", &what))?;
            for item in items {
                reader.item(item)?;
            }
        }
    }
    let thought = std::mem::take(&mut reader.thought);
    reader.say(Role::Assistant, thought);
    if reader.messages.is_empty() {
        return Err(top.expected("input", "a string or a list of items that says something"));
    }
    Ok(reader.messages)
}

struct Reader<'a> {
    pictures: Pictures,
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

    fn item(&mut self, item: Item<'_>) -> Result<(), BadRequest> {
        let mut item = item.fields(ANY)?;
        let kind = match item.some_text("type")? {
            Some(kind) => kind,
            None if item.get("role").is_some() => "message".to_owned(),
            None => String::new(),
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
                return Err(item.expected("type", known));
            }
        }
        item.drop_rest_as("input.", self.dropped);
        Ok(())
    }

    fn message(&mut self, item: &mut Fields<'_>) -> Result<(), BadRequest> {
        let word = item.text("role")?.unwrap_or_default();
        let what = "system, developer, user, assistant, or a short word that the model's template knows";
        let role = Role::of(&word).ok_or_else(|| item.expected("role", what))?;
        let mut parts = Vec::new();
        if role == Role::Assistant {
            parts.append(&mut self.thought);
        }
        parts.extend(self.content(item, "content")?);
        if role == Role::Tool {
            let result = ToolResult { id: None, name: None, parts, failed: false };
            parts = vec![Part::ToolResult(result)];
        }
        self.say(role, parts);
        Ok(())
    }

    fn call(&mut self, item: &mut Fields<'_>) -> Result<(), BadRequest> {
        let id = item.some_text("call_id")?.unwrap_or_default();
        let name = shared::name(item, "name")?;
        let arguments = shared::arguments(item)?;
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
        let id = item.some_text("call_id")?;
        let name = id.as_ref().and_then(|id| self.names.get(id).cloned());
        let parts = self.content(item, "output")?;
        self.say(Role::Tool, vec![Part::ToolResult(ToolResult { id, name, parts, failed: false })]);
        Ok(())
    }

    /// Thought, where it can be read: in `content`, else in `summary`. Only where neither has a word
    /// it is `encrypted_content`, which is plain text in answers of Ollama's and of ours but a
    /// cipher in OpenAI's own.
    fn reasoning(&mut self, item: &mut Fields<'_>) -> Result<(), BadRequest> {
        let sealed = item.some_text("encrypted_content")?.unwrap_or_default();
        let summary = thought(item, "summary")?;
        let content = thought(item, "content")?;
        let text = [content, summary, sealed].into_iter().find(|text| !text.is_empty());
        self.thought.extend(text.map(|text| Part::Thinking { text, signature: None }));
        Ok(())
    }

    fn content(&mut self, item: &mut Fields<'_>, key: &str) -> Result<Vec<Part>, BadRequest> {
        match item.take(key) {
            None => Ok(Vec::new()),
            Some(content) => shared::content(&content, |part| self.part(part)),
        }
    }

    fn part(&mut self, part: Item<'_>) -> Result<Option<Part>, BadRequest> {
        let mut part = part.fields(ANY)?;
        let key = match part.text("type")?.as_deref() {
            Some("input_text" | "output_text") => "text",
            Some("refusal") => "refusal",
            Some("input_image") => return self.picture(&mut part).map(Some),
            Some("input_file") => return self.pictures.read_file(&mut part).map(Some),
            _ => return Err(part.expected("type", "input_text, output_text, refusal, input_image or input_file")),
        };
        let text = part.text(key)?.ok_or_else(|| part.expected(key, "a string"))?;
        Ok((!text.is_empty()).then(|| Part::Text(text.into_owned())))
    }

    fn picture(&mut self, part: &mut Fields<'_>) -> Result<Part, BadRequest> {
        match part.text("image_url")? {
            Some(url) => self.pictures.read_url(&url, &part.at("image_url")),
            None => Err(part.expected("image_url", "a string; no files are kept that a file_id could name")),
        }
    }
}

/// The texts of a list of parts, joined by blank lines.
fn thought(item: &mut Fields<'_>, key: &str) -> Result<String, BadRequest> {
    let list = shared::list(item, key, MAX_PARTS)?;
    let text = |part: Item<'_>| part.fields(ANY).ok()?.some_text("text").ok().flatten();
    Ok(list.filter_map(text).collect::<Vec<_>>().join("\n\n"))
}
