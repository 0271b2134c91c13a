//! When requests come.
//!
//! Times are microseconds from the beginning. Absent: what comes (`scenario.rs`).

use crate::draw::Draw;

pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const MILLISECOND: u64 = 1_000;
pub(crate) const HOUR: u64 = 3_600 * SECOND;

/// How a given number of requests an hour is spread over it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Arrivals {
    /// Independent callers: exponential gaps.
    Poisson,
    /// Bursts of half a minute with 3.4 times the rate, a minute and a half with a fifth of it
    /// between them; both lengths exponential.
    Bursty,
    /// One day pressed into the run: a sine from a tenth of the mean to 1.9 times.
    Diurnal,
}

const BURST: f64 = 30.0;
const BURST_RATE: f64 = 3.4;
const LULL: f64 = 90.0;
const LULL_RATE: f64 = 0.2;
const SWING: f64 = 0.9;

impl Arrivals {
    /// The times of arrivals up to `until`, on average so many a second.
    pub(crate) fn times(self, draw: &mut Draw, per_second: f64, until: u64) -> Vec<u64> {
        match self {
            Arrivals::Poisson => poisson(draw, per_second, 0, until),
            Arrivals::Bursty => bursty(draw, per_second, until),
            Arrivals::Diurnal => {
                let most = per_second * (1.0 + SWING);
                let mut times = poisson(draw, most, 0, until);
                times.retain(|at| {
                    let turn = *at as f64 / until as f64 * std::f64::consts::TAU;
                    draw.unit() * most < per_second * (1.0 - SWING * turn.cos())
                });
                times
            }
        }
    }
}

fn poisson(draw: &mut Draw, per_second: f64, from: u64, until: u64) -> Vec<u64> {
    let gaps = std::iter::repeat_with(|| micros(draw.exponential(1.0 / per_second)));
    let times = gaps.scan(from, |at, gap| {
        *at += gap;
        Some(*at)
    });
    times.take_while(|at| *at < until).collect()
}

fn bursty(draw: &mut Draw, per_second: f64, until: u64) -> Vec<u64> {
    let (mut times, mut from, mut burst) = (Vec::new(), 0, false);
    while from < until {
        let (length, rate) = if burst { (BURST, BURST_RATE) } else { (LULL, LULL_RATE) };
        let to = from + micros(draw.exponential(length));
        times.append(&mut poisson(draw, per_second * rate, from, to.min(until)));
        (from, burst) = (to, !burst);
    }
    times
}

/// Seconds as microseconds, at least one.
pub(crate) fn micros(seconds: f64) -> u64 {
    ((seconds * SECOND as f64).round() as u64).max(1)
}
