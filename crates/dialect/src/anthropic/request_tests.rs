//! The top level of a request: what it becomes, what is dropped, where its faults are.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chat::Part;

/// A request that is whole, with further members.
fn body(more: &Value) -> Vec<u8> {
    let mut body = json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    serde_json::to_vec(&body).unwrap()
}

fn with(more: &Value) -> Request {
    match parse(&body(more)) {
        Ok(request) => request,
        Err(fault) => panic!("{more}: {fault}"),
    }
}

fn fault(more: &Value) -> String {
    parse(&body(more)).unwrap_err().to_string()
}

#[test]
fn a_plain_request_asks_for_one_answer_with_the_models_own_settings() {
    let request = with(&json!({}));
    let messages = vec![Message { role: Role::User, parts: vec![Part::Text("hi".to_owned())] }];
    let expected = Request {
        model: "m".to_owned(),
        stream: false,
        input: Input::Chat(messages),
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        sampling: Sampling::default(),
        max_tokens: Some(9),
        stop: Vec::new(),
        format: Format::Text,
        think: Think::Unset,
        relax_think: true,
        logprobs: None,
        include_usage: true,
        native: Native::default(),
        dropped: Vec::new(),
    };
    assert_eq!(request, expected);
}

#[test]
fn what_a_backend_can_do_is_kept() {
    let request = with(&json!({
        "stream": true, "temperature": 0, "top_p": 0.5, "top_k": 7, "stop_sequences": ["a", "b"],
        "metadata": { "user_id": "u" }, "service_tier": "auto", "system": null,
    }));
    assert!(request.stream && request.dropped.is_empty());
    let sampling = &request.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (Some(0.0), Some(0.5), Some(7)));
    assert_eq!(request.stop, ["a", "b"]);
}

#[test]
fn system_text_comes_first_as_a_string_or_as_blocks() {
    let system = |system: Value| match with(&json!({ "system": system })).input {
        Input::Chat(mut messages) => (messages.len(), messages.remove(0)),
        Input::Prompt(_) => panic!("not a chat"),
    };
    let parts = vec![Part::Text("be".to_owned()), Part::Text("kind".to_owned())];
    let blocks = json!([{ "type": "text", "text": "be" }, { "type": "text", "text": "kind" }]);
    assert_eq!(system(blocks), (2, Message { role: Role::System, parts }));
    assert_eq!(system(json!("be")).1.parts, [Part::Text("be".to_owned())]);
    assert_eq!(system(json!("")).0, 1);
    assert_eq!(with(&json!({ "system": [{ "type": "image" }] })).dropped, ["system.image"]);
    assert!(fault(&json!({ "system": 7 })).starts_with("system: expected a string or a list of blocks"));
}

#[test]
fn a_bound_of_the_answer_is_required_and_positive() {
    let without = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    assert!(parse(without).unwrap_err().to_string().starts_with("max_tokens: a whole number of 1 or more"));
    for wrong in [json!(0), json!(-1), json!(1.5), json!("9"), json!(null), json!(5_000_000_000_u64)] {
        assert!(fault(&json!({ "max_tokens": wrong })).starts_with("max_tokens: a whole number"), "{wrong}");
    }
}

#[test]
fn functions_are_taken_and_tools_that_a_server_runs_are_refused() {
    let schema = json!({ "type": "object", "properties": { "q": { "type": "string" } } });
    let request = with(&json!({ "tools": [
        { "name": "web_search", "description": "", "input_schema": schema, "cache_control": {}, "strict": true },
        { "name": "b", "description": "does b", "type": "custom", "input_schema": {} },
    ] }));
    let first = Tool { name: "web_search".to_owned(), description: None, parameters: schema, cache: None };
    assert_eq!(request.tools[0], first, "a function of the caller's own may have any name");
    assert_eq!(request.tools[1].description.as_deref(), Some("does b"));
    assert_eq!(request.dropped, ["cache_control", "tools.strict"]);
    for kind in ["web_search_20250305", "bash_20250124", "code_execution_20250522"] {
        let found = fault(&json!({ "tools": [{ "type": kind, "name": "x", "input_schema": {} }] }));
        assert!(found.starts_with(&format!("tools[0].type: tools of type `{kind}` are not run here")), "{found}");
    }
    assert!(fault(&json!({ "tools": [{ "name": "a" }] })).starts_with("tools[0].input_schema: a JSON schema"));
    assert!(fault(&json!({ "tools": [{ "input_schema": {} }] })).starts_with("tools[0].name: a string"));
}

#[test]
fn two_hundred_tools_are_fine_and_too_many_are_not() {
    let tools = |count: usize| {
        let tool = |number| json!({ "name": format!("t{number}"), "input_schema": { "type": "object" } });
        json!({ "tools": (0..count).map(tool).collect::<Vec<_>>() })
    };
    assert_eq!(with(&tools(200)).tools.len(), 200);
    assert_eq!(fault(&tools(MAX_TOOLS + 1)), "tools: 1001 items; at most 1000 are taken");
}

#[test]
fn messages_and_stop_sequences_are_bounded() {
    let message = json!({ "role": "user", "content": "hi" });
    let messages = |count: usize| json!({ "messages": vec![message.clone(); count] });
    assert!(matches!(with(&messages(MAX_MESSAGES)).input, Input::Chat(kept) if kept.len() == MAX_MESSAGES));
    assert_eq!(fault(&messages(MAX_MESSAGES + 1)), "messages: 10001 items; at most 10000 are taken");
    let stops = |count: usize| json!({ "stop_sequences": vec!["x"; count] });
    assert_eq!(with(&stops(MAX_STOPS)).stop.len(), MAX_STOPS);
    assert_eq!(fault(&stops(MAX_STOPS + 1)), "stop_sequences: 65 items; at most 64 are taken");
}

#[test]
fn every_tool_choice_is_honoured() {
    let choice = |choice: Value, tools: Value| parse(&body(&json!({ "tool_choice": choice, "tools": tools })));
    let tools = json!([{ "name": "f", "input_schema": {} }]);
    for (given, expected) in [
        (json!({ "type": "auto" }), ToolChoice::Auto),
        (json!({ "type": "none" }), ToolChoice::None),
        (json!({ "type": "any" }), ToolChoice::Required),
        (json!({ "type": "tool", "name": "f" }), ToolChoice::Named("f".to_owned())),
    ] {
        assert_eq!(choice(given, tools.clone()).unwrap().tool_choice, expected);
    }
    for (given, tools, expected) in [
        (json!({ "type": "any" }), json!([]), "tool_choice.type: `any` needs `tools`"),
        (json!({ "type": "tool", "name": "g" }), tools.clone(), "tool_choice.name: no tool is called `g`"),
        (json!({ "type": "tool" }), tools.clone(), "tool_choice.name: a string"),
        (json!({ "type": "some" }), tools.clone(), "tool_choice.type: expected `auto`"),
        (json!("auto"), tools.clone(), "tool_choice: expected an object, found a string"),
    ] {
        let found = choice(given, tools).unwrap_err().to_string();
        assert!(found.starts_with(expected), "{found}");
    }
    let one_at_a_time = json!({ "type": "auto", "disable_parallel_tool_use": true });
    assert_eq!(choice(one_at_a_time, tools).unwrap().dropped, ["tool_choice.disable_parallel_tool_use"]);
}

#[test]
fn thinking_and_effort_follow_ollama() {
    for (thinking, effort, expected) in [
        (json!(null), json!(null), Think::Unset),
        (json!({ "type": "enabled" }), json!(null), Think::On),
        (json!({ "type": "disabled" }), json!("high"), Think::Off),
        (json!({ "type": "adaptive" }), json!(null), Think::Unset),
        (json!({ "type": "adaptive" }), json!("max"), Think::Effort(Effort::Max)),
        (json!({ "type": "enabled" }), json!("low"), Think::Effort(Effort::Low)),
        (json!(null), json!("medium"), Think::Effort(Effort::Medium)),
        (json!(null), json!(" xHigh "), Think::Effort(Effort::High)),
    ] {
        let request = with(&json!({ "thinking": thinking, "output_config": { "effort": effort } }));
        assert_eq!(request.think, expected, "{thinking} {effort}");
        assert!(request.dropped.is_empty());
    }
    let budget = with(&json!({ "thinking": { "type": "enabled", "budget_tokens": 2048, "display": "omitted" } }));
    assert_eq!(budget.dropped, ["thinking.budget_tokens", "thinking.display"]);
    assert!(
        fault(&json!({ "output_config": { "effort": "huge" } })).starts_with("output_config.effort: expected `low`")
    );
    assert!(fault(&json!({ "thinking": true })).starts_with("thinking: expected an object"));
    assert!(fault(&json!({ "thinking": { "type": "deep" } })).starts_with("thinking.type: expected `enabled`"));
    let zero = json!({ "thinking": { "type": "enabled", "budget_tokens": 0 } });
    assert!(fault(&zero).starts_with("thinking.budget_tokens: expected a whole number"));
}

#[test]
fn a_schema_is_taken_from_its_place_and_from_its_former_place() {
    let format = json!({ "type": "json_schema", "schema": { "type": "object" } });
    let expected = Format::Schema { name: None, schema: json!({ "type": "object" }) };
    assert_eq!(with(&json!({ "output_config": { "format": format } })).format, expected);
    assert_eq!(with(&json!({ "output_format": format })).format, expected);
    let both = json!({ "output_format": format, "output_config": { "format": format } });
    assert!(fault(&both).starts_with("output_config.format: `output_format` says it too"));
    let other = json!({ "output_config": { "format": { "type": "xml" } } });
    assert_eq!(fault(&other), "output_config.format.type: expected `json_schema`, found `xml`");
    let without = json!({ "output_config": { "format": { "type": "json_schema" } } });
    assert!(fault(&without).starts_with("output_config.format.schema: a JSON schema"));
}

#[test]
fn fields_without_effect_are_named() {
    let request = with(&json!({
        "cache_control": {}, "container": "c", "mcp_servers": [], "service_tier": "gold", "context_management": null,
    }));
    assert_eq!(request.dropped, ["service_tier", "cache_control", "container", "mcp_servers"]);
}

#[test]
fn values_out_of_range_and_of_wrong_types_are_faults() {
    for (more, expected) in [
        (json!({ "model": "" }), "model: a string that is not empty is required"),
        (json!({ "model": 7 }), "model: expected a string, found a number"),
        (json!({ "stream": "yes" }), "stream: expected true or false, found a string"),
        (json!({ "temperature": -0.1 }), "temperature: expected a number of 0 to"),
        (json!({ "temperature": "hot" }), "temperature: expected a number, found a string"),
        (json!({ "top_p": 1.1 }), "top_p: expected a number of 0 to 1"),
        (json!({ "top_k": 1.5 }), "top_k: expected a whole number"),
        (json!({ "stop_sequences": "x" }), "stop_sequences: expected a list"),
        (json!({ "stop_sequences": ["x", ""] }), "stop_sequences[1]: an empty text"),
        (json!({ "stop_sequences": [1] }), "stop_sequences[0]: expected a string"),
        (json!({ "metadata": "u" }), "metadata: expected an object"),
        (json!({ "service_tier": 1 }), "service_tier: expected a string"),
    ] {
        let found = fault(&more);
        assert!(found.starts_with(expected), "{found}\nshould begin with\n{expected}");
    }
}

#[test]
fn what_is_no_json_object_is_refused_and_so_is_a_body_that_would_grow() {
    for (body, expected) in [
        (&b""[..], "the body is not JSON"),
        (b"[]", "the body: expected an object, found a list"),
        (b"{\"model\":\"m\"} x", "the body is not JSON"),
        (b"{\"model\":\"\xc3\"}", "the body is not JSON"),
    ] {
        let found = parse(body).unwrap_err().to_string();
        assert!(found.starts_with(expected), "{found}");
    }
    let deep = [vec![b'['; 5_000], vec![b']'; 5_000]].concat();
    assert_eq!(parse(&deep).unwrap_err().to_string(), "the body: expected an object, found a list");
    let deep = format!(r#"{{"type":{}0{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let more = format!(
        r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}],"tools":[{{"name":"f","input_schema":{deep}}}]}}"#
    );
    let found = parse(more.as_bytes()).unwrap_err().to_string();
    assert!(found.starts_with("tools[0].input_schema: ") && found.contains("recursion limit"), "{found}");
    let wide = json!({ "type": vec![json!({ "": 0 }); 1024 * 1024] });
    let found = fault(&json!({ "tools": [{ "name": "f", "input_schema": wide }] }));
    assert!(found.starts_with("tools[0].input_schema: ") && found.contains("at most 4194304"), "{found}");
}

#[test]
fn a_body_cut_at_any_byte_is_a_fault_and_no_panic() {
    let whole = body(&json!({ "system": "Grüße, 世界 🦀" }));
    for end in 0..whole.len() {
        parse(&whole[..end]).unwrap_err();
    }
    parse(&whole).unwrap();
}

/// JSON that is near enough to a request to get past the first checks.
fn near_requests() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "",
        "user",
        "assistant",
        "system",
        "text",
        "image",
        "tool_use",
        "tool_result",
        "thinking",
        "base64",
        "auto",
        "tool",
        "enabled",
        "json_schema",
        "high",
        "é",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..100).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let key = prop::sample::select(vec![
            "model",
            "max_tokens",
            "messages",
            "role",
            "content",
            "type",
            "text",
            "source",
            "data",
            "id",
            "name",
            "input",
            "tool_use_id",
            "system",
            "tools",
            "input_schema",
            "tool_choice",
            "thinking",
            "output_config",
            "effort",
            "format",
            "schema",
            "stop_sequences",
            "cache_control",
            "signature",
            "is_error",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..8)
                .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_a_fault(body in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Err(fault) = parse(&body) {
            prop_assert!(!fault.0.is_empty());
        }
    }

    #[test]
    fn anything_near_a_request_keeps_the_canonical_promises(more in near_requests(), content in near_requests()) {
        let mut given = json!({ "model": "m", "max_tokens": 1, "messages": [{ "role": "user", "content": content }] });
        if let Value::Object(more) = more {
            given.as_object_mut().unwrap().extend(more);
        }
        match parse(&serde_json::to_vec(&given).unwrap()) {
            Ok(request) => {
                prop_assert!(!request.is_empty() && request.max_tokens > Some(0));
                prop_assert!(request.stop.iter().all(|stop| !stop.is_empty()));
            }
            Err(fault) => prop_assert!(fault.0.contains(": "), "{}", fault),
        }
    }
}
