//! Starts the binary on free ports and reads what it writes.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Longest wait for anything here; a loaded build machine is slow.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Quickstart {
    pub(crate) child: Child,
    pub(crate) ready: Value,
    pub(crate) ready_file: PathBuf,
    pub(crate) log: PathBuf,
    _directory: tempfile::TempDir,
}

/// The binary with these flags, proxy variables pointing nowhere.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway-quickstart"));
    command.args(flags).env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end: exit code and everything it said.
pub(crate) async fn fails(flags: &[&str]) -> (Option<i32>, String) {
    let output = tokio::time::timeout(LIMIT, command(flags).output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

impl Quickstart {
    /// Starts without waiting for readiness.
    pub(crate) fn begin(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (ready_file, log) = (directory.path().join("ready.json"), directory.path().join("log"));
        let file = std::fs::File::create(&log).unwrap();
        let child = command(&["--port", "0", "--status-port", "0", "--ready-file"])
            .arg(&ready_file)
            .args(flags)
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, ready: Value::Null, ready_file, log, _directory: directory }
    }

    /// Starts and waits for the ready file.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let mut quickstart = Self::begin(flags);
        quickstart.until_ready().await;
        quickstart
    }

    pub(crate) async fn until_ready(&mut self) {
        let begun = Instant::now();
        while !self.ready_file.exists() {
            assert!(self.child.try_wait().unwrap().is_none() && begun.elapsed() < LIMIT, "{}", self.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.ready = serde_json::from_slice(&std::fs::read(&self.ready_file).unwrap()).unwrap();
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) async fn until_said(&self, what: &str) {
        until(&format!("{what} is said"), || self.said().contains(what)).await;
    }

    pub(crate) fn pid(&self, name: &str) -> Pid {
        let pid = self.ready[name].as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.and_then(Pid::from_raw).unwrap()
    }

    pub(crate) fn state(&self) -> &Path {
        Path::new(self.ready["state_dir"].as_str().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(LIMIT, self.child.wait()).await.unwrap().unwrap()
    }

    /// A chat on a connection of its own: the whole raw answer.
    pub(crate) fn chat(&self, tokens: u32) -> impl Future<Output = String> + use<> {
        let body = format!(
            r#"{{"model":"standin:latest","options":{{"num_predict":{tokens}}},"messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        let (url, key) = (self.ready["url"].as_str().unwrap(), self.ready["api_key"].as_str().unwrap());
        let authority = url.strip_prefix("http://").unwrap();
        let authority = authority.to_owned();
        let head = format!(
            "POST /api/chat HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        async move {
            let mut stream = TcpStream::connect(authority).await.unwrap();
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A zombie of a process that is not ours counts as gone.
pub(crate) fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}
