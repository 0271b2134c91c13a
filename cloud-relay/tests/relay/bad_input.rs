//! Callers who send what they should not: a clear error for them, nothing for anybody else.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, Relay, patiently, post, run, until};

const CHAT: &str = r#"{"model":"m","messages":[]}"#;

#[tokio::test]
async fn paths_that_try_to_reach_management_routes_are_forbidden() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    for target in [
        "/api/pull",
        "//api/pull",
        "/api/../api/delete",
        "/api/%2e%2e/api/delete",
        "/api%2fpull",
        "/API/Pull",
        "/api/delete",
        "/api/blobs/sha256:00",
        "/debug/pprof/heap",
        "http://127.0.0.1:11434/api/tags",
        "http://relay/api/chat",
        "/api/me",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let request = format!(
                "{method} {target} HTTP/1.1\r\nhost: relay\r\nx-api-key: {key}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let answer = relay.raw(request).await;
            assert_eq!(answer.status, 403, "{method} {target}: {answer:?}");
            assert_eq!(answer.header("x-causeway-reason"), "route_not_allowed", "{target}");
            assert_eq!(answer.header("x-should-retry"), "false");
        }
    }
    for target in ["/v1/messages/batches", "/v1/audio/transcriptions", "/nothing", "/api/chat/"] {
        assert_eq!(relay.post(target, &key, CHAT).await.status, 404, "{target}");
    }
    let wrong = relay.get("/api/chat", &key).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn only_one_good_credential_lets_in() {
    let relay = Relay::start();
    let key = relay.key(&["--expires", "90d"]).await;
    let other = relay.key(&[]).await;
    let body = |headers: &str| {
        format!(
            "POST /api/chat HTTP/1.1\r\nhost: relay\r\n{headers}connection: close\r\ncontent-length: 27\r\n\r\n{CHAT}"
        )
    };
    // Another last digit, whatever it was.
    let wrong = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    for (headers, status) in [
        (String::new(), 401),
        (format!("authorization: Bearer {key}\r\nx-api-key: {other}\r\n"), 401),
        (format!("authorization: Bearer {wrong}\r\n"), 401),
        (format!("authorization: Basic {key}\r\n"), 401),
        ("x-api-key: cw_nobody_00\r\n".to_owned(), 401),
        // Let in, and nothing is linked.
        (format!("authorization: Bearer {key}\r\nx-api-key: {key}\r\n"), 503),
        (format!("x-api-key: {key}\r\n"), 503),
    ] {
        let answer = relay.raw(body(&headers)).await;
        assert_eq!(answer.status, status, "{headers}: {answer:?}");
        assert!(answer.json()["error"].is_string());
        assert!(!answer.body.contains("cw_"), "{}", answer.body);
    }
    assert_eq!(relay.get("/", "nonsense").await.status, 200);
    assert_eq!(relay.get("/healthz", "nonsense").await.status, 200);
    assert_eq!(relay.get("/readyz", "nonsense").await.status, 401);
    // A path in another spelling is the same path, with the same guard.
    assert_eq!(relay.get("/%68ealthz", "nonsense").await.status, 200);
    assert_eq!(relay.get("/causeway/v1/%65dges", "nonsense").await.status, 401);
    assert_eq!(relay.get("/causeway/v1/%65dges", &key).await.status, 403);
}

#[tokio::test]
async fn a_revoked_or_expired_key_is_refused_within_a_second() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    // Long enough for a busy machine to see it valid first.
    let expiring = relay.key(&["--expires", "5s"]).await;
    let id = key.split('_').nth(1).unwrap();
    assert!(run(&["keys", "revoke", "--config", relay.config.to_str().unwrap(), id]).status.success());
    let begun = std::time::Instant::now();
    for (key, limit) in [(&key, 2_500), (&expiring, 7_500)] {
        until(async || relay.post("/api/chat", key, CHAT).await.status == 401).await;
        assert!(begun.elapsed() < Duration::from_millis(limit), "{:?}", begun.elapsed());
    }
    assert!(relay.post("/api/chat", &key, CHAT).await.body.contains("revoked"));
    assert!(relay.post("/api/chat", &expiring, CHAT).await.body.contains("expired"));
}

#[tokio::test]
async fn guessing_is_slowed_down_and_the_good_key_from_the_same_address_is_not() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    let mut limited = None;
    for _ in 0..100 {
        let answer = relay.post("/api/chat", "cw_guess_00", CHAT).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    assert!(limited.expect("never limited").header("retry-after").parse::<u64>().is_ok());
    assert_eq!(relay.post("/api/chat", &key, CHAT).await.status, 503);
}

#[tokio::test]
async fn a_model_outside_the_scope_is_refused_in_every_spelling() {
    let relay = Relay::start();
    let key = relay.key(&["--models", "qwen3:*", "--models", "phi*"]).await;
    for name in [
        "llama3",
        "LLAMA3:latest",
        "library/llama3",
        "registry.ollama.ai/library/llama3",
        "https://registry.ollama.ai/library/llama3",
        "llama3:local",
        "\\u006clama3",
        " llama3",
    ] {
        let answer = relay.post("/api/chat", &key, &format!("{{\"model\":\"{name}\"}}")).await;
        assert_eq!((answer.status, answer.header("x-causeway-reason")), (403, "forbidden_model"), "{name}");
    }
    for name in ["qwen3:8b", "Library/QWEN3", "phi4"] {
        let answer = relay.post("/api/chat", &key, &format!("{{\"model\":\"{name}\"}}")).await;
        assert_eq!(answer.header("x-causeway-reason"), "edge_offline", "{name}");
    }
    let by_path = relay.get("/v1/models/llama3", &key).await;
    assert_eq!(by_path.json()["error"]["code"], "forbidden_model");
}

#[tokio::test]
async fn bodies_that_are_not_one_clear_object_are_refused() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    for body in [
        "",
        "nonsense",
        "[1]",
        "{\"model\":\"m\"",
        "{}",
        "{\"model\":\"\"}",
        "{\"model\":\"m\",\"model\":\"n\"}",
        "{\"model\":\"m\",\"Model\":\"n\"}",
        "{\"model\":\"m\",\"ſtream\":true}",
        "{\"model\":\"m\",\"\\u017ftream\":true}",
        "{\"model\":\"m\",\"\u{212A}eep_alive\":0}",
        "{\"model\":\"m\",\"OPTIONS\":{}}",
        "{\"model\":\"m\"}{}",
    ] {
        let answer = relay.post("/api/chat", &key, body).await;
        assert_eq!((answer.status, answer.header("x-causeway-reason")), (400, "invalid_request"), "{body}");
        let answer = relay.post("/v1/chat/completions", &key, body).await;
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error", "{body}");
        let answer = relay.post("/v1/messages", &key, body).await;
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error", "{body}");
    }
    let compressed = relay.post_with("/api/chat", &key, CHAT, "content-encoding: gzip\r\n").await;
    assert_eq!(compressed.status, 415);
    let cloud_only = relay.post_with("/api/chat", &key, CHAT, "x-causeway-route: cloud-only\r\n").await;
    assert_eq!((cloud_only.status, cloud_only.header("x-causeway-reason")), (503, "edge_offline"), "none has said no");
    let nonsense = relay.post_with("/api/chat", &key, CHAT, "x-causeway-route: moon\r\n").await;
    assert_eq!(nonsense.status, 400);
    assert!(nonsense.body.contains("auto, local-only or cloud-only"), "{nonsense:?}");
}

#[tokio::test]
async fn a_body_framed_twice_is_refused_and_its_connection_closed() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    for framing in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 0\r\ncontent-length: 0\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "transfer-encoding: chunked, identity\r\n",
    ] {
        let smuggled = "0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: relay\r\n\r\n";
        let request = format!("POST /api/chat HTTP/1.1\r\nhost: relay\r\nx-api-key: {key}\r\n{framing}\r\n{smuggled}");
        let mut socket = relay.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let _ = patiently(socket.read_to_end(&mut all)).await;
        let answer = Answer::parse(&all);
        assert_eq!(answer.status, 400, "{framing}: {answer:?}");
        let all = String::from_utf8_lossy(&all);
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{framing} smuggled a request: {all}");
    }
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    for length in [5_000, 20_000, 100_000] {
        let more = format!("x-long: {}\r\n", "a".repeat(length));
        assert_eq!(relay.post_with("/api/chat", &key, CHAT, &more).await.status, 431, "{length}");
    }
    let query = format!("/api/chat?{}", "q".repeat(3_000));
    assert_eq!(relay.post(&query, &key, CHAT).await.status, 414);
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_without_reading_them() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    let mut socket = relay.connect().await;
    let head =
        format!("POST /api/chat HTTP/1.1\r\nhost: relay\r\nx-api-key: {key}\r\ncontent-length: 100000000\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = socket.into_split();
    let flood = tokio::spawn(async move {
        let block = vec![b'a'; 1 << 20];
        for _ in 0..100 {
            if write.write_all(&block).await.is_err() {
                return;
            }
        }
    });
    let answer = patiently(Answer::read(&mut read)).await;
    assert_eq!((answer.status, answer.header("x-causeway-reason")), (413, "too_large"), "{answer:?}");
    flood.abort();
}

#[tokio::test]
async fn a_caller_that_reads_only_after_its_whole_upload_still_gets_the_refusal() {
    let relay = Relay::with(false, "[limits]\nbody-mib = 1");
    let key = relay.key(&[]).await;
    let answer = relay.post("/api/chat", &key, &" ".repeat(8 << 20)).await;
    assert_eq!((answer.status, answer.header("x-causeway-reason")), (413, "too_large"), "{answer:?}");
}

#[tokio::test]
async fn a_chunked_body_is_counted_as_it_comes() {
    let relay = Relay::with(false, "[limits]\nbody-mib = 1\nbodies-mib = 1");
    let key = relay.key(&[]).await;
    let mut request =
        format!("POST /api/chat HTTP/1.1\r\nhost: relay\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\n")
            .into_bytes();
    for _ in 0..20 {
        request.extend_from_slice(b"10000\r\n");
        request.extend_from_slice(&[b' '; 0x10000]);
        request.extend_from_slice(b"\r\n");
    }
    let answer = relay.raw(&request).await;
    // Also where all bodies together have no more room than one: trying again cures nothing.
    assert_eq!((answer.status, answer.header("x-causeway-reason")), (413, "too_large"), "{answer:?}");
}

#[tokio::test]
async fn half_a_body_is_an_error_for_its_sender_and_holds_nothing() {
    let relay = Relay::with(false, "[limits]\nstreams = 1");
    let key = relay.key(&[]).await;
    let whole = post("/api/chat", &key, CHAT, "connection: close\r\n");
    // The one place is taken while the body is awaited; again if our asking was there first.
    let mut socket = patiently(async {
        loop {
            let mut socket = relay.connect().await;
            socket.write_all(&whole.as_bytes()[..whole.len() - 5]).await.unwrap();
            if relay.post("/api/chat", &key, CHAT).await.header("x-causeway-reason") == "saturated" {
                return socket;
            }
        }
    })
    .await;
    socket.shutdown().await.unwrap();
    let answer = patiently(Answer::read(&mut socket)).await;
    assert_eq!((answer.status, answer.header("x-causeway-reason")), (400, "invalid_request"), "{answer:?}");
    until(async || relay.post("/api/chat", &key, CHAT).await.header("x-causeway-reason") == "edge_offline").await;
}

#[tokio::test]
async fn bytes_that_are_no_http_end_their_own_connection_only() {
    let relay = Relay::start();
    let bystander = relay.connect().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
    ] {
        let answer = relay.raw([bytes, b"\r\n\r\n"].concat()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let mut bystander = bystander;
    bystander.write_all(b"GET /healthz HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(patiently(Answer::read(&mut bystander)).await.status, 200);
}
