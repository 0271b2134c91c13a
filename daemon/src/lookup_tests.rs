//! Questions about models against the stand-in.

use causeway_standin::{Config, Model, Running};
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;
use crate::config::OllamaUrl;
use crate::fixtures::{self, FakeCaller, Sent, Then};
use crate::gate;

async fn asked(method: &str, path: &str, body: &'static str) -> (u16, Value) {
    let config = Config { models: vec![Model::named("smol")], ..Config::default() };
    let standin: Running = causeway_standin::Standin::spawn(config).await.unwrap();
    let address = standin.addr();
    let (work, _chores) = fixtures::work_and_chores(OllamaUrl { host: address.ip().to_string(), port: address.port() });
    let open = fixtures::open(method, path, Some("smol:latest"));
    let plan = gate::judge(&open, &work.settings.models, &work.routes, |_| false).unwrap();
    let (request, received) = mpsc::channel(2);
    request.try_send(Received::Data(Bytes::from_static(body.as_bytes()))).unwrap();
    request.try_send(Received::End(None)).unwrap();
    let (sent, mut seen) = mpsc::channel(100);
    let caller = FakeCaller { received, sent, then: Then::Stays };
    look_up(Arc::clone(&work), Box::new(open), plan, "01ID".to_owned(), caller).await;
    assert_eq!(work.admission.total(now()), 0, "a question took a slot");
    let Some(Sent::Head(head)) = seen.recv().await else { panic!("no head") };
    let Some(Sent::Body(body)) = seen.recv().await else { panic!("no body") };
    (head.status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn show_leaves_without_the_owners_texts() {
    let (status, show) = asked("POST", "/api/show", "{\"model\":\"smol\"}").await;
    assert_eq!(status, 200);
    assert!(show["details"].is_object() && show.get("modelfile").is_none(), "{show}");
}

#[tokio::test]
async fn lists_and_the_version_are_passed_on() {
    assert_eq!(asked("GET", "/api/tags", "").await.1["models"][0]["name"], "smol:latest");
    assert!(asked("GET", "/api/version", "").await.1["version"].is_string());
}

#[tokio::test]
async fn tokens_are_counted_without_a_slot_and_without_ollama() {
    let body = "{\"model\":\"smol\",\"messages\":[{\"role\":\"user\",\"content\":\"count these words\"}]}";
    let (status, answer) = asked("POST", "/v1/messages/count_tokens", body).await;
    assert_eq!(status, 200);
    assert!(answer["input_tokens"].as_u64().is_some_and(|tokens| (1..100).contains(&tokens)), "{answer}");
}
