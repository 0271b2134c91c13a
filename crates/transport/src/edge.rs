//! The edge's side: dials, pumps, hands incoming requests to the daemon.
//!
//! Absent: what is done with a request; certificates on disk.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use causeway_wire::{ConnId, EdgeConfig, Input, Link, Load, ModelInfo};
use rand::SeedableRng;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use crate::shared::{Notice, Notices, Shared, now};
use crate::stream::Incoming;
use crate::{dial, pump};

/// Requests waiting for the daemon to take them, count: it takes each at once and spawns its task,
/// so this only has to cover a burst within one scheduling turn.
const INCOMING_CAPACITY: usize = 256;

/// `wss://HOST[:PORT]/PATH`, parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayUrl {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port; 443 if not given.
    pub port: u16,
    /// Path, `/edge` if not given.
    pub path: String,
}

/// Why a text is no relay URL; the message says what was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected wss://HOST[:PORT]/edge, {0}")]
pub struct RelayUrlError(pub String);

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        let uri: http::Uri = text.parse().map_err(|error| RelayUrlError(format!("`{text}` is no URL: {error}")))?;
        if uri.scheme_str() != Some("wss") {
            return Err(RelayUrlError(format!("`{text}` does not start with wss://")));
        }
        let Some(authority) = uri.authority() else {
            return Err(RelayUrlError(format!("`{text}` has no host")));
        };
        if authority.as_str().contains('@') {
            return Err(RelayUrlError("credentials do not belong into a URL".to_owned()));
        }
        if uri.query().is_some() {
            return Err(RelayUrlError(format!("`{text}` has a query")));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = if uri.path().is_empty() || uri.path() == "/" { "/edge" } else { uri.path() };
        let port = match (authority.port(), authority.port_u16()) {
            (None, _) => 443,
            (Some(_), Some(port)) => port,
            (Some(port), None) => return Err(RelayUrlError(format!("`{port}` is no port"))),
        };
        Ok(Self { host, port, path: path.to_owned() })
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "wss://[{}]:{}{}", self.host, self.port, self.path)
        } else {
            write!(f, "wss://{}:{}{}", self.host, self.port, self.path)
        }
    }
}

/// What the edge's side needs.
#[derive(Clone)]
pub struct EdgeLinkConfig {
    /// What the edge says of itself.
    pub wire: EdgeConfig,
    /// Where the relay listens.
    pub url: RelayUrl,
    /// TLS with the client certificate; a swap takes effect at the next handshake.
    pub tls: Arc<ArcSwap<rustls::ClientConfig>>,
}

/// Something that went wrong with the link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkFault {
    /// When.
    pub at: SystemTime,
    /// What, in a sentence (dial errors name host, cause and cure).
    pub text: String,
}

/// A snapshot of the link for status, readiness and metrics.
#[derive(Clone, Debug, Default)]
pub struct EdgeLinkStatus {
    /// Welcomed, live connections.
    pub connections: usize,
    /// Connections that there should be: one until the first welcome, then as many as both ends want.
    pub wanted: usize,
    /// Streams not yet ended.
    pub streams: usize,
    /// When the link came up; none while it is down.
    pub up_since: Option<SystemTime>,
    /// When something last arrived that answered something of ours.
    pub return_path: Option<SystemTime>,
    /// Last round trip.
    pub rtt: Option<Duration>,
    /// Connections lost since start, count.
    pub losses: u64,
    /// Streams that lived on when a connection was lost under the link, count.
    pub resumed_streams: u64,
    /// What last went wrong; it may be mended since.
    pub last_fault: Option<LinkFault>,
    /// Another machine uses this identity.
    pub superseded: bool,
}

/// Handle on the running link.
#[derive(Clone)]
pub struct EdgeLink {
    shared: Arc<Shared>,
    seen: Arc<Seen>,
}

/// What the driver saw, for status.
struct Seen {
    up: watch::Sender<bool>,
    up_since: Mutex<Option<SystemTime>>,
    last_fault: Mutex<Option<LinkFault>>,
    losses: AtomicU64,
    resumed_streams: AtomicU64,
    superseded: AtomicBool,
    stopping: AtomicBool,
    stop: Notify,
}

impl Seen {
    fn fault(&self, text: String) {
        *lock(&self.last_fault) = Some(LinkFault { at: SystemTime::now(), text });
    }
}

impl Notices for Arc<Seen> {
    fn notice(&self, notice: Notice) {
        match notice {
            Notice::Up { resumed } => {
                tracing::info!(resumed, "link is up");
                *lock(&self.up_since) = Some(SystemTime::now());
                self.superseded.store(false, Ordering::Relaxed);
                self.up.send_replace(true);
            }
            Notice::Down(why) => {
                match why {
                    causeway_wire::Down::Goodbye => tracing::info!("link is down, as was said"),
                    causeway_wire::Down::Lost | causeway_wire::Down::Superseded => {
                        tracing::warn!(?why, "link is down");
                        self.fault("the connections to the relay were lost".to_owned());
                    }
                }
                *lock(&self.up_since) = None;
                self.up.send_replace(false);
            }
            Notice::Superseded => {
                tracing::error!("another machine uses this identity; not dialling for 5 minutes");
                self.superseded.store(true, Ordering::Relaxed);
            }
            Notice::Fault(text) => {
                tracing::warn!(fault = %text, "link fault");
                self.fault(text);
            }
            Notice::Catalog(_) | Notice::Load(_) => {}
        }
    }
}

impl EdgeLink {
    /// The handle, the future that runs the link until [`Self::shutdown`] (spawn it once), and the
    /// incoming requests.
    pub fn new(config: EdgeLinkConfig) -> (Self, impl Future<Output = ()> + Send + 'static, mpsc::Receiver<Incoming>) {
        let (sender, incoming) = mpsc::channel(INCOMING_CAPACITY);
        let rng = rand::rngs::StdRng::from_rng(&mut rand::rng());
        let seen = Arc::new(Seen {
            up: watch::Sender::new(false),
            up_since: Mutex::default(),
            last_fault: Mutex::default(),
            losses: AtomicU64::default(),
            resumed_streams: AtomicU64::default(),
            superseded: AtomicBool::default(),
            stopping: AtomicBool::default(),
            stop: Notify::new(),
        });
        let link = Link::edge(config.wire.clone(), rng, now());
        let shared = Shared::new(link, Some(sender), |_| Box::new(Arc::clone(&seen)));
        let handle = Self { shared, seen };
        let driver = drive(handle.clone(), config);
        (handle, driver, incoming)
    }

    /// States the models; sent now if they changed and after every welcome.
    pub fn set_catalog(&self, models: Vec<ModelInfo>) {
        self.shared.with(|core, now| core.link.set_catalog(now, models));
    }

    /// States the load; the link limits how often it is sent.
    pub fn set_load(&self, load: Load) {
        self.shared.with(|core, now| core.link.set_load(now, load));
    }

    /// Refuses new streams and says so; running ones live on.
    pub fn drain(&self) {
        self.shared.with(|core, now| core.link.drain(now));
    }

    /// Closes the sockets and ends the driver future.
    pub fn shutdown(&self) {
        self.seen.stopping.store(true, Ordering::Relaxed);
        self.seen.stop.notify_one();
    }

    /// Make-before-break replacement of all connections (new certificate).
    pub fn rotate(&self) {
        self.shared.with(|core, now| core.link.rotate(now));
    }

    /// Dials at once, whatever the backoff says.
    pub fn reconnect_now(&self) {
        self.shared.with(|core, now| core.link.reconnect_now(now));
    }

    /// Streams whose last frame the relay has not acknowledged, count; more than those that run.
    #[must_use]
    pub fn undelivered(&self) -> usize {
        self.shared.peek(|core| core.link.status().undelivered)
    }

    /// The present state.
    #[must_use]
    pub fn status(&self) -> EdgeLinkStatus {
        let status = self.shared.peek(|core| core.link.status());
        EdgeLinkStatus {
            connections: status.connections,
            wanted: status.wanted,
            streams: status.streams,
            up_since: *lock(&self.seen.up_since),
            return_path: status.return_path.map(wall_clock),
            rtt: status.rtt,
            losses: self.seen.losses.load(Ordering::Relaxed),
            resumed_streams: self.seen.resumed_streams.load(Ordering::Relaxed),
            last_fault: lock(&self.seen.last_fault).clone(),
            superseded: self.seen.superseded.load(Ordering::Relaxed),
        }
    }

    /// Changes whenever the link goes up or down.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.seen.up.subscribe()
    }

    async fn connection(self, config: Arc<EdgeLinkConfig>, id: ConnId) {
        match dial::dial(&config.url, config.tls.load_full()).await {
            // Shut down while it was dialled: nobody would close it any more.
            Ok(_) if self.seen.stopping.load(Ordering::Relaxed) => {}
            Ok(socket) => {
                let wanted = pump::run(&self.shared, id, socket).await;
                if !wanted {
                    let streams = self.shared.peek(|core| core.link.status().streams);
                    self.seen.losses.fetch_add(1, Ordering::Relaxed);
                    self.seen.resumed_streams.fetch_add(streams as u64, Ordering::Relaxed);
                }
            }
            Err(error) => {
                tracing::warn!(error = %error.sentence, "dial failed");
                self.seen.fault(error.sentence);
                self.shared.with(|core, now| {
                    core.link.handle_input(now, Input::DialFailed(id, error.failure));
                });
            }
        }
    }
}

/// The link's task: timers, and a task for each connection, which end with it.
async fn drive(link: EdgeLink, config: EdgeLinkConfig) {
    let config = Arc::new(config);
    let mut connections = JoinSet::new();
    let timers = link.shared.run_timers(|_, _| false);
    tokio::pin!(timers);
    loop {
        let wanted = link.shared.dial.notified();
        let dials = link.shared.with(|core, _| std::mem::take(&mut core.dials));
        for id in dials {
            connections.spawn(link.clone().connection(Arc::clone(&config), id));
        }
        tokio::select! {
            biased;
            () = link.seen.stop.notified() => break,
            () = wanted => {}
            Some(ended) = connections.join_next() => went_on(ended),
            () = &mut timers => break,
        }
    }
    let open = link.shared.peek(|core| core.conns.keys().copied().collect::<Vec<_>>());
    link.shared.with(|core, _| {
        for id in &open {
            if let Some(conn) = core.conns.get_mut(id) {
                conn.close = Some((1000, "shutting down"));
            }
        }
    });
    let closing = async {
        while let Some(ended) = connections.join_next().await {
            went_on(ended);
        }
    };
    if tokio::time::timeout(causeway_wire::limits::CLOSE_TIMEOUT, closing).await.is_err() {
        tracing::debug!("the relay did not answer our close in time");
    }
}

/// A connection's panic is the link's: nothing would tell the link that the connection is gone.
fn went_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// What an instant of the monotonic clock was on the wall's.
fn wall_clock(instant: Instant) -> SystemTime {
    SystemTime::now().checked_sub(now().saturating_duration_since(instant)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
