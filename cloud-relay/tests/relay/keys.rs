//! What keys may do, and what is kept of what they did.

use causeway_wire::{Backend, Outcome};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Answer, Edge, Relay, head, patiently, post, run, text, until};

const CHAT: &str = "{\"model\":\"m\",\"messages\":[],\"stream\":false}";

async fn linked(args: &[&str]) -> (Relay, String, Edge) {
    let relay = Relay::start();
    let key = relay.key(args).await;
    let edge = relay.edge("gpu-1", &["m:latest"], &key).await;
    (relay, key, edge)
}

/// What a command prints about this relay.
fn report(relay: &Relay, args: &[&str]) -> String {
    let config = relay.config.to_str().unwrap();
    let printed = run(&[args, &["--config", config]].concat());
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    text(&printed.stdout)
}

async fn answered(relay: &Relay, edge: &mut Edge, key: &str, more: &str) -> Answer {
    let serve = async {
        let (mut incoming, _) = edge.request().await;
        let outcome = Outcome {
            input_tokens: Some(3),
            output_tokens: Some(16),
            served_by: Some(Backend::Local),
            ..Outcome::default()
        };
        let body = "{\"done\":true}".to_owned().into();
        incoming.stream.send_whole(head(200, "application/json"), body, Some(outcome)).unwrap();
        incoming
    };
    let (answer, _incoming) = tokio::join!(relay.post_with("/api/chat", key, CHAT, more), serve);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

#[tokio::test]
async fn a_key_with_a_bound_has_no_more_requests_running_and_others_are_not_held_up() {
    let (relay, key, mut edge) = linked(&["--concurrent", "1"]).await;
    let free = relay.key(&[]).await;
    let mut socket = relay.connect().await;
    socket.write_all(post("/api/chat", &key, CHAT, "connection: close\r\n").as_bytes()).await.unwrap();
    let (mut incoming, _) = edge.request().await;
    let refused = relay.post("/v1/chat/completions", &key, CHAT).await;
    assert_eq!((refused.status, refused.header("x-causeway-reason")), (429, "rate_limited"));
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("1 requests running"), "{refused:?}");
    assert!(!refused.header("retry-after").is_empty());
    answered(&relay, &mut edge, &free, "").await;
    let body = "{\"done\":true}".to_owned().into();
    incoming.stream.send_whole(head(200, "application/json"), body, None).unwrap();
    assert_eq!(patiently(Answer::read(&mut socket)).await.status, 200);
    answered(&relay, &mut edge, &key, "").await;
}

#[tokio::test]
async fn a_key_with_a_rate_is_told_when_its_next_request_is_taken() {
    let (relay, key, mut edge) = linked(&["--rpm", "2"]).await;
    for _ in 0..2 {
        answered(&relay, &mut edge, &key, "").await;
    }
    let refused = relay.post("/api/chat", &key, CHAT).await;
    assert_eq!((refused.status, refused.header("x-causeway-reason")), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after-ms").parse().unwrap();
    assert!((20_000..=30_000).contains(&wait), "{wait}");
    let (listed, _) = tokio::join!(relay.get("/api/tags", &key), edge.answer(200, "{\"models\":[]}"));
    assert_eq!(listed.status, 200, "questions about models are not counted");
}

#[tokio::test]
async fn what_a_key_allows_reaches_the_edge_and_headers_only_narrow_it() {
    let (relay, key, mut edge) =
        linked(&["--route", "local-only", "--max-priority", "batch", "--min-first-token-ms", "900"]).await;
    let more = "x-causeway-route: auto\r\nx-causeway-priority: interactive\r\nx-causeway-first-token-ms: 300\r\n";
    let serve = async {
        let incoming = edge.answer(200, "{}").await;
        incoming.open.policy.clone()
    };
    let (answer, policy) = tokio::join!(relay.post_with("/api/chat", &key, CHAT, more), serve);
    assert_eq!(answer.status, 200);
    assert_eq!(policy.allow, [Backend::Local]);
    assert!(policy.batch && policy.hard);
    assert!((301..=900).contains(&policy.deadline_ms.unwrap()), "{policy:?}");
}

#[tokio::test]
async fn a_request_can_be_asked_about_while_it_runs_and_after_by_its_own_key_alone() {
    let (relay, key, mut edge) = linked(&[]).await;
    let other = relay.key(&[]).await;
    let mut socket = relay.connect().await;
    let more = "x-request-id: mine\r\nconnection: close\r\n";
    socket.write_all(post("/api/chat", &key, CHAT, more).as_bytes()).await.unwrap();
    let (mut incoming, _) = edge.request().await;
    let running = relay.get("/causeway/v1/requests/mine", &key).await;
    assert_eq!((running.status, running.json()["state"].as_str()), (200, Some("running")));
    assert_eq!(relay.get("/causeway/v1/requests/mine", &other).await.status, 404);
    incoming.stream.send_whole(head(200, "application/json"), "{}".to_owned().into(), None).unwrap();
    let id = patiently(Answer::read(&mut socket)).await.header("x-causeway-request-id").to_owned();
    for id in ["mine", id.as_str()] {
        until(async || {
            let told = relay.get(&format!("/causeway/v1/requests/{id}"), &key).await;
            assert_eq!(told.status, 200, "it is never unknown once its answer is there");
            told.json()["state"] == "ended"
        })
        .await;
        let told = relay.get(&format!("/causeway/v1/requests/{id}"), &key).await.json();
        assert_eq!((told["result"].as_str(), told["served_by"].as_str()), (Some("ok"), Some("local")), "{told}");
        assert_eq!(relay.get(&format!("/causeway/v1/requests/{id}"), &other).await.status, 404);
    }
}

#[tokio::test]
async fn usage_sums_what_was_answered_and_the_audit_says_what_was_not() {
    let (relay, key, mut edge) = linked(&[]).await;
    for _ in 0..3 {
        answered(&relay, &mut edge, &key, "").await;
    }
    assert_eq!(relay.post("/api/chat", &key, "{\"model\":\"nowhere\"}").await.status, 404);
    let id = key.split('_').nth(1).unwrap();
    let usage = || serde_json::from_str::<Value>(&report(&relay, &["usage", "--json"])).unwrap();
    until(async || usage()[0]["requests"] == 3).await;
    let sum = usage()[0].clone();
    assert_eq!((sum["of"].as_str(), sum["output_tokens"].as_u64()), (Some(id), Some(48)), "{sum}");
    let by_model = report(&relay, &["usage", "--by", "model"]);
    assert!(by_model.contains("m:latest") && by_model.contains("total"), "{by_model}");
    let scoped = relay.key(&["--models", "other"]).await;
    assert_eq!(relay.post("/api/chat", &scoped, CHAT).await.status, 403);
    let (broken, _) = tokio::join!(relay.post("/api/chat", &key, CHAT), edge.answer(500, "{\"error\":\"runner\"}"));
    assert_eq!(broken.status, 500);
    assert_eq!(relay.get("/causeway/v1/edges", &key).await.status, 403);
    assert_eq!(relay.post("/api/pull", &key, "{}").await.status, 403);
    let said = |what: &str| report(&relay, &["audit"]).contains(what);
    until(async || said("model_not_found") && said("model m:latest edge gpu-1")).await;
    until(async || said(&format!("route_not_allowed key {id}")) && said("route_not_allowed key - ")).await;
    assert!(said(&format!("forbidden_model key {} model m:latest", scoped.split('_').nth(1).unwrap())));
    assert!(usage()[0]["failed"] == 1, "an answer of 500 is a failure: {}", usage());
    let audit = report(&relay, &["audit"]);
    assert!(audit.contains("key_created") && audit.contains(id), "{audit}");
    let secret = key.rsplit('_').next().unwrap();
    assert!(!audit.contains(secret) && !audit.contains(" ok "), "{audit}");
}

#[tokio::test]
async fn the_last_requests_before_the_end_are_in_the_books() {
    let (mut relay, key, mut edge) = linked(&[]).await;
    answered(&relay, &mut edge, &key, "").await;
    relay.terminate();
    patiently(async {
        while relay.child.try_wait().unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let usage: Value = serde_json::from_str(&report(&relay, &["usage", "--by", "edge", "--json"])).unwrap();
    assert_eq!((usage[0]["of"].as_str(), usage[0]["requests"].as_u64()), (Some("gpu-1"), Some(1)));
}
