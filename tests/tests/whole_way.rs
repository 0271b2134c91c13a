//! Caller, relay, daemon and a stand-in Ollama as separate processes over real sockets and TLS.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use causeway_standin::{Config, Fault, Handle, Model, Running, Standin};
use causeway_tests::conformance;
use causeway_tests::stack::{Api, Quickstart};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// Generous: only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

struct Way {
    stack: Quickstart,
    standin: Running,
    api: Api,
}

impl Way {
    async fn open(models: Vec<Model>) -> Self {
        let config = Config { models, parallel: 64, record: 256, ..Config::default() };
        let standin = Standin::spawn(config).await.unwrap();
        let url = standin.url();
        let binary = Path::new(env!("CARGO_BIN_EXE_causeway-run"));
        let stack = Quickstart::start(binary, &["--ollama", &url, "--parallel", "64"]).await.unwrap();
        let api = stack.api();
        Self { stack, standin, api }
    }

    fn ollama(&self) -> &Handle {
        &self.standin
    }
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say hello."}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_conforms_through_the_relay_too() {
    let way = Way::open(vec![Model::named("standin:latest")]).await;
    conformance::check(&way.api, "standin:latest").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ollama_sees_its_own_host_and_nothing_of_the_callers_credentials() {
    let way = Way::open(vec![Model::named("m")]).await;
    way.ollama().clear();
    let answer = way
        .api
        .request("POST", "/api/chat", Some(&chat("M:Latest")))
        .header("origin", "https://evil.example")
        .header("cookie", "session=secret")
        .header("referer", "https://evil.example/page")
        .header("x-forwarded-for", "10.0.0.1")
        .header("host", "relay.example.com")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let requests = way.ollama().requests();
    let seen = requests.iter().find(|seen| seen.target == "/api/chat").unwrap();
    for (name, value) in &seen.headers {
        let name = name.to_ascii_lowercase();
        assert!(
            !["authorization", "x-api-key", "origin", "cookie", "referer", "x-forwarded-for"].contains(&name.as_str()),
            "{name}: {value}"
        );
        if name == "host" {
            assert!(value.starts_with("localhost") || value.starts_with("127.0.0.1"), "{value}");
        }
    }
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(body["model"], "m:latest");
    assert_eq!(body["messages"], chat("m")["messages"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn management_routes_never_reach_ollama_in_any_spelling() {
    let way = Way::open(vec![Model::named("m")]).await;
    way.ollama().clear();
    for (method, path) in [
        ("POST", "/api/pull"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("POST", "/api/push"),
        ("POST", "/api/blobs/sha256:00"),
        ("POST", "//api/pull"),
        ("POST", "/api/../api/delete"),
        ("POST", "/api/chat/../pull"),
        ("POST", "/./api/pull"),
        ("POST", "/api/%2e%2e/api/delete"),
        ("POST", "/api%2fpull"),
        ("POST", "/API/PULL"),
        ("GET", "/debug/pprof/"),
    ] {
        let status = way.api.status_of_target(method, path, &json!({"model": "m"})).await.unwrap();
        assert!([403, 404].contains(&status), "{method} {path}: {status}");
    }
    let reached: Vec<String> = way
        .ollama()
        .requests()
        .into_iter()
        .map(|seen| format!("{} {}", seen.method, seen.target))
        .filter(|line| !line.ends_with("/api/tags") && !line.ends_with("/api/ps") && !line.ends_with("/api/version"))
        .filter(|line| line != "GET /" && line != "HEAD /")
        .collect();
    assert!(reached.is_empty(), "{reached:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_frees_ollama_and_so_does_a_delete() {
    let slow = Model::named("slow").paced(10_000, Duration::ZERO, Duration::from_millis(20));
    let way = Way::open(vec![slow]).await;

    let response = way.api.request("POST", "/api/chat", Some(&chat("slow"))).send().await.unwrap();
    let mut stream = response.bytes_stream();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    until(&way, "the close reaches Ollama", |ollama| ollama.in_flight() == 0).await;

    let response = way
        .api
        .request("POST", "/api/chat", Some(&chat("slow")))
        .header("x-request-id", "my-own-id")
        .send()
        .await
        .unwrap();
    let mut stream = response.bytes_stream();
    stream.next().await.unwrap().unwrap();
    let deleted = way.api.call("DELETE", "/causeway/v1/requests/my-own-id", None).await.unwrap();
    assert!(deleted.status < 300, "{} {}", deleted.status, deleted.text());
    until(&way, "the delete reaches Ollama", |ollama| ollama.in_flight() == 0).await;
    let unknown = way.api.call("DELETE", "/causeway/v1/requests/nobodys", None).await.unwrap();
    assert_eq!(unknown.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_that_ollama_fails_is_a_clear_error_and_disturbs_no_one_else() {
    let models = vec![
        Model::named("healthy"),
        Model::named("status").failing(Fault::Status(500, "the runner stopped".to_owned())),
        Model::named("silent").failing(Fault::SilentAfter(0)),
        Model::named("dies").failing(Fault::DieAfter(3)),
        Model::named("ends").failing(Fault::EndAfter(3)),
        Model::named("endless").failing(Fault::EndlessLine),
        Model::named("forbidden").failing(Fault::Refuse),
    ];
    let way = Way::open(models).await;

    let status = way.api.post("/api/chat", chat("status")).await.unwrap();
    assert_eq!((status.status, status.json()["error"].as_str()), (503, Some("the runner stopped")));

    let silent = way
        .api
        .request("POST", "/api/chat", Some(&chat("silent")))
        .header("x-causeway-first-token-ms", "300")
        .send()
        .await
        .unwrap();
    assert_eq!(silent.status(), 504);

    let dies = way.api.post("/api/chat", chat("dies")).await.unwrap();
    let lines = dies.lines();
    assert_eq!(dies.status, 200);
    assert!(lines.last().unwrap()["error"].is_string(), "{}", dies.text());
    let mut sse = chat("dies");
    sse["stream"] = json!(true);
    let dies = way.api.post("/v1/chat/completions", sse).await.unwrap();
    assert!(dies.events().last().unwrap()["error"]["message"].is_string(), "{}", dies.text());

    let ends = way.api.post("/api/chat", chat("ends")).await.unwrap();
    assert!(ends.lines().last().unwrap()["error"].is_string(), "{}", ends.text());

    let endless = way.api.post("/api/chat", chat("endless")).await.unwrap();
    assert!(endless.text().trim_end().ends_with('}') && endless.text().contains("\"error\""));

    let forbidden = way.api.post("/api/chat", chat("forbidden")).await.unwrap();
    assert_eq!(forbidden.status, 503, "{}", forbidden.text());
    assert!(forbidden.text().contains("OLLAMA"), "{}", forbidden.text());

    let healthy = way.api.post("/api/chat", chat("healthy")).await.unwrap();
    assert_eq!(healthy.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_that_is_gone_is_local_unavailable() {
    let way = Way::open(vec![Model::named("m")]).await;
    let Way { stack: _stack, standin, api } = way;
    drop(standin);
    let answer = api.post("/api/chat", chat("m")).await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    let openai = api.post("/v1/chat/completions", chat("m")).await.unwrap();
    assert_eq!(openai.json()["error"]["code"], "local_unavailable", "{}", openai.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_of_the_daemon_cuts_none_of_fifty_streams() {
    terminate_with_streams(|stack| stack.ready.daemon_pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_of_the_relay_cuts_none_of_fifty_streams() {
    terminate_with_streams(|stack| stack.ready.relay_pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_of_quickstart_cuts_none_of_fifty_streams() {
    terminate_with_streams(|stack| stack.ready.pid).await;
}

async fn terminate_with_streams(whom: fn(&Quickstart) -> u32) {
    const TOKENS: u32 = 60;
    let paced = Model::named("paced").paced(TOKENS, Duration::ZERO, Duration::from_millis(25));
    let way = Way::open(vec![paced]).await;
    let mut answers = Vec::new();
    for _ in 0..50 {
        let response = way.api.request("POST", "/api/chat", Some(&chat("paced"))).send().await.unwrap();
        assert_eq!(response.status(), 200);
        answers.push(response);
    }
    let pid = whom(&way.stack).to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    for answer in answers {
        let body = tokio::time::timeout(PATIENCE, answer.text()).await.unwrap().unwrap();
        assert_eq!(body.lines().count() as u32, TOKENS + 1, "{body}");
        assert!(body.lines().last().unwrap().contains("\"done\":true"), "{body}");
    }
}

async fn until(way: &Way, what: &str, holds: impl FnMut(&Handle) -> bool) {
    assert!(tokio::time::timeout(PATIENCE, way.ollama().until(holds)).await.is_ok(), "never: {what}");
}
