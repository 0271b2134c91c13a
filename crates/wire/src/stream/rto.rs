//! The retransmission timeout of one stream: a smoothed round trip and a doubling.
//!
//! Invariant: the timeout is between `rto_min` and 8 s (or 4 × srtt + ack_delay where that is more).

use std::time::Duration;

use crate::Limits;
use crate::limits::RTO_MAX;

#[derive(Debug, Default)]
pub(super) struct Rto {
    srtt: Option<Duration>,
    doublings: u32,
}

impl Rto {
    /// `elapsed` ran from the send of a frame, sent once, to its ack. The receiver may have waited
    /// `ack_delay` with it; taking all of that off may be too much, which the factor 4 makes good.
    pub(super) fn observe(&mut self, elapsed: Duration, limits: &Limits) {
        let sample = elapsed.saturating_sub(limits.ack_delay);
        self.srtt = Some(match self.srtt {
            Some(srtt) => (srtt * 7 + sample) / 8,
            None => sample,
        });
    }

    pub(super) fn current(&self, limits: &Limits) -> Duration {
        let measured = self.srtt.unwrap_or_default() * 4 + limits.ack_delay;
        let base = measured.max(limits.rto_min);
        base.saturating_mul(1_u32 << self.doublings.min(8)).min(RTO_MAX.max(base))
    }

    /// The round trip as far as known: a frame younger than this cannot have been acknowledged.
    pub(super) fn srtt(&self) -> Duration {
        self.srtt.unwrap_or_default()
    }

    pub(super) fn double(&mut self) {
        self.doublings = self.doublings.saturating_add(1);
    }

    pub(super) fn progress(&mut self) {
        self.doublings = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_doubles_to_eight_seconds_and_progress_resets_it() {
        let limits = Limits::STANDALONE;
        let mut rto = Rto::default();
        assert_eq!(rto.current(&limits), Duration::from_secs(1));
        for expected in [2, 4, 8, 8] {
            rto.double();
            assert_eq!(rto.current(&limits), Duration::from_secs(expected));
        }
        rto.progress();
        assert_eq!(rto.current(&limits), Duration::from_secs(1));
    }

    #[test]
    fn a_long_round_trip_makes_the_timeout_four_of_it_and_the_ack_delay() {
        let limits = Limits::STANDALONE;
        let mut rto = Rto::default();
        rto.observe(Duration::from_millis(850), &limits);
        assert_eq!(rto.srtt(), Duration::from_millis(600));
        assert_eq!(rto.current(&limits), Duration::from_millis(2_650));
    }
}
