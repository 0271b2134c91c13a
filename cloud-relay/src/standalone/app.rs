//! The composition root of `serve`: builds everything, spawns every task, waits for the end.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use causeway_transport::Hub;
use causeway_wire::{InstanceId, Limits, RelayConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::core::limits::{BOOKS_TIME, DRAIN_TIME, LOG_TIME, MAX_CALLERS};
use crate::standalone::attempt::{Leftovers, await_words};
use crate::standalone::callers_tls::CallersTls;
use crate::standalone::config::Config;
use crate::standalone::handshakes::Handshakes;
use crate::standalone::keys::{Keys, Watched};
use crate::standalone::parts::Parts;
use crate::standalone::registry::Registry;
use crate::standalone::relay::{Bounds, Relay};
use crate::standalone::stand_in::StandIn;
use crate::standalone::{callers, edges};

/// Connections per link: one may be replaced while the other carries on.
const CONNECTIONS_PER_LINK: u8 = 2;

/// How often the store is asked whether it has changed; what the CLI does holds within 1 s.
const STORE_POLL: Duration = Duration::from_millis(250);

/// Connections that may wait to be accepted, count: a burst past it (the usual default is 128)
/// costs each of them the second after which the kernel sends SYN again.
const BACKLOG: u32 = 1024;

/// After a failed accept (no file descriptors left) nothing is tried for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Links get this long to send their last frames.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// How often it is looked whether they have.
const CLOSE_LOOK: Duration = Duration::from_millis(5);

/// Signals not yet looked at, count: the second one forces, more say nothing new.
const SIGNALS: usize = 2;

/// What has to go on for ever; its end ends the process.
type Vital = JoinSet<&'static str>;

/// Runs the relay until it is told to end.
///
/// # Errors
///
/// It cannot start, or one of its vital tasks ended.
pub(crate) async fn serve(config: Config, parts: Parts, until_stdin_closes: bool) -> anyhow::Result<ExitCode> {
    let Parts { keys, watched, books, callers_tls, edges_tls } = parts;
    let ledger = books.ledger()?;
    let callers_port = bind(config.callers, "callers.listen")?;
    let edges_port = bind(config.edges, "edges.listen")?;
    say_listening(&callers_port, callers_tls.is_some(), &edges_port, &config).await?;

    let registry = Arc::new(Registry::new(books.ceilings()?, Arc::clone(&books)));
    let (hub, links) = Hub::new(relay_config(), Arc::clone(&registry) as Arc<dyn causeway_transport::HubEvents>);
    let bounds = Bounds { body: config.body, bodies: config.bodies, streams: config.streams };
    let (leftovers, left) = Leftovers::new();
    let (stand_in, fresh) = StandIn::open(config.overflow, &config.store).await.unzip();
    let relay = Relay::new(Arc::clone(&keys), books, registry, bounds, ledger, leftovers, stand_in);
    let (stop, stopping) = watch::channel(false);
    let mut signals = signals(until_stdin_closes)?;

    let mut vital: Vital = JoinSet::new();
    let log = Arc::clone(&relay.log);
    vital.spawn(async move {
        log.run().await;
        "the access log"
    });
    let books = Arc::clone(&relay.books);
    vital.spawn(async move {
        books.run().await;
        "the books"
    });
    vital.spawn(async move {
        await_words(left).await;
        "the edges' last words"
    });
    vital.spawn(async move {
        poll_store(keys, watched).await;
        "the key poll"
    });
    vital.spawn(async move {
        links.await;
        "the links' timers"
    });
    if let Some(tls) = callers_tls.clone() {
        vital.spawn(async move {
            tls.watch().await;
            "the certificate watch"
        });
    }
    if let (Some(fresh), Some(stand_in)) = (fresh, &relay.stand_in) {
        let backend = Arc::clone(&stand_in.backend);
        vital.spawn(async move {
            fresh.await;
            "the care for Bedrock's credentials"
        });
        vital.spawn(async move {
            backend.ended().await;
            "the budget"
        });
    }
    vital.spawn(accept_edges(edges_port, edges_tls, hub.clone()));
    let accept = accept_callers(callers_port, callers_tls, Arc::clone(&relay), stopping);
    let mut accept_task = JoinSet::new();
    accept_task.spawn(accept);

    let outcome = tokio::select! {
        biased;
        _ = signals.recv() => drain(&relay, &hub, &stop, &mut accept_task, &mut signals).await,
        Some(ended) = vital.join_next() => Err(anyhow::anyhow!("{} ended: {ended:?}", ended.as_ref().unwrap_or(&"a vital task"))),
        Some(ended) = accept_task.join_next() => Err(anyhow::anyhow!("the callers' listener ended: {ended:?}")),
    };
    // What still runs is cut now, and belongs in the log and the books too.
    accept_task.shutdown().await;
    let _ = tokio::time::timeout(LOG_TIME, relay.running.idle()).await;
    if let Some(stand_in) = &relay.stand_in
        && tokio::time::timeout(BOOKS_TIME, stand_in.backend.close()).await.is_err()
    {
        tracing::warn!("the budget's disk takes too long; what its last calls have not settled counts in full");
    }
    if tokio::time::timeout(LOG_TIME, relay.log.flush()).await.is_err() {
        tracing::warn!("standard output takes no more lines; the last of the access log are lost");
    }
    if tokio::time::timeout(BOOKS_TIME, relay.books.write()).await.is_err() {
        tracing::warn!("the store takes too long; the last requests are missing in the books");
    }
    outcome
}

fn relay_config() -> RelayConfig {
    RelayConfig {
        instance: InstanceId::new(rand::random()),
        software: format!("causeway-relay/{}", env!("CARGO_PKG_VERSION")),
        limits: Limits::STANDALONE,
        max_connections: CONNECTIONS_PER_LINK,
    }
}

/// Refuses what is new, lets run what runs, then closes the links.
async fn drain(
    relay: &Arc<Relay>,
    hub: &Hub,
    stop: &watch::Sender<bool>,
    accept: &mut JoinSet<()>,
    signals: &mut mpsc::Receiver<()>,
) -> anyhow::Result<ExitCode> {
    tracing::info!(streams = relay.running.count(), "draining; a second signal forces");
    relay.drain();
    hub.drain();
    // Nobody listens any more only if every connection has ended.
    let _ = stop.send(true);
    let finished = async {
        relay.running.idle().await;
        // The accept task ends when its last connection has.
        while accept.join_next().await.is_some() {}
    };
    let clean = tokio::select! {
        () = finished => true,
        () = tokio::time::sleep(DRAIN_TIME) => {
            tracing::warn!(streams = relay.running.count(), "the drain time is over; cutting what still runs");
            true
        }
        _ = signals.recv() => {
            tracing::warn!(streams = relay.running.count(), "forced");
            false
        }
    };
    hub.shutdown();
    if clean {
        let closed = async {
            while hub.links().iter().any(|link| link.status().connections > 0) {
                tokio::time::sleep(CLOSE_LOOK).await;
            }
        };
        // Edges that do not close in time lose their sockets with the process.
        let _ = tokio::time::timeout(CLOSE_TIME, closed).await;
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| {
        format!(
            "cannot listen on {address}: end the program that has this port, or change `{key}` in the configuration"
        )
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As `TcpListener::bind` does: a restart must not wait for the last run's connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// One line that tells scripts (and quickstart) where the ports are.
async fn say_listening(callers: &TcpListener, tls: bool, edges: &TcpListener, config: &Config) -> anyhow::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let scheme = if tls { "https" } else { "http" };
    let line = format!(
        "listening callers={scheme}://{} edges=wss://{}:{}/edge\n",
        callers.local_addr()?,
        config.name,
        edges.local_addr()?.port(),
    );
    let mut out = tokio::io::stdout();
    out.write_all(line.as_bytes()).await?;
    out.flush().await?;
    Ok(())
}

async fn poll_store(keys: Arc<Keys>, mut watched: Watched) {
    loop {
        tokio::time::sleep(STORE_POLL).await;
        let keys = Arc::clone(&keys);
        let looked = tokio::task::spawn_blocking(move || {
            keys.refresh(&mut watched);
            watched
        });
        match looked.await {
            Ok(back) => watched = back,
            Err(_) => return,
        }
    }
}

async fn accept(listener: &TcpListener, what: &str) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, what, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_edges(listener: TcpListener, tls: TlsAcceptor, hub: Hub) -> &'static str {
    let handshakes = Arc::new(Handshakes::default());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (socket, peer) = accept(&listener, "edges") => {
                connections.spawn(edges::serve_connection(hub.clone(), socket, peer, tls.clone(), Arc::clone(&handshakes)));
            }
            Some(ended) = connections.join_next() => report_panic(ended, "an edge's connection"),
        }
    }
}

/// Accepts callers until it is told to stop, then waits for those that are there.
async fn accept_callers(
    listener: TcpListener,
    tls: Option<Arc<CallersTls>>,
    relay: Arc<Relay>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let theirs = stop.clone();
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = connections.join_next() => report_panic(ended, "a caller's connection"),
            (socket, peer) = accept(&listener, "callers"), if connections.len() < MAX_CALLERS => {
                let connection = callers::serve_connection(Arc::clone(&relay), socket, peer, tls.as_ref().map(|tls| tls.acceptor()), theirs.clone());
                connections.spawn(connection);
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report_panic(ended, "a caller's connection");
    }
}

/// A panic ends one connection and its requests, nothing else.
fn report_panic(ended: Result<(), tokio::task::JoinError>, what: &str) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(what, "panicked");
    }
}

/// SIGTERM, SIGINT and, if asked for, the end of standard input.
fn signals(until_stdin_closes: bool) -> anyhow::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(SIGNALS);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stdin_sender = sender.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    if until_stdin_closes {
        tokio::spawn(async move {
            let mut stdin = tokio::io::stdin();
            let mut sink = [0; 64];
            while stdin.read(&mut sink).await.is_ok_and(|read| read > 0) {}
            // The process is ending anyway if nobody listens.
            let _ = stdin_sender.send(()).await;
        });
    }
    Ok(receiver)
}
