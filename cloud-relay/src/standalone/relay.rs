//! What every request of the process shares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use causeway_wire::StreamId;

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::limits::METADATA_POOL;
use crate::core::quota::Quotas;
use crate::core::spend::Ledger;
use crate::standalone::attempt::Leftovers;
use crate::standalone::books::Books;
use crate::standalone::grants::Grants;
use crate::standalone::keys::Keys;
use crate::standalone::log::AccessLog;
use crate::standalone::pool::Pool;
use crate::standalone::registry::Registry;
use crate::standalone::running::Running;
use crate::standalone::stand_in::StandIn;

/// See the module's head.
pub(crate) struct Relay {
    pub(crate) keys: Arc<Keys>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) running: Arc<Running>,
    pub(crate) log: Arc<AccessLog>,
    pub(crate) books: Arc<Books>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) leftovers: Leftovers,
    /// Who answers while no edge is there, if that is configured.
    pub(crate) stand_in: Option<StandIn>,
    /// What keys with bounds have running and have sent.
    pub(crate) quotas: Mutex<Quotas>,
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
    pub(crate) fn new(
        keys: Arc<Keys>,
        books: Arc<Books>,
        registry: Arc<Registry>,
        limits: Bounds,
        ledger: Ledger,
        leftovers: Leftovers,
        stand_in: Option<StandIn>,
    ) -> Arc<Self> {
        let Bounds { body, bodies, streams } = limits;
        Arc::new(Self {
            keys,
            grants: Grants::new(Arc::clone(&books), ledger),
            leftovers,
            stand_in,
            books,
            quotas: Mutex::default(),
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

    /// Counts a request of this key, if it has a bound, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// 429 where the key has too many.
    pub(crate) fn count(self: &Arc<Self>, key: &Key) -> Result<Option<Place>, Refusal> {
        let counted = self.quotas.lock().unwrap_or_else(PoisonError::into_inner).enter(key, Instant::now())?;
        Ok(counted.then(|| Place { relay: Arc::clone(self), key: key.id.clone() }))
    }

    /// No new requests from here on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// A key's request, counted.
pub(crate) struct Place {
    relay: Arc<Relay>,
    key: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.relay.quotas.lock().unwrap_or_else(PoisonError::into_inner).leave(&self.key);
    }
}

/// `[limits]` of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Largest body of one request, bytes.
    pub(crate) body: u64,
    /// All buffered bodies, bytes.
    pub(crate) bodies: u64,
    /// Requests at once, count.
    pub(crate) streams: usize,
}

/// A new id, of the time now.
pub(crate) fn new_id() -> StreamId {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    StreamId::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), rand::random())
}
