//! The shapes of Ollama 0.24 as recorded: names, order where it shows, statuses, error words.

use crate::common::{get, post, send};
use causeway_standin::{Config, Model, Standin, text};
use serde_json::Value;

const CHAT: &str = r#"{"model":"standin","messages":[{"role":"user","content":"hello"}]}"#;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_native_chat_streams_by_default_and_ends_with_durations_that_fit() {
    let standin = Standin::spawn(Config::default()).await.unwrap();
    let begun = std::time::Instant::now();
    let answer = post(standin.addr(), "/api/chat", CHAT).await;
    let wall = u64::try_from(begun.elapsed().as_nanos()).unwrap();
    assert!(answer.head.contains("content-type: application/x-ndjson"));
    assert!(answer.head.contains("server: causeway-standin"));
    let lines = answer.lines();
    assert_eq!(lines.len(), 17);
    let said: String = lines.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(said, text::answer(text::seed("hello"), 16));
    let last = lines.last().unwrap();
    assert_eq!(last["done_reason"], "stop");
    assert_eq!(last["eval_count"], 16);
    let total = last["total_duration"].as_u64().unwrap();
    let parts = ["load_duration", "prompt_eval_duration", "eval_duration"];
    let sum: u64 = parts.iter().filter_map(|name| last[name].as_u64()).sum();
    assert!(sum <= total && total <= wall, "{sum} {total} {wall}");
}

#[tokio::test]
async fn num_predict_is_honoured_exactly() {
    let standin = Standin::spawn(Config::default()).await.unwrap();
    let body = r#"{"model":"STANDIN:latest","prompt":"x","stream":false,"options":{"num_predict":3}}"#;
    let answer = post(standin.addr(), "/api/generate", body).await.json();
    assert_eq!(answer["response"], text::answer(text::seed("x"), 3));
    assert_eq!(answer["done_reason"], "length");
    assert_eq!(answer["model"], "STANDIN:latest");
    assert!(answer["context"].is_array());
}

#[tokio::test]
async fn errors_have_ollamas_words_in_each_dialect() {
    let standin = Standin::spawn(Config::default()).await.unwrap();
    let cases = [
        ("/api/chat", r#"{"model":"nope","messages":[]}"#, "404", r#"{"error":"model 'nope' not found"}"#),
        ("/api/chat", r#"{"model":"#, "400", r#"{"error":"unexpected EOF"}"#),
        ("/api/chat", r#"{"messages":[]}"#, "400", r#"{"error":"model is required"}"#),
        ("/api/chat", r#"{"model":"a b//c"}"#, "400", r#"{"error":"invalid model name"}"#),
        (
            "/api/chat",
            r#"{"model":"standin","messages":[{"content":"x"}],"options":{"num_predict":"x"}}"#,
            "500",
            r#"{"error":"option \"num_predict\" must be of type integer"}"#,
        ),
        (
            "/api/chat",
            r#"{"model":"gpt-oss:120b-cloud"}"#,
            "403",
            r#"{"error":"ollama cloud is disabled: remote model is unavailable"}"#,
        ),
        (
            "/api/embed",
            r#"{"model":"nope","input":"x"}"#,
            "404",
            r#"{"error":"model \"nope\" not found, try pulling it first"}"#,
        ),
        (
            "/v1/chat/completions",
            r#"{"model":"nope","messages":[{"content":"x"}]}"#,
            "404",
            "{\"error\":{\"message\":\"model 'nope' not found\",\"type\":\"not_found_error\",\"param\":null,\"code\":null}}\n",
        ),
    ];
    for (path, body, status, expected) in cases {
        let answer = post(standin.addr(), path, body).await;
        assert_eq!((answer.status(), answer.body.as_str()), (status, expected), "{path} {body}");
    }
    let body = r#"{"model":"nope","max_tokens":6,"messages":[{"content":"x"}]}"#;
    let answer = post(standin.addr(), "/v1/messages", body).await.json();
    assert_eq!(answer["error"]["type"], "not_found_error");
    assert!(answer["request_id"].as_str().unwrap().starts_with("req_"));
}

#[tokio::test]
async fn wrong_methods_unknown_paths_and_foreign_hosts_are_refused_as_ollama_does() {
    let standin = Standin::spawn(Config::default()).await.unwrap();
    let wrong = get(standin.addr(), "/api/chat").await;
    assert_eq!((wrong.status(), wrong.body.as_str()), ("405", "405 method not allowed"));
    assert!(wrong.head.contains("allow: POST"));
    assert_eq!(get(standin.addr(), "/api/nothing").await.body, "404 page not found");
    let head = send(standin.addr(), "HEAD", "/", "", "").await;
    assert!(head.head.contains("content-length: 17") && head.body.is_empty());
    let foreign = send(standin.addr(), "GET", "/api/tags", "origin: https://evil.example\r\n", "").await;
    assert_eq!((foreign.status(), foreign.body.as_str()), ("403", ""));
    let local = send(standin.addr(), "GET", "/api/tags", "origin: http://localhost:3000\r\n", "").await;
    assert_eq!(local.status(), "200");
}

#[tokio::test]
async fn openai_streams_have_role_chunks_a_finish_usage_on_demand_and_done() {
    let standin = Standin::spawn(Config::default()).await.unwrap();
    let body = r#"{"model":"standin","stream":true,"stream_options":{"include_usage":true},"max_tokens":3,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#;
    let answer = post(standin.addr(), "/v1/chat/completions", body).await;
    assert!(answer.head.contains("content-type: text/event-stream"));
    assert!(answer.body.ends_with("data: [DONE]\n\n"));
    let events = answer.events();
    assert_eq!(events.len(), 5);
    let said: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, text::answer(text::seed("hi"), 3));
    assert_eq!(events[3]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[4]["usage"]["completion_tokens"], 3);
    let body = body.replace(r#""stream":true,"#, "");
    let whole = post(standin.addr(), "/v1/chat/completions", &body).await;
    assert!(whole.head.contains("content-type: application/json\r\n"));
    assert_eq!(whole.json()["choices"][0]["message"]["content"], said);
}

#[tokio::test]
async fn the_other_dialects_stream_in_the_recorded_order() {
    let standin = Standin::spawn(Config::default()).await.unwrap();
    let body = r#"{"model":"standin","stream":true,"max_tokens":2,"messages":[{"role":"user","content":"hi"}]}"#;
    let kinds = |events: Vec<Value>| -> Vec<String> {
        events.iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let events = post(standin.addr(), "/v1/messages", body).await.events();
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(kinds(events), expected);
    let body = r#"{"model":"standin","stream":true,"max_output_tokens":1,"input":"hi"}"#;
    let events = post(standin.addr(), "/v1/responses", body).await.events();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds(events), expected);
    let body = r#"{"model":"standin","stream":true,"max_tokens":1,"prompt":"hi"}"#;
    let events = post(standin.addr(), "/v1/completions", body).await.events();
    assert_eq!(events[0]["object"], "text_completion");
}

#[tokio::test]
async fn lists_name_the_models_and_ps_only_the_resident_ones() {
    let models = vec![Model::named("one:1b"), Model::named("two")];
    let standin = Standin::spawn(Config { models, ..Config::default() }).await.unwrap();
    let tags = get(standin.addr(), "/api/tags").await.json();
    assert_eq!(tags["models"][1]["name"], "two:latest");
    let expected = ["details", "digest", "model", "modified_at", "name", "size"];
    let mut found = keys(&tags["models"][0]);
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(get(standin.addr(), "/api/ps").await.body, r#"{"models":[]}"#);
    let loaded = post(standin.addr(), "/api/chat", r#"{"model":"two","messages":[]}"#).await.json();
    assert_eq!(loaded["done_reason"], "load");
    assert_eq!(get(standin.addr(), "/api/ps").await.json()["models"][0]["name"], "two:latest");
    let unloaded = post(standin.addr(), "/api/generate", r#"{"model":"two","keep_alive":0}"#).await.json();
    assert_eq!(unloaded["done_reason"], "unload");
    assert_eq!(get(standin.addr(), "/v1/models/one:1b").await.json()["id"], "one:1b");
    assert!(post(standin.addr(), "/api/show", r#"{"model":"two"}"#).await.json()["model_info"].is_object());
}

#[tokio::test]
async fn embeddings_are_stable_and_cut_to_dimensions() {
    let standin = Standin::spawn(Config::default()).await.unwrap();
    let body = r#"{"model":"standin","input":["hello","world"],"dimensions":8}"#;
    let answer = post(standin.addr(), "/api/embed", body).await.json();
    assert_eq!(answer["embeddings"][1].as_array().unwrap().len(), 8);
    let legacy = post(standin.addr(), "/api/embeddings", r#"{"model":"standin","prompt":"hello"}"#).await.json();
    assert_eq!(legacy["embedding"].as_array().unwrap().len(), 64);
    let body = r#"{"model":"standin","input":"hello","dimensions":8,"encoding_format":"base64"}"#;
    let openai = post(standin.addr(), "/v1/embeddings", body).await.json();
    assert_eq!(openai["data"][0]["embedding"].as_str().unwrap().len(), 44);
}
