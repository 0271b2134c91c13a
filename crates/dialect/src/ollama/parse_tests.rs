//! Bodies as clients send them, and all the ways to send them wrong.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chat::{ImageKind, Message, Part, Role, ToolCall, ToolResult};
use crate::ollama::{MAX_CALLS, MAX_FREE, MAX_IMAGES, MAX_MEMBERS, MAX_MESSAGES, MAX_TOOLS, wants_unload};

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB";

fn chat(body: &Value) -> Request {
    parse_chat(body.to_string().as_bytes()).unwrap()
}

fn generate(body: &Value) -> Request {
    parse_generate(body.to_string().as_bytes()).unwrap()
}

fn fault_of(body: &Value) -> String {
    parse_chat(body.to_string().as_bytes()).unwrap_err().to_string()
}

fn messages(request: &Request) -> &[Message] {
    match &request.input {
        Input::Chat(messages) => messages,
        Input::Prompt(_) => panic!("a prompt"),
    }
}

fn prompt(request: &Request) -> &Prompt {
    match &request.input {
        Input::Prompt(prompt) => prompt,
        Input::Chat(_) => panic!("a chat"),
    }
}

#[test]
fn a_conversation_with_tools_pictures_and_thoughts_is_read_whole() {
    let request = chat(&json!({
        "model": "qwen3:8b",
        "messages": [
            {"role": "SYSTEM", "content": "be brief"},
            {"role": "user", "content": "what is this", "images": [PNG]},
            {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
                {"id": "call_a", "function": {"index": 0, "name": "look", "arguments": {"deep": true}}}]},
            {"role": "tool", "content": "a cat", "tool_name": "look", "tool_call_id": "call_a"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "", "parameters": {"type": "object"}}}],
        "think": "high",
        "format": "json",
    }));
    let texts = |text: &str| vec![Part::Text(text.to_owned())];
    let mut arguments = Map::new();
    arguments.insert("deep".to_owned(), json!(true));
    let call = ToolCall { id: "call_a".to_owned(), name: "look".to_owned(), arguments };
    let result = ToolResult {
        id: Some("call_a".to_owned()),
        name: Some("look".to_owned()),
        parts: texts("a cat"),
        failed: false,
    };
    let said = messages(&request);
    assert_eq!(said[0], Message { role: Role::System, parts: texts("be brief") });
    assert!(matches!(&said[1].parts[..], [Part::Text(_), Part::Image(image)] if image.kind == ImageKind::Png));
    let thought = Part::Thinking { text: "hm".to_owned(), signature: None };
    assert_eq!(said[2], Message { role: Role::Assistant, parts: vec![thought, Part::ToolCall(call)] });
    assert_eq!(said[3], Message { role: Role::Tool, parts: vec![Part::ToolResult(result)] });
    assert_eq!(request.tools[0].description, None);
    assert_eq!((request.think, &request.format), (Think::Effort(Effort::High), &Format::Json));
    assert!(request.stream && request.dropped.is_empty());
}

#[test]
fn a_prompt_with_all_that_only_ollama_knows_is_read_whole() {
    let request = generate(&json!({
        "model": "m", "prompt": "def f(", "suffix": "return 1", "system": "s", "template": "{{ .Prompt }}",
        "context": [1, 2], "images": [PNG], "stream": false, "truncate": false, "keep_alive": "5m",
        "shift": true, "width": 64,
    }));
    let prompt = prompt(&request);
    assert_eq!(
        (prompt.text.as_str(), prompt.suffix.as_deref(), prompt.system.as_deref()),
        ("def f(", Some("return 1"), Some("s"))
    );
    assert_eq!(prompt.images.len(), 1);
    let native = &request.native;
    assert_eq!((native.context.as_deref(), native.template.as_deref()), (Some(&[1, 2][..]), Some("{{ .Prompt }}")));
    assert_eq!((native.truncate, &native.keep_alive), (Some(false), &Some(json!("5m"))));
    assert_eq!(Value::Object(native.unknown.clone()), json!({"shift": true, "width": 64}));
    assert!(!request.stream);
    assert_eq!(request.only_local(), Some("suffix"));
}

#[test]
fn options_are_split_into_what_all_know_and_what_ollama_alone_knows() {
    let request = chat(&json!({"model": "m", "options": {
        "temperature": 0, "top_p": 0.5, "top_k": 40.7, "min_p": 0.1, "seed": 7, "num_predict": 12,
        "frequency_penalty": 1, "presence_penalty": -1, "stop": ["a", "", "b"],
        "num_ctx": 4096, "mirostat": 1, "repeat_penalty": 1.1, "typical_p": null,
    }}));
    let sampling = &request.sampling;
    assert_eq!((sampling.temperature, sampling.top_k, sampling.seed), (Some(0.0), Some(40), Some(7)));
    assert_eq!((request.max_tokens, &request.stop), (Some(12), &vec!["a".to_owned(), "b".to_owned()]));
    let native = json!({"num_ctx": 4096, "mirostat": 1, "repeat_penalty": 1.1});
    assert_eq!(Value::Object(request.native.options), native);
}

#[test]
fn a_limit_that_is_none_stays_as_ollama_wrote_it() {
    for (limit, max, kept) in [(json!(-1), None, true), (json!(0), None, true), (json!(1e300), Some(u32::MAX), false)] {
        let request = chat(&json!({"model": "m", "options": {"num_predict": limit}}));
        assert_eq!((request.max_tokens, request.native.options.contains_key("num_predict")), (max, kept));
    }
}

#[test]
fn an_empty_request_loads_and_with_a_time_of_nothing_unloads() {
    for (keep_alive, unloads) in
        [(json!(0), true), (json!("0s"), true), (json!(-1), false), (json!("5m"), false), (json!(null), false)]
    {
        for request in [
            chat(&json!({"model": "m", "keep_alive": keep_alive})),
            generate(&json!({"model": "m", "prompt": "", "keep_alive": keep_alive})),
        ] {
            assert!(request.is_empty());
            assert_eq!(wants_unload(&request), unloads, "{keep_alive}");
        }
    }
    assert!(!wants_unload(&generate(&json!({"model": "m", "prompt": "x", "keep_alive": 0}))));
}

#[test]
fn pictures_of_every_kind_that_ollama_reads_pass_and_others_say_why_not() {
    let with = |image: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "u", "images": [image]}]});
        parse_chat(body.to_string().as_bytes()).map(|_| ()).map_err(|fault| fault.0)
    };
    for image in ["UklGRgAAAABXQVZFZm10IAAA", "Qk0AAAAAAAAAAAAA", "iVBORw0K\nGgoAAAAN\r\nSUhEUgAA\n"] {
        assert_eq!(with(image), Ok(()), "{image}");
    }
    let large = "A".repeat(crate::image::MAX_IMAGE / 3 * 4 + 8);
    for (image, why) in [
        (large.as_str(), "larger than 20 MiB"),
        ("UERGLTEuN1BERi0xLjdQREYt", "neither PNG, JPEG, GIF, WebP, BMP nor TIFF"),
        ("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA", "not standard base64"),
        ("", "neither PNG"),
    ] {
        let fault = with(image).unwrap_err();
        assert!(fault.starts_with("messages[0].images[0]: the picture is") && fault.contains(why), "{fault}");
    }
}

#[test]
fn free_json_of_too_many_values_is_refused_wherever_it_stands() {
    let many = vec![json!([]); crate::fields::MAX_VALUES];
    for (members, place) in [
        (json!({"options": {"x": many}}), "options: "),
        (json!({"format": {"x": many}}), "format: "),
        (json!({"extra": many}), "extra: "),
        (json!({"keep_alive": many}), "keep_alive: "),
        (json!({"tools": [{"function": {"name": "f", "parameters": {"x": many}}}]}), "tools[0].function.parameters: "),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": many}}}]}]}),
            "messages[0].tool_calls[0].function.arguments: ",
        ),
    ] {
        let mut body = json!({"model": "m"});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let fault = parse_chat(body.to_string().as_bytes()).unwrap_err().0;
        assert!(fault.starts_with(place) && fault.contains(" values; "), "{fault}");
    }
}

#[test]
fn half_surrogates_in_arguments_and_schemas_lose_no_request() {
    let body =
        br#"{"model":"m","format":{"const":"\udc00"},"tools":[{"function":{"name":"f","parameters":{"x":"\ud800"}}}],
        "messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"\ud83d":"a\ud800b"}}}]}]}"#;
    let request = parse_chat(body).unwrap();
    assert_eq!(request.format, Format::Schema { name: None, schema: json!({"const": "\u{fffd}"}) });
    assert_eq!(request.tools[0].parameters, json!({"x": "\u{fffd}"}));
    let Input::Chat(messages) = request.input else { panic!("a chat") };
    let arguments = json!({"\u{fffd}": "a\u{fffd}b"}).as_object().unwrap().clone();
    let call = ToolCall { id: String::new(), name: "f".to_owned(), arguments };
    assert_eq!(messages[0].parts, [Part::ToolCall(call)]);
}

#[test]
fn every_fault_names_its_place_and_what_was_expected() {
    for (body, place) in [
        (json!({"messages": []}), "model: expected"),
        (json!({"model": "m", "messages": {}}), "messages: expected an array"),
        (json!({"model": "m", "messages": [1]}), "messages[0]: expected an object"),
        (json!({"model": "m", "messages": [{"content": "x"}]}), "messages[0].role: expected `system`"),
        (json!({"model": "m", "messages": [{"role": "robot".repeat(9)}]}), "messages[0].role: expected `system`"),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": ["x"]}]}),
            "messages[0].content: expected a string",
        ),
        (json!({"model": "m", "messages": [{"role": "user", "images": ["x"]}]}), "messages[0].images[0]: the picture"),
        (
            json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]}),
            "messages[0].tool_calls[0].function.arguments: expected an object",
        ),
        (
            json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{}]}]}),
            "messages[0].tool_calls[0].function: expected",
        ),
        (json!({"model": "m", "tools": [{"type": "function", "function": {}}]}), "tools[0].function.name: expected"),
        (json!({"model": "m", "tools": [{"type": "web_search"}]}), "tools[0].type: expected `function`"),
        (json!({"model": "m", "stream": "yes"}), "stream: expected true or false"),
        (json!({"model": "m", "think": "hard"}), "think: expected"),
        (json!({"model": "m", "format": "xml"}), "format: expected `json`"),
        (json!({"model": "m", "top_logprobs": 21}), "top_logprobs: expected a whole number from 0 to 20"),
        (json!({"model": "m", "keep_alive": "soon"}), "keep_alive: expected"),
        (json!({"model": "m", "options": []}), "options: expected an object"),
        (json!({"model": "m", "options": {"temperature": "hot"}}), "options.temperature: expected a number"),
        (json!({"model": "m", "options": {"seed": true}}), "options.seed: expected a whole number"),
        (json!({"model": "m", "options": {"stop": "x"}}), "options.stop: expected an array"),
        (json!({"model": "m", "options": {"stop": [1]}}), "options.stop[0]: expected a string"),
        (json!({"model": "m", "options": {"num_ctx": "big"}}), "options.num_ctx: expected a whole number"),
    ] {
        let fault = fault_of(&body);
        assert!(fault.starts_with(place), "{body}: {fault}");
    }
}

#[test]
fn raw_prompts_go_with_no_template_system_or_context() {
    for other in [json!({"template": "t"}), json!({"system": "s"}), json!({"context": [1]})] {
        let mut body = json!({"model": "m", "prompt": "x", "raw": true});
        body.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        let fault = parse_generate(body.to_string().as_bytes()).unwrap_err().to_string();
        assert!(fault.starts_with("raw: "), "{fault}");
    }
    assert!(generate(&json!({"model": "m", "prompt": "x", "raw": true, "system": "", "context": []})).native.raw);
}

#[test]
fn a_key_that_ollama_would_fold_onto_ours_is_refused_wherever_it_stands() {
    for (body, place) in [
        (r#"{"model":"m","Messages":[]}"#, "Messages: must be written `messages`"),
        (r#"{"model":"m","\u017fhift":true}"#, "\\u{17f}hift: must be written `shift`"),
        (r#"{"model":"m","_DEBUG_render_only":true}"#, "_DEBUG_render_only: must be"),
        (
            r#"{"model":"m","messages":[{"role":"user","Content":"x"}]}"#,
            "messages[0].Content: must be written `content`",
        ),
    ] {
        let fault = parse_chat(body.as_bytes()).unwrap_err().to_string();
        assert!(fault.starts_with(place), "{fault}");
    }
}

#[test]
fn of_equal_keys_the_last_counts_as_in_go() {
    let request = parse_chat(br#"{"model":"m","think":"high","think":false}"#).unwrap();
    assert_eq!(request.think, Think::Off);
}

#[test]
fn fields_within_messages_that_nobody_reads_are_named_once() {
    let request = chat(&json!({"model": "m", "messages": [
        {"role": "user", "content": "a", "name": "ann"},
        {"role": "user", "content": "b", "name": "bob", "tool_name": "x"},
    ], "tools": [{"type": "function", "function": {"name": "f", "strict": true}}], "extra": {"a": [1]}}));
    assert_eq!(request.dropped, ["messages.name", "messages.tool_name", "tools.function.strict"]);
    assert_eq!(Value::Object(request.native.unknown), json!({"extra": {"a": [1]}}));
}

#[test]
fn two_hundred_tools_are_taken_and_counts_beyond_the_limits_are_not() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(chat(&json!({"model": "m", "tools": vec![tool.clone(); 200]})).tools.len(), 200);
    let call = json!({"function": {"name": "f", "arguments": {}}});
    for (body, place) in [
        (json!({"model": "m", "tools": vec![tool; MAX_TOOLS + 1]}), "tools: more than"),
        (json!({"model": "m", "messages": vec![json!({"role": "user"}); MAX_MESSAGES + 1]}), "messages: more than"),
        (
            json!({"model": "m", "messages": [{"role": "user", "images": vec![PNG; MAX_IMAGES + 1]}]}),
            "messages[0].images: more than",
        ),
        (
            json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": vec![call; MAX_CALLS + 1]}]}),
            "messages[0].tool_calls: more than",
        ),
        (json!({"model": "m", "options": {"stop": vec!["x"; MAX_STOPS + 1]}}), "options.stop: more than"),
        (json!({"model": "m", "format": {"x": "y".repeat(MAX_FREE)}}), "format: "),
        (json!({"model": "m", "what": "y".repeat(MAX_FREE)}), "fields that no dialect knows"),
    ] {
        let fault = fault_of(&body);
        assert!(fault.starts_with(place), "{fault}");
    }
    let many: Map<String, Value> = (0..=MAX_MEMBERS).map(|n| (format!("k{n}"), json!(1))).collect();
    assert!(fault_of(&Value::Object(many)).contains("more than 256 keys"));
    let context = vec![0; MAX_CONTEXT + 1];
    let fault = parse_generate(json!({"model": "m", "context": context}).to_string().as_bytes()).unwrap_err();
    assert!(fault.to_string().starts_with("context: more than"), "{fault}");
}

#[test]
fn half_a_surrogate_pair_becomes_one_mark_as_in_go() {
    let request = parse_generate(br#"{"model":"m","prompt":"a\ud83db \ud83d\ude00 \u00e9"}"#).unwrap();
    assert_eq!(prompt(&request).text, "a\u{FFFD}b \u{1F600} \u{e9}");
}

#[test]
fn json_that_is_too_deep_is_refused_and_not_followed() {
    let deep = format!(r#"{{"model":"m","format":{{"a":{}1{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse_chat(deep.as_bytes()).unwrap_err().to_string().starts_with("format: cannot be read"));
    let deep = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":{}{}}}]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(parse_chat(deep.as_bytes()).is_err());
}

#[test]
fn bodies_that_are_no_object_or_no_utf8_are_refused() {
    for body in [&b""[..], b"[]", b"{}x", b"null", b"{\"model\":\"\xff\"}", b"{\"model\":\"m\",}"] {
        assert!(parse_chat(body).is_err() && parse_generate(body).is_err(), "{body:?}");
    }
}

#[test]
fn a_fault_is_short_however_long_the_body_is() {
    let long = "x".repeat(1024 * 1024);
    for body in [
        Value::from(long.clone()),
        json!({ long.clone(): [[1]], "model": "m", "messages": [{ "role": long.clone() }] }),
        json!({"model": "m", "messages": [{ "role": "user", "content": { "a": long.clone() } }]}),
        json!({"model": "m", "options": { "stop": { "a": long } }}),
    ] {
        assert!(fault_of(&body).len() < 400);
    }
}

#[test]
fn a_dropped_name_fits_a_header_whatever_the_caller_made_of_it() {
    let message = json!({"role": "user", "content": "a", "n\u{e9}\r\nx: 1": 1, "y".repeat(500): 1});
    let request = chat(&json!({"model": "m", "messages": [message]}));
    assert!(request.dropped.len() == 2 && request.dropped.iter().all(|name| name.len() <= 64 && name.is_ascii()));
    assert!(request.dropped.contains(&"messages.nx1".to_owned()), "{:?}", request.dropped);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z_]{0,8}".prop_map(Value::from),
        Just(json!(PNG)),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let key = prop_oneof![
            proptest::sample::select(&GENERATE[..]).prop_map(str::to_owned),
            proptest::sample::select(&CHAT[..]).prop_map(str::to_owned),
            proptest::sample::select(&["role", "content", "function", "arguments", "tool_calls", "stop"][..])
                .prop_map(str::to_owned),
            "[a-zA-Z]{1,5}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_a_typed_fault(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (parse_chat(&body), parse_generate(&body));
    }

    #[test]
    fn any_json_is_a_request_or_a_fault_that_says_something(value in json_value()) {
        let mut value = value;
        if let Some(object) = value.as_object_mut() {
            object.insert("model".to_owned(), json!("m"));
        }
        for parse in [parse_chat, parse_generate] {
            match parse(value.to_string().as_bytes()) {
                Ok(request) => prop_assert_eq!(request.model, "m"),
                Err(fault) => prop_assert!(!fault.to_string().is_empty()),
            }
        }
    }
}
