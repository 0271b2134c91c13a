//! Tool calls, structured output, thoughts and pictures: shapes as recorded, contents by the rules.
//!
//! `tests/recorded` holds answers of Ollama 0.24 with SmolLM2-135M and templates that let it call
//! tools and think; only the shapes are compared. It has no model that sees: a picture's answer is
//! plain text in the usual shape.

use crate::common::{get, post};
use causeway_standin::{Config, Model, Running, Standin};
use serde_json::{Value, json};

async fn standin() -> Running {
    let models = vec![Model::named("able").able(), Model::named("thinker").able().thinking(), Model::named("plain")];
    Standin::spawn(Config { models, ..Config::default() }).await.unwrap()
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "description": "d", "parameters":
        {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}}})
}

fn two_tools(stream: bool) -> Value {
    json!({"model": "able", "stream": stream, "tools": [tool("weather"), tool("clock")],
        "messages": [{"role": "user", "content": "weather and clock in city=Bonn"}]})
}

async fn lines(standin: &Running, path: &str, body: &Value) -> Vec<Value> {
    let answer = post(standin.addr(), path, &body.to_string()).await;
    assert_eq!(answer.status(), "200", "{}", answer.body);
    answer.lines()
}

/// The members of an object in their order with the kinds of their values; a tool's arguments and
/// the items of a list of numbers are no shape.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(_) => "number".to_owned(),
        Value::String(text) if ["stop", "length", "assistant"].contains(&text.as_str()) => text.clone(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => "numbers".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| match name.as_str() {
                "arguments" => "arguments".to_owned(),
                _ => format!("{name}:{}", shape(value)),
            };
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
    }
}

/// Shapes in order; the same one again counts once, so the number of tokens does not matter.
fn shapes(lines: &[Value]) -> Vec<String> {
    let mut shapes: Vec<String> = lines.iter().map(shape).collect();
    shapes.dedup();
    shapes
}

fn recorded(text: &str) -> Vec<String> {
    shapes(&text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
}

fn joined(lines: &[Value], pointer: &str) -> String {
    lines.iter().filter_map(|line| line.pointer(pointer)?.as_str()).collect()
}

#[tokio::test]
async fn tool_calls_come_one_a_line_as_recorded() {
    let standin = standin().await;
    let said = lines(&standin, "/api/chat", &two_tools(true)).await;
    let mut expected = recorded(include_str!("../recorded/chat-tools.ndjson"));
    assert_eq!(shapes(&said), expected);
    expected = recorded(include_str!("../recorded/chat-tools-single.json"));
    let whole = lines(&standin, "/api/chat", &two_tools(false)).await;
    assert_eq!(shapes(&whole), expected);
    for (index, name) in ["weather", "clock"].into_iter().enumerate() {
        let call = &whole[0]["message"]["tool_calls"][index];
        let function = json!({"index": index, "name": name, "arguments": {"city": "Bonn"}});
        assert_eq!(call["function"], function);
        assert_eq!(call["id"].as_str().unwrap().len(), "call_12345678".len());
    }
}

#[tokio::test]
async fn the_turn_after_a_tool_quotes_its_result() {
    let standin = standin().await;
    let mut body = two_tools(true);
    let call = json!({"id": "call_1", "function": {"name": "weather", "arguments": {"city": "Bonn"}}});
    let further = [
        json!({"role": "assistant", "content": "", "tool_calls": [call]}),
        json!({"role": "tool", "tool_name": "weather", "tool_call_id": "call_1", "content": "21 degrees"}),
    ];
    body["messages"].as_array_mut().unwrap().extend(further);
    let said = lines(&standin, "/api/chat", &body).await;
    assert_eq!(joined(&said, "/message/content"), "The tool said: 21 degrees");
}

#[tokio::test]
async fn thoughts_come_before_the_answer_as_recorded() {
    let standin = standin().await;
    let chat = json!({"model": "thinker", "think": "low", "messages": [{"role": "user", "content": "why?"}]});
    let said = lines(&standin, "/api/chat", &chat).await;
    assert_eq!(shapes(&said), recorded(include_str!("../recorded/chat-thinking.ndjson")));
    assert_eq!(joined(&said, "/message/thinking"), "Effort low. I was asked: why?");
    let generate = json!({"model": "thinker", "prompt": "why?"});
    let said = lines(&standin, "/api/generate", &generate).await;
    let quiet: Vec<String> = recorded(include_str!("../recorded/generate-thinking.ndjson"));
    // While it read the end tag the real one sent lines that say nothing.
    let nothing = |shape: &String| shape == "{model:text,created_at:text,response:empty,done:false}";
    let expected: Vec<String> = quiet.into_iter().filter(|shape| !nothing(shape)).collect();
    assert_eq!(shapes(&said), expected);
    assert_eq!(joined(&said, "/thinking"), "Effort default. I was asked: why?");
    for (path, mut body, golden) in [
        ("/api/chat", chat, include_str!("../recorded/chat-thinking-single.json")),
        ("/api/generate", generate, include_str!("../recorded/generate-thinking-single.json")),
    ] {
        body["stream"] = json!(false);
        assert_eq!(shapes(&lines(&standin, path, &body).await), recorded(golden), "{path}");
        body["think"] = json!(false);
        let quiet = lines(&standin, path, &body).await;
        assert!(quiet[0].get("thinking").is_none() && quiet[0].pointer("/message/thinking").is_none(), "{quiet:?}");
    }
}

#[tokio::test]
async fn a_format_is_kept_to_and_thoughts_stay_before_it() {
    let standin = standin().await;
    let schema = json!({"type": "object", "required": ["colour", "n"],
        "properties": {"colour": {"enum": ["red", "blue"]}, "n": {"type": "integer"}}});
    let mut body =
        json!({"model": "plain", "format": schema, "messages": [{"role": "user", "content": "colour=blue n=7"}]});
    let said = lines(&standin, "/api/chat", &body).await;
    assert_eq!(joined(&said, "/message/content"), r#"{"colour":"blue","n":7}"#);
    body["model"] = json!("thinker");
    let said = lines(&standin, "/api/chat", &body).await;
    assert_eq!(shapes(&said), recorded(include_str!("../recorded/chat-thinking-format.ndjson")));
    let generate = json!({"model": "plain", "prompt": "colour=red", "format": "json", "stream": false});
    assert_eq!(lines(&standin, "/api/generate", &generate).await[0]["response"], r#"{"prompt":"colour=red"}"#);
    body["model"] = json!("plain");
    body["options"] = json!({"num_predict": 2});
    let cut = lines(&standin, "/api/chat", &body).await;
    assert_eq!(joined(&cut, "/message/content"), r#"{"colour"#.get(..8).unwrap());
    assert_eq!(cut.last().unwrap()["done_reason"], "length");
}

#[tokio::test]
async fn pictures_are_described_by_a_model_that_sees_and_ignored_by_others() {
    let standin = standin().await;
    let picture = "iVBORw0KGgo=";
    let mut body = json!({"model": "able", "stream": false,
        "messages": [{"role": "user", "content": "See?", "images": [picture, picture]}]});
    let seen = lines(&standin, "/api/chat", &body).await;
    assert_eq!(seen[0]["message"]["content"], "2 pictures: png of 8 bytes, png of 8 bytes.");
    let generate = json!({"model": "able", "stream": false, "prompt": "See?", "images": [picture]});
    assert_eq!(lines(&standin, "/api/generate", &generate).await[0]["response"], "1 picture: png of 8 bytes.");
    body["model"] = json!("plain");
    let blind = lines(&standin, "/api/chat", &body).await;
    assert!(!blind[0]["message"]["content"].as_str().unwrap().contains("picture"));
}

#[tokio::test]
async fn what_a_model_cannot_do_has_the_recorded_words() {
    let standin = standin().await;
    let hello = json!([{"role": "user", "content": "hello"}]);
    let cases = [
        (json!({"tools": [tool("a")]}), "400", "registry.ollama.ai/library/plain:latest does not support tools"),
        (json!({"think": true}), "400", r#""plain" does not support thinking"#),
        (json!({"think": "low"}), "400", r#""plain" does not support thinking"#),
        (
            json!({"think": "extreme"}),
            "400",
            r#"invalid think value: "extreme" (must be "high", "medium", "low", "max", true, or false)"#,
        ),
        (
            json!({"messages": [{"role": "user", "content": "x", "images": ["%%%"]}]}),
            "400",
            "illegal base64 data at input byte 0",
        ),
        (json!({"format": {"type": "nonsense"}}), "500", "invalid JSON schema in format"),
        (
            json!({"format": "xml"}),
            "500",
            r#"invalid format: "\"xml\""; expected "json" or a valid JSON Schema object"#,
        ),
    ];
    for (members, status, words) in cases {
        let mut body = json!({"model": "plain", "messages": hello});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let answer = post(standin.addr(), "/api/chat", &body.to_string()).await;
        assert_eq!((answer.status(), answer.json()["error"].as_str().unwrap()), (status, words), "{body}");
    }
    let show = post(standin.addr(), "/api/show", r#"{"model":"thinker"}"#).await.json();
    assert_eq!(show["capabilities"], json!(["completion", "tools", "vision", "thinking"]));
    assert_eq!(get(standin.addr(), "/api/tags").await.json()["models"].as_array().unwrap().len(), 3);
}
