//! The program as its operator and a relay see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use causeway_standin::{Config, Model, Standin};
use causeway_transport::Received;
use causeway_wire::Code;
use support::{Signal, World, answer, patiently};
use tokio::process::Command;

const CHAT: &str = "{\"model\":\"standin\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}";

fn paced(tokens: u32, gap_ms: u64) -> Config {
    let gap = Duration::from_millis(gap_ms);
    Config { models: vec![Model::named("standin").paced(tokens, gap, gap)], parallel: 64, ..Config::default() }
}

async fn command(args: &[&str], world: &World) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_causewayd"))
        .args(args)
        .arg("--config")
        .arg(world.config())
        .env("CAUSEWAY__STATUS__LISTEN", world.status.trim_start_matches("http://"))
        .output();
    let output = patiently(output).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn a_request_goes_the_whole_way_and_is_accounted_everywhere() {
    let world = World::start(paced(5, 0)).await;
    let (head, body, end) = answer(&mut world.post("/api/chat", CHAT)).await;
    assert_eq!(head.unwrap().status, 200);
    let text = String::from_utf8(body).unwrap();
    assert!(text.lines().last().unwrap().contains("\"done\":true"), "{text}");
    let Received::End(Some(outcome)) = end else { panic!("{end:?}") };
    assert_eq!(outcome.output_tokens, Some(5));

    let requests: serde_json::Value = serde_json::from_str(&world.get("/api/requests").await).unwrap();
    assert_eq!(requests[0]["path"], "/api/chat");
    assert_eq!(requests[0]["output_tokens"], 5);
    let metrics = world.get("/metrics").await;
    assert!(
        metrics.contains("causeway_requests_total{dialect=\"ollama\",outcome=\"served\",served_by=\"local\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("causeway_link_connected 1"), "{metrics}");
    assert!(metrics.contains("causeway_tokens_total{direction=\"output\",served_by=\"local\"} 5"), "{metrics}");
    assert_eq!(world.seen.catalog.lock().unwrap()[0].name, "standin:latest");
}

#[tokio::test]
async fn a_large_whole_answer_passes_the_links_window() {
    let mut config = paced(5, 0);
    config.models[0].embedding = 60_000;
    let world = World::start(config).await;
    let (head, body, end) =
        answer(&mut world.post("/api/embed", "{\"model\":\"standin\",\"input\":[\"a\",\"b\"]}")).await;
    assert_eq!(head.unwrap().status, 200);
    assert!(body.len() > 300_000, "{} bytes", body.len());
    let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(parsed["embeddings"].as_array().unwrap().len(), 2);
    assert!(matches!(end, Received::End(_)));
}

#[tokio::test]
async fn a_cancel_reaches_ollama() {
    let world = World::start(paced(10_000, 5)).await;
    let mut stream = world.post("/api/chat", CHAT);
    while !matches!(patiently(stream.recv()).await, Received::Data(_)) {}
    stream.cancel("test");
    patiently(async {
        while world.standin().cancels().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let metrics = world.get("/metrics").await;
    assert!(metrics.contains("causeway_cancel_to_release_seconds_count 1"), "{metrics}");
}

#[tokio::test]
async fn status_tells_ready_by_its_exit_code() {
    let mut world = World::start(paced(5, 0)).await;
    patiently(async { while !world.get("/readyz").await.contains("\"ready\":true") {} }).await;
    let (code, said) = command(&["status"], &world).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("standin:latest"), "{said}");
    let (code, said) = command(&["status", "--json"], &world).await;
    assert_eq!(code, Some(0), "{said}");
    let snapshot: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(snapshot["link"]["connected"], true);

    world.signal(Signal::TERM);
    assert_eq!(world.exit_code().await, Some(0));
    let (code, said) = command(&["status"], &world).await;
    assert_eq!(code, Some(69), "{said}");
}

#[tokio::test]
async fn sigterm_finishes_what_runs_and_takes_no_more() {
    let mut world = World::start(paced(30, 20)).await;
    let mut running = Vec::new();
    for _ in 0..20 {
        running.push(world.post("/api/chat", CHAT));
    }
    while !matches!(patiently(running[19].recv()).await, Received::Data(_)) {}
    world.signal(Signal::TERM);
    for stream in &mut running {
        let (_, _, end) = answer(stream).await;
        assert!(matches!(end, Received::End(Some(_))), "{end:?}");
    }
    assert_eq!(world.exit_code().await, Some(0));
}

#[tokio::test]
async fn sigterm_waits_for_a_caller_who_has_not_taken_the_end_of_a_finished_answer() {
    let mut config = paced(5, 0);
    config.models[0].embedding = 60_000;
    let mut world = World::start(config).await;
    let mut stream = world.post("/api/embed", "{\"model\":\"standin\",\"input\":[\"a\",\"b\"]}");
    // Ollama is done and the request accounted; most of the answer waits for the relay's window.
    patiently(async { while !world.get("/api/requests").await.contains("/api/embed") {} }).await;
    world.signal(Signal::TERM);
    patiently(async { while !world.get("/api/status").await.contains("\"draining\"") {} }).await;
    let (_, body, end) = answer(&mut stream).await;
    assert!(matches!(end, Received::End(Some(_))), "{end:?}");
    assert!(body.len() > 300_000 && body.ends_with(b"}"), "{} bytes", body.len());
    drop(stream);
    assert_eq!(world.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_forces_also_while_a_finished_answer_waits_for_its_caller() {
    let mut config = paced(5, 0);
    config.models[0].embedding = 60_000;
    let mut world = World::start(config).await;
    let stream = world.post("/api/embed", "{\"model\":\"standin\",\"input\":[\"a\",\"b\"]}");
    patiently(async { while !world.get("/api/requests").await.contains("/api/embed") {} }).await;
    world.signal(Signal::TERM);
    patiently(async { while !world.get("/api/status").await.contains("\"draining\"") {} }).await;
    world.signal(Signal::TERM);
    assert_eq!(world.exit_code().await, Some(0));
    drop(stream);
}

#[tokio::test]
async fn an_ollama_that_is_down_at_start_is_said_and_used_once_it_is_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::launch(&format!("http://{free}")).await;
    let (_, _, end) = answer(&mut world.post("/api/chat", CHAT)).await;
    let Received::Failed(failure) = end else { panic!("{end:?}") };
    assert_eq!(failure.code, Code::LocalUnavailable);
    assert!(failure.message.contains("start it"), "{}", failure.message);
    assert!(world.get("/api/status").await.contains("Ollama"), "the status names no fault");
    let _standin = Standin::spawn(Config { listen: free, ..paced(5, 0) }).await.unwrap();
    world.announced().await;
    let (_, _, end) = answer(&mut world.post("/api/chat", CHAT)).await;
    assert!(matches!(end, Received::End(Some(_))), "{end:?}");
}

#[tokio::test]
async fn a_second_signal_forces() {
    let mut world = World::start(paced(100_000, 20)).await;
    let mut stream = world.post("/api/chat", CHAT);
    while !matches!(patiently(stream.recv()).await, Received::Data(_)) {}
    world.signal(Signal::TERM);
    patiently(async { while !world.get("/api/status").await.contains("\"draining\"") {} }).await;
    world.signal(Signal::TERM);
    let (_, _, end) = answer(&mut stream).await;
    let Received::Failed(failure) = end else { panic!("{end:?}") };
    assert_eq!(failure.code, Code::Draining, "{}", failure.message);
    assert_eq!(world.exit_code().await, Some(0));
}

#[tokio::test]
async fn sighup_takes_a_new_certificate_and_keeps_the_old_one_if_the_new_is_bad() {
    let world = World::start(paced(5, 0)).await;
    world.rename_edge("gpu-2");
    world.signal(Signal::HUP);
    patiently(async { while !world.get("/api/status").await.contains("reload refused") {} }).await;
    let (_, _, end) = answer(&mut world.post("/api/chat", CHAT)).await;
    assert!(matches!(end, Received::End(Some(_))), "{end:?}");

    let shown = || world.seen.certificates.lock().unwrap().clone();
    let old = shown();
    assert!(old.iter().all(|certificate| *certificate == old[0]), "the bad one was shown");
    world.rename_edge("gpu-1");
    world.signal(Signal::HUP);
    patiently(async { while world.get("/api/status").await.contains("reload refused") {} }).await;
    patiently(async {
        while shown().iter().filter(|certificate| **certificate != old[0]).count() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (_, _, end) = answer(&mut world.post("/api/chat", CHAT)).await;
    assert!(matches!(end, Received::End(Some(_))), "{end:?}");
}

#[tokio::test]
async fn what_a_hostile_relay_asks_never_reaches_ollama() {
    let world = World::start(Config { record: 100, ..paced(5, 0) }).await;
    for path in ["/api/pull", "//api/pull", "/api/../api/delete", "/api%2fdelete", "/debug/pprof/", "/metrics"] {
        let (_, _, end) = answer(&mut world.post(path, "{}")).await;
        let Received::Failed(failure) = end else { panic!("{path}: {end:?}") };
        assert_eq!(failure.code, Code::RouteNotAllowed, "{path}");
    }
    let own = ["/api/tags", "/api/ps", "/api/version", "/api/show"];
    let reached = world.standin().requests();
    assert!(reached.iter().all(|seen| own.contains(&seen.target.as_str())), "{reached:?}");
}

#[tokio::test]
async fn a_taken_status_port_is_named_with_its_key() {
    let world = World::start(paced(5, 0)).await;
    let (code, said) = command(&["run"], &world).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("status.listen") && said.contains("CAUSEWAY__STATUS__LISTEN"), "{said}");
}

#[tokio::test]
async fn commands_exit_with_the_contracts_codes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    std::fs::write(&file, "[relay]\nurl = \"ws://x\"\nextra = 1\n").unwrap();
    let file = file.to_str().unwrap();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/causewayd.toml");
    for (args, expected, said) in [
        (vec!["check-config", "--config", file], 78, "bad.toml:2: relay.url"),
        (vec!["check-config", "--config", file], 78, "bad.toml:3: relay.extra"),
        (vec!["run", "--config", file], 78, "bad.toml:2: relay.url"),
        (vec!["check-config", "--config", "/nowhere/x.toml"], 78, "/nowhere/x.toml"),
        (vec!["check-config", "--config", shipped], 0, "no faults"),
        (vec!["run", "--config", shipped], 78, "enrol this edge first"),
        (vec!["--version"], 0, "causewayd"),
        (vec!["--nonsense"], 64, "--nonsense"),
        (vec!["fly"], 64, "fly"),
        (vec![], 64, "Usage"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_causewayd")).args(&args).output().await.unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(expected), "{args:?}: {text}");
        assert!(text.contains(said), "{args:?}: {text}");
    }
}
