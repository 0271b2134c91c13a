//! The body of `/v1/messages`, its top level: from Anthropic's JSON to the canonical request.
//!
//! Where Anthropic and Ollama's own `/v1/messages` differ in what they take, Ollama decides. What
//! it ignores but a backend can do (`tool_choice`, `output_config.format`) is honoured.

use serde_json::Value;

use super::blocks::Blocks;
use super::fields::{Dropped, Object, count_values, shown, unexpected};
use crate::chat::{
    BadRequest, Effort, Format, Input, Message, Native, Request, Role, Sampling, Think, Tool, ToolChoice,
};

/// Messages of one request, count: far more than fit a model's context.
pub const MAX_MESSAGES: usize = 10_000;

/// Blocks of all messages together, count, those inside tool results included.
pub const MAX_BLOCKS: usize = 20_000;

/// Pictures of one request, count: Anthropic's own limit.
pub const MAX_IMAGES: usize = 100;

/// Tools of one request, count: agents with every server attached send some 200.
pub const MAX_TOOLS: usize = 1_000;

/// Stop sequences, count; each is looked for at every token.
pub const MAX_STOPS: usize = 64;

/// JSON values of one body, count, about. A value of two bytes can take 600 in memory (an object
/// with one member), so this bounds a request to some 60 MiB beside its texts.
pub const MAX_VALUES: usize = 100_000;

/// Reads the body of `/v1/messages`.
///
/// # Errors
///
/// Not JSON, not this dialect's, or over a limit of this module; the message names the place
/// (`messages[2].content[0].type`) and what was expected.
pub fn parse(body: &[u8]) -> Result<Request, BadRequest> {
    read(body, Wanted::Answer)
}

/// What the caller wants of the messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// An answer, of so many tokens at most.
    Answer,
    /// The number of their tokens.
    Count,
}

pub(super) fn read(body: &[u8], wanted: Wanted) -> Result<Request, BadRequest> {
    let mut top = top_level(body)?;
    let mut dropped = Dropped::default();
    let model = top.required_text("model")?;
    let max_tokens = match wanted {
        Wanted::Answer => Some(max_tokens(&mut top)?),
        Wanted::Count => None,
    };
    let stream = top.flag("stream")?.unwrap_or(false);
    let messages = messages(&mut top, &mut dropped)?;
    let tools = tools(&mut top, &mut dropped)?;
    let tool_choice = tool_choice(&mut top, &tools, &mut dropped)?;
    let (format, effort) = output_config(&mut top, &mut dropped)?;
    let think = thinking(&mut top, effort, &mut dropped)?;
    let sampling = Sampling {
        temperature: top.number("temperature", f64::MAX)?,
        top_p: top.number("top_p", 1.0)?,
        top_k: top.integer("top_k")?,
        ..Sampling::default()
    };
    let stop = stops(&mut top)?;
    harmless(&mut top, &mut dropped)?;
    top.finish("", &mut dropped);
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
        logprobs: None,
        include_usage: true,
        native: Native::default(),
        dropped: dropped.names,
    })
}

fn top_level(body: &[u8]) -> Result<Object, BadRequest> {
    let values = count_values(body);
    if values > MAX_VALUES {
        return Err(BadRequest(format!("the body has about {values} JSON values; at most {MAX_VALUES} are taken")));
    }
    let value: Value =
        serde_json::from_slice(body).map_err(|error| BadRequest(format!("the body is not JSON: {error}")))?;
    Object::of(value, String::new())
}

fn max_tokens(top: &mut Object) -> Result<u32, BadRequest> {
    let given = top.take("max_tokens").and_then(|value| value.as_u64()).and_then(|number| u32::try_from(number).ok());
    match given {
        Some(number) if number > 0 => Ok(number),
        _ => Err(top.fault("max_tokens", "a whole number of 1 or more is required")),
    }
}

/// The system text and the conversation, as one list.
fn messages(top: &mut Object, dropped: &mut Dropped) -> Result<Vec<Message>, BadRequest> {
    let mut blocks = Blocks::new(dropped);
    let mut messages = Vec::new();
    if let Some(system) = top.take("system") {
        blocks.message(Role::System, system, top.at("system"), &mut messages)?;
    }
    let before = messages.len();
    let given = top.list("messages", MAX_MESSAGES)?.unwrap_or_default();
    for (number, value) in given.into_iter().enumerate() {
        let mut message = Object::of(value, format!("messages[{number}]"))?;
        let word = message.required_text("role")?;
        let role = match word.to_ascii_lowercase().as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => {
                let what = format!("expected `user`, `assistant` or `system`, found `{}`", shown(&word));
                return Err(message.fault("role", &what));
            }
        };
        let Some(content) = message.take("content") else {
            return Err(message.fault("content", "a string or a list of blocks is required"));
        };
        let place = message.at("content");
        message.finish("messages.", blocks.dropped);
        blocks.message(role, content, place, &mut messages)?;
    }
    // Without this an empty conversation would ask Ollama to load the model and answer nothing.
    if messages.len() == before {
        return Err(top.fault("messages", "at least one message that says something is required"));
    }
    Ok(messages)
}

fn tools(top: &mut Object, dropped: &mut Dropped) -> Result<Vec<Tool>, BadRequest> {
    let given = top.list("tools", MAX_TOOLS)?.unwrap_or_default();
    let read = |(number, value)| {
        let mut tool = Object::of(value, format!("tools[{number}]"))?;
        if let Some(kind) = tool.text("type")?
            && kind != "custom"
        {
            let what = format!(
                "tools of type `{}` are not run here; leave it out, or offer a function of your own (`custom`)",
                shown(&kind)
            );
            return Err(tool.fault("type", &what));
        }
        let name = tool.required_text("name")?;
        let description = tool.text("description")?.filter(|text| !text.is_empty());
        let Some(parameters) = tool.map("input_schema")? else {
            return Err(tool.fault("input_schema", "a JSON schema (an object) is required"));
        };
        tool.finish("tools.", dropped);
        Ok(Tool { name, description, parameters: Value::Object(parameters) })
    };
    given.into_iter().enumerate().map(read).collect()
}

fn tool_choice(top: &mut Object, tools: &[Tool], dropped: &mut Dropped) -> Result<ToolChoice, BadRequest> {
    let Some(mut choice) = top.object("tool_choice")? else { return Ok(ToolChoice::Auto) };
    if choice.flag("disable_parallel_tool_use")? == Some(true) {
        dropped.add("tool_choice.disable_parallel_tool_use");
    }
    let kind = choice.required_text("type")?;
    let chosen = match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "any" if tools.is_empty() => return Err(choice.fault("type", "`any` needs `tools`")),
        "any" => ToolChoice::Required,
        "tool" => {
            let name = choice.required_text("name")?;
            if !tools.iter().any(|tool| tool.name == name) {
                return Err(choice.fault("name", &format!("no tool is called `{}`", shown(&name))));
            }
            ToolChoice::Named(name)
        }
        _ => {
            let what = format!("expected `auto`, `any`, `tool` or `none`, found `{}`", shown(&kind));
            return Err(choice.fault("type", &what));
        }
    };
    choice.finish("tool_choice.", dropped);
    Ok(chosen)
}

/// The answer's form, and how hard the model tries. The form stood at the top (`output_format`)
/// before it got its place in `output_config`; clients of both ages are served.
fn output_config(top: &mut Object, dropped: &mut Dropped) -> Result<(Format, Option<Effort>), BadRequest> {
    let mut form = top.object("output_format")?;
    let mut effort = None;
    if let Some(mut config) = top.object("output_config")? {
        if let Some(word) = config.text("effort")? {
            effort = Some(effort_of(&word).ok_or_else(|| {
                let what = format!("expected `low`, `medium`, `high`, `xhigh` or `max`, found `{}`", shown(&word));
                config.fault("effort", &what)
            })?);
        }
        if let Some(newer) = config.object("format")?
            && form.replace(newer).is_some()
        {
            return Err(config.fault("format", "`output_format` says it too; send one of them"));
        }
        config.finish("output_config.", dropped);
    }
    let Some(mut form) = form else { return Ok((Format::Text, effort)) };
    let kind = form.required_text("type")?;
    if kind != "json_schema" {
        return Err(form.fault("type", &format!("expected `json_schema`, found `{}`", shown(&kind))));
    }
    let name = form.text("name")?;
    let Some(schema) = form.map("schema")? else {
        return Err(form.fault("schema", "a JSON schema (an object) is required"));
    };
    form.finish("output_config.format.", dropped);
    Ok((Format::Schema { name, schema: Value::Object(schema) }, effort))
}

fn effort_of(word: &str) -> Option<Effort> {
    match word.trim().to_ascii_lowercase().as_str() {
        "low" => Some(Effort::Low),
        "medium" => Some(Effort::Medium),
        // Ollama's own reading; it has no level between `high` and `max`.
        "high" | "xhigh" => Some(Effort::High),
        "max" => Some(Effort::Max),
        _ => None,
    }
}

/// Absent and `adaptive` leave it to the model, as in Ollama (Anthropic itself takes absent for
/// off); an effort counts unless thinking is off.
fn thinking(top: &mut Object, effort: Option<Effort>, dropped: &mut Dropped) -> Result<Think, BadRequest> {
    let by_itself = effort.map_or(Think::Unset, Think::Effort);
    let Some(mut thinking) = top.object("thinking")? else { return Ok(by_itself) };
    let kind = thinking.required_text("type")?;
    let think = match kind.as_str() {
        "disabled" => Think::Off,
        "enabled" => effort.map_or(Think::On, Think::Effort),
        "adaptive" => by_itself,
        _ => {
            let what = format!("expected `enabled`, `disabled` or `adaptive`, found `{}`", shown(&kind));
            return Err(thinking.fault("type", &what));
        }
    };
    if let Some(budget) = thinking.integer("budget_tokens")? {
        if budget < 1 {
            return Err(thinking.fault("budget_tokens", "expected a whole number of 1 or more"));
        }
        // Local models have no bound for thought alone.
        dropped.add("thinking.budget_tokens");
    }
    thinking.finish("thinking.", dropped);
    Ok(think)
}

fn stops(top: &mut Object) -> Result<Vec<String>, BadRequest> {
    let given = top.list("stop_sequences", MAX_STOPS)?.unwrap_or_default();
    let read = |(number, value)| match value {
        Value::String(text) if !text.is_empty() => Ok(text),
        Value::String(_) => Err(BadRequest(format!("stop_sequences[{number}]: an empty text would end every answer"))),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(unexpected(&format!("stop_sequences[{number}]"), "a string", &other))
        }
    };
    given.into_iter().enumerate().map(read).collect()
}

/// Fields whose wish is met without doing anything: `metadata` only names the caller's user, and
/// every request here is of the standard tier.
fn harmless(top: &mut Object, dropped: &mut Dropped) -> Result<(), BadRequest> {
    top.map("metadata")?;
    match top.text("service_tier")?.as_deref() {
        None | Some("auto" | "standard_only") => {}
        Some(_) => dropped.add("service_tier"),
    }
    Ok(())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
