//! The keys in memory: read on every request, renewed when another process changes the store.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use causeway_wire::Code;
use http::HeaderMap;

use crate::core::auth::{self, FailureLimiter, Key};
use crate::core::errors::Refusal;
use crate::standalone::store::{Store, StoreError};

/// The caller's keys.
pub(crate) struct Keys {
    by_id: ArcSwap<HashMap<String, Arc<Key>>>,
    failures: Mutex<FailureLimiter>,
    /// The store could be read when it was last looked at.
    healthy: AtomicBool,
}

/// The store as the poll task holds it.
pub(crate) struct Watched {
    store: Store,
    version: i64,
}

impl Keys {
    /// Opens the store and reads its keys.
    pub(crate) fn open(path: &Path) -> Result<(Arc<Self>, Watched), StoreError> {
        let store = Store::open(path)?;
        let version = store.keys_version()?;
        let keys = Self {
            by_id: ArcSwap::from_pointee(index(store.keys()?)),
            failures: Mutex::default(),
            healthy: AtomicBool::new(true),
        };
        Ok((Arc::new(keys), Watched { store, version }))
    }

    /// Reads the keys again if the store has changed. On failure the known ones stay.
    pub(crate) fn refresh(&self, watched: &mut Watched) {
        let outcome = watched.store.keys_version().and_then(|version| {
            if version != watched.version {
                self.by_id.store(Arc::new(index(watched.store.keys()?)));
                watched.version = version;
            }
            Ok(())
        });
        let was_healthy = self.healthy.swap(outcome.is_ok(), Ordering::Relaxed);
        if let Err(error) = outcome
            && was_healthy
        {
            tracing::error!(%error, "the keys cannot be read; the known ones stay in force");
        }
    }

    /// Whether the store could be read when it was last looked at.
    pub(crate) fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// The key of a request. Failures, and only they, are rate limited by address.
    pub(crate) fn authenticate(&self, headers: &HeaderMap, address: IpAddr) -> Result<Arc<Key>, Refusal> {
        let outcome = auth::credential(headers).and_then(|credential| {
            let found = self.by_id.load().get(auth::key_id(credential)).cloned();
            auth::verify(credential, found.as_deref(), unix_now())?;
            found
                .ok_or_else(|| Refusal::new(Code::Unauthorized, "the API key is wrong; check that it was copied whole"))
        });
        outcome.map_err(|refusal| {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            match failures.failed(address, Instant::now()) {
                None => refusal,
                Some(wait) => auth::too_many_failures(wait),
            }
        })
    }
}

fn index(keys: Vec<Key>) -> HashMap<String, Arc<Key>> {
    keys.into_iter().map(|key| (key.id.clone(), Arc::new(key))).collect()
}

/// Unix time, seconds.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::auth::NewKey;

    #[test]
    fn a_store_that_breaks_while_running_leaves_the_known_keys_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        let store = Store::create(&path).unwrap();
        let new = NewKey::from_random([1; auth::ID_BYTES], [2; auth::SECRET_BYTES]);
        let key = Key { id: new.id, hash: new.hash, ..Key::for_test(&[]) };
        let (keys, mut watched) = Keys::open(&path).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", new.text.parse().unwrap());
        let address = IpAddr::from([127, 0, 0, 1]);
        assert!(keys.authenticate(&headers, address).is_err());
        store.add_key(&key, 1).unwrap();
        keys.refresh(&mut watched);
        assert_eq!(*keys.authenticate(&headers, address).unwrap(), key);
        assert!(keys.healthy());

        store.break_keys();
        keys.refresh(&mut watched);
        assert!(!keys.healthy(), "a store that cannot be read must show in /readyz");
        assert!(keys.authenticate(&headers, address).is_ok(), "the known keys stay in force");

        store.mend_keys();
        keys.refresh(&mut watched);
        assert!(keys.healthy(), "and so must that it can be read again");
    }
}
