//! When Ollama is asked again: every ten seconds, and just after a model's time in memory ends.
//!
//! Pure. While a model answers, its end stays that of its last pause and may have passed
//! (`server/routes.go`, `PsHandler`), so that one that has passed is looked at for a while only.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{POLL_EVERY, RETRY_EVERY};

/// From the end of a model's time until Ollama has let it go.
const SETTLE: Duration = Duration::from_millis(200);

/// The time until the next read. `ends`: `expires_at` of each model in memory; what cannot be read
/// counts as none.
pub(super) fn pause<'a>(now: SystemTime, ends: impl Iterator<Item = &'a str>) -> Duration {
    let now = OffsetDateTime::from(now);
    let next = ends.filter_map(|end| {
        let left = OffsetDateTime::parse(end, &Rfc3339).ok()? - now;
        // Over, and perhaps about to be let go.
        (left + POLL_EVERY > time::Duration::ZERO).then(|| Duration::try_from(left).unwrap_or_default() + SETTLE)
    });
    next.min().unwrap_or(POLL_EVERY).clamp(RETRY_EVERY, POLL_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T00:00:00Z.
    fn paused(ends: &[&str]) -> Duration {
        pause(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_392_000), ends.iter().copied())
    }

    #[test]
    fn a_model_is_looked_at_just_after_its_time_ends_whatever_the_zone() {
        assert_eq!(paused(&["2026-11-23T00:00:04.5Z"]), Duration::from_millis(4_700));
        assert_eq!(paused(&["2026-11-22T16:00:06-08:00", "2026-11-23T00:00:04.5Z"]), Duration::from_millis(4_700));
    }

    #[test]
    fn one_that_is_just_over_is_looked_at_soon_and_one_long_over_or_far_off_as_ever() {
        assert_eq!(paused(&["2026-11-22T23:59:59Z"]), RETRY_EVERY);
        for end in ["2026-11-22T23:59:30Z", "2026-11-23T00:05:00Z", "2318-01-01T00:00:00Z", "0001-01-01T00:00:00Z"] {
            assert_eq!(paused(&[end]), POLL_EVERY, "{end}");
        }
    }

    #[test]
    fn without_a_time_that_can_be_read_it_is_every_ten_seconds() {
        assert_eq!(paused(&[]), POLL_EVERY);
        assert_eq!(paused(&["soon", "", "2026-13-40T99:00:00Z", "99999-01-01T00:00:00Z"]), POLL_EVERY);
    }
}
