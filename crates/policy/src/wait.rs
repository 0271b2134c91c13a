//! How long a request that comes now would wait for a slot.

use std::time::Duration;

/// Weight of the newest sample: the average follows a change of load within about ten answers.
const NEWEST_WEIGHT: f64 = 0.2;

/// Exponentially weighted moving average of whole answers' time.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerTime {
    average: Option<Duration>,
}

impl AnswerTime {
    /// Adds the time of one whole answer.
    pub fn record(&mut self, sample: Duration) {
        self.average = Some(match self.average {
            None => sample,
            Some(average) => average.mul_f64(1.0 - NEWEST_WEIGHT).saturating_add(sample.mul_f64(NEWEST_WEIGHT)),
        });
    }

    /// The average; zero while nothing was recorded.
    #[must_use]
    pub fn average(&self) -> Duration {
        self.average.unwrap_or_default()
    }
}

/// Predicted wait of a request that comes now: max(0, `in_flight` + 1 − `slots`) × `answer_time` ÷ `slots`.
///
/// No slots count as one, so that an edge that says nonsense is slow rather than infinitely fast.
#[must_use]
pub fn predicted_wait(in_flight: u32, slots: u32, answer_time: Duration) -> Duration {
    let slots = slots.max(1);
    let ahead = in_flight.saturating_add(1).saturating_sub(slots);
    answer_time.saturating_mul(ahead) / slots
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Duration = Duration::from_secs(2);

    #[test]
    fn a_free_slot_means_no_wait() {
        assert_eq!(predicted_wait(3, 4, ANSWER), Duration::ZERO);
    }

    #[test]
    fn each_request_ahead_of_the_slots_adds_its_share_of_an_answer() {
        assert_eq!(predicted_wait(1, 1, ANSWER), ANSWER);
        assert_eq!(predicted_wait(5, 2, ANSWER), ANSWER * 2);
    }

    #[test]
    fn absurd_figures_saturate_instead_of_wrapping() {
        assert!(predicted_wait(u32::MAX, 0, Duration::MAX) > ANSWER);
    }

    #[test]
    fn the_average_moves_a_fifth_of_the_way_to_each_new_answer() {
        let mut time = AnswerTime::default();
        time.record(Duration::from_secs(1));
        time.record(Duration::from_secs(2));
        assert_eq!(time.average(), Duration::from_millis(1_200));
    }
}
