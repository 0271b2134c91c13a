//! A model's slots as times at which each can take the next request.
//!
//! Which slot comes free first is not known in advance, so that the first free time is that of none of
//! them: it is the earliest of several uncertain times, and sooner than the soonest of their means.
//! Absent: who takes it (`plan.rs`).

use std::time::Instant;

use super::model::Model;
use crate::histogram::Spread;

/// So many of a queue are reckoned with care, count. Each of them moves the times apart as chance would;
/// further back it makes no difference any more, and each costs 50 ns a slot.
const NEAR: u32 = 8;

/// With more slots than this one comes free so often that the care is not worth its price.
const FEW: usize = 16;

/// Two times so many deviations of their difference apart come in the order of their means.
const APART: f64 = 3.0;

/// Fills `slots` with the time at which each can take the next request, in milliseconds. `ready`: when
/// the model can serve at all.
pub(super) fn occupy(model: &Model, now: Instant, ready: f64, slots: &mut Vec<Spread>) {
    let count = model.parallel.slots();
    let per_token = model.learnt.per_token(model.running.len());
    slots.clear();
    slots.extend(model.running.iter().map(|running| running.remaining(now, &model.learnt, per_token)));
    if slots.len() > count {
        // A slot was taken away: the first to end make room for nobody.
        slots.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        slots.truncate(count);
    }
    slots.resize(count, Spread::default());
    for slot in slots.iter_mut() {
        slot.mean = slot.mean.max(ready);
    }
}

/// The first time at which any of them is free, for whom so many are `ahead`. The others become the
/// times after it.
pub(super) fn next_free(slots: &mut [Spread], ahead: u32) -> Option<&mut Spread> {
    if ahead >= NEAR || slots.len() > FEW {
        return slots.iter_mut().min_by(|a, b| a.mean.total_cmp(&b.mean));
    }
    let (first, others) = slots.split_first_mut()?;
    for other in others {
        (*first, *other) = in_order(*first, *other);
    }
    Some(first)
}

/// The earlier and the later of two independent times (C. E. Clark, "The Greatest of a Finite Set of
/// Random Variables", Operations Research 9, 1961: both moments, as if they were normal).
fn in_order(a: Spread, b: Spread) -> (Spread, Spread) {
    let (a, b) = if a.mean <= b.mean { (a, b) } else { (b, a) };
    let variance = a.variance + b.variance;
    let apart = b.mean - a.mean;
    if apart * apart >= APART * APART * variance {
        return (a, b);
    }
    let deviation = variance.sqrt();
    let (below, density) = normal(apart / deviation);
    let above = 1.0 - below;
    let mean = a.mean * below + b.mean * above - deviation * density;
    // Two exponential times have the earliest one of all that vary no more than by their mean; normal
    // ones could lie before now.
    let mean = mean.max(a.mean * b.mean / (a.mean + b.mean)).min(a.mean);
    let square = |time: Spread| time.mean * time.mean + time.variance;
    let earlier = square(a) * below + square(b) * above - (a.mean + b.mean) * deviation * density;
    let earlier = Spread { mean, variance: (earlier - mean * mean).clamp(0.0, variance) };
    let mean = a.mean + b.mean - mean;
    let later = square(a) + square(b) - square(earlier);
    (earlier, Spread { mean, variance: (later - mean * mean).clamp(0.0, variance) })
}

/// The standard normal distribution and its density at `x`; the first by a logistic curve that is off
/// by 0.00015 at most (S. R. Bowling and others, "A Logistic Approximation to the Cumulative Normal
/// Distribution", 2009).
fn normal(x: f64) -> (f64, f64) {
    let below = 1.0 / (1.0 + (-1.5976 * x - 0.07056 * x * x * x).exp());
    (below, (-0.5 * x * x).exp() * 0.398_942_28)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean times to the first free slot, by the mean of many draws and by [`next_free`].
    fn both(slots: &[Spread], draw: impl Fn(Spread, f64) -> f64) -> (f64, f64) {
        let mut seed = 1_u64;
        let mut uniform = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        };
        let drawn: f64 =
            (0..100_000).map(|_| slots.iter().map(|slot| draw(*slot, uniform())).fold(f64::INFINITY, f64::min)).sum();
        let mut reckoned = slots.to_vec();
        (drawn / 100_000.0, next_free(&mut reckoned, 0).unwrap().mean)
    }

    fn assert_near(pair: (f64, f64), share: f64) {
        assert!((pair.0 - pair.1).abs() <= share * pair.0, "drawn {}, reckoned {}", pair.0, pair.1);
    }

    /// Deviation as large as the mean: an answer of which nothing is known.
    fn exponential(mean: f64) -> Spread {
        Spread { mean, variance: mean * mean }
    }

    #[test]
    fn the_first_of_several_ends_sooner_than_the_soonest_mean() {
        let quantile = |slot: Spread, share: f64| -slot.mean * (1.0 - share).ln();
        for count in 2..=8 {
            assert_near(both(&vec![exponential(1_000.0); count], quantile), 0.15);
        }
        assert_near(both(&[exponential(200.0), exponential(3_000.0)], quantile), 0.1);
    }

    #[test]
    fn even_times_that_differ_little_are_near_the_truth() {
        let even = |mean: f64, half: f64| Spread { mean, variance: half * half / 3.0 };
        let quantile = |slot: Spread, share: f64| slot.mean + (2.0 * share - 1.0) * (slot.variance * 3.0).sqrt();
        assert_near(both(&[even(1_000.0, 500.0), even(1_200.0, 500.0), even(900.0, 300.0)], quantile), 0.02);
    }

    #[test]
    fn what_is_certain_stays_as_it_is_and_nothing_is_lost() {
        let mut slots = [Spread::exact(300.0), Spread::exact(100.0), Spread::default()];
        assert_eq!(next_free(&mut slots, 0).unwrap().mean, 0.0);
        let mut slots = [exponential(300.0), exponential(100.0), exponential(900.0)];
        next_free(&mut slots, 0);
        let sum: f64 = slots.iter().map(|slot| slot.mean).sum();
        assert!((sum - 1_300.0).abs() < 1e-6, "{sum}");
        assert!(slots.iter().all(|slot| slot.mean >= 0.0 && slot.variance >= 0.0));
        assert_eq!(next_free(&mut [], 0), None);
    }
}
