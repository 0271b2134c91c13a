//! How many requests each key has running and has sent of late.
//!
//! Pure: time is an argument. Invariants: a place that was taken is given back once
//! ([`Quotas::leave`]); a key without a bound costs nothing; memory is bounded by the keys that have
//! one. Absent: spending.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use causeway_policy::one_more;
use causeway_wire::Code;

use crate::core::auth::Key;
use crate::core::errors::Refusal;

/// Where a key has all its requests running: how long until one is likely to end. Nothing here
/// knows how long its answers are.
const BUSY_AFTER: Duration = Duration::from_secs(1);

/// A minute, the span of `rpm`.
const MINUTE: Duration = Duration::from_secs(60);

/// All keys' counts.
#[derive(Debug, Default)]
pub struct Quotas {
    keys: HashMap<String, Use>,
}

/// One key's.
#[derive(Debug, Default)]
struct Use {
    /// Requests now, count.
    running: u32,
    /// When a full minute's requests could be sent at once again. A key may send a minute's worth
    /// as a burst, then as they come free.
    full_at: Option<Instant>,
}

impl Quotas {
    /// Counts a request of `key`, or refuses it. One that is refused counts for nothing. Whether it
    /// was counted: only then it is to [`Quotas::leave`].
    ///
    /// # Errors
    ///
    /// 429 `rate_limited`, with the time after which the next request would be taken.
    pub fn enter(&mut self, key: &Key, now: Instant) -> Result<bool, Refusal> {
        let terms = &key.terms;
        if terms.rpm.is_none() && terms.concurrent.is_none() {
            return Ok(false);
        }
        if !self.keys.contains_key(&key.id) {
            self.forget_idle(now);
        }
        let used = self.keys.entry(key.id.clone()).or_default();
        if let Some(most) = terms.concurrent
            && used.running >= most
        {
            let message = format!("this key has {most} requests running, which is all it may; try again");
            return Err(Refusal::new(Code::RateLimited, message).after(BUSY_AFTER));
        }
        if let Some(rpm) = terms.rpm {
            used.full_at = Some(one_more(used.full_at, MINUTE / rpm.max(1), MINUTE, now).map_err(|wait| {
                let message = format!("this key may send {rpm} requests a minute; wait, then try again");
                Refusal::new(Code::RateLimited, message).after(wait)
            })?);
        }
        used.running += 1;
        Ok(true)
    }

    /// Gives back what [`Quotas::enter`] counted, once the request has ended. The key's terms may
    /// have changed meanwhile.
    pub fn leave(&mut self, id: &str) {
        if let Some(used) = self.keys.get_mut(id) {
            used.running = used.running.saturating_sub(1);
        }
    }

    /// Before a key is added: those that nothing depends on any more go.
    fn forget_idle(&mut self, now: Instant) {
        self.keys.retain(|_, used| used.running > 0 || used.full_at.is_some_and(|full_at| full_at > now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::terms::Terms;

    fn key(rpm: Option<u32>, concurrent: Option<u32>) -> Key {
        let mut key = Key::for_test(&[]);
        key.terms = Terms { rpm, concurrent, ..Terms::default() };
        key
    }

    #[test]
    fn a_key_has_no_more_requests_running_than_it_may() {
        let (mut quotas, now, key) = (Quotas::default(), Instant::now(), key(None, Some(2)));
        assert!(quotas.enter(&key, now).is_ok() && quotas.enter(&key, now).is_ok());
        let refusal = quotas.enter(&key, now).unwrap_err();
        assert_eq!((refusal.code, refusal.status), (Code::RateLimited, 429));
        assert!(refusal.retry_after.is_some());
        quotas.leave(&key.id);
        assert!(quotas.enter(&key, now).is_ok());
    }

    #[test]
    fn a_minutes_requests_may_come_at_once_and_then_as_they_come_free() {
        let (mut quotas, now, key) = (Quotas::default(), Instant::now(), key(Some(60), None));
        for _ in 0..60 {
            quotas.enter(&key, now).unwrap();
        }
        let wait = quotas.enter(&key, now).unwrap_err().retry_after.unwrap();
        assert_eq!(wait, Duration::from_secs(1));
        assert!(quotas.enter(&key, now + wait / 2).is_err());
        assert!(quotas.enter(&key, now + wait).is_ok());
        assert!(quotas.enter(&key, now + wait).is_err());
    }

    #[test]
    fn a_request_that_is_refused_counts_for_nothing() {
        let (mut quotas, now, key) = (Quotas::default(), Instant::now(), key(Some(2), Some(1)));
        quotas.enter(&key, now).unwrap();
        for _ in 0..9 {
            assert!(quotas.enter(&key, now).is_err());
        }
        quotas.leave(&key.id);
        assert!(quotas.enter(&key, now).is_ok(), "the second of the minute is still there");
    }

    #[test]
    fn keys_do_not_share_their_counts_and_one_without_a_bound_is_never_counted() {
        let (mut quotas, now) = (Quotas::default(), Instant::now());
        let mut other = key(None, Some(1));
        quotas.enter(&other, now).unwrap();
        other.id = "other".to_owned();
        assert!(quotas.enter(&other, now).is_ok());
        let free = Key { id: "free".to_owned(), ..key(None, None) };
        for _ in 0..100 {
            quotas.enter(&free, now).unwrap();
        }
        assert!(!quotas.keys.contains_key("free"));
    }

    #[test]
    fn a_key_that_is_idle_again_is_forgotten() {
        let (mut quotas, now, key) = (Quotas::default(), Instant::now(), key(Some(1), None));
        quotas.enter(&key, now).unwrap();
        quotas.leave(&key.id);
        let late = Key { id: "late".to_owned(), ..key };
        quotas.enter(&late, now + MINUTE).unwrap();
        assert_eq!(quotas.keys.len(), 1);
    }
}
