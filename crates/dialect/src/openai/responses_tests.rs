//! Requests of responses: items become messages, and nothing points at the past.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::testing::{NOW, bodies, events, stamp};
use super::*;
use crate::chat::{
    DocumentFormat, Effort, Image, ImageKind, Message, Part, Role, Think, ToolCall, ToolChoice, ToolResult,
};
use crate::encode::Answer;

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";

fn with(members: Value) -> Result<(Request, Echo), BadRequest> {
    let mut body = json!({ "model": "m", "input": "hi" });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    read(body.to_string().as_bytes())
}

fn ok(members: Value) -> Request {
    with(members.clone()).unwrap_or_else(|error| panic!("{members}: {error}")).0
}

fn messages(members: Value) -> Vec<Message> {
    match ok(members).input {
        Input::Chat(messages) => messages,
        Input::Prompt(_) => panic!("a response is no prompt"),
    }
}

fn said(text: &str) -> Part {
    Part::Text(text.to_owned())
}

fn thought(text: &str) -> Part {
    Part::Thinking { text: text.to_owned(), signature: None }
}

fn call(id: &str, name: &str, arguments: Value) -> Part {
    let arguments = arguments.as_object().cloned().unwrap();
    Part::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
}

#[test]
fn a_text_is_a_users_and_instructions_come_before_it() {
    let expected = vec![
        Message { role: Role::System, parts: vec![said("be brief")] },
        Message { role: Role::User, parts: vec![said("hi")] },
    ];
    assert_eq!(messages(json!({ "instructions": "be brief" })), expected);
    assert_eq!(messages(json!({ "instructions": "be brief", "input": null }))[..], expected[..1]);
}

#[test]
fn what_the_model_did_in_one_turn_is_one_message() {
    let list = messages(json!({ "input": [
        { "role": "user", "content": "hi" },
        { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": "gAAAA" },
        { "type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": "let me look", "annotations": [], "logprobs": [] }] },
        { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}" },
        { "type": "reasoning", "encrypted_content": "and" },
        { "type": "function_call", "call_id": "c2", "name": "g", "arguments": "" },
        { "type": "function_call_output", "call_id": "c2", "output": [{ "type": "input_text", "text": "42" },
            { "type": "input_image", "image_url": format!("data:image/png;base64,{PNG}"), "detail": "auto" }] },
        { "type": "function_call_output", "call_id": "c1", "output": "" },
        { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "so" }] },
    ] }));
    let roles: Vec<Role> = list.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::Assistant]);
    let turn = [
        thought("hm"),
        said("let me look"),
        call("c1", "f", json!({ "a": 1 })),
        thought("and"),
        call("c2", "g", json!({})),
    ];
    assert_eq!(list[1].parts, turn);
    let result = |id: &str, name: &str, parts| {
        Part::ToolResult(ToolResult { id: Some(id.to_owned()), name: Some(name.to_owned()), parts, failed: false })
    };
    let image = Part::Image(Image { base64: PNG.to_owned(), kind: ImageKind::Png });
    assert_eq!(list[2].parts, [result("c2", "g", vec![said("42"), image])]);
    assert_eq!(list[3].parts, [result("c1", "f", vec![])]);
    assert_eq!(list[4].parts, [thought("so")]);
}

#[test]
fn thought_that_belongs_to_the_next_message_stays_with_it() {
    let list = messages(json!({ "input": [
        { "type": "reasoning", "summary": [{ "text": "a" }, { "text": "b" }] },
        { "role": "developer", "content": "x" },
        { "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }] },
    ] }));
    assert_eq!(list[1].parts, [thought("a\n\nb"), said("no")]);
}

#[test]
fn what_the_native_api_can_do_is_honoured() {
    let schema = json!({ "type": "object" });
    let request = ok(json!({
        "stream": true, "max_output_tokens": 9, "temperature": 0.5, "reasoning": { "effort": "high", "summary": "auto" },
        "text": { "format": { "type": "json_schema", "name": "n", "schema": schema, "strict": true }, "verbosity": "low" },
        "tools": [{ "type": "function", "name": "f", "description": "d", "parameters": schema, "strict": null }],
        "tool_choice": { "type": "function", "name": "f" }, "truncation": "auto", "top_logprobs": 3,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
    }));
    assert!(request.stream && request.include_usage);
    assert_eq!((request.max_tokens, request.logprobs, request.think), (Some(9), Some(3), Think::Effort(Effort::High)));
    assert_eq!((request.sampling.temperature, request.sampling.top_p), (Some(0.5), Some(1.0)));
    assert_eq!(request.format, Format::Schema { name: Some("n".to_owned()), schema: schema.clone() });
    assert_eq!(
        request.tools,
        [Tool { name: "f".to_owned(), description: Some("d".to_owned()), parameters: schema, cache: None }]
    );
    assert_eq!((request.tool_choice, request.native.truncate), (ToolChoice::Named("f".to_owned()), Some(true)));
    assert_eq!(request.dropped, ["text.verbosity"]);
    assert_eq!(ok(json!({ "text": { "format": { "type": "json_object" } } })).format, Format::Json);
    assert_eq!(ok(json!({ "include": ["message.output_text.logprobs"] })).logprobs, Some(0));
    assert_eq!(ok(json!({ "truncation": "disabled" })).native.truncate, Some(false));
    assert_eq!(ok(json!({ "top_logprobs": 0 })).logprobs, None);
}

#[test]
fn what_no_backend_can_do_is_named() {
    let request = ok(json!({
        "store": true, "max_tool_calls": 3, "include": ["web_search_call.results"], "parallel_tool_calls": false,
        "service_tier": "default", "user": "u", "metadata": {}, "background": false,
        "input": [{ "role": "user", "content": "a", "odd": 1 }],
    }));
    let mut dropped = request.dropped;
    dropped.sort();
    assert_eq!(dropped, ["include", "input.odd", "max_tool_calls", "parallel_tool_calls", "store"]);
}

#[test]
fn whatever_points_at_an_earlier_answer_is_refused() {
    for (name, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!({ "id": "conv_1" })),
        ("prompt", json!({ "id": "pmpt_1" })),
        ("background", json!(true)),
    ] {
        let error = with(json!({ name: value })).unwrap_err().to_string();
        assert!(error.starts_with(name) && error.contains("kept"), "{error}");
        assert!(with(json!({ name: null })).is_ok());
    }
}

#[test]
fn every_fault_names_its_place_and_what_was_expected() {
    let item = |item: Value| json!({ "input": [{ "role": "user", "content": "a" }, item] });
    let part = |part: Value| item(json!({ "role": "user", "content": [part] }));
    for (members, place) in [
        (json!({ "input": 5 }), "input: expected a string or a list of at most 10000 items"),
        (json!({ "input": [] }), "input: expected a string or a list of items that says something"),
        (json!({ "input": "" }), "input: expected a string or a list of items that says something"),
        (item(json!("x")), "input[1]: expected an object"),
        (item(json!({})), "input[1].type: expected message"),
        (item(json!({ "type": "item_reference", "id": "x" })), "input[1].type: expected message"),
        (item(json!({ "type": "web_search_call" })), "input[1].type: expected message"),
        (item(json!({ "type": "message", "role": "" })), "input[1].role: expected system"),
        (item(json!({ "type": "function_call", "call_id": "c", "arguments": "{}" })), "input[1].name: expected"),
        (
            item(json!({ "type": "function_call", "name": "f", "arguments": "x" })),
            "input[1].arguments: not a JSON object",
        ),
        (item(json!({ "type": "function_call_output", "output": 3 })), "input[1].output: expected a string or a list"),
        (part(json!({ "type": "input_video" })), "input[1].content[0].type: expected input_text"),
        (
            part(json!({ "type": "input_file", "file_id": "f" })),
            "input[1].content[0].file_data: expected a string; no files",
        ),
        (
            part(json!({ "type": "input_file", "file_data": "https://x/a.pdf" })),
            "input[1].content[0].file_data: files are taken as data",
        ),
        (part(json!({ "type": "input_text" })), "input[1].content[0].text: expected a string"),
        (
            part(json!({ "type": "input_image", "file_id": "f" })),
            "input[1].content[0].image_url: expected a string; no files",
        ),
        (
            part(json!({ "type": "input_image", "image_url": "http://x" })),
            "input[1].content[0].image_url: pictures are",
        ),
        (json!({ "tools": [{ "type": "web_search_preview" }] }), "tools[0].type: expected \"function\""),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].name: expected"),
        (json!({ "tool_choice": { "type": "function", "name": "f" } }), "tool_choice: expected"),
        (json!({ "text": { "format": { "type": "grammar" } } }), "text.format.type: expected text"),
        (json!({ "text": { "format": 1 } }), "text.format: expected an object"),
        (json!({ "truncation": "half" }), "truncation: expected auto or disabled"),
        (json!({ "include": [1] }), "include: expected a list of strings"),
        (json!({ "instructions": ["a"] }), "instructions: expected a string"),
        (json!({ "max_output_tokens": "9" }), "max_output_tokens: expected a whole number"),
    ] {
        let error = with(members.clone()).expect_err(&members.to_string()).to_string();
        assert!(error.starts_with(place), "{members}: {error}");
    }
}

#[test]
fn more_than_the_limits_is_refused() {
    let many = |count: usize, one: Value| Value::from(vec![one; count]);
    let message = |content: Value| json!({ "role": "user", "content": content });
    let parts = many(1_001, json!({ "type": "input_text", "text": "a" }));
    for (members, said) in [
        (json!({ "input": many(10_001, message(json!("a"))) }), "at most 10000 items"),
        (json!({ "input": [message(parts)] }), "at most 1000 parts"),
        (json!({ "include": many(33, json!("reasoning.encrypted_content")) }), "at most 32"),
    ] {
        let error = with(members).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn the_echo_repeats_what_was_asked_and_fills_the_rest() {
    let echo = |members| -> Value {
        let (_, echo) = with(members).unwrap();
        serde_json::from_str(&format!("{{{}}}", String::from_utf8(echo.members).unwrap())).unwrap()
    };
    let plain = echo(json!({}));
    assert_eq!(
        plain,
        serde_json::from_str::<Value>(&format!("{{{}}}", String::from_utf8(Echo::default().members).unwrap())).unwrap()
    );
    assert_eq!((&plain["tools"], &plain["text"]), (&json!([]), &json!({ "format": { "type": "text" } })));
    let said = echo(json!({
        "instructions": "a\nb", "temperature": 0.5, "tools": [{ "type": "function", "name": "f" }], "metadata": { "k": "v" },
        "text": { "format": null },
    }));
    assert_eq!((&said["instructions"], &said["temperature"]), (&json!("a\nb"), &json!(0.5)));
    let tool = json!({ "type": "function", "name": "f", "description": null, "strict": null, "parameters": null });
    assert_eq!((&said["tools"][0], &said["metadata"], &said["text"]), (&tool, &json!({ "k": "v" }), &plain["text"]));
    assert_eq!((&said["store"], said.get("input")), (&json!(false), None));
}

#[test]
fn the_echo_of_a_body_of_many_lines_is_one_line_and_means_the_same() {
    let tool = json!({ "type": "function", "name": "f \"\\ {\n", "strict": null });
    let metadata = json!({ "a\\": " b\" : [ 1 ] ", "": {} });
    let body = json!({ "model": "m", "input": "hi", "instructions": " a\n\" b ", "tools": [tool], "metadata": metadata,
        "text": { "format": { "type": "text" }, "verbosity": "low" } });
    let lines = serde_json::to_string_pretty(&body).unwrap();
    let (_, echo) = read(lines.as_bytes()).unwrap();
    assert!(!echo.members.contains(&b'\n'));
    let echo: Value = serde_json::from_str(&format!("{{{}}}", String::from_utf8(echo.members).unwrap())).unwrap();
    for name in ["instructions", "metadata", "text"] {
        assert_eq!(echo[name], body[name], "{name}");
    }
    let whole =
        json!({ "type": "function", "name": tool["name"], "strict": null, "description": null, "parameters": null });
    assert_eq!(echo["tools"], json!([whole]));
}

proptest! {
    #[test]
    fn an_answer_handed_back_means_what_it_meant(events in events()) {
        let mut answer = Answer::default();
        events.into_iter().for_each(|event| answer.take(event));
        answer.tool_calls.retain(|call| !call.id.is_empty() && !call.name.is_empty());
        let out: Value = serde_json::from_slice(&whole(&answer, &stamp(), &Echo::default(), NOW, Map::new())).unwrap();
        let mut input = vec![json!({ "role": "user", "content": "a" })];
        input.extend(out["output"].as_array().cloned().unwrap());
        let list = messages(json!({ "input": input }));
        let mut parts = Vec::new();
        parts.extend((!answer.thinking.is_empty()).then(|| thought(&answer.thinking)));
        parts.extend((!answer.text.is_empty()).then(|| said(&answer.text)));
        parts.extend(answer.tool_calls.into_iter().map(Part::ToolCall));
        prop_assert_eq!(list.get(1).map(|message| message.parts.clone()).unwrap_or_default(), parts);
        prop_assert!(list.len() <= 2);
    }

    #[test]
    fn any_bytes_are_a_request_or_a_fault(body in bodies(concat!(
        r#"{"model":"m","instructions":"é","input":[{"role":"user","content":[{"type":"input_text","text":"é"}]},"#,
        r#"{"type":"reasoning","summary":[{"text":"x"}]},{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},"#,
        r#"{"type":"function_call_output","call_id":"1","output":"x"}],"tools":[{"type":"function","name":"f"}],"#,
        r#""text":{"format":{"type":"text"}},"include":["x"],"truncation":"auto"}"#,
    ))) {
        if let Err(error) = parse(&body) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn a_file_in_the_input_is_a_document() {
    let file = json!({ "type": "input_file", "filename": "a.md", "file_data": "data:;base64,IyBh" });
    let said = messages(json!({ "input": [{ "role": "user", "content": [file] }] }));
    let [Part::Document(document)] = &said[0].parts[..] else { panic!("{said:?}") };
    assert_eq!(
        (document.format, document.as_text().as_deref()),
        (DocumentFormat::Md, Some("<document name=\"a.md\">\n# a\n</document>\n"))
    );
}
