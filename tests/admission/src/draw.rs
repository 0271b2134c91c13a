//! Chance from a seed: the same seed draws the same numbers on every machine and in every release.
//!
//! Times are drawn in whole microseconds and lengths in whole tokens, so that the last digit of a
//! logarithm, which C libraries round differently, is cut off before anything depends on it.

/// SplitMix64 (Steele, Lea, Flood 2014): one word of state, and good enough for arrivals.
#[derive(Clone, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The generator of one purpose under one seed.
    pub(crate) fn new(seed: u64, purpose: u64) -> Draw {
        let mut draw = Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose.rotate_left(32));
        draw.word();
        draw
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// From 0 up to, not including, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normal with this median; `sigma` is the deviation of its logarithm.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (self.unit() * std::f64::consts::TAU).cos();
        median * (sigma * normal).exp()
    }

    /// One of `choices`, each as often as its weight says.
    pub(crate) fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut at = self.unit() * weights.clone().sum::<f64>();
        for (index, weight) in weights.enumerate() {
            at -= weight;
            if at < 0.0 {
                return index;
            }
        }
        0
    }
}
