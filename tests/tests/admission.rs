//! Who is served when, and what those who wait or are refused are told: caller, relay, daemon and a
//! stand-in Ollama as separate processes over real sockets and TLS.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

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
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = tokio::time::timeout(PATIENCE, response.bytes()).await.unwrap().unwrap().to_vec();
    Answer { status, headers, body }
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

#[tokio::test(flavor = "multi_thread")]
async fn eight_callers_on_one_slot_are_served_one_after_the_other() {
    let way = Way::open(vec![Model::named("m").paced(8, Duration::ZERO, Duration::from_millis(2))]).await;
    way.ollama().clear();
    let callers = (0..8).map(|number| {
        let way = &way;
        async move {
            let prompt = format!("caller {number}");
            let answer = way.post("/api/chat", &chat("m", &prompt)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let said: String =
                answer.lines().iter().map(|line| line["message"]["content"].as_str().unwrap().to_owned()).collect();
            assert_eq!(said, text::answer(text::seed(&prompt), 8));
        }
    });
    join_all(callers).await;
    let runs = way.ollama().runs();
    assert_eq!((runs.len(), way.ollama().served(), way.ollama().max_in_flight()), (8, 8, 1));
    assert!(runs.windows(2).all(|pair| pair[0].ended <= pair[1].came), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_deadline_that_cannot_be_met_is_refused_before_ollama_hears_of_it() {
    let way = Way::open(vec![slow("m")]).await;
    way.teach("m").await;
    let held = way.hold("m").await;
    let waiting: Vec<_> =
        (0..4).map(|n| tokio::spawn(way.request("/api/chat", &chat("m", &n.to_string())).send())).collect();
    way.until_waiting(4).await;
    let before = way.seen("/api/chat").len();
    // As batch work it is behind the four, of whom each takes 0.2 s; with its deadline it would else be first.
    let late = way.request("/api/chat", &chat("m", "late")).header("x-causeway-priority", "batch");
    let late = late.header("x-causeway-first-token-ms", "300");
    let refused = whole(late.send().await.unwrap()).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(header(&refused, "x-causeway-reason"), Some("saturated"));
    let ms: u64 = header(&refused, "retry-after-ms").unwrap().parse().unwrap();
    let seconds: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!(ms > 300 && seconds == ms.div_ceil(1_000), "{ms} ms, {seconds} s");
    assert!(refused.json()["error"].is_string(), "{}", refused.text());
    assert_eq!(way.seen("/api/chat").len(), before);
    drop(held);
    for answer in waiting {
        assert_eq!(whole(answer.await.unwrap().unwrap()).await.status, 200);
    }
    assert!(!way.ollama().runs().iter().any(|run| run.seed == text::seed("late")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_caller_who_leaves_never_reaches_ollama() {
    let way = Way::open(vec![slow("m")]).await;
    let held = way.hold("m").await;
    let leaver = tokio::spawn(way.request("/api/chat", &chat("m", "leaver")).send());
    way.until_waiting(1).await;
    leaver.abort();
    way.until_waiting(0).await;
    drop(held);
    let after = way.post("/api/chat", &chat("m", "after")).await;
    assert_eq!(after.status, 200, "{}", after.text());
    let left = way.seen("/api/chat").into_iter().any(|seen| String::from_utf8_lossy(&seen.body).contains("leaver"));
    assert!(!left, "a request whose caller had left reached Ollama");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_the_next_and_serves_those_who_wait() {
    let way = Way::with(vec![slow("m")], "[admission]\nqueue-limit = 1").await;
    let held = way.hold("m").await;
    let waiting = tokio::spawn(way.request("/api/chat", &chat("m", "waits")).send());
    way.until_waiting(1).await;
    let refused = way.post("/v1/chat/completions", &chat("m", "too many")).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(header(&refused, "x-causeway-reason"), Some("saturated"));
    assert_eq!(refused.json()["error"]["code"], "saturated");
    assert!(header(&refused, "retry-after-ms").unwrap().parse::<u64>().unwrap() > 0);
    drop(held);
    assert_eq!(whole(waiting.await.unwrap().unwrap()).await.status, 200);
    assert!(!way.ollama().runs().iter().any(|run| run.seed == text::seed("too many")));
}

/// Sends it while the slot is taken; its first bytes are a sign of life, which are given back.
async fn while_waiting(
    way: &Way,
    path: &str,
    body: &Value,
) -> (String, impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin + use<>) {
    let response = tokio::time::timeout(PATIENCE, way.request(path, body).send()).await.unwrap().unwrap();
    assert_eq!(response.status(), 200, "{path}");
    assert!(response.headers().get("x-causeway-served-by").is_none(), "{path}: it was not known yet");
    let mut stream = Box::pin(response.bytes_stream());
    let first = stream.next().await.unwrap().unwrap();
    (String::from_utf8(first.to_vec()).unwrap(), stream)
}

async fn rest(mut stream: impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin) -> String {
    let mut all = Vec::new();
    while let Some(piece) = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap() {
        all.extend_from_slice(&piece.unwrap());
    }
    String::from_utf8(all).unwrap()
}

/// The form of a sign of life, exactly; a slow reader finds several at once.
fn assert_signs_of_life(path: &str, first: &str) {
    match path {
        "/api/chat" | "/api/generate" => {
            assert!(first.ends_with('\n'), "{first}");
            for line in first.lines() {
                let mut line: Value = serde_json::from_str(line).unwrap();
                let created = line.as_object_mut().unwrap().shift_remove("created_at").unwrap();
                assert!(created.as_str().unwrap().ends_with('Z'), "{first}");
                let expected = match path {
                    "/api/chat" => {
                        json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": false})
                    }
                    _ => json!({"model": "m", "response": "", "done": false}),
                };
                assert_eq!(line, expected, "{path}");
            }
        }
        "/v1/messages" => {
            let (start, pings) = first.split_once("\n\n").unwrap();
            assert!(start.starts_with("event: message_start\ndata: {\"type\":\"message_start\","), "{first}");
            assert_repeats(pings, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
        }
        _ => assert_repeats(first, ": keep-alive\n\n"),
    }
}

fn assert_repeats(text: &str, unit: &str) {
    assert!(!text.is_empty() && text.replace(unit, "").is_empty(), "{text:?}");
}

/// What `x_causeway` says at the end of an answer: in the last object, or in a comment of the stream.
fn told_at_the_end(path: &str, answer: &str) -> Value {
    let comment = answer.lines().filter_map(|line| line.strip_prefix(": x_causeway ")).next_back();
    match comment {
        Some(comment) => serde_json::from_str(comment).unwrap(),
        None => {
            let last = answer.trim().lines().next_back().unwrap();
            let last: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"));
            last["x_causeway"].clone()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_waits_gets_signs_of_life_in_its_dialect_and_then_its_answer() {
    let way = Way::with(vec![slow("m")], HEARTBEATS).await;
    for (path, body) in dialects("m", true) {
        let held = way.hold("m").await;
        let (first, stream) = while_waiting(&way, path, &body).await;
        assert_signs_of_life(path, &first);
        drop(held);
        let answer = rest(stream).await;
        assert!(!answer.lines().any(|line| line.trim().is_empty()) || path.starts_with("/v1/"), "{path}: {answer}");
        let end = match path {
            "/api/chat" | "/api/generate" => "\"done\":true",
            "/v1/messages" => "event: message_stop",
            "/v1/responses" => "response.completed",
            _ => "data: [DONE]",
        };
        assert!(answer.contains(end), "{path}: {answer}");
        let told = told_at_the_end(path, &answer);
        assert_eq!((&told["served_by"], &told["model"]), (&json!("local"), &json!("m:latest")), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_answer_that_waits_gets_leading_spaces_and_is_then_one_object() {
    let way = Way::with(vec![slow("m")], HEARTBEATS).await;
    let vectors = ("/api/embed", json!({"model": "m", "input": "the sky"}));
    for (path, body) in dialects("m", false).into_iter().chain([vectors]) {
        let held = way.hold("m").await;
        let (first, stream) = while_waiting(&way, path, &body).await;
        assert_repeats(&first, " ");
        drop(held);
        let answer = rest(stream).await;
        let object: Value = serde_json::from_str(answer.trim_start_matches(' ')).unwrap();
        assert_eq!(object["x_causeway"]["served_by"], "local", "{path}: {answer}");
        assert!(object["error"].is_null(), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_a_sign_of_life_comes_in_the_dialects_own_form_with_its_reason() {
    let way = Way::with(vec![slow("m")], HEARTBEATS).await;
    for stream in [true, false] {
        for (path, body) in dialects("m", stream) {
            let held = way.hold("m").await;
            let (_, answer) = while_waiting(&way, path, &body).await;
            way.ollama().fail_next(1, Fault::Status(500, "the runner stopped".to_owned()));
            drop(held);
            let answer = rest(answer).await;
            let told = told_at_the_end(path, &answer);
            assert_eq!(told["reason"], "local_unavailable", "{path}, stream {stream}: {answer}");
            assert_own_error(path, stream, &answer);
            // One that is well between them: a runner that fails again and again is left alone for a while.
            assert_eq!(way.post("/api/chat", &chat("m", "well")).await.status, 200);
        }
    }
}

/// An error with Ollama's words, in the form of the path's dialect.
fn assert_own_error(path: &str, stream: bool, answer: &str) {
    let data = |line: &str| line.strip_prefix("data: ").filter(|data| *data != "[DONE]").map(str::to_owned);
    let last = if stream && path.starts_with("/v1/") {
        answer.lines().filter_map(data).next_back().unwrap()
    } else {
        answer.trim().lines().next_back().unwrap().to_owned()
    };
    let last: Value = serde_json::from_str(&last).unwrap();
    let message = match path {
        "/api/chat" | "/api/generate" => &last["error"],
        "/v1/responses" if stream => {
            assert_eq!(last["type"], "response.failed", "{answer}");
            &last["response"]["error"]["message"]
        }
        "/v1/messages" => {
            assert_eq!(last["type"], "error", "{answer}");
            assert!(!stream || answer.contains("event: error\n"), "{answer}");
            &last["error"]["message"]
        }
        _ => &last["error"]["message"],
    };
    assert!(message.as_str().is_some_and(|message| message.contains("the runner stopped")), "{path}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_without_a_run() {
    let way = Way::open(vec![Model::named("m")]).await;
    let counted = way.post("/v1/messages/count_tokens", &chat("m", &"word ".repeat(100))).await;
    assert_eq!(counted.status, 200, "{}", counted.text());
    let tokens = counted.json()["input_tokens"].as_u64().unwrap();
    assert!((50..500).contains(&tokens), "{tokens}");
    assert!(way.ollama().runs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_honoured_is_named_and_refused_only_where_the_caller_is_strict() {
    let way = Way::open(vec![Model::named("m")]).await;
    let mut body = chat("m", "hello");
    body["logit_bias"] = json!({"1": 5});
    body["n"] = json!(2);
    let served = way.post("/v1/chat/completions", &body).await;
    assert_eq!(served.status, 200, "{}", served.text());
    let mut dropped: Vec<&str> = header(&served, "x-causeway-dropped").unwrap().split(", ").collect();
    dropped.sort_unstable();
    assert_eq!(dropped, ["logit_bias", "n"]);
    let runs = way.ollama().runs().len();
    let strict = way.request("/v1/chat/completions", &body).header("x-causeway-strict", "true").send().await.unwrap();
    let strict = whole(strict).await;
    assert_eq!(strict.status, 400, "{}", strict.text());
    assert_eq!(header(&strict, "x-causeway-reason"), Some("unsupported_parameter"));
    assert_eq!(header(&strict, "x-should-retry"), Some("false"));
    let error = strict.json()["error"].clone();
    assert_eq!(error["code"], "unsupported_parameter");
    assert!(error["message"].as_str().unwrap().contains("logit_bias"), "{error}");
    assert_eq!(way.ollama().runs().len(), runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_and_senseless_headers_are_refused_in_words() {
    let way = Way::open(vec![Model::named("m")]).await;
    let local_only = way.stack.another_key(&["--route", "local-only"]).await.unwrap();
    for api in [&way.api, &local_only] {
        let request = api.request("POST", "/api/chat", Some(&chat("m", "hello")));
        let refused = whole(request.header("x-causeway-route", "cloud-only").send().await.unwrap()).await;
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert_eq!(header(&refused, "x-causeway-reason"), Some("route_conflict"));
        assert_eq!(header(&refused, "x-should-retry"), Some("false"));
    }
    assert_eq!(local_only.post("/api/chat", chat("m", "hello")).await.unwrap().status, 200);
    for (name, value) in [
        ("x-causeway-first-token-ms", "0"),
        ("x-causeway-first-token-ms", "-1"),
        ("x-causeway-first-token-ms", "1e12"),
        ("x-causeway-first-token-ms", "1000000000000"),
        ("x-causeway-route", "nowhere"),
        ("x-causeway-priority", "urgent"),
        ("x-causeway-strict", "perhaps"),
    ] {
        let refused = way.request("/api/chat", &chat("m", "hello")).header(name, value).send().await.unwrap();
        let refused = whole(refused).await;
        assert_eq!(refused.status, 400, "{name}: {value}: {}", refused.text());
        assert_eq!(header(&refused, "x-causeway-reason"), Some("invalid_request"), "{name}: {value}");
        assert!(refused.json()["error"].as_str().unwrap().contains(name), "{}", refused.text());
    }
    assert_eq!(way.ollama().runs().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tools_pass() {
    let way = Way::open(vec![Model::named("m").able()]).await;
    let tool = |n: usize| {
        let parameters = json!({"type": "object", "properties": {"text": {"type": "string"}}});
        json!({"type": "function", "function": {"name": format!("tool_{n}"), "parameters": parameters}})
    };
    let mut body = chat("m", "Say hello.");
    body["tools"] = (0..200).map(tool).collect();
    for path in ["/api/chat", "/v1/chat/completions"] {
        let answer = way.post(path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let sent: Value = serde_json::from_slice(&way.seen("/api/chat").last().unwrap().body).unwrap();
        let names: Vec<&str> =
            sent["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
        let expected: Vec<String> = (0..200).map(|n| format!("tool_{n}")).collect();
        assert_eq!(names, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_utf_8_is_an_invalid_request_in_every_dialect() {
    let way = Way::open(vec![Model::named("m")]).await;
    for (path, body) in dialects("m", false) {
        let text = body.to_string();
        let (before, after) = text.split_once("hello").unwrap();
        let broken = [before.as_bytes(), b"\xff", after.as_bytes()].concat();
        let request = way.api.request("POST", path, None).header("content-type", "application/json").body(broken);
        let refused = whole(request.send().await.unwrap()).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text());
        assert_eq!(header(&refused, "x-causeway-reason"), Some("invalid_request"), "{path}");
        assert!(!refused.json()["error"].is_null(), "{path}: {}", refused.text());
    }
    assert!(way.ollama().runs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_is_not_found_in_the_form_of_each_dialect() {
    let way = Way::open(vec![Model::named("m")]).await;
    let vectors = [
        ("/api/embed", json!({"model": "nobody", "input": "x"})),
        ("/api/embeddings", json!({"model": "nobody", "prompt": "x"})),
        ("/v1/embeddings", json!({"model": "nobody", "input": "x"})),
        ("/v1/messages/count_tokens", json!({"model": "nobody", "messages": [{"role": "user", "content": "x"}]})),
    ];
    for (path, body) in dialects("nobody", true).into_iter().chain(vectors) {
        let refused = way.post(path, &body).await;
        assert_eq!(refused.status, 404, "{path}: {}", refused.text());
        assert_eq!(header(&refused, "x-causeway-reason"), Some("model_not_found"), "{path}");
        let object = refused.json();
        let message = if path.starts_with("/v1/") { &object["error"]["message"] } else { &object["error"] };
        assert!(message.as_str().is_some_and(|words| words.contains("nobody")), "{path}: {object}");
        if path.starts_with("/v1/messages") {
            assert_eq!((&object["type"], &object["error"]["type"]), (&json!("error"), &json!("not_found_error")));
        }
    }
    assert!(way.ollama().runs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_model_is_loaded_once_for_all_who_wait_and_not_aborted_by_one_who_leaves() {
    let way = Way::open(vec![Model::named("cold")]).await;
    way.ollama().hold_loads(true);
    let ask = |prompt: &str| tokio::spawn(way.request("/api/chat", &chat("cold", prompt)).send());
    let (first, second, leaver) = (ask("first"), ask("second"), ask("leaver"));
    way.until_waiting(3).await;
    let loads = || {
        let empty = |seen: &Seen| !String::from_utf8_lossy(&seen.body).contains("\"prompt\"");
        way.seen("/api/generate").iter().filter(|seen| empty(seen)).count()
    };
    poll_until("the load has begun", PATIENCE, async || Ok((loads() == 1).then_some(()))).await.unwrap();
    leaver.abort();
    way.until_waiting(2).await;
    assert!(way.seen("/api/chat").is_empty(), "a request was sent to a model that is not loaded");
    way.ollama().hold_loads(false);
    for answer in [first, second] {
        assert_eq!(whole(answer.await.unwrap().unwrap()).await.status, 200);
    }
    assert_eq!((loads(), way.ollama().served(), way.ollama().cancels().len()), (1, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_texts_are_embedded_in_order_sixteen_at_a_time() {
    let way = Way::open(vec![Model::named("m")]).await;
    let texts: Vec<String> = (0..40).map(|n| format!("text number {n}")).collect();
    let expected: Vec<Value> = texts.iter().map(|text| json!(text::embedding(text, 64))).collect();
    let native = way.post("/api/embed", &json!({"model": "m", "input": texts})).await;
    assert_eq!(native.status, 200, "{}", native.text());
    assert_eq!(native.json()["embeddings"], json!(expected));
    let openai = way.post("/v1/embeddings", &json!({"model": "m", "input": texts})).await;
    assert_eq!(openai.status, 200, "{}", openai.text());
    for (index, (row, vector)) in openai.json()["data"].as_array().unwrap().iter().zip(&expected).enumerate() {
        assert_eq!((&row["index"], &row["embedding"]), (&json!(index), vector));
    }
    let sizes: Vec<usize> = way
        .seen("/api/embed")
        .iter()
        .map(|seen| serde_json::from_slice::<Value>(&seen.body).unwrap()["input"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [16, 16, 8, 16, 16, 8]);
}
