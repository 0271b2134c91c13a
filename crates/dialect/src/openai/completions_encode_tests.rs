//! Golden streams of completions.

use proptest::prelude::*;
use serde_json::json;

use super::super::testing::*;
use super::*;
use crate::event::StopReason;

fn encode(events: impl IntoIterator<Item = Event>) -> String {
    stream(Encoder::new(&stamp()), events)
}

fn token(token: &str, others: &Value) -> Event {
    let logprobs = Some(json!([{ "token": token, "logprob": -1.5, "top_logprobs": others }]));
    Event::Text { text: token.to_owned(), logprobs }
}

#[test]
fn a_stream_is_texts_a_reason_counts_and_done() {
    let head = concat!(
        r#"data: {"id":"cmpl-7f","object":"text_completion","created":1795418039,"model":"m","#,
        r#""system_fingerprint":"fp_ollama","choices":["#,
    );
    let expected = [
        r#"~{"text":"a\n","index":0,"finish_reason":null}]}"#,
        r#"~{"text":"","index":0,"finish_reason":"length"}]}"#,
        r#"~],"usage":{"prompt_tokens":11,"completion_tokens":4,"total_tokens":15}}"#,
        "data: [DONE]",
    ];
    let expected: String = expected.iter().map(|line| format!("{}\n\n", line.replace('~', head))).collect();
    let events = [thinking("hm"), text("a\n"), call("i", "f", json!({})), text(""), finish(StopReason::Length)];
    assert_eq!(encode(events), expected);
}

#[test]
fn a_stream_says_what_ollama_says_and_its_counts_once() {
    let recorded = recorded(include_str!("recorded/completions.sse"));
    let stamp = Stamp { model: "smol".to_owned(), ..stamp() };
    let usage = crate::event::Usage { input: Some(11), output: Some(3), cached: None };
    let end = Event::Finish(Box::new(Finish { reason: StopReason::Length, usage, ..Finish::default() }));
    let events = ["I", "'m", " glad"].map(text).into_iter().chain([end]);
    let (ours, done) = chunks(&stream(Encoder::new(&stamp), events));
    assert!(done);
    assert_eq!(ours.len(), recorded.len());
    for (ours, mut theirs) in ours.into_iter().zip(recorded) {
        theirs["id"] = json!("cmpl-7f");
        theirs["created"] = json!(stamp.created);
        // Ollama says counts of 0 with every piece.
        if theirs["usage"]["total_tokens"] == 0 {
            theirs.as_object_mut().unwrap().remove("usage");
        }
        assert_eq!(ours, theirs);
    }
}

#[test]
fn probabilities_stand_in_four_lists_with_offsets_in_characters() {
    let others = json!([{ "token": "x", "logprob": -2 }, { "no": "token" }]);
    let (chunks, _) = chunks(&encode([token("é€", &others), token("b", &Value::Null)]));
    let of = |chunk: usize| &chunks[chunk]["choices"][0]["logprobs"];
    let first = json!({
        "tokens": ["é€"], "token_logprobs": [-1.5], "top_logprobs": [{ "x": -2 }], "text_offset": [0],
    });
    assert_eq!((of(0), &of(1)["text_offset"]), (&first, &json!([2])));
    assert_eq!(of(1)["top_logprobs"], json!([null]));
}

#[test]
fn probabilities_without_a_text_are_told_too() {
    let logprobs = Some(json!([{ "token": "<|end|>", "logprob": -1 }]));
    let (chunks, _) = chunks(&encode([Event::Text { text: String::new(), logprobs }]));
    assert_eq!(chunks[0]["choices"][0]["logprobs"]["tokens"], json!(["<|end|>"]));
}

#[test]
fn an_error_midway_ends_the_stream_without_reason_or_done() {
    let (chunks, done) = chunks(&encode([text("a"), failed(), text("late"), finish(StopReason::Stop)]));
    assert!(!done);
    assert_eq!((chunks.len(), &chunks[1]["error"]["code"]), (2, &json!("upstream_incomplete")));
}

#[test]
fn a_single_answer_is_one_object() {
    let mut answer = Answer::default();
    for event in [thinking("hm"), token("a", &Value::Null), finish(StopReason::StopSequence)] {
        answer.take(event);
    }
    let out: Value = serde_json::from_slice(&whole(&answer, &stamp(), NOW, trailer())).unwrap();
    let logprobs = json!({
        "tokens": ["a"], "token_logprobs": [-1.5], "top_logprobs": [null], "text_offset": [0],
    });
    let expected = json!({
        "id": "cmpl-7f", "object": "text_completion", "created": 1_795_418_039_u64, "model": "m",
        "system_fingerprint": "fp_ollama",
        "choices": [{ "text": "a", "index": 0, "finish_reason": "stop", "logprobs": logprobs }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15 },
        "x_causeway": trailer(),
    });
    assert_eq!(out, expected);
}

#[test]
fn the_trailer_and_heartbeats_are_comments() {
    let mut encoder = Encoder::new(&stamp());
    let mut out = Vec::new();
    encoder.heartbeat(NOW, &mut out);
    encoder.trailer(trailer());
    encoder.event(NOW, finish(StopReason::Stop), &mut out);
    encoder.heartbeat(NOW, &mut out);
    let blocks = blocks(&String::from_utf8(out).unwrap());
    let comments: Vec<usize> = (0..blocks.len()).filter(|at| blocks[*at].0 == ":").collect();
    assert_eq!(comments, [0, blocks.len() - 2]);
}

proptest! {
    #[test]
    fn any_order_of_events_is_a_well_formed_stream_with_one_end(events in events()) {
        let over = events.iter().position(|event| matches!(event, Event::Finish(_) | Event::Failed { .. }));
        let broken = over.is_some_and(|end| matches!(events[end], Event::Failed { .. }));
        let mut answer = Answer::default();
        events.iter().cloned().for_each(|event| answer.take(event));
        let (chunks, done) = chunks(&encode(events));
        prop_assert_eq!(done, over.is_some() && !broken);
        prop_assert_eq!(chunks.iter().filter(|chunk| chunk.get("error").is_some()).count(), usize::from(broken));
        let reasons = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string()).count();
        prop_assert_eq!(reasons, usize::from(done));
        let joined: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
        prop_assert_eq!(&joined, &answer.text);
        answer.failed = None;
        let one: Value = serde_json::from_slice(&whole(&answer, &stamp(), NOW, trailer())).unwrap();
        prop_assert_eq!(one["choices"][0]["text"].as_str(), Some(joined.as_str()));
    }
}
