//! Answers cut at every byte must still be read to their error by a client of their dialect.

use causeway_wire::Code;
use serde_json::Value;

use crate::error::StreamTail;
use crate::route::{Dialect, Shape};

const NDJSON: &str = concat!(
    r#"{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"H\u00e9\n\"x"},"done":false}"#,
    "\n",
    r#"{ "model":"m", "logprobs":[ -1.5e-3, 0 ,{}, [] ], "done":true ,"x":null,"y":false,"total_duration":12 }"#,
    "\n",
);

const OPENAI: &str = concat!(
    ": comment\n\n",
    r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"[DONE] "}}]}"#,
    "\n\n",
    "event: response.x\nid: 7\n",
    r#"data: {"choices":[],"usage":{"n":1.5}}"#,
    "\n\ndata: [DONE]\n\n",
);

const ANTHROPIC: &str = concat!(
    "event: message_start\r\n",
    r#"data: {"type":"message_start","message":{"content":[]}}"#,
    "\r\n\r\n",
    "event: content_block_delta\n",
    r#"data: {"type":"content_block_delta","delta":{"text":"tr\u00fce"}}"#,
    "\n\n",
);

/// The stream cut after `cut` bytes, sent in pieces of `piece`, and completed.
fn broken(stream: &str, cut: usize, piece: usize, dialect: Dialect, shape: Shape) -> String {
    let sent = &stream.as_bytes()[..cut];
    let mut tail = StreamTail::default();
    for chunk in sent.chunks(piece) {
        tail.observe(chunk);
    }
    let mut all = sent.to_vec();
    all.extend(tail.complete(dialect, shape, Code::LinkLost, "the link was lost"));
    String::from_utf8(all).unwrap()
}

fn every_cut(stream: &str) -> impl Iterator<Item = (usize, usize)> {
    (0..=stream.len()).flat_map(|cut| [1, 3, 7, 4096].map(|piece| (cut, piece)))
}

/// Events as a browser's parser dispatches them: (event, data).
fn events(text: &str) -> Vec<(String, String)> {
    let (mut event, mut data, mut out) = (String::new(), None::<String>, Vec::new());
    for line in text.split('\n').map(|line| line.trim_end_matches('\r')) {
        if line.is_empty() {
            if let Some(data) = data.take() {
                out.push((event.clone(), data));
            }
            event.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event),
            "data" => match &mut data {
                Some(data) => *data = format!("{data}\n{value}"),
                None => data = Some(value.to_owned()),
            },
            _ => {}
        }
    }
    assert!(data.is_none() && event.is_empty(), "an event was left open: {text}");
    out
}

#[test]
fn ndjson_cut_at_any_byte_is_whole_lines_that_end_in_an_error() {
    for (cut, piece) in every_cut(NDJSON) {
        let text = broken(NDJSON, cut, piece, Dialect::Ollama, Shape::Ndjson);
        assert!(text.ends_with("\n{\"error\":\"the link was lost\"}\n") || cut == 0, "{text}");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line} (cut {cut})")))
            .collect();
        // A line that lacks nothing but its newline is whole.
        let sent = &NDJSON.as_bytes()[..NDJSON.len().min(cut + 1)];
        let whole = sent.iter().filter(|byte| **byte == b'\n').count();
        for (place, line) in lines.iter().enumerate() {
            assert_eq!(line.get("error").is_some(), place >= whole, "cut {cut}: {text}");
        }
    }
}

#[test]
fn openai_events_cut_at_any_byte_end_in_an_error_and_without_a_done() {
    for (cut, piece) in every_cut(OPENAI) {
        let text = broken(OPENAI, cut, piece, Dialect::OpenAi, Shape::Sse);
        let events = events(&text);
        let (_, last) = events.last().unwrap();
        let sent = &OPENAI[..cut];
        if sent.contains("data: [") && !sent.contains("[DONE]\n") {
            assert_eq!(last, "[DONE]", "the answer was whole: {text}");
            continue;
        }
        let error: Value = serde_json::from_str(last).unwrap();
        assert_eq!(error["error"]["code"], "link_lost", "{text}");
        for (_, data) in events.iter().filter(|(_, data)| data != "[DONE]") {
            let _: Value = serde_json::from_str(data).unwrap_or_else(|e| panic!("{e} in {data} (cut {cut})"));
        }
    }
}

#[test]
fn anthropic_events_cut_at_any_byte_end_in_an_error_event() {
    for (cut, piece) in every_cut(ANTHROPIC) {
        let text = broken(ANTHROPIC, cut, piece, Dialect::Anthropic, Shape::Sse);
        let events = events(&text);
        let (event, last) = events.last().unwrap();
        assert_eq!(event, "error", "{text}");
        let error: Value = serde_json::from_str(last).unwrap();
        assert_eq!(error["type"], "error", "{text}");
        for (event, data) in &events {
            let value: Value = serde_json::from_str(data).unwrap_or_else(|e| panic!("{e} in {data} (cut {cut})"));
            assert_eq!(event == "error", value.get("error").is_some(), "cut {cut}: {text}");
        }
    }
}

#[test]
fn an_array_that_begins_like_the_end_marker_is_closed_as_an_array() {
    let text = broken("data: [1, 2", 11, 1, Dialect::OpenAi, Shape::Sse);
    assert_eq!(events(&text)[0].1, "[1, 2]");
}

#[test]
fn text_that_is_no_json_is_still_followed_by_the_error_on_its_own_line() {
    let text = broken("no json at all", 14, 5, Dialect::Ollama, Shape::Ndjson);
    assert_eq!(text.lines().last(), Some("{\"error\":\"the link was lost\"}"));
    let deep = format!("{{\"a\":{}", "[".repeat(1000));
    let text = broken(&deep, deep.len(), 64, Dialect::Ollama, Shape::Ndjson);
    assert_eq!(text.lines().last(), Some("{\"error\":\"the link was lost\"}"));
}
