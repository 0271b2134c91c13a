//! Requests of completions: one prompt, and what of the old dialect has an effect.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::testing::bodies;
use super::*;

fn read(members: Value) -> Result<Request, BadRequest> {
    let mut body = json!({ "model": "m", "prompt": "once" });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    parse(body.to_string().as_bytes())
}

fn prompt(request: Request) -> Prompt {
    match request.input {
        Input::Prompt(prompt) => *prompt,
        Input::Chat(_) => panic!("a prompt is no chat"),
    }
}

#[test]
fn a_prompt_and_what_follows_the_gap_are_taken() {
    let request = read(json!({ "suffix": "end" })).unwrap();
    assert_eq!(request.only_local(), Some("suffix"));
    let prompt = prompt(request);
    assert_eq!((prompt.text.as_str(), prompt.suffix.as_deref()), ("once", Some("end")));
    assert_eq!(self::prompt(read(json!({ "suffix": "" })).unwrap()).suffix, None);
}

#[test]
fn a_request_without_a_prompt_asks_for_nothing() {
    assert!(read(json!({ "prompt": null })).unwrap().is_empty());
}

#[test]
fn defaults_are_openais_and_a_top_p_of_zero_is_none() {
    for members in [json!({}), json!({ "top_p": 0 })] {
        let request = read(members).unwrap();
        assert_eq!((request.sampling.temperature, request.sampling.top_p), (Some(1.0), Some(1.0)));
        assert_eq!((request.sampling.frequency_penalty, request.logprobs), (None, None));
    }
}

#[test]
fn limits_ends_and_probabilities_are_taken_over() {
    let members = json!({ "max_tokens": 3, "stop": "x", "logprobs": 0, "stream_options": { "include_usage": true } });
    let request = read(members).unwrap();
    assert_eq!((request.max_tokens, request.logprobs, request.include_usage), (Some(3), Some(0), true));
    assert_eq!(request.stop, ["x"]);
    assert_eq!(read(json!({ "logprobs": 5 })).unwrap().logprobs, Some(5));
}

#[test]
fn what_no_backend_can_do_is_named_and_its_defaults_are_not() {
    let lost = json!({ "echo": true, "best_of": 3, "n": 2, "logit_bias": { "1": 2 }, "messages": [] });
    let mut dropped = read(lost).unwrap().dropped;
    dropped.sort();
    assert_eq!(dropped, ["best_of", "echo", "logit_bias", "messages", "n"]);
    let kept = json!({ "echo": false, "best_of": 1, "n": 1, "user": "u", "stream_options": null });
    assert!(read(kept).unwrap().dropped.is_empty());
}

#[test]
fn lists_of_prompts_and_of_tokens_are_refused() {
    for members in [json!({ "prompt": ["a"] }), json!({ "prompt": [1, 2] }), json!({ "prompt": 5 })] {
        assert_eq!(read(members).unwrap_err().to_string(), "prompt: expected a string");
    }
    assert!(read(json!({ "logprobs": true })).unwrap_err().to_string().starts_with("logprobs: expected"));
    assert!(read(json!({ "stop": [null] })).unwrap_err().to_string().starts_with("stop: expected"));
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_a_fault(body in bodies(
        r#"{"model":"m","prompt":"é","suffix":"x","stop":["a"],"max_tokens":3,"logprobs":2,"echo":true,"top_p":0.5}"#,
    )) {
        if let Err(error) = parse(&body) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
