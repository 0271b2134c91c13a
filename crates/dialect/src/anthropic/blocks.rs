//! Content blocks of Anthropic's messages.
//!
//! Invariants: results of tools stand in messages of their own, before what else the user's message
//! said; a message that says nothing is left out, as Ollama does. Absent: documents and the blocks
//! of tools that Anthropic's servers run, which are refused by their name.

use std::collections::HashMap;

use serde_json::Value;

use super::fields::{Dropped, Object, list, shown, unexpected};
use super::request::{MAX_BLOCKS, MAX_IMAGES};
use crate::chat::{BadRequest, Image, Message, Part, Role, ToolCall, ToolResult};
use crate::image;

/// Reads the messages of one request.
#[derive(Debug)]
pub(super) struct Blocks<'d> {
    pub(super) dropped: &'d mut Dropped,
    /// Blocks and pictures so far, count.
    blocks: usize,
    images: usize,
    /// Functions by the id of their calls: results name only the id.
    calls: HashMap<String, String>,
}

impl<'d> Blocks<'d> {
    pub(super) fn new(dropped: &'d mut Dropped) -> Self {
        Self { dropped, blocks: 0, images: 0, calls: HashMap::new() }
    }

    /// Appends what one message is in canonical form: none, one, or several where it brings results.
    pub(super) fn message(
        &mut self,
        role: Role,
        content: Value,
        place: String,
        out: &mut Vec<Message>,
    ) -> Result<(), BadRequest> {
        let mut parts = Vec::new();
        match content {
            Value::String(text) => parts.extend(said(text)),
            Value::Array(blocks) => {
                for (number, block) in blocks.into_iter().enumerate() {
                    match self.block(role, block, format!("{place}[{number}]"))? {
                        Some(result @ Part::ToolResult(_)) => {
                            out.push(Message { role: Role::Tool, parts: vec![result] });
                        }
                        Some(part) => parts.push(part),
                        None => {}
                    }
                }
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
                return Err(unexpected(&place, "a string or a list of blocks", &other));
            }
        }
        if !parts.is_empty() {
            out.push(Message { role, parts });
        }
        Ok(())
    }

    /// One block; none if it says nothing.
    fn block(&mut self, role: Role, value: Value, place: String) -> Result<Option<Part>, BadRequest> {
        self.count(&place)?;
        let mut block = Object::of(value, place)?;
        let kind = block.required_text("type")?;
        let part = match (role, kind.as_str()) {
            (_, "text") => text(&mut block)?,
            (Role::User, "image") => Some(Part::Image(self.image(&mut block)?)),
            (Role::User, "tool_result") => Some(Part::ToolResult(self.tool_result(&mut block)?)),
            (Role::Assistant, "tool_use") => Some(Part::ToolCall(self.tool_use(&mut block)?)),
            (Role::Assistant, "thinking") => {
                let text = block.text("thinking")?.unwrap_or_default();
                let signature = block.text("signature")?.filter(|seal| !seal.is_empty());
                (!text.is_empty() || signature.is_some()).then_some(Part::Thinking { text, signature })
            }
            (Role::Assistant, "redacted_thinking") => {
                // Only the service that wrote it can read it.
                self.dropped.add("redacted_thinking");
                return Ok(None);
            }
            (_, "document") => {
                let what = "documents are not taken yet; send their text as a `text` block";
                return Err(block.fault("type", what));
            }
            (role, kind) => return Err(block.fault("type", &misplaced(role, kind))),
        };
        block.finish("content.", self.dropped);
        Ok(part)
    }

    fn count(&mut self, place: &str) -> Result<(), BadRequest> {
        self.blocks += 1;
        if self.blocks > MAX_BLOCKS {
            return Err(BadRequest(format!("{place}: at most {MAX_BLOCKS} blocks are taken")));
        }
        Ok(())
    }

    fn image(&mut self, block: &mut Object) -> Result<Image, BadRequest> {
        self.images += 1;
        if self.images > MAX_IMAGES {
            return Err(block.fault("source", &format!("at most {MAX_IMAGES} pictures are taken")));
        }
        let Some(mut source) = block.object("source")? else {
            return Err(block.fault("source", "an object with the picture is required"));
        };
        let kind = source.required_text("type")?;
        if kind != "base64" {
            let what =
                format!("expected `base64`, found `{}`; an edge fetches no addresses for a caller", shown(&kind));
            return Err(source.fault("type", &what));
        }
        let image = image::read(&source.required_text("data")?, &source.at("data"))?;
        // The picture's own first bytes say what it is.
        source.text("media_type")?;
        source.finish("content.source.", self.dropped);
        Ok(image)
    }

    fn tool_use(&mut self, block: &mut Object) -> Result<ToolCall, BadRequest> {
        let id = block.required_text("id")?;
        let name = block.required_text("name")?;
        let arguments = block.map("input")?.unwrap_or_default();
        // Who called, where a server's tool may: it says nothing to a model.
        block.object("caller")?;
        self.calls.insert(id.clone(), name.clone());
        Ok(ToolCall { id, name, arguments })
    }

    fn tool_result(&mut self, block: &mut Object) -> Result<ToolResult, BadRequest> {
        let id = block.required_text("tool_use_id")?;
        let failed = block.flag("is_error")?.unwrap_or(false);
        let place = block.at("content");
        let parts = match block.take("content") {
            None => Vec::new(),
            Some(Value::String(text)) => said(text).into_iter().collect(),
            Some(content @ Value::Array(_)) => self.result_parts(content, &place)?,
            Some(other) => return Err(unexpected(&place, "a string or a list of blocks", &other)),
        };
        let name = self.calls.get(&id).cloned();
        Ok(ToolResult { id: Some(id), name, parts, failed })
    }

    fn result_parts(&mut self, content: Value, place: &str) -> Result<Vec<Part>, BadRequest> {
        let mut parts = Vec::new();
        for (number, value) in list(content, place, MAX_BLOCKS)?.into_iter().enumerate() {
            let place = format!("{place}[{number}]");
            self.count(&place)?;
            let mut block = Object::of(value, place)?;
            let kind = block.required_text("type")?;
            match kind.as_str() {
                "text" => parts.extend(text(&mut block)?),
                "image" => parts.push(Part::Image(self.image(&mut block)?)),
                other => {
                    let what = format!("expected `text` or `image` in a result, found `{}`", shown(other));
                    return Err(block.fault("type", &what));
                }
            }
            block.finish("content.", self.dropped);
        }
        Ok(parts)
    }
}

fn text(block: &mut Object) -> Result<Option<Part>, BadRequest> {
    let Some(text) = block.text("text")? else {
        return Err(block.fault("text", "a string is required"));
    };
    // Where an earlier answer's text came from; the text is whole without it.
    block.list("citations", MAX_BLOCKS)?;
    Ok(said(text))
}

fn said(text: String) -> Option<Part> {
    (!text.is_empty()).then_some(Part::Text(text))
}

/// Why a block may not stand in a message of this role.
fn misplaced(role: Role, kind: &str) -> String {
    let expected = match role {
        Role::User => "`text`, `image` or `tool_result` in a message of the user",
        Role::Assistant => "`text`, `thinking`, `redacted_thinking` or `tool_use` in a message of the assistant",
        Role::System | Role::Tool => "`text` in system text",
    };
    format!("expected {expected}, found `{}`", shown(kind))
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
