//! Each row of the table, through the parsers that meet it: listed or not, refused when strict or not.

use serde_json::{Value, json};

use super::*;
use crate::chat::Request;

#[derive(Clone, Copy)]
enum By {
    Chat,
    Completion,
    Responses,
    Messages,
    Native,
}

fn parse(by: By, members: &Value) -> Request {
    let mut body = match by {
        By::Chat | By::Native => json!({"model": "m", "messages": [{"role": "user", "content": "u"}]}),
        By::Completion => json!({"model": "m", "prompt": "p"}),
        By::Responses => json!({"model": "m", "input": "u"}),
        By::Messages => json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "u"}]}),
    };
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let body = body.to_string().into_bytes();
    match by {
        By::Chat => crate::openai::chat::parse(&body),
        By::Completion => crate::openai::completions::parse(&body),
        By::Responses => crate::openai::responses::parse(&body),
        By::Messages => crate::anthropic::parse(&body),
        By::Native => crate::ollama::parse_chat(&body),
    }
    .unwrap_or_else(|fault| panic!("{members}: {fault}"))
}

/// Row, dialect, members, what is listed, whether strict callers are refused.
fn cases() -> Vec<(&'static str, By, Value, &'static [&'static str], bool)> {
    let schema = json!({"type": "object"});
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": schema, "strict": true}});
    let cached = json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}});
    let said = json!([{"role": "user", "content": [cached]}]);
    let ours = json!([{"name": "f", "input_schema": schema, "strict": true}]);
    let choice = json!({"type": "auto", "disable_parallel_tool_use": true});
    vec![
        ("user", By::Chat, json!({"user": "u"}), &[], false),
        ("user", By::Completion, json!({"user": "u"}), &[], false),
        ("metadata", By::Chat, json!({"metadata": {"a": "b"}}), &[], false),
        ("metadata", By::Messages, json!({"metadata": {"user_id": "u"}}), &[], false),
        ("safety_identifier", By::Responses, json!({"safety_identifier": "s"}), &[], false),
        ("prompt_cache_key", By::Responses, json!({"prompt_cache_key": "k"}), &[], false),
        ("prompt_cache_retention", By::Chat, json!({"prompt_cache_retention": "24h"}), &[], false),
        ("stream_options", By::Responses, json!({"stream_options": {"include_obfuscation": false}}), &[], false),
        ("store", By::Chat, json!({"store": true}), &["store"], false),
        ("store", By::Responses, json!({"store": false}), &[], false),
        ("service_tier", By::Chat, json!({"service_tier": "flex"}), &["service_tier"], false),
        ("service_tier", By::Messages, json!({"service_tier": "standard_only"}), &[], false),
        (".cache_control", By::Messages, json!({"messages": said}), &[], false),
        (".cache_control", By::Chat, json!({"messages": said}), &["messages.content.cache_control"], false),
        (".cache_control", By::Messages, json!({"cache_control": {"type": "ephemeral"}}), &["cache_control"], false),
        (".strict", By::Chat, json!({"tools": [tool]}), &["tools.strict"], false),
        (".strict", By::Native, json!({"tools": [tool]}), &["tools.function.strict"], false),
        (".strict", By::Messages, json!({"tools": ours}), &["tools.strict"], false),
        (
            "thinking.budget_tokens",
            By::Messages,
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
            &["thinking.budget_tokens"],
            false,
        ),
        ("parallel_tool_calls", By::Chat, json!({"parallel_tool_calls": true}), &[], false),
        ("parallel_tool_calls", By::Chat, json!({"parallel_tool_calls": false}), &["parallel_tool_calls"], true),
        (
            "tool_choice.disable_parallel_tool_use",
            By::Messages,
            json!({"tool_choice": choice}),
            &["tool_choice.disable_parallel_tool_use"],
            true,
        ),
        ("n", By::Chat, json!({"n": 1}), &[], false),
        ("n", By::Chat, json!({"n": 2}), &["n"], true),
        ("best_of", By::Completion, json!({"best_of": 3}), &["best_of"], true),
        ("echo", By::Completion, json!({"echo": true}), &["echo"], true),
        ("background", By::Chat, json!({"background": true}), &["background"], true),
        ("logit_bias", By::Chat, json!({"logit_bias": {}}), &[], false),
        ("logit_bias", By::Chat, json!({"logit_bias": {"5": 1}}), &["logit_bias"], true),
        ("modalities", By::Chat, json!({"modalities": ["text", "audio"]}), &["modalities"], true),
        ("verbosity", By::Chat, json!({"verbosity": "low"}), &["verbosity"], true),
        ("include", By::Chat, json!({"include": ["x"]}), &["include"], true),
    ]
}

#[test]
fn each_row_is_listed_where_something_is_lost_and_refused_only_where_it_was_meant() {
    for (_, by, members, listed, strict) in cases() {
        let request = parse(by, &members);
        assert_eq!(request.dropped, listed, "{members}");
        assert_eq!(refused(&request.dropped).next().is_some(), strict, "{members}");
    }
}

#[test]
fn every_row_of_the_table_has_a_case() {
    for row in &TABLE {
        let mut of_row = cases().into_iter().filter(|case| case.0 == row.name);
        assert!(of_row.next().is_some(), "{}", row.name);
    }
}

#[test]
fn what_the_table_does_not_know_was_meant() {
    let lost = ["tools.strict", "seed", "messages.content.cache_control", "cache_control_x", "min_p", "user"];
    let lost = lost.map(str::to_owned);
    assert_eq!(refused(&lost).collect::<Vec<_>>(), ["seed", "cache_control_x", "min_p"]);
}
