//! A log histogram of the newest samples: how long answers are, and what is left of a running one.
//!
//! Invariant: it holds exactly the last [`WINDOW`] samples. Every question is answered from suffix
//! sums in constant time, because a decision asks once for every stream ahead; the sums are built
//! anew at each sample, which comes once an answer. Absent: time, units (the owner knows both).

use std::collections::VecDeque;

/// Samples remembered: enough for a stable tail, few enough to follow a change of use in an hour.
pub(crate) const WINDOW: usize = 200;
/// Steps per doubling: 8 make a bucket at most 12 % wide, far below the spread of real answers.
const STEPS: u32 = 8;
/// Values of 2^24 and more (no answer or wait in milliseconds gets there) share the last bucket.
const TOP: u32 = (1 << 24) - 1;
/// Buckets for 0 to [`TOP`]: the first 8 values have one each, then 8 for each further doubling.
const BUCKETS: usize = 8 + 21 * STEPS as usize;
/// A stream longer than every known answer is taken to have this share of itself still to come.
const OUTGROWN_SHARE: f64 = 0.25;

/// A mean with its variance, in the unit (and squared unit) of what was asked.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

impl Spread {
    /// Something that varies by nothing.
    pub(crate) fn exact(mean: f64) -> Spread {
        Spread { mean, variance: 0.0 }
    }

    /// The sum of two that are independent.
    pub(crate) fn plus(self, other: Spread) -> Spread {
        Spread { mean: self.mean + other.mean, variance: self.variance + other.variance }
    }

    /// In another unit.
    pub(crate) fn times(self, factor: f64) -> Spread {
        Spread { mean: self.mean * factor, variance: self.variance * factor * factor }
    }
}

/// Count, sum and sum of squares of some samples.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }
}

/// The last [`WINDOW`] samples by size.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    samples: VecDeque<u32>,
    /// Sums of the buckets from this one on; one more than buckets, the last is empty.
    from: Vec<Sums>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { samples: VecDeque::with_capacity(WINDOW), from: vec![Sums::default(); BUCKETS + 1] }
    }
}

impl Histogram {
    /// Adds a sample; the oldest of a full window goes.
    pub(crate) fn record(&mut self, value: u32) {
        if self.samples.len() >= WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(value.min(TOP));
        self.rebuild();
    }

    /// Samples held, at most [`WINDOW`].
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// A whole value, none above `cap`.
    pub(crate) fn whole(&self, cap: Option<u32>) -> Spread {
        self.between(0, cap, 0.0)
    }

    /// What is left of a value that has already reached `past`: E[min(L, cap) − past | L > past].
    pub(crate) fn residual(&self, past: u32, cap: Option<u32>) -> Spread {
        if cap.is_some_and(|cap| cap <= past) {
            return Spread::default();
        }
        self.known_residual(past, cap).unwrap_or_else(|| {
            let guess = 1.0 + f64::from(past) * OUTGROWN_SHARE;
            let room = cap.map_or(f64::INFINITY, |cap| f64::from(cap.saturating_sub(past)));
            let mean = guess.min(room);
            Spread { mean, variance: mean * mean }
        })
    }

    /// No sample was longer than `past`: what [`Histogram::residual`] says of it is a guess.
    pub(crate) fn outgrown(&self, past: u32, cap: Option<u32>) -> bool {
        cap.is_none_or(|cap| cap > past) && self.known_residual(past, cap).is_none()
    }

    /// What was left of the samples that went on beyond `past`; none where none did.
    fn known_residual(&self, past: u32, cap: Option<u32>) -> Option<Spread> {
        let bucket = bucket(past);
        let first = if self.mean_of(bucket) > f64::from(past) { bucket } else { bucket + 1 };
        Some(self.between(first, cap, f64::from(past))).filter(|left| left.mean > 0.0)
    }

    /// The smallest bucket mean that at least `share` of the samples do not exceed; none without samples.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.tail(0).count;
        let above = all * (1.0 - share);
        (0..BUCKETS).find(|bucket| all > 0.0 && self.tail(bucket + 1).count <= above).map(|bucket| self.mean_of(bucket))
    }

    /// Mean and variance of the samples from bucket `first` on, cut at `cap`, less `past`.
    fn between(&self, first: usize, cap: Option<u32>, past: f64) -> Spread {
        let all = self.tail(first);
        if all.count <= 0.0 {
            return Spread::default();
        }
        let (mut sum, mut squares) = (all.sum, all.squares);
        if let Some(cap) = cap {
            let bucket = bucket(cap);
            let from = if self.mean_of(bucket) > f64::from(cap) { bucket } else { bucket + 1 };
            let (over, cap) = (self.tail(from.max(first)), f64::from(cap));
            sum += over.count * cap - over.sum;
            squares += over.count * cap * cap - over.squares;
        }
        let mean = sum / all.count;
        let variance = (squares / all.count - mean * mean).max(0.0);
        // Few samples know little of their own spread: the error of their mean is added.
        Spread { mean: (mean - past).max(0.0), variance: variance * (1.0 + 1.0 / all.count) }
    }

    fn tail(&self, bucket: usize) -> Sums {
        self.from.get(bucket).copied().unwrap_or_default()
    }

    /// The mean of one bucket; 0 where it is empty.
    fn mean_of(&self, bucket: usize) -> f64 {
        let (from, next) = (self.tail(bucket), self.tail(bucket + 1));
        let count = from.count - next.count;
        if count > 0.0 { (from.sum - next.sum) / count } else { 0.0 }
    }

    fn rebuild(&mut self) {
        self.from.fill(Sums::default());
        for value in &self.samples {
            let size = f64::from(*value);
            if let Some(sums) = self.from.get_mut(bucket(*value)) {
                sums.add(Sums { count: 1.0, sum: size, squares: size * size });
            }
        }
        let mut above = Sums::default();
        for sums in self.from.iter_mut().rev() {
            above.add(*sums);
            *sums = above;
        }
    }
}

/// The bucket of a value: its leading four bits.
fn bucket(value: u32) -> usize {
    let value = value.min(TOP);
    if value < STEPS {
        return value as usize;
    }
    let octave = value.ilog2() - 3;
    ((octave + 1) * STEPS + ((value >> octave) & (STEPS - 1))) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u32]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    #[test]
    fn every_value_has_a_bucket_and_larger_values_never_a_smaller_one() {
        let mut last = 0;
        for value in (0..4_000).chain((12..=32).flat_map(|bit| {
            let power = (1_u64 << bit).min(u64::from(u32::MAX)) as u32;
            [power - 1, power, power.saturating_add(1)]
        })) {
            assert!(bucket(value) >= last && bucket(value) < BUCKETS, "{value}");
            last = bucket(value);
        }
    }

    #[test]
    fn answers_of_one_length_leave_exactly_the_rest() {
        let histogram = of(&[100; 20]);
        assert_eq!(histogram.residual(40, None), Spread::exact(60.0));
        assert_eq!(histogram.residual(99, None), Spread::exact(1.0));
        assert_eq!(histogram.whole(None), Spread::exact(100.0));
    }

    #[test]
    fn a_stream_past_the_short_answers_is_expected_to_be_a_long_one() {
        let histogram = of(&[10, 10, 10, 1_000]);
        assert_eq!(histogram.whole(None).mean, 257.5);
        assert_eq!(histogram.residual(50, None).mean, 950.0);
    }

    #[test]
    fn the_cap_cuts_long_answers_and_a_stream_at_its_cap_has_nothing_left() {
        let histogram = of(&[10, 10, 1_000, 1_000]);
        assert_eq!(histogram.whole(Some(100)).mean, 55.0);
        assert_eq!(histogram.residual(50, Some(100)).mean, 50.0);
        assert_eq!(histogram.residual(100, Some(100)), Spread::default());
    }

    #[test]
    fn a_stream_longer_than_all_known_ones_goes_on_for_a_share_of_itself_within_its_cap() {
        let histogram = of(&[100; 5]);
        assert_eq!(histogram.residual(400, None).mean, 101.0);
        assert_eq!(histogram.residual(400, Some(410)).mean, 10.0);
    }

    #[test]
    fn only_the_newest_samples_count() {
        let mut histogram = of(&[7; WINDOW]);
        (0..WINDOW).for_each(|_| histogram.record(500));
        assert_eq!(histogram.len(), WINDOW);
        assert_eq!(histogram.whole(None), Spread::exact(500.0));
    }

    #[test]
    fn a_quantile_is_the_size_that_the_share_does_not_exceed() {
        let values: Vec<u32> = (1..=100).collect();
        let p90 = of(&values).quantile(0.9).unwrap();
        assert!((85.0..=97.0).contains(&p90), "{p90}");
        assert_eq!(of(&[]).quantile(0.9), None);
        assert_eq!(of(&[u32::MAX]).quantile(0.9), Some(f64::from(TOP)));
    }
}
