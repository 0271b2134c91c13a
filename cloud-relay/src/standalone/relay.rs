//! What every request of the process shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use causeway_wire::StreamId;

use crate::core::limits::METADATA_POOL;
use crate::standalone::keys::Keys;
use crate::standalone::log::AccessLog;
use crate::standalone::pool::Pool;
use crate::standalone::registry::Registry;
use crate::standalone::running::Running;

/// See the module's head.
pub(crate) struct Relay {
    pub(crate) keys: Arc<Keys>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) running: Arc<Running>,
    pub(crate) log: Arc<AccessLog>,
    /// Memory of all buffered request bodies.
    pub(crate) bodies: Arc<Pool>,
    /// Memory of all answers about models.
    pub(crate) answers: Arc<Pool>,
    /// Largest body of one request, bytes.
    pub(crate) body: u64,
    /// Requests at once, count.
    pub(crate) streams: usize,
    draining: AtomicBool,
}

impl Relay {
    pub(crate) fn new(keys: Arc<Keys>, registry: Arc<Registry>, body: u64, bodies: u64, streams: usize) -> Arc<Self> {
        Arc::new(Self {
            keys,
            registry,
            running: Arc::default(),
            log: Arc::default(),
            bodies: Pool::new(bodies),
            answers: Pool::new(METADATA_POOL),
            body,
            streams,
            draining: AtomicBool::new(false),
        })
    }

    /// No new requests from here on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// A new id, of the time now.
pub(crate) fn new_id() -> StreamId {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    StreamId::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), rand::random())
}
