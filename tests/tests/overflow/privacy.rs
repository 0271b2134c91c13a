//! What must not leave the machine does not.

use causeway_tests::bedrock::CANARY;

use super::*;

/// A request whose text must stay here.
fn secret(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": CANARY}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_local_only_by_header_stays_here_when_the_machine_is_full_or_broken() {
    let way = Way::open().await;
    way.teach().await;
    let local = || way.request("/api/chat", &secret("m")).header("x-causeway-route", "local-only");
    assert_eq!(header(&whole(local().send().await.unwrap()).await, "x-causeway-served-by"), Some("local"));
    let held = way.hold().await;
    let refused = whole(local().header("x-causeway-first-token-ms", "300").send().await.unwrap()).await;
    assert!([503, 504].contains(&refused.status), "{}", refused.text());
    drop(held);
    way.standin.fail_next(2, causeway_standin::Fault::DieAfter(0));
    let broken = whole(local().send().await.unwrap()).await;
    assert_eq!(broken.status, 502, "{}", broken.text());
    assert!(way.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_or_the_owner_keeps_here_stays_here() {
    let settings = "[[privacy.model]]\nname = \"secret\"\nroute = \"local-only\"\n";
    let way = Way::with("*", "5.0", settings).await;
    let forbidden = way.cloud_only("/api/chat", &secret("secret")).await;
    assert_eq!(forbidden.status, 403, "{}", forbidden.text());
    assert_eq!(header(&way.post("/api/chat", &secret("secret")).await, "x-causeway-served-by"), Some("local"));
    let key = way.stack.another_key(&["--route", "local-only"]).await.unwrap();
    let pinned = |route: &'static str| {
        let request = key.request("POST", "/api/chat", Some(&secret("m"))).header("x-causeway-edge", edge::NAME);
        request.header("x-causeway-route", route)
    };
    assert_eq!(whole(pinned("cloud-only").send().await.unwrap()).await.status, 403);
    assert_eq!(header(&whole(pinned("auto").send().await.unwrap()).await, "x-causeway-served-by"), Some("local"));
    for path in ["/api/embed", "/v1/embeddings"] {
        let vectors = way.cloud_only(path, &json!({"model": "m", "input": CANARY})).await;
        assert_eq!(vectors.status, 403, "{path}: {}", vectors.text());
    }
    let cloud = way.cloud_only("/api/chat", &secret("m:cloud")).await;
    assert_eq!(cloud.status, 403, "{}", cloud.text());
    assert!(way.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_prompt_and_no_answer_is_logged_at_any_level() {
    let way = Way::open().await;
    way.bedrock.default_script(Script::text("an-answer-that-nobody-may-read"));
    let answer = way.cloud_only("/api/chat", &chat("a-prompt-that-nobody-may-read")).await;
    assert!(answer.text().contains("an-answer-that-nobody-may-read"), "{}", answer.text());
    let log = way.edge.log();
    assert!(log.contains("TRACE"), "it says all that it can");
    for secret in ["a-prompt-that-nobody-may-read", "an-answer-that-nobody-may-read", "of a test"] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_local_model_can_do_is_not_sent_elsewhere() {
    let way = Way::open().await;
    for extra in
        [json!({"suffix": "b"}), json!({"raw": true}), json!({"template": "{{ .Prompt }}"}), json!({"context": [1]})]
    {
        let mut body = json!({"model": "m", "prompt": CANARY});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = way.cloud_only("/api/generate", &body).await;
        assert_eq!(answer.status, 400, "{extra}: {}", answer.text());
        assert_eq!(header(&answer, "x-causeway-reason"), Some("unsupported_parameter"), "{extra}");
    }
    assert!(way.calls().is_empty());
}
