//! The product under test: quickstart's three processes, from this very binary.
//!
//! Invariant: relay and daemon are processes of their own with their own `main`, as installed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::client::Target;

/// The hidden first argument that makes this binary be quickstart.
pub(crate) const WORD: &str = "__quickstart";

/// Longest start.
const START: Duration = Duration::from_secs(60);

/// How often it is looked for its ready file: another process tells nobody.
const LOOK: Duration = Duration::from_millis(10);

/// Slots a model has, in the stand-in and as the daemon is told: enough that nothing queues.
pub(crate) const PARALLEL: usize = 512;

#[derive(Deserialize)]
struct Ready {
    url: String,
    api_key: String,
    relay_pid: u32,
    daemon_pid: u32,
}

/// A running stack; dropping it ends all of it.
pub(crate) struct Causeway {
    pub(crate) target: Target,
    pub(crate) relay_pid: u32,
    pub(crate) daemon_pid: u32,
    child: Child,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Causeway {
    /// Starts it in front of `ollama` with further flags.
    pub(crate) async fn start(ollama: SocketAddr, flags: &[String]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (ready, log) = (directory.path().join("ready.json"), directory.path().join("log"));
        let file = std::fs::File::create(&log)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args([WORD, "--port", "0", "--status-port", "0", "--parallel", &PARALLEL.to_string()])
            .arg("--ollama")
            .arg(format!("http://{ollama}"))
            .arg("--ready-file")
            .arg(&ready)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        let begun = Instant::now();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let ready: Ready = loop {
            if let Ok(bytes) = std::fs::read(&ready) {
                break serde_json::from_slice(&bytes).context("ready file")?;
            }
            if let Some(status) = child.try_wait()? {
                bail!("quickstart ended ({status}):\n{}", said());
            }
            if begun.elapsed() > START {
                let _ = (child.kill(), child.wait());
                bail!("quickstart is not ready after {} s:\n{}", START.as_secs(), said());
            }
            tokio::time::sleep(LOOK).await;
        };
        let addr = ready.url.strip_prefix("http://").context("url")?.parse()?;
        let target = Target { addr, key: Some(ready.api_key) };
        let (relay_pid, daemon_pid) = (ready.relay_pid, ready.daemon_pid);
        Ok(Self { target, relay_pid, daemon_pid, child, log, _directory: directory })
    }

    /// Process ids of relay and daemon, for their CPU time.
    pub(crate) fn pids(&self) -> Vec<u32> {
        vec![self.relay_pid, self.daemon_pid]
    }

    /// The last lines it printed, for messages.
    pub(crate) fn last_lines(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Causeway {
    fn drop(&mut self) {
        // Its children end when it does: their standard input closes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
