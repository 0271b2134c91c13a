//! The estimate of a prompt's tokens.

use serde_json::{Value, json};

use super::*;

fn request(body: &Value) -> Request {
    parse(&serde_json::to_vec(body).unwrap()).unwrap()
}

fn said(text: &str) -> Request {
    request(&json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }))
}

#[test]
fn counting_asks_for_no_bound_of_an_answer_but_for_all_else() {
    assert_eq!(said("hi").max_tokens, None);
    assert!(parse(b"{\"messages\":[]}").unwrap_err().to_string().starts_with("model: "));
}

#[test]
fn an_estimate_is_bytes_times_the_ratio_rounded_up() {
    assert_eq!(estimate(&said(&"a".repeat(84)), 0.25), 25);
    assert_eq!(estimate(&said(&"a".repeat(85)), 0.25), 26);
    assert_eq!(estimate(&said(&"a".repeat(84)), 0.5), 50);
    assert_eq!(estimate(&said("ä"), 1.0), 18);
    assert_eq!(estimate(&said("a"), 1e-9), 1);
}

#[test]
fn an_impossible_ratio_counts_as_the_usual_one() {
    let request = said(&"a".repeat(84));
    for ratio in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(estimate(&request, ratio), 25, "{ratio}");
    }
}

#[test]
fn all_that_reaches_the_model_counts() {
    let schema = json!({ "type": "object" });
    let body = json!({
        "model": "m",
        "system": "12345",
        "tools": [{ "name": "1234567", "description": "1234", "input_schema": schema }],
        "messages": [
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "123" },
                { "type": "tool_use", "id": "not counted", "name": "12", "input": { "a": 1 } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "not counted", "content": [
                    { "type": "text", "text": "123456" },
                    { "type": "image", "source": { "type": "base64", "data": "iVBORw0KGgoAAAANSUhEUgAA" } },
                ] },
            ] },
        ],
    });
    let bytes = 5 + 7 + 4 + r#"{"type":"object"}"#.len() + 3 + 2 + r#"{"a":1}"#.len() + 6 + 3 * 16;
    assert_eq!(estimate(&request(&body), 1.0), bytes as u64 + IMAGE_TOKENS);
}

#[test]
fn the_answer_is_one_number() {
    let answer: Value = serde_json::from_slice(&answer(2_095)).unwrap();
    assert_eq!(answer, json!({ "input_tokens": 2_095 }));
}

#[test]
fn a_document_counts_as_its_text_or_by_its_size() {
    let with = |source: Value| {
        let block = json!({ "type": "document", "source": source });
        estimate(&request(&json!({ "model": "m", "messages": [{ "role": "user", "content": [block] }] })), 1.0)
    };
    assert_eq!(with(json!({ "type": "text", "data": "12345678" })), 8 + 16);
    let pdf = |zeros: usize| json!({ "type": "base64", "data": format!("JVBERi0x{}", "A".repeat(zeros)) });
    assert_eq!(with(pdf(400)), DOCUMENT_TOKENS_LEAST + 16);
    assert_eq!(with(pdf(400_000)), 300_006 / DOCUMENT_BYTES_PER_TOKEN + 16);
    assert_eq!(with(pdf(4_000_000)), DOCUMENT_TOKENS_MOST + 16);
}
