//! When a model that is not in memory could serve.
//!
//! Invariant: nothing is promised of a load that depends on others ceasing to use what it would push
//! out: who can overflow is told so, and does not wait for it. Absent: the load itself (`cold.rs`).

use std::time::Instant;

use super::cold::{Load, Loader, TURN, chosen, in_use, outweighs, turn_left};
use super::model::{Model, Residency};
use super::predict::millis;

/// Share of its time that a load later than expected still needs.
const OVERDUE_SHARE: f64 = 0.2;

/// When a model can serve at all.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Ready {
    /// Milliseconds until then; 0 for one that can now.
    pub(crate) after: f64,
    /// It will come to that by time alone, whatever the other models are asked for.
    pub(crate) sure: bool,
}

impl Ready {
    const NOW: Ready = Ready { after: 0.0, sure: true };
}

impl Loader {
    pub(crate) fn ready(&self, now: Instant, index: usize, models: &[Model]) -> Ready {
        let Some(model) = models.get(index) else { return Ready::NOW };
        let resident = model.residency == Residency::Resident;
        if resident && !model.victim {
            return Ready::NOW;
        }
        let own = model.learnt.load_ms();
        match self.current {
            Some(load) if load.model == index => Ready { after: left(now, load, models), sure: true },
            // The request that runs has it loaded.
            _ if !resident && !model.running.is_empty() => Ready { after: own, sure: true },
            current => {
                let (begin, sure) = self.begin(now, index, model, current, models);
                Ready { after: begin + own, sure }
            }
        }
    }

    /// Milliseconds until the load of a model may begin, and whether that is sure.
    fn begin(&self, now: Instant, index: usize, model: &Model, current: Option<Load>, models: &[Model]) -> (f64, bool) {
        let pause = model.load_after.map(|at| at.saturating_duration_since(now)).unwrap_or_default();
        let mut begin = millis(pause);
        let mut sure = pause.is_zero() && !model.watchdog.holds();
        if let Some((load, loading)) = current.and_then(|load| Some((load, models.get(load.model)?))) {
            begin = begin.max(left(now, load, models));
            if !self.beside(index, load.model) {
                begin += millis(TURN);
                sure &= outweighs(now, model, loading);
            }
        }
        // Those that the present load pushes out are gone before.
        for other in chosen(models, self.victims(index, models)).filter(|other| !other.victim) {
            begin = begin.max(millis(turn_left(now, other)) + streams(now, other));
            sure &= !in_use(now, other) || outweighs(now, model, other);
        }
        (begin, sure)
    }
}

/// Milliseconds until a load has ended.
fn left(now: Instant, load: Load, models: &[Model]) -> f64 {
    let Some(model) = models.get(load.model) else { return 0.0 };
    let whole = model.learnt.load_ms();
    if let Some(since) = load.since {
        return (whole - millis(now.saturating_duration_since(since))).max(whole * OVERDUE_SHARE);
    }
    let victims = models.iter().filter(|model| model.victim);
    whole + victims.map(|victim| streams(now, victim)).fold(0.0, f64::max)
}

/// Milliseconds until all of a model's streams have ended.
fn streams(now: Instant, model: &Model) -> f64 {
    let per_token = model.learnt.per_token(model.running.len());
    let left = model.running.iter().map(|running| running.remaining(now, &model.learnt, per_token).mean);
    left.fold(0.0, f64::max)
}
