//! From a caller's body on `/api/chat` and `/api/generate` to the canonical request.

use serde_json::{Map, Value};

use super::messages;
use crate::chat::{BadRequest, Effort, Format, Input, Native, Prompt, Request, Sampling, Think, Tool, ToolChoice};
use crate::fields::{Dropped, Fields, expected};
use crate::native::KeepAlive;

/// Token numbers of an earlier answer, count: more than the longest context of any local model.
pub const MAX_CONTEXT: usize = 1_048_576;

/// Texts that end an answer, count: Ollama looks for each of them after every token.
pub const MAX_STOPS: usize = 64;

/// Most alternatives that Ollama tells of a token, count.
const MAX_ALTERNATIVES: i64 = 20;

const CHAT: [&str; 14] = [
    "model",
    "name",
    "messages",
    "stream",
    "format",
    "keep_alive",
    "tools",
    "options",
    "think",
    "truncate",
    "shift",
    "_debug_render_only",
    "logprobs",
    "top_logprobs",
];

const GENERATE: [&str; 19] = [
    "model",
    "name",
    "prompt",
    "suffix",
    "system",
    "template",
    "context",
    "stream",
    "raw",
    "format",
    "keep_alive",
    "images",
    "options",
    "think",
    "truncate",
    "shift",
    "_debug_render_only",
    "logprobs",
    "top_logprobs",
];

/// Reads the body of `/api/chat`.
///
/// # Errors
///
/// Whatever Ollama answers with 400 by the body alone, and more than the limits of this module; the
/// message names the place.
pub fn parse_chat(body: &[u8]) -> Result<Request, BadRequest> {
    let mut fields = Fields::of_body(body, &CHAT)?;
    let mut dropped = Dropped::default();
    let messages = messages::read(&mut fields, &mut dropped)?;
    let tools = messages::tools(&mut fields, &mut dropped)?;
    common(fields, Input::Chat(messages), tools, Native::default(), dropped)
}

/// Reads the body of `/api/generate`.
///
/// # Errors
///
/// As [`parse_chat`].
pub fn parse_generate(body: &[u8]) -> Result<Request, BadRequest> {
    let mut fields = Fields::of_body(body, &GENERATE)?;
    let prompt = Prompt {
        text: fields.text("prompt")?.unwrap_or_default().into_owned(),
        system: fields.some_text("system")?,
        images: messages::images(&mut fields)?,
        suffix: fields.some_text("suffix")?,
    };
    let native = Native {
        raw: fields.flag("raw")?.unwrap_or_default(),
        template: fields.some_text("template")?,
        context: context(&mut fields)?,
        ..Native::default()
    };
    if native.raw && (native.template.is_some() || prompt.system.is_some() || native.context.is_some()) {
        return Err(BadRequest("raw: goes with none of `template`, `system` and `context`".to_owned()));
    }
    common(fields, Input::Prompt(Box::new(prompt)), Vec::new(), native, Dropped::default())
}

/// What both routes have.
fn common(
    mut fields: Fields<'_>,
    input: Input,
    tools: Vec<Tool>,
    mut native: Native,
    dropped: Dropped,
) -> Result<Request, BadRequest> {
    let model = model(&mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(true);
    let format = format(&mut fields)?;
    let think = think(&mut fields)?;
    let logprobs = logprobs(&mut fields)?;
    let options = fields.object("options")?.unwrap_or_default();
    let Drawn { sampling, max_tokens, stop } = draw(options, &mut native.options)?;
    native.keep_alive = keep_alive(&mut fields)?;
    native.truncate = fields.flag("truncate")?;
    native.unknown = fields.rest()?;
    Ok(Request {
        model,
        stream,
        input,
        tools,
        tool_choice: ToolChoice::Auto,
        sampling,
        max_tokens,
        stop,
        format,
        think,
        relax_think: false,
        logprobs,
        include_usage: false,
        native,
        dropped: dropped.into_names(),
    })
}

/// `model`, or `name` where only that is given, as the relay reads it ([`crate::envelope::read`]).
pub(crate) fn model(fields: &mut Fields<'_>) -> Result<String, BadRequest> {
    let (model, name) = (fields.some_text("model")?, fields.some_text("name")?);
    model.or(name).ok_or_else(|| expected("model", "the model's name"))
}

fn context(fields: &mut Fields<'_>) -> Result<Option<Vec<i64>>, BadRequest> {
    let list = fields.list("context", MAX_CONTEXT)?;
    let numbers: Vec<i64> =
        list.map(|item| item.parse().ok_or_else(|| item.expected("a whole number"))).collect::<Result<_, _>>()?;
    Ok((!numbers.is_empty()).then_some(numbers))
}

fn format(fields: &mut Fields<'_>) -> Result<Format, BadRequest> {
    let Some(item) = fields.take("format") else { return Ok(Format::Text) };
    match item.free()? {
        Value::String(word) if word.is_empty() => Ok(Format::Text),
        Value::String(word) if word == "json" => Ok(Format::Json),
        schema @ Value::Object(_) => Ok(Format::Schema { name: None, schema }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(fields.expected("format", "`json` or a JSON schema"))
        }
    }
}

fn think(fields: &mut Fields<'_>) -> Result<Think, BadRequest> {
    let Some(item) = fields.take("think") else { return Ok(Think::Unset) };
    match item.json() {
        "true" => Ok(Think::On),
        "false" => Ok(Think::Off),
        r#""low""# => Ok(Think::Effort(Effort::Low)),
        r#""medium""# => Ok(Think::Effort(Effort::Medium)),
        r#""high""# => Ok(Think::Effort(Effort::High)),
        r#""max""# => Ok(Think::Effort(Effort::Max)),
        _ => Err(fields.expected("think", "true, false, `low`, `medium`, `high` or `max`")),
    }
}

fn logprobs(fields: &mut Fields<'_>) -> Result<Option<u8>, BadRequest> {
    let wanted = fields.flag("logprobs")?.unwrap_or_default();
    let alternatives = fields.whole("top_logprobs")?.unwrap_or_default();
    match u8::try_from(alternatives) {
        Ok(alternatives) if i64::from(alternatives) <= MAX_ALTERNATIVES => Ok(wanted.then_some(alternatives)),
        _ => Err(fields.expected("top_logprobs", "a whole number from 0 to 20")),
    }
}

/// `keep_alive` as the caller wrote it, once it is known to be one.
pub(crate) fn keep_alive(fields: &mut Fields<'_>) -> Result<Option<Value>, BadRequest> {
    let Some(item) = fields.take("keep_alive") else { return Ok(None) };
    let value = item.free()?;
    match KeepAlive::read(&value) {
        Some(_) => Ok(Some(value)),
        None => Err(expected(item.place(), "a number of seconds or a duration such as `5m`")),
    }
}

/// What every dialect knows of `options`.
struct Drawn {
    sampling: Sampling,
    max_tokens: Option<u32>,
    stop: Vec<String>,
}

/// Splits `options`: what every dialect knows, and the others, which go to `native`.
fn draw(mut options: Map<String, Value>, native: &mut Map<String, Value>) -> Result<Drawn, BadRequest> {
    let sampling = Sampling {
        temperature: number(&mut options, "temperature")?,
        top_p: number(&mut options, "top_p")?,
        top_k: whole(&mut options, "top_k")?,
        min_p: number(&mut options, "min_p")?,
        seed: whole(&mut options, "seed")?,
        frequency_penalty: number(&mut options, "frequency_penalty")?,
        presence_penalty: number(&mut options, "presence_penalty")?,
    };
    let max_tokens = match whole(&mut options, "num_predict")? {
        Some(limit) if limit > 0 => Some(u32::try_from(limit).unwrap_or(u32::MAX)),
        // -1 and -2 mean no limit and the context's rest; 0 is read as no limit.
        Some(other) => {
            options.insert("num_predict".to_owned(), other.into());
            None
        }
        None => None,
    };
    let stop = stops(options.shift_remove("stop"))?;
    check_others(&options)?;
    options.retain(|_, value| !value.is_null());
    *native = options;
    Ok(Drawn { sampling, max_tokens, stop })
}

/// Options that stay as they are, with the type that Ollama wants (`Options` in `api/types.go`): it
/// answers another one with 500.
pub(crate) fn check_others(options: &Map<String, Value>) -> Result<(), BadRequest> {
    for (name, value) in options.iter().filter(|(_, value)| !value.is_null()) {
        let (right, what) = match name.as_str() {
            "num_keep" | "repeat_last_n" | "num_ctx" | "num_batch" | "num_gpu" | "main_gpu" | "num_thread" | "seed"
            | "top_k" | "num_predict" => (value.is_number(), "a whole number"),
            "typical_p" | "repeat_penalty" | "temperature" | "top_p" | "min_p" | "presence_penalty"
            | "frequency_penalty" => (value.is_number(), "a number"),
            "use_mmap" => (value.is_boolean(), "true or false"),
            _ => (true, ""),
        };
        if !right {
            return Err(expected(&format!("options.{name}"), what));
        }
    }
    Ok(())
}

fn number(options: &mut Map<String, Value>, name: &str) -> Result<Option<f64>, BadRequest> {
    match options.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| expected(&format!("options.{name}"), "a number")),
    }
}

/// Ollama cuts the fraction off.
fn whole(options: &mut Map<String, Value>, name: &str) -> Result<Option<i64>, BadRequest> {
    let value = match options.shift_remove(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    #[expect(clippy::cast_possible_truncation, reason = "the cut is Ollama's own; the cast saturates")]
    let cut = value.as_i64().or_else(|| value.as_f64().map(|number| number as i64));
    cut.map(Some).ok_or_else(|| expected(&format!("options.{name}"), "a whole number"))
}

fn stops(value: Option<Value>) -> Result<Vec<String>, BadRequest> {
    let list = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(expected("options.stop", "an array of strings")),
    };
    if list.len() > MAX_STOPS {
        return Err(BadRequest(format!("options.stop: more than {MAX_STOPS} items")));
    }
    let mut stops = Vec::new();
    for (number, item) in list.into_iter().enumerate() {
        match item {
            // An empty text would end every answer before its first token.
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => stops.push(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                return Err(expected(&format!("options.stop[{number}]"), "a string"));
            }
        }
    }
    Ok(stops)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
