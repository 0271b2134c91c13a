//! Sessions against a tiny HTTP server that misbehaves as told, and a caller made of channels.

use std::net::SocketAddr;

use bytes::Bytes;
use causeway_wire::{Backend, Head};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::config::OllamaUrl;
use crate::fixtures::{FakeCaller, Sent, Then};
use crate::{fixtures, gate};

/// Generous: only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

const BODY: &str = "{\"model\":\"smol\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
const CHUNK: &str = "{\"message\":{\"content\":\"hi\"},\"done\":false}\n";
const LAST: &str = "{\"message\":{\"content\":\"\"},\"done\":true,\"prompt_eval_count\":4,\"eval_count\":1}\n";

/// The test's end of one running session.
struct Running {
    work: Arc<Work>,
    caller: mpsc::Sender<Received>,
    sent: mpsc::Receiver<Sent>,
    task: JoinHandle<()>,
}

impl Running {
    async fn next(&mut self) -> Sent {
        timeout(PATIENCE, self.sent.recv()).await.unwrap().expect("the session ended")
    }

    /// Head, body and end of a session that runs to its end.
    async fn answer(mut self) -> (Option<Head>, Vec<u8>, Sent) {
        let (mut head, mut body) = (None, Vec::new());
        loop {
            match self.next().await {
                Sent::Head(sent) => head = Some(sent),
                Sent::Body(bytes) => body.extend_from_slice(&bytes),
                end @ (Sent::End(_) | Sent::Fail(_)) => {
                    timeout(PATIENCE, self.task).await.unwrap().unwrap();
                    fixtures::all_slots_are_free(&self.work).await;
                    return (head, body, end);
                }
            }
        }
    }

    async fn failure(self) -> Failure {
        match self.answer().await {
            (_, _, Sent::Fail(failure)) => failure,
            (_, _, other) => panic!("expected a failure, got {other:?}"),
        }
    }
}

fn open(path: &str) -> Open {
    let method = if matches!(path, "/api/tags" | "/api/ps" | "/api/version") { "GET" } else { "POST" };
    fixtures::open(method, path, Some("smol:latest"))
}

fn start(address: SocketAddr, open: Open) -> Running {
    let work = fixtures::work(OllamaUrl { host: address.ip().to_string(), port: address.port() });
    fixtures::is_resident(&work, "smol:latest");
    let plan = gate::judge(&open, &work.settings.models, &work.routes, |_| false).unwrap();
    let (caller, received) = mpsc::channel(64);
    let (sent, seen) = mpsc::channel(4_096);
    let session = serve(
        Arc::clone(&work),
        Box::new(open),
        plan,
        "01ID".to_owned(),
        FakeCaller { received, sent, then: Then::Stays },
    );
    Running { work, caller, sent: seen, task: tokio::spawn(session) }
}

async fn start_with_body(address: SocketAddr, open: Open, body: &'static str) -> Running {
    let running = start(address, open);
    running.caller.send(Received::Data(Bytes::from_static(body.as_bytes()))).await.unwrap();
    running.caller.send(Received::End(None)).await.unwrap();
    running
}

/// An Ollama that answers each connection with `answer`, then does as `after` says; the first
/// request it saw.
async fn ollama(answer: String, after: After) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let seen = converse(&listener, &answer, after).await;
        tokio::spawn(async move {
            loop {
                converse(&listener, &answer, after).await;
            }
        });
        seen
    });
    (address, task)
}

async fn converse(listener: &TcpListener, answer: &str, after: After) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let request = read_request(&mut socket).await;
    // The client may have left already.
    let _written = socket.write_all(answer.as_bytes()).await;
    if after == After::WaitForClose {
        let mut rest = Vec::new();
        let _closed = socket.read_to_end(&mut rest).await;
    }
    request
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Close,
    WaitForClose,
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_string();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        if socket.read_buf(&mut bytes).await.unwrap() == 0 {
            return text;
        }
    }
}

/// A chunked answer; without its last chunk if it is `cut`.
fn streamed(lines: &[&str], cut: bool) -> String {
    let mut text =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for line in lines {
        text.push_str(&format!("{:x}\r\n{line}\r\n", line.len()));
    }
    if !cut {
        text.push_str("0\r\n\r\n");
    }
    text
}

fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_stream_is_written_for_its_caller_with_its_head_first_and_its_tokens_at_the_end() {
    let (address, _) = ollama(streamed(&[CHUNK, LAST], false), After::WaitForClose).await;
    let (head, body, end) = start_with_body(address, open("/api/chat"), BODY).await.answer().await;
    let head = head.unwrap();
    assert_eq!(head.status, 200);
    assert!(head.headers.contains(&("content-type".to_owned(), "application/x-ndjson".to_owned())));
    assert!(head.headers.contains(&("x-causeway-served-by".to_owned(), "local".to_owned())));
    let lines: Vec<Value> =
        String::from_utf8(body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [token, last] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&token["model"], &token["message"]["content"]), (&Value::from("smol"), &Value::from("hi")));
    assert_eq!((&last["done"], &last["eval_count"]), (&Value::from(true), &Value::from(1)));
    let Sent::End(Some(outcome)) = end else { panic!("{end:?}") };
    assert_eq!((outcome.input_tokens, outcome.output_tokens), (Some(4), Some(1)));
    assert_eq!(outcome.served_by, Some(Backend::Local));
}

#[tokio::test]
async fn one_answer_of_ollama_reaches_each_dialect_as_its_own() {
    for (path, body, expected) in [
        ("/v1/chat/completions", BODY, r#""content":"hi""#),
        ("/v1/completions", r#"{"model":"smol","prompt":"x"}"#, r#""text":"hi""#),
        ("/v1/responses", r#"{"model":"smol","input":"x"}"#, r#""text":"hi""#),
        (
            "/v1/messages",
            r#"{"model":"smol","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#,
            r#""text":"hi""#,
        ),
        ("/api/generate", r#"{"model":"smol","prompt":"x","stream":false}"#, r#""response":"hi""#),
    ] {
        let line = if path.contains("generate") || path == "/v1/completions" {
            ["{\"response\":\"hi\",\"done\":false}\n", "{\"response\":\"\",\"done\":true,\"eval_count\":1}\n"]
        } else {
            [CHUNK, LAST]
        };
        for stream in [false, true] {
            let (address, _) = ollama(streamed(&line, false), After::WaitForClose).await;
            let mut open = open(path);
            open.stream = Some(stream);
            let (head, answer, end) = start_with_body(address, open, body).await.answer().await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(stream || answer.contains(expected), "{path}: {answer}");
            assert!(answer.contains("hi"), "{path}: {answer}");
            assert!(matches!(end, Sent::End(Some(_))), "{path}: {end:?}");
            assert_eq!(head.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn ollama_sees_an_allowed_host_the_authorised_model_and_no_credential_or_origin() {
    let (address, seen) = ollama(whole("200 OK", "{\"done\":true}"), After::Close).await;
    let mut open = open("/api/chat");
    open.stream = Some(false);
    for (name, value) in [
        ("Host", "evil.example"),
        ("Origin", "https://evil.example"),
        ("Referer", "https://evil.example/"),
        ("Cookie", "canary"),
        ("Authorization", "Bearer canary"),
        ("X-Api-Key", "canary"),
        ("Proxy-Authorization", "canary"),
        ("X-Forwarded-For", "10.1.1.1"),
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Encoding", "zstd"),
        ("Traceparent", "00-trace-01"),
        ("User-Agent", "curl/8"),
    ] {
        open.headers.push((name.to_owned(), value.to_owned()));
    }
    let body = "{\"model\":\"SMOL\",\"stream\":false,\"messages\":[]}";
    start_with_body(address, open, body).await.answer().await;
    let seen = seen.await.unwrap();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/chat HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: localhost:{}\r\n", address.port())), "{head}");
    for absent in ["evil", "canary", "forwarded", "upgrade", "zstd", "form", "origin", "cookie"] {
        assert!(!head.to_lowercase().contains(absent), "{absent} in {head}");
    }
    assert!(head.contains("content-type: application/json") && head.contains("traceparent: 00-trace-01"), "{head}");
    assert!(head.contains("user-agent: curl/8"), "{head}");
    assert_eq!(body, "{\"model\":\"smol:latest\",\"messages\":[],\"stream\":true}");
}

#[tokio::test]
async fn an_ollama_that_is_down_is_named_and_another_edge_may_take_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = start_with_body(address, open("/api/chat"), BODY).await.failure().await;
    assert_eq!((failure.code, failure.retryable), (Code::LocalUnavailable, true));
    assert!(failure.message.contains("ollama.url"), "{}", failure.message);
}

#[tokio::test]
async fn an_ollama_that_dies_midway_leaves_an_incomplete_answer() {
    let (address, _) = ollama(streamed(&[CHUNK], true), After::Close).await;
    let (_, body, end) = start_with_body(address, open("/api/chat"), BODY).await.answer().await;
    let Sent::End(Some(outcome)) = end else { panic!("{end:?}") };
    assert_eq!((outcome.broke, outcome.output_tokens), (Some(Code::UpstreamIncomplete), Some(1)));
    let body = String::from_utf8(body).unwrap();
    assert!(body.lines().last().unwrap().starts_with("{\"error\":\"the connection to Ollama broke off"), "{body}");
}

#[tokio::test]
async fn a_stream_that_ends_properly_but_without_its_last_event_is_incomplete() {
    let (address, _) = ollama(streamed(&[CHUNK, CHUNK], false), After::WaitForClose).await;
    let (_, _, end) = start_with_body(address, open("/api/chat"), BODY).await.answer().await;
    let Sent::End(Some(outcome)) = end else { panic!("{end:?}") };
    assert_eq!(outcome.broke, Some(Code::UpstreamIncomplete));
}

#[tokio::test]
async fn ollamas_own_errors_keep_their_words_and_get_a_code() {
    for (status, code) in [
        ("500 Internal Server Error", Code::LocalUnavailable),
        ("404 Not Found", Code::ModelNotFound),
        ("400 Bad Request", Code::InvalidRequest),
    ] {
        let (address, _) = ollama(whole(status, "{\"error\":\"own words of a model\"}"), After::Close).await;
        let failure = start_with_body(address, open("/api/chat"), BODY).await.failure().await;
        assert_eq!((failure.code, failure.message.as_str()), (code, "own words of a model"));
    }
}

#[tokio::test]
async fn an_endless_line_is_cut_off() {
    let part = "x".repeat(1024 * 1024);
    let (address, _) = ollama(streamed(&[part.as_str(); 10], false), After::WaitForClose).await;
    let failure = start_with_body(address, open("/api/chat"), BODY).await.failure().await;
    assert_eq!(failure.code, Code::UpstreamIncomplete);
    assert!(failure.message.contains("8 MiB"), "{}", failure.message);
}

#[tokio::test]
async fn a_silent_ollama_ends_at_the_callers_deadline_and_its_connection_is_closed() {
    let (address, seen) = ollama(String::new(), After::WaitForClose).await;
    let mut open = open("/api/chat");
    open.policy.deadline_ms = Some(50);
    open.policy.hard = true;
    let failure = start_with_body(address, open, BODY).await.failure().await;
    assert_eq!(failure.code, Code::DeadlineExceeded);
    timeout(PATIENCE, seen).await.unwrap().unwrap();
}

#[tokio::test]
async fn headers_without_a_byte_of_body_do_not_meet_the_deadline() {
    let (address, _) = ollama(streamed(&[], true), After::WaitForClose).await;
    let mut open = open("/api/chat");
    open.policy.deadline_ms = Some(50);
    open.policy.hard = true;
    let (head, _, end) = start_with_body(address, open, BODY).await.answer().await;
    assert!(head.is_none(), "the status was committed");
    assert!(matches!(end, Sent::Fail(Failure { code: Code::DeadlineExceeded, .. })));
}

#[tokio::test]
async fn an_origin_refusal_names_the_setting_to_change() {
    let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned();
    let (address, _) = ollama(refusal, After::Close).await;
    let failure = start_with_body(address, open("/api/chat"), BODY).await.failure().await;
    assert_eq!(failure.code, Code::LocalUnavailable);
    assert!(failure.message.contains("OLLAMA_ORIGINS"), "{}", failure.message);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let redirect = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    let (address, _) = ollama(redirect.to_owned(), After::Close).await;
    let failure = start_with_body(address, open("/api/chat"), BODY).await.failure().await;
    assert_eq!(failure.code, Code::LocalUnavailable);
}

#[tokio::test]
async fn a_cancel_before_the_first_byte_closes_the_connection_to_ollama() {
    let (address, seen) = ollama(String::new(), After::WaitForClose).await;
    let mut running = start_with_body(address, open("/api/chat"), BODY).await;
    while running.work.admission.total(now()) == 0 {
        tokio::task::yield_now().await;
    }
    running.caller.send(Received::Cancelled("caller left".to_owned())).await.unwrap();
    let Sent::Fail(failure) = running.next().await else { panic!() };
    assert_eq!(failure.code, Code::Cancelled);
    assert_eq!(running.work.admission.total(now()), 1, "Ollama may still be reading the prompt");
    timeout(PATIENCE, seen).await.unwrap().unwrap();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
    fixtures::all_slots_are_free(&running.work).await;
}

#[tokio::test]
async fn a_cancel_midway_closes_the_connection_and_says_what_was_used() {
    let (address, seen) = ollama(streamed(&[CHUNK, CHUNK], true), After::WaitForClose).await;
    let mut running = start_with_body(address, open("/api/chat"), BODY).await;
    let (Sent::Head(_), Sent::Body(_)) = (running.next().await, running.next().await) else { panic!() };
    running.caller.send(Received::Cancelled("caller left".to_owned())).await.unwrap();
    let failure = running.failure().await;
    assert_eq!(failure.code, Code::Cancelled);
    assert!(failure.outcome.output_tokens.is_some_and(|tokens| tokens > 0));
    timeout(PATIENCE, seen).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_caller_who_leaves_before_its_body_is_whole_never_reaches_ollama() {
    let (address, seen) = ollama(String::new(), After::WaitForClose).await;
    let running = start(address, open("/api/chat"));
    let half = Bytes::from_static(&BODY.as_bytes()[..BODY.len() / 2]);
    running.caller.send(Received::Data(half)).await.unwrap();
    running.caller.send(Received::Cancelled("caller left".to_owned())).await.unwrap();
    let bodies = running.work.bodies.clone();
    assert_eq!(running.failure().await.code, Code::Cancelled);
    assert!(bodies.share().grow(crate::work::BODIES_POOL), "its half is given back");
    assert!(!seen.is_finished());
}

/// To leave while Ollama loads the model would abort the load, of which others have the use.
#[tokio::test]
async fn a_deadline_that_passes_while_the_model_loads_is_told_at_once_and_leaves_the_load_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (loaded, wait) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        wait.await.unwrap();
        socket.write_all(streamed(&[CHUNK], true).as_bytes()).await.unwrap();
        socket.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let mut open = open("/api/chat");
    open.policy.deadline_ms = Some(300);
    open.policy.hard = true;
    let mut running = start_with_body(address, open, BODY).await;
    while running.work.admission.total(now()) == 0 {
        tokio::task::yield_now().await;
    }
    // Its time in memory had just ended: the request itself has it loaded.
    running.work.admission.resident(now(), now(), std::iter::empty());
    let Sent::Fail(failure) = running.next().await else { panic!() };
    assert_eq!(failure.code, Code::DeadlineExceeded);
    assert!(!server.is_finished() && !running.task.is_finished());
    assert_eq!(running.work.admission.total(now()), 1);
    loaded.send(()).unwrap();
    timeout(PATIENCE, server).await.unwrap().unwrap();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
    fixtures::all_slots_are_free(&running.work).await;
}

#[tokio::test]
async fn a_large_single_answer_flows_and_arrives_whole() {
    let numbers = format!("[{}1]", "0.125,".repeat(100_000));
    let vector = format!("{{\"embeddings\":[{numbers}],\"prompt_eval_count\":9}}");
    let (address, _) = ollama(whole("200 OK", &vector), After::Close).await;
    let body = "{\"model\":\"smol\",\"input\":\"x\"}";
    let (head, body, end) = start_with_body(address, open("/api/embed"), body).await.answer().await;
    assert_eq!(head.unwrap().status, 200);
    assert!(String::from_utf8(body).unwrap().contains(&numbers));
    let Sent::End(Some(outcome)) = end else { panic!("{end:?}") };
    assert_eq!(outcome.input_tokens, Some(9));
}

#[tokio::test]
async fn embeddings_that_find_no_room_beside_others_are_refused_and_others_may_go_on() {
    let vector = format!("{{\"embeddings\":[[{}1]]}}", "0.125,".repeat(1_000));
    let (address, _server) = ollama(whole("200 OK", &vector), After::Close).await;
    let running = start(address, open("/api/embed"));
    let mut others = running.work.bodies.share();
    assert!(others.grow(crate::work::BODIES_POOL - 1_000));
    let body = "{\"model\":\"smol\",\"input\":\"x\"}";
    running.caller.send(Received::Data(Bytes::from_static(body.as_bytes()))).await.unwrap();
    running.caller.send(Received::End(None)).await.unwrap();
    let failure = running.failure().await;
    assert_eq!((failure.code, failure.retryable), (Code::Saturated, true));
    assert!(others.grow(900), "what was gathered is given back");
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let (address, seen) = ollama(whole("200 OK", "{\"done\":true}"), After::Close).await;
    let running = start(address, open("/api/chat"));
    for part in ["{\"model\":\"x\",", "\"messages\"", ":[]}"] {
        running.caller.send(Received::Data(Bytes::from_static(part.as_bytes()))).await.unwrap();
    }
    running.caller.send(Received::End(None)).await.unwrap();
    running.answer().await;
    assert!(seen.await.unwrap().ends_with("{\"model\":\"smol:latest\",\"messages\":[],\"stream\":true}"));
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_before_ollama_hears_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let failure =
        start_with_body(listener.local_addr().unwrap(), open("/api/chat"), "{\"model\":").await.failure().await;
    assert_eq!(failure.code, Code::InvalidRequest);
}
