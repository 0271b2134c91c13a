//! Requests that reach an edge, and the ways they end.

use std::time::{Duration, Instant};

use causeway_transport::Received;
use causeway_wire::{Code, Failure, Load, ModelLoad, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, Edge, Relay, head, patiently, post, text, until};

const CHAT: &str = r#"{"model":"M","messages":[]}"#;

/// A relay, a key and one edge `gpu-1` with the model `m`.
async fn linked() -> (Relay, String, Edge) {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    let edge = relay.edge("gpu-1", &["m:latest"], &key).await;
    (relay, key, edge)
}

async fn cancelled(stream: &mut causeway_transport::RequestStream) {
    patiently(async {
        loop {
            match stream.recv().await {
                Received::Cancelled(_) => return,
                Received::Data(_) | Received::End(_) => tokio::task::yield_now().await,
                other @ (Received::Head(_) | Received::Failed(_)) => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_streams_to_its_caller_chunk_by_chunk_with_its_stamps() {
    let (relay, key, mut edge) = linked().await;
    let mut socket = relay.connect().await;
    let more =
        "connection: close\r\ncookie: a=b\r\norigin: http://evil\r\nx-request-id: mine\r\ncontent-type: text/plain\r\n";
    socket.write_all(post("/api/chat?x=1", &key, CHAT, more).as_bytes()).await.unwrap();

    let (mut incoming, body) = edge.request().await;
    assert_eq!(body, CHAT);
    assert_eq!(incoming.open.path, "/api/chat?x=1");
    assert_eq!(incoming.open.model.as_deref(), Some("m:latest"));
    assert_eq!(incoming.open.headers, [("content-type".to_owned(), "text/plain".to_owned())]);
    assert!(!format!("{:?}", incoming.open).contains(key.rsplit('_').next().unwrap()));

    let mut first = head(200, "application/x-ndjson");
    first.headers.push(("set-cookie".to_owned(), "a=b".to_owned()));
    incoming.stream.send_head_with(first, "{\"n\":1}\n".into()).unwrap();
    let mut seen = Vec::new();
    patiently(async {
        while !text(&seen).contains("{\"n\":1}") {
            assert!(socket.read_buf(&mut seen).await.unwrap() > 0);
        }
    })
    .await;
    incoming.stream.send_now("{\"n\":2}\n".into()).unwrap();
    incoming.stream.finish(Some(Outcome { output_tokens: Some(2), ..Outcome::default() }));
    let _ = patiently(socket.read_to_end(&mut seen)).await;

    let answer = Answer::parse(&seen);
    assert!(answer.whole);
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"n\":1}\n{\"n\":2}\n"));
    for (name, value) in [
        ("content-type", "application/x-ndjson"),
        ("x-causeway-edge", "gpu-1"),
        ("x-causeway-model", "m:latest"),
        ("x-causeway-served-by", "local"),
        ("x-request-id", "mine"),
        ("x-accel-buffering", "no"),
        ("cache-control", "no-transform"),
        ("set-cookie", ""),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert_eq!(answer.header("x-causeway-request-id").len(), 26);
}

#[tokio::test]
async fn a_whole_answer_goes_out_with_its_length_and_the_connection_is_used_again() {
    let (relay, key, mut edge) = linked().await;
    let mut socket = relay.connect().await;
    for round in 0..3 {
        let last = if round == 2 { "connection: close\r\n" } else { "" };
        let request = post("/v1/chat/completions", &key, r#"{"model":"m","stream":false}"#, last);
        socket.write_all(request.as_bytes()).await.unwrap();
        edge.answer(200, "{\"ok\":true}").await;
        let mut seen = Vec::new();
        patiently(async {
            while !text(&seen).contains("{\"ok\":true}") {
                assert!(socket.read_buf(&mut seen).await.unwrap() > 0);
            }
        })
        .await;
        assert_eq!(Answer::parse(&seen).header("content-length"), "11");
    }
}

#[tokio::test]
async fn requests_sent_ahead_of_their_answers_are_answered_in_turn() {
    let (relay, key, mut edge) = linked().await;
    let mut socket = relay.connect().await;
    let last = post("/api/chat", &key, CHAT, "connection: close\r\n");
    let both = format!("{}\r\n{last}", post("/api/chat", &key, CHAT, ""));
    socket.write_all(both.as_bytes()).await.unwrap();
    edge.answer(200, "{\"n\":1}").await;
    edge.answer(200, "{\"n\":2}").await;
    let mut seen = Vec::new();
    let _ = patiently(socket.read_to_end(&mut seen)).await;
    let seen = text(&seen);
    assert!(seen.find("{\"n\":1}").is_some_and(|at| seen[at..].contains("{\"n\":2}")), "{seen}");
}

#[tokio::test]
async fn an_edges_error_reaches_the_caller_as_it_is() {
    let (relay, key, mut edge) = linked().await;
    let (answer, _) = tokio::join!(relay.post("/api/chat", &key, CHAT), edge.answer(400, "{\"error\":\"no tools\"}"));
    assert_eq!((answer.status, answer.body.as_str()), (400, "{\"error\":\"no tools\"}"));
}

#[tokio::test]
async fn a_long_body_arrives_whole() {
    let (relay, key, mut edge) = linked().await;
    let body = format!("{{\"model\":\"m\",\"images\":[\"{}\"]}}", "A".repeat(5_000_000));
    let serve = async {
        let (mut incoming, received) = edge.request().await;
        assert!(received == body, "{} of {} bytes", received.len(), body.len());
        incoming.stream.send_whole(head(200, "application/json"), "{}".into(), None).unwrap();
        incoming
    };
    let (answer, _) = tokio::join!(relay.post("/api/generate", &key, &body), serve);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_caller_who_leaves_cancels_before_and_after_the_head() {
    let (relay, key, mut edge) = linked().await;
    // What comes after the request must not hide that its caller has left.
    for (answered, more) in [(false, ""), (true, ""), (false, "x"), (true, "\r\n"), (false, "GET / HTTP/1.1\r\n\r\n")] {
        let mut socket = relay.connect().await;
        let request = post("/api/chat", &key, CHAT, "");
        socket.write_all(format!("{request}{more}").as_bytes()).await.unwrap();
        let (mut incoming, _) = edge.request().await;
        if answered {
            incoming.stream.send_head_with(head(200, "application/x-ndjson"), "{}\n".into()).unwrap();
            let mut byte = [0; 1];
            patiently(socket.read_exact(&mut byte)).await.unwrap();
        }
        let begun = Instant::now();
        drop(socket);
        cancelled(&mut incoming.stream).await;
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn delete_cancels_by_either_id_and_only_the_same_keys_requests() {
    let (relay, key, mut edge) = linked().await;
    let other = relay.key(&[]).await;
    let delete = |id: String, key: String| {
        let request = format!(
            "DELETE /causeway/v1/requests/{id} HTTP/1.1\r\nhost: relay\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n"
        );
        relay.raw(request)
    };
    let mut socket = relay.connect().await;
    let more = "x-request-id: mine\r\nconnection: close\r\n";
    socket.write_all(post("/api/chat", &key, CHAT, more).as_bytes()).await.unwrap();
    let (mut incoming, _) = edge.request().await;
    incoming.stream.send_head_with(head(200, "application/x-ndjson"), "{\"a\":\"hal".into()).unwrap();
    assert_eq!(delete("mine".to_owned(), other).await.status, 404);
    assert_eq!(delete("other".to_owned(), key.clone()).await.status, 404);
    let ours = incoming.stream.id().to_string();
    assert_eq!(delete(ours, key.clone()).await.status, 200);
    cancelled(&mut incoming.stream).await;
    let answer = patiently(Answer::read(&mut socket)).await;
    assert!(answer.whole && answer.body.ends_with("{\"error\":\"the request was cancelled\"}\n"), "{answer:?}");
    assert_eq!(delete("mine".to_owned(), key).await.status, 404, "it is over");
}

#[tokio::test]
async fn a_deadline_that_passes_ends_the_request_with_504() {
    let (relay, _, mut edge) = linked().await;
    let key = relay.key(&["--min-first-token-ms", "100"]).await;
    let begun = Instant::now();
    let serve = async {
        let (mut incoming, _) = edge.request().await;
        assert!(incoming.open.policy.hard);
        assert!(incoming.open.policy.deadline_ms.unwrap() <= 100);
        cancelled(&mut incoming.stream).await;
    };
    let (answer, ()) =
        tokio::join!(relay.post_with("/api/chat", &key, CHAT, "x-causeway-first-token-ms: 100\r\n"), serve);
    assert_eq!((answer.status, answer.header("x-causeway-reason")), (504, "deadline_exceeded"));
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[tokio::test]
async fn a_retryable_failure_is_tried_on_another_edge_and_the_caller_never_sees_it() {
    let (relay, key, mut first) = linked().await;
    let mut second = relay.edge("gpu-2", &["m:latest"], &key).await;
    let serve = async {
        let ((mut incoming, _), took) = tokio::select! {
            request = first.request() => (request, 1),
            request = second.request() => (request, 2),
        };
        incoming.stream.fail(Failure::new(Code::Draining, "the edge drains").retryable());
        let other = if took == 1 { &mut second } else { &mut first };
        (other.answer(200, "{\"ok\":1}").await, took)
    };
    let (answer, (_, took)) = tokio::join!(relay.post("/api/chat", &key, CHAT), serve);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-causeway-edge"), if took == 1 { "gpu-2" } else { "gpu-1" });
}

#[tokio::test]
async fn who_is_refused_for_load_is_told_when_a_slot_is_predicted_to_be_free() {
    let (relay, key, mut edge) = linked().await;
    let entry = ModelLoad { model: "m".to_owned(), in_flight: 5, answer_ms: 4_000, ..ModelLoad::default() };
    edge.link.set_load(Load { models: vec![entry] });
    until(async || {
        let serve = async {
            let (mut incoming, _) = edge.request().await;
            incoming.stream.fail(Failure::new(Code::Saturated, "the queue is full"));
        };
        let (answer, ()) = tokio::join!(relay.post("/api/chat", &key, CHAT), serve);
        assert_eq!((answer.status, answer.header("x-causeway-reason")), (503, "saturated"));
        // Four or five answers of four seconds, whether our own was one of them when the load arrived;
        // before that there is nothing to predict from.
        assert!(matches!(answer.header("retry-after"), "1" | "16" | "20"), "{answer:?}");
        answer.header("retry-after") != "1"
    })
    .await;
}

#[tokio::test]
async fn a_broken_answer_ends_as_its_dialect_says() {
    let (relay, key, mut edge) = linked().await;
    let lost = || Failure::new(Code::UpstreamIncomplete, "Ollama ended midway");
    for (target, body, sent, end) in [
        (
            "/api/chat",
            r#"{"model":"m"}"#,
            "{\"a\":1}\n{\"b",
            "\":null,\"error\":\"Ollama ended midway\"}\n{\"error\":\"Ollama ended midway\"}\n",
        ),
        (
            "/v1/messages",
            r#"{"model":"m","stream":true}"#,
            "event: ping\ndata: {}\n\n",
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Ollama ended midway\"}}\n\n",
        ),
    ] {
        let serve = async {
            let (mut incoming, _) = edge.request().await;
            incoming.stream.send_head_with(head(200, "text/plain"), sent.into()).unwrap();
            incoming.stream.fail(lost());
        };
        let (answer, ()) = tokio::join!(relay.post(target, &key, body), serve);
        assert!(answer.whole, "{answer:?}");
        assert_eq!(answer.body, format!("{sent}{end}"));
    }
    let mut socket = relay.connect().await;
    socket.write_all(post("/v1/embeddings", &key, r#"{"model":"m"}"#, "").as_bytes()).await.unwrap();
    let (mut incoming, _) = edge.request().await;
    incoming.stream.send_head_with(head(200, "application/json"), vec![b'['; 100_000].into()).unwrap();
    let mut seen = Vec::new();
    assert!(patiently(socket.read_buf(&mut seen)).await.unwrap() > 0);
    incoming.stream.fail(lost());
    // The cut may reach the caller as a reset.
    let _ = patiently(socket.read_to_end(&mut seen)).await;
    let answer = Answer::parse(&seen);
    assert!(!answer.whole, "a broken object must not look whole: {answer:?}");
}

#[tokio::test]
async fn a_model_that_no_edge_has_is_not_found_in_the_callers_dialect() {
    let (relay, key, _edge) = linked().await;
    let answer = relay.post("/v1/chat/completions", &key, r#"{"model":"other"}"#).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"]["code"], "model_not_found");
    assert_eq!(answer.header("x-should-retry"), "false");
    let pinned = relay.post_with("/api/chat", &key, CHAT, "x-causeway-edge: gpu-9\r\n").await;
    assert_eq!((pinned.status, pinned.header("x-causeway-reason")), (503, "edge_offline"));
}

#[tokio::test]
async fn sigterm_lets_running_answers_finish_and_ends_with_0() {
    let (mut relay, key, mut edge) = linked().await;
    let mut socket = relay.connect().await;
    socket.write_all(post("/api/chat", &key, CHAT, "").as_bytes()).await.unwrap();
    let (mut incoming, _) = edge.request().await;
    incoming.stream.send_head_with(head(200, "application/x-ndjson"), "{\"n\":1}\n".into()).unwrap();
    let mut seen = Vec::new();
    assert!(patiently(socket.read_buf(&mut seen)).await.unwrap() > 0);
    relay.terminate();
    until(async || tokio::net::TcpStream::connect(relay.callers).await.is_err()).await;
    incoming.stream.send_now("{\"n\":2}\n".into()).unwrap();
    incoming.stream.finish(None);
    let _ = patiently(socket.read_to_end(&mut seen)).await;
    let answer = Answer::parse(&seen);
    assert!(answer.whole && answer.body.ends_with("{\"n\":2}\n"), "{answer:?}");
    let status = patiently(tokio::task::spawn_blocking(move || relay.child.wait().map(|status| (status, relay)))).await;
    assert_eq!(status.unwrap().unwrap().0.code(), Some(0));
}
