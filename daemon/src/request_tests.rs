//! Requests against the stand-in: what reaches it, and that each is accounted once.

use causeway_standin::{Config, Model, Running as Standin};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::catalog;
use crate::config::OllamaUrl;
use crate::fixtures::{self, FakeCaller, Sent, Then, work};
use crate::observe::Record;

/// Generous: only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

const CHAT: &str = "/api/chat";

const BODY: &[u8] = b"{\"model\":\"m\",\"max_tokens\":99999,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

fn nowhere() -> OllamaUrl {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    OllamaUrl { host: free.ip().to_string(), port: free.port() }
}

async fn standin(models: &[Model]) -> (Standin, Arc<Work>) {
    let config = Config { models: models.to_vec(), record: 100, ..Config::default() };
    let standin = causeway_standin::Standin::spawn(config).await.unwrap();
    let address = standin.addr();
    (standin, work(OllamaUrl { host: address.ip().to_string(), port: address.port() }))
}

fn poll(work: &Arc<Work>) -> JoinHandle<()> {
    let (ollama, settings) = (work.ollama.clone(), work.settings.clone());
    let listener = fixtures::ToLedger(Arc::clone(work));
    tokio::spawn(catalog::poll(ollama, settings, work.routes.clone(), work.catalog.clone(), listener))
}

fn open(path: &str, model: &str) -> Box<Open> {
    Box::new(fixtures::open("POST", path, Some(model)))
}

/// A caller with a whole request, and what is done to it.
fn caller(then: Then) -> (FakeCaller, mpsc::Receiver<Sent>) {
    let (request, received) = mpsc::channel(2);
    request.try_send(Received::Data(Bytes::from_static(BODY))).unwrap();
    request.try_send(Received::End(None)).unwrap();
    let (sent, seen) = mpsc::channel(1_000);
    (FakeCaller { received, sent, then }, seen)
}

/// Status, body and failure of a request that runs to its end.
async fn answer(work: &Arc<Work>, open: Box<Open>) -> (Option<u16>, String, Option<Failure>) {
    let (caller, mut seen) = caller(Then::Stays);
    timeout(PATIENCE, run(Arc::clone(work), open, "01ID".to_owned(), caller)).await.unwrap();
    let (mut status, mut body, mut failure) = (None, Vec::new(), None);
    while let Some(sent) = seen.recv().await {
        match sent {
            Sent::Head(head) => status = Some(head.status),
            Sent::Body(bytes) => body.extend_from_slice(&bytes),
            Sent::Fail(sent) => failure = Some(sent),
            Sent::End(_) => {}
        }
    }
    (status, String::from_utf8(body).unwrap(), failure)
}

async fn refused(work: &Arc<Work>, open: Box<Open>) -> (Code, bool) {
    let (status, _, failure) = answer(work, open).await;
    let failure = failure.unwrap();
    assert_eq!(status, None, "{failure:?}");
    (failure.code, failure.retryable)
}

/// The one record there is.
fn record(work: &Work) -> Record {
    let (counts, _, records) = work.observer.snapshot(10);
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(counts.served + counts.refused + counts.cancelled + counts.failed, 1);
    record.clone()
}

/// Inference requests that came through.
fn reached(standin: &Standin) -> usize {
    standin.requests().iter().filter(|seen| seen.target == CHAT).count()
}

fn reads(standin: &Standin) -> usize {
    standin.requests().iter().filter(|seen| seen.target == "/api/tags").count()
}

#[tokio::test]
async fn a_name_for_a_model_elsewhere_never_reaches_ollama_however_early_it_is_asked_for() {
    let (standin, work) = standin(&[Model::named("alias").forwarded_to("https://ollama.com")]).await;
    let early = tokio::spawn({
        let work = Arc::clone(&work);
        async move { refused(&work, open(CHAT, "alias")).await }
    });
    tokio::task::yield_now().await;
    let poll = poll(&work);
    assert_eq!(timeout(PATIENCE, early).await.unwrap().unwrap(), (Code::RouteConflict, false));
    assert_eq!(refused(&work, open("/api/show", "ALIAS:latest")).await.0, Code::RouteConflict);
    assert_eq!(reached(&standin), 0);
    poll.abort();
}

#[tokio::test]
async fn a_name_that_comes_to_stand_for_a_model_elsewhere_after_the_last_look_is_refused() {
    let (standin, work) = standin(&[Model::named("here")]).await;
    let poll = poll(&work);
    assert_eq!(answer(&work, open(CHAT, "here")).await.0, Some(200));
    standin.set_models(&[Model::named("here"), Model::named("alias").forwarded_to("https://ollama.com")]);
    assert_eq!(refused(&work, open(CHAT, "alias")).await.0, Code::RouteConflict);
    assert_eq!(reached(&standin), 1);
    poll.abort();
}

#[tokio::test]
async fn a_model_pulled_after_the_last_look_works_at_once_and_is_looked_for_once() {
    let (standin, work) = standin(&[]).await;
    let poll = poll(&work);
    work.catalog.read_anew().await;
    let before = reads(&standin);
    standin.set_models(&[Model::named("pulled")]);
    assert_eq!(answer(&work, open(CHAT, "pulled")).await.0, Some(200));
    // One read found it; another looks at what is in memory once it is loaded.
    work.catalog.read_anew().await;
    assert!(reads(&standin) <= before + 3, "{} reads", reads(&standin) - before);
    let before = reads(&standin);
    assert_eq!(answer(&work, open(CHAT, "pulled")).await.0, Some(200));
    assert_eq!(reads(&standin), before, "a known model was looked for again");
    poll.abort();
}

#[tokio::test]
async fn a_model_that_is_nowhere_is_said_to_be_so_and_ollama_is_not_asked() {
    let (standin, work) = standin(&[Model::named("here")]).await;
    let poll = poll(&work);
    assert_eq!(refused(&work, open(CHAT, "missing")).await, (Code::ModelNotFound, true));
    assert_eq!(reached(&standin), 0);
    poll.abort();
}

#[tokio::test]
async fn with_an_ollama_that_never_answered_a_request_fails_at_once_and_may_go_elsewhere() {
    let work = work(nowhere());
    let poll = poll(&work);
    assert_eq!(refused(&work, open(CHAT, "m")).await, (Code::LocalUnavailable, true));
    poll.abort();
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_does_not_come_is_not_waited_for_beyond_its_bound() {
    let work = work(nowhere());
    assert_eq!(refused(&work, open(CHAT, "m")).await, (Code::LocalUnavailable, true));
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_does_not_come_is_not_waited_for_beyond_the_callers_deadline() {
    let (work, mut open) = (work(nowhere()), open(CHAT, "m"));
    open.policy.deadline_ms = Some(250);
    open.policy.hard = true;
    let asked = tokio::time::Instant::now();
    assert_eq!(refused(&work, open).await, (Code::DeadlineExceeded, false));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_caller_who_leaves_while_the_catalog_is_awaited_is_let_go_at_once() {
    // Nobody polls: the catalog never comes.
    let work = work(nowhere());
    let (leaving, mut seen) = caller(Then::HasLeft);
    timeout(PATIENCE, run(Arc::clone(&work), open(CHAT, "fresh"), "01ID".to_owned(), leaving)).await.unwrap();
    let Some(Sent::Fail(failure)) = seen.recv().await else { panic!() };
    assert_eq!(failure.code, Code::Cancelled);
    assert_eq!(work.observer.snapshot(0).0.cancelled, 1);
}

#[tokio::test]
async fn a_request_cut_off_before_it_began_is_told_and_accounted() {
    let work = work(nowhere());
    let (caller, mut seen) = caller(Then::Stays);
    drop(run(Arc::clone(&work), open(CHAT, "fresh"), "01ID".to_owned(), caller));
    let Some(Sent::Fail(failure)) = seen.recv().await else { panic!() };
    assert_eq!(failure.code, Code::Draining);
    record(&work);
}

#[tokio::test]
async fn a_request_that_panics_fails_its_stream_and_is_accounted_once() {
    let (_standin, work) = standin(&[Model::named("m").paced(1_000, Duration::ZERO, Duration::from_millis(1))]).await;
    let poll = poll(&work);
    let (caller, mut seen) = caller(Then::Panics);
    let ended = tokio::spawn(run(Arc::clone(&work), open("/v1/messages", "m"), "01ID".to_owned(), caller)).await;
    assert!(ended.unwrap_err().is_panic());
    let Some(Sent::Fail(failure)) = seen.recv().await else { panic!("the stream did not fail") };
    assert_eq!((failure.code, failure.retryable), (Code::Internal, false));
    let record = record(&work);
    assert_eq!((record.code, record.dialect), (Some("internal"), "anthropic"));
    poll.abort();
}

#[tokio::test]
async fn a_request_cut_off_midway_fails_its_stream_and_is_accounted_once() {
    let (_standin, work) = standin(&[Model::named("m").paced(100_000, Duration::ZERO, Duration::from_millis(5))]).await;
    let poll = poll(&work);
    let (caller, mut seen) = caller(Then::Stays);
    let task = tokio::spawn(run(Arc::clone(&work), open(CHAT, "m"), "01ID".to_owned(), caller));
    assert!(matches!(timeout(PATIENCE, seen.recv()).await.unwrap(), Some(Sent::Head(Head { status: 200, .. }))));
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let mut last = None;
    while let Some(sent) = seen.recv().await {
        last = Some(sent);
    }
    let Some(Sent::Fail(failure)) = last else { panic!("{last:?}") };
    assert_eq!(failure.code, Code::Draining);
    let record = record(&work);
    assert_eq!((record.code, record.served_by), (Some("draining"), Some("local")));
    assert!(record.first_token_ms.is_some());
    poll.abort();
}

#[tokio::test]
async fn a_request_cut_off_once_it_may_cost_money_is_not_told_as_one_that_did_not() {
    let guarded = |caller| Guarded { caller, first_byte: Arc::default(), ended: false, may_cost: false };
    let (free, mut seen) = caller(Then::Stays);
    drop(guarded(free));
    let Some(Sent::Fail(failure)) = seen.recv().await else { panic!() };
    assert_eq!((failure.code, failure.retryable), (Code::Draining, true));
    let (costly, mut seen) = caller(Then::Stays);
    let mut costly = guarded(costly);
    costly.may_cost();
    drop(costly);
    let Some(Sent::Fail(failure)) = seen.recv().await else { panic!() };
    assert_eq!((failure.code, failure.retryable, failure.outcome.usd), (Code::Internal, false, None));
}

#[tokio::test]
async fn a_refusal_is_booked_under_the_dialect_of_its_route() {
    for (path, dialect) in [("/v1/messages", "anthropic"), ("/v1/responses", "openai"), ("/api/pull", "ollama")] {
        let work = work(nowhere());
        refused(&work, open(path, "kimi:cloud")).await;
        assert_eq!(record(&work).dialect, dialect, "{path}");
    }
}
