//! What the tests of this dialect share: a reader of server-sent events, short names for events.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::chat::ToolCall;
use crate::encode::{Encode, Stamp};
use crate::event::{Event, Finish, StopReason, Usage};
use causeway_wire::Code;

/// 2026-11-23, nanoseconds since 1970.
pub(super) const NOW: u64 = 1_795_418_043_000_000_000;

pub(super) fn stamp() -> Stamp {
    Stamp { model: "m".to_owned(), id: "7f".to_owned(), created: 1_795_418_039, include_usage: true, input_estimate: 0 }
}

pub(super) fn text(text: &str) -> Event {
    Event::Text { text: text.to_owned(), logprobs: None }
}

pub(super) fn thinking(text: &str) -> Event {
    Event::Thinking(text.to_owned())
}

pub(super) fn call(id: &str, name: &str, arguments: Value) -> Event {
    let arguments = arguments.as_object().cloned().unwrap();
    Event::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
}

pub(super) fn finish(reason: StopReason) -> Event {
    let usage = Usage { input: Some(11), output: Some(4), cached: None };
    Event::Finish(Box::new(Finish { reason, usage, ..Finish::default() }))
}

pub(super) fn failed() -> Event {
    Event::Failed { code: Code::UpstreamIncomplete, message: "it \"broke\"\noff".to_owned() }
}

pub(super) fn trailer() -> Map<String, Value> {
    json!({ "served_by": "local", "note": "a\n\nb" }).as_object().cloned().unwrap()
}

/// All that an encoder writes for these events.
pub(super) fn stream(mut encoder: impl Encode, events: impl IntoIterator<Item = Event>) -> String {
    let mut out = Vec::new();
    for event in events {
        encoder.event(NOW, event, &mut out);
    }
    String::from_utf8(out).unwrap()
}

/// Blocks of a stream, each as (event, data); a comment is an event `:`. Checks the framing: every
/// block is one comment, one data line, or an event line and a data line.
pub(super) fn blocks(stream: &str) -> Vec<(String, String)> {
    assert!(stream.is_empty() || stream.ends_with("\n\n"), "{stream:?}");
    let block = |block: &str| match block.split('\n').collect::<Vec<_>>().as_slice() {
        [line] if line.starts_with(": ") => (":".to_owned(), line[2..].to_owned()),
        [line] => (String::new(), line.strip_prefix("data: ").expect(line).to_owned()),
        [first, second] => {
            let event = first.strip_prefix("event: ").expect(first);
            (event.to_owned(), second.strip_prefix("data: ").expect(second).to_owned())
        }
        _ => panic!("{block:?}"),
    };
    stream.split("\n\n").filter(|block| !block.is_empty()).map(block).collect()
}

/// The JSON of a stream's events, and whether `[DONE]` stood at its end.
pub(super) fn chunks(stream: &str) -> (Vec<Value>, bool) {
    let mut blocks = blocks(stream);
    blocks.retain(|(event, _)| event != ":");
    let done = blocks.last().is_some_and(|(_, data)| data == "[DONE]");
    blocks.truncate(blocks.len() - usize::from(done));
    (blocks.iter().map(|(_, data)| serde_json::from_str(data).expect(data)).collect(), done)
}

/// A recording without the lines that say how it was made.
pub(super) fn recorded(file: &str) -> Vec<Value> {
    let (_, stream) = file.split_once("\n\n").unwrap();
    chunks(stream).0
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        Just(json!([{ "token": "é\n", "logprob": -0.5, "top_logprobs": [{ "token": "x", "logprob": -1 }, 3] }])),
        Just(json!([{ "token": 7 }, [], "x"])),
        Just(json!({ "logprob": null, "top_logprobs": {} })),
    ]
}

/// Any event, and any order of them.
pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let reason = prop_oneof![
        Just(StopReason::Stop),
        Just(StopReason::StopSequence),
        Just(StopReason::Length),
        Just(StopReason::ToolCalls),
        Just(StopReason::ContentFilter),
        Just(StopReason::Load),
        Just(StopReason::Unload),
    ];
    let event = prop_oneof![
        6 => (any::<String>(), proptest::option::of(value())).prop_map(|(text, logprobs)| Event::Text { text, logprobs }),
        4 => any::<String>().prop_map(Event::Thinking),
        1 => any::<String>().prop_map(Event::Signature),
        3 => (any::<String>(), any::<String>(), any::<String>()).prop_map(|(id, name, key)| {
            Event::ToolCall(ToolCall { id, name, arguments: Map::from_iter([(key, json!([1, "\n"]))]) })
        }),
        1 => Just(Event::Native(trailer())),
        1 => (reason, any::<Option<u64>>(), any::<Option<u64>>()).prop_map(|(reason, input, output)| {
            let usage = Usage { input, output, cached: input };
            Event::Finish(Box::new(Finish { reason, usage, ..Finish::default() }))
        }),
        1 => any::<String>().prop_map(|message| Event::Failed { code: Code::LinkLost, message }),
    ];
    proptest::collection::vec(event, 0..30)
}

/// Texts near a request, so that more than the first byte is read of them.
pub(super) fn bodies(valid: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (0..valid.len(), any::<u8>(), any::<bool>()).prop_map(move |(at, byte, cut)| {
        let mut body = valid.as_bytes().to_vec();
        body[at] = byte;
        if cut {
            body.truncate(at + 1);
        }
        body
    });
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), spoilt]
}
