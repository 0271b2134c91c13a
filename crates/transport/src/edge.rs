//! The edge's side: dials, pumps, hands incoming requests to the daemon.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use causeway_wire::{EdgeConfig, Load, ModelInfo};
use tokio::sync::{mpsc, watch};

use crate::stream::Incoming;

/// `wss://HOST[:PORT]/PATH`, parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayUrl { /// Host name or IP.
    pub host: String, /// Port; 443 if not given.
    pub port: u16, /// Path, `/edge` if not given.
    pub path: String }

/// Why a text is no relay URL; the message says what was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected wss://HOST[:PORT]/edge, {0}")]
pub struct RelayUrlError(pub String);

impl std::str::FromStr for RelayUrl { type Err = RelayUrlError;
    #[expect(clippy::todo, unused_variables, reason = "stub")]
    fn from_str(s: &str) -> Result<Self, RelayUrlError> { todo!() } }

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

/// A snapshot of the link for status, readiness and metrics.
#[derive(Clone, Debug, Default)]
pub struct EdgeLinkStatus {
    /// Welcomed, live connections.
    pub connections: usize,
    /// Streams not yet ended.
    pub streams: usize,
    /// When the first of the present connections was welcomed.
    pub up_since: Option<SystemTime>,
    /// When something last arrived that answered something of ours.
    pub return_path: Option<SystemTime>,
    /// Last round trip.
    pub rtt: Option<Duration>,
    /// Connections lost since start, count.
    pub losses: u64,
    /// Streams that lived on over a gap, count.
    pub resumed_streams: u64,
    /// What last went wrong, in a sentence (dial errors name host and cause).
    pub last_error: Option<String>,
    /// Another machine uses this identity.
    pub superseded: bool,
}

/// Handle on the running link.
#[derive(Clone)]
pub struct EdgeLink {}

#[expect(unused_variables, clippy::todo, missing_docs, reason = "stub")]
impl EdgeLink {
    /// The handle, the future that runs the link until it is shut down (spawn it once), and the
    /// incoming requests.
    pub fn new(config: EdgeLinkConfig) -> (Self, impl Future<Output = ()> + Send + 'static, mpsc::Receiver<Incoming>) {
        let (_tx, rx) = mpsc::channel(1);
        (Self {}, async { todo!() }, rx)
    }
    pub fn set_catalog(&self, models: Vec<ModelInfo>) { todo!() }
    pub fn set_load(&self, load: Load) { todo!() }
    /// Refuse new streams and say so; running ones live on.
    pub fn drain(&self) { todo!() }
    /// Close the sockets and end the driver future.
    pub fn shutdown(&self) { todo!() }
    /// Make-before-break replacement of all connections (new certificate).
    pub fn rotate(&self) { todo!() }
    /// Dial at once, whatever the backoff says.
    pub fn reconnect_now(&self) { todo!() }
    pub fn status(&self) -> EdgeLinkStatus { todo!() }
    /// Changes whenever the link goes up or down.
    pub fn watch(&self) -> watch::Receiver<bool> { todo!() }
}
