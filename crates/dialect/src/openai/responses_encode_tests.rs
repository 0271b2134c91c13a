//! Golden streams of responses, and the promises of any stream.

use proptest::prelude::*;
use serde_json::json;

use super::super::testing::*;
use super::*;

fn encode(events: impl IntoIterator<Item = Event>) -> String {
    stream(Encoder::new(&stamp(), Echo::default()), events)
}

/// Names of a stream's events; each has its name and its number inside too.
fn names(stream: &str) -> Vec<String> {
    let blocks = blocks(stream).into_iter().filter(|(event, _)| event != ":");
    let named = blocks.enumerate().map(|(number, (event, data))| {
        let data: Value = serde_json::from_str(&data).expect(&data);
        assert_eq!((data["type"].as_str(), data["sequence_number"].as_u64()), (Some(&*event), Some(number as u64)));
        event.strip_prefix("response.").unwrap().to_owned()
    });
    named.collect()
}

#[test]
fn a_stream_says_what_ollama_says() {
    let recorded = recorded(include_str!("recorded/responses.sse"));
    let stamp = Stamp { model: "smol".to_owned(), created: 1_795_418_043, ..stamp() };
    let (_, echo) = super::super::responses::read(
        br#"{"model":"smol","input":"Say hi","stream":true,"max_output_tokens":3,"temperature":0}"#,
    )
    .unwrap();
    let usage = Usage { input: Some(11), output: Some(3), cached: None };
    // Ollama says that an answer is complete also where it met its limit; we say so only of whole ones.
    let end = Event::Finish(Box::new(Finish { reason: StopReason::Stop, usage, ..Finish::default() }));
    let events = ["I", "'m", " glad"].map(text).into_iter().chain([end]);
    let (ours, done) = chunks(&stream(Encoder::new(&stamp, echo), events));
    assert!(!done, "this dialect has no [DONE]");
    assert_eq!(ours.len(), recorded.len());
    for (ours, theirs) in ours.into_iter().zip(recorded) {
        let theirs = theirs.to_string().replace("resp_678085", "resp_7f").replace("msg_35400", "msg_7f_0");
        let theirs = theirs.replace("1795418658", "1795418043");
        assert_eq!(ours, newer(&theirs));
    }
}

/// What Ollama said, with the one count that it does not have.
fn newer(theirs: &str) -> Value {
    let details = r#""input_tokens_details":{"cached_tokens":0"#;
    let theirs = theirs.replace(details, &format!(r#"{details},"cache_write_tokens":0"#));
    serde_json::from_str(&theirs).unwrap()
}

#[test]
fn a_single_answer_says_what_ollama_says() {
    let theirs = recorded(include_str!("recorded/responses_single.sse")).remove(0).to_string();
    let theirs = theirs.replace("resp_153976", "resp_7f").replace("msg_81015", "msg_7f_0");
    let stamp = Stamp { model: "smol".to_owned(), created: 1_795_418_043, ..stamp() };
    let (_, echo) =
        super::super::responses::read(br#"{"model":"smol","input":"Say hi","max_output_tokens":3,"temperature":0}"#)
            .unwrap();
    let usage = Usage { input: Some(11), output: Some(3), cached: None };
    let mut answer = Answer::default();
    answer.take(text("I'm glad"));
    answer.take(Event::Finish(Box::new(Finish { usage, ..Finish::default() })));
    let ours: Value = serde_json::from_slice(&whole(&answer, &stamp, &echo, NOW, Map::new())).unwrap();
    assert_eq!(ours, newer(&theirs));
}

#[test]
fn a_token_is_one_event_of_these_very_bytes() {
    let mut encoder = Encoder::new(&stamp(), Echo::default());
    let mut out = Vec::new();
    encoder.event(NOW, text("a"), &mut out);
    out.clear();
    encoder.event(NOW, text("é\n\"b"), &mut out);
    let expected = concat!(
        "event: response.output_text.delta\n",
        r#"data: {"type":"response.output_text.delta","item_id":"msg_7f_0","output_index":0,"content_index":0,"#,
        r#""sequence_number":5,"delta":"é\n\"b","logprobs":[]}"#,
        "\n\n",
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn thought_text_and_calls_are_items_one_after_the_other() {
    let events = [
        thinking("h"),
        thinking("m"),
        text("a"),
        call("", "f", json!({ "x": "y" })),
        text("b"),
        finish(StopReason::ToolCalls),
    ];
    let stream = encode(events);
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(names(&stream), expected);
    let (chunks, _) = chunks(&stream);
    let message = |id: &str, text: &str| {
        json!({ "id": id, "type": "message", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }] })
    };
    let output = json!([
        { "id": "rs_7f_0", "type": "reasoning", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": "hm" },
        message("msg_7f_1", "a"),
        { "id": "fc_7f_2", "type": "function_call", "status": "completed", "call_id": "call_7f_2", "name": "f",
            "arguments": "{\"x\":\"y\"}" },
        message("msg_7f_3", "b"),
    ]);
    assert_eq!(chunks.last().unwrap()["response"]["output"], output);
    assert_eq!(chunks[13]["item"]["arguments"], "");
    assert_eq!(chunks[14]["delta"], "{\"x\":\"y\"}");
}

#[test]
fn an_answer_cut_short_is_incomplete_and_says_why() {
    for (reason, why) in [(StopReason::Length, "max_output_tokens"), (StopReason::ContentFilter, "content_filter")] {
        let stream = encode([text("a"), finish(reason)]);
        assert_eq!(names(&stream).last().unwrap(), "incomplete");
        let (chunks, _) = chunks(&stream);
        let response = &chunks.last().unwrap()["response"];
        assert_eq!(
            (&response["status"], &response["incomplete_details"]["reason"]),
            (&json!("incomplete"), &json!(why))
        );
        assert_eq!((&response["output"][0]["status"], &response["completed_at"]), (&json!("incomplete"), &Value::Null));
        assert_eq!(response["usage"]["total_tokens"], 15);
    }
}

#[test]
fn an_error_midway_ends_in_failed_with_all_that_was_told() {
    let stream = encode([thinking("hm"), text("a"), failed(), text("late"), finish(StopReason::Stop)]);
    assert_eq!(names(&stream).last().unwrap(), "failed");
    let (chunks, _) = chunks(&stream);
    let response = &chunks.last().unwrap()["response"];
    assert_eq!(response["status"], "failed");
    assert_eq!(response["error"], json!({ "code": "upstream_incomplete", "message": "it \"broke\"\noff" }));
    assert_eq!((&response["output"][1]["status"], &response["usage"]), (&json!("incomplete"), &Value::Null));
}

#[test]
fn an_error_before_anything_still_begins_with_created() {
    assert_eq!(names(&encode([failed()])), ["created", "in_progress", "failed"]);
}

#[test]
fn an_answer_of_nothing_is_complete_and_empty() {
    let stream = encode([finish(StopReason::Stop)]);
    assert_eq!(names(&stream), ["created", "in_progress", "completed"]);
}

#[test]
fn probabilities_come_with_their_piece_and_again_with_the_whole() {
    let logprobs = |token: &str| Some(json!([{ "token": token, "logprob": -1 }]));
    let piece = |token: &str| Event::Text { text: token.to_owned(), logprobs: logprobs(token) };
    let (chunks, _) = chunks(&encode([piece("a"), piece("b"), finish(StopReason::Stop)]));
    let full = |token: &str| json!({ "token": token, "logprob": -1, "bytes": token.as_bytes(), "top_logprobs": [] });
    assert_eq!(chunks[5]["logprobs"], json!([full("b")]));
    let output = &chunks.last().unwrap()["response"]["output"];
    assert_eq!(output[0]["content"][0]["logprobs"], json!([full("a"), full("b")]));
}

#[test]
fn what_is_held_is_known_for_a_bound() {
    let mut encoder = Encoder::new(&stamp(), Echo::default());
    let mut out = Vec::new();
    for _ in 0..100_000 {
        out.clear();
        encoder.event(NOW, text(" token"), &mut out);
    }
    assert!((600_000..700_000).contains(&encoder.held()), "{}", encoder.held());
    encoder.event(NOW, thinking("x"), &mut out);
    assert!(encoder.held() > 600_000);
}

#[test]
fn what_is_held_counts_probabilities_calls_and_what_is_repeated_of_the_request() {
    let instructions = "x".repeat(50_000);
    let (_, echo) = crate::openai::responses::read(
        json!({ "model": "m", "input": "a", "instructions": instructions }).to_string().as_bytes(),
    )
    .unwrap();
    assert!(echo.size() > 50_000);
    let mut encoder = Encoder::new(&stamp(), echo);
    let (mut out, mut least) = (Vec::new(), 50_000);
    assert!(encoder.held() > least);
    let probable =
        json!([{ "token": "a", "logprob": -1, "top_logprobs": vec![json!({ "token": "b", "logprob": -2 }); 20] }]);
    for _ in 0..100 {
        encoder.event(NOW, Event::Text { text: "a".to_owned(), logprobs: Some(probable.clone()) }, &mut out);
    }
    least += 100 * probable.to_string().len();
    assert!(encoder.held() > least, "{}", encoder.held());
    encoder.event(NOW, call("c", "f", json!({ "a": "x".repeat(50_000) })), &mut out);
    encoder.trailer(json!({ "reason": "x".repeat(9_000) }).as_object().cloned().unwrap());
    assert!(encoder.held() > least + 59_000, "{}", encoder.held());
}

#[test]
fn the_trailer_and_heartbeats_are_comments() {
    for end in [finish(StopReason::Stop), failed()] {
        let mut encoder = Encoder::new(&stamp(), Echo::default());
        let mut out = Vec::new();
        encoder.heartbeat(NOW, &mut out);
        encoder.trailer(trailer());
        encoder.event(NOW, end, &mut out);
        encoder.heartbeat(NOW, &mut out);
        let blocks = blocks(&String::from_utf8(out).unwrap());
        let comments: Vec<usize> = (0..blocks.len()).filter(|at| blocks[*at].0 == ":").collect();
        assert_eq!(comments, [0, blocks.len() - 2]);
        assert!(blocks[blocks.len() - 2].1.starts_with("x_causeway {"));
    }
}

#[test]
fn a_single_answer_has_all_its_items_and_the_trailer() {
    let mut answer = Answer::default();
    for event in [thinking("hm"), call("c", "f", json!({})), finish(StopReason::Length)] {
        answer.take(event);
    }
    let out: Value = serde_json::from_slice(&whole(&answer, &stamp(), &Echo::default(), NOW, trailer())).unwrap();
    let kinds: Vec<&str> = out["output"].as_array().unwrap().iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(kinds, ["reasoning", "function_call"]);
    assert_eq!((&out["status"], &out["x_causeway"]), (&json!("incomplete"), &Value::from(trailer())));
    assert_eq!(out["output"][1]["call_id"], "c");
}

#[test]
fn a_single_answer_without_an_end_is_incomplete() {
    let out: Value =
        serde_json::from_slice(&whole(&Answer::default(), &stamp(), &Echo::default(), NOW, Map::new())).unwrap();
    assert_eq!((&out["status"], &out["completed_at"]), (&json!("incomplete"), &Value::Null));
}

proptest! {
    #[test]
    fn any_order_of_events_is_a_well_formed_stream_with_one_end(events in events()) {
        let over = events.iter().position(|event| matches!(event, Event::Finish(_) | Event::Failed { .. }));
        let mut answer = Answer::default();
        events.iter().cloned().for_each(|event| answer.take(event));
        let stream = encode(events);
        let names = names(&stream);
        let ends: Vec<usize> = (0..names.len())
            .filter(|at| matches!(names[*at].as_str(), "completed" | "incomplete" | "failed"))
            .collect();
        prop_assert_eq!(ends, over.map(|_| names.len() - 1).into_iter().collect::<Vec<_>>());
        let (chunks, _) = chunks(&stream);
        // One item at a time, in order, each done before the next begins but for the last of a broken answer.
        let (mut open, mut next) = (None, 0);
        for chunk in &chunks {
            let place = chunk["output_index"].as_u64();
            match chunk["type"].as_str().unwrap() {
                "response.output_item.added" => {
                    prop_assert_eq!((open, place), (None, Some(next)));
                    open = place;
                }
                "response.output_item.done" => {
                    prop_assert_eq!(open.take(), place);
                    next += 1;
                }
                _ => prop_assert!(place.is_none() || place == open),
            }
        }
        if over.is_some() {
            let output = chunks.last().unwrap()["response"]["output"].as_array().unwrap();
            prop_assert_eq!(output.len() as u64, next + u64::from(open.is_some()));
            let texts = output.iter().filter_map(|item| item["content"][0]["text"].as_str()).collect::<String>();
            let thoughts = output.iter().filter_map(|item| item["summary"][0]["text"].as_str()).collect::<String>();
            prop_assert_eq!((texts, thoughts), (answer.text, answer.thinking));
        }
    }
}
