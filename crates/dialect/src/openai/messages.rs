//! The messages of a chat.
//!
//! As with Ollama each part of a message's content is a message of its own, the calls with the last;
//! but a function's result stays one, which alone keeps its id. It gets its function's name from the
//! call that it answers, as far as the call is there.

use std::collections::HashMap;

use super::shared::{self, Pictures};
use super::{MAX_CALLS, MAX_MESSAGES};
use crate::chat::{BadRequest, Message, Part, Role, ToolCall, ToolResult};
use crate::fields::{ANY, Dropped, Fields, Item, Kind};

/// Reads `messages`; there must be one.
pub(super) fn read(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Vec<Message>, BadRequest> {
    let list = shared::list(top, "messages", MAX_MESSAGES)?;
    if list.len() == 0 {
        return Err(top.expected("messages", "a list with at least one message"));
    }
    let mut reader = Reader { pictures: Pictures::new(), dropped, names: HashMap::new(), messages: Vec::new() };
    for message in list {
        reader.message(message)?;
    }
    Ok(reader.messages)
}

struct Reader<'a> {
    pictures: Pictures,
    dropped: &'a mut Dropped,
    /// Functions of the calls so far, by the calls' ids.
    names: HashMap<String, String>,
    messages: Vec<Message>,
}

impl Reader<'_> {
    fn message(&mut self, message: Item<'_>) -> Result<(), BadRequest> {
        let mut fields = message.fields(ANY)?;
        let role = role(&mut fields)?;
        let last = match role {
            Role::System | Role::User | Role::Other(_) => {
                let mut content = self.required_content(&mut fields)?;
                let last = content.pop();
                self.each(role, content);
                last.into_iter().collect()
            }
            Role::Assistant => self.answer(&mut fields)?,
            Role::Tool => vec![self.result(&mut fields)?],
        };
        self.messages.push(Message { role, parts: last });
        fields.drop_rest_as("messages.", self.dropped);
        Ok(())
    }

    /// A message for each part.
    fn each(&mut self, role: Role, parts: Vec<Part>) {
        self.messages.extend(parts.into_iter().map(|part| Message { role, parts: vec![part] }));
    }

    fn required_content(&mut self, fields: &mut Fields<'_>) -> Result<Vec<Part>, BadRequest> {
        match self.content(fields)? {
            Some(parts) => Ok(parts),
            None => Err(fields.expected("content", "a string or a list of parts")),
        }
    }

    /// What the model said before. Of its last message: thought, text, calls, in this order.
    fn answer(&mut self, fields: &mut Fields<'_>) -> Result<Vec<Part>, BadRequest> {
        let foreign = fields.text("reasoning_content")?;
        let thought = fields.text("reasoning")?.or(foreign).filter(|text| !text.is_empty());
        let refusal = fields.text("refusal")?;
        let calls = fields.get("tool_calls").is_some();
        let mut content = match self.content(fields)? {
            Some(content) => content,
            None if calls || refusal.is_some() => Vec::new(),
            None => {
                return Err(fields.expected("content", "a string or a list of parts, where there are no tool_calls"));
            }
        };
        content.extend(refusal.map(|text| shared::text_parts(text.into_owned())).unwrap_or_default());
        let last = content.pop();
        self.each(Role::Assistant, content);
        let thought = thought.map(|text| Part::Thinking { text: text.into_owned(), signature: None });
        let mut parts: Vec<Part> = thought.into_iter().chain(last).collect();
        // Notes of OpenAI's own on its text, handed back by clients that repeat a whole message.
        fields.take("annotations");
        for call in shared::list(fields, "tool_calls", MAX_CALLS)? {
            parts.push(Part::ToolCall(self.call(call)?));
        }
        Ok(parts)
    }

    fn call(&mut self, call: Item<'_>) -> Result<ToolCall, BadRequest> {
        let mut call = call.fields(ANY)?;
        let id = call.some_text("id")?.unwrap_or_default();
        shared::function_type(&mut call)?;
        let function = call.fields("function", ANY)?;
        let mut function = function.ok_or_else(|| call.expected("function", "an object"))?;
        let arguments = shared::arguments(&mut function)?;
        let name = shared::name(&mut function, "name")?;
        if !id.is_empty() {
            self.names.insert(id.clone(), name.clone());
        }
        Ok(ToolCall { id, name, arguments })
    }

    fn result(&mut self, fields: &mut Fields<'_>) -> Result<Part, BadRequest> {
        let id = fields.some_text("tool_call_id")?;
        let said = fields.some_text("name")?;
        let name = said.or_else(|| id.as_ref().and_then(|id| self.names.get(id).cloned()));
        let mut parts: Vec<Part> = Vec::new();
        for part in self.required_content(fields)? {
            match (parts.last_mut(), part) {
                // The way in which templates join messages of one role.
                (Some(Part::Text(text)), Part::Text(more)) => {
                    text.push_str("\n\n");
                    text.push_str(&more);
                }
                (_, part) => parts.push(part),
            }
        }
        Ok(Part::ToolResult(ToolResult { id, name, parts, failed: false }))
    }

    fn content(&mut self, fields: &mut Fields<'_>) -> Result<Option<Vec<Part>>, BadRequest> {
        let content = fields.take("content");
        content.map(|content| shared::content(&content, |part| self.part(part))).transpose()
    }

    fn part(&mut self, part: Item<'_>) -> Result<Option<Part>, BadRequest> {
        let mut part = part.fields(ANY)?;
        let kind = part.text("type")?.unwrap_or_default();
        let read = match kind.as_ref() {
            "text" | "refusal" => {
                let text = part.text(&kind)?.ok_or_else(|| part.expected(&kind, "a string"))?;
                (!text.is_empty()).then(|| Part::Text(text.into_owned()))
            }
            "image_url" => Some(self.picture(&mut part)?),
            "input_audio" => Some(self.sound(&mut part)?),
            "file" => {
                let file = part.fields("file", ANY)?;
                let mut file = file.ok_or_else(|| part.expected("file", "an object with file_data"))?;
                Some(self.pictures.read_file(&mut file)?)
            }
            _ => return Err(part.expected("type", "text, image_url, input_audio or file")),
        };
        part.drop_rest_as("messages.content.", self.dropped);
        Ok(read)
    }

    /// `{"image_url":{"url":…}}`, or the address alone, as Ollama takes it. `detail` is a hint about
    /// OpenAI's own price.
    fn picture(&mut self, part: &mut Fields<'_>) -> Result<Part, BadRequest> {
        let what = "an object with a url";
        let image = part.take("image_url").ok_or_else(|| part.expected("image_url", what))?;
        let url = match image.kind() {
            Kind::Text => image.text()?,
            Kind::Object => {
                let mut image = image.fields(ANY)?;
                image.text("url")?.ok_or_else(|| image.expected("url", "a string"))?
            }
            Kind::Null | Kind::Flag | Kind::Number | Kind::List => return Err(image.expected(what)),
        };
        self.pictures.read_url(&url, &part.at("image_url"))
    }

    /// `{"input_audio":{"data":…}}`; the sound's own first bytes say its `format`.
    fn sound(&mut self, part: &mut Fields<'_>) -> Result<Part, BadRequest> {
        let sound = part.fields("input_audio", ANY)?;
        let mut sound = sound.ok_or_else(|| part.expected("input_audio", "an object with data"))?;
        let data = sound.text("data")?.ok_or_else(|| sound.expected("data", "a string"))?;
        self.pictures.read(&data, &sound.at("data"))
    }
}

fn role(fields: &mut Fields<'_>) -> Result<Role, BadRequest> {
    let word = fields.text("role")?.unwrap_or_default();
    let what = "system, developer, user, assistant, tool, or a short word that the model's template knows";
    Role::of(&word).ok_or_else(|| fields.expected("role", what))
}
