//! What a wrong or impossible command line says, and how it exits.

use std::net::TcpListener;

use tokio::io::AsyncWriteExt;

use crate::harness::{command, fails};

#[tokio::test]
async fn an_unknown_flag_exits_64() {
    assert_eq!(fails(&["--frobnicate"]).await.0, Some(64));
    assert_eq!(command(&["--help"]).output().await.unwrap().status.code(), Some(0));
}

#[tokio::test]
async fn flags_of_overflow_that_do_not_fit_together_exit_64_and_say_what_is_missing() {
    let cases: [(&[&str], &str); 4] = [
        (&["--bedrock-endpoint", "http://127.0.0.1:1"], "--bedrock-model"),
        (&["--bedrock-model", "a"], "LOCAL=BEDROCK_ID"),
        (&["--bedrock-model", "a=b", "--daily-usd", "5"], "a=b,IN,OUT"),
        (&["--daily-usd", "5"], "--bedrock-model"),
    ];
    for (flags, expected) in cases {
        let (code, said) = fails(flags).await;
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(expected), "{said}");
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

#[tokio::test]
async fn something_else_at_ollamas_own_address_is_said_and_never_replaced_by_the_stand_in() {
    for answer in
        ["HTTP/1.1 200 OK\r\n\r\n<h1>hello</h1>", "HTTP/1.1 404 Not Found\r\n\r\n", "220 mail.example ESMTP\r\n"]
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let other = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                // The first connection only looks whether anything is there.
                let _left = socket.write_all(answer.as_bytes()).await;
            }
        });
        let (code, said) = fails(&["--port", "0", "--status-port", "0", "--usual-ollama", &url]).await;
        other.abort();
        assert_eq!(code, Some(1), "{said}");
        for part in [&url, "not an Ollama", "--ollama URL", "--stand-in"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
