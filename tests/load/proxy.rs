//! A TCP proxy between daemon and relay that resets everything on command.
//!
//! Invariants: it adds no wait of its own (`TCP_NODELAY`, no batching); a reset is a real RST on
//! both sides, so neither end hears a farewell.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A running proxy; dropping it ends it.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    generation: watch::Sender<u64>,
    cut: Arc<AtomicUsize>,
    task: tokio::task::AbortHandle,
}

impl Proxy {
    /// Forwards to `to`, which need not listen yet.
    pub(crate) async fn start(to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (generation, seen) = watch::channel(0);
        let cut = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&cut);
        let task = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(forward(from, to, seen.clone(), Arc::clone(&counter)));
            }
        });
        Ok(Self { addr, generation, cut, task: task.abort_handle() })
    }

    /// Resets every connection that is open now.
    pub(crate) fn reset(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Connections reset so far.
    pub(crate) fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut from: TcpStream, to: SocketAddr, mut seen: watch::Receiver<u64>, cut: Arc<AtomicUsize>) {
    seen.mark_unchanged();
    let Ok(mut onward) = TcpStream::connect(to).await else { return };
    let _ = (from.set_nodelay(true), onward.set_nodelay(true));
    let reset = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut from, &mut onward) => false,
        changed = seen.changed() => changed.is_ok(),
    };
    if reset {
        // With a linger time of zero, dropping sends RST.
        let _ = (from.set_zero_linger(), onward.set_zero_linger());
        cut.fetch_add(1, Ordering::Relaxed);
    }
}
