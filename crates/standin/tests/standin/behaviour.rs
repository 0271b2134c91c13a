//! Waits, cancels, faults and what can be observed of them.

use std::time::Duration;

use crate::common::{get, open, post, send};
use causeway_standin::{Config, Fault, Handle, Model, Running, Standin, text};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// Generous: only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

const CHAT: &str = r#"{"model":"standin","messages":[{"role":"user","content":"hello"}]}"#;

async fn slow(gap: Duration) -> Running {
    let models = vec![Model::named("standin").paced(10_000, Duration::ZERO, gap)];
    Standin::spawn(Config { models, digest: true, ..Config::default() }).await.unwrap()
}

async fn until(standin: &Running, what: &str, holds: impl FnMut(&Handle) -> bool) {
    assert!(timeout(PATIENCE, standin.until(holds)).await.is_ok(), "never: {what}");
}

#[tokio::test]
async fn a_client_that_leaves_midway_frees_its_slot_and_is_seen() {
    let standin = slow(Duration::from_millis(5)).await;
    let mut stream = open(standin.addr(), "POST", "/api/chat", "", CHAT).await;
    let mut some = [0; 1024];
    assert!(stream.read(&mut some).await.unwrap() > 0);
    assert_eq!(standin.slots_in_use("standin"), 1);
    drop(stream);
    until(&standin, "the cancel is seen", |standin| standin.cancels().len() == 1).await;
    let cancel = standin.cancels()[0];
    assert_eq!(cancel.seed, text::seed("hello"));
    assert!(cancel.tokens >= 1 && cancel.tokens < 10_000);
    assert_eq!((standin.slots_in_use("standin"), standin.in_flight()), (0, 0));
}

#[tokio::test]
async fn a_request_beyond_the_slots_waits_without_a_byte_and_may_leave() {
    let standin = slow(Duration::from_millis(5)).await;
    let mut first = open(standin.addr(), "POST", "/api/chat", "", CHAT).await;
    let mut some = [0; 1024];
    assert!(first.read(&mut some).await.unwrap() > 0);
    let mut second = open(standin.addr(), "POST", "/api/chat", "", CHAT).await;
    until(&standin, "both are here", |standin| standin.in_flight() == 2).await;
    // Ten further tokens of the first answer bring no byte of the second.
    let mut none = [0; 1];
    for _ in 0..10 {
        tokio::select! {
            biased;
            _ = second.read(&mut none) => panic!("the second has a byte"),
            read = first.read(&mut some) => assert!(read.unwrap() > 0),
        }
    }
    drop(second);
    until(&standin, "the waiting one is seen to leave", |standin| standin.cancels().len() == 1).await;
    assert_eq!(standin.cancels()[0].tokens, 0);
    assert_eq!(standin.max_in_flight(), 2);
}

#[tokio::test]
async fn the_digest_of_an_answer_is_that_of_its_bytes() {
    let standin = Standin::spawn(Config { digest: true, ..Config::default() }).await.unwrap();
    let answer = post(standin.addr(), "/api/chat", CHAT).await;
    let expected = text::digest(text::OFFSET, answer.body.as_bytes());
    assert_eq!(standin.take_digest(text::seed("hello")), Some(expected));
    assert_eq!(standin.served(), 1);
}

#[tokio::test]
async fn faults_happen_on_demand_and_only_as_often_as_asked() {
    let standin = Standin::spawn(Config::default()).await.unwrap();
    standin.fail_next(1, Fault::Status(500, "model runner has unexpectedly stopped".to_owned()));
    let failed = post(standin.addr(), "/api/chat", CHAT).await;
    assert_eq!(failed.status(), "500");
    assert_eq!(failed.body, r#"{"error":"model runner has unexpectedly stopped"}"#);
    standin.fail_next(1, Fault::DieAfter(3));
    let dead = open(standin.addr(), "POST", "/api/chat", "", CHAT).await;
    let mut raw = Vec::new();
    let mut dead = dead;
    let _ = dead.read_to_end(&mut raw).await;
    let raw = String::from_utf8(raw).unwrap();
    assert!(raw.matches("\"done\":false").count() == 3 && !raw.ends_with("0\r\n\r\n"));
    standin.fail_next(1, Fault::EndAfter(2));
    assert_eq!(post(standin.addr(), "/api/chat", CHAT).await.lines().len(), 2);
    standin.fail_next(1, Fault::ErrorAfter(2));
    let lines = post(standin.addr(), "/api/chat", CHAT).await.lines();
    assert!(lines[2]["error"].is_string());
    standin.fail_next(1, Fault::Refuse);
    assert_eq!(post(standin.addr(), "/api/chat", CHAT).await.status(), "403");
    assert_eq!(post(standin.addr(), "/api/chat", CHAT).await.lines().len(), 17);
    assert!(standin.cancels().is_empty());
}

#[tokio::test]
async fn an_endless_line_grows_until_the_client_leaves() {
    let models = vec![Model::named("standin").failing(Fault::EndlessLine)];
    let standin = Standin::spawn(Config { models, ..Config::default() }).await.unwrap();
    let mut stream = open(standin.addr(), "POST", "/api/chat", "", CHAT).await;
    let mut buffer = vec![0; 1 << 20];
    stream.read_exact(&mut buffer).await.unwrap();
    drop(stream);
    until(&standin, "the cancel is seen", |standin| standin.cancels().len() == 1).await;
}

#[tokio::test]
async fn requests_are_kept_with_headers_and_body_when_asked_for() {
    let standin = Standin::spawn(Config { record: 2, ..Config::default() }).await.unwrap();
    for _ in 0..3 {
        send(standin.addr(), "POST", "/api/chat?x=1", "authorization: Bearer canary\r\n", CHAT).await;
    }
    let seen = standin.requests();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("POST", "/api/chat?x=1"));
    assert!(seen[0].headers.iter().any(|(name, value)| name == "authorization" && value == "Bearer canary"));
    assert_eq!(seen[0].body, CHAT.as_bytes());
}

#[tokio::test]
async fn a_held_load_keeps_its_request_waiting_and_a_released_one_answers_it() {
    let standin = Standin::spawn(Config::default()).await.unwrap();
    standin.hold_loads(true);
    let load = r#"{"model":"standin","prompt":""}"#;
    let mut stream = open(standin.addr(), "POST", "/api/generate", "", load).await;
    // The list is answered meanwhile, on a connection that was opened later.
    assert_eq!(get(standin.addr(), "/api/ps").await.body, r#"{"models":[]}"#);
    let mut none = [0; 1];
    let early = tokio::select! {
        biased;
        _ = stream.read(&mut none) => true,
        () = std::future::ready(()) => false,
    };
    assert!(!early, "a held load was answered");
    standin.hold_loads(false);
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8(answer).unwrap().contains(r#""done_reason":"load""#));
    assert_eq!(get(standin.addr(), "/api/ps").await.json()["models"][0]["name"], "standin:latest");
}

#[tokio::test]
async fn runs_are_logged_in_the_order_of_their_ends_when_asked_for() {
    let standin = Standin::spawn(Config { log_runs: true, ..Config::default() }).await.unwrap();
    for _ in 0..2 {
        post(standin.addr(), "/api/chat", CHAT).await;
    }
    let runs = standin.runs();
    assert_eq!((runs.len(), runs[0].seed, runs[0].tokens), (2, text::seed("hello"), 16));
    for run in &runs {
        assert!(run.came <= run.began.unwrap() && run.began.unwrap() <= run.ended);
    }
    assert!(runs[0].ended <= runs[1].came);
}
