//! The simulation of one model's slots: when would each waiting request get its first token.
//!
//! One pass in the order of service answers for all of them, and decides in passing who goes to
//! Bedrock instead, so that those behind are predicted without it. Cost: n log k for n waiting
//! requests of k keys, times the slots.

use std::time::{Duration, Instant};

use super::model::Model;
use super::predict::{charge, duration, millis};
use super::queue::{Entry, Scratch, Visit};
use super::ready::Ready;
use super::slots::{next_free, occupy};
use super::types::{Forecast, OverflowReason, Ticket};
use crate::histogram::Spread;

/// Standard deviations above the mean that nine of ten outcomes do not exceed. Exact for sums of
/// many answers, and within 2 % for the exponential tail of a single one.
const P90: f64 = 1.2816;

/// The same for all but one of a hundred (exact: a normal one's 99.9 %, an exponential tail's 98 %): who
/// trusts this machine past the last moment to leave must not be wrong more often.
const SURE: f64 = 3.0;

/// Standard deviations below the mean at which this machine is given up before the last moment to leave: one
/// outcome in six is earlier still (exact: a normal one's 16 %). To leave at the mean gives away many that
/// would have been served here, to hope for less makes callers wait in vain (docs/performance.md). Behind
/// answers of which each is longer than all known ones there is none: when they end is a guess, and its
/// deviation says nothing.
const HOPE: f64 = 1.0;

/// Memory of a plan, kept so that a decision allocates nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desk {
    scratch: Scratch,
    slots: Vec<Spread>,
    /// Who is to go to Bedrock, and why.
    pub(crate) leaving: Vec<(Ticket, OverflowReason)>,
}

/// The time that hardly any outcome exceeds, milliseconds.
pub(crate) fn surely(spread: Spread) -> f64 {
    spread.mean + SURE * spread.variance.sqrt()
}

/// The request that is being submitted, and the answer for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer {
    pub(crate) ticket: Ticket,
    /// It can wait so many milliseconds at most.
    pub(crate) patience: f64,
    pub(crate) fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Fate {
    Waits(Outlook),
    Overflows(OverflowReason),
    /// It would be late; the milliseconds to its slot.
    Saturated(f64),
}

/// What the pass knows beside the entry.
struct View {
    now: Instant,
    enough: bool,
    /// When the model can serve at all.
    ready: Ready,
    foreign: f64,
    overflow_ms: f64,
    /// Deviations below the mean that count as hope.
    hope: f64,
}

/// A [`Forecast`] as the plan reckons it, in milliseconds from the plan: turned into times only
/// where somebody asks.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Outlook {
    pub(crate) place: u32,
    pub(crate) slot: f64,
    pub(crate) first: Spread,
}

impl Outlook {
    /// As seen so many milliseconds after the plan.
    pub(crate) fn forecast(&self, passed: f64) -> Forecast {
        Forecast {
            place: self.place,
            slot: duration(self.slot - passed),
            first_token: duration(self.first.mean - passed),
            p90: duration(self.p90() - passed),
        }
    }

    /// The time that nine of ten first tokens do not exceed.
    fn p90(&self) -> f64 {
        self.first.mean + P90 * self.first.variance.sqrt()
    }

    /// The time that hardly any does.
    fn surely(&self) -> f64 {
        surely(self.first)
    }

    /// The time that few are earlier than, so many deviations before the mean.
    fn at_best(&self, hope: f64) -> f64 {
        self.first.mean - hope * self.first.variance.sqrt()
    }
}

/// The time until a slot is free behind all that wait, by the work that is left. Unlike [`plan`] it
/// needs no order: what is ahead is the same in any.
pub(crate) fn drain(model: &Model, now: Instant, ready: Ready) -> Duration {
    let mut slots = Vec::new();
    occupy(model, now, ready.after, &mut slots);
    let learnt = &model.learnt;
    let per_token = learnt.per_token((model.running.len() + model.queue.len()).min(model.parallel.slots()));
    let foreign = learnt.foreign(now);
    let mut ahead = 0;
    for entry in model.queue.iter() {
        if let Some(slot) = next_free(&mut slots, ahead) {
            slot.mean += learnt.prefill(entry.need).mean + learnt.length(entry.need).mean * per_token + foreign;
        }
        ahead += 1;
    }
    next_free(&mut slots, ahead).map(|slot| duration(slot.mean)).unwrap_or_default()
}

/// Plans all of one model's queue, writes each entry's forecast, and collects who leaves.
pub(crate) fn plan(model: &mut Model, now: Instant, ready: Ready, desk: &mut Desk, newcomer: &mut Option<Newcomer>) {
    let Desk { scratch, slots, leaving } = desk;
    leaving.clear();
    occupy(model, now, ready.after, slots);
    model.planned = now;
    let Model { learnt, queue, running, parallel, .. } = model;
    let learnt = &*learnt;
    let guessed = running.len() >= parallel.slots() && running.iter().all(|running| running.outgrown(learnt));
    let view = View {
        now,
        enough: learnt.enough(),
        ready,
        foreign: learnt.foreign(now),
        overflow_ms: learnt.overflow_ms(),
        hope: if guessed { 0.0 } else { HOPE },
    };
    let per_token = learnt.per_token((running.len() + queue.len()).min(parallel.slots()));
    let mut place = 0;
    queue.in_order(now, scratch, |entry| {
        let prompt = learnt.prompt_tokens(entry.need.prompt_bytes);
        let prefill = learnt.prefill(entry.need);
        let Some(slot) = next_free(slots, place) else { return Visit::Leaves };
        let first = slot.plus(prefill).plus(Spread::exact(view.foreign));
        let outlook = Outlook { place, slot: slot.mean, first };
        entry.outlook = outlook;
        let own = newcomer.as_mut().filter(|newcomer| newcomer.ticket == entry.ticket);
        let patience = own.as_ref().map(|newcomer| newcomer.patience);
        let fate = judge(&view, entry, outlook, prefill.mean, patience);
        if let Some(newcomer) = own {
            newcomer.fate = fate;
            entry.promised = view.enough.then_some(outlook);
        }
        match fate {
            Fate::Overflows(reason) => {
                leaving.push((entry.ticket, reason));
                Visit::Leaves
            }
            Fate::Saturated(_) => Visit::Leaves,
            Fate::Waits(_) => {
                place += 1;
                let after = slot.mean;
                let length = learnt.length(entry.need);
                *slot = first.plus(length.times(per_token));
                Visit::Served { after, cost: charge(prompt, length.mean) }
            }
        }
    });
}

/// Decides about one entry. `unloaded`: its first token on an idle machine, in milliseconds.
/// `patience`: it is being submitted, and may wait so many.
fn judge(view: &View, entry: &Entry, outlook: Outlook, unloaded: f64, patience: Option<f64>) -> Fate {
    let waits = Fate::Waits(outlook);
    if entry.overflow && !view.ready.sure {
        return Fate::Overflows(OverflowReason::ColdModel);
    }
    if !view.enough {
        let last_chance = patience.is_some() || entry.decide_by.is_some_and(|at| at <= view.now);
        return if entry.overflow && last_chance { Fate::Overflows(OverflowReason::NotLearnt) } else { waits };
    }
    let somebody_ahead = outlook.place > 0 || outlook.slot > view.ready.after;
    if let Some(deadline) = entry.deadline {
        // Who stays past the last moment to leave must be nearly sure to be served here; until then some hope
        // will do, for leaving later costs no deadline.
        let last_chance = entry.decide_by.is_some_and(|at| at <= view.now);
        let expected = match (entry.overflow, last_chance) {
            (true, true) => outlook.surely(),
            (true, false) => outlook.at_best(view.hope),
            (false, _) => outlook.first.mean,
        };
        let late = expected > millis(deadline.saturating_duration_since(view.now));
        if entry.overflow && late && view.overflow_ms < expected {
            let allowed = millis(deadline.saturating_duration_since(entry.since));
            return Fate::Overflows(overflow_reason(allowed, unloaded));
        }
        if !entry.overflow && late && somebody_ahead && patience.is_some() {
            return Fate::Saturated(outlook.slot);
        }
    }
    match patience {
        Some(patience) if somebody_ahead && outlook.slot > patience => {
            if entry.overflow {
                Fate::Overflows(OverflowReason::PredictedWait)
            } else {
                Fate::Saturated(outlook.slot)
            }
        }
        Some(_) | None => waits,
    }
}

/// A deadline below what an idle machine needs is the caller's doing, not the load's.
pub(crate) fn overflow_reason(allowed: f64, unloaded: f64) -> OverflowReason {
    if allowed < unloaded { OverflowReason::CallerDeadline } else { OverflowReason::PredictedWait }
}
