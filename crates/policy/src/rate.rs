//! How often something may happen: a token bucket as one moment.
//!
//! Invariant: over any time t no more passes than the burst and t ÷ `each`. Absent: whose bucket it is;
//! whoever asks keeps one moment for each.

use std::time::{Duration, Instant};

/// One more: the moment at which the bucket is full again, to be kept, or how long until there is room.
/// `full_at`: the moment kept last, none for a full bucket; `each`: the time in which one comes free;
/// `burst`: that of all that may come at once. The generic cell rate algorithm (ITU-T I.371).
///
/// # Errors
///
/// The time after which the next one passes; the moment kept stays.
pub fn one_more(full_at: Option<Instant>, each: Duration, burst: Duration, now: Instant) -> Result<Instant, Duration> {
    let next = full_at.map_or(now, |full_at| full_at.max(now)) + each;
    match next.duration_since(now).checked_sub(burst) {
        Some(wait) if !wait.is_zero() => Err(wait),
        Some(_) | None => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::start;

    const EACH: Duration = Duration::from_secs(2);
    const BURST: Duration = Duration::from_secs(60);

    #[test]
    fn a_burst_passes_and_then_one_whenever_one_comes_free() {
        let now = start();
        let mut kept = None;
        for _ in 0..30 {
            kept = Some(one_more(kept, EACH, BURST, now).unwrap());
        }
        assert_eq!(one_more(kept, EACH, BURST, now), Err(EACH));
        assert!(one_more(kept, EACH, BURST, now + Duration::from_millis(1_999)).is_err());
        kept = Some(one_more(kept, EACH, BURST, now + EACH).unwrap());
        assert_eq!(one_more(kept, EACH, BURST, now + EACH), Err(EACH));
    }

    #[test]
    fn a_bucket_that_has_rested_is_full_and_no_fuller() {
        let now = start();
        let rested = one_more(Some(now), EACH, BURST, now + 10 * BURST);
        assert_eq!(rested, Ok(now + 10 * BURST + EACH));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_away() {
        let now = start() + BURST;
        let mut kept = None;
        for _ in 0..30 {
            kept = Some(one_more(kept, EACH, BURST, now).unwrap());
        }
        assert_eq!(one_more(kept, EACH, BURST, now - BURST), Err(BURST + EACH));
    }
}
