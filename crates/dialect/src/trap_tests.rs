//! The traps of Ollama's streams, one test each: what every dialect makes of them.

use causeway_wire::Code;
use serde_json::{Value, json};

use crate::chat::{Format, Think};
use crate::embed;
use crate::event::{Event, StopReason};
use crate::model::ModelName;
use crate::native::{Bounds, MAX_LINE, request};
use crate::testing::{Frames, NOW, chat, encoders, objects, told, written};

const FIRST: &str = "{\"message\":{\"role\":\"assistant\",\"content\":\"He\"},\"done\":false}\n";
const LAST: &str = "{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"eval_count\":2,\"prompt_eval_count\":5}\n";

fn name() -> ModelName {
    ModelName::parse("m").unwrap()
}

/// Every dialect's stream of a broken answer: its text, no sign of a whole end, and the error.
fn is_broken_everywhere(events: &[Event], message: &str) {
    for (dialect, frames, mut encoder) in encoders() {
        let stream = written(&mut *encoder, events);
        assert!(stream.contains("He"), "{dialect}: {stream}");
        for whole in ["[DONE]", "message_stop", "response.completed", "\"done\":true", "\"finish_reason\":\"stop\""] {
            assert!(!stream.contains(whole), "{dialect}: {stream}");
        }
        let last = objects(frames, &stream).pop().unwrap();
        let error = [&last["error"]["message"], &last["error"], &last["response"]["error"]["message"]];
        assert!(error.into_iter().any(|error| error == &json!(message)), "{dialect}: {last}");
    }
}

#[test]
fn trap_1_a_silent_start_is_bridged_by_signs_of_life_that_are_no_part_of_the_answer() {
    let events = told(format!("{FIRST}{LAST}").as_bytes(), 7);
    for (dialect, frames, mut encoder) in encoders() {
        let mut out = Vec::new();
        (0..3).for_each(|_| encoder.heartbeat(NOW, &mut out));
        assert!(!out.is_empty(), "{dialect}");
        let stream = String::from_utf8(out).unwrap() + &written(&mut *encoder, &events);
        for object in objects(frames, &stream) {
            let said = [&object["message"]["content"], &object["response"], &object["choices"][0]["delta"]["content"]];
            assert!(
                said.into_iter().all(|text| ["", "He"].contains(&text.as_str().unwrap_or(""))),
                "{dialect}: {object}"
            );
        }
        assert!(!stream.contains("\n\n\n") && !stream.starts_with('\n'), "{dialect}: {stream}");
        match frames {
            Frames::Lines => assert!(stream.lines().all(|line| !line.is_empty()), "no blank line"),
            Frames::Events(end) => assert!(stream.ends_with(end), "{dialect}: {stream}"),
        }
    }
}

#[test]
fn trap_2_an_error_midway_is_an_error_in_every_dialect_and_no_silent_end() {
    let answer = format!("{FIRST}{{\"error\":\"an error was encountered while running the model\"}}\n");
    let events = told(answer.as_bytes(), 11);
    assert!(matches!(events.last(), Some(Event::Failed { code: Code::UpstreamIncomplete, .. })));
    is_broken_everywhere(&events, "an error was encountered while running the model");
}

#[test]
fn trap_3_an_answer_that_stops_without_done_is_incomplete_in_every_dialect() {
    let repeated = FIRST.repeat(31);
    for answer in [repeated.as_str(), FIRST.trim_end()] {
        let events = told(answer.as_bytes(), 64);
        let Some(Event::Failed { code, message }) = events.last() else { panic!("{events:?}") };
        assert_eq!(*code, Code::UpstreamIncomplete);
        is_broken_everywhere(&events, message);
    }
}

#[test]
fn trap_4_large_lines_are_read_whole_and_what_is_larger_is_a_failure() {
    let context: Vec<u32> = (0..100_000).collect();
    let arguments = json!({ "text": "\u{e9}".repeat(500_000) });
    let calls = json!({ "message": { "content": "", "tool_calls": [{ "function": { "name": "f", "arguments": arguments } }] } });
    let last = json!({ "response": "", "done": true, "context": context });
    let answer = format!("{calls}\n{last}\n");
    assert!(answer.len() > 1_500_000);
    let events = told(answer.as_bytes(), 16 * 1024 + 1);
    let [Event::ToolCall(call), Event::Finish(finish)] = &events[..] else { panic!("a call and an end") };
    assert_eq!(Value::Object(call.arguments.clone()), arguments);
    assert_eq!(finish.native["context"], json!(context));
    let events = told(&vec![b' '; MAX_LINE + 1], 1024 * 1024);
    assert!(matches!(events[..], [Event::Failed { code: Code::UpstreamIncomplete, .. }]));
}

#[test]
fn trap_5_format_and_thinking_go_together_and_the_figures_are_those_that_ollama_tells() {
    let body =
        json!({ "model": "m", "messages": [{ "role": "user", "content": "u" }], "format": "json", "think": true });
    let canonical = chat(&body);
    assert_eq!((&canonical.format, canonical.think), (&Format::Json, Think::On));
    let sent: Value = serde_json::from_slice(&request(&canonical, &name(), &Bounds::default()).body).unwrap();
    assert_eq!((&sent["format"], &sent["think"]), (&json!("json"), &json!(true)));
    let thought = "{\"message\":{\"content\":\"\",\"thinking\":\"hm\"},\"done\":false}\n".repeat(40);
    let events = told(format!("{thought}{FIRST}{LAST}").as_bytes(), 100);
    let Some(Event::Finish(finish)) = events.last() else { panic!("{events:?}") };
    // The second of two completions alone: what came is more, and is not made up.
    assert_eq!((finish.reason, finish.usage.output, events.len()), (StopReason::Stop, Some(2), 42));
}

#[test]
fn trap_6_many_texts_are_many_small_requests() {
    let body = json!({ "model": "m", "input": vec!["t"; 100] });
    let many = embed::parse(embed::Route::Embed, body.to_string().as_bytes()).unwrap();
    let split = embed::split(&many, &name(), &Bounds::default());
    let texts: Vec<usize> = split.parts.iter().map(|part| part.texts).collect();
    assert_eq!(texts, [embed::PART, embed::PART, embed::PART, embed::PART, embed::PART, embed::PART, 4]);
}
