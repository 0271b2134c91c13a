//! What the three routes' requests share: limits, sampling, functions, formats, thinking, pictures.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{MAX_IMAGES, MAX_PARTS, MAX_STOPS, MAX_TOOLS, write};
use crate::chat::{BadRequest, Effort, Format, Part, Sampling, Think, Tool, ToolChoice};
use crate::fields::{ANY, Dropped, Fields, Item, Kind, List, expected, free};
use crate::hints;
use crate::{document, image};

/// What temperature and `top_p` mean where the caller leaves them out: OpenAI's defaults, which
/// Ollama's `/v1` also puts in place of the model's own.
const NEUTRAL: f64 = 1.0;

/// Alternatives of a token, most: Ollama's and OpenAI's bound.
const MAX_LOGPROBS: i64 = 20;

/// A text that must be there and say something.
pub(super) fn name(fields: &mut Fields<'_>, key: &str) -> Result<String, BadRequest> {
    fields.some_text(key)?.ok_or_else(|| fields.expected(key, "a string that is not empty"))
}

/// A list of bounded length; an empty one where it is absent.
pub(super) fn list<'a>(fields: &mut Fields<'a>, key: &str, most: usize) -> Result<List<'a>, BadRequest> {
    match fields.take(key) {
        None => Ok(List::default()),
        Some(item) => item.items(most).map_err(|_| expected(item.place(), &format!("a list of at most {most}"))),
    }
}

/// Names what is left of a body, but for what loses nothing.
pub(super) fn leftovers(mut top: Fields<'_>, dropped: &mut Dropped) {
    for name in hints::top_level() {
        if let Some(value) = top.take(name)
            && hints::is_loss(name, &write::compact(value.json()))
        {
            dropped.note(name);
        }
    }
    top.drop_rest_as("", dropped);
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
        Some(_) => Err(top.expected(key, &format!("a whole number from 0 to {MAX_LOGPROBS}"))),
    }
}

/// `stop`: a text or several.
pub(super) fn stop(top: &mut Fields<'_>) -> Result<Vec<String>, BadRequest> {
    let fault = top.expected("stop", &format!("a string or a list of at most {MAX_STOPS} strings"));
    let texts: Vec<Cow<'_, str>> = match top.take("stop") {
        None => Vec::new(),
        Some(item) if item.kind() == Kind::Text => vec![item.text()?],
        Some(item) => {
            let list = item.items(MAX_STOPS).map_err(|_| fault.clone())?;
            list.map(|item| item.text().map_err(|_| fault.clone())).collect::<Result<_, _>>()?
        }
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).map(Cow::into_owned).collect())
}

/// The stream ends with its token counts.
pub(super) fn include_usage(top: &mut Fields<'_>) -> Result<bool, BadRequest> {
    match top.fields("stream_options", ANY)? {
        Some(mut options) => Ok(options.flag("include_usage")?.unwrap_or(false)),
        None => Ok(false),
    }
}

/// `reasoning.effort`, else `reasoning_effort`: Ollama's words and the further ones of its later
/// versions.
pub(super) fn think(top: &mut Fields<'_>) -> Result<Think, BadRequest> {
    let within = match top.fields("reasoning", ANY)? {
        // `summary` and the like: thought is always given whole.
        Some(mut reasoning) => effort(&mut reasoning, "effort")?,
        None => Think::Unset,
    };
    let beside = effort(top, "reasoning_effort")?;
    Ok(if within == Think::Unset { beside } else { within })
}

fn effort(fields: &mut Fields<'_>, key: &str) -> Result<Think, BadRequest> {
    let Some(word) = fields.text(key)? else {
        return Ok(Think::Unset);
    };
    Ok(match word.as_ref() {
        "" => Think::Unset,
        "none" => Think::Off,
        "minimal" | "low" => Think::Effort(Effort::Low),
        "medium" => Think::Effort(Effort::Medium),
        "high" => Think::Effort(Effort::High),
        "xhigh" | "ultra" | "max" => Think::Effort(Effort::Max),
        _ => return Err(fields.expected(key, "none, minimal, low, medium, high, xhigh, ultra or max")),
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
        _ => Err(format.expected("type", "text, json_object or json_schema")),
    }
}

/// `name` and `schema`; without a schema any JSON object will do. `strict` needs no word: a schema
/// always binds.
pub(super) fn schema(mut format: Fields<'_>) -> Result<Format, BadRequest> {
    let name = format.text("name")?.map(Cow::into_owned);
    Ok(match format.object("schema")? {
        Some(schema) => Format::Schema { name, schema: Value::Object(schema) },
        None => Format::Json,
    })
}

/// Functions of a request. `each` finds the object with name, description and parameters.
pub(super) fn tools(
    top: &mut Fields<'_>,
    dropped: &mut Dropped,
    each: impl Fn(Item<'_>, &mut Dropped) -> Result<Tool, BadRequest>,
) -> Result<Vec<Tool>, BadRequest> {
    list(top, "tools", MAX_TOOLS)?.map(|tool| each(tool, dropped)).collect()
}

/// Only functions are taken: what a provider runs itself has nobody to run it here.
pub(super) fn function_type(tool: &mut Fields<'_>) -> Result<(), BadRequest> {
    match tool.text("type")?.as_deref() {
        None | Some("" | "function") => Ok(()),
        Some(_) => Err(tool.expected("type", "\"function\"; no provider's own tools are run for a caller")),
    }
}

/// Name, description and parameters of a function.
pub(super) fn function(mut function: Fields<'_>, dropped: &mut Dropped) -> Result<Tool, BadRequest> {
    let parameters = function.object("parameters")?.map(Value::Object);
    // No backend binds arguments to their schema.
    if function.flag("strict")?.unwrap_or(false) {
        dropped.note("tools.strict");
    }
    let tool = Tool {
        name: name(&mut function, "name")?,
        description: function.some_text("description")?,
        parameters: parameters.unwrap_or_else(|| json!({ "type": "object", "properties": {} })),
        cache: None,
    };
    function.drop_rest_as("tools.", dropped);
    Ok(tool)
}

/// `tool_choice`: a word, `{function: {name}}` (chat) or `{name}` (responses).
pub(super) fn tool_choice(top: &mut Fields<'_>, tools: &[Tool]) -> Result<ToolChoice, BadRequest> {
    let fault = top.expected("tool_choice", "auto, none, required, or one of the functions in `tools`");
    let Some(item) = top.take("tool_choice") else { return Ok(ToolChoice::Auto) };
    let choice = match item.free()? {
        Value::String(word) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => return Err(fault),
        },
        Value::Object(choice) => {
            let name = choice.get("function").and_then(|function| function.get("name")).or_else(|| choice.get("name"));
            match (choice.get("type").and_then(Value::as_str), name) {
                (Some("function"), Some(Value::String(name))) => ToolChoice::Named(name.clone()),
                _ => return Err(fault),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return Err(fault),
    };
    let possible = match &choice {
        ToolChoice::Auto | ToolChoice::None => true,
        ToolChoice::Required => !tools.is_empty(),
        ToolChoice::Named(name) => tools.iter().any(|tool| tool.name == *name),
    };
    if possible { Ok(choice) } else { Err(fault) }
}

/// A call's arguments: an object written in a text; an empty text has none.
pub(super) fn arguments(function: &mut Fields<'_>) -> Result<Map<String, Value>, BadRequest> {
    let Some(item) = function.take("arguments") else { return Ok(Map::new()) };
    let text = item.text()?;
    match text.trim() {
        "" | "null" => Ok(Map::new()),
        text => {
            item.spend(text)?;
            free::read(text).map_err(|error| match error.is_data() {
                // It would repeat the value.
                true => item.fault("not a JSON object"),
                false => item.fault(&format!("not a JSON object: {error}")),
            })
        }
    }
}

/// How many pictures one request may still have.
#[derive(Debug)]
pub(super) struct Pictures(usize);

impl Pictures {
    pub(super) fn new() -> Self {
        Self(MAX_IMAGES)
    }

    /// A picture in a `data:` URL.
    pub(super) fn read_url(&mut self, url: &str, place: &str) -> Result<Part, BadRequest> {
        self.one_less(place)?;
        image::read_url(url, place).map(Part::Image)
    }

    /// A picture or a sound as bare base64.
    pub(super) fn read(&mut self, base64: &str, place: &str) -> Result<Part, BadRequest> {
        self.one_less(place)?;
        image::read(base64, place).map(Part::Image)
    }

    /// A file of a chat's or a response's: `file_data` and `filename`. None are kept that an id could name.
    pub(super) fn read_file(&mut self, file: &mut Fields<'_>) -> Result<Part, BadRequest> {
        let place = file.at("file_data");
        self.one_less(&place)?;
        let name = file.text("filename")?;
        let data = file.text("file_data")?;
        let data =
            data.ok_or_else(|| file.expected("file_data", "a string; no files are kept that a file_id could name"))?;
        let document = document::read_url(&data, name.as_deref(), &place)?;
        Ok(Part::Document(Box::new(document)))
    }

    fn one_less(&mut self, place: &str) -> Result<(), BadRequest> {
        match self.0.checked_sub(1) {
            Some(left) => self.0 = left,
            None => return Err(expected(place, &format!("at most {MAX_IMAGES} pictures and files in one request"))),
        }
        Ok(())
    }
}

/// Content: a text, or a list whose parts `each` reads; those that say nothing are left out.
pub(super) fn content<'a>(
    item: &Item<'a>,
    mut each: impl FnMut(Item<'a>) -> Result<Option<Part>, BadRequest>,
) -> Result<Vec<Part>, BadRequest> {
    if item.kind() == Kind::Text {
        return Ok(text_parts(item.text()?.into_owned()));
    }
    let what = format!("a string or a list of at most {MAX_PARTS} parts");
    let list = item.items(MAX_PARTS).map_err(|_| expected(item.place(), &what))?;
    list.filter_map(|part| each(part).transpose()).collect()
}

/// A text as parts: none for an empty one.
pub(super) fn text_parts(text: String) -> Vec<Part> {
    if text.is_empty() { Vec::new() } else { vec![Part::Text(text)] }
}
