//! `/v1/responses`: the request, and what of it the answer repeats; the encoder is passed on.
//!
//! Nothing is kept between two requests: whatever points at an earlier one is refused, since an
//! answer without what came before would be wrong without a sign. Hosted tools are refused too: the
//! one that Ollama knows, `web_search`, would send the question to ollama.com.

use serde_json::{Map, Value, json};

use super::fields::{Budget, Dropped, Fields, Place};
pub use super::responses_encode::{Encoder, whole};
use super::{items, shared, write};
use crate::chat::{BadRequest, Format, Input, Native, Request, Tool};

/// Entries of `include`, count: OpenAI knows ten.
const MAX_INCLUDE: usize = 32;

/// What of a request its answer repeats (`instructions`, `tools`, `text` and so on).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Echo {
    /// The members as JSON, without braces.
    pub(super) members: Vec<u8>,
}

impl Default for Echo {
    /// Of a request that said nothing of all this.
    fn default() -> Self {
        Self::of(&Map::new())
    }
}

impl Echo {
    fn of(body: &Map<String, Value>) -> Self {
        let given = |name: &str| body.get(name).filter(|value| !value.is_null()).cloned();
        let or = |name: &str, default: Value| given(name).unwrap_or(default);
        let text = json!({ "format": { "type": "text" } });
        let tools = given("tools").map_or_else(|| json!([]), with_nulls);
        let members = [
            ("previous_response_id", Value::Null),
            ("instructions", or("instructions", Value::Null)),
            ("tools", tools),
            ("tool_choice", or("tool_choice", json!("auto"))),
            ("truncation", or("truncation", json!("disabled"))),
            ("parallel_tool_calls", json!(true)),
            ("text", given("text").filter(|given| given.get("format").is_some_and(Value::is_object)).unwrap_or(text)),
            ("temperature", or("temperature", json!(1))),
            ("top_p", or("top_p", json!(1))),
            ("presence_penalty", or("presence_penalty", json!(0))),
            ("frequency_penalty", or("frequency_penalty", json!(0))),
            ("top_logprobs", or("top_logprobs", json!(0))),
            ("reasoning", or("reasoning", Value::Null)),
            ("max_output_tokens", or("max_output_tokens", Value::Null)),
            ("max_tool_calls", Value::Null),
            ("store", json!(false)),
            ("background", json!(false)),
            ("service_tier", json!("default")),
            ("metadata", or("metadata", json!({}))),
            ("safety_identifier", or("safety_identifier", Value::Null)),
            ("prompt_cache_key", or("prompt_cache_key", Value::Null)),
        ];
        let mut out = Vec::new();
        for (name, value) in members {
            write::member(name, &value, &mut out);
        }
        // Without the first comma.
        Self { members: out.split_off(1) }
    }
}

/// Tools with the members that may be null but must be there.
fn with_nulls(mut tools: Value) -> Value {
    for tool in tools.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        for name in ["description", "strict", "parameters"] {
            tool.entry(name).or_insert(Value::Null);
        }
    }
    tools
}

/// Reads a request.
///
/// # Errors
///
/// Not a JSON object, a field of another type than the dialect's, nothing to answer, something that
/// points at an earlier answer, or more of something than the module's limits allow; the message
/// names the place.
pub fn parse(body: &[u8]) -> Result<Request, BadRequest> {
    read(body).map(|(request, _)| request)
}

/// Reads a request together with what its answer repeats.
///
/// # Errors
///
/// As [`parse`].
pub fn read(body: &[u8]) -> Result<(Request, Echo), BadRequest> {
    let mut budget = Budget::new();
    let mut body = budget.object(body, &Place::Top)?;
    // It is long and not repeated.
    let input = body.remove("input").unwrap_or_default();
    let echo = Echo::of(&body);
    let mut top = Fields::new(body, &Place::Top);
    refuse_the_past(&mut top)?;
    let mut dropped = Dropped::default();
    let model = top.name("model")?;
    let stream = top.flag("stream")?.unwrap_or(false);
    let instructions = top.text("instructions")?;
    let messages = items::read(instructions, input, &mut budget, &mut dropped)?;
    let tools = shared::tools(&mut top, &mut dropped, tool)?;
    let tool_choice = shared::tool_choice(&mut top, &tools)?;
    let sampling = shared::sampling(&mut top)?;
    let max_tokens = shared::tokens(&mut top, "max_output_tokens")?;
    let stop = shared::stop(&mut top)?;
    let format = format(&mut top, &mut dropped)?;
    let think = shared::think(&mut top)?;
    let logprobs = logprobs(&mut top, &mut dropped)?;
    let native = Native { truncate: truncate(&mut top)?, ..Native::default() };
    shared::leftovers(top, &mut dropped);
    let request = Request {
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
        // The last event always has them.
        include_usage: true,
        native,
        dropped: dropped.into_names(),
    };
    Ok((request, echo))
}

/// Refuses what only a server that keeps answers can do.
fn refuse_the_past(top: &mut Fields<'_>) -> Result<(), BadRequest> {
    for name in ["previous_response_id", "conversation", "prompt"] {
        if top.has(name) {
            return Err(top.wants(name, "nothing: no answers or prompts are kept; send all that was said in `input`"));
        }
    }
    if top.flag("background")?.unwrap_or(false) {
        return Err(top.wants("background", "false: an answer that nobody waits for is not kept"));
    }
    Ok(())
}

fn tool(tool: Value, at: &Place<'_>, dropped: &mut Dropped) -> Result<Tool, BadRequest> {
    let mut tool = Fields::of(tool, at)?;
    shared::function_type(&mut tool)?;
    shared::function(tool, dropped)
}

fn format(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Format, BadRequest> {
    let at = Place::Key(top.at(), "text");
    let Some(text) = top.object("text")? else {
        return Ok(Format::Text);
    };
    let mut text = Fields::new(text, &at);
    let at = Place::Key(&at, "format");
    let format = match text.object("format")? {
        None => Format::Text,
        Some(format) => {
            let mut format = Fields::new(format, &at);
            match shared::format_type(&mut format)? {
                shared::FormatType::Text => Format::Text,
                shared::FormatType::Json => Format::Json,
                shared::FormatType::Schema => shared::schema(format)?,
            }
        }
    };
    if text.text("verbosity")?.is_some_and(|word| word != "medium") {
        dropped.add("text.verbosity");
    }
    dropped.rest("text.", text);
    Ok(format)
}

/// Probabilities are wanted where `include` names them or a count of alternatives is given. Thought
/// comes back in `encrypted_content` whether it is included or not.
fn logprobs(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Option<u8>, BadRequest> {
    let alternatives = shared::alternatives(top, "top_logprobs")?;
    let mut wanted = alternatives.filter(|count| *count > 0);
    for include in top.list("include", MAX_INCLUDE)?.unwrap_or_default() {
        match include.as_str() {
            Some("message.output_text.logprobs") => wanted = Some(alternatives.unwrap_or(0)),
            Some("reasoning.encrypted_content") => {}
            Some(_) => dropped.add("include"),
            None => return Err(top.wants("include", "a list of strings")),
        }
    }
    Ok(wanted)
}

/// Only what the caller says: without a word Ollama decides.
fn truncate(top: &mut Fields<'_>) -> Result<Option<bool>, BadRequest> {
    match top.text("truncation")?.as_deref() {
        None => Ok(None),
        Some("auto") => Ok(Some(true)),
        Some("disabled") => Ok(Some(false)),
        Some(_) => Err(top.wants("truncation", "auto or disabled")),
    }
}

#[cfg(test)]
#[path = "responses_tests.rs"]
mod tests;
