//! The product under test: quickstart's three processes, from this very binary.
//!
//! Invariant: relay and daemon are processes of their own with their own `main`, as installed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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

/// Which quickstart is started.
#[derive(Clone, Copy)]
pub(crate) enum Program<'a> {
    /// This very binary.
    Own,
    /// One that was built from another commit.
    Other(&'a Path),
}

#[derive(Deserialize)]
struct Ready {
    url: String,
    api_key: String,
    status_url: String,
    state_dir: PathBuf,
    relay_pid: u32,
    daemon_pid: u32,
}

/// A running stack; dropping it ends all of it.
pub(crate) struct Causeway {
    pub(crate) target: Target,
    /// The daemon's status port.
    pub(crate) status: Target,
    state_dir: PathBuf,
    pub(crate) relay_pid: u32,
    pub(crate) daemon_pid: u32,
    child: Child,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Causeway {
    /// Starts it in front of `ollama` with further flags and so many slots that nothing queues.
    pub(crate) async fn start(ollama: SocketAddr, flags: &[String]) -> anyhow::Result<Self> {
        Self::start_as(Program::Own, PARALLEL, ollama, flags).await
    }

    /// Starts this or another quickstart, its daemon told of so many slots.
    pub(crate) async fn start_as(
        program: Program<'_>,
        parallel: usize,
        ollama: SocketAddr,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (ready, log) = (directory.path().join("ready.json"), directory.path().join("log"));
        let file = std::fs::File::create(&log)?;
        let mut command = match program {
            Program::Own => Command::new(std::env::current_exe()?),
            Program::Other(path) => Command::new(path),
        };
        if matches!(program, Program::Own) {
            command.arg(WORD);
        }
        let mut child = command
            .args(["--port", "0", "--status-port", "0", "--parallel", &parallel.to_string()])
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
        let target = Target { addr: address(&ready.url)?, key: Some(ready.api_key) };
        let status = Target { addr: address(&ready.status_url)?, key: None };
        let Ready { relay_pid, daemon_pid, state_dir, .. } = ready;
        Ok(Self { target, status, state_dir, relay_pid, daemon_pid, child, log, _directory: directory })
    }

    /// The same endpoint with a key of its own.
    pub(crate) fn another_key(&self) -> anyhow::Result<Target> {
        let config = self.state_dir.join("relay.toml");
        let key = causeway_tests::stack::create_key(&std::env::current_exe()?, &config, &[])?;
        Ok(Target { addr: self.target.addr, key: Some(key) })
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

/// The address of a plain HTTP URL without a path.
pub(crate) fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    authority.with_context(|| format!("{url}: expected http://IP:PORT"))?.parse().with_context(|| url.to_owned())
}

impl Drop for Causeway {
    fn drop(&mut self) {
        // Its children end when it does: their standard input closes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
