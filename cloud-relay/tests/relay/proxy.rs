//! `causeway-relay proxy`: clients without a key, on this machine.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Answer, Relay, head, patiently, run, text};

const CHAT: &str = r#"{"model":"m","messages":[]}"#;

/// A proxy process that ends with the test.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn start(relay: &Relay, key: &str, url: &str, more: &[&str]) -> Self {
        let file = key_file(relay, key);
        let mut child = Command::new(env!("CARGO_BIN_EXE_causeway-relay"))
            .args(["proxy", "--relay", url, "--listen", "127.0.0.1:0", "--key-file", file.to_str().unwrap()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
        Self { child, address }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn raw(&self, bytes: &str) -> Answer {
        let mut socket = self.connect().await;
        socket.write_all(bytes.as_bytes()).await.unwrap();
        patiently(Answer::read(&mut socket)).await
    }
}

fn key_file(relay: &Relay, key: &str) -> PathBuf {
    let path = relay.directory.path().join("key");
    std::fs::write(&path, key).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A request as a client sends it that knows no key.
fn keyless(method: &str, target: &str, host: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_client_without_a_key_is_answered_piece_by_piece_and_its_leaving_cancels() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    let mut edge = relay.edge("gpu-1", &["m:latest"], &key).await;
    let proxy = Proxy::start(&relay, &key, &format!("http://{}", relay.callers), &[]);
    let mut socket = proxy.connect().await;
    // The key of an OpenAI client that was told to use any.
    let more = "authorization: Bearer ollama\r\n";
    socket.write_all(keyless("POST", "/api/chat", "127.0.0.1:11435", more, CHAT).as_bytes()).await.unwrap();
    let (mut incoming, body) = edge.request().await;
    assert_eq!(body, CHAT);
    incoming.stream.send_head_with(head(200, "application/x-ndjson"), "{\"first\":1}\n".into()).unwrap();
    let mut seen = String::new();
    while !seen.contains("{\"first\":1}") {
        let mut bytes = [0; 1024];
        let read = patiently(socket.read(&mut bytes)).await.unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&text(&bytes[..read]));
    }
    assert!(seen.starts_with("HTTP/1.1 200") && seen.contains("x-causeway-edge: gpu-1"), "{seen}");
    drop(socket);
    patiently(async { while !matches!(incoming.stream.recv().await, causeway_transport::Received::Cancelled(_)) {} })
        .await;
}

#[tokio::test]
async fn a_web_page_cannot_use_the_key_of_its_visitor() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    let proxy = Proxy::start(&relay, &key, &format!("http://{}", relay.callers), &[]);
    let good = proxy.raw(&keyless("GET", "/api/tags", "localhost:11435", "", "")).await;
    assert_eq!(good.status, 200, "{good:?}");
    for (host, more) in [("evil.example", ""), ("localhost", "origin: https://evil.example\r\n")] {
        let refused = proxy.raw(&keyless("GET", "/api/tags", host, more, "")).await;
        assert_eq!(refused.status, 403, "{host} {more}");
        assert!(refused.json()["error"].as_str().unwrap().contains("this machine"), "{refused:?}");
    }
    let absolute = proxy.raw(&keyless("GET", "http://evil.example/api/tags", "localhost", "", "")).await;
    assert_eq!(absolute.status, 400, "{absolute:?}");
}

#[tokio::test]
async fn a_relay_with_its_own_authority_is_trusted_by_its_file_alone() {
    let relay = Relay::with(true, "");
    let key_path = key_file(&relay, "cw_none_none");
    let url = format!("https://{}", relay.callers);
    let ca = relay.directory.path().join("ca").join("ca.pem");
    let trusted = Proxy::start(&relay, "cw_none_none", &url, &["--ca-file", ca.to_str().unwrap()]);
    let refused = trusted.raw(&keyless("POST", "/v1/messages", "localhost", "", CHAT)).await;
    assert_eq!(refused.status, 401, "the relay itself answers: {refused:?}");
    let stranger = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap().cert.pem();
    std::fs::write(key_path.with_extension("pem"), stranger).unwrap();
    let other = key_path.with_extension("pem");
    let distrusting = Proxy::start(&relay, "cw_none_none", &url, &["--ca-file", other.to_str().unwrap()]);
    let broken = distrusting.raw(&keyless("POST", "/v1/messages", "localhost", "", CHAT)).await;
    assert_eq!(broken.status, 502, "{broken:?}");
    let told = broken.json();
    assert_eq!(told["type"], "error", "in the client's dialect");
    assert!(told["error"]["message"].as_str().unwrap().contains("--ca-file"), "{told}");
}

#[test]
fn settings_that_would_give_the_key_away_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, "cw_a_b").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = path.to_str().unwrap();
    for (relay, listen, expected) in [
        ("https://relay.example.com", "127.0.0.1:0", "chmod 600"),
        ("http://relay.example.com", "127.0.0.1:0", "in clear"),
        ("https://relay.example.com", "0.0.0.0:0", "loopback"),
    ] {
        let refused = run(&["proxy", "--relay", relay, "--listen", listen, "--key-file", file]);
        assert_eq!(refused.status.code(), Some(78));
        assert!(text(&refused.stderr).contains(expected), "{}", text(&refused.stderr));
    }
}
