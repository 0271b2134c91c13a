//! Answers of a real Ollama (0.24.0, smollm2-135m), and what a broken or lying one might send.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::encode::{Encode, Stamp};
use crate::event::{Durations, Usage};
use crate::ollama::{Encoder, Route, parse_chat};

/// What Ollama answered; how it was asked stands above it.
fn recorded(file: &'static str) -> &'static str {
    file.split_once("\n\n").unwrap().1
}

fn chat() -> &'static str {
    recorded(include_str!("recorded/chat.ndjson"))
}

fn generate() -> &'static str {
    recorded(include_str!("recorded/generate.ndjson"))
}

fn reader(history: &str) -> Reader {
    Reader::new(&parse_chat(format!(r#"{{"model":"m","messages":[{history}]}}"#).as_bytes()).unwrap())
}

fn read(bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut reader = reader("");
    reader.feed(bytes, &mut events);
    reader.finish(&mut events);
    assert!(reader.has_ended());
    events
}

fn text(text: &str) -> Event {
    Event::Text { text: text.to_owned(), logprobs: None }
}

fn finish_of(events: &[Event]) -> &Finish {
    match events.last() {
        Some(Event::Finish(finish)) => finish,
        other => panic!("{other:?}"),
    }
}

fn code_of(events: &[Event]) -> (Code, &str) {
    match events.last() {
        Some(Event::Failed { code, message }) => (*code, message),
        other => panic!("{other:?}"),
    }
}

fn calls_of(events: &[Event]) -> Vec<&ToolCall> {
    events.iter().filter_map(|event| if let Event::ToolCall(call) = event { Some(call) } else { None }).collect()
}

#[test]
fn a_real_chat_is_read_with_its_figures() {
    let events = read(chat().as_bytes());
    let logprobs = json!([{"token": "I", "logprob": -2.1941335201263428, "bytes": [73]}]);
    assert_eq!(events[0], Event::Text { text: "I".to_owned(), logprobs: Some(logprobs) });
    assert!(matches!(&events[2], Event::Text { text, .. } if text == " glad"));
    let finish = finish_of(&events);
    assert_eq!((events.len(), finish.reason), (4, StopReason::Length));
    assert_eq!(finish.usage, Usage { input: Some(11), output: Some(3), cached: None });
    let durations = Durations {
        total: Some(367_939_829),
        load: Some(127_926_680),
        prompt_eval: Some(192_686_017),
        eval: Some(35_233_522),
    };
    assert_eq!((finish.durations, finish.native.len()), (durations, 0));
}

#[test]
fn a_stream_and_a_single_answer_of_the_same_request_say_the_same() {
    let said = |events: &[Event]| -> String {
        events
            .iter()
            .filter_map(|event| if let Event::Text { text, .. } = event { Some(text.as_str()) } else { None })
            .collect()
    };
    let single = read(recorded(include_str!("recorded/chat_single.json")).as_bytes());
    let stream = read(chat().as_bytes());
    assert_eq!(said(&single), said(&stream));
    assert_eq!(finish_of(&single).usage, finish_of(&stream).usage);
}

#[test]
fn a_real_prompts_context_comes_with_the_end() {
    let events = read(generate().as_bytes());
    assert_eq!(events[0], text("I"));
    let context = json!({"context": [1, 4093, 198, 36218, 15876, 2, 198, 1, 520, 9531, 198, 57, 5248]});
    assert_eq!(Value::Object(finish_of(&events).native.clone()), context);
}

#[test]
fn a_model_that_was_only_loaded_answers_without_a_line_end() {
    let events = read(recorded(include_str!("recorded/load.ndjson")).trim_end().as_bytes());
    assert_eq!((events.len(), finish_of(&events).reason), (1, StopReason::Load));
}

#[test]
fn lines_are_read_however_they_are_cut_even_within_a_character() {
    let line = r#"{"message":{"content":"aé😀\ud83d\ude00"},"done":false}"#;
    let answer = format!("{line}\r\n\n{}", chat());
    let whole = read(answer.as_bytes());
    assert_eq!(whole[0], text("aé😀😀"));
    for cut in 0..=answer.len() {
        let (before, after) = answer.as_bytes().split_at(cut);
        let (mut reader, mut events) = (reader(""), Vec::new());
        reader.feed(before, &mut events);
        reader.feed(after, &mut events);
        assert_eq!(events, whole, "cut at {cut}");
    }
    let (mut reader, mut events) = (reader(""), Vec::new());
    for byte in answer.as_bytes() {
        reader.feed(std::slice::from_ref(byte), &mut events);
    }
    assert_eq!(events, whole);
}

#[test]
fn an_answer_that_ends_without_its_last_line_is_incomplete() {
    let first = chat().lines().next().unwrap();
    for answer in [String::new(), format!("{first}\n"), first.to_owned(), format!("{first}\n{{\"mess")] {
        let events = read(answer.as_bytes());
        assert_eq!(code_of(&events).0, Code::UpstreamIncomplete, "{answer}");
    }
}

#[test]
fn an_error_line_ends_the_answer_with_its_text() {
    for (error, code, message) in [
        (json!("boom"), Code::UpstreamIncomplete, "boom"),
        (
            json!("model runner has unexpectedly stopped"),
            Code::LocalUnavailable,
            "model runner has unexpectedly stopped",
        ),
        (
            json!("the input length exceeds the context length"),
            Code::ContextExceeded,
            "the input length exceeds the context length",
        ),
        (json!({"message": "other form"}), Code::UpstreamIncomplete, "other form"),
        (json!(7), Code::UpstreamIncomplete, "Ollama broke off its answer without a reason; try again"),
    ] {
        let answer = format!("{}\n{}\n{}", chat().lines().next().unwrap(), json!({ "error": error }), chat());
        let events = read(answer.as_bytes());
        assert_eq!((events.len(), code_of(&events)), (2, (code, message)));
    }
}

#[test]
fn nothing_is_read_after_the_end() {
    let events = read(format!("{0}{{\"error\":\"late\"}}\nnot json\n{0}", chat()).as_bytes());
    assert_eq!(events.len(), 4);
    finish_of(&events);
}

#[test]
fn figures_that_cannot_be_are_none_and_the_answer_holds() {
    for lie in ["-1", "1e300", "18446744073709551615", "\"many\"", "null", "[1]", "{}", "1.5", "true"] {
        let line = format!(r#"{{"done":true,"total_duration":{lie},"eval_count":{lie},"prompt_eval_count":{lie}}}"#);
        let events = read(line.as_bytes());
        let finish = finish_of(&events);
        assert_eq!((finish.durations.total, finish.usage), (None, Usage::default()), "{lie}");
    }
    let events = read(br#"{"done":true,"total_duration":0,"eval_count":9223372036854775807}"#);
    let finish = finish_of(&events);
    assert_eq!((finish.durations.total, finish.usage.output), (Some(0), Some(i64::MAX.unsigned_abs())));
}

#[test]
fn calls_get_ids_in_order_that_no_earlier_call_has() {
    let history = r#"{"role":"assistant","tool_calls":[{"id":"call_3","function":{"name":"f"}},{"id":"call_x9","function":{"name":"f"}}]},
        {"role":"tool","tool_call_id":"call_4","content":""}"#;
    let line = json!({"message": {"content": "", "tool_calls": [
        {"function": {"name": "a", "arguments": {"k": [1]}}},
        {"id": "call_zz12", "function": {"name": "b", "arguments": {}}},
        {"id": "", "function": {"name": "c"}},
        {"id": "call_8", "function": {"name": "d", "arguments": null}},
        {"id": "call_5", "function": {"name": "e", "arguments": ""}},
        {"id": null, "function": {"index": 5, "name": "f", "arguments": "{\"a\":1}"}},
    ]}, "done": true, "done_reason": "stop"});
    let mut events = Vec::new();
    reader(history).feed(format!("{line}\n").as_bytes(), &mut events);
    let ids: Vec<&str> = calls_of(&events).iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["call_5", "call_zz12", "call_6", "call_8", "call_9", "call_10"]);
    assert_eq!(Value::Object(calls_of(&events)[5].arguments.clone()), json!({"a": 1}));
    assert_eq!(finish_of(&events).reason, StopReason::ToolCalls);
}

#[test]
fn a_call_whose_arguments_are_no_object_ends_the_answer() {
    for arguments in [json!([1]), json!(1), json!("{\"a\":"), json!("[]")] {
        let line = json!({"message": {"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}});
        assert_eq!(code_of(&read(line.to_string().as_bytes())).0, Code::UpstreamIncomplete);
    }
}

#[test]
fn thoughts_calls_and_text_of_both_routes_are_told() {
    let chat = r#"{"message":{"role":"assistant","content":"c","thinking":"t"},"done":false}"#;
    let prompt = r#"{"response":"c","thinking":"t","done":false}"#;
    for line in [chat, prompt] {
        let events = read(format!("{line}\n").as_bytes());
        assert_eq!(events[..2], [Event::Thinking("t".to_owned()), text("c")]);
    }
    let events = read(br#"{"response":"","tool_calls":[{"function":{"name":"f","arguments":{}}}],"done":true}"#);
    assert_eq!(calls_of(&events).len(), 1);
}

#[test]
fn members_that_we_do_not_know_are_told_once_while_they_stay_the_same() {
    let line =
        |step: u64| format!("{{\"response\":\"\",\"done\":false,\"remote_model\":\"x\",\"completed\":{step}}}\n");
    let events = read(format!("{}{}{}", line(1), line(1), line(2)).as_bytes());
    let native =
        |step: u64| Event::Native(json!({"remote_model": "x", "completed": step}).as_object().unwrap().clone());
    assert_eq!(events[..2], [native(1), native(2)]);
    assert_eq!(events.len(), 3);
}

#[test]
fn a_line_without_an_end_is_cut_off_at_the_limit() {
    let (mut reader, mut events) = (reader(""), Vec::new());
    let piece = vec![b' '; 1024 * 1024];
    for _ in 0..8 {
        reader.feed(&piece, &mut events);
        assert!(events.is_empty());
    }
    reader.feed(b"x", &mut events);
    assert_eq!(code_of(&events).0, Code::UpstreamIncomplete);
    reader.feed(&piece, &mut events);
    reader.finish(&mut events);
    assert_eq!(events.len(), 1);
}

#[test]
fn a_line_of_the_largest_size_is_read_whether_it_comes_at_once_or_not() {
    let frame = r#"{"response":""}"#.len();
    let line = format!("{{\"response\":\"{}\"}}\n", "x".repeat(MAX_LINE - frame));
    assert!(matches!(&read(line.as_bytes())[0], Event::Text { text, .. } if text.len() == MAX_LINE - frame));
    let long = format!(" {line}");
    assert_eq!(code_of(&read(long.as_bytes())).0, Code::UpstreamIncomplete);
}

#[test]
fn lines_that_are_no_json_of_the_right_form_are_told_without_a_word_of_theirs() {
    for line in [
        &b"secret"[..],
        b"{\"response\":\"\xff\xfe secret\"}",
        b"[\"secret\"]",
        b"{\"message\":{\"content\":[\"secret\"]}}",
        b"{\"done\":\"secret\"}",
    ] {
        let events = read(&[line, b"\n"].concat());
        let (code, message) = code_of(&events);
        assert_eq!(code, Code::UpstreamIncomplete);
        assert!(message.contains("cannot be read") && !message.contains("secret"), "{message}");
    }
}

fn ends(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Finish(_) | Event::Failed { .. })).count()
}

proptest! {
    #[test]
    fn any_bytes_however_cut_are_one_answer_with_one_end(
        pieces in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            proptest::sample::select(chat().lines().chain(generate().lines()).map(|line| format!("{line}\n").into_bytes()).collect::<Vec<_>>()),
            Just(b"{\"error\":\"x\"}\n".to_vec()),
        ], 0..8),
        step in 1_usize..30,
    ) {
        let bytes = pieces.concat();
        let whole = read(&bytes);
        prop_assert_eq!(ends(&whole), 1);
        prop_assert_eq!(whole.last().map(|last| ends(std::slice::from_ref(last))), Some(1));
        let (mut reader, mut events) = (reader(""), Vec::new());
        for piece in bytes.chunks(step) {
            reader.feed(piece, &mut events);
        }
        reader.finish(&mut events);
        prop_assert_eq!(events, whole);
    }

    #[test]
    fn what_the_encoder_writes_the_reader_reads(
        texts in proptest::collection::vec((any::<bool>(), ".{1,9}"), 0..9),
        chat in any::<bool>(),
    ) {
        let stamp = Stamp { model: "m".to_owned(), id: "i".to_owned(), created: 0, include_usage: false, input_estimate: 0 };
        let route = if chat { Route::Chat } else { Route::Generate };
        let mut told: Vec<Event> = texts
            .into_iter()
            .map(|(thinks, said)| if thinks { Event::Thinking(said) } else { text(&said) })
            .collect();
        told.push(Event::ToolCall(ToolCall { id: "call_abc".to_owned(), name: "f".to_owned(), arguments: Map::new() }));
        let usage = Usage { input: Some(3), output: Some(4), cached: None };
        told.push(Event::Finish(Box::new(Finish { reason: StopReason::ToolCalls, usage, ..Finish::default() })));
        let (mut encoder, mut out) = (Encoder::new(route, &stamp), Vec::new());
        for event in told.clone() {
            encoder.heartbeat(5, &mut out);
            encoder.event(5, event, &mut out);
        }
        prop_assert_eq!(read(&out), told);
    }
}
