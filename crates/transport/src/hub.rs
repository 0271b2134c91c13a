//! The relay's side: all edges' links of one process.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use causeway_wire::{Load, ModelInfo, Open, OpenRefused, RelayConfig, Status, StreamId};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::stream::RequestStream;

/// Told of what changes at the links; called without any lock held.
pub trait HubEvents: Send + Sync + 'static {
    /// A link came up (again).
    fn up(&self, link: &RelayLink);
    /// A link has no connection left.
    fn down(&self, edge: &str);
    /// A new catalog arrived.
    fn catalog(&self, link: &RelayLink, models: Vec<ModelInfo>);
    /// Newer load arrived.
    fn load(&self, link: &RelayLink, load: Load);
}

/// One edge's link.
#[derive(Clone)]
pub struct RelayLink {}

#[expect(unused_variables, clippy::todo, missing_docs, reason = "stub")]
impl RelayLink {
    pub fn edge(&self) -> &str { todo!() }
    /// The edge's run, to put into `Open::edge_instance`.
    pub fn edge_instance(&self) -> causeway_wire::InstanceId { todo!() }
    /// The edge's software version.
    pub fn software(&self) -> &str { todo!() }
    pub fn open(&self, id: StreamId, open: Open, body: Bytes, fin: bool) -> Result<RequestStream, OpenRefused> { todo!() }
    pub fn status(&self) -> Status { todo!() }
}

/// All links.
#[derive(Clone)]
pub struct Hub {}

#[expect(unused_variables, clippy::todo, missing_docs, reason = "stub")]
impl Hub {
    /// The hub and the future that runs its links' timers (spawn it once).
    pub fn new(config: RelayConfig, events: Arc<dyn HubEvents>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        (Self {}, async { todo!() })
    }
    /// Serves one edge connection from the WebSocket handshake to its end. `edge` is the name in
    /// the verified client certificate.
    pub async fn serve_connection<S>(&self, io: S, edge: String) where S: AsyncRead + AsyncWrite + Unpin + Send + 'static { todo!() }
    /// Links with a live connection.
    pub fn links(&self) -> Vec<RelayLink> { todo!() }
    /// goaway to all; running streams live on.
    pub fn drain(&self) { todo!() }
    /// Closes all connections.
    pub fn shutdown(&self) { todo!() }
}
