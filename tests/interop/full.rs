//! A machine whose every slot is taken: quickstart, a daemon beside it that may overflow, and requests
//! of our own that hold its stand-in's only slot and wait for it.
//!
//! So whoever comes is sent to the emulated Bedrock by the daemon's own verdict, at a soft deadline of
//! 0.9 s. Invariant: quickstart's own daemon has none of these models, so that the relay asks the
//! other one without being told.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use causeway_standin::{Config, Model, Running, Standin};
use causeway_tests::bedrock::{Call, Emulator, End};
use causeway_tests::edge::Edge;
use causeway_tests::patience::poll_until;
use causeway_tests::stack::{Api, Quickstart};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Longest that anything here takes; only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two tokens of every local model.
const GAP: Duration = Duration::from_millis(5);

/// Tokens of the answer that holds a slot: nine minutes.
const ENDLESS: u32 = 110_000;

/// Tokens of the answers from which the daemon learns how long one takes: a second.
const LESSON: u32 = 200;

/// Requests that wait for a slot. So many lessons last sixteen seconds, eighteen times the deadline.
const CROWD: u64 = 16;

/// Expected wait behind the queue at which nobody has any hope left, not even who is let in before all
/// the others: the lessons' sixteen seconds, and more than the soft deadline until the first slot is free.
const HOPELESS: Duration = Duration::from_millis(17_500);

/// Context of every local model, tokens: nothing that is asked here is too long for it.
const CONTEXT: usize = 128_000;

/// Requests that the stand-in keeps, the daemon's questions about models among them.
const KEPT: usize = 4_096;

/// The machine.
pub(crate) struct Full {
    pub(crate) stack: Quickstart,
    edge: Edge,
    standin: Running,
    bedrock: Emulator,
    _elsewhere: Running,
}

/// Holds one model's slot; dropped, it lets go a moment later.
pub(crate) struct Crowd {
    model: String,
    holder: Request,
    waiting: Vec<Request>,
}

/// A request under way, whose answer is read and thrown away.
struct Request(JoinHandle<anyhow::Result<()>>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Full {
    /// Starts it with these local models, which are at Bedrock what stands beside them, and lets the
    /// daemon learn how long their answers take.
    pub(crate) async fn open(models: &[(&str, &str)], bedrock: Emulator) -> anyhow::Result<Self> {
        let able = |name: &str| {
            let model = Model::named(name).able().thinking().paced(LESSON, Duration::ZERO, GAP);
            Model { context: CONTEXT, ..model }
        };
        let local = models.iter().map(|(local, _)| able(local)).collect();
        let standin = Standin::spawn(Config { models: local, record: KEPT, ..Config::default() }).await?;
        let other = Config { models: vec![Model::named("elsewhere")], ..Config::default() };
        let elsewhere = Standin::spawn(other).await?;
        let binary = Path::new(env!("CARGO_BIN_EXE_causeway-run"));
        let stack = Quickstart::start(binary, &["--ollama", &elsewhere.url()]).await?;
        let settings = settings(models, &bedrock.url());
        let edge = Edge::start(binary, &stack, &standin.url(), &settings).await?;
        let full = Self { stack, edge, standin, bedrock, _elsewhere: elsewhere };
        poll_until("the edge has its credentials", PATIENCE, async || {
            Ok((full.status().await?["faults"] == json!([])).then_some(()))
        })
        .await?;
        let lessons = models.iter().map(|(local, _)| full.teach(local));
        futures_util::future::try_join_all(lessons).await?;
        Ok(full)
    }

    /// Takes a model's slot, and fills the queue behind it until the daemon has no hope of a slot in time:
    /// its answer must have become longer than all that the daemon knows.
    pub(crate) async fn hold(&self, model: &str) -> anyhow::Result<Crowd> {
        let holder = self.request(model, ENDLESS);
        self.until(model, 1, 0).await?;
        let waiting = (0..CROWD).map(|_| self.request(model, LESSON)).collect();
        self.until(model, 1, CROWD).await?;
        poll_until("the expected wait is hopeless", PATIENCE, async || {
            let wait = self.model(model).await?["wait_ms"].as_u64().context("no wait_ms")?;
            Ok((Duration::from_millis(wait) >= HOPELESS).then_some(()))
        })
        .await?;
        Ok(Crowd { model: model.to_owned(), holder, waiting })
    }

    /// Gives the slot back, and waits until it is free.
    pub(crate) async fn release(&self, crowd: Crowd) -> anyhow::Result<()> {
        let Crowd { model, holder, waiting } = crowd;
        // Those behind first, or one of them would have the slot.
        drop(waiting);
        self.until(&model, 1, 0).await?;
        drop(holder);
        self.until(&model, 0, 0).await
    }

    /// Calls of Bedrock so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.bedrock.calls()
    }

    /// Those of this model, once they have ended: a client may know its answer's end a moment earlier.
    pub(crate) async fn ended_calls(&self, model: &str) -> anyhow::Result<Vec<Call>> {
        poll_until("the calls of Bedrock have ended", PATIENCE, async || {
            let calls: Vec<Call> = self.calls().into_iter().filter(|call| call.model == model).collect();
            Ok(calls.iter().all(|call| call.end.is_some()).then_some(calls))
        })
        .await
    }

    /// Bodies of the inference requests that reached the stand-in.
    pub(crate) fn local(&self) -> Vec<Value> {
        let seen = self.standin.requests().into_iter();
        let asked = seen.filter(|seen| matches!(seen.target.as_str(), "/api/chat" | "/api/generate"));
        asked.map(|seen| serde_json::from_slice(&seen.body).unwrap_or_default()).collect()
    }

    /// Fails unless every one of these calls was a valid one and ended as it should.
    pub(crate) fn check(calls: &[Call], breaks: bool) -> anyhow::Result<()> {
        for call in calls {
            let ended = match &call.end {
                Some(End::Whole) => !breaks,
                Some(End::Broken | End::Thrown(_)) => breaks,
                Some(End::ClientLeft | End::Refused(_) | End::Invalid(_)) | None => false,
            };
            ensure!(ended, "call {} of Bedrock ended {:?}: {}", call.number, call.end, call.body);
        }
        Ok(())
    }

    /// Fails unless as many requests went to Bedrock as it has seen, each for its predicted wait.
    pub(crate) async fn check_verdicts(&self) -> anyhow::Result<()> {
        let metrics = self.edge.status.get("/metrics").await?.text();
        let overflows = metrics.lines().filter(|line| line.contains("decision=\"overflow\""));
        let (mut predicted, mut others) = (0, Vec::new());
        for line in overflows {
            let count: usize = line.rsplit(' ').next().context("no number")?.parse()?;
            match line.contains("reason=\"predicted_wait\"") {
                true => predicted += count,
                false if count > 0 => others.push(line),
                false => {}
            }
        }
        ensure!(others.is_empty(), "left for another reason than the wait: {others:?}");
        ensure!(predicted == self.calls().len(), "{predicted} verdicts, {} calls", self.calls().len());
        Ok(())
    }

    /// A local answer of so many tokens, in the background.
    fn request(&self, model: &str, tokens: u32) -> Request {
        let request = local_only(&self.stack.api(), model, tokens);
        Request(tokio::spawn(async move {
            let mut response = request.send().await?;
            while response.chunk().await?.is_some() {}
            Ok(())
        }))
    }

    /// Three answers: what the daemon must know to predict anything.
    async fn teach(&self, model: &str) -> anyhow::Result<()> {
        for _ in 0..3 {
            let answer = local_only(&self.stack.api(), model, LESSON).send().await?;
            let status = answer.status();
            let said = answer.text().await?;
            ensure!(status == 200, "{model} cannot be taught: {status} {said}");
        }
        Ok(())
    }

    /// Waits until so many requests of this model run and wait.
    async fn until(&self, model: &str, running: u64, waiting: u64) -> anyhow::Result<()> {
        let what = format!("{running} of {model} run and {waiting} wait");
        poll_until(&what, PATIENCE, async || {
            let own = self.model(model).await?;
            Ok((own["in_flight"] == running && own["queued"] == waiting).then_some(()))
        })
        .await
    }

    /// What the edge's status says of one model.
    async fn model(&self, name: &str) -> anyhow::Result<Value> {
        let status = self.status().await?;
        let models = status["models"].as_array().context("no models")?;
        models.iter().find(|model| model["name"] == name).cloned().context("no such model")
    }

    async fn status(&self) -> anyhow::Result<Value> {
        Ok(self.edge.status.get("/api/status").await?.json())
    }
}

fn local_only(api: &Api, model: &str, tokens: u32) -> reqwest::RequestBuilder {
    let messages = json!([{"role": "user", "content": "Talk."}]);
    let body = json!({"model": model, "messages": messages, "think": false, "options": {"num_predict": tokens}});
    api.request("POST", "/api/chat", Some(&body)).header("x-causeway-route", "local-only")
}

fn settings(models: &[(&str, &str)], endpoint: &str) -> String {
    let head = format!(
        "[admission]\nfirst-token-ms = 900\n[overflow]\nenabled = true\nregion = \"us-east-1\"\nendpoint = \"{endpoint}\"\n\
         [overflow.budget]\ndaily-usd = 100.0\n"
    );
    let mapping = |(local, bedrock): &(&str, &str)| {
        format!(
            "[[overflow.model]]\nlocal = \"{local}\"\nbedrock = \"{bedrock}\"\nmax-tokens = 4096\n\
             usd-per-million = {{ input = 3, output = 15 }}\n"
        )
    };
    head + &models.iter().map(mapping).collect::<String>()
}
