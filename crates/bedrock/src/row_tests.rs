//! The rows of `mapping.md`, one test each.

#![expect(clippy::wildcard_enum_match_arm, reason = "enums of the SDK have members to come")]

mod ask;
mod back;
mod papers;
mod rules;

use aws_sdk_bedrockruntime::types::{ContentBlock, Message};
use causeway_dialect::chat::{Input, Message as Said, Part, Request, Role, Tool, ToolCall, ToolResult};
use causeway_dialect::{ollama, openai};
use serde_json::{Value, json};

use crate::document;
use crate::family::Family;
use crate::request::{Mapped, Target, Unmapped, map, needs};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const NOVA: &str = "us.amazon.nova-lite-v1:0";
const OSS: &str = "openai.gpt-oss-20b-1:0";

/// A picture's first bytes and enough of a rest.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn target(model: &str) -> Target {
    Target {
        model: model.to_owned(),
        family: *Family::of(model),
        max_tokens: 4_096,
        guardrail: None,
        service_tier: None,
    }
}

fn chat(body: Value) -> Request {
    let mut whole = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] });
    whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    ollama::parse_chat(whole.to_string().as_bytes()).unwrap()
}

fn open_ai(body: Value) -> Request {
    let mut whole = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] });
    whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    openai::chat::parse(whole.to_string().as_bytes()).unwrap()
}

fn mapped(request: &Request, model: &str) -> Mapped {
    map(request, &target(model), &[]).unwrap()
}

fn refused(request: &Request, model: &str) -> String {
    let Unmapped(words) = map(request, &target(model), &[]).unwrap_err();
    words
}

fn said(role: Role, parts: Vec<Part>) -> Said {
    Said { role, parts }
}

fn text(text: &str) -> Part {
    Part::Text(text.to_owned())
}

fn call(id: &str, name: &str) -> Part {
    let arguments = json!({ "city": "Bern" }).as_object().unwrap().clone();
    Part::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
}

fn result(id: Option<&str>, name: Option<&str>, words: &str) -> Part {
    Part::ToolResult(ToolResult {
        id: id.map(str::to_owned),
        name: name.map(str::to_owned),
        parts: vec![text(words)],
        failed: false,
    })
}

fn tool(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        description: Some("does it".to_owned()),
        parameters: json!({ "type": "object" }),
        cache: None,
    }
}

/// A conversation with a tool.
fn conversation(messages: Vec<Said>) -> Request {
    Request { input: Input::Chat(messages), tools: vec![tool("weather")], ..chat(json!({})) }
}

/// The messages as short lines: who, then each block.
fn lines(messages: &[Message]) -> Vec<String> {
    let line = |message: &Message| {
        let blocks: Vec<String> = message.content().iter().map(block).collect();
        format!("{}: {}", message.role().as_str(), blocks.join(" | "))
    };
    messages.iter().map(line).collect()
}

fn block(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.clone(),
        ContentBlock::Image(image) => format!("<{}>", image.format().as_str()),
        ContentBlock::ToolUse(call) => {
            format!("{}={}{}", call.tool_use_id(), call.name(), document::to_json(call.input()))
        }
        ContentBlock::ToolResult(result) => {
            let parts: Vec<&str> =
                result.content().iter().filter_map(|part| part.as_text().ok()).map(String::as_str).collect();
            let failed = result.status().map_or("", |_| "!");
            format!("{}->{failed}{}", result.tool_use_id(), parts.join(","))
        }
        ContentBlock::ReasoningContent(thought) => format!("({})", thought.as_reasoning_text().unwrap().text()),
        other => format!("{other:?}"),
    }
}

fn heard(model: &str, request: &Request) -> Vec<String> {
    lines(&mapped(request, model).call.messages)
}

fn additional(mapped: &Mapped) -> Value {
    mapped.call.additional.as_ref().map(document::to_json).unwrap_or_default()
}

#[test]
fn every_row_of_the_mapping_has_its_test() {
    let number = |line: &str, start: &str| line.trim().strip_prefix(start)?.get(..2)?.parse::<u32>().ok();
    let rows: Vec<u32> = include_str!("mapping.md").lines().filter_map(|line| number(line, "| ")).collect();
    let sources =
        [include_str!("row_tests/ask.rs"), include_str!("row_tests/back.rs"), include_str!("row_tests/papers.rs")];
    let mut tests: Vec<u32> =
        sources.iter().flat_map(|source| source.lines()).filter_map(|line| number(line, "fn row_")).collect();
    tests.dedup();
    assert_eq!(rows, (1..=44).collect::<Vec<u32>>());
    assert_eq!(tests, rows);
}
