//! The parent's side of a child: start, its lines, its end.
//!
//! Invariants: a child has its own process group, so a terminal's Ctrl-C reaches only the parent,
//! which ends the children in order; its standard input stays open for as long as it shall live;
//! its lines are read all the time, so it never blocks on a full pipe.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::child::Role;

/// Last lines kept for a child that ends unasked.
const KEPT: usize = 20;

/// How long the last lines of an ended child are waited for.
const FLUSH: Duration = Duration::from_secs(1);

/// One running program of ours.
pub(crate) struct Process {
    pub(crate) role: Role,
    pub(crate) pid: u32,
    child: Child,
    _stdin: Option<ChildStdin>,
    last: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Re-executes this binary in a role; its lines go to `lines`.
    pub(crate) fn start(
        role: Role,
        args: &[OsString],
        env: &[(&str, &OsStr)],
        lines: &mpsc::Sender<Line>,
    ) -> anyhow::Result<Self> {
        let mut child = command(role, args)?
            .envs(env.iter().copied())
            .spawn()
            .with_context(|| format!("cannot start the {}", role.name()))?;
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = Vec::new();
        if let Some(out) = child.stdout.take() {
            readers.push(tokio::spawn(read(role, Stream::Out, out, lines.clone(), Arc::clone(&last))));
        }
        if let Some(err) = child.stderr.take() {
            readers.push(tokio::spawn(read(role, Stream::Err, err, lines.clone(), Arc::clone(&last))));
        }
        let pid = child.id().context("ended at once")?;
        Ok(Self { role, pid, _stdin: child.stdin.take(), child, last, readers })
    }

    /// Waits for its end. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Asks it to drain.
    pub(crate) fn terminate(&self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.child.id().is_some()) {
            // Gone already: nothing to ask.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it now.
    pub(crate) async fn kill(&mut self) {
        // Gone already: nothing to end.
        let _ = self.child.kill().await;
    }

    /// What it said last, for the message about its end.
    pub(crate) async fn last_words(&mut self) -> String {
        for reader in self.readers.drain(..) {
            let _ = tokio::time::timeout(FLUSH, reader).await;
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().map(|line| format!("\n    {line}")).collect()
    }
}

/// What a child says: who, where, what.
pub(crate) type Line = (Role, Stream, String);

/// Where a line was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Runs a program of ours to its end and returns what it printed.
pub(crate) async fn output_of(role: Role, args: &[OsString]) -> anyhow::Result<String> {
    let mut child = command(role, args)?.spawn().with_context(|| format!("cannot start the {}", role.name()))?;
    // Kept open, since its end would end the child.
    let stdin = child.stdin.take();
    let output = child.wait_with_output().await?;
    drop(stdin);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("the {} ended ({}): {}", role.name(), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// This binary in a role. Our own configuration files shall hold, not what the shell happens to
/// set; and nothing here goes through a proxy.
fn command(role: Role, args: &[OsString]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find the own binary")?);
    command.arg(role.word()).args(args);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        let foreign =
            ["CAUSEWAY__", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"];
        if foreign.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    // The daemon's and the relay's: only what a person must know, unless someone wants more.
    for name in ["RUST_LOG", "CAUSEWAY_LOG"] {
        if std::env::var_os(name).is_none() {
            command.env(name, "warn");
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    Ok(command)
}

async fn read(
    role: Role,
    from: Stream,
    stream: impl AsyncRead + Unpin,
    lines: mpsc::Sender<Line>,
    last: Arc<Mutex<VecDeque<String>>>,
) {
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == KEPT {
                last.pop_front();
            }
            last.push_back(line.clone());
        }
        // A printer that is behind loses lines rather than stopping a program.
        let _ = lines.try_send((role, from, line));
    }
}
