//! What a request may say, and what its caller is told of what cannot be honoured.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_without_a_run() {
    let way = Way::open(vec![Model::named("m")]).await;
    let counted = way.post("/v1/messages/count_tokens", &chat("m", &"word ".repeat(100))).await;
    assert_eq!(counted.status, 200, "{}", counted.text());
    let tokens = counted.json()["input_tokens"].as_u64().unwrap();
    assert!((50..500).contains(&tokens), "{tokens}");
    assert!(way.ollama().runs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_honoured_is_named_and_refused_only_where_the_caller_is_strict() {
    let way = Way::open(vec![Model::named("m")]).await;
    let mut body = chat("m", "hello");
    body["logit_bias"] = json!({"1": 5});
    body["n"] = json!(2);
    let served = way.post("/v1/chat/completions", &body).await;
    assert_eq!(served.status, 200, "{}", served.text());
    let mut dropped: Vec<&str> = header(&served, "x-causeway-dropped").unwrap().split(", ").collect();
    dropped.sort_unstable();
    assert_eq!(dropped, ["logit_bias", "n"]);
    let runs = way.ollama().runs().len();
    let strict = way.request("/v1/chat/completions", &body).header("x-causeway-strict", "true").send().await.unwrap();
    let strict = whole(strict).await;
    assert_eq!(strict.status, 400, "{}", strict.text());
    assert_eq!(header(&strict, "x-causeway-reason"), Some("unsupported_parameter"));
    assert_eq!(header(&strict, "x-should-retry"), Some("false"));
    let error = strict.json()["error"].clone();
    assert_eq!(error["code"], "unsupported_parameter");
    assert!(error["message"].as_str().unwrap().contains("logit_bias"), "{error}");
    assert_eq!(way.ollama().runs().len(), runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_and_senseless_headers_are_refused_in_words() {
    let way = Way::open(vec![Model::named("m")]).await;
    let local_only = way.stack.another_key(&["--route", "local-only"]).await.unwrap();
    for api in [&way.api, &local_only] {
        let request = api.request("POST", "/api/chat", Some(&chat("m", "hello")));
        let refused = whole(request.header("x-causeway-route", "cloud-only").send().await.unwrap()).await;
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert_eq!(header(&refused, "x-causeway-reason"), Some("route_conflict"));
        assert_eq!(header(&refused, "x-should-retry"), Some("false"));
    }
    assert_eq!(local_only.post("/api/chat", chat("m", "hello")).await.unwrap().status, 200);
    for (name, value) in [
        ("x-causeway-first-token-ms", "0"),
        ("x-causeway-first-token-ms", "-1"),
        ("x-causeway-first-token-ms", "1e12"),
        ("x-causeway-first-token-ms", "1000000000000"),
        ("x-causeway-route", "nowhere"),
        ("x-causeway-priority", "urgent"),
        ("x-causeway-strict", "perhaps"),
    ] {
        let refused = way.request("/api/chat", &chat("m", "hello")).header(name, value).send().await.unwrap();
        let refused = whole(refused).await;
        assert_eq!(refused.status, 400, "{name}: {value}: {}", refused.text());
        assert_eq!(header(&refused, "x-causeway-reason"), Some("invalid_request"), "{name}: {value}");
        assert!(refused.json()["error"].as_str().unwrap().contains(name), "{}", refused.text());
    }
    assert_eq!(way.ollama().runs().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tools_pass() {
    let way = Way::open(vec![Model::named("m").able()]).await;
    let tool = |n: usize| {
        let parameters = json!({"type": "object", "properties": {"text": {"type": "string"}}});
        json!({"type": "function", "function": {"name": format!("tool_{n}"), "parameters": parameters}})
    };
    let mut body = chat("m", "Say hello.");
    body["tools"] = (0..200).map(tool).collect();
    for path in ["/api/chat", "/v1/chat/completions"] {
        let answer = way.post(path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let sent: Value = serde_json::from_slice(&way.seen("/api/chat").last().unwrap().body).unwrap();
        let names: Vec<&str> =
            sent["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
        let expected: Vec<String> = (0..200).map(|n| format!("tool_{n}")).collect();
        assert_eq!(names, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_utf_8_is_an_invalid_request_in_every_dialect() {
    let way = Way::open(vec![Model::named("m")]).await;
    for (path, body) in dialects("m", false) {
        let text = body.to_string();
        let (before, after) = text.split_once("hello").unwrap();
        let broken = [before.as_bytes(), b"\xff", after.as_bytes()].concat();
        let request = way.api.request("POST", path, None).header("content-type", "application/json").body(broken);
        let refused = whole(request.send().await.unwrap()).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text());
        assert_eq!(header(&refused, "x-causeway-reason"), Some("invalid_request"), "{path}");
        assert!(!refused.json()["error"].is_null(), "{path}: {}", refused.text());
    }
    assert!(way.ollama().runs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_is_not_found_in_the_form_of_each_dialect() {
    let way = Way::open(vec![Model::named("m")]).await;
    let vectors = [
        ("/api/embed", json!({"model": "nobody", "input": "x"})),
        ("/api/embeddings", json!({"model": "nobody", "prompt": "x"})),
        ("/v1/embeddings", json!({"model": "nobody", "input": "x"})),
        ("/v1/messages/count_tokens", json!({"model": "nobody", "messages": [{"role": "user", "content": "x"}]})),
    ];
    for (path, body) in dialects("nobody", true).into_iter().chain(vectors) {
        let refused = way.post(path, &body).await;
        assert_eq!(refused.status, 404, "{path}: {}", refused.text());
        assert_eq!(header(&refused, "x-causeway-reason"), Some("model_not_found"), "{path}");
        let object = refused.json();
        let message = if path.starts_with("/v1/") { &object["error"]["message"] } else { &object["error"] };
        assert!(message.as_str().is_some_and(|words| words.contains("nobody")), "{path}: {object}");
        if path.starts_with("/v1/messages") {
            assert_eq!((&object["type"], &object["error"]["type"]), (&json!("error"), &json!("not_found_error")));
        }
    }
    assert!(way.ollama().runs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_texts_are_embedded_in_order_sixteen_at_a_time() {
    let way = Way::open(vec![Model::named("m")]).await;
    let texts: Vec<String> = (0..40).map(|n| format!("text number {n}")).collect();
    let expected: Vec<Value> = texts.iter().map(|text| json!(text::embedding(text, 64))).collect();
    let native = way.post("/api/embed", &json!({"model": "m", "input": texts})).await;
    assert_eq!(native.status, 200, "{}", native.text());
    assert_eq!(native.json()["embeddings"], json!(expected));
    let openai = way.post("/v1/embeddings", &json!({"model": "m", "input": texts})).await;
    assert_eq!(openai.status, 200, "{}", openai.text());
    for (index, (row, vector)) in openai.json()["data"].as_array().unwrap().iter().zip(&expected).enumerate() {
        assert_eq!((&row["index"], &row["embedding"]), (&json!(index), vector));
    }
    let sizes: Vec<usize> = way
        .seen("/api/embed")
        .iter()
        .map(|seen| serde_json::from_slice::<Value>(&seen.body).unwrap()["input"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [16, 16, 8, 16, 16, 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_cannot_do_is_the_callers_error_in_every_dialect_and_not_worth_a_retry() {
    let way = Way::open(vec![Model::named("plain"), Model { writes: false, ..Model::named("embedder") }]).await;
    let function = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let tool = json!({"name": "f", "input_schema": {"type": "object"}});
    let flat = json!({"type": "function", "name": "f", "parameters": {"type": "object"}});
    let cannot = [
        ("/api/chat", json!({"tools": [function]}), "tools"),
        ("/api/chat", json!({"think": true}), "thinking"),
        ("/v1/chat/completions", json!({"tools": [function]}), "tools"),
        ("/v1/responses", json!({"tools": [flat]}), "tools"),
        ("/v1/messages", json!({"tools": [tool]}), "tools"),
        ("/api/generate", json!({"suffix": "end"}), "insert"),
    ];
    let mut asked: Vec<(&str, Value, &str)> = Vec::new();
    for stream in [false, true] {
        for (path, more, what) in &cannot {
            let (_, mut body) = dialects("plain", stream).into_iter().find(|(other, _)| other == path).unwrap();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            asked.push((path, body, what));
        }
        asked.extend(dialects("embedder", stream).into_iter().map(|(path, body)| (path, body, "")));
    }
    for (path, body, what) in asked {
        let refused = way.post(path, &body).await;
        let text = refused.text();
        assert_eq!(refused.status, 400, "{path}: {text}");
        assert_eq!(header(&refused, "x-should-retry"), Some("false"), "{path}");
        assert_eq!(header(&refused, "x-causeway-reason"), Some("invalid_request"), "{path}: {text}");
        assert!(text.contains("does not support") && text.contains(what), "{path}: {text}");
    }
}
