//! The port itself, over a socket: hosts, methods, facts.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use causeway_transport::{EdgeLinkStatus, LinkFault};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::config::OllamaUrl;
use crate::fixtures;
use crate::identity::Life;

const HOUR: Duration = Duration::from_secs(3_600);

fn view(link: EdgeLinkStatus) -> Arc<View> {
    view_of(move || link.clone(), Life { not_before: UNIX_EPOCH, not_after: SystemTime::now() + HOUR })
}

fn view_of(link: impl Fn() -> EdgeLinkStatus + Send + Sync + 'static, life: Life) -> Arc<View> {
    Arc::new(View {
        work: fixtures::work_and_chores(OllamaUrl { host: "127.0.0.1".to_owned(), port: 1 }).0,
        link: Box::new(link),
        relay: "wss://relay.example.com:443/edge".to_owned(),
        edge: "gpu-1".to_owned(),
        certificate: ArcSwap::from_pointee(Certificate { life, reload_fault: None }),
        overflow_fault: None,
        started: SystemTime::now(),
        draining: AtomicBool::new(false),
    })
}

/// A fault of the link, an hour after the epoch.
fn fault(text: &str) -> Option<LinkFault> {
    Some(LinkFault { at: UNIX_EPOCH + HOUR, text: text.to_owned() })
}

/// One request over a fresh connection; the whole answer as text.
async fn ask(link: EdgeLinkStatus, request: impl Fn(u16) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, view(link)));
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request(address.port()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    server.abort();
    answer
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

async fn ask_own(path: &str) -> String {
    ask(EdgeLinkStatus::default(), |port| get(path, &format!("127.0.0.1:{port}"))).await
}

#[test]
fn only_loopback_names_with_the_own_port_are_own() {
    for host in ["127.0.0.1:9180", "localhost:9180", "LOCALHOST:9180", "[::1]:9180", "127.0.0.2:9180"] {
        assert!(is_own(host, 9180), "{host}");
    }
    for host in
        ["evil.example:9180", "127.0.0.1", "127.0.0.1:80", "localhost.evil.example:9180", "", "10.0.0.1:9180", "[::1]"]
    {
        assert!(!is_own(host, 9180), "{host}");
    }
    assert!(is_own("localhost", 80));
}

#[tokio::test]
async fn a_foreign_host_is_refused_on_every_path() {
    for path in ["/", "/api/status", "/metrics", "/healthz"] {
        let answer = ask(EdgeLinkStatus::default(), |port| get(path, &format!("evil.example:{port}"))).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    }
}

#[tokio::test]
async fn only_get_is_answered() {
    for method in ["POST", "DELETE", "OPTIONS", "HEAD"] {
        let request =
            |port| format!("{method} /api/status HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\r\n");
        let answer = ask(EdgeLinkStatus::default(), request).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn no_answer_has_a_cors_header() {
    let request = |port| {
        format!(
            "GET /api/status HTTP/1.1\r\nhost: localhost:{port}\r\norigin: http://evil.example\r\nconnection: close\r\n\r\n"
        )
    };
    let answer = ask(EdgeLinkStatus::default(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("access-control"), "{answer}");
}

#[tokio::test]
async fn the_process_is_healthy_while_the_edge_is_not_ready() {
    assert!(ask_own("/healthz").await.starts_with("HTTP/1.1 200"));
    let readiness = ask_own("/readyz").await;
    assert!(readiness.starts_with("HTTP/1.1 503"), "{readiness}");
    for fact in ["link", "return_path", "ollama", "model", "last_success"] {
        assert!(readiness.contains(&format!("\"{fact}\":{{\"ok\":false")), "{fact} in {readiness}");
    }
}

#[tokio::test]
async fn status_says_what_a_person_should_mend() {
    let link = EdgeLinkStatus { last_fault: fault("relay.example.com: no route"), ..Default::default() };
    let answer = ask(link, |port| get("/api/status", &format!("localhost:{port}"))).await;
    assert!(answer.contains("no link to the relay: relay.example.com: no route"), "{answer}");
}

#[test]
fn a_dial_that_fails_beside_a_live_connection_is_a_fault_too() {
    let link = EdgeLinkStatus { connections: 1, wanted: 2, last_fault: fault("refused"), ..Default::default() };
    let snapshot = serde_json::to_value(view(link).snapshot()).unwrap();
    assert_eq!(snapshot["faults"][0], "the link has 1 of 2 connections: refused");
}

#[test]
fn the_last_fault_of_a_link_that_is_up_again_is_told_with_its_time() {
    let link = EdgeLinkStatus { connections: 2, wanted: 2, last_fault: fault("no route"), ..Default::default() };
    let snapshot = serde_json::to_value(view(link).snapshot()).unwrap();
    assert_eq!(snapshot["link"]["last_error"], "no route");
    assert_eq!(snapshot["link"]["last_error_ms"], 3_600_000);
    assert_eq!(snapshot["faults"], serde_json::json!([]));
    assert!(crate::probe::describe(&snapshot).contains("s ago: no route"), "{snapshot}");
}

#[test]
fn a_certificate_that_expires_while_the_daemon_runs_becomes_a_fault_then() {
    let up = || EdgeLinkStatus { connections: 2, ..Default::default() };
    let end = SystemTime::now() - Duration::from_secs(1);
    let life = Life { not_before: UNIX_EPOCH, not_after: end };
    // Loaded while it held; asked after.
    assert_eq!(life.fault(end - HOUR), None);
    let snapshot = serde_json::to_value(view_of(up, life).snapshot()).unwrap();
    assert!(snapshot["faults"][0].as_str().unwrap().contains("has expired"), "{snapshot}");
    let early = Life { not_before: end + HOUR, not_after: end + 2 * HOUR };
    let snapshot = serde_json::to_value(view_of(up, early).snapshot()).unwrap();
    assert!(snapshot["faults"][0].as_str().unwrap().contains("clock"), "{snapshot}");
}

#[tokio::test]
async fn every_metric_of_this_version_has_its_name_from_the_start() {
    let metrics = ask_own("/metrics").await;
    for name in [
        "requests_total{",
        "tokens_total{",
        "build_info{",
        "link_connected ",
        "link_rtt_seconds ",
        "link_reconnects_total{",
        "link_resumed_streams_total ",
        "certificate_expiry_timestamp_seconds ",
    ] {
        assert!(metrics.contains(&format!("causeway_{name}")), "{name} in {metrics}");
    }
}

#[tokio::test]
async fn the_first_page_is_self_contained() {
    let page = ask_own("/").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("content-security-policy"));
    assert!(!PAGE.contains("http://") && !PAGE.contains("https://"));
}
