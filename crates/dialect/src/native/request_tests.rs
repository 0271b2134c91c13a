//! What goes to Ollama: everything the caller said that it can do, and nothing that policy forbids.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::chat::{Format, Message, Native, Part, Role, Sampling, Think, ToolCall, ToolResult};
use crate::ollama::{parse_chat, parse_generate};

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB";

fn chat(body: &Value) -> Request {
    parse_chat(body.to_string().as_bytes()).unwrap()
}

/// The native request for the model `m` as it was authorised.
fn request(canonical: &Request, bounds: &Bounds) -> Outgoing {
    super::request(canonical, &ModelName::parse("m").unwrap(), bounds)
}

fn sent(outgoing: &Outgoing) -> Value {
    serde_json::from_slice(&outgoing.body).unwrap()
}

#[test]
fn a_chat_goes_out_as_it_came_in_and_always_streams() {
    let body = json!({
        "model": "m", "stream": false, "think": "max", "format": {"type": "object"}, "truncate": false,
        "keep_alive": "5m", "logprobs": true, "top_logprobs": 3, "extra": [1],
        "options": {"temperature": 0.1, "stop": ["x"], "num_predict": 5, "mirostat": 2, "seed": -1},
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u", "images": [PNG]},
            {"role": "assistant", "content": "", "thinking": "t", "tool_calls": [
                {"id": "call_a", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
                {"function": {"index": 1, "name": "g", "arguments": {}}}]},
            {"role": "tool", "content": "r", "tool_name": "f", "tool_call_id": "call_a"},
            {"role": "user", "content": ""},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
    });
    let outgoing = request(&chat(&body), &Bounds::default());
    let mut expected = body;
    expected["model"] = json!("m:latest");
    expected["stream"] = json!(true);
    assert_eq!((sent(&outgoing), outgoing.path), (expected, "/api/chat"));
    assert!(outgoing.removed.is_empty() && outgoing.lost.is_empty());
}

#[test]
fn ollama_gets_the_name_that_was_authorised_however_the_caller_spelt_it() {
    let spelt = "https://registry.ollama.ai/library/M:local";
    let body = json!({"model": spelt, "messages": [{"role": "user", "content": "u"}]});
    let outgoing = super::request(&chat(&body), &ModelName::parse(spelt).unwrap(), &Bounds::default());
    assert_eq!(sent(&outgoing)["model"], json!("m:latest"));
    let prompt = parse_generate(br#"{"model":"M","prompt":"p"}"#).unwrap();
    let outgoing = super::request(&prompt, &ModelName::parse("host/me/M:Q4").unwrap(), &Bounds::default());
    assert_eq!(sent(&outgoing)["model"], json!("host/me/m:q4"));
}

#[test]
fn a_prompt_goes_out_as_it_came_in() {
    let body = json!({
        "model": "m:latest", "prompt": "p", "system": "s", "suffix": "x", "template": "t", "context": [1, 2],
        "images": [PNG], "stream": true, "think": false, "format": "json",
    });
    let outgoing = request(&parse_generate(body.to_string().as_bytes()).unwrap(), &Bounds::default());
    assert_eq!((sent(&outgoing), outgoing.path), (body, "/api/generate"));
}

#[test]
fn what_would_load_the_model_anew_is_taken_out_and_named() {
    let options = json!({
        "num_ctx": 1, "num_gpu": 1, "num_batch": 1, "main_gpu": 1, "use_mmap": true, "num_thread": 1,
        "draft_num_predict": 1, "use_mlock": true, "numa": true, "top_k": 3,
    });
    let body = json!({"model": "m", "options": options, "shift": false, "_debug_render_only": true});
    let bounds = Bounds { num_ctx: Some(8_192), ..Bounds::default() };
    let outgoing = request(&chat(&body), &bounds);
    let expected =
        json!({"model": "m:latest", "messages": [], "stream": true, "options": {"num_ctx": 8_192, "top_k": 3}});
    assert_eq!(sent(&outgoing), expected);
    let mut removed = outgoing.removed;
    removed.sort();
    assert_eq!(
        removed,
        [
            "_debug_render_only",
            "options.draft_num_predict",
            "options.main_gpu",
            "options.num_batch",
            "options.num_ctx",
            "options.num_gpu",
            "options.num_thread",
            "options.numa",
            "options.use_mlock",
            "options.use_mmap",
            "shift",
        ]
    );
}

#[test]
fn the_models_own_context_length_is_no_loss_for_who_asked_for_it() {
    let body = json!({"model": "m", "options": {"num_ctx": 8_192}});
    let fixed = request(&chat(&body), &Bounds { num_ctx: Some(8_192), ..Bounds::default() });
    assert!(fixed.removed.is_empty());
    assert_eq!(sent(&fixed)["options"]["num_ctx"], json!(8_192));
    let free = request(&chat(&body), &Bounds::default());
    assert_eq!((free.removed.as_slice(), sent(&free).get("options")), (&["options.num_ctx".to_owned()][..], None));
}

#[test]
fn a_caller_can_neither_unload_nor_pin_a_model() {
    for (asked, given, named) in [
        (json!(0), None, true),
        (json!("0s"), None, true),
        (json!("1ns"), None, true),
        (json!(59), None, true),
        (json!(60), Some(json!(60)), false),
        (json!("30m"), Some(json!("30m")), false),
        (json!("31m"), Some(json!(1_800)), true),
        (json!(1e12), Some(json!(1_800)), true),
        (json!(-1), Some(json!(1_800)), true),
        (json!("-1ns"), Some(json!(1_800)), true),
    ] {
        let outgoing = request(&chat(&json!({"model": "m", "keep_alive": asked})), &Bounds::default());
        assert_eq!(sent(&outgoing).get("keep_alive"), given.as_ref(), "{asked}");
        assert_eq!(outgoing.removed == ["keep_alive"], named, "{asked}");
    }
}

#[test]
fn a_longest_time_of_nothing_never_unloads_either() {
    let nothing = std::time::Duration::ZERO;
    let bounds = Bounds { keep_alive_min: nothing, keep_alive_max: nothing, ..Bounds::default() };
    for asked in [json!(0), json!(-1), json!(5)] {
        let outgoing = request(&chat(&json!({"model": "m", "keep_alive": asked})), &bounds);
        assert!(sent(&outgoing).get("keep_alive").is_none_or(|alive| *alive == json!(1)), "{asked}");
    }
}

#[test]
fn templates_are_taken_out_where_policy_says_so() {
    let bounds = Bounds { templates: false, ..Bounds::default() };
    let body = br#"{"model":"m","prompt":"p","template":"t"}"#;
    let outgoing = request(&parse_generate(body).unwrap(), &bounds);
    assert_eq!((sent(&outgoing).get("template"), outgoing.removed.as_slice()), (None, &["template".to_owned()][..]));
    let body = br#"{"model":"m","prompt":"p","raw":true}"#;
    let outgoing = request(&parse_generate(body).unwrap(), &bounds);
    assert_eq!((sent(&outgoing).get("raw"), outgoing.removed.as_slice()), (None, &["raw".to_owned()][..]));
}

#[test]
fn a_model_that_cannot_think_is_asked_for_thought_only_where_the_caller_insists() {
    let cannot = Bounds { thinks: false, ..Bounds::default() };
    let anthropic = |members: Value| {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "u"}]});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        crate::anthropic::parse(body.to_string().as_bytes()).unwrap()
    };
    for (members, asked) in [
        (json!({"thinking": {"type": "enabled"}}), json!(true)),
        (json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}), json!("high")),
    ] {
        let canonical = anthropic(members);
        assert_eq!(sent(&request(&canonical, &Bounds::default()))["think"], asked);
        let relaxed = request(&canonical, &cannot);
        assert_eq!((sent(&relaxed).get("think"), relaxed.lost), (None, vec!["thinking".to_owned()]));
    }
    let off = request(&anthropic(json!({"thinking": {"type": "disabled"}})), &cannot);
    assert_eq!((&sent(&off)["think"], off.lost), (&json!(false), vec![]));
    let body = br#"{"model":"m","reasoning_effort":"low","messages":[{"role":"user","content":"u"}]}"#;
    let insisted = request(&crate::openai::chat::parse(body).unwrap(), &cannot);
    assert_eq!(sent(&insisted)["think"], json!("low"), "Ollama refuses it on OpenAI's routes");
    assert_eq!(sent(&request(&chat(&json!({"model": "m", "think": true})), &cannot))["think"], json!(true));
}

#[test]
fn a_role_that_only_a_models_template_knows_is_passed_on() {
    let body = json!({"model": "m", "messages": [{"role": "CONTROL", "content": "thinking"}]});
    let canonical = chat(&body);
    assert_eq!(canonical.only_local(), Some("messages.role"));
    let outgoing = request(&canonical, &Bounds::default());
    assert_eq!(sent(&outgoing)["messages"], json!([{"role": "control", "content": "thinking"}]));
}

#[test]
fn texts_of_one_message_are_joined_as_each_of_ollamas_own_routes_joins_them() {
    let anthropic = json!({"model": "m", "max_tokens": 9,
        "system": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}],
        "messages": [
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "first"}, {"type": "text", "text": "I "},
                {"type": "thinking", "thinking": "then"}, {"type": "text", "text": "see"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [
                    {"type": "text", "text": "4"}, {"type": "text", "text": "2"}]},
                {"type": "text", "text": "so "}, {"type": "text", "text": "what?"}]}]});
    let call = json!([{"id": "t", "function": {"index": 0, "name": "f", "arguments": {}}}]);
    let outgoing = request(&crate::anthropic::parse(anthropic.to_string().as_bytes()).unwrap(), &Bounds::default());
    assert_eq!(
        sent(&outgoing)["messages"],
        json!([
            {"role": "system", "content": "be brief"},
            {"role": "assistant", "content": "I see", "thinking": "then", "tool_calls": call},
            {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "t"},
            {"role": "user", "content": "so what?"},
        ])
    );
    let responses = json!({"model": "m", "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "so "}, {"type": "input_text", "text": "what?"}]},
        {"type": "function_call_output", "call_id": "t", "output": [
            {"type": "input_text", "text": "4"}, {"type": "input_text", "text": "2"}]}]});
    let canonical = crate::openai::responses::parse(responses.to_string().as_bytes()).unwrap();
    let outgoing = request(&canonical, &Bounds::default());
    assert_eq!(
        sent(&outgoing)["messages"],
        json!([{"role": "user", "content": "so what?"}, {"role": "tool", "content": "42", "tool_call_id": "t"}])
    );
    let completions = json!({"model": "m", "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "so"}, {"type": "image_url", "image_url": format!("data:;base64,{PNG}")},
            {"type": "text", "text": "what?"}]},
        {"role": "assistant", "reasoning": "hm", "content": [{"type": "text", "text": "I"}, {"type": "text", "text": "see"}],
            "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "t", "content": [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]}]});
    let canonical = crate::openai::chat::parse(completions.to_string().as_bytes()).unwrap();
    let outgoing = request(&canonical, &Bounds::default());
    assert_eq!(
        sent(&outgoing)["messages"],
        json!([
            {"role": "user", "content": "so"},
            {"role": "user", "content": "", "images": [PNG]},
            {"role": "user", "content": "what?"},
            {"role": "assistant", "content": "I"},
            {"role": "assistant", "content": "see", "thinking": "hm", "tool_calls": call},
            {"role": "tool", "content": "4\n\n2", "tool_name": "f", "tool_call_id": "t"},
        ])
    );
}

#[test]
fn no_tools_where_none_may_be_called_and_a_forced_call_is_named_as_lost() {
    let body = json!({"model": "m", "tools": [{"type": "function", "function": {"name": "f"}}]});
    for (choice, tools, lost) in [
        (ToolChoice::Auto, 1, false),
        (ToolChoice::None, 0, false),
        (ToolChoice::Required, 1, true),
        (ToolChoice::Named("f".to_owned()), 1, true),
    ] {
        let outgoing = request(&Request { tool_choice: choice, ..chat(&body) }, &Bounds::default());
        assert_eq!(sent(&outgoing).get("tools").map_or(0, |tools| tools.as_array().unwrap().len()), tools);
        assert_eq!(outgoing.lost == ["tool_choice"], lost);
    }
}

#[test]
fn unknown_fields_of_other_dialects_cannot_pose_as_ollamas_own() {
    let unknown =
        json!({"Messages": 1, "RAW": true, "\u{17f}hift": 1, "\u{212A}eep_alive": 0, "Options": {}, "user": "u"});
    let native = Native { unknown: unknown.as_object().unwrap().clone(), ..Native::default() };
    let outgoing = request(&Request { native, ..chat(&json!({"model": "m"})) }, &Bounds::default());
    assert_eq!(sent(&outgoing), json!({"model": "m:latest", "messages": [], "stream": true, "user": "u"}));
    let mut named = [outgoing.lost, outgoing.removed].concat();
    named.sort();
    assert_eq!(named, ["keep_alive", "messages", "options", "raw", "shift"]);
}

#[test]
fn results_become_messages_of_their_own_in_order_with_the_functions_name() {
    let text = |text: &str| Part::Text(text.to_owned());
    let call = |id: &str, name: &str| {
        Part::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: serde_json::Map::new() })
    };
    let result = |id: &str, said: &str, failed| {
        Part::ToolResult(ToolResult {
            id: Some(id.to_owned()),
            name: None,
            parts: vec![text(said), text("more")],
            failed,
        })
    };
    let messages = vec![
        Message { role: Role::Assistant, parts: vec![text("a"), call("1", "f"), text("b"), call("2", "g")] },
        Message { role: Role::User, parts: vec![result("2", "two", true), text("so"), result("1", "one", true)] },
        Message { role: Role::Tool, parts: vec![result("9", "nine", false)] },
    ];
    let canonical = Request { input: Input::Chat(messages), ..chat(&json!({"model": "m"})) };
    let outgoing = request(&canonical, &Bounds::default());
    assert_eq!(
        sent(&outgoing)["messages"],
        json!([
            {"role": "assistant", "content": "ab", "tool_calls": [
                {"id": "1", "function": {"index": 0, "name": "f", "arguments": {}}},
                {"id": "2", "function": {"index": 1, "name": "g", "arguments": {}}}]},
            {"role": "tool", "content": "twomore", "tool_name": "g", "tool_call_id": "2"},
            {"role": "user", "content": "so"},
            {"role": "tool", "content": "onemore", "tool_name": "f", "tool_call_id": "1"},
            {"role": "tool", "content": "ninemore", "tool_call_id": "9"},
        ])
    );
    assert_eq!(outgoing.lost, ["is_error"]);
}

#[test]
fn tools_beside_a_bare_prompt_are_named_as_lost() {
    let tools = chat(&json!({"model": "m", "tools": [{"function": {"name": "f"}}]})).tools;
    let prompt = parse_generate(br#"{"model":"m","prompt":"p"}"#).unwrap();
    let outgoing = request(&Request { tools, ..prompt }, &Bounds::default());
    assert_eq!((sent(&outgoing).get("tools"), outgoing.lost.as_slice()), (None, &["tools".to_owned()][..]));
}

fn any_request() -> impl Strategy<Value = Request> {
    let role = prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant)];
    let part = prop_oneof![
        ".{1,12}".prop_map(Part::Text),
        ("[a-z0-9_]{0,6}", "[a-z]{1,6}").prop_map(|(id, name)| Part::ToolCall(ToolCall {
            id,
            name,
            arguments: [("a".to_owned(), json!(1))].into_iter().collect(),
        })),
    ];
    let message = (role, part).prop_map(|(role, part)| Message { role, parts: vec![part] });
    let sampling =
        (proptest::option::of(0.0..2.0), proptest::option::of(any::<i64>()), proptest::option::of(0_i64..99));
    let limit = proptest::option::of(1_u32..);
    let think = prop_oneof![Just(Think::Unset), Just(Think::Off), Just(Think::On)];
    (proptest::collection::vec(message, 0..6), sampling, limit, think, proptest::option::of(0_u8..=20)).prop_map(
        |(messages, (temperature, seed, top_k), max_tokens, think, logprobs)| Request {
            model: "m:latest".to_owned(),
            stream: true,
            input: Input::Chat(messages),
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            sampling: Sampling { temperature, seed, top_k, ..Sampling::default() },
            max_tokens,
            stop: Vec::new(),
            format: Format::Text,
            think,
            relax_think: false,
            logprobs,
            include_usage: false,
            native: Native::default(),
            dropped: Vec::new(),
        },
    )
}

proptest! {
    #[test]
    fn what_goes_out_says_what_the_canonical_request_says(canonical in any_request()) {
        let outgoing = request(&canonical, &Bounds::default());
        prop_assert_eq!(parse_chat(&outgoing.body).unwrap(), canonical);
    }
}

#[test]
fn a_schemas_members_keep_their_order_and_numbers_their_digits() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"x"}],"format":{"type":"object","properties":{"b":{},"a":{}}},"options":{"temperature":0.30000000000000004}}"#;
    let request = crate::ollama::parse_chat(body).unwrap();
    let sent = self::request(&request, &Bounds::default()).body;
    let sent = String::from_utf8(sent).unwrap();
    assert!(sent.contains(r#"{"b":{},"a":{}}"#) && sent.contains("0.30000000000000004"), "{sent}");
}

#[test]
fn a_document_of_text_is_told_as_text_and_one_of_bytes_and_every_cache_mark_are_listed_as_lost() {
    let mark = json!({ "type": "ephemeral" });
    let text = json!({ "type": "document", "title": "May", "source": { "type": "text", "data": "d" } });
    let pdf = json!({ "type": "document", "source": { "type": "base64", "data": "JVBERi0xLjcK" } });
    let parse = |tools: Value, content: Value| {
        let messages = json!([{ "role": "user", "content": content }]);
        let body = json!({ "model": "m", "max_tokens": 9, "tools": tools, "messages": messages });
        crate::anthropic::parse(body.to_string().as_bytes()).unwrap()
    };
    let told = "<document name=\"May\">\nd\n</document>\n";
    let given = json!([text, { "type": "text", "text": "?" },
        { "type": "tool_result", "tool_use_id": "t", "content": [text] }]);
    let outgoing = request(&parse(json!([]), given), &Bounds::default());
    assert_eq!(sent(&outgoing)["messages"][0]["content"], told);
    assert_eq!(sent(&outgoing)["messages"][1]["content"], format!("{told}?"));
    assert!(outgoing.lost.is_empty());
    let outgoing = request(&parse(json!([]), json!([pdf, { "type": "text", "text": "?" }])), &Bounds::default());
    assert_eq!(outgoing.lost, ["documents"]);
    assert_eq!(sent(&outgoing)["messages"][0]["content"], "?");
    let marked = json!([{ "type": "text", "text": "?", "cache_control": mark }]);
    let tool = json!([{ "name": "f", "input_schema": {}, "cache_control": mark }]);
    for (tools, content) in [(json!([]), marked), (tool, json!("?"))] {
        let outgoing = request(&parse(tools, content), &Bounds::default());
        assert_eq!(outgoing.lost, ["cache_control"]);
        assert_eq!(sent(&outgoing)["messages"], json!([{ "role": "user", "content": "?" }]));
    }
}
