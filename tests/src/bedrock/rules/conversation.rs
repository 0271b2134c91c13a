//! Whose turn it is, and that no turn is empty.

use serde_json::Value;

use super::{Feature, Request, blocks, by_model, ensure, is_blank, list, role};

/// Over system, messages and tools together.
const CACHE_POINTS_MAX: usize = 4;

pub(super) fn check(request: &Request<'_>) -> Result<(), String> {
    turns(request)?;
    for (index, message) in request.messages().iter().enumerate() {
        content(index, message)?;
        reasoning(request, index, message)?;
    }
    system(request)?;
    cache_points(request)
}

fn turns(request: &Request<'_>) -> Result<(), String> {
    let messages = request.messages();
    for message in messages {
        ensure(role(message) != "system", || {
            by_model("messages: Unexpected role \"system\". Use the system field for system prompts.")
        })?;
    }
    ensure(messages.first().is_some_and(|message| role(message) == "user"), || {
        "A conversation must start with a user message. Try again with a conversation that starts with a user \
         message."
            .to_owned()
    })?;
    ensure(messages.windows(2).all(|pair| role(&pair[0]) != role(&pair[1])), || {
        "A conversation must alternate between user and assistant roles. Make sure the conversation alternates \
         between user and assistant roles and try again."
            .to_owned()
    })?;
    let prefilled = messages.last().is_some_and(|message| role(message) == "assistant");
    ensure(!prefilled || request.family.has(Feature::Prefill), || {
        by_model(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )
    })
}

fn content(index: usize, message: &Value) -> Result<(), String> {
    ensure(!list(&message["content"]).is_empty(), || {
        format!(
            "The content field in the Message object at messages.{index} is empty. Add a ContentBlock object to the \
             content field and try again."
        )
    })?;
    for (at, block) in blocks(message) {
        let path = format!("messages.{index}.content.{at}");
        not_blank(&block["text"], "ContentBlock", &path)?;
        not_blank(&block["guardContent"]["text"]["text"], "GuardrailConverseTextBlock", &path)?;
        ensure(block.get("cachePoint").is_none() || at > 0, || {
            format!("A cachePoint must follow the content that it caches, but {path} is the first block.")
        })?;
    }
    Ok(())
}

pub(super) fn not_blank(text: &Value, object: &str, path: &str) -> Result<(), String> {
    ensure(!is_blank(text), || {
        format!("The text field in the {object} object at {path} is blank. Add text to the text field, and try again.")
    })
}

/// Only a model's own turn holds reasoning, and Anthropic's takes none without its signature.
fn reasoning(request: &Request<'_>, index: usize, message: &Value) -> Result<(), String> {
    for (at, block) in blocks(message) {
        let Some(reasoning) = block.get("reasoningContent") else { continue };
        ensure(role(message) == "assistant", || {
            by_model(&format!("messages.{index}.content.{at}: thinking blocks may only be in assistant messages"))
        })?;
        let unsigned = reasoning.get("reasoningText").is_some_and(|text| is_empty(&text["signature"]));
        ensure(!unsigned || !request.family.is_claude(), || {
            by_model(&format!("messages.{index}.content.{at}.thinking.signature: Field required"))
        })?;
    }
    Ok(())
}

fn is_empty(text: &Value) -> bool {
    text.as_str().is_none_or(str::is_empty)
}

fn system(request: &Request<'_>) -> Result<(), String> {
    let system = list(&request.body["system"]);
    ensure(system.is_empty() || request.family.has(Feature::System), || {
        "This model doesn't support system messages. Try again without a system message or use a model that supports \
         system messages."
            .to_owned()
    })?;
    for (at, block) in system.iter().enumerate() {
        not_blank(&block["text"], "SystemContentBlock", &format!("system.{at}"))?;
    }
    Ok(())
}

fn cache_points(request: &Request<'_>) -> Result<(), String> {
    let system = list(&request.body["system"]);
    let in_messages = request.messages().iter().flat_map(|message| list(&message["content"]));
    // The order in which they are read.
    let all = request.tools().iter().chain(system).chain(in_messages);
    let points: Vec<&Value> = all.filter_map(|block| block.get("cachePoint")).collect();
    let in_tools = request.tools().iter().any(|tool| tool.get("cachePoint").is_some());
    let takes = request.family.has(Feature::CachePoints) && (!in_tools || request.family.has(Feature::CachedTools));
    ensure(points.is_empty() || takes, || {
        "You invoked an unsupported model or your request did not allow prompt caching.".to_owned()
    })?;
    for (field, blocks) in [("system", system), ("toolConfig.tools", request.tools())] {
        ensure(blocks.first().is_none_or(|block| block.get("cachePoint").is_none()), || {
            format!("A cachePoint must follow the content that it caches, but {field}.0 is one.")
        })?;
    }
    let is_hour = |point: &&&Value| point["ttl"] == "1h";
    ensure(points.iter().skip_while(is_hour).all(|point| !is_hour(&point)), || {
        by_model("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.")
    })?;
    let count = points.len();
    ensure(count <= CACHE_POINTS_MAX, || {
        by_model(&format!("A maximum of {CACHE_POINTS_MAX} blocks with cache_control may be provided. Found {count}."))
    })
}
