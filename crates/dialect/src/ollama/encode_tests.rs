//! Streams byte for byte, and every order of events.

use causeway_wire::Code;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::{Durations, Usage};

/// 2026-11-23T07:05:47.049486426Z.
const NOW: u64 = 1_795_417_547_049_486_426;
const WHEN: &str = "2026-11-23T07:05:47.049486426Z";

fn stamp() -> Stamp {
    Stamp {
        model: "Smol \"1\"".to_owned(),
        id: "r1".to_owned(),
        created: NOW / 1_000_000_000,
        include_usage: false,
        input_estimate: 9,
    }
}

fn text(text: &str) -> Event {
    Event::Text { text: text.to_owned(), logprobs: None }
}

fn call(id: &str) -> ToolCall {
    let mut arguments = Map::new();
    arguments.insert("city".to_owned(), json!("Ulm"));
    ToolCall { id: id.to_owned(), name: "weather".to_owned(), arguments }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn finish(reason: StopReason) -> Finish {
    Finish {
        reason,
        usage: Usage { input: Some(11), output: Some(3), cached: Some(2) },
        durations: Durations { total: Some(2_373_942_027), load: Some(0), prompt_eval: None, eval: Some(u64::MAX) },
        native: object(&json!({"context": [1, 2], "done": false, "model": "other"})),
        ..Finish::default()
    }
}

fn stream(route: Route, events: Vec<Event>, trailer: &Value) -> String {
    let mut encoder = Encoder::new(route, &stamp());
    let mut out = Vec::new();
    encoder.trailer(object(trailer));
    for event in events {
        encoder.event(NOW, event, &mut out);
    }
    String::from_utf8(out).unwrap()
}

fn lines(stream: &str) -> Vec<Value> {
    assert!(stream.is_empty() || stream.ends_with('\n'));
    stream.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_chat_streams_as_ollama_writes_it() {
    let events = vec![
        Event::Thinking("hm".to_owned()),
        text("He\n\"l"),
        Event::ToolCall(call("call_0")),
        Event::ToolCall(call("")),
        Event::Finish(Box::new(finish(StopReason::ToolCalls))),
    ];
    let head = format!(r#"{{"model":"Smol \"1\"","created_at":"{WHEN}","message":{{"role":"assistant","content":"#);
    let call = r#""function":{"index":0,"name":"weather","arguments":{"city":"Ulm"}}}]}"#;
    let expected = [
        format!(r#"{head}"","thinking":"hm"}},"done":false}}"#),
        format!(r#"{head}"He\n\"l"}},"done":false}}"#),
        format!(r#"{head}"","tool_calls":[{{"id":"call_0",{call},"done":false}}"#),
        format!(r#"{head}"","tool_calls":[{{{},"done":false}}"#, call.replace(":0,", ":1,")),
        format!(
            r#"{head}""}},"done":true,"done_reason":"stop","context":[1,2],"total_duration":2373942027,"prompt_eval_count":11,"eval_count":3,"eval_duration":18446744073709551615}}"#
        ),
    ];
    assert_eq!(stream(Route::Chat, events, &json!({})), expected.map(|line| line + "\n").concat());
}

#[test]
fn a_prompt_streams_as_ollama_writes_it() {
    let events = vec![
        Event::Thinking("hm".to_owned()),
        Event::Text { text: "I".to_owned(), logprobs: Some(json!([{"token": "I", "logprob": -1.5}])) },
        Event::Native(object(&json!({"completed": 1, "total": 20}))),
        Event::ToolCall(call("call_0")),
        Event::Finish(Box::new(finish(StopReason::Length))),
    ];
    let head = format!(r#"{{"model":"Smol \"1\"","created_at":"{WHEN}","response":"#);
    let lines = lines(&stream(Route::Generate, events, &json!({"cost_usd": 0.5})));
    let expected: Vec<Value> = [
        format!(r#"{head}"","thinking":"hm","done":false}}"#),
        format!(r#"{head}"I","done":false,"logprobs":[{{"token":"I","logprob":-1.5}}]}}"#),
        format!(r#"{head}"","done":false,"completed":1,"total":20}}"#),
        format!(r#"{head}"","tool_calls":[{{"id":"call_0","function":{{"index":0,"name":"weather","arguments":{{"city":"Ulm"}}}}}}],"done":false}}"#),
        format!(r#"{head}"","done":true,"done_reason":"length","context":[1,2],"total_duration":2373942027,"prompt_eval_count":11,"eval_count":3,"eval_duration":18446744073709551615,"x_causeway":{{"cost_usd":0.5}}}}"#),
    ]
    .iter()
    .map(|line| serde_json::from_str(line).unwrap())
    .collect();
    assert_eq!(lines, expected);
}

#[test]
fn an_error_midway_is_an_error_line_with_the_trailer_and_the_last_one() {
    let failed = Event::Failed { code: Code::UpstreamIncomplete, message: "broke \"off\"".to_owned() };
    let out = stream(
        Route::Chat,
        vec![text("a"), failed, text("late"), Event::Finish(Box::default())],
        &json!({"reason": "x"}),
    );
    let lines = lines(&out);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1], json!({"error": "broke \"off\"", "x_causeway": {"reason": "x"}}));
}

#[test]
fn loading_and_unloading_are_answered_as_ollama_does() {
    for (reason, word) in [(StopReason::Load, "load"), (StopReason::Unload, "unload")] {
        let ended = Finish { reason, ..Finish::default() };
        let line = stream(Route::Chat, vec![Event::Finish(Box::new(ended.clone()))], &json!({}));
        let expected = json!({"model": "Smol \"1\"", "created_at": WHEN, "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": word});
        assert_eq!(lines(&line), std::slice::from_ref(&expected));
        let answer = Answer { finish: Some(Box::new(ended)), ..Answer::default() };
        let single: Value = serde_json::from_slice(&whole(Route::Chat, &answer, &stamp(), NOW, Map::new())).unwrap();
        assert_eq!(single, expected);
    }
}

#[test]
fn a_filters_stop_is_a_stop_with_a_flag() {
    let filtered = Finish { reason: StopReason::ContentFilter, ..Finish::default() };
    let line = stream(Route::Generate, vec![Event::Finish(Box::new(filtered))], &json!({}));
    let line = &lines(&line)[0];
    assert_eq!((&line["done_reason"], &line["x_causeway"]), (&json!("stop"), &json!({"content_filtered": true})));
}

#[test]
fn a_heartbeat_is_an_empty_line_of_text_and_nothing_once_the_answer_ended() {
    for (route, place) in [(Route::Chat, "/message/content"), (Route::Generate, "/response")] {
        let mut encoder = Encoder::new(route, &stamp());
        let mut out = Vec::new();
        encoder.heartbeat(NOW, &mut out);
        let line: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((line.pointer(place), &line["done"]), (Some(&json!("")), &json!(false)));
        encoder.event(NOW, Event::Finish(Box::default()), &mut out);
        let length = out.len();
        encoder.heartbeat(NOW, &mut out);
        assert_eq!(out.len(), length);
    }
}

#[test]
fn members_of_a_backend_never_replace_ours() {
    let native = object(&json!({"done": true, "message": 1, "remote_model": "x"}));
    let line = stream(Route::Chat, vec![Event::Native(native)], &json!({}));
    let line = &lines(&line)[0];
    assert_eq!(
        (&line["done"], &line["message"]["role"], &line["remote_model"]),
        (&json!(false), &json!("assistant"), &json!("x"))
    );
    assert_eq!(line.as_object().unwrap().len(), 5);
    assert!(stream(Route::Chat, vec![Event::Native(object(&json!({"done": true})))], &json!({})).is_empty());
}

#[test]
fn a_single_answer_holds_all_that_the_stream_held() {
    let mut answer = Answer::default();
    for event in [
        Event::Native(object(&json!({"remote_model": "x", "context": [9]}))),
        Event::Thinking("hm".to_owned()),
        Event::Text { text: "Hel".to_owned(), logprobs: Some(json!([1])) },
        Event::Text { text: "lo".to_owned(), logprobs: Some(json!([2])) },
        Event::ToolCall(call("call_0")),
        Event::ToolCall(call("call_1")),
        Event::Finish(Box::new(finish(StopReason::Stop))),
    ] {
        answer.take(event);
    }
    let calls = json!([
        {"id": "call_0", "function": {"index": 0, "name": "weather", "arguments": {"city": "Ulm"}}},
        {"id": "call_1", "function": {"index": 1, "name": "weather", "arguments": {"city": "Ulm"}}},
    ]);
    let rest = json!({
        "model": "Smol \"1\"", "created_at": WHEN, "done": true, "done_reason": "stop", "logprobs": [1, 2],
        "remote_model": "x", "context": [1, 2], "total_duration": 2_373_942_027_u64, "prompt_eval_count": 11,
        "eval_count": 3, "eval_duration": u64::MAX, "x_causeway": {"served_by": "local"},
    });
    for (route, text) in [
        (
            Route::Chat,
            json!({"message": {"role": "assistant", "content": "Hello", "thinking": "hm", "tool_calls": calls}}),
        ),
        (Route::Generate, json!({"response": "Hello", "thinking": "hm", "tool_calls": calls})),
    ] {
        let trailer = object(&json!({"served_by": "local"}));
        let single: Value = serde_json::from_slice(&whole(route, &answer, &stamp(), NOW, trailer)).unwrap();
        let mut expected = object(&rest);
        expected.extend(object(&text));
        assert_eq!(single, Value::Object(expected));
    }
}

#[test]
fn a_single_answer_without_an_end_or_broken_off_is_still_one_object() {
    let open = whole(Route::Chat, &Answer::default(), &stamp(), NOW, Map::new());
    let open: Value = serde_json::from_slice(&open).unwrap();
    assert_eq!((&open["done"], open.get("done_reason")), (&json!(false), None));
    let broken = Answer { failed: Some((Code::LinkLost, "gone".to_owned())), ..Answer::default() };
    let broken: Value = serde_json::from_slice(&whole(Route::Chat, &broken, &stamp(), NOW, Map::new())).unwrap();
    assert_eq!(broken, json!({"error": "gone"}));
}

fn any_event() -> impl Strategy<Value = Event> {
    let members = || {
        proptest::collection::hash_map("[a-z_]{1,6}|done|error|message", any::<i32>().prop_map(Value::from), 0..3)
            .prop_map(|members| members.into_iter().collect::<Map<String, Value>>())
    };
    prop_oneof![
        any::<String>().prop_map(|text| Event::Text { text, logprobs: None }),
        any::<String>().prop_map(Event::Thinking),
        (any::<String>(), members()).prop_map(|(name, arguments)| Event::ToolCall(ToolCall {
            id: name.clone(),
            name,
            arguments
        })),
        members().prop_map(Event::Native),
        members().prop_map(|native| Event::Finish(Box::new(Finish { native, ..Finish::default() }))),
        any::<String>().prop_map(|message| Event::Failed { code: Code::Internal, message }),
    ]
}

proptest! {
    #[test]
    fn any_order_of_events_is_a_stream_of_lines_with_one_end(
        events in proptest::collection::vec((any_event(), any::<bool>()), 0..20),
        route in prop_oneof![Just(Route::Chat), Just(Route::Generate)],
        now in any::<u64>(),
    ) {
        let ends = |event: &Event| matches!(event, Event::Finish(_) | Event::Failed { .. });
        let ended = events.iter().any(|(event, _)| ends(event));
        let mut encoder = Encoder::new(route, &stamp());
        let mut out = Vec::new();
        for (event, beat) in events {
            encoder.event(now, event, &mut out);
            if beat {
                encoder.heartbeat(now, &mut out);
            }
        }
        let lines = lines(std::str::from_utf8(&out).unwrap());
        let is_end = |line: &Value| line["done"] == json!(true) || line.get("error").is_some_and(Value::is_string);
        prop_assert_eq!(lines.iter().filter(|line| is_end(line)).count(), usize::from(ended));
        if ended {
            prop_assert!(lines.last().is_some_and(is_end));
        }
    }
}
