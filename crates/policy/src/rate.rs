//! Requests per minute of each caller's key: one token bucket a key.
//!
//! Invariants: a key never passes more than its rate over any minute plus one burst of the same
//! size; at most [`MAX_KEYS`] buckets are held. Absent: which key a request has (the relay knows),
//! and concurrency (a count of running requests, not a rate).

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Buckets held. A bucket is 40 bytes, so these are some 200 KiB; a relay with more keys at work
/// within one minute forgets the fullest bucket, which errs in the caller's favour.
const MAX_KEYS: usize = 4_096;
/// The time over which the rate is stated.
const MINUTE: Duration = Duration::from_secs(60);

/// A caller's key as the session numbers it: the same number for the same key, no other meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub u64);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Requests that may pass at once at `at`.
    level: f64,
    at: Instant,
    per_minute: u32,
}

impl Bucket {
    fn level_at(&self, now: Instant) -> f64 {
        let refill = now.saturating_duration_since(self.at).as_secs_f64() / MINUTE.as_secs_f64();
        (self.level + refill * f64::from(self.per_minute)).min(f64::from(self.per_minute))
    }
}

/// Every key's bucket.
#[derive(Debug, Default)]
pub struct RateLimit {
    buckets: HashMap<Key, Bucket>,
}

impl RateLimit {
    /// Takes one request of `key`, which may send `per_minute` a minute.
    ///
    /// # Errors
    /// The time after which the next one passes, where the rate is used up. A rate of 0 lets
    /// nothing pass and says a minute.
    pub fn take(&mut self, now: Instant, key: Key, per_minute: u32) -> Result<(), Duration> {
        if per_minute == 0 {
            return Err(MINUTE);
        }
        if !self.buckets.contains_key(&key) {
            self.make_room(now);
        }
        let full = Bucket { level: f64::from(per_minute), at: now, per_minute };
        let bucket = self.buckets.entry(key).or_insert(full);
        let level = bucket.level_at(now).min(f64::from(per_minute));
        *bucket = Bucket { level, at: now.max(bucket.at), per_minute };
        if level < 1.0 {
            return Err(MINUTE.mul_f64((1.0 - level) / f64::from(per_minute)));
        }
        bucket.level -= 1.0;
        Ok(())
    }

    /// Full buckets say nothing that a new one would not; if none is full, the fullest goes.
    fn make_room(&mut self, now: Instant) {
        if self.buckets.len() < MAX_KEYS {
            return;
        }
        self.buckets.retain(|_, bucket| bucket.level_at(now) < f64::from(bucket.per_minute));
        if self.buckets.len() < MAX_KEYS {
            return;
        }
        let share = |bucket: &Bucket| bucket.level_at(now) / f64::from(bucket.per_minute);
        let fullest = self.buckets.iter().max_by(|a, b| share(a.1).total_cmp(&share(b.1))).map(|(key, _)| *key);
        if let Some(key) = fullest {
            self.buckets.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::start;

    const KEY: Key = Key(1);

    #[test]
    fn a_key_passes_its_burst_and_is_then_told_when_the_next_one_passes() {
        let (mut limit, now) = (RateLimit::default(), start());
        for _ in 0..30 {
            assert_eq!(limit.take(now, KEY, 30), Ok(()));
        }
        assert_eq!(limit.take(now, KEY, 30), Err(Duration::from_secs(2)));
        assert!(limit.take(now + Duration::from_millis(1_900), KEY, 30).is_err());
        assert_eq!(limit.take(now + Duration::from_millis(2_001), KEY, 30), Ok(()));
    }

    #[test]
    fn keys_do_not_share_a_bucket() {
        let (mut limit, now) = (RateLimit::default(), start());
        assert_eq!(limit.take(now, KEY, 1), Ok(()));
        assert!(limit.take(now, KEY, 1).is_err());
        assert_eq!(limit.take(now, Key(2), 1), Ok(()));
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_pass() {
        assert_eq!(RateLimit::default().take(start(), KEY, 0), Err(MINUTE));
    }

    #[test]
    fn a_lowered_rate_counts_at_once() {
        let (mut limit, now) = (RateLimit::default(), start());
        assert_eq!(limit.take(now, KEY, 100), Ok(()));
        assert_eq!(limit.take(now, KEY, 1), Ok(()));
        assert!(limit.take(now, KEY, 1).is_err());
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_away() {
        let (mut limit, now) = (RateLimit::default(), start() + MINUTE);
        assert_eq!(limit.take(now, KEY, 1), Ok(()));
        assert!(limit.take(now - MINUTE, KEY, 1).is_err());
        assert!(limit.take(now + Duration::from_secs(1), KEY, 1).is_err());
    }

    #[test]
    fn more_keys_than_fit_forget_the_fullest_bucket_and_keep_the_emptied_one() {
        let (mut limit, now) = (RateLimit::default(), start());
        assert_eq!(limit.take(now, KEY, 1), Ok(()));
        for other in 2..(MAX_KEYS as u64 * 2) {
            assert_eq!(limit.take(now, Key(other), 10), Ok(()));
        }
        assert!(limit.buckets.len() <= MAX_KEYS);
        assert!(limit.take(now, KEY, 1).is_err());
    }
}
