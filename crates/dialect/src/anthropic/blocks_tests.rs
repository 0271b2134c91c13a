//! Messages and their blocks: what they become, and where their faults are.

use serde_json::{Value, json};

use super::*;
use crate::chat::{Document, DocumentBody, DocumentFormat, ImageKind, Input, Request};

/// The smallest head of a PNG that is whole base64.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAA";

fn request(messages: &Value) -> Result<Request, BadRequest> {
    let body = json!({ "model": "m", "max_tokens": 9, "messages": messages });
    super::super::parse(&serde_json::to_vec(&body).unwrap())
}

fn messages(messages: &Value) -> Vec<Message> {
    match request(messages).unwrap().input {
        Input::Chat(messages) => messages,
        Input::Prompt(prompt) => panic!("a chat became the prompt {prompt:?}"),
    }
}

fn dropped(given: &Value) -> Vec<String> {
    request(given).unwrap().dropped
}

fn fault(messages: &Value) -> String {
    request(messages).unwrap_err().to_string()
}

/// One message with these blocks.
fn with(role: &str, blocks: &Value) -> Value {
    json!([{ "role": role, "content": blocks }])
}

fn text(text: &str) -> Part {
    Part::Text(text.to_owned())
}

#[test]
fn a_string_and_a_text_block_are_the_same() {
    let expected = [Message { role: Role::User, parts: vec![text("hi")] }];
    assert_eq!(messages(&with("user", &json!("hi"))), expected);
    assert_eq!(messages(&with("user", &json!([{ "type": "text", "text": "hi", "citations": null }]))), expected);
    assert_eq!(messages(&with("USER", &json!("hi"))), expected, "Ollama does not mind the case");
}

#[test]
fn results_become_messages_of_their_own_before_what_else_the_user_says() {
    let given = json!([
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "seal" },
            { "type": "text", "text": "I look" },
            { "type": "tool_use", "id": "t1", "name": "look", "input": { "at": [1] }, "caller": { "type": "direct" } },
            { "type": "tool_use", "id": "t2", "name": "hear" },
        ] },
        { "role": "user", "content": [
            { "type": "text", "text": "and now?" },
            { "type": "tool_result", "tool_use_id": "t2", "content": "nothing", "is_error": true },
            { "type": "tool_result", "tool_use_id": "t1", "content": [
                { "type": "text", "text": "a cat" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/jpeg", "data": PNG } },
            ] },
            { "type": "tool_result", "tool_use_id": "t9" },
            { "type": "text", "text": "go on" },
        ] },
    ]);
    let image = Part::Image(Image { base64: PNG.to_owned(), kind: ImageKind::Png });
    let call = |id: &str, name: &str, arguments: Value| {
        let arguments = arguments.as_object().unwrap().clone();
        Part::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
    };
    let result = |id: &str, name: Option<&str>, parts, failed| {
        let (id, name) = (Some(id.to_owned()), name.map(str::to_owned));
        Message { role: Role::Tool, parts: vec![Part::ToolResult(ToolResult { id, name, parts, failed })] }
    };
    let thought = Part::Thinking { text: "hm".to_owned(), signature: Some("seal".to_owned()) };
    let asked = vec![thought, text("I look"), call("t1", "look", json!({ "at": [1] })), call("t2", "hear", json!({}))];
    let expected = [
        Message { role: Role::Assistant, parts: asked },
        result("t2", Some("hear"), vec![text("nothing")], true),
        result("t1", Some("look"), vec![text("a cat"), image], false),
        result("t9", None, vec![], false),
        Message { role: Role::User, parts: vec![text("and now?"), text("go on")] },
    ];
    assert_eq!(messages(&given), expected);
    assert!(dropped(&given).is_empty());
}

#[test]
fn thought_without_a_seal_has_none_and_an_empty_thought_is_left_out() {
    let given = |seal: &str, thought: &str| {
        let blocks = json!([
            { "type": "thinking", "thinking": thought, "signature": seal },
            { "type": "text", "text": "so" },
        ]);
        messages(&with("assistant", &blocks)).remove(0).parts
    };
    let thought = |signature| Part::Thinking { text: "hm".to_owned(), signature };
    assert_eq!(given("", "hm"), [thought(None), text("so")]);
    assert_eq!(given("", ""), [text("so")]);
    assert_eq!(given("seal", "").len(), 2, "a sealed thought may hide its text");
}

#[test]
fn redacted_thought_is_dropped_and_listed_once() {
    let given = json!([
        { "role": "assistant", "content": [
            { "type": "redacted_thinking", "data": "x" },
            { "type": "redacted_thinking", "data": "y" },
        ] },
        { "role": "user", "content": "hi" },
    ]);
    assert_eq!(messages(&given).len(), 1);
    assert_eq!(dropped(&given), ["redacted_thinking"]);
}

#[test]
fn what_servers_tools_did_is_told_as_ollama_tells_it() {
    let given = json!([
        { "role": "user", "content": "who won?" },
        { "role": "assistant", "content": [
            { "type": "text", "text": "I search" },
            { "type": "server_tool_use", "id": "s1", "name": "web_search", "input": { "query": "q" } },
            { "type": "web_search_tool_result", "tool_use_id": "s1", "content": [
                { "type": "web_search_result", "title": "A", "url": "https://a", "encrypted_content": "x", "page_age": null },
                { "type": "web_search_result", "title": "B", "url": "https://b" },
                { "type": "later" }] },
            { "type": "web_search_tool_result", "tool_use_id": "s2",
                "content": { "type": "web_search_tool_result_error", "error_code": "unavailable" } },
            { "type": "text", "text": ", it was A", "citations": [{ "type": "web_search_result_location", "url": "https://a" }] },
        ] },
    ]);
    let arguments = json!({ "query": "q" }).as_object().unwrap().clone();
    let call = Part::ToolCall(ToolCall { id: "s1".to_owned(), name: "web_search".to_owned(), arguments });
    let result = |id: &str, name: Option<&str>, said: &str| {
        let (id, name) = (Some(id.to_owned()), name.map(str::to_owned));
        let parts = vec![text(said)];
        Message { role: Role::Tool, parts: vec![Part::ToolResult(ToolResult { id, name, parts, failed: false })] }
    };
    let expected = [
        Message { role: Role::User, parts: vec![text("who won?")] },
        Message { role: Role::Assistant, parts: vec![text("I search"), call, text(", it was A")] },
        result("s1", Some("web_search"), "- A: https://a\n- B: https://b\n"),
        result("s2", None, "web_search_tool_result_error: unavailable"),
    ];
    assert_eq!(messages(&given), expected);
    assert!(dropped(&given).is_empty());
}

#[test]
fn blocks_that_no_model_here_can_read_are_left_out_and_listed() {
    let given = json!([
        { "role": "system", "content": [{ "type": "text", "text": "s" }, { "type": "image" }] },
        { "role": "user", "content": [
            { "type": "container_upload", "file_id": "f" },
            { "type": "text", "text": "read it" },
            { "type": "tool_result", "tool_use_id": "t", "content": [
                { "type": "search_result", "source": "x", "title": "y", "content": [] }, { "type": "text", "text": "42" }] },
        ] },
        { "role": "assistant", "content": [
            { "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "d" } },
            { "type": "mcp_tool_use", "id": "m", "name": "n", "server_name": "s", "input": {} },
            { "type": "mcp_tool_result", "tool_use_id": "m", "content": [{ "type": "text", "text": "r" }] },
            { "type": "redacted_thinking", "data": "x" },
        ] },
    ]);
    let result = ToolResult { id: Some("t".to_owned()), name: None, parts: vec![text("42")], failed: false };
    let expected = [
        Message { role: Role::System, parts: vec![text("s")] },
        Message { role: Role::Tool, parts: vec![Part::ToolResult(result)] },
        Message { role: Role::User, parts: vec![text("read it")] },
    ];
    assert_eq!(messages(&given), expected);
    assert_eq!(
        dropped(&given),
        [
            "system.image",
            "content.container_upload",
            "content.tool_result.search_result",
            "content.document",
            "content.mcp_tool_use",
            "content.mcp_tool_result",
            "redacted_thinking",
        ]
    );
}

#[test]
fn blocks_stand_in_any_message_as_with_ollama() {
    let image = json!({ "type": "image", "source": { "type": "base64", "data": PNG } });
    let given = json!([
        { "role": "assistant", "content": [
            { "type": "tool_result", "tool_use_id": "t", "content": "42" }, image, { "type": "text", "text": "see" }] },
        { "role": "user", "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": {} }] },
    ]);
    let roles: Vec<Role> = messages(&given).iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::Assistant, Role::Tool, Role::User]);
}

#[test]
fn unknown_cache_marks_are_listed_once_and_unknown_members_by_name() {
    let block = json!({ "type": "text", "text": "a", "cache_control": { "type": "later" }, "odd": 1 });
    let given = json!([
        { "role": "user", "content": [block, block] },
        { "role": "user", "content": [block], "name": "Ann" },
    ]);
    assert_eq!(dropped(&given), ["cache_control", "content.odd", "messages.name"]);
}

#[test]
fn a_cache_mark_stands_right_behind_what_it_marks() {
    let mark = |ttl: Value| json!({ "type": "ephemeral", "ttl": ttl });
    let given = json!([
        { "role": "system", "content": [{ "type": "text", "text": "s", "cache_control": mark(json!("1h")) }] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t", "content": "42", "cache_control": mark(json!(null)) },
            { "type": "text", "text": "a", "cache_control": mark(json!("5m")) },
            { "type": "text", "text": "", "cache_control": mark(json!("5m")) },
            { "type": "text", "text": "b", "cache_control": null },
        ] },
    ]);
    let (five, hour) = (Part::CachePoint(CacheTime::FiveMinutes), Part::CachePoint(CacheTime::Hour));
    let result = ToolResult { id: Some("t".to_owned()), name: None, parts: vec![text("42")], failed: false };
    let expected = [
        Message { role: Role::System, parts: vec![text("s"), hour] },
        Message { role: Role::Tool, parts: vec![Part::ToolResult(result), five.clone()] },
        Message { role: Role::User, parts: vec![text("a"), five, text("b")] },
    ];
    assert_eq!(messages(&given), expected);
    assert!(dropped(&given).is_empty());
    for odd in [json!("ephemeral"), json!({ "ttl": "5m" }), mark(json!("2h")), mark(json!(5))] {
        let given = with("user", &json!([{ "type": "text", "text": "a", "cache_control": odd }]));
        assert_eq!(messages(&given)[0].parts, [text("a")], "{odd}");
        assert_eq!(dropped(&given), ["cache_control"], "{odd}");
    }
}

#[test]
fn documents_are_read_where_they_are_brought_along() {
    let pdf = "JVBERi0xLjcKJeLjz9M=";
    let block = |source: Value| json!({ "type": "document", "title": "May", "context": "c", "source": source });
    let given = json!([{ "role": "user", "content": [
        block(json!({ "type": "base64", "media_type": "application/pdf", "data": pdf })),
        { "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "d" },
            "citations": { "enabled": true } },
        { "type": "document", "citations": { "enabled": false }, "source": { "type": "content", "content": [
            { "type": "text", "text": "e" }, { "type": "image" }, { "type": "text", "text": "f" }] } },
        { "type": "tool_result", "tool_use_id": "t", "content": [
            block(json!({ "type": "content", "content": "g" }))] },
    ] }]);
    let paper = |name: Option<&str>, format, body| {
        let (name, context) = (name.map(str::to_owned), name.map(|_| "c".to_owned()));
        Part::Document(Box::new(Document { name, context, format, body }))
    };
    let words = |text: &str| DocumentBody::Text(text.to_owned());
    let (pdf_of, txt) = (DocumentBody::Base64(pdf.to_owned()), DocumentFormat::Txt);
    let inner = vec![paper(Some("May"), txt, words("g"))];
    let result = ToolResult { id: Some("t".to_owned()), name: None, parts: inner, failed: false };
    let papers = vec![
        paper(Some("May"), DocumentFormat::Pdf, pdf_of),
        paper(None, txt, words("d")),
        paper(None, txt, words("e\nf")),
    ];
    let expected = [
        Message { role: Role::Tool, parts: vec![Part::ToolResult(result)] },
        Message { role: Role::User, parts: papers },
    ];
    assert_eq!(messages(&given), expected);
    assert_eq!(dropped(&given), ["content.document.citations", "content.document.image"]);
    assert_eq!(request(&given).unwrap().unreadable_here().unwrap().format, DocumentFormat::Pdf);
    for (source, expected) in [
        (json!(null), "messages[0].content[0].source: an object"),
        (json!({ "type": "url", "url": "https://x" }), "messages[0].content[0].source.type: expected `base64`, `text`"),
        (json!({ "type": "file", "file_id": "f" }), "messages[0].content[0].source.type: expected `base64`, `text`"),
        (json!({ "type": "text" }), "messages[0].content[0].source.data: a string"),
        (json!({ "type": "content" }), "messages[0].content[0].source.content: a string or a list"),
        (json!({ "type": "base64", "data": "AAAA" }), "messages[0].content[0].source.data: the document is neither"),
    ] {
        let found = fault(&with("user", &json!([block(source)])));
        assert!(found.starts_with(expected), "{found}\nshould begin with\n{expected}");
    }
}

#[test]
fn a_message_that_says_nothing_is_left_out_and_nothing_else_is_refused() {
    let empty = json!({ "role": "assistant", "content": "" });
    assert_eq!(messages(&json!([empty, { "role": "user", "content": "hi" }, empty])).len(), 1);
    for nothing in [
        json!([]),
        json!(null),
        json!([empty]),
        with("user", &json!([])),
        with("user", &json!([{"type":"text","text":""}])),
    ] {
        assert!(fault(&nothing).starts_with("messages: at least one message"), "{nothing}");
    }
}

#[test]
fn every_fault_names_its_place_and_what_was_expected() {
    for (given, expected) in [
        (json!({}), "messages: expected a list, found an object"),
        (json!(["hi"]), "messages[0]: expected an object, found a string"),
        (json!([{ "content": "hi" }]), "messages[0].role: a string"),
        (
            json!([{ "role": "robot".repeat(9), "content": "hi" }]),
            "messages[0].role: expected `user`, `assistant`, `system`, or a short word",
        ),
        (json!([{ "role": "user" }]), "messages[0].content: a string or a list"),
        (with("user", &json!(7)), "messages[0].content: expected a string or a list of blocks, found a number"),
        (with("user", &json!([7])), "messages[0].content[0]: expected an object, found a number"),
        (with("user", &json!([{}])), "messages[0].content[0].type: a string that is not empty"),
        (with("user", &json!([{ "type": 7 }])), "messages[0].content[0].type: expected a string, found a number"),
        (with("user", &json!([{ "type": "text" }])), "messages[0].content[0].text: a string is required"),
        (with("assistant", &json!([{ "type": "tool_use", "name": "f" }])), "messages[0].content[0].id: a string"),
        (with("assistant", &json!([{ "type": "tool_use", "id": "t" }])), "messages[0].content[0].name: a string"),
        (
            with("assistant", &json!([{ "type": "tool_use", "id": "t", "name": "f", "input": "{}" }])),
            "messages[0].content[0].input: expected an object, found a string",
        ),
        (with("user", &json!([{ "type": "tool_result" }])), "messages[0].content[0].tool_use_id: a string"),
        (
            with("user", &json!([{ "type": "tool_result", "tool_use_id": "t", "is_error": "no" }])),
            "messages[0].content[0].is_error: expected true or false",
        ),
        (
            with("user", &json!([{ "type": "tool_result", "tool_use_id": "t", "content": 1 }])),
            "messages[0].content[0].content: expected a string or a list of blocks",
        ),
    ] {
        let found = fault(&given);
        assert!(found.starts_with(expected), "{found}\nshould begin with\n{expected}");
    }
}

#[test]
fn a_role_that_only_a_models_template_knows_goes_to_it() {
    let given = json!([{ "role": "Control", "content": "thinking" }, { "role": "tool", "content": "42" }]);
    let result = Part::ToolResult(ToolResult { id: None, name: None, parts: vec![text("42")], failed: false });
    let expected = [
        Message { role: Role::of("control").unwrap(), parts: vec![text("thinking")] },
        Message { role: Role::Tool, parts: vec![result] },
    ];
    assert_eq!(messages(&given), expected);
    assert_eq!(request(&given).unwrap().only_local(), Some("messages.role"));
}

#[test]
fn free_json_of_too_many_values_is_refused_and_half_surrogates_are_taken() {
    let call =
        |input: Value| with("assistant", &json!([{ "type": "tool_use", "id": "t", "name": "f", "input": input }]));
    let many = vec![json!([]); crate::fields::MAX_VALUES];
    let found = fault(&call(json!({ "x": many })));
    assert!(found.starts_with("messages[0].content[0].input: ") && found.contains(" values; "), "{found}");
    let body = call(json!({ "x": "HALF" })).to_string().replace("HALF", r"\ud800");
    let body = format!(r#"{{"model":"m","max_tokens":9,"messages":{body}}}"#);
    let Input::Chat(messages) = super::super::parse(body.as_bytes()).unwrap().input else { panic!("a chat") };
    let [Part::ToolCall(call)] = &messages[0].parts[..] else { panic!("a call") };
    assert_eq!(Value::Object(call.arguments.clone()), json!({ "x": "\u{fffd}" }));
}

#[test]
fn pictures_are_taken_as_base64_only_and_their_faults_have_a_place() {
    let image = |source: Value| fault(&with("user", &json!([{ "type": "image", "source": source }])));
    for (source, expected) in [
        (json!(null), "messages[0].content[0].source: an object"),
        (
            json!({ "type": "url", "url": "https://example.com/a.png" }),
            "messages[0].content[0].source.type: expected `base64`, found `url`",
        ),
        (json!({ "type": "file", "file_id": "f" }), "messages[0].content[0].source.type: expected `base64`"),
        (json!({ "type": "base64" }), "messages[0].content[0].source.data: a string"),
        (json!({ "type": "base64", "data": "AAAA" }), "messages[0].content[0].source.data: the picture is neither"),
        (json!({ "type": "base64", "data": "####" }), "messages[0].content[0].source.data: the picture is not"),
    ] {
        let found = image(source);
        assert!(found.starts_with(expected), "{found}\nshould begin with\n{expected}");
    }
}

#[test]
fn a_fault_never_repeats_a_prompt_and_bounds_what_it_repeats() {
    let secret = "secret ".repeat(100);
    let found = fault(&with("user", &json!({ "text": secret })));
    assert!(!found.contains("secret"), "{found}");
    let found = fault(&json!([{ "role": "\u{1b}[2J".repeat(500), "content": "hi" }]));
    assert!(found.len() < 600 && !found.contains('\u{1b}'), "{found}");
}

#[test]
fn pictures_and_blocks_are_counted_over_the_whole_request() {
    let image = json!({ "type": "image", "source": { "type": "base64", "data": PNG } });
    let result = json!({ "type": "tool_result", "tool_use_id": "t", "content": [image] });
    let of = |count: usize| json!([{ "role": "user", "content": vec![image.clone(); count] }, { "role": "user", "content": [result] }]);
    assert_eq!(messages(&of(MAX_IMAGES - 1)).len(), 2);
    assert!(fault(&of(MAX_IMAGES)).starts_with("messages[1].content[0].content[0].source: at most 100"));
    let empty = json!({ "type": "text", "text": "" });
    let half = json!({ "role": "user", "content": vec![empty; MAX_BLOCKS / 2] });
    let last = json!({ "role": "user", "content": [{ "type": "text", "text": "hi" }] });
    assert_eq!(fault(&json!([half, half, last])), "messages[2].content[0]: at most 20000 blocks are taken");
}
