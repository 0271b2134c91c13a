//! The body of `/v1/messages`, its top level: from Anthropic's JSON to the canonical request.
//!
//! Where Anthropic and Ollama's own `/v1/messages` differ in what they take, Ollama decides. What
//! it ignores but a backend can do (`tool_choice`, `output_config.format`) is honoured.

use std::borrow::Cow;

use serde_json::Value;

use super::blocks::Blocks;
use super::fields::{cache_point, finish, list, number, required_text};
use crate::chat::{
    BadRequest, Effort, Format, Input, Message, Native, Request, Role, Sampling, Think, Tool, ToolChoice,
};
use crate::fields::{ANY, Dropped, Fields, Item, shown};
use crate::hints;

/// Messages of one request, count: far more than fit a model's context.
pub const MAX_MESSAGES: usize = 10_000;

/// Blocks of all messages together, count, those inside tool results included.
pub const MAX_BLOCKS: usize = 20_000;

/// Pictures and documents of one request, count: Anthropic's own limit for pictures.
pub const MAX_IMAGES: usize = 100;

/// Tools of one request, count: agents with every server attached send some 200.
pub const MAX_TOOLS: usize = 1_000;

/// Stop sequences, count; each is looked for at every token.
pub const MAX_STOPS: usize = 64;

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
    let mut top = Fields::of_body(body, ANY)?;
    let mut dropped = Dropped::default();
    let model = required_text(&mut top, "model")?.into_owned();
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
        temperature: number(&mut top, "temperature", f64::MAX)?,
        top_p: number(&mut top, "top_p", 1.0)?,
        top_k: top.whole("top_k")?,
        ..Sampling::default()
    };
    let stop = stops(&mut top)?;
    harmless(&mut top, &mut dropped)?;
    finish(top, "", &mut dropped);
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
        relax_think: true,
        logprobs: None,
        include_usage: true,
        native: Native::default(),
        dropped: dropped.into_names(),
    })
}

fn max_tokens(top: &mut Fields<'_>) -> Result<u32, BadRequest> {
    match top.take("max_tokens").and_then(|item| item.parse()) {
        Some(number) if number > 0_u32 => Ok(number),
        _ => Err(top.fault("max_tokens", "a whole number of 1 or more is required")),
    }
}

/// The system text and the conversation, as one list.
fn messages(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Vec<Message>, BadRequest> {
    let mut blocks = Blocks::new(dropped);
    let mut messages = Vec::new();
    if let Some(system) = top.take("system") {
        blocks.message(Role::System, &system, &mut messages)?;
    }
    let before = messages.len();
    let given = list(top, "messages", MAX_MESSAGES)?;
    for item in given {
        let mut message = item.fields(ANY)?;
        let word = required_text(&mut message, "role")?;
        let Some(role) = Role::of(&word) else {
            let what = "expected `user`, `assistant`, `system`, or a short word that the model's template knows";
            return Err(message.fault("role", what));
        };
        let Some(content) = message.take("content") else {
            return Err(message.fault("content", "a string or a list of blocks is required"));
        };
        finish(message, "messages.", blocks.dropped);
        blocks.message(role, &content, &mut messages)?;
    }
    // Without this an empty conversation would ask Ollama to load the model and answer nothing.
    if messages.len() == before {
        return Err(top.fault("messages", "at least one message that says something is required"));
    }
    Ok(messages)
}

fn tools(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<Vec<Tool>, BadRequest> {
    let given = list(top, "tools", MAX_TOOLS)?;
    let read = |item: Item<'_>| {
        let mut tool = item.fields(ANY)?;
        if let Some(kind) = tool.text("type")?
            && kind != "custom"
        {
            let what = format!(
                "tools of type `{}` are not run here; leave it out, or offer a function of your own (`custom`)",
                shown(&kind)
            );
            return Err(tool.fault("type", &what));
        }
        let name = required_text(&mut tool, "name")?.into_owned();
        let description = tool.some_text("description")?;
        let Some(parameters) = tool.object("input_schema")? else {
            return Err(tool.fault("input_schema", "a JSON schema (an object) is required"));
        };
        let cache = cache_point(&mut tool);
        finish(tool, "tools.", dropped);
        Ok(Tool { name, description, parameters: Value::Object(parameters), cache })
    };
    given.map(read).collect()
}

fn tool_choice(top: &mut Fields<'_>, tools: &[Tool], dropped: &mut Dropped) -> Result<ToolChoice, BadRequest> {
    let Some(mut choice) = top.fields("tool_choice", ANY)? else { return Ok(ToolChoice::Auto) };
    if choice.flag("disable_parallel_tool_use")? == Some(true) {
        dropped.note("tool_choice.disable_parallel_tool_use");
    }
    let kind = required_text(&mut choice, "type")?;
    let chosen = match kind.as_ref() {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "any" if tools.is_empty() => return Err(choice.fault("type", "`any` needs `tools`")),
        "any" => ToolChoice::Required,
        "tool" => {
            let name = required_text(&mut choice, "name")?.into_owned();
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
    finish(choice, "tool_choice.", dropped);
    Ok(chosen)
}

/// The answer's form, and how hard the model tries. The form stood at the top (`output_format`)
/// before it got its place in `output_config`; clients of both ages are served.
fn output_config(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<(Format, Option<Effort>), BadRequest> {
    let mut form = top.fields("output_format", ANY)?;
    let mut effort = None;
    if let Some(mut config) = top.fields("output_config", ANY)? {
        if let Some(word) = config.text("effort")? {
            effort = Some(effort_of(&word).ok_or_else(|| {
                let what = format!("expected `low`, `medium`, `high`, `xhigh` or `max`, found `{}`", shown(&word));
                config.fault("effort", &what)
            })?);
        }
        if let Some(newer) = config.fields("format", ANY)?
            && form.replace(newer).is_some()
        {
            return Err(config.fault("format", "`output_format` says it too; send one of them"));
        }
        finish(config, "output_config.", dropped);
    }
    let Some(mut form) = form else { return Ok((Format::Text, effort)) };
    let kind = required_text(&mut form, "type")?;
    if kind != "json_schema" {
        return Err(form.fault("type", &format!("expected `json_schema`, found `{}`", shown(&kind))));
    }
    let name = form.text("name")?.map(Cow::into_owned);
    let Some(schema) = form.object("schema")? else {
        return Err(form.fault("schema", "a JSON schema (an object) is required"));
    };
    finish(form, "output_config.format.", dropped);
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
fn thinking(top: &mut Fields<'_>, effort: Option<Effort>, dropped: &mut Dropped) -> Result<Think, BadRequest> {
    let by_itself = effort.map_or(Think::Unset, Think::Effort);
    let Some(mut thinking) = top.fields("thinking", ANY)? else { return Ok(by_itself) };
    let kind = required_text(&mut thinking, "type")?;
    let think = match kind.as_ref() {
        "disabled" => Think::Off,
        "enabled" => effort.map_or(Think::On, Think::Effort),
        "adaptive" => by_itself,
        _ => {
            let what = format!("expected `enabled`, `disabled` or `adaptive`, found `{}`", shown(&kind));
            return Err(thinking.fault("type", &what));
        }
    };
    if let Some(budget) = thinking.whole("budget_tokens")? {
        if budget < 1 {
            return Err(thinking.fault("budget_tokens", "expected a whole number of 1 or more"));
        }
        // Local models have no bound for thought alone.
        dropped.note("thinking.budget_tokens");
    }
    finish(thinking, "thinking.", dropped);
    Ok(think)
}

fn stops(top: &mut Fields<'_>) -> Result<Vec<String>, BadRequest> {
    let given = list(top, "stop_sequences", MAX_STOPS)?;
    let read = |item: Item<'_>| match item.text()? {
        text if text.is_empty() => Err(item.fault("an empty text would end every answer")),
        text => Ok(text.into_owned()),
    };
    given.map(read).collect()
}

/// Fields whose wish is met without doing anything: `metadata` only names the caller's user, and
/// every request here is of the standard tier.
fn harmless(top: &mut Fields<'_>, dropped: &mut Dropped) -> Result<(), BadRequest> {
    top.fields("metadata", ANY)?;
    if let Some(tier) = top.take("service_tier") {
        tier.text()?;
        if hints::is_loss("service_tier", tier.json()) {
            dropped.note("service_tier");
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
