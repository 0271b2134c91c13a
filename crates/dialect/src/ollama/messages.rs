//! Messages and tools as Ollama's callers write them.

use serde_json::{Map, Value, json};

use crate::chat::{BadRequest, Image, Message, Part, Role, Tool, ToolCall, ToolResult};
use crate::fields::{Dropped, Fields, Item};
use crate::image;

/// Messages of one conversation, count: a message costs some 200 bytes of memory even where it says
/// nothing, so these are 3 MiB at most beside the texts.
pub const MAX_MESSAGES: usize = 16_384;

/// Pictures of one message, count: six times what the largest hosted models take in a request.
pub const MAX_IMAGES: usize = 128;

/// Tools of one request, count: clients with many servers send some hundreds.
pub const MAX_TOOLS: usize = 1_024;

/// Calls of one message, count: models make a handful at once.
pub const MAX_CALLS: usize = 256;

const MESSAGE: [&str; 7] = ["role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"];

/// The conversation; empty where none is given (the model is to be loaded).
pub(super) fn read(fields: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Vec<Message>, BadRequest> {
    let list = fields.list("messages", MAX_MESSAGES)?;
    list.map(|item| message(item, dropped)).collect()
}

fn message(item: Item<'_>, dropped: &mut Dropped) -> Result<Message, BadRequest> {
    let mut fields = item.fields(&MESSAGE)?;
    let role = role(&mut fields)?;
    let content = fields.some_text("content")?;
    let thinking = fields.some_text("thinking")?;
    let images = images(&mut fields)?;
    let calls = tool_calls(&mut fields, dropped)?;
    let name = fields.some_text("tool_name")?;
    let id = fields.some_text("tool_call_id")?;
    let said = content.map(Part::Text).into_iter().chain(images.into_iter().map(Part::Image));
    let mut parts = Vec::new();
    if let Some(text) = thinking {
        parts.push(Part::Thinking { text, signature: None });
    }
    if role == Role::Tool {
        parts.push(Part::ToolResult(ToolResult { id, name, parts: said.collect(), failed: false }));
    } else {
        parts.extend(said);
        let unused = [(id.is_some(), "tool_call_id"), (name.is_some(), "tool_name")];
        for (_, name) in unused.into_iter().filter(|(given, _)| *given) {
            dropped.note(&fields.at(name));
        }
    }
    parts.extend(calls.into_iter().map(Part::ToolCall));
    fields.drop_rest(dropped);
    Ok(Message { role, parts })
}

fn role(fields: &mut Fields<'_>) -> Result<Role, BadRequest> {
    let word = fields.text("role")?.unwrap_or_default();
    let what = "`system`, `user`, `assistant`, `tool`, or a short word that the model's template knows";
    Role::of(&word).ok_or_else(|| fields.expected("role", what))
}

/// The pictures of a message or prompt.
pub(super) fn images(fields: &mut Fields<'_>) -> Result<Vec<Image>, BadRequest> {
    let list = fields.list("images", MAX_IMAGES)?;
    list.map(|item| image::read(&item.text()?, item.place())).collect()
}

fn tool_calls(fields: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Vec<ToolCall>, BadRequest> {
    let list = fields.list("tool_calls", MAX_CALLS)?;
    list.map(|item| tool_call(item, dropped)).collect()
}

fn tool_call(item: Item<'_>, dropped: &mut Dropped) -> Result<ToolCall, BadRequest> {
    let mut fields = item.fields(&["id", "type", "function"])?;
    let id = fields.some_text("id")?.unwrap_or_default();
    // Clients copy it from OpenAI's form; there is but one kind of call.
    fields.take("type");
    let Some(function) = fields.take("function") else { return Err(fields.expected("function", "an object")) };
    fields.drop_rest(dropped);
    let mut fields = function.fields(&["index", "name", "arguments"])?;
    // The order of the list says the same.
    fields.whole("index")?;
    let name = name(&mut fields)?;
    let arguments = fields.object("arguments")?.unwrap_or_default();
    fields.drop_rest(dropped);
    Ok(ToolCall { id, name, arguments })
}

fn name(fields: &mut Fields<'_>) -> Result<String, BadRequest> {
    fields.some_text("name")?.ok_or_else(|| fields.expected("name", "the function's name"))
}

/// The functions that the model may call.
pub(super) fn tools(fields: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Vec<Tool>, BadRequest> {
    let list = fields.list("tools", MAX_TOOLS)?;
    list.map(|item| tool(item, dropped)).collect()
}

fn tool(item: Item<'_>, dropped: &mut Dropped) -> Result<Tool, BadRequest> {
    let mut fields = item.fields(&["type", "function"])?;
    if fields.text("type")?.is_some_and(|kind| !kind.is_empty() && kind != "function") {
        return Err(fields.expected("type", "`function`"));
    }
    let Some(function) = fields.take("function") else { return Err(fields.expected("function", "an object")) };
    fields.drop_rest(dropped);
    let mut fields = function.fields(&["name", "description", "parameters"])?;
    let name = name(&mut fields)?;
    let description = fields.some_text("description")?;
    let parameters = fields.object("parameters")?.unwrap_or_else(no_parameters);
    fields.drop_rest(dropped);
    Ok(Tool { name, description, parameters: Value::Object(parameters), cache: None })
}

/// The schema of a function without arguments.
fn no_parameters() -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), json!({}));
    schema
}
