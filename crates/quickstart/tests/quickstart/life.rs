//! From start to end: ready, an answer, a drain, a kill.

use std::os::unix::fs::PermissionsExt;

use causeway_standin::{Config, Model, Standin};
use rustix::process::{Signal, kill_process};

use crate::harness::{Quickstart, poll_until, runs};

#[tokio::test]
async fn it_answers_says_so_in_a_private_file_and_prints_a_line_for_each_request() {
    let quickstart = Quickstart::start(&["--stand-in"]).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&quickstart.ready_file), 0o600);
    assert_eq!(mode(quickstart.state()), 0o700);
    let keys = ["url", "api_key", "status_url", "edge_url", "state_dir", "pid", "relay_pid", "daemon_pid", "stand_in"];
    for key in keys {
        assert!(!quickstart.ready[key].is_null(), "{key}");
    }
    assert_eq!(quickstart.ready["stand_in"], true);
    let answer = quickstart.chat(5).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"done\":true"), "{answer}");
    let said = quickstart.said();
    for part in ["budget: unlimited", "curl http", "from ollama import", "from openai import", "stand-in"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    quickstart.until_said("POST   /api/chat").await;
}

#[tokio::test]
async fn sigterm_lets_answers_end_then_exits_0_and_removes_its_state() {
    let mut quickstart = Quickstart::start(&["--stand-in"]).await;
    let state = quickstart.state().to_owned();
    let chat = quickstart.chat(60).await;
    quickstart.signal(Signal::TERM);
    let answer = chat.rest().await;
    assert!(answer.contains("\"done\":true"), "{answer}");
    let status = quickstart.ended().await;
    assert_eq!(status.code(), Some(0), "{}", quickstart.said());
    assert!(!state.exists() && !quickstart.ready_file.exists());
    assert!(!runs(quickstart.pid("relay_pid")) && !runs(quickstart.pid("daemon_pid")));
}

#[tokio::test]
async fn a_second_ctrl_c_ends_at_once_whatever_still_runs() {
    let mut quickstart = Quickstart::start(&["--stand-in"]).await;
    let state = quickstart.state().to_owned();
    let endless = quickstart.chat(100_000).await;
    quickstart.signal(Signal::INT);
    quickstart.until_said("Draining").await;
    quickstart.signal(Signal::INT);
    let status = quickstart.ended().await;
    assert_eq!(status.code(), Some(1), "{}", quickstart.said());
    assert!(quickstart.said().contains("Ended at once."), "{}", quickstart.said());
    assert!(!state.exists() && !quickstart.ready_file.exists());
    assert!(!runs(quickstart.pid("relay_pid")) && !runs(quickstart.pid("daemon_pid")));
    drop(endless);
}

#[tokio::test]
async fn a_child_that_dies_is_named_at_once_with_its_end_and_the_rest_is_drained() {
    let mut quickstart = Quickstart::start(&["--stand-in"]).await;
    let endless = quickstart.chat(100_000).await;
    kill_process(quickstart.pid("daemon_pid"), Signal::KILL).unwrap();
    quickstart.until_said("the daemon ended unasked (signal: 9").await;
    quickstart.until_said("Draining what still runs").await;
    // The relay still waits for the daemon to come back for the answer.
    quickstart.signal(Signal::INT);
    let status = quickstart.ended().await;
    assert_eq!(status.code(), Some(1), "{}", quickstart.said());
    assert!(!runs(quickstart.pid("relay_pid")));
    drop(endless);
}

#[tokio::test]
async fn killing_it_ends_its_children_and_their_state() {
    let mut quickstart = Quickstart::start(&["--stand-in"]).await;
    let (relay, daemon) = (quickstart.pid("relay_pid"), quickstart.pid("daemon_pid"));
    assert!(runs(relay) && runs(daemon));
    // With an answer under way every child has its own reason to end; none may cut the removal short.
    let endless = quickstart.chat(100_000).await;
    quickstart.signal(Signal::KILL);
    quickstart.ended().await;
    poll_until("the children end", || !runs(relay) && !runs(daemon)).await;
    // It is renamed before it is removed.
    let renamed = quickstart.state().with_extension("gone");
    poll_until("the state is gone", || !quickstart.state().exists() && !renamed.exists()).await;
    drop(endless);
}

#[tokio::test]
async fn a_second_one_works_beside_the_first() {
    let first = Quickstart::start(&["--stand-in"]).await;
    let second = Quickstart::start(&["--stand-in"]).await;
    assert_ne!(first.ready["url"], second.ready["url"]);
    assert!(first.chat(2).await.rest().await.contains("\"done\":true"));
    assert!(second.chat(2).await.rest().await.contains("\"done\":true"));
}

#[tokio::test]
async fn an_ollama_without_a_model_is_waited_for() {
    let ollama = Standin::spawn(Config { models: Vec::new(), ..Config::default() }).await.unwrap();
    let mut quickstart = Quickstart::begin(&["--ollama", &ollama.url()]);
    quickstart.until_said("ollama pull").await;
    assert!(!quickstart.ready_file.exists());
    ollama.set_models(&[Model::named("standin:latest")]);
    quickstart.until_ready().await;
    assert_eq!(quickstart.ready["stand_in"], false);
    assert!(quickstart.chat(2).await.rest().await.contains("\"done\":true"));
}
