//! The relay asks Bedrock itself while no edge is there, and never otherwise.

use causeway_standin::Fault;
use causeway_tests::bedrock::{CANARY, End, ErrorName, Refusal};

use super::site::Site;
use super::*;

/// What an answer of the default script costs: 100 tokens in at 3 dollars a million, 20 out at 15.
const COST: f64 = 0.000_6;

fn is_about(expected: f64) -> impl Fn(f64) -> bool {
    move |usd| (usd - expected).abs() < 1e-9
}

fn secret(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": CANARY}]})
}

fn code(answer: &Answer) -> Option<&str> {
    header(answer, "x-causeway-reason")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dialect_is_answered_while_no_edge_is_linked_and_says_why_and_for_how_much() {
    let site = Site::deserted("5.0").await;
    let messages = json!([{"role": "user", "content": "Say hello."}]);
    for stream in [true, false] {
        for (path, body) in [
            ("/api/chat", json!({"model": "m", "messages": messages, "stream": stream})),
            ("/api/generate", json!({"model": "m", "prompt": "Say hello.", "stream": stream})),
            ("/v1/chat/completions", json!({"model": "m", "messages": messages, "stream": stream})),
            ("/v1/completions", json!({"model": "m", "prompt": "Say hello.", "stream": stream})),
            ("/v1/responses", json!({"model": "m", "input": "Say hello.", "stream": stream})),
            ("/v1/messages", json!({"model": "m", "max_tokens": 16, "messages": messages, "stream": stream})),
        ] {
            let answer = site.post(path, &body).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.text().contains("from bedrock"), "{path} {stream}: {}", answer.text());
            assert_eq!(header(&answer, "x-causeway-served-by"), Some("bedrock"), "{path}");
            assert_eq!(header(&answer, "x-causeway-model"), Some(BEDROCK_ID), "{path}");
            assert_eq!(code(&answer), Some("edge_offline"), "{path}");
            assert_eq!(header(&answer, "x-causeway-edge"), None, "{path}");
            let told = header(&answer, "x-causeway-cost-usd").map_or(answer.text(), str::to_owned);
            assert!(told.contains("0.0006"), "{path} {stream}: {told}");
        }
    }
    assert_eq!(site.calls(), 12);
    site.until_spent(is_about(12.0 * COST)).await;
    let audit = site.says(&["audit"]);
    assert_eq!(audit.matches("reason edge_offline").count(), 12, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_edge_keeps_at_home_or_nobody_has_offered_is_denied_also_after_a_restart() {
    let mut site = Site::deserted("5.0").await;
    for restarted in [false, true] {
        if restarted {
            site.restart_relay().await;
        }
        for model in ["secret", "never-seen", "m:cloud"] {
            let refused = site.post("/api/chat", &secret(model)).await;
            assert!([403, 503].contains(&refused.status), "{model}: {}", refused.text());
            assert_eq!(refused.status == 403, model == "m:cloud", "{model}: {}", refused.text());
        }
        let only = site.post_with("/api/chat", &secret("secret"), "x-causeway-route", "cloud-only").await;
        assert_eq!((only.status, code(&only)), (403, Some("route_conflict")), "{}", only.text());
        assert_eq!(header(&only, "x-should-retry"), Some("false"));
        let unseen = site.post_with("/api/chat", &secret("never-seen"), "x-causeway-route", "cloud-only").await;
        assert_eq!((unseen.status, code(&unseen)), (503, Some("edge_offline")), "{}", unseen.text());
    }
    assert_eq!(site.calls(), 0);
    poll_until("a model that may go is answered after the restart", PATIENCE, async || {
        Ok((site.post("/api/chat", &chat("again")).await.status == 200).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_or_a_header_keeps_at_home_stays_there() {
    let site = Site::deserted("5.0").await;
    for (name, value) in [("x-causeway-route", "local-only"), ("x-causeway-edge", edge::NAME)] {
        let refused = site.post_with("/api/chat", &secret("m"), name, value).await;
        assert_eq!((refused.status, code(&refused)), (503, Some("edge_offline")), "{name}: {}", refused.text());
    }
    let key = site.another_key(&["--route", "local-only"]).await;
    assert_eq!(key.post("/api/chat", secret("m")).await.unwrap().status, 503);
    for path in ["/api/embed", "/v1/embeddings"] {
        let refused = site.post(path, &json!({"model": "m", "input": CANARY})).await;
        assert_eq!(refused.status, 503, "{path}: {}", refused.text());
    }
    for extra in [json!({"suffix": "b"}), json!({"raw": true})] {
        let mut body = json!({"model": "m", "prompt": CANARY});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let refused = site.post("/api/generate", &body).await;
        assert_eq!((refused.status, code(&refused)), (503, Some("edge_offline")), "{}", refused.text());
        let only = site.post_with("/api/generate", &body, "x-causeway-route", "cloud-only").await;
        assert_eq!((only.status, code(&only)), (400, Some("unsupported_parameter")), "{}", only.text());
    }
    assert_eq!(site.calls(), 0);
    let answer = site.post("/api/chat", &chat("a-prompt-that-nobody-may-read")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let log = site.log("relay.log");
    assert!(log.contains("TRACE"), "it says all that it can");
    for hidden in ["a-prompt-that-nobody-may-read", "from bedrock", "of a test", CANARY] {
        assert!(!log.contains(hidden), "{hidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_relays_purse_nor_a_keys_cap_is_passed() {
    let site = Site::deserted("0.0001").await;
    let refused = site.post("/v1/chat/completions", &chat("dear")).await;
    assert_eq!((refused.status, code(&refused)), (429, Some("budget_exhausted")), "{}", refused.text());
    assert_eq!(site.calls(), 0);
    let site = Site::deserted("5.0").await;
    let nothing = site.another_key(&["--daily-usd", "0"]).await;
    let refused = nothing.post("/api/chat", chat("nothing")).await.unwrap();
    assert_eq!((refused.status, code(&refused)), (429, Some("budget_exhausted")), "{}", refused.text());
    assert_eq!(site.calls(), 0);
    let capped = site.another_key(&["--daily-usd", "1"]).await;
    let answer = capped.post("/api/chat", chat("capped")).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    site.until_spent(is_about(COST)).await;
    let id = header(&answer, "x-causeway-request-id").unwrap();
    let told = capped.get(&format!("/causeway/v1/requests/{id}")).await.unwrap().json();
    assert_eq!((told["served_by"].as_str(), told["edge"].as_str()), (Some("bedrock"), None), "{told}");
    assert_eq!(told["reason"], "edge_offline");
    assert!(is_about(COST)(told["cost_usd"].as_f64().unwrap()), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_edge_is_linked_and_full_nothing_goes_there() {
    let site = Site::open("5.0").await;
    let mut endless = chat("hold");
    endless["options"] = json!({"num_predict": ENDLESS});
    let held = site.api().request("POST", "/api/chat", Some(&endless)).send().await.unwrap();
    let mut held = Box::pin(held.bytes_stream());
    held.next().await.unwrap().unwrap();
    let hurried = site.post_with("/api/chat", &chat("hurry"), "x-causeway-first-token-ms", "300").await;
    assert!([503, 504].contains(&hurried.status), "{}", hurried.text());
    assert_eq!(site.calls(), 0);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_link_is_lost_while_it_may_be_in_a_call_is_not_asked_here_too() {
    // It could spend at the edge: it may be in a call there.
    let mut site = Site::with_slots("5.0", 2).await;
    site.standin.fail_next(1, Fault::SilentAfter(0));
    let body = chat("with money");
    let request = site.api().request("POST", "/api/chat", Some(&body)).header("x-causeway-first-token-ms", "6000");
    let waiting = tokio::spawn(request.send());
    poll_until("it runs", PATIENCE, async || Ok((site.standin.runs().len() == 1).then_some(()))).await.unwrap();
    site.kill_edge();
    let answer = whole(waiting.await.unwrap().unwrap()).await;
    assert_eq!((answer.status, site.calls()), (504, 0), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_or_cancels_ends_its_call_which_is_settled() {
    let site = Site::deserted("5.0").await;
    let key = site.another_key(&["--daily-usd", "1"]).await;
    site.bedrock.script(Script::tokens(2_000).token_every(Duration::from_millis(20)));
    let left = key.request("POST", "/api/chat", Some(&chat("leaves"))).send().await.unwrap();
    let mut left = Box::pin(left.bytes_stream());
    left.next().await.unwrap().unwrap();
    drop(left);
    let calls = site.bedrock.wait_for_ended(1).await;
    assert_eq!(calls[0].end, Some(End::ClientLeft));
    // Its grant is a twentieth of a dollar; what was seen of it costs far less.
    site.until_spent(|usd| usd > 0.0 && usd < 0.03).await;
    site.bedrock.script(Script::text("late").first_token_after(PATIENCE));
    let body = chat("cancelled");
    let waiting = site.api().request("POST", "/api/chat", Some(&body)).header("x-request-id", "mine");
    let waiting = tokio::spawn(waiting.send());
    site.bedrock.wait_for_calls(2).await;
    let deleted = site.api().call("DELETE", "/causeway/v1/requests/mine", None).await.unwrap();
    assert!(deleted.status < 300, "{}", deleted.text());
    let cancelled = whole(waiting.await.unwrap().unwrap()).await;
    assert_eq!(code(&cancelled), Some("cancelled"), "{}", cancelled.text());
    assert_eq!(site.bedrock.wait_for_ended(2).await[1].end, Some(End::ClientLeft));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_deadline_holds_here_too() {
    let site = Site::deserted("5.0").await;
    for stream in [true, false] {
        site.bedrock.script(Script::text("late").first_token_after(PATIENCE));
        let mut body = chat("hurry");
        body["stream"] = json!(stream);
        let late = site.post_with("/api/chat", &body, "x-causeway-first-token-ms", "400").await;
        assert_eq!((late.status, code(&late)), (504, Some("deadline_exceeded")), "{}", late.text());
    }
    assert_eq!(site.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_at_bedrock_is_tried_again_or_told_in_the_callers_dialect() {
    let site = Site::deserted("5.0").await;
    site.bedrock.script(Script::refuse(Refusal::too_many_tokens()));
    let again = site.post("/api/chat", &chat("again")).await;
    assert_eq!((again.status, said(&again).as_str()), (200, "from bedrock"), "{}", again.text());
    assert_eq!(site.calls(), 2);
    site.bedrock.script(Script::refuse(Refusal::new(ErrorName::AccessDenied, "no access")));
    let body = json!({"model": "m", "max_tokens": 5, "messages": chat("x")["messages"]});
    let denied = site.post("/v1/messages", &body).await;
    assert_eq!((denied.status, denied.json()["type"].as_str()), (503, Some("error")), "{}", denied.text());
    site.bedrock.script(Script::new().say(["one ", "two "]).truncate_after(3));
    let broken = site.post("/api/chat", &chat("broken")).await;
    let last = broken.lines().pop().unwrap();
    assert!(broken.status == 200 && last["error"].is_string(), "{}", broken.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_drains_lets_its_own_answers_end() {
    let mut site = Site::deserted("5.0").await;
    site.bedrock.script(Script::tokens(40).token_every(Duration::from_millis(50)).used(100, 40));
    let slow = site.api().request("POST", "/api/chat", Some(&chat("slow"))).send().await.unwrap();
    site.end_relay();
    let answer = whole(slow).await;
    assert_eq!(answer.lines().pop().unwrap()["done"], true, "{}", answer.text());
    site.until_relay_ends().await;
    site.until_spent(is_about(100.0 * 3e-6 + 40.0 * 15e-6)).await;
}
