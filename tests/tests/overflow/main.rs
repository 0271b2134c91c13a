//! Overflow to Bedrock from outside: caller, relay, daemon, a stand-in Ollama and an emulated Bedrock as
//! separate processes over real sockets and TLS.
//!
//! Every test ends by the emulator's looking for the canary in all that it was sent.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod bad_input;
mod cable;
mod documents;
mod everywhere;
mod failures;
mod kills;
mod privacy;
mod relay_side;
mod site;
mod verdicts;
mod whole;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use causeway_standin::{Config, Model, Running, Standin};
use causeway_tests::bedrock::{Call, Emulator, Script};
use causeway_tests::edge::{self, Edge};
use causeway_tests::patience::poll_until;
use causeway_tests::stack::{Answer, Api, Quickstart};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

/// Generous: only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tokens of an answer that ends only because its caller leaves.
const ENDLESS: u32 = 7_000;

const BEDROCK_ID: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

struct Way {
    stack: Quickstart,
    edge: Edge,
    standin: Running,
    bedrock: Arc<Emulator>,
    api: Api,
    /// What the edge's link to the relay runs over.
    cable: cable::Cable,
}

impl Way {
    /// One slot of `m`, and an edge that may overflow to an emulated Bedrock with 5 dollars a day.
    async fn open() -> Self {
        Self::with("m", "5.0", "").await
    }

    /// The same for models of this pattern, with this budget and these further settings.
    async fn with(pattern: &str, daily: &str, settings: &str) -> Self {
        Self::build(vec![paced("m"), paced("secret")], pattern, daily, settings, 0).await
    }

    /// The same with a hedge after so many milliseconds.
    async fn hedged(ms: u32) -> Self {
        Self::build(vec![paced("m")], "m", "5.0", "", ms).await
    }

    async fn build(models: Vec<Model>, pattern: &str, daily: &str, settings: &str, hedge: u32) -> Self {
        let bedrock = Arc::new(Emulator::start().await);
        bedrock.default_script(Script::text("from bedrock"));
        let config = Config { models, parallel: 64, record: 512, log_runs: true, ..Config::default() };
        let standin = Standin::spawn(config).await.unwrap();
        let mut stack = Quickstart::start(binary(), &["--ollama", &standin.url()]).await.unwrap();
        let cable = cable::Cable::before(&mut stack).await;
        let settings = format!(
            "[overflow]\nenabled = true\nregion = \"us-east-1\"\nendpoint = \"{}\"\nhedge-ms = {hedge}\n\
             [overflow.budget]\ndaily-usd = {daily}\n[[overflow.model]]\nlocal = \"{pattern}\"\nbedrock = \"{BEDROCK_ID}\"\n\
             max-tokens = 1000\nusd-per-million = {{ input = 3, output = 15 }}\n{settings}",
            bedrock.url()
        );
        // All it can say, so that it can be looked at for what it must not.
        let edge = Edge::start_logging(binary(), &stack, &standin.url(), &settings, "trace").await.unwrap();
        let api = stack.api();
        let way = Self { stack, edge, standin, bedrock, api, cable };
        way.until_credentials().await;
        way
    }

    /// The edge again, after its ledger was cut short.
    async fn with_damaged_ledger(mut self) -> Self {
        self.edge
            .restart(binary(), &self.api, |directory| {
                let ledger = directory.join("budget.sqlite");
                let whole = std::fs::read(&ledger).unwrap();
                std::fs::write(&ledger, &whole[..whole.len() / 2]).unwrap();
                // Whole pages may stand in its log.
                let _ = std::fs::remove_file(directory.join("budget.sqlite-wal"));
            })
            .await
            .unwrap();
        self
    }

    /// The edge again, with nothing that says who asks.
    async fn without_credentials(mut self) -> Self {
        self.edge.forget_credentials();
        self.edge.restart(binary(), &self.api, |_| {}).await.unwrap();
        self
    }

    /// Its credentials are found a moment after its start.
    async fn until_credentials(&self) {
        poll_until("the edge has its credentials", PATIENCE, async || {
            let faults = self.edge.status.get("/api/status").await?.json()["faults"].to_string();
            Ok((!faults.contains("credentials")).then_some(()))
        })
        .await
        .unwrap();
    }

    fn request(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.api.request("POST", path, Some(body)).header("x-causeway-edge", edge::NAME)
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        whole(self.request(path, body).send().await.unwrap()).await
    }

    async fn cloud_only(&self, path: &str, body: &Value) -> Answer {
        whole(self.request(path, body).header("x-causeway-route", "cloud-only").send().await.unwrap()).await
    }

    /// With a hard deadline that a busy slot cannot meet.
    async fn hurried(&self, path: &str, body: &Value) -> Answer {
        whole(self.request(path, body).header("x-causeway-first-token-ms", "1000").send().await.unwrap()).await
    }

    /// Takes the only slot of `m`, until the stream is dropped.
    async fn hold(&self) -> impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin + use<> {
        self.hold_of("m").await
    }

    /// The same of another model.
    async fn hold_of(&self, model: &str) -> impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin + use<> {
        let mut body = chat("hold");
        body["model"] = json!(model);
        body["options"] = json!({"num_predict": ENDLESS});
        let held = self.request("/api/chat", &body).header("x-causeway-route", "local-only");
        let response = held.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut stream = Box::pin(response.bytes_stream());
        stream.next().await.unwrap().unwrap();
        stream
    }

    /// Three answers: what the ledger must know to predict anything.
    async fn teach(&self) {
        self.teach_length(20).await;
    }

    /// The same with so many tokens each, at 10 ms a token.
    async fn teach_length(&self, tokens: u32) {
        for number in 0..3 {
            let mut body = chat(&format!("teach {number}"));
            body["options"] = json!({"num_predict": tokens});
            let request = self.request("/api/chat", &body);
            let answer = whole(request.header("x-causeway-route", "local-only").send().await.unwrap()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(header(&answer, "x-causeway-served-by"), Some("local"));
        }
    }

    /// Waits until the edge's own machine serves this model: it is loaded then.
    async fn until_served(&self, model: &str) {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "here?"}]});
        poll_until("the model is loaded and serves", PATIENCE, async || {
            let answer = self.request("/api/chat", &body).header("x-causeway-route", "local-only").send().await?;
            Ok((answer.status() == 200).then_some(()))
        })
        .await
        .unwrap();
    }

    async fn status(&self) -> Value {
        self.edge.status.get("/api/status").await.unwrap().json()
    }

    fn calls(&self) -> Vec<Call> {
        self.bedrock.assert_all_valid();
        self.bedrock.calls()
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_causeway-run"))
}

async fn whole(response: reqwest::Response) -> Answer {
    tokio::time::timeout(PATIENCE, Answer::read(response)).await.unwrap().unwrap()
}

/// Answers in a fifth of a second.
fn paced(name: &str) -> Model {
    Model::named(name).paced(20, Duration::ZERO, Duration::from_millis(10))
}

fn chat(prompt: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": prompt}]})
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// The text of an Ollama stream.
fn said(answer: &Answer) -> String {
    answer.lines().iter().filter_map(|line| line["message"]["content"].as_str().map(str::to_owned)).collect()
}
