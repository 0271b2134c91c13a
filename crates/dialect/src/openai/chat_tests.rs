//! Requests of chat: what is honoured, what is dropped, what is refused and where.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::testing::{NOW, bodies, events, stamp};
use super::*;
use crate::chat::{
    DocumentBody, DocumentFormat, Effort, Image, ImageKind, Message, Part, Role, Think, ToolCall, ToolChoice,
    ToolResult,
};
use crate::encode::Answer;

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";

fn read(body: &Value) -> Result<Request, BadRequest> {
    parse(body.to_string().as_bytes())
}

/// A request with these members beside a model and one message.
fn with(members: Value) -> Result<Request, BadRequest> {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    read(&body)
}

fn ok(members: Value) -> Request {
    with(members.clone()).unwrap_or_else(|error| panic!("{members}: {error}"))
}

fn messages(list: Value) -> Vec<Message> {
    match ok(json!({ "messages": list })).input {
        Input::Chat(messages) => messages,
        Input::Prompt(_) => panic!("a chat is no prompt"),
    }
}

fn said(text: &str) -> Part {
    Part::Text(text.to_owned())
}

fn function(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object" } } })
}

#[test]
fn a_bare_request_has_openais_defaults() {
    let request = ok(json!({ "temperature": null, "stop": null, "tools": null }));
    assert_eq!(request.input, Input::Chat(vec![Message { role: Role::User, parts: vec![said("hi")] }]));
    assert_eq!((request.model.as_str(), request.stream, request.include_usage), ("m", false, false));
    assert_eq!((request.sampling.temperature, request.sampling.top_p), (Some(1.0), Some(1.0)));
    assert_eq!((request.max_tokens, request.logprobs, request.think), (None, None, Think::Unset));
    assert_eq!((request.format, request.tool_choice), (Format::Text, ToolChoice::Auto));
    assert_eq!(request.native, Native::default());
    assert!(request.dropped.is_empty() && request.stop.is_empty() && request.tools.is_empty());
}

#[test]
fn sampling_limits_and_ends_are_taken_over() {
    let request = ok(json!({
        "temperature": 0, "top_p": 0.5, "top_k": 7, "min_p": 0.1, "seed": -3, "frequency_penalty": 1,
        "presence_penalty": -1.5, "stop": ["a", "", "b"], "stream": true, "stream_options": { "include_usage": true },
    }));
    let sampling = request.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.min_p), (Some(0.0), Some(0.5), Some(0.1)));
    assert_eq!((sampling.top_k, sampling.seed), (Some(7), Some(-3)));
    assert_eq!((sampling.frequency_penalty, sampling.presence_penalty), (Some(1.0), Some(-1.5)));
    assert_eq!(request.stop, ["a", "b"]);
    assert!(request.stream && request.include_usage);
    assert_eq!(ok(json!({ "stop": "one" })).stop, ["one"]);
}

#[test]
fn the_newer_name_of_the_token_limit_wins() {
    assert_eq!(ok(json!({ "max_tokens": 5, "max_completion_tokens": 9 })).max_tokens, Some(9));
    assert_eq!(ok(json!({ "max_tokens": 5 })).max_tokens, Some(5));
    assert_eq!(ok(json!({ "max_completion_tokens": 9 })).max_tokens, Some(9));
    for none in [0, -1, -2] {
        assert_eq!(ok(json!({ "max_tokens": none })).max_tokens, None, "{none}");
    }
    assert_eq!(ok(json!({ "max_tokens": 1_000_000_000_000_i64 })).max_tokens, Some(u32::MAX));
}

#[test]
fn every_word_for_thinking_has_its_meaning() {
    let think = |members| ok(members).think;
    for (word, meaning) in [
        ("none", Think::Off),
        ("", Think::Unset),
        ("minimal", Think::Effort(Effort::Low)),
        ("low", Think::Effort(Effort::Low)),
        ("medium", Think::Effort(Effort::Medium)),
        ("high", Think::Effort(Effort::High)),
        ("xhigh", Think::Effort(Effort::Max)),
        ("ultra", Think::Effort(Effort::Max)),
        ("max", Think::Effort(Effort::Max)),
    ] {
        assert_eq!(think(json!({ "reasoning_effort": word })), meaning);
        assert_eq!(think(json!({ "reasoning": { "effort": word } })), meaning);
    }
    assert_eq!(
        think(json!({ "reasoning": { "effort": "low" }, "reasoning_effort": "high" })),
        Think::Effort(Effort::Low)
    );
}

#[test]
fn formats_are_text_any_json_or_a_schema() {
    let format = |format| ok(json!({ "response_format": format })).format;
    assert_eq!(format(json!({ "type": "text" })), Format::Text);
    assert_eq!(format(json!({ "type": " JSON_object" })), Format::Json);
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    let named = json!({ "type": "json_schema", "json_schema": { "name": "n", "strict": true, "schema": schema } });
    assert_eq!(format(named), Format::Schema { name: Some("n".to_owned()), schema });
    assert_eq!(format(json!({ "type": "json_schema", "json_schema": { "name": "n" } })), Format::Json);
}

#[test]
fn probabilities_are_asked_for_with_their_alternatives() {
    assert_eq!(ok(json!({ "logprobs": true })).logprobs, Some(0));
    assert_eq!(ok(json!({ "logprobs": true, "top_logprobs": 20 })).logprobs, Some(20));
    let without = ok(json!({ "logprobs": false, "top_logprobs": 2 }));
    assert_eq!((without.logprobs, without.dropped), (None, vec!["top_logprobs".to_owned()]));
}

#[test]
fn a_function_may_be_left_free_forbidden_required_or_named() {
    let choice = |choice| ok(json!({ "tools": [function("f")], "tool_choice": choice })).tool_choice;
    assert_eq!(choice(json!("auto")), ToolChoice::Auto);
    assert_eq!(choice(json!("none")), ToolChoice::None);
    assert_eq!(choice(json!("required")), ToolChoice::Required);
    let named = json!({ "type": "function", "function": { "name": "f" } });
    assert_eq!(choice(named), ToolChoice::Named("f".to_owned()));
    assert_eq!(ok(json!({ "tool_choice": "none" })).tool_choice, ToolChoice::None);
}

#[test]
fn two_hundred_functions_are_taken_in_order() {
    let tools: Vec<Value> = (0..200).map(|n| function(&format!("f{n}"))).collect();
    let request = ok(json!({ "tools": tools }));
    assert_eq!((request.tools.len(), request.tools[199].name.as_str()), (200, "f199"));
}

#[test]
fn a_function_without_parameters_takes_an_empty_object() {
    let tool = json!({ "function": { "name": "f", "description": "", "strict": true } });
    let request = ok(json!({ "tools": [tool] }));
    let expected = json!({ "type": "object", "properties": {} });
    assert_eq!((request.tools[0].description.as_ref(), &request.tools[0].parameters), (None, &expected));
    assert_eq!(request.dropped, ["tools.strict"]);
}

#[test]
fn a_conversation_with_calls_keeps_ids_names_and_thought() {
    let messages = messages(json!([
        { "role": "developer", "content": "be brief" },
        { "role": "user", "content": [{ "type": "text", "text": "look" }, { "type": "text", "text": "" },
            { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{PNG}"), "detail": "low" } }] },
        { "role": "Assistant", "content": null, "reasoning": "hm", "refusal": null, "tool_calls": [
            { "id": "c1", "type": "function", "index": 0, "function": { "name": "f", "arguments": "{\"a\": [1]}" } },
            { "id": "c2", "function": { "name": "g", "arguments": "" } }] },
        { "role": "tool", "tool_call_id": "c2", "content": [{ "type": "text", "text": "42" }] },
        { "role": "tool", "tool_call_id": "zz", "name": "h", "content": "" },
        { "role": "assistant", "content": "done", "reasoning_content": "ok" },
    ]));
    let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
    let expected = [Role::System, Role::User, Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::Assistant];
    assert_eq!(roles, expected);
    let image = Part::Image(Image { base64: PNG.to_owned(), kind: ImageKind::Png });
    assert_eq!((&messages[1].parts[..], &messages[2].parts[..]), (&[said("look")][..], &[image][..]));
    let call = |id: &str, name: &str, arguments: Value| {
        let arguments = arguments.as_object().cloned().unwrap();
        Part::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
    };
    assert_eq!(messages[3].parts, [thought("hm"), call("c1", "f", json!({ "a": [1] })), call("c2", "g", json!({}))]);
    let result = |id: &str, name: &str, parts| {
        Part::ToolResult(ToolResult { id: Some(id.to_owned()), name: Some(name.to_owned()), parts, failed: false })
    };
    assert_eq!(messages[4].parts, [result("c2", "g", vec![said("42")])]);
    assert_eq!(messages[5].parts, [result("zz", "h", vec![])]);
    assert_eq!(messages[6].parts, [thought("ok"), said("done")]);
}

#[test]
fn a_role_that_only_a_models_template_knows_goes_to_it() {
    let request = ok(json!({ "messages": [{ "role": "Control", "content": "thinking" }] }));
    assert_eq!(request.only_local(), Some("messages.role"));
    let message = Message { role: Role::of("control").unwrap(), parts: vec![said("thinking")] };
    assert_eq!(request.input, Input::Chat(vec![message]));
}

#[test]
fn a_sound_stands_where_ollama_has_pictures() {
    let wav = "UklGRgAAAABXQVZFZm10IAAA";
    let part = json!({ "type": "input_audio", "input_audio": { "data": wav, "format": "wav" } });
    let request = ok(json!({ "messages": [{ "role": "user", "content": [part] }] }));
    let sound = Part::Image(Image { base64: wav.to_owned(), kind: ImageKind::Wav });
    assert_eq!(request.input, Input::Chat(vec![Message { role: Role::User, parts: vec![sound] }]));
    assert!(request.dropped.is_empty());
}

#[test]
fn a_refusal_handed_back_is_what_the_model_said() {
    let refused = json!({ "role": "assistant", "content": null, "refusal": "no", "annotations": [] });
    let parts = json!({ "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }] });
    let request = ok(json!({ "messages": [refused, parts] }));
    let said = Message { role: Role::Assistant, parts: vec![said("no")] };
    assert_eq!((request.input, request.dropped), (Input::Chat(vec![said.clone(), said]), vec![]));
}

#[test]
fn what_no_backend_can_do_is_named() {
    let request = ok(json!({
        "n": 2, "logit_bias": { "5": 1 }, "parallel_tool_calls": false, "store": true, "service_tier": "flex",
        "modalities": ["text", "audio"], "verbosity": "low", "functions": [], "keep_alive": 0, "options": {},
        "messages": [{ "role": "user", "name": "Ann", "content": [{ "type": "text", "text": "a", "cache_control": {} }] }],
    }));
    let mut dropped = request.dropped;
    dropped.sort();
    let expected = [
        "functions",
        "keep_alive",
        "logit_bias",
        "messages.content.cache_control",
        "messages.name",
        "modalities",
        "n",
        "options",
        "parallel_tool_calls",
        "service_tier",
        "store",
        "verbosity",
    ];
    assert_eq!(dropped, expected);
}

#[test]
fn what_changes_nothing_is_not_named() {
    let request = ok(json!({
        "user": "u", "metadata": { "a": "b" }, "safety_identifier": "s", "prompt_cache_key": "k", "n": 1, "store": false,
        "parallel_tool_calls": true, "logit_bias": {}, "service_tier": "auto", "modalities": ["text"], "functions": null,
        "stream_options": { "include_obfuscation": false },
    }));
    assert_eq!(request.dropped, Vec::<String>::new());
}

#[test]
fn every_fault_names_its_place_and_what_was_expected() {
    let message = |message: Value| json!({ "messages": [{ "role": "user", "content": "a" }, message] });
    let calls = |function: Value| message(json!({ "role": "assistant", "tool_calls": [{ "function": function }] }));
    let part = |part: Value| message(json!({ "role": "user", "content": [{ "type": "text", "text": "a" }, part] }));
    for (members, place) in [
        (json!({ "model": 5 }), "model: expected a string"),
        (json!({ "model": "" }), "model: expected a string that is not empty"),
        (json!({ "messages": [] }), "messages: expected a list with at least one"),
        (json!({ "messages": {} }), "messages: expected a list of at most 10000"),
        (json!({ "messages": ["hi"] }), "messages[0]: expected an object"),
        (message(json!({ "content": "a" })), "messages[1].role: expected system"),
        (message(json!({ "role": "robot".repeat(9), "content": "a" })), "messages[1].role: expected system"),
        (message(json!({ "role": "user" })), "messages[1].content: expected a string or a list"),
        (message(json!({ "role": "assistant" })), "messages[1].content: expected"),
        (message(json!({ "role": "user", "content": 7 })), "messages[1].content: expected"),
        (
            part(json!({ "type": "video" })),
            "messages[1].content[1].type: expected text, image_url, input_audio or file",
        ),
        (part(json!({ "type": "file" })), "messages[1].content[1].file: expected an object with file_data"),
        (
            part(json!({ "type": "file", "file": { "file_id": "f" } })),
            "messages[1].content[1].file.file_data: expected a string; no files",
        ),
        (part(json!({ "type": "input_audio" })), "messages[1].content[1].input_audio: expected an object"),
        (
            part(json!({ "type": "input_audio", "input_audio": { "data": "AAAA" } })),
            "messages[1].content[1].input_audio.data: the picture is neither",
        ),
        (part(json!({ "type": "text", "text": 1 })), "messages[1].content[1].text: expected a string"),
        (part(json!({ "type": "image_url" })), "messages[1].content[1].image_url: expected"),
        (part(json!({ "type": "image_url", "image_url": {} })), "messages[1].content[1].image_url.url: expected"),
        (
            part(json!({ "type": "image_url", "image_url": "https://x/y.png" })),
            "messages[1].content[1].image_url: pictures",
        ),
        (
            part(json!({ "type": "image_url", "image_url": "data:image/png;base64,AAAA" })),
            "messages[1].content[1].image_url: the picture",
        ),
        (
            calls(json!({ "name": "f", "arguments": {} })),
            "messages[1].tool_calls[0].function.arguments: expected a string",
        ),
        (
            calls(json!({ "name": "f", "arguments": "[1]" })),
            "messages[1].tool_calls[0].function.arguments: not a JSON object",
        ),
        (
            calls(json!({ "name": "f", "arguments": "{" })),
            "messages[1].tool_calls[0].function.arguments: not a JSON object",
        ),
        (calls(json!({ "arguments": "{}" })), "messages[1].tool_calls[0].function.name: expected"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type: expected \"function\""),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].function: expected an object"),
        (json!({ "tools": [function("f"), function("")] }), "tools[1].function.name: expected"),
        (
            json!({ "tools": [{ "function": { "name": "f", "parameters": [] } }] }),
            "tools[0].function.parameters: expected an object",
        ),
        (json!({ "tool_choice": "required" }), "tool_choice: expected"),
        (json!({ "tools": [function("f")], "tool_choice": "any" }), "tool_choice: expected"),
        (
            json!({ "tools": [function("f")], "tool_choice": { "type": "function", "function": { "name": "g" } } }),
            "tool_choice: expected",
        ),
        (json!({ "max_tokens": 1.5 }), "max_tokens: expected a whole number"),
        (json!({ "temperature": "hot" }), "temperature: expected a number"),
        (json!({ "seed": 1e300 }), "seed: expected a whole number"),
        (json!({ "stop": [1] }), "stop: expected a string or a list"),
        (json!({ "stop": 1 }), "stop: expected a string or a list"),
        (json!({ "stop": vec!["x"; 65] }), "stop: expected a string or a list of at most 64"),
        (json!({ "stream": 1 }), "stream: expected true or false"),
        (json!({ "stream_options": { "include_usage": 1 } }), "stream_options.include_usage: expected true or false"),
        (json!({ "response_format": "json" }), "response_format: expected an object"),
        (json!({ "response_format": { "type": "yaml" } }), "response_format.type: expected text"),
        (json!({ "response_format": { "type": "json_schema" } }), "response_format.json_schema: expected an object"),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": true } } }),
            "response_format.json_schema.schema: expected",
        ),
        (json!({ "reasoning_effort": "huge" }), "reasoning_effort: expected none"),
        (json!({ "reasoning": { "effort": 3 } }), "reasoning.effort: expected a string"),
        (json!({ "logprobs": 1 }), "logprobs: expected true or false"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs: expected a whole number from 0 to 20"),
        (json!({ "logprobs": true, "top_logprobs": -1 }), "top_logprobs: expected a whole number from 0 to 20"),
    ] {
        let error = with(members.clone()).expect_err(&members.to_string()).to_string();
        assert!(error.starts_with(place), "{members}: {error}");
    }
}

#[test]
fn more_than_the_limits_is_refused() {
    let many = |count: usize, one: Value| Value::from(vec![one; count]);
    let text = json!({ "type": "text", "text": "a" });
    let url = format!("data:image/png;base64,{PNG}");
    let image = json!({ "type": "image_url", "image_url": url });
    let message = |content: Value| json!({ "role": "user", "content": content });
    for (members, said) in [
        (json!({ "messages": many(10_001, message(json!("a"))) }), "at most 10000"),
        (json!({ "messages": [message(many(1_001, text))] }), "at most 1000 parts"),
        (json!({ "messages": many(2, message(many(51, image.clone()))) }), "at most 100 pictures"),
        (json!({ "tools": many(1_025, function("f")) }), "at most 1024"),
        (json!({ "messages": [{ "role": "assistant", "tool_calls": many(1_025, function("f")) }] }), "at most 1024"),
    ] {
        let error = with(members).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(messages(json!([message(many(100, image))])).len(), 100);
}

#[test]
fn small_parts_and_calls_in_many_messages_are_bounded_together() {
    let part = json!({ "type": "text", "text": "a" });
    let parts = json!({ "role": "user", "content": vec![part; 1_000] });
    let calls = json!({ "role": "assistant", "tool_calls": vec![function("f"); 1_000] });
    for message in [parts, calls] {
        assert!(with(json!({ "messages": vec![message.clone(); 30] })).is_ok());
        let error = with(json!({ "messages": vec![message; 70] })).unwrap_err().to_string();
        assert!(error.starts_with("messages[") && error.contains("more than 65536"), "{error}");
    }
}

#[test]
fn arguments_of_all_calls_together_are_bounded_and_a_fault_repeats_nothing_of_them() {
    let fault = |arguments: &[String]| {
        let call = |arguments: &String| json!({ "function": { "name": "f", "arguments": arguments } });
        let calls: Vec<Value> = arguments.iter().map(call).collect();
        with(json!({ "messages": [{ "role": "assistant", "tool_calls": calls }] })).map_err(|fault| fault.0)
    };
    let half = json!({ "a": "x".repeat(crate::fields::MAX_FREE / 2 - 100) }).to_string();
    assert!(fault(&[half.clone(), half.clone()]).is_ok());
    let error = fault(&[half.clone(), half.clone(), half]).unwrap_err();
    assert!(error.starts_with("messages[0].tool_calls[2].function.arguments: "), "{error}");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(fault(&[deep]).unwrap_err().contains("recursion limit"));
    let error = fault(&["\"secret\"".to_owned()]).unwrap_err();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn values_of_all_free_json_are_bounded_wherever_it_stands() {
    let many = vec![json!([]); crate::fields::MAX_VALUES];
    let arguments = json!({ "x": many }).to_string();
    for (members, place) in [
        (json!({ "tool_choice": many }), "tool_choice: "),
        (
            json!({ "tools": [{ "function": { "name": "f", "parameters": { "x": many } } }] }),
            "tools[0].function.parameters: ",
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": { "x": many } } } }),
            "response_format.json_schema.schema: ",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "tool_calls": [{ "function": { "name": "f", "arguments": arguments } }] }] }),
            "messages[0].tool_calls[0].function.arguments: ",
        ),
    ] {
        let fault = with(members).unwrap_err().0;
        assert!(fault.starts_with(place) && fault.contains(" values; "), "{fault}");
    }
}

#[test]
fn half_surrogates_in_arguments_and_schemas_lose_no_request() {
    let body = br#"{"model":"m","tools":[{"function":{"name":"f","parameters":{"x":"\ud800"}}}],
        "messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":\"\\ud800\",\"b\":\"\ud800\"}"}}]}]}"#;
    let request = parse(body).unwrap();
    assert_eq!(request.tools[0].parameters, json!({ "x": "\u{fffd}" }));
    let Input::Chat(messages) = request.input else { panic!("a chat") };
    let [Part::ToolCall(call)] = &messages[0].parts[..] else { panic!("a call") };
    assert_eq!(Value::Object(call.arguments.clone()), json!({ "a": "\u{fffd}", "b": "\u{fffd}" }));
}

#[test]
fn a_body_cut_within_a_character_is_refused_at_every_cut() {
    let body = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"é€😀\"}]}".as_bytes();
    assert!(parse(body).is_ok());
    for cut in 0..body.len() {
        assert!(parse(&body[..cut]).is_err(), "{cut}");
        let mut glued = body[..cut].to_vec();
        glued.push(0xff);
        glued.extend_from_slice(&body[cut..]);
        assert!(parse(&glued).is_err(), "{cut}");
    }
}

/// What the model said, as parts of a message.
fn parts(answer: &Answer) -> Vec<Part> {
    let thought = (!answer.thinking.is_empty()).then(|| thought(&answer.thinking));
    let text = (!answer.text.is_empty()).then(|| said(&answer.text));
    thought.into_iter().chain(text).chain(answer.tool_calls.iter().cloned().map(Part::ToolCall)).collect()
}

fn thought(text: &str) -> Part {
    Part::Thinking { text: text.to_owned(), signature: None }
}

proptest! {
    #[test]
    fn an_answer_handed_back_means_what_it_meant(events in events()) {
        let mut answer = Answer::default();
        events.into_iter().for_each(|event| answer.take(event));
        answer.failed = None;
        answer.tool_calls.retain(|call| !call.id.is_empty() && !call.name.is_empty());
        let out: Value = serde_json::from_slice(&whole(&answer, &stamp(), NOW, Map::new())).unwrap();
        let list = messages(json!([{ "role": "user", "content": "a" }, out["choices"][0]["message"]]));
        prop_assert_eq!(&list[1].parts, &parts(&answer));
    }

    #[test]
    fn any_bytes_are_a_request_or_a_fault(body in bodies(concat!(
        r#"{"model":"m","stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"é"}]},{"role":"#,
        r#""assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"x"}],"#,
        r#""tools":[{"function":{"name":"f"}}],"tool_choice":"auto","stop":["a"],"max_tokens":3,"logprobs":true}"#,
    ))) {
        if let Err(error) = parse(&body) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn a_file_is_a_document_of_what_it_holds() {
    let file = |name: &str, data: &str| json!({ "type": "file", "file": { "filename": name, "file_data": data } });
    let content = json!([
        file("a.pdf", "data:application/pdf;base64,JVBERi0xLjcK"),
        file("b.csv", "data:text/csv;base64,YSxi"),
        { "type": "text", "text": "?" },
    ]);
    let request = ok(json!({ "messages": [{ "role": "user", "content": content }] }));
    let Input::Chat(messages) = &request.input else { panic!("a chat") };
    let parts: Vec<&Part> = messages.iter().flat_map(|message| &message.parts).collect();
    let [Part::Document(pdf), Part::Document(csv), Part::Text(_)] = parts[..] else { panic!("{parts:?}") };
    assert_eq!((pdf.format, pdf.name.as_deref()), (DocumentFormat::Pdf, Some("a.pdf")));
    assert_eq!((csv.format, &csv.body), (DocumentFormat::Csv, &DocumentBody::Text("a,b".to_owned())));
    assert_eq!(request.unreadable_here(), Some(&**pdf));
    assert!(request.dropped.is_empty());
}
