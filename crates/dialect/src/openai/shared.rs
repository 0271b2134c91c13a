//! What the three routes' requests share: limits, sampling, functions, formats, thinking, pictures.

use serde_json::{Map, Value, json};

use super::fields::{Budget, Dropped, Fields, Place};
use super::{MAX_STOPS, MAX_TOOLS};
use crate::chat::{BadRequest, Effort, Format, Part, Sampling, Think, Tool, ToolChoice};
use crate::image;

/// What temperature and `top_p` mean where the caller leaves them out: OpenAI's defaults, which
/// Ollama's `/v1` also puts in place of the model's own.
const NEUTRAL: f64 = 1.0;

/// Alternatives of a token, most: Ollama's and OpenAI's bound.
const MAX_LOGPROBS: i64 = 20;

/// Fields that change nothing about an answer: who asks, the caller's own notes, hints for OpenAI's
/// caches and for its streams' padding.
const HARMLESS: [&str; 6] =
    ["user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "stream_options"];

/// Fields with the value that is also what happens without them: no loss where they say just that.
const DEFAULTS: [(&str, &[&str]); 11] = [
    ("n", &["1"]),
    ("best_of", &["0", "1"]),
    ("echo", &["false"]),
    ("store", &["false"]),
    ("background", &["false"]),
    ("parallel_tool_calls", &["true"]),
    ("logit_bias", &["{}"]),
    ("modalities", &[r#"["text"]"#]),
    ("service_tier", &[r#""auto""#, r#""default""#]),
    ("verbosity", &[r#""medium""#]),
    ("include", &["[]"]),
];

/// Names what is left of a body, but for what loses nothing.
pub(super) fn leftovers(mut top: Fields<'_>, dropped: &mut Dropped) {
    for name in HARMLESS {
        top.take(name);
    }
    for (name, neutral) in DEFAULTS {
        if let Some(value) = top.take(name)
            && !neutral.contains(&value.to_string().as_str())
        {
            dropped.add(name);
        }
    }
    dropped.rest("", top);
}

/// Sampling with OpenAI's defaults. `top_k` and `min_p` are not OpenAI's, but callers send them to
/// servers of open models, and every one of them but Ollama's `/v1` honours them.
pub(super) fn sampling(top: &mut Fields<'_>) -> Result<Sampling, BadRequest> {
    Ok(Sampling {
        temperature: Some(top.number("temperature")?.unwrap_or(NEUTRAL)),
        top_p: Some(top.number("top_p")?.unwrap_or(NEUTRAL)),
        top_k: top.whole("top_k")?,
        min_p: top.number("min_p")?,
        seed: top.whole("seed")?,
        frequency_penalty: top.number("frequency_penalty")?,
        presence_penalty: top.number("presence_penalty")?,
    })
}

/// A bound of tokens; 0 and less is no bound, as with Ollama.
pub(super) fn tokens(top: &mut Fields<'_>, key: &str) -> Result<Option<u32>, BadRequest> {
    let bound = top.whole(key)?.filter(|bound| *bound > 0);
    Ok(bound.map(|bound| u32::try_from(bound).unwrap_or(u32::MAX)))
}

/// Alternatives asked for in `key`.
pub(super) fn alternatives(top: &mut Fields<'_>, key: &str) -> Result<Option<u8>, BadRequest> {
    match top.whole(key)? {
        None => Ok(None),
        Some(count @ 0..=MAX_LOGPROBS) => Ok(u8::try_from(count).ok()),
        Some(_) => Err(top.wants(key, &format!("a whole number from 0 to {MAX_LOGPROBS}"))),
    }
}

/// `stop`: a text or several.
pub(super) fn stop(top: &mut Fields<'_>) -> Result<Vec<String>, BadRequest> {
    let fault = top.wants("stop", &format!("a string or a list of at most {MAX_STOPS} strings"));
    let texts = match top.take("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) if list.len() <= MAX_STOPS => {
            let texts = list.into_iter().map(|item| match item {
                Value::String(text) => Ok(text),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    Err(fault.clone())
                }
            });
            texts.collect::<Result<_, _>>()?
        }
        Some(_) => return Err(fault),
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

/// The stream ends with its token counts.
pub(super) fn include_usage(top: &mut Fields<'_>) -> Result<bool, BadRequest> {
    let at = Place::Key(top.at(), "stream_options");
    match top.object("stream_options")? {
        Some(options) => Ok(Fields::new(options, &at).flag("include_usage")?.unwrap_or(false)),
        None => Ok(false),
    }
}

/// `reasoning.effort`, else `reasoning_effort`: Ollama's words and the further ones of its later
/// versions.
pub(super) fn think(top: &mut Fields<'_>) -> Result<Think, BadRequest> {
    let at = Place::Key(top.at(), "reasoning");
    let within = match top.object("reasoning")? {
        // `summary` and the like: thought is always given whole.
        Some(reasoning) => effort(&mut Fields::new(reasoning, &at), "effort")?,
        None => Think::Unset,
    };
    let beside = effort(top, "reasoning_effort")?;
    Ok(if within == Think::Unset { beside } else { within })
}

fn effort(fields: &mut Fields<'_>, key: &str) -> Result<Think, BadRequest> {
    let Some(word) = fields.text(key)? else {
        return Ok(Think::Unset);
    };
    Ok(match word.as_str() {
        "" => Think::Unset,
        "none" => Think::Off,
        "minimal" | "low" => Think::Effort(Effort::Low),
        "medium" => Think::Effort(Effort::Medium),
        "high" => Think::Effort(Effort::High),
        "xhigh" | "ultra" | "max" => Think::Effort(Effort::Max),
        _ => return Err(fields.wants(key, "none, minimal, low, medium, high, xhigh, ultra or max")),
    })
}

/// A format's `type`, in small letters.
pub(super) enum FormatType {
    Text,
    Json,
    Schema,
}

/// Reads `type` of a format.
pub(super) fn format_type(format: &mut Fields<'_>) -> Result<FormatType, BadRequest> {
    match format.text("type")?.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text" => Ok(FormatType::Text),
        "json_object" => Ok(FormatType::Json),
        "json_schema" => Ok(FormatType::Schema),
        _ => Err(format.wants("type", "text, json_object or json_schema")),
    }
}

/// `name` and `schema`; without a schema any JSON object will do. `strict` needs no word: a schema
/// always binds.
pub(super) fn schema(mut format: Fields<'_>) -> Result<Format, BadRequest> {
    let name = format.text("name")?;
    Ok(match format.object("schema")? {
        Some(schema) => Format::Schema { name, schema: Value::Object(schema) },
        None => Format::Json,
    })
}

/// Functions of a request. `each` finds the object with name, description and parameters.
pub(super) fn tools(
    top: &mut Fields<'_>,
    dropped: &mut Dropped,
    each: impl Fn(Value, &Place<'_>, &mut Dropped) -> Result<Tool, BadRequest>,
) -> Result<Vec<Tool>, BadRequest> {
    let at = Place::Key(top.at(), "tools");
    let list = top.list("tools", MAX_TOOLS)?.unwrap_or_default();
    list.into_iter().enumerate().map(|(index, tool)| each(tool, &Place::Index(&at, index), dropped)).collect()
}

/// Only functions are taken: what a provider runs itself has nobody to run it here.
pub(super) fn function_type(tool: &mut Fields<'_>) -> Result<(), BadRequest> {
    match tool.text("type")?.as_deref() {
        None | Some("" | "function") => Ok(()),
        Some(_) => Err(tool.wants("type", "\"function\"; no provider's own tools are run for a caller")),
    }
}

/// Name, description and parameters of a function.
pub(super) fn function(mut function: Fields<'_>, dropped: &mut Dropped) -> Result<Tool, BadRequest> {
    let parameters = function.object("parameters")?.map(Value::Object);
    // No backend binds arguments to their schema.
    if function.flag("strict")?.unwrap_or(false) {
        dropped.add("tools.strict");
    }
    let tool = Tool {
        name: function.name("name")?,
        description: function.text("description")?.filter(|text| !text.is_empty()),
        parameters: parameters.unwrap_or_else(|| json!({ "type": "object", "properties": {} })),
    };
    dropped.rest("tools.", function);
    Ok(tool)
}

/// `tool_choice`: a word, `{function: {name}}` (chat) or `{name}` (responses).
pub(super) fn tool_choice(top: &mut Fields<'_>, tools: &[Tool]) -> Result<ToolChoice, BadRequest> {
    let fault = top.wants("tool_choice", "auto, none, required, or one of the functions in `tools`");
    let choice = match top.take("tool_choice") {
        None => return Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => return Err(fault),
        },
        Some(Value::Object(choice)) => {
            let name = choice.get("function").and_then(|function| function.get("name")).or_else(|| choice.get("name"));
            match (choice.get("type").and_then(Value::as_str), name) {
                (Some("function"), Some(Value::String(name))) => ToolChoice::Named(name.clone()),
                _ => return Err(fault),
            }
        }
        Some(_) => return Err(fault),
    };
    let possible = match &choice {
        ToolChoice::Auto | ToolChoice::None => true,
        ToolChoice::Required => !tools.is_empty(),
        ToolChoice::Named(name) => tools.iter().any(|tool| tool.name == *name),
    };
    if possible { Ok(choice) } else { Err(fault) }
}

/// A call's arguments: an object written in a text; an empty text has none.
pub(super) fn arguments(function: &mut Fields<'_>, budget: &mut Budget) -> Result<Map<String, Value>, BadRequest> {
    let text = function.text("arguments")?.unwrap_or_default();
    match text.trim() {
        "" | "null" => Ok(Map::new()),
        text => budget.object(text.as_bytes(), &Place::Key(function.at(), "arguments")),
    }
}

/// A picture in a `data:` URL.
pub(super) fn picture(url: &str, at: &Place<'_>, budget: &mut Budget) -> Result<Part, BadRequest> {
    match budget.images.checked_sub(1) {
        Some(left) => budget.images = left,
        None => return Err(at.wants(&format!("at most {} pictures in one request", super::MAX_IMAGES))),
    }
    image::read_url(url, &at.to_string()).map(Part::Image)
}

/// A text as parts: none for an empty one.
pub(super) fn text_parts(text: String) -> Vec<Part> {
    if text.is_empty() { Vec::new() } else { vec![Part::Text(text)] }
}
