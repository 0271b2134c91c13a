//! What tells the process to stop or reload: signals, and the end of the parent.

use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{self, SignalKind, signal};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// The parent that held our standard input is gone.
    Abandoned,
}

/// The handlers; installed once.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    stdin: Option<tokio::net::unix::pipe::Receiver>,
}

impl Signals {
    /// Installs the handlers. `until_stdin_closes`: standard input is a pipe of the parent's.
    pub(crate) fn new(until_stdin_closes: bool) -> anyhow::Result<Self> {
        let stdin = until_stdin_closes.then(stdin_pipe).transpose()?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            stdin,
        })
    }

    /// The next one. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
            () = closed(&mut self.stdin) => Signal::Abandoned,
        }
    }
}

fn stdin_pipe() -> std::io::Result<tokio::net::unix::pipe::Receiver> {
    use std::os::fd::AsFd as _;
    let own = std::io::stdin().as_fd().try_clone_to_owned()?;
    tokio::net::unix::pipe::Receiver::from_owned_fd(own)
}

async fn closed(stdin: &mut Option<tokio::net::unix::pipe::Receiver>) {
    let Some(pipe) = stdin else { return std::future::pending().await };
    let mut ignored = [0_u8; 64];
    while !matches!(pipe.read(&mut ignored).await, Ok(0) | Err(_)) {}
    *stdin = None;
}
