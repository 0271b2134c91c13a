//! Memory that requests share: what each takes of it is counted until it is given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// A bounded number of bytes.
pub(crate) struct Pool {
    used: AtomicU64,
    most: u64,
}

/// A share of a pool; given back when dropped.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    bytes: u64,
}

/// Bytes that keep their share until the last of them is gone.
struct Leased {
    bytes: Bytes,
    _lease: Lease,
}

impl Pool {
    /// A pool of `most` bytes.
    pub(crate) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), most })
    }

    /// A share of nothing yet.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        Lease { pool: Arc::clone(self), bytes: 0 }
    }
}

impl Lease {
    /// Takes this much more; false, and nothing is taken, if the pool does not have it.
    #[must_use]
    pub(crate) fn grow(&mut self, by: usize) -> bool {
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        let more = |used: u64| used.checked_add(by).filter(|used| *used <= self.pool.most);
        let taken = self.pool.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if taken {
            self.bytes += by;
        }
        taken
    }

    /// Bytes taken.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes over another share of the same pool.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what these bytes do not need, and the rest when they are gone.
    pub(crate) fn hold(mut self, bytes: Bytes) -> Bytes {
        let needed = self.bytes.min(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.pool.used.fetch_sub(self.bytes - needed, Ordering::AcqRel);
        self.bytes = needed;
        Bytes::from_owner(Leased { bytes, _lease: self })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_whole_and_a_refused_one_takes_nothing() {
        let pool = Pool::new(100);
        let (mut first, mut second) = (pool.lease(), pool.lease());
        assert!(first.grow(60) && !second.grow(41) && second.grow(40));
        first.join(second);
        assert_eq!(first.bytes(), 100);
        assert!(!pool.lease().grow(1));
        drop(first);
        assert!(pool.lease().grow(100));
    }

    #[test]
    fn bytes_keep_their_share_until_the_last_of_them_is_gone() {
        let pool = Pool::new(100);
        let mut lease = pool.lease();
        assert!(lease.grow(100));
        let mut held = lease.hold(Bytes::from(vec![7; 30]));
        assert!(pool.lease().grow(70) && !pool.lease().grow(71));
        let part = held.split_to(1);
        drop(held);
        assert!(!pool.lease().grow(71), "a part of them is still there");
        drop(part);
        assert!(pool.lease().grow(100));
    }
}
