//! Content blocks of Anthropic's messages.
//!
//! Invariants: results of tools stand in messages of their own, before what else the user's message
//! said and after what the assistant's did; a message that says nothing is left out, as Ollama does;
//! so is a block that no model can read (what other services' tools gave), by its name in `dropped`. A
//! cache mark stands right behind what it marks.

use std::collections::HashMap;

use super::fields::{cache_point, finish, items, required_text};
use super::request::{MAX_BLOCKS, MAX_IMAGES};
use crate::chat::{BadRequest, CacheTime, Image, Message, Part, Role, ToolCall, ToolResult};
use crate::fields::{ANY, Dropped, Fields, Item, Kind, List, shown};
use crate::{document, image};

/// Reads the messages of one request.
#[derive(Debug)]
pub(super) struct Blocks<'d> {
    pub(super) dropped: &'d mut Dropped,
    /// Blocks, and pictures and documents so far, count.
    count: usize,
    images: usize,
    /// Functions by the id of their calls: results name only the id.
    calls: HashMap<String, String>,
}

impl<'d> Blocks<'d> {
    pub(super) fn new(dropped: &'d mut Dropped) -> Self {
        Self { dropped, count: 0, images: 0, calls: HashMap::new() }
    }

    /// Appends what one message is in canonical form: none, one, or several where it brings results.
    pub(super) fn message(&mut self, role: Role, content: &Item<'_>, out: &mut Vec<Message>) -> Result<(), BadRequest> {
        let (mut parts, mut results) = (Vec::new(), Vec::new());
        match content.kind() {
            Kind::Text => parts.extend(said(content.text()?.into_owned())),
            Kind::List => {
                for block in self.blocks(content)? {
                    let Some((part, cache)) = self.block(role, block)? else { continue };
                    let cache = cache.map(Part::CachePoint);
                    if matches!(part, Part::ToolResult(_)) {
                        results.push(Message { role: Role::Tool, parts: [part].into_iter().chain(cache).collect() });
                    } else {
                        parts.extend([part].into_iter().chain(cache));
                    }
                }
            }
            Kind::Null | Kind::Flag | Kind::Number | Kind::Object => return Err(no_content(content)),
        }
        if role == Role::Tool && !parts.is_empty() {
            parts = vec![Part::ToolResult(ToolResult { id: None, name: None, parts, failed: false })];
        }
        let said = (!parts.is_empty()).then_some(Message { role, parts });
        if role == Role::User {
            out.extend(results.into_iter().chain(said));
        } else {
            out.extend(said.into_iter().chain(results));
        }
        Ok(())
    }

    /// The blocks of a list, counted.
    fn blocks<'a>(&mut self, content: &Item<'a>) -> Result<List<'a>, BadRequest> {
        let mut blocks = items(content, MAX_BLOCKS)?;
        match MAX_BLOCKS.checked_sub(self.count + blocks.len()) {
            Some(_) => self.count += blocks.len(),
            None => {
                let first_over = blocks.nth(MAX_BLOCKS - self.count);
                let place = first_over.as_ref().unwrap_or(content);
                return Err(place.fault(&format!("at most {MAX_BLOCKS} blocks are taken")));
            }
        }
        Ok(blocks)
    }

    /// One block, and its cache mark; none if it says nothing, or nothing that can be passed on.
    fn block(&mut self, role: Role, block: Item<'_>) -> Result<Option<(Part, Option<CacheTime>)>, BadRequest> {
        let mut block = block.fields(ANY)?;
        let kind = required_text(&mut block, "type")?;
        let part = match (role, kind.as_ref()) {
            (_, "text") => text(&mut block)?,
            (Role::System, other) => return Ok(self.leave_out("system.", other)),
            (_, "image") => Some(Part::Image(self.image(&mut block)?)),
            (Role::User | Role::Tool, "document") => Some(self.document(&mut block)?),
            (_, "tool_result") => Some(Part::ToolResult(self.tool_result(&mut block)?)),
            (_, "tool_use") => {
                let id = required_text(&mut block, "id")?.into_owned();
                Some(Part::ToolCall(self.tool_use(id, &mut block)?))
            }
            (_, "server_tool_use") => {
                let id = block.some_text("id")?.unwrap_or_default();
                Some(Part::ToolCall(self.tool_use(id, &mut block)?))
            }
            (_, "web_search_tool_result") => Some(Part::ToolResult(self.searched(&mut block)?)),
            (_, "thinking") => {
                let text = block.text("thinking")?.unwrap_or_default().into_owned();
                let signature = block.some_text("signature")?;
                (!text.is_empty() || signature.is_some()).then_some(Part::Thinking { text, signature })
            }
            // Only the service that wrote it can read it.
            (_, "redacted_thinking") => return Ok(self.leave_out("", "redacted_thinking")),
            (_, other) => return Ok(self.leave_out("content.", other)),
        };
        let cache = cache_point(&mut block);
        finish(block, "content.", self.dropped);
        Ok(part.map(|part| (part, cache)))
    }

    fn leave_out<T>(&mut self, place: &str, kind: &str) -> Option<T> {
        self.dropped.note(&format!("{place}{kind}"));
        None
    }

    /// One more picture or document.
    fn one_more(&mut self, block: &Fields<'_>) -> Result<(), BadRequest> {
        self.images += 1;
        if self.images > MAX_IMAGES {
            return Err(block.fault("source", &format!("at most {MAX_IMAGES} pictures and documents are taken")));
        }
        Ok(())
    }

    fn document(&mut self, block: &mut Fields<'_>) -> Result<Part, BadRequest> {
        self.one_more(block)?;
        let Some(mut source) = block.fields("source", ANY)? else {
            return Err(block.fault("source", "an object with the document is required"));
        };
        let (name, context) = (block.text("title")?, block.text("context")?);
        let media_type = source.text("media_type")?;
        let said =
            document::Said { name: name.as_deref(), media_type: media_type.as_deref(), context: context.as_deref() };
        let kind = required_text(&mut source, "type")?;
        let document = match kind.as_ref() {
            "base64" => document::read(&required_text(&mut source, "data")?, said, &source.at("data"))?,
            "text" => document::of_text(required_text(&mut source, "data")?.into_owned(), said),
            "content" => document::of_text(self.document_texts(&mut source)?, said),
            _ => {
                let what = format!(
                    "expected `base64`, `text` or `content`, found `{}`; an edge fetches no addresses for a caller and \
                     keeps no files",
                    shown(&kind)
                );
                return Err(source.fault("type", &what));
            }
        };
        if let Some(mut citations) = block.fields("citations", ANY)?
            && citations.flag("enabled")? == Some(true)
        {
            self.dropped.note("content.document.citations");
        }
        finish(source, "content.source.", self.dropped);
        Ok(Part::Document(Box::new(document)))
    }

    /// The texts of a document in blocks, line by line; pictures within it have no place there.
    fn document_texts(&mut self, source: &mut Fields<'_>) -> Result<String, BadRequest> {
        let Some(content) = source.take("content") else {
            return Err(source.fault("content", "a string or a list of blocks is required"));
        };
        if content.kind() == Kind::Text {
            return Ok(content.text()?.into_owned());
        }
        let mut texts = Vec::new();
        for block in self.blocks(&content)? {
            let mut block = block.fields(ANY)?;
            match required_text(&mut block, "type")?.as_ref() {
                "text" => texts.push(block.text("text")?.unwrap_or_default()),
                other => {
                    self.leave_out::<Part>("content.document.", other);
                }
            }
        }
        Ok(texts.join("\n"))
    }

    fn image(&mut self, block: &mut Fields<'_>) -> Result<Image, BadRequest> {
        self.one_more(block)?;
        let Some(mut source) = block.fields("source", ANY)? else {
            return Err(block.fault("source", "an object with the picture is required"));
        };
        let kind = required_text(&mut source, "type")?;
        if kind != "base64" {
            let what =
                format!("expected `base64`, found `{}`; an edge fetches no addresses for a caller", shown(&kind));
            return Err(source.fault("type", &what));
        }
        let image = image::read(&required_text(&mut source, "data")?, &source.at("data"))?;
        // The picture's own first bytes say what it is.
        source.text("media_type")?;
        finish(source, "content.source.", self.dropped);
        Ok(image)
    }

    fn tool_use(&mut self, id: String, block: &mut Fields<'_>) -> Result<ToolCall, BadRequest> {
        let name = required_text(block, "name")?.into_owned();
        let arguments = block.object("input")?.unwrap_or_default();
        // Who called, where a server's tool may: it says nothing to a model.
        block.fields("caller", ANY)?;
        self.calls.insert(id.clone(), name.clone());
        Ok(ToolCall { id, name, arguments })
    }

    fn tool_result(&mut self, block: &mut Fields<'_>) -> Result<ToolResult, BadRequest> {
        let id = required_text(block, "tool_use_id")?.into_owned();
        let failed = block.flag("is_error")?.unwrap_or(false);
        let parts = match block.take("content") {
            None => Vec::new(),
            Some(content) => match content.kind() {
                Kind::Text => said(content.text()?.into_owned()).into_iter().collect(),
                Kind::List => self.result_parts(&content)?,
                Kind::Null | Kind::Flag | Kind::Number | Kind::Object => return Err(no_content(&content)),
            },
        };
        let name = self.calls.get(&id).cloned();
        Ok(ToolResult { id: Some(id), name, parts, failed })
    }

    /// What another service's search gave, as Ollama words it for a model.
    fn searched(&mut self, block: &mut Fields<'_>) -> Result<ToolResult, BadRequest> {
        let id = block.some_text("tool_use_id")?;
        let text = match block.take("content") {
            None => String::new(),
            Some(content) => match content.kind() {
                Kind::Text => content.text()?.into_owned(),
                Kind::List => self.found(&content)?,
                Kind::Object => hit(content)?.unwrap_or_default(),
                Kind::Null | Kind::Flag | Kind::Number => return Err(no_content(&content)),
            },
        };
        let name = id.as_ref().and_then(|id| self.calls.get(id).cloned());
        Ok(ToolResult { id, name, parts: said(text).into_iter().collect(), failed: false })
    }

    fn found(&mut self, content: &Item<'_>) -> Result<String, BadRequest> {
        let hits: Result<Vec<_>, _> = self.blocks(content)?.map(hit).collect();
        Ok(hits?.into_iter().flatten().collect())
    }

    fn result_parts(&mut self, content: &Item<'_>) -> Result<Vec<Part>, BadRequest> {
        let mut parts = Vec::new();
        for block in self.blocks(content)? {
            let mut block = block.fields(ANY)?;
            let kind = required_text(&mut block, "type")?;
            match kind.as_ref() {
                "text" => parts.extend(text(&mut block)?),
                "image" => parts.push(Part::Image(self.image(&mut block)?)),
                "document" => parts.push(self.document(&mut block)?),
                other => {
                    self.leave_out::<Part>("content.tool_result.", other);
                    continue;
                }
            }
            finish(block, "content.", self.dropped);
        }
        Ok(parts)
    }
}

fn text(block: &mut Fields<'_>) -> Result<Option<Part>, BadRequest> {
    let Some(text) = block.text("text")? else {
        return Err(block.fault("text", "a string is required"));
    };
    // Where an earlier answer's text came from; the text is whole without it.
    if let Some(citations) = block.take("citations") {
        items(&citations, MAX_BLOCKS)?;
    }
    Ok(said(text.into_owned()))
}

fn no_content(content: &Item<'_>) -> BadRequest {
    content.expected("a string or a list of blocks")
}

fn said(text: String) -> Option<Part> {
    (!text.is_empty()).then_some(Part::Text(text))
}

/// A line about one result of a search, or the search's error; nothing for anything else.
fn hit(item: Item<'_>) -> Result<Option<String>, BadRequest> {
    let mut hit = item.fields(ANY)?;
    Ok(match hit.text("type")?.as_deref() {
        Some("web_search_result") => {
            let (title, url) = (hit.text("title")?.unwrap_or_default(), hit.text("url")?.unwrap_or_default());
            Some(format!("- {title}: {url}\n"))
        }
        Some(error @ "web_search_tool_result_error") => {
            let code = hit.some_text("error_code")?;
            Some(code.map_or_else(|| error.to_owned(), |code| format!("{error}: {code}")))
        }
        _ => None,
    })
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
