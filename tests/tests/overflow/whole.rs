//! Models that answer at once only (`streams = false`), and counts of tokens.

use causeway_tests::bedrock::{Count, ErrorName, Operation, Refusal};

use super::*;

const AT_ONCE: &str = "streams = false\n";

fn bodies(stream: bool) -> [(&'static str, Value); 6] {
    let messages = json!([{"role": "user", "content": "Say hello."}]);
    [
        ("/api/chat", json!({"model": "m", "messages": messages, "stream": stream})),
        ("/api/generate", json!({"model": "m", "prompt": "Say hello.", "stream": stream})),
        ("/v1/chat/completions", json!({"model": "m", "messages": messages, "stream": stream})),
        ("/v1/completions", json!({"model": "m", "prompt": "Say hello.", "stream": stream})),
        ("/v1/responses", json!({"model": "m", "input": "Say hello.", "stream": stream})),
        ("/v1/messages", json!({"model": "m", "max_tokens": 16, "messages": messages, "stream": stream})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dialect_gets_the_answer_of_a_model_that_does_not_stream_as_a_stream_and_at_once() {
    let way = Way::with("m", "5.0", AT_ONCE).await;
    for stream in [true, false] {
        for (path, body) in bodies(stream) {
            let answer = way.cloud_only(path, &body).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.text().contains("from bedrock"), "{path} {stream}: {}", answer.text());
            assert_eq!(header(&answer, "x-causeway-served-by"), Some("bedrock"), "{path}");
        }
    }
    let calls = way.calls();
    assert!(calls.len() == 12 && calls.iter().all(|call| call.operation == Operation::Converse));
}

#[tokio::test(flavor = "multi_thread")]
async fn thought_calls_and_counts_of_an_answer_at_once_are_told() {
    let way = Way::with("m", "5.0", AT_ONCE).await;
    let script = Script::new().think(["hm"], ["seal"]).say(["I look"]).call_tool("t1", "look", ["{\"at\":1}"]);
    way.bedrock.default_script(script.used(1_000, 50));
    let body = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "?"}],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}]});
    let answer = way.cloud_only("/v1/messages", &body).await.json();
    let content = &answer["content"];
    assert_eq!((&content[0]["thinking"], &content[0]["signature"]), (&json!("hm"), &json!("seal")), "{answer}");
    assert_eq!((&content[1]["text"], &content[2]["input"]), (&json!("I look"), &json!({"at": 1})), "{answer}");
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!((&answer["usage"]["input_tokens"], &answer["usage"]["output_tokens"]), (&json!(1_000), &json!(50)));
    let spent = way.status().await["overflow"]["budget"]["spent_usd"].as_f64().unwrap();
    assert!((spent - (1_000.0 * 3e-6 + 50.0 * 15e-6)).abs() < 1e-8, "{spent}");
    way.calls();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardrail_and_an_error_before_an_answer_at_once_are_told_as_in_a_stream() {
    let way = Way::with("m", "5.0", AT_ONCE).await;
    way.bedrock.script(Script::new().say(["one ", "two "]).guardrail_after(2, "blocked"));
    let answer = way.cloud_only("/v1/chat/completions", &chat("guarded")).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter", "{answer}");
    way.bedrock.script(Script::refuse(ErrorName::Throttling));
    assert_eq!(way.cloud_only("/api/chat", &chat("again")).await.status, 200);
    assert_eq!(way.calls().len(), 3, "a throttle is tried again");
    way.bedrock.script(Script::refuse(Refusal::new(ErrorName::AccessDenied, "no")));
    let denied = way.cloud_only("/api/chat", &chat("denied")).await;
    assert!(denied.status == 503 && denied.text().contains("denies access"), "{}", denied.text());
    assert_eq!(way.calls().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_by_bedrock_for_a_model_that_only_it_has_and_else_estimated() {
    let way = Way::with("elsewhere", "5.0", "").await;
    way.bedrock.count_tokens(Count::Tokens(4_711));
    let count = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Count me."}]});
        let answer = way.post("/v1/messages/count_tokens", &body).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        answer.json()["input_tokens"].as_u64().unwrap()
    };
    assert_eq!(count("elsewhere").await, 4_711);
    assert!(count("m").await < 100, "one of this machine's own is estimated");
    way.bedrock.count_tokens(Count::Refuse(ErrorName::Validation.into()));
    assert!(count("elsewhere").await < 100, "so is one that Bedrock does not count for");
    let calls = way.bedrock.calls();
    assert!(calls.len() == 2 && calls.iter().all(|call| call.operation == Operation::CountTokens), "{calls:?}");
}
