//! What several files' tests begin with: a request as the relay opens it, a caller, a daemon's
//! shared state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway_policy::ModelSettings;
use causeway_transport::Received;
use causeway_wire::{Failure, Head, InstanceId, ModelInfo, Open, Outcome, Policy, SendRefused};
use tokio::sync::mpsc;

use crate::admission::{self, Chore, chores};
use crate::catalog::{self, Catalog};
use crate::config::{self, Ollama as Settings, OllamaUrl};
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::ollama::Ollama;
use crate::routes::Routes;
use crate::work::Work;
use causeway_overflow::Caller;
use causeway_overflow::Overflow;

/// A request that may run locally, without a deadline.
pub(crate) fn open(method: &str, path: &str, model: Option<&str>) -> Open {
    Open {
        edge_instance: InstanceId::new(1),
        method: method.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        model: model.map(str::to_owned),
        stream: None,
        policy: Policy::local(),
        key: "k1".to_owned(),
        traceparent: None,
        reply: None,
    }
}

/// A daemon's shared state before this Ollama, whose catalog nobody reads yet, and its tasks.
pub(crate) fn work_and_chores(url: OllamaUrl) -> (Arc<Work>, mpsc::Receiver<Chore>) {
    work_with(url, routes_of(""), None)
}

/// The same, with these routes and this second backend.
pub(crate) fn work_with(
    url: OllamaUrl,
    routes: Routes,
    overflow: Option<Arc<Overflow>>,
) -> (Arc<Work>, mpsc::Receiver<Chore>) {
    let settings = Settings { url, parallel: 1, models: vec!["*".to_owned()], overrides: Vec::new() };
    let admit = config::Admission {
        first_token: Duration::from_secs(4),
        queue_timeout: Duration::from_secs(300),
        queue_limit: 64,
        stream_heartbeat: Duration::from_secs(10),
        single_heartbeat: Duration::from_secs(50),
    };
    let ollama = Ollama::new(&settings.url).unwrap();
    let observer = Observer::new(Metrics::new().unwrap());
    Work::new(ollama, (settings, admit), (routes, overflow), Catalog::default(), observer)
}

/// Overflow of these models to a Bedrock at `endpoint`, as the configuration says it.
pub(crate) fn overflow_to(endpoint: &str, pattern: &str) -> String {
    format!(
        "[overflow]\nenabled = true\nregion = \"us-east-1\"\nendpoint = \"{endpoint}\"\n\
         [overflow.budget]\ndaily-usd = 5.0\n[[overflow.model]]\nlocal = \"{pattern}\"\n\
         bedrock = \"openai.gpt-oss-20b-1:0\"\nusd-per-million = {{ input = 1, output = 2 }}\n"
    )
}

/// The routes of a configuration that says this beside what it must.
pub(crate) fn routes_of(text: &str) -> Routes {
    let text = format!("[relay]\nurl = \"wss://relay.example.com/edge\"\n{text}");
    let config = config::Config::parse(&text, []).unwrap();
    Routes::new(config.privacy, config.overflow)
}

/// The same, with its admission at work.
pub(crate) fn work(url: OllamaUrl) -> Arc<Work> {
    let (work, chores) = work_and_chores(url);
    // Ends with the test's runtime.
    tokio::spawn(chores::run(Arc::clone(&work), chores));
    work
}

/// Lets the ledger know that Ollama has this model in memory.
pub(crate) fn is_resident(work: &Work, model: &str) {
    let settings = ModelSettings { parallel: 1, forced_one: false };
    let row = admission::Row { name: model, settings, context: None, wanted: None };
    work.admission.resident(crate::now(), crate::now(), [row].into_iter());
}

/// Waits until no slot is taken.
pub(crate) async fn all_slots_are_free(work: &Work) {
    let freed = async {
        while work.admission.total(crate::now()) > 0 {
            work.admission.load_changed.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed).await.expect("a slot was not given back");
}

/// What the catalog finds goes to the ledger alone.
pub(crate) struct ToLedger(pub(crate) Arc<Work>);

impl catalog::Listener for ToLedger {
    fn changed(&mut self, _: Vec<ModelInfo>) {}

    fn resident(&mut self, asked: Instant, rows: &[catalog::Row<'_>]) {
        let settings = ModelSettings { parallel: 1, forced_one: false };
        let rows = rows.iter().map(|&(name, _, context)| admission::Row { name, settings, context, wanted: None });
        self.0.admission.resident(crate::now(), asked, rows);
    }
}

/// What was done to a [`FakeCaller`].
#[derive(Debug)]
pub(crate) enum Sent {
    Head(Head),
    Body(Bytes),
    End(Option<Outcome>),
    Fail(Failure),
}

/// What a [`FakeCaller`] does once it has handed in what it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    Stays,
    /// It has left before that.
    HasLeft,
    /// As a fault in a session would.
    Panics,
}

/// A caller made of channels.
pub(crate) struct FakeCaller {
    pub(crate) received: mpsc::Receiver<Received>,
    pub(crate) sent: mpsc::Sender<Sent>,
    pub(crate) then: Then,
}

impl FakeCaller {
    fn note(&self, sent: Sent) {
        self.sent.try_send(sent).unwrap();
    }
}

impl Caller for FakeCaller {
    async fn recv(&mut self) -> Received {
        match self.received.recv().await {
            Some(received) => received,
            None if self.then == Then::Panics => panic!("as a test wants it"),
            None => std::future::pending().await,
        }
    }

    async fn over(&mut self) -> Received {
        match self.then {
            Then::HasLeft => Received::Cancelled("caller left".to_owned()),
            Then::Stays | Then::Panics => std::future::pending().await,
        }
    }

    fn send_head(&mut self, head: Head) {
        self.note(Sent::Head(head));
    }

    fn send_head_with(&mut self, head: Head, body: Bytes) -> Result<(), SendRefused> {
        self.send_head(head);
        self.send_now(body)
    }

    fn send_whole(&mut self, head: Head, body: Bytes, outcome: Outcome) -> Result<(), SendRefused> {
        self.send_head_with(head, body)?;
        self.finish(Some(outcome));
        Ok(())
    }

    fn send_now(&mut self, body: Bytes) -> Result<(), SendRefused> {
        self.note(Sent::Body(body));
        Ok(())
    }

    async fn send(&mut self, body: Bytes) -> Result<(), SendRefused> {
        self.sent.send(Sent::Body(body)).await.map_err(|_| SendRefused::Ended)
    }

    fn finish(&mut self, outcome: Option<Outcome>) {
        self.note(Sent::End(outcome));
    }

    fn fail(&mut self, failure: Failure) {
        self.note(Sent::Fail(failure));
    }
}
