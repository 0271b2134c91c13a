//! Starts the binary on free ports and reads what it writes.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Longest wait for anything here; a loaded build machine is slow.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Quickstart {
    pub(crate) child: Child,
    pub(crate) ready: Value,
    pub(crate) ready_file: PathBuf,
    /// All that it has printed, on either stream.
    said: watch::Receiver<String>,
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
        let ready_file = directory.path().join("ready.json");
        let mut child = command(&["--port", "0", "--status-port", "0", "--ready-file"])
            .arg(&ready_file)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, said) = watch::channel(String::new());
        let sender = Arc::new(sender);
        tokio::spawn(listen(child.stdout.take().unwrap(), Arc::clone(&sender)));
        tokio::spawn(listen(child.stderr.take().unwrap(), sender));
        Self { child, ready: Value::Null, ready_file, said, _directory: directory }
    }

    /// Starts and waits for the ready file.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let mut quickstart = Self::begin(flags);
        quickstart.until_ready().await;
        quickstart
    }

    pub(crate) async fn until_ready(&mut self) {
        let (file, said, child) = (&self.ready_file, &self.said, &mut self.child);
        poll_until("it is ready", || {
            assert!(child.try_wait().unwrap().is_none(), "{}", *said.borrow());
            file.exists()
        })
        .await;
        self.ready = serde_json::from_slice(&std::fs::read(&self.ready_file).unwrap()).unwrap();
    }

    pub(crate) fn said(&self) -> String {
        self.said.borrow().clone()
    }

    pub(crate) async fn until_said(&self, what: &str) {
        let mut said = self.said.clone();
        let waited = tokio::time::timeout(LIMIT, said.wait_for(|said| said.contains(what))).await;
        assert!(matches!(waited, Ok(Ok(_))), "{what} is not said: {}", self.said());
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

    /// Its end, and all that it had to say.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await.unwrap().unwrap();
        // Both listeners are gone once nothing more can come.
        let _gone = tokio::time::timeout(LIMIT, self.said.wait_for(|_| false)).await.unwrap();
        status
    }

    /// A chat on a connection of its own, up to its first token.
    pub(crate) async fn chat(&self, tokens: u32) -> Chat {
        let body = format!(
            r#"{{"model":"standin:latest","options":{{"num_predict":{tokens}}},"messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        let (url, key) = (self.ready["url"].as_str().unwrap(), self.ready["api_key"].as_str().unwrap());
        let authority = url.strip_prefix("http://").unwrap();
        let head = format!(
            "POST /api/chat HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(authority).await.unwrap();
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut begun = Vec::new();
        let first = async {
            while !String::from_utf8_lossy(&begun).contains("\"done\":") {
                assert!(stream.read_buf(&mut begun).await.unwrap() > 0, "{}", String::from_utf8_lossy(&begun));
            }
        };
        tokio::time::timeout(LIMIT, first).await.unwrap();
        Chat { begun, stream }
    }
}

/// An answer that has begun.
pub(crate) struct Chat {
    begun: Vec<u8>,
    stream: TcpStream,
}

impl Chat {
    /// The whole raw answer.
    pub(crate) async fn rest(mut self) -> String {
        self.stream.read_to_end(&mut self.begun).await.unwrap();
        String::from_utf8(self.begun).unwrap()
    }
}

async fn listen(stream: impl AsyncRead + Unpin, said: Arc<watch::Sender<String>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.send_modify(|said| said.extend([line.as_str(), "\n"]));
    }
}

/// Looks again and again: for what another process does without an event that we could wait for.
pub(crate) async fn poll_until(what: &str, mut condition: impl FnMut() -> bool) {
    const LOOK: Duration = Duration::from_millis(10);
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "never: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A zombie of a process that is not ours counts as gone.
pub(crate) fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}
