//! What runs amount to: rates, percentiles, fairness.
//!
//! A percentile is a value that occurred (nearest rank). Over seeds a figure is the mean of the
//! runs' figures.

use crate::arrivals::HOUR;
use crate::scenario::Scenario;
use crate::world::{How, Run};

/// The figures of one run, or the mean of several.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Figures {
    /// Calls an hour.
    pub(crate) offered: f64,
    /// Answers an hour by the GPU whose first token was in time, and their tokens.
    pub(crate) goodput: f64,
    pub(crate) tokens: f64,
    /// The same from Bedrock.
    pub(crate) elsewhere: f64,
    /// First token of the answers by the GPU, in seconds.
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    /// Shares of all calls.
    pub(crate) served: f64,
    pub(crate) refused: f64,
    pub(crate) left: f64,
    /// Seconds until a refusal was said, the median.
    pub(crate) told_after: f64,
    /// Share of the slots' time for answers that were late or cut off.
    pub(crate) wasted: f64,
    /// Share of the time in which somebody wanted a slot that it was at work.
    pub(crate) occupied: f64,
    /// Jain's index over the keys, and the share of calls in time of the largest key and of the others.
    pub(crate) jain: f64,
    pub(crate) small: f64,
    pub(crate) large: f64,
    /// Seconds of the longest silence.
    pub(crate) silence: f64,
    /// Median of |promised − real| ÷ real, share of real ones within p90.
    pub(crate) error: f64,
    pub(crate) covered: f64,
    /// Median of |`retry-after-ms` − real wait| ÷ real wait.
    pub(crate) retry_error: f64,
    /// Overlaps until the slots were right.
    pub(crate) overlaps: f64,
    /// Share of all calls that ended with 504: taken in, and late all the same.
    pub(crate) expired: f64,
    pub(crate) aborted: f64,
}

impl Figures {
    /// Field by field, of the runs that have it.
    pub(crate) fn mean(mut runs: Vec<Figures>) -> Figures {
        let mut mean = Figures::default();
        for (field, to) in mean.fields().into_iter().enumerate() {
            let known = runs.iter_mut().map(|run| *run.fields()[field]).filter(|value| !value.is_nan());
            let (count, sum) = known.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
            *to = sum / count;
        }
        mean
    }

    fn fields(&mut self) -> [&mut f64; 23] {
        [
            &mut self.offered,
            &mut self.goodput,
            &mut self.tokens,
            &mut self.elsewhere,
            &mut self.p50,
            &mut self.p90,
            &mut self.p99,
            &mut self.served,
            &mut self.refused,
            &mut self.left,
            &mut self.told_after,
            &mut self.wasted,
            &mut self.occupied,
            &mut self.jain,
            &mut self.small,
            &mut self.large,
            &mut self.silence,
            &mut self.error,
            &mut self.covered,
            &mut self.retry_error,
            &mut self.overlaps,
            &mut self.expired,
            &mut self.aborted,
        ]
    }

    pub(crate) fn of(scenario: &Scenario, run: &Run) -> Figures {
        let hours = scenario.length as f64 / HOUR as f64;
        let calls = run.ends.len() as f64;
        let share = |how: &[How]| run.ends.iter().filter(|end| how.contains(&end.how)).count() as f64 / calls;
        let good = || run.ends.iter().filter(|end| end.how == How::Served && end.in_time);
        let elsewhere = run.ends.iter().filter(|end| end.how == How::Elsewhere && end.in_time).count();
        let served = run.ends.iter().filter(|end| end.how == How::Served);
        let mut first: Vec<f64> = served.filter_map(|end| end.first).map(seconds).collect();
        let mut refusals: Vec<f64> = run.refusals.iter().map(|(_, took)| seconds(*took)).collect();
        let worked = run.worked;
        let work = (worked.in_time + worked.late + worked.cut) as f64;
        let promises = &run.notes.promises;
        let mut errors: Vec<f64> = promises.iter().map(|(told, real, _)| (told - real).abs() / real).collect();
        let held = promises.iter().filter(|(.., held)| *held).count() as f64;
        let retries = run.notes.retries.iter().filter(|(_, real)| *real > 0.0);
        let mut retries: Vec<f64> = retries.map(|(told, real)| (told - real).abs() / real).collect();
        let keys = Keys::of(scenario, run);
        Figures {
            offered: calls / hours,
            goodput: good().count() as f64 / hours,
            tokens: good().map(|end| f64::from(end.tokens)).sum::<f64>() / hours,
            elsewhere: elsewhere as f64 / hours,
            p50: percentile(&mut first, 0.5),
            p90: percentile(&mut first, 0.9),
            p99: percentile(&mut first, 0.99),
            served: share(&[How::Served]),
            refused: share(&[How::Refused, How::Expired]),
            left: share(&[How::Left]),
            told_after: percentile(&mut refusals, 0.5),
            wasted: (worked.late + worked.cut) as f64 / work,
            occupied: run.busy as f64 / run.wanted as f64,
            jain: keys.jain(),
            small: keys.in_time(false),
            large: keys.in_time(true),
            silence: seconds(run.longest_silence),
            error: percentile(&mut errors, 0.5),
            covered: held / promises.len() as f64,
            retry_error: percentile(&mut retries, 0.5),
            overlaps: run.notes.learnt.map_or(f64::NAN, |(overlaps, _)| f64::from(overlaps)),
            expired: share(&[How::Expired]),
            aborted: f64::from(run.aborted),
        }
    }
}

/// What each key asked for and got, in tokens of answers in time.
struct Keys {
    wanted: Vec<f64>,
    got: Vec<f64>,
    calls: Vec<f64>,
    good: Vec<f64>,
}

impl Keys {
    fn of(scenario: &Scenario, run: &Run) -> Keys {
        let zero = vec![0.0; scenario.keys.len()];
        let mut keys = Keys { wanted: zero.clone(), got: zero.clone(), calls: zero.clone(), good: zero };
        for end in &run.ends {
            keys.wanted[end.key] += f64::from(end.tokens);
            keys.calls[end.key] += 1.0;
            if end.how == How::Served && end.in_time {
                keys.got[end.key] += f64::from(end.tokens);
                keys.good[end.key] += 1.0;
            }
        }
        keys
    }

    /// Jain's index of what each key got over what it would get if all that was served were dealt
    /// out evenly, to nobody more than it asked for.
    fn jain(&self) -> f64 {
        let fair = evenly(&self.wanted, self.got.iter().sum());
        let shares = self.got.iter().zip(&fair).filter(|(_, fair)| **fair > 0.0).map(|(got, fair)| got / fair);
        let (count, sum, squares) = shares
            .fold((0.0, 0.0, 0.0), |(count, sum, squares), share| (count + 1.0, sum + share, squares + share * share));
        sum * sum / (count * squares)
    }

    /// The share of calls in time of the key that asked most, or of all others together.
    fn in_time(&self, largest: bool) -> f64 {
        let most = (0..self.calls.len()).max_by(|a, b| self.calls[*a].total_cmp(&self.calls[*b]));
        let keys = (0..self.calls.len()).filter(|key| (Some(*key) == most) == largest);
        let (good, calls) = keys.fold((0.0, 0.0), |sum, key| (sum.0 + self.good[key], sum.1 + self.calls[key]));
        good / calls
    }
}

/// Deals `all` out evenly, to nobody more than wanted.
fn evenly(wanted: &[f64], all: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let (mut fair, mut left) = (vec![0.0; wanted.len()], all);
    for (dealt, key) in order.iter().enumerate() {
        let part = left / (wanted.len() - dealt) as f64;
        fair[*key] = part.min(wanted[*key]);
        left -= fair[*key];
    }
    fair
}

/// The value that `share` of the samples do not exceed; NaN without samples.
pub(crate) fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let rank = (share * samples.len() as f64).ceil() as usize;
    samples.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dealt_out_evenly_gives_nobody_more_than_wanted() {
        assert_eq!(evenly(&[10.0, 1.0, 100.0], 31.0), [10.0, 1.0, 20.0]);
        assert_eq!(evenly(&[5.0, 5.0], 4.0), [2.0, 2.0]);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut samples, 0.5), 50.0);
        assert_eq!(percentile(&mut samples, 0.99), 99.0);
        assert!(percentile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn a_mean_leaves_out_runs_without_the_figure() {
        let of = |overlaps: f64, p50: f64| Figures { overlaps, p50, ..Figures::default() };
        let mean = Figures::mean(vec![of(f64::NAN, 1.0), of(6.0, 3.0)]);
        assert_eq!((mean.overlaps, mean.p50), (6.0, 2.0));
    }
}
