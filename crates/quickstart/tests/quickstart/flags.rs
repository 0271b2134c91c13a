//! What a wrong or impossible command line says, and how it exits.

use std::net::TcpListener;

use crate::harness::{command, fails};

#[tokio::test]
async fn an_unknown_flag_exits_64() {
    assert_eq!(fails(&["--frobnicate"]).await.0, Some(64));
    assert_eq!(command(&["--help"]).output().await.unwrap().status.code(), Some(0));
}

#[tokio::test]
async fn flags_of_overflow_exit_64_and_say_that_it_is_not_there_yet() {
    let cases: [&[&str]; 3] =
        [&["--bedrock-endpoint", "http://127.0.0.1:1"], &["--bedrock-model", "a=b"], &["--daily-usd", "5"]];
    for flags in cases {
        let (code, said) = fails(flags).await;
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(flags[0]) && said.contains("not there yet"), "{said}");
    }
}

#[tokio::test]
async fn a_taken_port_names_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, said) = fails(&["--stand-in", "--port", &port, "--status-port", "0"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
    let (code, said) = fails(&["--stand-in", "--port", "0", "--status-port", &port]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains(&port) && said.contains("--status-port"), "{said}");
}

#[tokio::test]
async fn an_ollama_that_was_named_and_does_not_answer_is_an_error() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let (code, said) = fails(&["--port", "0", "--status-port", "0", "--ollama", &url]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("--ollama") && said.contains(&url), "{said}");
    let (code, said) = fails(&["--port", "0", "--status-port", "0", "--ollama", "https://gpu"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("http://"), "{said}");
}
