//! `/v1/responses`: the request, and what of it the answer repeats; the encoder is passed on.
//!
//! Nothing is kept between two requests: whatever points at an earlier one is refused, since an
//! answer without what came before would be wrong without a sign. Hosted tools are refused too: the
//! one that Ollama knows, `web_search`, would send the question to ollama.com.

pub use super::responses_encode::{Encoder, whole};
use super::write::compact;
use super::{MAX_TOOLS, items, shared};
use crate::chat::{BadRequest, Format, Input, Native, Request, Tool};
use crate::fields::{ANY, Dropped, Fields, Item, Kind};

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
        Self::of(|_| None)
    }
}

impl Echo {
    /// Bytes that it holds, for the session's bound; the stream's encoder counts its own.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    fn of<'a>(given: impl Fn(&str) -> Option<Item<'a>>) -> Self {
        let or =
            |name: &str, default: &str| given(name).map_or_else(|| default.to_owned(), |item| compact(item.json()));
        let text = given("text").filter(|_| given("text").is_some_and(has_format));
        let members = [
            ("previous_response_id", "null".to_owned()),
            ("instructions", or("instructions", "null")),
            ("tools", given("tools").map_or_else(|| "[]".to_owned(), with_nulls)),
            ("tool_choice", or("tool_choice", r#""auto""#)),
            ("truncation", or("truncation", r#""disabled""#)),
            ("parallel_tool_calls", "true".to_owned()),
            ("text", text.map_or_else(|| r#"{"format":{"type":"text"}}"#.to_owned(), |text| compact(text.json()))),
            ("temperature", or("temperature", "1")),
            ("top_p", or("top_p", "1")),
            ("presence_penalty", or("presence_penalty", "0")),
            ("frequency_penalty", or("frequency_penalty", "0")),
            ("top_logprobs", or("top_logprobs", "0")),
            ("reasoning", or("reasoning", "null")),
            ("max_output_tokens", or("max_output_tokens", "null")),
            ("max_tool_calls", "null".to_owned()),
            ("store", "false".to_owned()),
            ("background", "false".to_owned()),
            ("service_tier", r#""default""#.to_owned()),
            ("metadata", or("metadata", "{}")),
            ("safety_identifier", or("safety_identifier", "null")),
            ("prompt_cache_key", or("prompt_cache_key", "null")),
        ];
        let members = members.map(|(name, json)| format!(r#""{name}":{json}"#));
        Self { members: members.join(",").into_bytes() }
    }
}

fn has_format(text: Item<'_>) -> bool {
    let format = text.fields(ANY).ok().and_then(|text| text.get("format"));
    format.is_some_and(|format| format.kind() == Kind::Object)
}

/// Tools with the members that may be null but must be there.
fn with_nulls(tools: Item<'_>) -> String {
    // What is no such list is refused soon after.
    let Ok(list) = tools.items(MAX_TOOLS) else { return compact(tools.json()) };
    let with_nulls = |tool: Item<'_>| {
        let mut json = compact(tool.json());
        let Ok(fields) = tool.fields(ANY) else { return json };
        json.truncate(json.len().saturating_sub(1));
        for name in ["description", "strict", "parameters"].into_iter().filter(|name| !fields.stands(name)) {
            let comma = if json.len() > 1 { "," } else { "" };
            json += &format!(r#"{comma}"{name}":null"#);
        }
        json + "}"
    };
    let tools: Vec<String> = list.map(with_nulls).collect();
    format!("[{}]", tools.join(","))
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
    let mut top = Fields::of_body(body, ANY)?;
    let echo = Echo::of(|name| top.get(name));
    refuse_the_past(&mut top)?;
    let mut dropped = Dropped::default();
    let model = shared::name(&mut top, "model")?;
    let stream = top.flag("stream")?.unwrap_or(false);
    let messages = items::read(&mut top, &mut dropped)?;
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
        relax_think: false,
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
        if top.get(name).is_some() {
            return Err(
                top.expected(name, "nothing: no answers or prompts are kept; send all that was said in `input`")
            );
        }
    }
    if top.flag("background")?.unwrap_or(false) {
        return Err(top.expected("background", "false: an answer that nobody waits for is not kept"));
    }
    Ok(())
}

fn tool(tool: Item<'_>, dropped: &mut Dropped) -> Result<Tool, BadRequest> {
    let mut tool = tool.fields(ANY)?;
    shared::function_type(&mut tool)?;
    shared::function(tool, dropped)
}

fn format(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Format, BadRequest> {
    let Some(mut text) = top.fields("text", ANY)? else {
        return Ok(Format::Text);
    };
    let format = match text.fields("format", ANY)? {
        None => Format::Text,
        Some(mut format) => match shared::format_type(&mut format)? {
            shared::FormatType::Text => Format::Text,
            shared::FormatType::Json => Format::Json,
            shared::FormatType::Schema => shared::schema(format)?,
        },
    };
    if text.text("verbosity")?.is_some_and(|word| word != "medium") {
        dropped.note("text.verbosity");
    }
    text.drop_rest_as("text.", dropped);
    Ok(format)
}

/// Probabilities are wanted where `include` names them or a count of alternatives is given. Thought
/// comes back in `encrypted_content` whether it is included or not.
fn logprobs(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Option<u8>, BadRequest> {
    let alternatives = shared::alternatives(top, "top_logprobs")?;
    let mut wanted = alternatives.filter(|count| *count > 0);
    for include in shared::list(top, "include", MAX_INCLUDE)? {
        let include = include.text().map_err(|_| top.expected("include", "a list of strings"))?;
        match include.as_ref() {
            "message.output_text.logprobs" => wanted = Some(alternatives.unwrap_or(0)),
            "reasoning.encrypted_content" => {}
            _ => dropped.note("include"),
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
        Some(_) => Err(top.expected("truncation", "auto or disabled")),
    }
}

#[cfg(test)]
#[path = "responses_tests.rs"]
mod tests;
