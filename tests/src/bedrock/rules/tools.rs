//! Tools, calls of them, and results: every call is answered in the very next turn, by id.

use std::collections::BTreeSet;

use serde_json::Value;

use super::conversation::not_blank;
use super::{Feature, Request, blocks, by_model, ensure, list, role};

pub(super) fn check(request: &Request<'_>) -> Result<(), String> {
    let messages = request.messages();
    definitions(request)?;
    choice(request)?;
    let used = messages
        .iter()
        .flat_map(blocks)
        .any(|(_, block)| block.get("toolUse").is_some() || block.get("toolResult").is_some());
    ensure(!used || request.body.get("toolConfig").is_some_and(|config| !config.is_null()), || {
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.".to_owned()
    })?;
    for (index, message) in messages.iter().enumerate() {
        for (at, block) in blocks(message) {
            call(index, at, message, block)?;
            result(index, at, message, block)?;
        }
        answered(index, index.checked_sub(1).map(|before| &messages[before]), message)?;
    }
    let open = messages.last().map(|last| ids(last, "toolUse")).unwrap_or_default();
    ensure(open.is_empty(), || missing(messages.len(), &open))
}

fn definitions(request: &Request<'_>) -> Result<(), String> {
    let config = &request.body["toolConfig"];
    ensure(config.is_null() || request.family.has(Feature::Tools), || {
        "This model doesn't support tool use.".to_owned()
    })?;
    ensure(config.is_null() || !request.streams || request.family.has(Feature::StreamedTools), || {
        "This model doesn't support tool use in streaming mode.".to_owned()
    })?;
    let mut names = BTreeSet::new();
    for (at, tool) in request.tools().iter().enumerate() {
        let Some(spec) = tool.get("toolSpec") else { continue };
        let path = format!("toolConfig.tools.{at}.toolSpec");
        let name = spec["name"].as_str().unwrap_or_default();
        ensure(names.insert(name), || {
            format!("The tool {name} is already defined at {path}. Tool names must be unique.")
        })?;
        not_blank_description(&spec["description"], &path)?;
        let schema = &spec["inputSchema"]["json"];
        ensure(schema.is_object(), || not_an_object(&format!("{path}.inputSchema.json")))?;
        ensure(schema["type"] == "object", || {
            format!("The value at {path}.inputSchema.json.type must be one of the following: object.")
        })?;
    }
    Ok(())
}

fn not_blank_description(description: &Value, path: &str) -> Result<(), String> {
    ensure(!super::is_blank(description), || {
        format!("The description field in the ToolSpecification object at {path} is blank. Add text or leave it out.")
    })
}

fn choice(request: &Request<'_>) -> Result<(), String> {
    let choice = &request.body["toolConfig"]["toolChoice"];
    let forced = choice.get("any").is_some() || choice.get("tool").is_some();
    ensure(!forced || request.family.has(Feature::ToolChoice), || {
        "This model doesn't support the toolConfig.toolChoice field. Remove toolConfig.toolChoice and try again."
            .to_owned()
    })?;
    ensure(!forced || request.thinking().is_none(), || {
        by_model("Thinking may not be enabled when tool_choice forces tool use.")
    })?;
    let Some(name) = choice.pointer("/tool/name").and_then(Value::as_str) else { return Ok(()) };
    ensure(request.tools().iter().any(|tool| tool["toolSpec"]["name"] == name), || {
        format!("The tool {name} of toolConfig.toolChoice.tool is not defined in toolConfig.tools.")
    })
}

fn call(index: usize, at: usize, message: &Value, block: &Value) -> Result<(), String> {
    let Some(call) = block.get("toolUse") else { return Ok(()) };
    ensure(role(message) == "assistant", || {
        format!("The toolUse block at messages.{index}.content.{at} is not allowed in a message of the user role.")
    })?;
    ensure(call["input"].is_object(), || not_an_object(&format!("messages.{index}.content.{at}.toolUse.input")))
}

fn result(index: usize, at: usize, message: &Value, block: &Value) -> Result<(), String> {
    let Some(result) = block.get("toolResult") else { return Ok(()) };
    let path = format!("messages.{index}.content.{at}.toolResult");
    ensure(role(message) == "user", || {
        format!(
            "The toolResult block at messages.{index}.content.{at} is not allowed in a message of the assistant role."
        )
    })?;
    let content = list(&result["content"]);
    ensure(!content.is_empty(), || format!("The content field in the ToolResultBlock object at {path} is empty."))?;
    for (part, block) in content.iter().enumerate() {
        let path = format!("{path}.content.{part}");
        not_blank(&block["text"], "ToolResultContentBlock", &path)?;
        if let Some(json) = block.get("json") {
            ensure(json.is_object(), || not_an_object(&format!("{path}.json")))?;
        }
    }
    Ok(())
}

/// The calls of the turn before, and the results of this one, are the same set of ids.
fn answered(index: usize, before: Option<&Value>, message: &Value) -> Result<(), String> {
    let calls = before.map(|before| ids(before, "toolUse")).unwrap_or_default();
    let results = ids(message, "toolResult");
    let unanswered: Vec<&str> = calls.iter().copied().filter(|id| !results.contains(id)).collect();
    ensure(unanswered.is_empty(), || missing(index, &unanswered))?;
    ensure(results.len() <= calls.len(), || {
        format!(
            "The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of \
             previous turn."
        )
    })?;
    for (field, ids) in [("toolUse", ids(message, "toolUse")), ("toolResult", results)] {
        let distinct: BTreeSet<&str> = ids.iter().copied().collect();
        ensure(distinct.len() == ids.len(), || {
            format!("The {field} blocks at messages.{index}.content contain duplicate Ids: {}", ids.join(", "))
        })?;
    }
    Ok(())
}

fn missing(index: usize, ids: &[&str]) -> String {
    format!("Expected toolResult blocks at messages.{index}.content for the following Ids: {}", ids.join(", "))
}

fn ids<'a>(message: &'a Value, field: &str) -> Vec<&'a str> {
    blocks(message).filter_map(|(_, block)| block.get(field)?["toolUseId"].as_str()).collect()
}

fn not_an_object(path: &str) -> String {
    format!("The format of the value at {path} is invalid. Provide a json object for the field and try again.")
}
