//! `/v1/chat/completions`: the request; the answer's encoder is passed on.
//!
//! Of two spellings of one wish the newer wins (`max_completion_tokens`, `reasoning.effort`).
//! Refused: audio, files and addresses to fetch; tools that are no functions.

use serde_json::Value;

pub use super::chat_encode::{Encoder, whole};
use super::fields::{Budget, Dropped, Fields, Place};
use super::{messages, shared};
use crate::chat::{BadRequest, Format, Input, Native, Request, Tool};

/// Reads a request.
///
/// # Errors
///
/// Not a JSON object, a field of another type than the dialect's, no messages, or more of something
/// than the module's limits allow; the message names the place.
pub fn parse(body: &[u8]) -> Result<Request, BadRequest> {
    let mut budget = Budget::new();
    let mut top = Fields::new(budget.object(body, &Place::Top)?, &Place::Top);
    let mut dropped = Dropped::default();
    let model = top.name("model")?;
    let stream = top.flag("stream")?.unwrap_or(false);
    let messages = messages::read(&mut top, &mut budget, &mut dropped)?;
    let tools = shared::tools(&mut top, &mut dropped, tool)?;
    let tool_choice = shared::tool_choice(&mut top, &tools)?;
    let older = shared::tokens(&mut top, "max_tokens")?;
    let max_tokens = shared::tokens(&mut top, "max_completion_tokens")?.or(older);
    let sampling = shared::sampling(&mut top)?;
    let stop = shared::stop(&mut top)?;
    let format = format(&mut top)?;
    let think = shared::think(&mut top)?;
    let logprobs = logprobs(&mut top, &mut dropped)?;
    let include_usage = shared::include_usage(&mut top)?;
    shared::leftovers(top, &mut dropped);
    Ok(Request {
        model,
        stream,
        input: Input::Chat(messages),
        tools,
        tool_choice,
        sampling,
        max_tokens,
        stop,
        format,
        think,
        logprobs,
        include_usage,
        native: Native::default(),
        dropped: dropped.into_names(),
    })
}

fn tool(tool: Value, at: &Place<'_>, dropped: &mut Dropped) -> Result<Tool, BadRequest> {
    let mut tool = Fields::of(tool, at)?;
    shared::function_type(&mut tool)?;
    let inner = Place::Key(at, "function");
    let function = tool.object("function")?.ok_or_else(|| inner.wants("an object"))?;
    dropped.rest("tools.", tool);
    shared::function(Fields::new(function, &inner), dropped)
}

fn format(top: &mut Fields<'_>) -> Result<Format, BadRequest> {
    let at = Place::Key(top.at(), "response_format");
    let Some(format) = top.object("response_format")? else {
        return Ok(Format::Text);
    };
    let mut format = Fields::new(format, &at);
    Ok(match shared::format_type(&mut format)? {
        shared::FormatType::Text => Format::Text,
        shared::FormatType::Json => Format::Json,
        shared::FormatType::Schema => {
            let at = Place::Key(&at, "json_schema");
            let schema = format.object("json_schema")?.ok_or_else(|| at.wants("an object"))?;
            shared::schema(Fields::new(schema, &at))?
        }
    })
}

fn logprobs(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Option<u8>, BadRequest> {
    let wanted = top.flag("logprobs")?.unwrap_or(false);
    let alternatives = shared::alternatives(top, "top_logprobs")?.unwrap_or(0);
    if !wanted && alternatives > 0 {
        dropped.add("top_logprobs");
    }
    Ok(wanted.then_some(alternatives))
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
