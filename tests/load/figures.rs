//! Percentiles and medians.
//!
//! Invariant: a percentile is a measured value (nearest rank), never interpolated.

use std::time::Duration;

/// Milliseconds, the unit of every table here.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Samples of one figure in one round.
#[derive(Clone, Default, Debug)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The value that `share` of the samples do not exceed; NaN without samples.
    pub(crate) fn percentile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among fewer than 2^52 samples"
        )]
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// NaN without samples.
    pub(crate) fn mean(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 samples")]
        let count = self.0.len() as f64;
        self.0.iter().sum::<f64>() / count
    }

    pub(crate) fn max(&mut self) -> f64 {
        self.percentile(1.0)
    }
}

/// The median over rounds.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut samples = Samples(values.to_vec());
    samples.percentile(0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut samples = Samples((1..=100).rev().map(f64::from).collect());
        assert_eq!(samples.percentile(0.5), 50.0);
        assert_eq!(samples.percentile(0.99), 99.0);
        assert_eq!(samples.max(), 100.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
