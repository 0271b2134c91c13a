//! How much a model is wanted, minute by minute.
//!
//! Absent: what follows from it (`cold.rs`).

use std::time::{Duration, Instant};

/// Minutes over which demand is compared.
const DEMAND_MINUTES: usize = 5;

/// Requests of the last five minutes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    minutes: [u32; DEMAND_MINUTES],
    /// When the newest of the minutes began.
    since: Option<Instant>,
}

impl Demand {
    pub(crate) fn count(&mut self, now: Instant) {
        self.turn(now);
        let [newest, ..] = &mut self.minutes;
        *newest = newest.saturating_add(1);
    }

    pub(crate) fn total(mut self, now: Instant) -> u32 {
        self.turn(now);
        self.minutes.iter().fold(0, |sum, minute| sum.saturating_add(*minute))
    }

    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since).as_secs() / 60;
        if passed == 0 {
            return;
        }
        let gone = usize::try_from(passed).unwrap_or(usize::MAX).min(DEMAND_MINUTES);
        self.minutes.rotate_right(gone);
        self.minutes.iter_mut().take(gone).for_each(|minute| *minute = 0);
        self.since = Some(since + Duration::from_secs(passed * 60));
    }
}
