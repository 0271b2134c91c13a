//! `/v1/chat/completions`: the request; the answer's encoder is passed on.
//!
//! Of two spellings of one wish the newer wins (`max_completion_tokens`, `reasoning.effort`).
//! Refused: files and addresses to fetch; tools that are no functions.

pub use super::chat_encode::{Encoder, whole};
use super::{messages, shared};
use crate::chat::{BadRequest, Format, Input, Native, Request, Tool};
use crate::fields::{ANY, Dropped, Fields, Item};

/// Reads a request.
///
/// # Errors
///
/// Not a JSON object, a field of another type than the dialect's, no messages, or more of something
/// than the module's limits allow; the message names the place.
pub fn parse(body: &[u8]) -> Result<Request, BadRequest> {
    let mut top = Fields::of_body(body, ANY)?;
    let mut dropped = Dropped::default();
    let model = shared::name(&mut top, "model")?;
    let stream = top.flag("stream")?.unwrap_or(false);
    let messages = messages::read(&mut top, &mut dropped)?;
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
        relax_think: false,
        logprobs,
        include_usage,
        native: Native::default(),
        dropped: dropped.into_names(),
    })
}

fn tool(tool: Item<'_>, dropped: &mut Dropped) -> Result<Tool, BadRequest> {
    let mut tool = tool.fields(ANY)?;
    shared::function_type(&mut tool)?;
    let function = tool.fields("function", ANY)?.ok_or_else(|| tool.expected("function", "an object"))?;
    tool.drop_rest_as("tools.", dropped);
    shared::function(function, dropped)
}

fn format(top: &mut Fields<'_>) -> Result<Format, BadRequest> {
    let Some(mut format) = top.fields("response_format", ANY)? else {
        return Ok(Format::Text);
    };
    Ok(match shared::format_type(&mut format)? {
        shared::FormatType::Text => Format::Text,
        shared::FormatType::Json => Format::Json,
        shared::FormatType::Schema => {
            let schema = format.fields("json_schema", ANY)?;
            shared::schema(schema.ok_or_else(|| format.expected("json_schema", "an object"))?)?
        }
    })
}

fn logprobs(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Option<u8>, BadRequest> {
    let wanted = top.flag("logprobs")?.unwrap_or(false);
    let alternatives = shared::alternatives(top, "top_logprobs")?.unwrap_or(0);
    if !wanted && alternatives > 0 {
        dropped.note("top_logprobs");
    }
    Ok(wanted.then_some(alternatives))
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
