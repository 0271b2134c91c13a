//! Golden streams of chat, and the promises of any stream.

use proptest::prelude::*;
use serde_json::json;

use super::super::testing::*;
use super::*;
use crate::event::StopReason;

const HEAD: &str = concat!(
    r#"data: {"id":"chatcmpl-7f","object":"chat.completion.chunk","created":1795418039,"model":"m","#,
    r#""system_fingerprint":"fp_ollama","choices":["#,
);

/// A stream written with `~` for each chunk's beginning.
fn golden(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{}\n\n", line.replace('~', HEAD))).collect()
}

fn encode(events: impl IntoIterator<Item = Event>) -> String {
    stream(Encoder::new(&stamp()), events)
}

#[test]
fn a_stream_is_role_pieces_reason_counts_and_done() {
    let events = [
        thinking("h\u{1}m"),
        text("He\"l"),
        text(""),
        text("lö\n"),
        call("call_1", "f", json!({ "a": [1] })),
        call("", "g", json!({})),
        Event::Native(trailer()),
        finish(StopReason::Stop),
    ];
    let expected = golden(&[
        r#"~{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"~{"index":0,"delta":{"reasoning":"h\u0001m"},"finish_reason":null}]}"#,
        r#"~{"index":0,"delta":{"content":"He\"l"},"finish_reason":null}]}"#,
        r#"~{"index":0,"delta":{"content":"lö\n"},"finish_reason":null}]}"#,
        r#"~{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":[1]}"}}]},"finish_reason":null}]}"#,
        r#"~{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_7f_1","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":null}]}"#,
        r#"~{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
        r#"~],"usage":{"prompt_tokens":11,"completion_tokens":4,"total_tokens":15}}"#,
        "data: [DONE]",
    ]);
    assert_eq!(encode(events), expected);
}

#[test]
fn a_stream_says_what_ollama_says_but_the_role_once() {
    let recorded = recorded(include_str!("recorded/chat.sse"));
    let mut stamp = stamp();
    stamp.model = "smol".to_owned();
    let events = ["I", "'m", " glad", " to"].map(text).into_iter().chain([finish(StopReason::Length)]);
    let (mut ours, done) = chunks(&stream(Encoder::new(&stamp), events));
    assert!(done);
    assert_eq!(ours.remove(0)["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    assert_eq!(ours.len(), recorded.len());
    for (ours, mut theirs) in ours.into_iter().zip(recorded) {
        theirs["id"] = json!("chatcmpl-7f");
        theirs["created"] = json!(stamp.created);
        if let Some(delta) = theirs["choices"].get_mut(0).and_then(|choice| choice["delta"].as_object_mut()) {
            assert_eq!(delta.remove("role"), Some(json!("assistant")));
            delta.retain(|_, value| value != "");
        }
        assert_eq!(ours, theirs);
    }
}

#[test]
fn a_single_answer_says_what_ollama_says() {
    let mut theirs = recorded(include_str!("recorded/chat_single.sse")).remove(0);
    let content = theirs["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap();
    let mut answer = Answer::default();
    for entry in content {
        let text = entry["token"].as_str().unwrap().to_owned();
        answer.take(Event::Text { text, logprobs: Some(json!([entry])) });
    }
    let usage = crate::event::Usage { input: Some(11), output: Some(3), cached: None };
    answer.take(Event::Finish(Box::new(Finish { reason: StopReason::Length, usage, ..Finish::default() })));
    let mut stamp = stamp();
    stamp.model = "smol".to_owned();
    theirs["id"] = json!("chatcmpl-7f");
    theirs["created"] = json!(stamp.created);
    let ours: Value = serde_json::from_slice(&whole(&answer, &stamp, NOW, Map::new())).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn counts_come_only_if_asked_for() {
    let quiet = Stamp { include_usage: false, ..stamp() };
    let (chunks, done) = chunks(&stream(Encoder::new(&quiet), [text("a"), finish(StopReason::Stop)]));
    assert!(done && chunks.iter().all(|chunk| chunk.get("usage").is_none() && chunk["choices"] != json!([])));
}

#[test]
fn cached_tokens_are_told_where_they_are_known() {
    let usage = crate::event::Usage { input: Some(10), output: None, cached: Some(8) };
    let (chunks, _) = chunks(&encode([Event::Finish(Box::new(Finish { usage, ..Finish::default() }))]));
    let expected = json!({
        "prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10,
        "prompt_tokens_details": { "cached_tokens": 8 },
    });
    assert_eq!(chunks.last().unwrap()["usage"], expected);
}

#[test]
fn an_error_midway_ends_the_stream_without_reason_or_done() {
    let expected = golden(&[
        r#"~{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"~{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
        r#"data: {"error":{"message":"it \"broke\"\noff","type":"api_error","param":null,"code":"upstream_incomplete"}}"#,
    ]);
    assert_eq!(encode([text("a"), failed(), text("late"), finish(StopReason::Stop)]), expected);
}

#[test]
fn the_created_moment_is_pinned() {
    let mut encoder = Encoder::new(&stamp());
    let mut out = Vec::new();
    encoder.event(NOW, text("a"), &mut out);
    encoder.event(NOW + 90_000_000_000, text("b"), &mut out);
    let (chunks, _) = chunks(&String::from_utf8(out).unwrap());
    assert!(chunks.iter().all(|chunk| chunk["created"] == 1_795_418_039_u64));
}

#[test]
fn a_heartbeat_is_a_comment_and_stops_with_the_stream() {
    let mut encoder = Encoder::new(&stamp());
    let mut out = Vec::new();
    encoder.heartbeat(NOW, &mut out);
    assert_eq!(out, b": keep-alive\n\n");
    encoder.event(NOW, finish(StopReason::Stop), &mut out);
    let length = out.len();
    encoder.heartbeat(NOW, &mut out);
    assert_eq!(out.len(), length);
}

#[test]
fn the_trailer_is_a_comment_of_one_line_before_the_last_event() {
    for (end, last) in [(finish(StopReason::Stop), "[DONE]"), (failed(), "upstream_incomplete")] {
        let mut encoder = Encoder::new(&stamp());
        encoder.trailer(trailer());
        let blocks = blocks(&stream(encoder, [text("a"), end]));
        let [.., (comment, said), (_, end)] = blocks.as_slice() else { panic!("{blocks:?}") };
        assert_eq!((comment.as_str(), said.as_str()), (":", r#"x_causeway {"served_by":"local","note":"a\n\nb"}"#));
        assert!(end.contains(last));
    }
}

#[test]
fn reasons_are_words_of_this_dialect() {
    let ended = |events: Vec<Event>| {
        let (chunks, _) = chunks(&encode(events));
        chunks[chunks.len() - 2]["choices"][0]["finish_reason"].clone()
    };
    for (reason, alone, after_a_call) in [
        (StopReason::Stop, "stop", "tool_calls"),
        (StopReason::StopSequence, "stop", "tool_calls"),
        (StopReason::Length, "length", "tool_calls"),
        (StopReason::ToolCalls, "stop", "tool_calls"),
        (StopReason::ContentFilter, "content_filter", "content_filter"),
        (StopReason::Load, "stop", "tool_calls"),
        (StopReason::Unload, "stop", "tool_calls"),
    ] {
        assert_eq!(ended(vec![finish(reason)]), alone);
        assert_eq!(ended(vec![call("i", "f", json!({})), finish(reason)]), after_a_call);
    }
}

#[test]
fn probabilities_get_the_members_that_typed_clients_need() {
    let logprobs = Some(
        json!([{ "token": "a", "bytes": null, "logprob": -1.5, "top_logprobs": [{ "token": "b", "logprob": -2 }] }]),
    );
    let (chunks, _) = chunks(&encode([Event::Text { text: String::new(), logprobs }]));
    let expected = json!({ "content": [{
        "token": "a", "logprob": -1.5, "bytes": [97],
        "top_logprobs": [{ "token": "b", "logprob": -2, "bytes": [98] }],
    }] });
    assert_eq!(chunks[1]["choices"][0]["logprobs"], expected);
}

#[test]
fn a_single_answer_has_all_its_parts_and_the_trailer() {
    let mut answer = Answer::default();
    for event in [thinking("hm"), text("a"), call("", "f", json!({ "x": "y" })), finish(StopReason::Stop)] {
        answer.take(event);
    }
    let out: Value = serde_json::from_slice(&whole(&answer, &stamp(), NOW, trailer())).unwrap();
    let expected = json!({
        "id": "chatcmpl-7f", "object": "chat.completion", "created": 1_795_418_039_u64, "model": "m",
        "system_fingerprint": "fp_ollama",
        "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "a", "reasoning": "hm",
            "tool_calls": [{ "index": 0, "id": "call_7f_0", "type": "function",
                "function": { "name": "f", "arguments": "{\"x\":\"y\"}" } }],
        } }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15 },
        "x_causeway": trailer(),
    });
    assert_eq!(out, expected);
}

#[test]
fn a_single_answer_without_an_end_says_no_reason() {
    let out: Value = serde_json::from_slice(&whole(&Answer::default(), &stamp(), NOW, Map::new())).unwrap();
    assert_eq!(out["choices"][0]["finish_reason"], Value::Null);
}

#[test]
fn a_long_answer_is_written_piece_by_piece_and_nothing_is_held() {
    let mut encoder = Encoder::new(&stamp());
    let mut out = Vec::new();
    for _ in 0..100_000 {
        out.clear();
        encoder.event(NOW, text(" token"), &mut out);
    }
    assert_eq!(out.len(), HEAD.len() + r#"{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#.len() + 2);
}

proptest! {
    #[test]
    fn any_order_of_events_is_a_well_formed_stream_with_one_end(events in events()) {
        let over = events.iter().position(|event| matches!(event, Event::Finish(_) | Event::Failed { .. }));
        let broken = over.is_some_and(|end| matches!(events[end], Event::Failed { .. }));
        let (chunks, done) = chunks(&encode(events));
        prop_assert_eq!(done, over.is_some() && !broken);
        let errors = chunks.iter().filter(|chunk| chunk.get("error").is_some()).count();
        prop_assert_eq!(errors, usize::from(broken));
        let reasons = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string()).count();
        prop_assert_eq!(reasons, usize::from(done));
        if let Some(first) = chunks.first().filter(|first| first.get("error").is_none()) {
            prop_assert_eq!(&first["choices"][0]["delta"]["role"], "assistant");
        }
        let roles = chunks.iter().filter(|chunk| chunk["choices"][0]["delta"].get("role").is_some()).count();
        prop_assert!(roles <= 1);
    }

    #[test]
    fn a_stream_and_a_single_answer_say_the_same(events in events()) {
        let mut answer = Answer::default();
        events.iter().cloned().for_each(|event| answer.take(event));
        // A single answer that broke off is an error alone: compared is what came before.
        answer.failed = None;
        let one: Value = serde_json::from_slice(&whole(&answer, &stamp(), NOW, Map::new())).unwrap();
        let (chunks, _) = chunks(&encode(events));
        let joined = |key: &str| {
            let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][key].as_str());
            pieces.collect::<String>()
        };
        let message = &one["choices"][0]["message"];
        prop_assert_eq!(joined("content"), message["content"].as_str().unwrap());
        prop_assert_eq!(joined("reasoning"), message["reasoning"].as_str().unwrap_or_default());
        let calls: Vec<Value> = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array())
            .flatten()
            .cloned()
            .collect();
        prop_assert_eq!(Value::from(calls), message.get("tool_calls").cloned().unwrap_or_else(|| json!([])));
    }
}

#[test]
fn a_single_answer_that_broke_off_is_an_error_and_no_answer() {
    let mut answer = Answer::default();
    for event in [text("He"), failed()] {
        answer.take(event);
    }
    for written in
        [whole(&answer, &stamp(), NOW, trailer()), crate::openai::completions::whole(&answer, &stamp(), NOW, trailer())]
    {
        let told: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(told["error"]["code"], "upstream_incomplete");
        assert_eq!(told["x_causeway"]["served_by"], "local");
        assert_eq!(told.get("choices"), None);
    }
}
