//! One relay process, edges in this process, and callers who send raw bytes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use causeway_relay::ca::Ca;
use causeway_transport::{EdgeLink, EdgeLinkConfig, Incoming, Received, RelayUrl, tls};
use causeway_wire::{Backend, EdgeConfig, Head, InstanceId, ModelInfo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Longest wait for anything, so that a fault ends a test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("waited too long")
}

/// How often [`until`] looks.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for what only asking again shows: another process tells nobody when it has changed.
pub(crate) async fn until(holds: impl AsyncFnMut() -> bool) {
    until_every(LOOK, holds).await;
}

async fn until_every(pause: Duration, mut holds: impl AsyncFnMut() -> bool) {
    patiently(async {
        while !holds().await {
            tokio::time::sleep(pause).await;
        }
    })
    .await;
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causeway-relay")).args(args).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A relay process that ends with the test.
pub(crate) struct Relay {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) config: PathBuf,
    pub(crate) callers: SocketAddr,
    pub(crate) edges: SocketAddr,
    pub(crate) child: Child,
    _stdout: std::process::ChildStdout,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory as `init` makes it, but on loopback and free ports.
pub(crate) fn prepared(tls: bool, more: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap().to_owned();
    let made = run(&["init", "--dir", &dir, "--name", "127.0.0.1"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let config = directory.path().join("causeway-relay.toml");
    let tls = if tls { "tls-cert = \"server.pem\"\ntls-key = \"server.key\"" } else { "" };
    let toml = format!(
        "[callers]\nlisten = \"127.0.0.1:0\"\n{tls}\n[edges]\nlisten = \"127.0.0.1:0\"\nname = \"127.0.0.1\"\n\
         [ca]\ndirectory = \"ca\"\n[store]\nsqlite = \"causeway-relay.db\"\n{more}\n"
    );
    std::fs::write(&config, toml).unwrap();
    (directory, config)
}

impl Relay {
    pub(crate) fn start() -> Self {
        Self::with(false, "")
    }

    /// With TLS on the callers' port, and more lines in the configuration.
    pub(crate) fn with(tls: bool, more: &str) -> Self {
        let (directory, config) = prepared(tls, more);
        let (child, callers, edges, stdout) = serve(&config);
        Self { callers, edges, directory, config, child, _stdout: stdout }
    }

    /// Kills the process and starts it again with what is on disk; ports change.
    pub(crate) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.callers, self.edges, self._stdout) = serve(&self.config);
    }

    /// Makes a key with these arguments and waits until the relay knows it.
    pub(crate) async fn key(&self, args: &[&str]) -> String {
        let config = self.config.to_str().unwrap();
        let mut all = vec!["keys", "create", "--config", config, "--name", "test"];
        all.extend(args);
        let made = run(&all);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let key = text(&made.stdout).trim().to_owned();
        // Slowly: failures are limited by address.
        until_every(10 * LOOK, async || !matches!(self.get("/readyz", &key).await.status, 401 | 429)).await;
        key
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.callers).await.unwrap()
    }

    /// Sends bytes and reads until the relay closes.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut socket = self.connect().await;
        // The relay may refuse and close before all is sent.
        let _ = socket.write_all(bytes.as_ref()).await;
        patiently(Answer::read(&mut socket)).await
    }

    pub(crate) async fn get(&self, target: &str, key: &str) -> Answer {
        self.raw(format!("GET {target} HTTP/1.1\r\nhost: relay\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n")).await
    }

    pub(crate) async fn post(&self, target: &str, key: &str, body: &str) -> Answer {
        self.post_with(target, key, body, "").await
    }

    /// `more` are header lines, each with its line end.
    pub(crate) async fn post_with(&self, target: &str, key: &str, body: &str, more: &str) -> Answer {
        self.raw(post(target, key, body, &format!("connection: close\r\n{more}"))).await
    }

    /// Links an edge that has these models.
    pub(crate) async fn edge(&self, name: &str, models: &[&str], key: &str) -> Edge {
        self.edge_under(name, models, &[Backend::Local], key).await
    }

    /// The same whose owner allows these backends.
    pub(crate) async fn edge_under(&self, name: &str, models: &[&str], ceiling: &[Backend], key: &str) -> Edge {
        let edge = Edge::dial(self, name, models, ceiling);
        let wanted = format!("\"edge\":\"{name}\"");
        until(async || {
            let ready = self.get("/readyz", key).await.body;
            ready.contains(&wanted) && models.iter().all(|model| ready.contains(model))
        })
        .await;
        edge
    }

    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }
}

/// Starts the program and reads its ports.
fn serve(config: &std::path::Path) -> (Child, SocketAddr, SocketAddr, std::process::ChildStdout) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_causeway-relay"))
        .args(["serve", "--config", config.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    // listening callers=http://127.0.0.1:1 edges=wss://127.0.0.1:2/edge
    let port = |name: &str| {
        let (_, rest) = line.split_once(name).unwrap_or_else(|| panic!("no {name} in {line:?}"));
        let (_, rest) = rest.split_once("://").unwrap();
        rest.split(['/', ' ', '\n']).next().unwrap().parse().unwrap()
    };
    let (callers, edges) = (port("callers="), port("edges="));
    (child, callers, edges, stdout.into_inner())
}

pub(crate) fn post(target: &str, key: &str, body: &str, more: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n{more}\r\n{body}"
    )
}

/// An HTTP answer, its body whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    /// The body's framing was complete.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) async fn read<S: tokio::io::AsyncRead + Unpin>(socket: &mut S) -> Self {
        let mut all = Vec::new();
        // A reset ends the reading like an end does.
        let _ = socket.read_to_end(&mut all).await;
        Self::parse(&all)
    }

    pub(crate) fn parse(all: &[u8]) -> Self {
        let all = text(all);
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or((&all, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let (body, whole) = match headers.get("content-length") {
            Some(length) => (body.to_owned(), length.parse() == Ok(body.len())),
            None => dechunk(body),
        };
        Self { status: status.unwrap_or(0), headers, body, whole }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

fn dechunk(mut body: &str) -> (String, bool) {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        if size == 0 {
            return (out, true);
        }
        let Some(data) = rest.get(..size) else { break };
        out.push_str(data);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    (out, false)
}

/// An edge in this process.
pub(crate) struct Edge {
    pub(crate) link: EdgeLink,
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Edge {
    pub(crate) fn dial(relay: &Relay, name: &str, models: &[&str], ceiling: &[Backend]) -> Self {
        let ca = Ca::load(&relay.directory.path().join("ca")).unwrap();
        let signed = ca.sign_edge(name).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(signed.chain_pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(signed.key_pem.as_bytes()).unwrap();
        let client = tls::edge_client(chain, key, Some(&[ca.cert_der().unwrap()])).unwrap();
        let config = EdgeLinkConfig {
            wire: EdgeConfig {
                edge: name.to_owned(),
                instance: InstanceId::new(rand::random()),
                software: "test/1".to_owned(),
                connections: 2,
                max_streams: 256,
                ceiling: ceiling.to_vec(),
            },
            url: format!("wss://{}/edge", relay.edges).parse::<RelayUrl>().unwrap(),
            tls: Arc::new(ArcSwap::new(client)),
        };
        let (link, driver, incoming) = EdgeLink::new(config);
        let slots = u32::from(ceiling.contains(&Backend::Local));
        let of = |name: &&str| ModelInfo {
            name: (*name).to_owned(),
            slots,
            ceiling: ceiling.to_vec(),
            ..ModelInfo::default()
        };
        let models = models.iter().map(of);
        link.set_catalog(models.collect());
        Self { link, incoming, driver: tokio::spawn(driver) }
    }

    /// The next request and its whole body.
    pub(crate) async fn request(&mut self) -> (Incoming, String) {
        let mut incoming = patiently(self.incoming.recv()).await.expect("the link ended");
        let mut body = Vec::new();
        loop {
            match patiently(incoming.stream.recv()).await {
                Received::Data(bytes) => body.extend_from_slice(&bytes),
                Received::End(_) => return (incoming, text(&body)),
                other @ (Received::Head(_) | Received::Failed(_) | Received::Cancelled(_)) => {
                    panic!("instead of a body: {other:?}")
                }
            }
        }
    }

    /// Answers the next request with one JSON object.
    pub(crate) async fn answer(&mut self, status: u16, body: &str) -> Incoming {
        let (mut incoming, _) = self.request().await;
        incoming.stream.send_whole(head(status, "application/json"), body.to_owned().into(), None).unwrap();
        incoming
    }
}

pub(crate) fn head(status: u16, content_type: &str) -> Head {
    let headers = [("content-type", content_type), ("x-causeway-served-by", "local")];
    Head { status, headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec() }
}
