//! A script turned into the events of one answer, in order, each with the wait before it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::script::{Block, Fault, Script, Tokens, Usage};

/// What of a request shapes its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) input_tokens: u64,
    pub(super) max_tokens: Option<u64>,
}

/// One event, and how long before it nothing comes.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) wait: Duration,
    pub(super) name: String,
    pub(super) payload: Value,
}

impl Event {
    fn now(name: &str, payload: Value) -> Self {
        Self { wait: Duration::ZERO, name: name.to_owned(), payload }
    }

    /// A delta is a token's worth of content, and what waits between tokens come before.
    fn is_piece(&self) -> bool {
        self.name == "contentBlockDelta"
    }
}

/// Every event of the answer, as if nothing went wrong but a guardrail.
pub(super) fn events(script: &Script, ask: Ask) -> Vec<Event> {
    let mut events = vec![Event::now("messageStart", json!({"role": "assistant"}))];
    events.extend(content(script));
    let mut stop = script.stop.clone().unwrap_or_else(|| usual_stop(script).to_owned());
    if let Some(max) = ask.max_tokens.filter(|_| script.obeys_max_tokens)
        && cut(&mut events, max)
    {
        "max_tokens".clone_into(&mut stop);
    }
    if let Some((after, Fault::Guardrail(words))) = &script.fault {
        intervene(&mut events, *after, words);
        "guardrail_intervened".clone_into(&mut stop);
    }
    pace(script, &mut events);
    let output = events.iter().filter(|event| event.is_piece()).count() as u64;
    events.push(Event::now("messageStop", json!({"stopReason": stop})));
    if let Some(payload) = metadata(script, ask, output, &events) {
        events.push(Event { wait: script.waits.metadata, name: "metadata".to_owned(), payload });
    }
    events
}

fn usual_stop(script: &Script) -> &'static str {
    let calls = script.blocks.iter().any(|block| matches!(block, Block::Tool { .. }));
    if calls { "tool_use" } else { "end_turn" }
}

fn content(script: &Script) -> Vec<Event> {
    let mut blocks: VecDeque<VecDeque<Event>> = VecDeque::new();
    let mut index = 0;
    for block in &script.blocks {
        blocks.push_back(block_events(block, index).into());
        // A raw event brings its own index, if it needs one.
        index += usize::from(!matches!(block, Block::Raw { .. }));
    }
    if !script.interleaved {
        return blocks.into_iter().flatten().collect();
    }
    let mut mixed = Vec::new();
    while let Some(mut block) = blocks.pop_front() {
        if let Some(event) = block.pop_front() {
            mixed.push(event);
            blocks.push_back(block);
        }
    }
    mixed
}

fn block_events(block: &Block, index: usize) -> Vec<Event> {
    let start = |start| Event::now("contentBlockStart", json!({"start": start, "contentBlockIndex": index}));
    let delta = |delta| Event::now("contentBlockDelta", json!({"delta": delta, "contentBlockIndex": index}));
    let mut events = Vec::new();
    match block {
        Block::Text(pieces) => events.extend(pieces.iter().map(|piece| delta(json!({"text": piece})))),
        Block::Tool { id, name, fragments } => {
            events.push(start(json!({"toolUse": {"toolUseId": id, "name": name}})));
            events.extend(fragments.iter().map(|piece| delta(json!({"toolUse": {"input": piece}}))));
        }
        Block::Reasoning { pieces, signature } => {
            events.extend(pieces.iter().map(|piece| delta(json!({"reasoningContent": {"text": piece}}))));
            events.extend(signature.iter().map(|piece| delta(json!({"reasoningContent": {"signature": piece}}))));
        }
        Block::Redacted(content) => {
            events.push(delta(json!({"reasoningContent": {"redactedContent": STANDARD.encode(content)}})));
        }
        Block::Raw { event, payload } => return vec![Event::now(event, payload.clone())],
    }
    events.push(Event::now("contentBlockStop", json!({"contentBlockIndex": index})));
    events
}

/// Takes out the pieces beyond `max`; whether there were any.
fn cut(events: &mut Vec<Event>, max: u64) -> bool {
    let mut pieces = 0;
    let before = events.len();
    events.retain(|event| {
        pieces += u64::from(event.is_piece());
        !event.is_piece() || pieces <= max
    });
    events.len() < before
}

/// Ends the content after so many events with the guardrail's words in the block then open.
fn intervene(events: &mut Vec<Event>, after: usize, words: &str) {
    events.truncate(after.max(1));
    let open = events.last().filter(|event| event.name.starts_with("contentBlock"));
    let index = open.and_then(|event| event.payload["contentBlockIndex"].as_u64()).unwrap_or(0);
    let closed = open.is_some_and(|event| event.name == "contentBlockStop");
    let index = index + u64::from(closed);
    events.push(Event::now("contentBlockDelta", json!({"delta": {"text": words}, "contentBlockIndex": index})));
    events.push(Event::now("contentBlockStop", json!({"contentBlockIndex": index})));
}

fn pace(script: &Script, events: &mut [Event]) {
    let mut wait = script.waits.first_token;
    for event in events.iter_mut().filter(|event| event.is_piece()) {
        event.wait = wait;
        wait = script.waits.between;
    }
}

fn metadata(script: &Script, ask: Ask, output: u64, events: &[Event]) -> Option<Value> {
    let counted = Tokens { input: ask.input_tokens, output, ..Tokens::default() };
    let tokens = match &script.usage {
        Usage::Counted => Some(counted),
        Usage::Exact(tokens) => Some(*tokens),
        Usage::Missing => None,
        Usage::NoMetadata => return None,
    };
    let took: Duration = events.iter().map(|event| event.wait).sum();
    let took = u64::try_from((took + script.waits.head).as_millis()).unwrap_or(u64::MAX);
    let mut payload = json!({"metrics": {"latencyMs": took}});
    if let Some(tokens) = tokens {
        payload["usage"] = usage(tokens);
    }
    if matches!(script.fault, Some((_, Fault::Guardrail(_)))) {
        payload["trace"] = json!({"guardrail": {"modelOutput": [], "actionReason": "Guardrail blocked."}});
    }
    Some(payload)
}

fn usage(tokens: Tokens) -> Value {
    let cached = tokens.cache_read.unwrap_or(0) + tokens.cache_write.unwrap_or(0);
    let total = tokens.total.unwrap_or(tokens.input + tokens.output + cached);
    let mut usage = json!({"inputTokens": tokens.input, "outputTokens": tokens.output, "totalTokens": total});
    if let Some(read) = tokens.cache_read {
        usage["cacheReadInputTokens"] = read.into();
    }
    if let Some(write) = tokens.cache_write {
        usage["cacheWriteInputTokens"] = write.into();
    }
    usage
}

/// What Converse answers at once for what ConverseStream says in these events.
pub(super) fn whole(events: &[Event]) -> Value {
    let mut parts: BTreeMap<u64, Value> = BTreeMap::new();
    let mut answer = json!({});
    for event in events {
        let payload = &event.payload;
        let part = parts.entry(payload["contentBlockIndex"].as_u64().unwrap_or(0));
        match event.name.as_str() {
            "contentBlockStart" => {
                let start = payload["start"].clone();
                part.or_insert(start);
            }
            "contentBlockDelta" => append(part.or_insert_with(|| json!({})), &payload["delta"]),
            "messageStop" => answer["stopReason"] = payload["stopReason"].clone(),
            "metadata" => {
                for (key, value) in payload.as_object().into_iter().flatten() {
                    answer[key] = value.clone();
                }
            }
            _ => {}
        }
    }
    let content: Vec<Value> = parts.into_values().map(finished).collect();
    answer["output"] = json!({"message": {"role": "assistant", "content": content}});
    answer
}

fn append(part: &mut Value, delta: &Value) {
    let join = |slot: &mut Value, more: &Value| {
        *slot = Value::from(slot.as_str().unwrap_or_default().to_owned() + more.as_str().unwrap_or_default());
    };
    if let Some(input) = delta.pointer("/toolUse/input") {
        join(&mut part["toolUse"]["input"], input);
    } else if let Some(reasoning) = delta.get("reasoningContent").and_then(Value::as_object) {
        for (key, more) in reasoning {
            match key.as_str() {
                "redactedContent" => part["reasoningContent"][key] = more.clone(),
                _ => join(&mut part["reasoningContent"]["reasoningText"][key], more),
            }
        }
    } else if let Some(text) = delta.get("text") {
        join(&mut part["text"], text);
    }
}

/// Arguments of a tool call come as text in pieces and as an object at once.
fn finished(mut part: Value) -> Value {
    if let Some(call) = part.get_mut("toolUse") {
        let text = call["input"].as_str().unwrap_or_default();
        call["input"] = serde_json::from_str(text).unwrap_or_else(|_| json!({}));
    }
    part
}
