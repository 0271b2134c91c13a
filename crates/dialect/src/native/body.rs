//! The body of a native request, borrowed from the canonical one.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Bounds;
use super::bounds::{bound_keep_alive, bound_options, reserved};
use crate::chat::{
    Document, Effort, Format, Input, Message, Native, Part, Prompt, Request, Think, Tool, ToolChoice, ToolResult,
};
use crate::model::ModelName;
use crate::ollama::encode::Call;

#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    #[serde(flatten)]
    input: InputBody<'a>,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolBody<'a>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    options: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Cow<'a, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    #[serde(flatten)]
    unknown: HashMap<&'a str, &'a Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum InputBody<'a> {
    Chat { messages: Vec<Said<'a>> },
    Prompt(PromptBody<'a>),
}

#[derive(Serialize)]
struct PromptBody<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suffix: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a [i64]>,
}

#[derive(Serialize)]
struct ToolBody<'a> {
    r#type: &'static str,
    function: FunctionBody<'a>,
}

#[derive(Serialize)]
struct FunctionBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: &'a Value,
}

/// One message as Ollama takes it.
#[derive(Serialize, Default)]
struct Said<'a> {
    role: &'a str,
    content: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: Cow<'a, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

impl<'a> Body<'a> {
    /// What policy took out is added to `removed`, what Ollama cannot do to `lost`.
    pub(super) fn new(
        request: &'a Request,
        model: &'a ModelName,
        bounds: &Bounds,
        removed: &mut Vec<String>,
        lost: &mut Vec<String>,
    ) -> Self {
        let native = &request.native;
        let input = match &request.input {
            Input::Chat(messages) => {
                for (given, name) in [
                    (native.raw, "raw"),
                    (native.template.is_some(), "template"),
                    (native.context.is_some(), "context"),
                ] {
                    lose_if(given, name, lost);
                }
                InputBody::Chat { messages: said(messages, lost) }
            }
            Input::Prompt(prompt) => InputBody::Prompt(PromptBody::new(prompt, native, bounds, removed)),
        };
        let no_tools = request.tool_choice == ToolChoice::None;
        let tools: &[Tool] = if no_tools { &[] } else { &request.tools };
        lose_if(tools.iter().any(|tool| tool.cache.is_some()), "cache_control", lost);
        let tools = match &request.input {
            Input::Chat(_) => tools.iter().map(ToolBody::new).collect(),
            Input::Prompt(_) => {
                lose_if(!tools.is_empty(), "tools", lost);
                Vec::new()
            }
        };
        Self {
            model: model.as_short(),
            input,
            stream: true,
            tools,
            options: options(request, bounds, removed),
            format: format(&request.format),
            think: think(asked_think(request, bounds, lost)),
            keep_alive: bound_keep_alive(native.keep_alive.as_ref(), bounds, removed),
            truncate: native.truncate,
            logprobs: request.logprobs.map(|_| true),
            top_logprobs: request.logprobs.filter(|alternatives| *alternatives > 0),
            unknown: unknown(&native.unknown, removed, lost),
        }
    }
}

impl<'a> PromptBody<'a> {
    fn new(prompt: &'a Prompt, native: &'a Native, bounds: &Bounds, removed: &mut Vec<String>) -> Self {
        let (raw, template) = (native.raw.then_some(true), native.template.as_deref());
        if !bounds.templates {
            removed.extend(raw.map(|_| "raw".to_owned()));
            removed.extend(template.map(|_| "template".to_owned()));
        }
        Self {
            prompt: &prompt.text,
            system: prompt.system.as_deref(),
            suffix: prompt.suffix.as_deref(),
            images: prompt.images.iter().map(|image| image.base64.as_str()).collect(),
            raw: raw.filter(|_| bounds.templates),
            template: template.filter(|_| bounds.templates),
            context: native.context.as_deref(),
        }
    }
}

impl<'a> ToolBody<'a> {
    fn new(tool: &'a Tool) -> Self {
        let function =
            FunctionBody { name: &tool.name, description: tool.description.as_deref(), parameters: &tool.parameters };
        Self { r#type: "function", function }
    }
}

fn lose_if(given: bool, name: &str, lost: &mut Vec<String>) {
    if given && !lost.iter().any(|earlier| earlier == name) {
        lost.push(name.to_owned());
    }
}

/// Ollama has one text, one thought and its pictures a message, and a message for each result. Its own
/// `/v1/messages` and `/v1/responses` put nothing between the texts of one message, and of several
/// thoughts keep the last.
fn said<'a>(messages: &'a [Message], lost: &mut Vec<String>) -> Vec<Said<'a>> {
    let mut all = Vec::with_capacity(messages.len());
    let mut names: HashMap<&str, &str> = HashMap::new();
    for message in messages {
        let role = message.role.as_str();
        let mut now = Said { role, ..Said::default() };
        for part in &message.parts {
            match part {
                Part::Text(text) => join(&mut now.content, text),
                Part::Image(image) => now.images.push(&image.base64),
                Part::Document(document) => document_text(&mut now.content, document, lost),
                // Ollama keeps what it has read anyway.
                Part::CachePoint(_) => lose_if(true, "cache_control", lost),
                // A seal means nothing to a local model.
                Part::Thinking { text, signature: _ } if text.is_empty() => {}
                Part::Thinking { text, signature: _ } => now.thinking = Cow::Borrowed(text),
                Part::ToolCall(call) => {
                    names.insert(&call.id, &call.name);
                    now.tool_calls.push(Call::new(now.tool_calls.len(), call));
                }
                Part::ToolResult(result) => {
                    if !now.is_empty() {
                        all.push(std::mem::replace(&mut now, Said { role, ..Said::default() }));
                    }
                    lose_if(result.failed, "is_error", lost);
                    all.push(tool_result(result, &names, lost));
                }
            }
        }
        let only_results = message.parts.iter().any(|part| matches!(part, Part::ToolResult(_)));
        if !now.is_empty() || !only_results {
            all.push(now);
        }
    }
    all
}

impl Said<'_> {
    fn is_empty(&self) -> bool {
        self.content.is_empty() && self.thinking.is_empty() && self.images.is_empty() && self.tool_calls.is_empty()
    }
}

/// Templates tell results apart by the function's name; some dialects give the id alone.
fn tool_result<'a>(result: &'a ToolResult, names: &HashMap<&str, &'a str>, lost: &mut Vec<String>) -> Said<'a> {
    let id = result.id.as_deref();
    let tool_name = result.name.as_deref().or_else(|| names.get(id?).copied());
    let mut said = Said { role: "tool", tool_name, tool_call_id: id, ..Said::default() };
    for part in &result.parts {
        match part {
            Part::Text(text) => join(&mut said.content, text),
            Part::Image(image) => said.images.push(&image.base64),
            Part::Document(document) => document_text(&mut said.content, document, lost),
            // No dialect can put these into a result.
            Part::CachePoint(_) | Part::Thinking { .. } | Part::ToolCall(_) | Part::ToolResult(_) => {}
        }
    }
    said
}

/// A document as a text; where it is none nobody here can read it.
fn document_text(all: &mut Cow<'_, str>, document: &Document, lost: &mut Vec<String>) {
    match document.as_text() {
        Some(text) => all.to_mut().push_str(&text),
        None => lose_if(true, "documents", lost),
    }
}

fn join<'a>(all: &mut Cow<'a, str>, text: &'a str) {
    if all.is_empty() {
        *all = Cow::Borrowed(text);
    } else {
        all.to_mut().push_str(text);
    }
}

fn options(request: &Request, bounds: &Bounds, removed: &mut Vec<String>) -> Map<String, Value> {
    let sampling = &request.sampling;
    let mut options = bound_options(&request.native.options, bounds, removed);
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            options.insert(name.to_owned(), value);
        }
    };
    set("temperature", sampling.temperature.map(Value::from));
    set("top_p", sampling.top_p.map(Value::from));
    set("top_k", sampling.top_k.map(Value::from));
    set("min_p", sampling.min_p.map(Value::from));
    set("seed", sampling.seed.map(Value::from));
    set("frequency_penalty", sampling.frequency_penalty.map(Value::from));
    set("presence_penalty", sampling.presence_penalty.map(Value::from));
    set("num_predict", request.max_tokens.map(Value::from));
    set("stop", (!request.stop.is_empty()).then(|| request.stop.clone().into()));
    options
}

fn format(format: &Format) -> Option<Cow<'_, Value>> {
    match format {
        Format::Text => None,
        Format::Json => Some(Cow::Owned(Value::from("json"))),
        Format::Schema { name: _, schema } => Some(Cow::Borrowed(schema)),
    }
}

/// What is asked of the model; `Off` is what one that cannot think does anyway, and Ollama takes it.
fn asked_think(request: &Request, bounds: &Bounds, lost: &mut Vec<String>) -> Think {
    match request.think {
        Think::On | Think::Effort(_) if request.relax_think && !bounds.thinks => {
            lose_if(true, "thinking", lost);
            Think::Unset
        }
        think @ (Think::Unset | Think::Off | Think::On | Think::Effort(_)) => think,
    }
}

fn think(think: Think) -> Option<Value> {
    match think {
        Think::Unset => None,
        Think::Off => Some(Value::Bool(false)),
        Think::On => Some(Value::Bool(true)),
        Think::Effort(effort) => Some(Value::from(match effort {
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Max => "max",
        })),
    }
}

/// Fields that we do not know go on to Ollama, but for those that it would take for others.
fn unknown<'a>(
    members: &'a Map<String, Value>,
    removed: &mut Vec<String>,
    lost: &mut Vec<String>,
) -> HashMap<&'a str, &'a Value> {
    let mut kept = HashMap::new();
    for (name, value) in members {
        match reserved(name) {
            Some(known @ ("shift" | "_debug_render_only")) => removed.push(known.to_owned()),
            Some(known) => lose_if(true, known, lost),
            None => {
                kept.insert(name.as_str(), value);
            }
        }
    }
    kept
}
