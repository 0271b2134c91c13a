//! Signs of life while a request waits, and the ends that can follow them.

use super::*;

/// Sends it while the slot is taken; its first bytes are a sign of life, which are given back.
async fn while_waiting(
    way: &Way,
    path: &str,
    body: &Value,
) -> (String, impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin + use<>) {
    let response = tokio::time::timeout(PATIENCE, way.request(path, body).send()).await.unwrap().unwrap();
    assert_eq!(response.status(), 200, "{path}");
    assert!(response.headers().get("x-causeway-served-by").is_none(), "{path}: it was not known yet");
    let mut stream = Box::pin(response.bytes_stream());
    let first = stream.next().await.unwrap().unwrap();
    (String::from_utf8(first.to_vec()).unwrap(), stream)
}

async fn rest(mut stream: impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin) -> String {
    let mut all = Vec::new();
    while let Some(piece) = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap() {
        all.extend_from_slice(&piece.unwrap());
    }
    String::from_utf8(all).unwrap()
}

/// The form of a sign of life, exactly; a slow reader finds several at once.
fn assert_signs_of_life(path: &str, first: &str) {
    match path {
        "/api/chat" | "/api/generate" => {
            assert!(first.ends_with('\n'), "{first}");
            for line in first.lines() {
                let mut line: Value = serde_json::from_str(line).unwrap();
                let created = line.as_object_mut().unwrap().shift_remove("created_at").unwrap();
                assert!(created.as_str().unwrap().ends_with('Z'), "{first}");
                let expected = match path {
                    "/api/chat" => {
                        json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": false})
                    }
                    _ => json!({"model": "m", "response": "", "done": false}),
                };
                assert_eq!(line, expected, "{path}");
            }
        }
        "/v1/messages" => {
            let (start, pings) = first.split_once("\n\n").unwrap();
            assert!(start.starts_with("event: message_start\ndata: {\"type\":\"message_start\","), "{first}");
            assert_repeats(pings, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
        }
        _ => assert_repeats(first, ": keep-alive\n\n"),
    }
}

fn assert_repeats(text: &str, unit: &str) {
    assert!(!text.is_empty() && text.replace(unit, "").is_empty(), "{text:?}");
}

/// What `x_causeway` says at the end of an answer: in the last object, or in a comment of the stream.
fn told_at_the_end(path: &str, answer: &str) -> Value {
    let comment = answer.lines().filter_map(|line| line.strip_prefix(": x_causeway ")).next_back();
    match comment {
        Some(comment) => serde_json::from_str(comment).unwrap(),
        None => {
            let last = answer.trim().lines().next_back().unwrap();
            let last: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"));
            last["x_causeway"].clone()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_waits_gets_signs_of_life_in_its_dialect_and_then_its_answer() {
    let way = Way::with(vec![slow("m")], HEARTBEATS).await;
    for (path, body) in dialects("m", true) {
        let held = way.hold("m").await;
        let (first, stream) = while_waiting(&way, path, &body).await;
        assert_signs_of_life(path, &first);
        drop(held);
        let answer = rest(stream).await;
        assert!(!answer.lines().any(|line| line.trim().is_empty()) || path.starts_with("/v1/"), "{path}: {answer}");
        let end = match path {
            "/api/chat" | "/api/generate" => "\"done\":true",
            "/v1/messages" => "event: message_stop",
            "/v1/responses" => "response.completed",
            _ => "data: [DONE]",
        };
        assert!(answer.contains(end), "{path}: {answer}");
        let told = told_at_the_end(path, &answer);
        assert_eq!((&told["served_by"], &told["model"]), (&json!("local"), &json!("m:latest")), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_answer_that_waits_gets_leading_spaces_and_is_then_one_object() {
    let way = Way::with(vec![slow("m")], HEARTBEATS).await;
    let vectors = ("/api/embed", json!({"model": "m", "input": "the sky"}));
    for (path, body) in dialects("m", false).into_iter().chain([vectors]) {
        let held = way.hold("m").await;
        let (first, stream) = while_waiting(&way, path, &body).await;
        assert_repeats(&first, " ");
        drop(held);
        let answer = rest(stream).await;
        let object: Value = serde_json::from_str(answer.trim_start_matches(' ')).unwrap();
        assert_eq!(object["x_causeway"]["served_by"], "local", "{path}: {answer}");
        assert!(object["error"].is_null(), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_a_sign_of_life_comes_in_the_dialects_own_form_with_its_reason() {
    let way = Way::with(vec![slow("m")], HEARTBEATS).await;
    for stream in [true, false] {
        for (path, body) in dialects("m", stream) {
            let held = way.hold("m").await;
            let (_, answer) = while_waiting(&way, path, &body).await;
            way.ollama().fail_next(1, Fault::Status(500, "the runner stopped".to_owned()));
            drop(held);
            let answer = rest(answer).await;
            let told = told_at_the_end(path, &answer);
            assert_eq!(told["reason"], "local_unavailable", "{path}, stream {stream}: {answer}");
            assert_own_error(path, stream, &answer);
            // One that is well between them: a runner that fails again and again is left alone for a while.
            assert_eq!(way.post("/api/chat", &chat("m", "well")).await.status, 200);
        }
    }
}

/// An error with Ollama's words, in the form of the path's dialect.
fn assert_own_error(path: &str, stream: bool, answer: &str) {
    let data = |line: &str| line.strip_prefix("data: ").filter(|data| *data != "[DONE]").map(str::to_owned);
    let last = if stream && path.starts_with("/v1/") {
        answer.lines().filter_map(data).next_back().unwrap()
    } else {
        answer.trim().lines().next_back().unwrap().to_owned()
    };
    let last: Value = serde_json::from_str(&last).unwrap();
    let message = match path {
        "/api/chat" | "/api/generate" => &last["error"],
        "/v1/responses" if stream => {
            assert_eq!(last["type"], "response.failed", "{answer}");
            &last["response"]["error"]["message"]
        }
        "/v1/messages" => {
            assert_eq!(last["type"], "error", "{answer}");
            assert!(!stream || answer.contains("event: error\n"), "{answer}");
            &last["error"]["message"]
        }
        _ => &last["error"]["message"],
    };
    assert!(message.as_str().is_some_and(|message| message.contains("the runner stopped")), "{path}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_after_a_sign_of_life_never_reaches_ollama() {
    let way = Way::with(vec![slow("m")], HEARTBEATS).await;
    let _held = way.hold("m").await;
    for (path, body) in dialects("m", true) {
        let (_, stream) = while_waiting(&way, path, &body).await;
        way.until_waiting(1).await;
        drop(stream);
        way.until_waiting(0).await;
    }
    let reached =
        way.ollama().requests().into_iter().any(|seen| String::from_utf8_lossy(&seen.body).contains("Say hello."));
    assert!(!reached, "a request whose caller had left was sent");
}
