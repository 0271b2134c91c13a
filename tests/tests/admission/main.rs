//! Who is served when, and what those who wait or are refused are told: caller, relay, daemon and a
//! stand-in Ollama as separate processes over real sockets and TLS.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod heartbeats;
mod requests;
mod waiting;

use std::path::Path;
use std::time::Duration;

use causeway_standin::{Config, Fault, Handle, Model, Running, Seen, Standin, text};
use causeway_tests::edge::{self, Edge};
use causeway_tests::patience::poll_until;
use causeway_tests::stack::{Answer, Api, Quickstart};
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

/// Generous: only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tokens of an answer that ends only because its caller leaves: over a minute, and within the
/// stand-in's context.
const ENDLESS: u32 = 7_000;

/// Signs of life after so short a silence that every waiting request gets one.
const HEARTBEATS: &str = "[admission]\nstream-heartbeat-ms = 20\nsingle-heartbeat-ms = 20";

struct Way {
    stack: Quickstart,
    edge: Option<Edge>,
    standin: Running,
    api: Api,
}

impl Way {
    /// Quickstart with one slot a model.
    async fn open(models: Vec<Model>) -> Self {
        let config = Config { models, parallel: 64, record: 512, log_runs: true, ..Config::default() };
        let standin = Standin::spawn(config).await.unwrap();
        let stack = Quickstart::start(binary(), &["--ollama", &standin.url()]).await.unwrap();
        let api = stack.api();
        Self { stack, edge: None, standin, api }
    }

    /// The same with a second edge of these settings, which takes all requests.
    async fn with(models: Vec<Model>, settings: &str) -> Self {
        let mut way = Self::open(models).await;
        let edge = Edge::start(binary(), &way.stack, &way.standin.url(), settings).await.unwrap();
        way.edge = Some(edge);
        way
    }

    fn ollama(&self) -> &Handle {
        &self.standin
    }

    fn request(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let request = self.api.request("POST", path, Some(body));
        if self.edge.is_some() { request.header("x-causeway-edge", edge::NAME) } else { request }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        whole(self.request(path, body).send().await.unwrap()).await
    }

    /// Takes the only slot of `model`, until the stream is dropped.
    async fn hold(&self, model: &str) -> impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin + use<> {
        let mut body = chat(model, "hold");
        body["options"] = json!({"num_predict": ENDLESS});
        let response = self.request("/api/chat", &body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut stream = Box::pin(response.bytes_stream());
        stream.next().await.unwrap().unwrap();
        stream
    }

    async fn live(&self) -> Vec<Value> {
        let status = self.edge.as_ref().map_or_else(|| self.stack.status(), |edge| edge.status.clone());
        let snapshot = status.get("/api/status").await.unwrap().json();
        snapshot["live"].as_array().unwrap().clone()
    }

    /// Waits until so many requests wait for a slot.
    async fn until_waiting(&self, count: usize) {
        poll_until("so many wait", PATIENCE, async || {
            let waiting = self.live().await.iter().filter(|live| live["state"] == "waiting").count();
            Ok((waiting == count).then_some(()))
        })
        .await
        .unwrap();
    }

    /// What reached the stand-in on this path.
    fn seen(&self, path: &str) -> Vec<Seen> {
        self.ollama().requests().into_iter().filter(|seen| seen.target == path).collect()
    }

    /// Three answers: what the ledger must know to predict anything.
    async fn teach(&self, model: &str) {
        for number in 0..3 {
            let answer = self.post("/api/chat", &chat(model, &format!("teach {number}"))).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_causeway-run"))
}

async fn whole(response: reqwest::Response) -> Answer {
    tokio::time::timeout(PATIENCE, Answer::read(response)).await.unwrap().unwrap()
}

fn chat(model: &str, prompt: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": prompt}]})
}

fn slow(name: &str) -> Model {
    Model::named(name).paced(20, Duration::ZERO, Duration::from_millis(10))
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// A request of each dialect and shape, with its path.
fn dialects(model: &str, stream: bool) -> Vec<(&'static str, Value)> {
    let said = json!([{"role": "user", "content": "Say hello."}]);
    vec![
        ("/api/chat", json!({"model": model, "messages": said, "stream": stream})),
        ("/api/generate", json!({"model": model, "prompt": "Say hello.", "stream": stream})),
        ("/v1/chat/completions", json!({"model": model, "messages": said, "stream": stream})),
        ("/v1/completions", json!({"model": model, "prompt": "Say hello.", "stream": stream})),
        ("/v1/responses", json!({"model": model, "input": "Say hello.", "stream": stream})),
        ("/v1/messages", json!({"model": model, "max_tokens": 16, "messages": said, "stream": stream})),
    ]
}
