//! `cargo quickstart`'s processes, started for a test and ended with it.
//!
//! Absent: building; the caller names the binary (`CARGO_BIN_EXE_causeway-run`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::patience::poll_until;

/// Longest start; a real model's first load is part of it.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The ready file, as the outside contract names its keys.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the contract's table of commands documents them")]
pub struct Ready {
    pub url: String,
    pub api_key: String,
    pub status_url: String,
    pub edge_url: String,
    pub state_dir: PathBuf,
    pub pid: u32,
    pub relay_pid: u32,
    pub daemon_pid: u32,
    pub stand_in: bool,
}

/// A running quickstart.
#[derive(Debug)]
pub struct Quickstart {
    child: Child,
    binary: PathBuf,
    /// What its ready file said.
    pub ready: Ready,
    directory: tempfile::TempDir,
}

impl Quickstart {
    /// Starts `binary` on free ports with these further flags and waits until it answers.
    ///
    /// # Errors
    /// What it printed, if it ended or was not ready in time.
    pub async fn start(binary: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let ready_file = directory.path().join("ready.json");
        let log = std::fs::File::create(directory.path().join("log"))?;
        let mut child = Command::new(binary)
            .args(["--port", "0", "--status-port", "0", "--ready-file"])
            .arg(&ready_file)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let ready = poll_until("quickstart is ready", START_LIMIT, async || {
            if let Some(status) = child.try_wait()? {
                bail!("quickstart ended with {status}");
            }
            let Ok(text) = std::fs::read(&ready_file) else { return Ok(None) };
            Ok(Some(serde_json::from_slice(&text).context("the ready file")?))
        })
        .await;
        match ready {
            Ok(ready) => Ok(Self { child, binary: binary.to_owned(), ready, directory }),
            Err(error) => {
                // Gone or not, it is waited for next.
                let _ = child.kill();
                child.wait()?;
                let log = std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
                Err(error.context(format!("quickstart printed:\n{log}")))
            }
        }
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Makes a further key with these flags of `keys create`, and a client that uses it.
    ///
    /// # Errors
    /// What the command printed, or that the relay does not take the key.
    pub async fn another_key(&self, flags: &[&str]) -> anyhow::Result<Api> {
        let key = create_key(&self.binary, &self.ready.state_dir.join("relay.toml"), flags)?;
        let api = Api::new(&self.ready.url, Some(&key));
        poll_until("the relay takes the new key", START_LIMIT, async || {
            Ok((api.get("/api/version").await?.status == 200).then_some(()))
        })
        .await?;
        Ok(api)
    }

    /// A client for its status port.
    #[must_use]
    pub fn status(&self) -> Api {
        Api::new(&self.ready.status_url, None)
    }

    /// A client for its endpoint.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(&self.ready.url, Some(&self.ready.api_key))
    }
}

/// Makes a key with these flags of `keys create`, by the relay that `binary` is, and returns it.
///
/// # Errors
/// What the command printed instead.
pub fn create_key(binary: &Path, relay_config: &Path, flags: &[&str]) -> anyhow::Result<String> {
    let mut child = Command::new(binary)
        .args(["__causeway-relay", "keys", "create", "--config"])
        .arg(relay_config)
        .args(["--name", "another"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Its end would end the command.
    let stdin = child.stdin.take();
    let output = child.wait_with_output()?;
    drop(stdin);
    let (said, faults) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let key = said.split_whitespace().find(|word| word.starts_with("cw_"));
    Ok(key.with_context(|| format!("no key in {said}{faults}"))?.to_owned())
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        // Its children end with it: their standard input closes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A plain JSON-over-HTTP client that ignores proxy variables.
#[derive(Clone, Debug)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// An answer read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: reqwest::header::HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads an answer to its end.
    ///
    /// # Errors
    /// What the HTTP client says.
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.bytes().await?.to_vec() })
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is none: the test fails with the body shown.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body's lines as JSON (NDJSON).
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The `data:` payloads of server-sent events, `[DONE]` included as a string.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.text()
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
            .collect()
    }
}

impl Api {
    /// For a base URL, with a bearer key if one is given.
    ///
    /// # Panics
    /// If the HTTP client cannot be built.
    #[must_use]
    pub fn new(base: &str, key: Option<&str>) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { client, base: base.to_owned(), key: key.map(str::to_owned) }
    }

    /// A request that is sent by the caller.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    /// Sends and reads to the end.
    ///
    /// # Errors
    /// What the HTTP client says.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        Ok(Answer::read(self.request(method, path, body).send().await?).await?)
    }

    /// POSTs JSON.
    ///
    /// # Errors
    /// What the HTTP client says.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Answer> {
        self.call("POST", path, Some(&body)).await
    }

    /// GETs.
    ///
    /// # Errors
    /// What the HTTP client says.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.call("GET", path, None).await
    }

    /// Sends JSON to exactly this request target, which an HTTP client would put right first; the
    /// answer's status.
    ///
    /// # Errors
    /// What the socket says, or that the answer is no HTTP.
    pub async fn status_of_target(&self, method: &str, target: &str, body: &Value) -> anyhow::Result<u16> {
        let authority = self.base.strip_prefix("http://").context("plain HTTP only")?;
        let (key, body) = (self.key.as_deref().unwrap_or_default(), body.to_string());
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(authority).await?;
        socket.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).context("no HTTP answer")?;
        Ok(status.parse()?)
    }
}
