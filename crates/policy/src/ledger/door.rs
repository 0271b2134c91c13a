//! What is decided about a request when it comes.
//!
//! Absent: the prediction that a place in the queue is judged by (`plan.rs`).

use std::time::{Duration, Instant};

use super::Ledger;
use super::model::{Model, Residency};
use super::plan::{Fate, Newcomer, Outlook, overflow_reason};
use super::predict::{Need, duration, millis};
use super::queue::Entry;
use super::types::{Ask, OverflowReason, Refusal, RefusalCode, Ticket, Verdict};
use crate::histogram::Spread;

/// No request waits longer, whatever its timeout says.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// What is allowed beside Bedrock's own time to move a request there.
const OVERFLOW_MARGIN: Duration = Duration::from_millis(50);
/// Bytes of a token for the refusal of a prompt that is too long: English text has about four, other
/// scripts and code fewer, so that what is refused is surely too long.
const SURE_BYTES_PER_TOKEN: f64 = 4.0;
/// The least that a refused caller is told to wait: less would be a busy loop.
const LEAST_RETRY: Duration = Duration::from_millis(10);
/// And while too little is known to predict a wait.
pub(crate) const UNKNOWN_RETRY: Duration = Duration::from_secs(1);

impl Ledger {
    /// Verdicts that need no place in the queue.
    pub(crate) fn at_the_door(&mut self, now: Instant, index: usize, ticket: Ticket, ask: &Ask) -> Option<Verdict> {
        let queue_limit = self.limits.queue;
        let model = self.models.get_mut(index)?;
        model.demand.count(now);
        if let Some((needs, has)) = exceeds(model, ask) {
            let code = RefusalCode::ContextExceeded { needs, has };
            return Some(elsewhere(ask, OverflowReason::Context, code, Duration::ZERO));
        }
        if model.watchdog.is_wedged() {
            let healed = model.healed_after();
            return Some(elsewhere(ask, OverflowReason::LocalDown, RefusalCode::LocalUnavailable, healed));
        }
        if model.has_slot() {
            return Some(admit(model, now, ticket, ask));
        }
        // Whom slots await that are free but cannot be had yet (a load, a probe) is in nobody's way.
        let free = model.parallel.slots().saturating_sub(model.running.len());
        if model.queue.len() < queue_limit + free {
            return None;
        }
        let wait = self.drain(now, index);
        let drain = self.models.get(index).map_or(wait, |model| model.retry_after(wait));
        Some(elsewhere(ask, OverflowReason::QueueFull, RefusalCode::Saturated, drain))
    }

    /// Puts a request in the queue and looks at once whether that is a good place for it.
    pub(crate) fn enqueue(&mut self, now: Instant, index: usize, ticket: Ticket, ask: &Ask) -> Verdict {
        let Some(model) = self.models.get_mut(index) else {
            return refuse(RefusalCode::ModelNotFound, Duration::ZERO);
        };
        let entry = entry(now, ticket, ask, model.learnt.overflow_ms());
        model.queue.push(entry);
        if model.residency == Residency::Absent {
            self.loader.step(now, &mut self.models, &mut self.events);
            if !self.models.get(index).is_some_and(|model| model.queue.iter().any(|entry| entry.ticket == ticket)) {
                // A load that failed has resolved all that waited for it: the event says how.
                return Verdict::Queue(Outlook::default().forecast(0.0));
            }
        }
        let waits = Fate::Waits(Outlook::default());
        let patience = millis(ask.queue_timeout.min(LONGEST_WAIT));
        let mut newcomer = Some(Newcomer { ticket, patience, fate: waits });
        self.decide(now, index, &mut newcomer);
        match newcomer.map_or(waits, |newcomer| newcomer.fate) {
            Fate::Waits(outlook) => Verdict::Queue(outlook.forecast(0.0)),
            Fate::Overflows(reason) => {
                self.withdraw(index, ticket);
                Verdict::Overflow(reason)
            }
            Fate::Saturated(wait) => {
                self.withdraw(index, ticket);
                refuse(RefusalCode::Saturated, duration(wait))
            }
        }
    }

    /// Takes a newcomer back that goes elsewhere.
    fn withdraw(&mut self, index: usize, ticket: Ticket) {
        self.models.get_mut(index).and_then(|model| model.queue.remove(ticket));
    }
}

/// A free slot: only a request that is surely faster elsewhere goes there.
fn admit(model: &mut Model, now: Instant, ticket: Ticket, ask: &Ask) -> Verdict {
    let mut entry = entry(now, ticket, ask, model.learnt.overflow_ms());
    let prefill = model.learnt.prefill(entry.need);
    let first = prefill.plus(Spread::exact(model.learnt.foreign(now)));
    let movable = ask.deadline.filter(|_| ask.overflow && !model.learnt.unsure(now));
    let late = movable.map(|deadline| millis(deadline.after)).filter(|allowed| *allowed < first.mean);
    if let Some(allowed) = late.filter(|_| model.learnt.overflow_ms() < first.mean) {
        return Verdict::Overflow(overflow_reason(allowed, prefill.mean));
    }
    if model.learnt.enough() {
        entry.promised = Some(Outlook { place: 0, slot: 0.0, first });
    }
    let cost = model.learnt.cost(entry.need);
    model.queue.granted(entry.class, entry.key, cost);
    model.start(now, &entry, cost);
    Verdict::Admit
}

fn entry(now: Instant, ticket: Ticket, ask: &Ask, overflow_ms: f64) -> Entry {
    // A soft deadline moves only what can move.
    let moving = ask.deadline.filter(|deadline| deadline.hard || ask.overflow);
    let deadline = moving.and_then(|deadline| now.checked_add(deadline.after));
    let expires = now.checked_add(ask.queue_timeout.min(LONGEST_WAIT));
    let lead = duration(overflow_ms).saturating_add(OVERFLOW_MARGIN);
    let decide_by = deadline.filter(|_| ask.overflow).and_then(|deadline| deadline.checked_sub(lead));
    Entry {
        ticket,
        key: ask.key,
        class: ask.class,
        need: Need { prompt_bytes: ask.prompt_bytes, max_tokens: ask.max_tokens, runs_twice: ask.runs_twice },
        prefix: ask.prefix,
        since: now,
        due: deadline.into_iter().chain(expires).min(),
        deadline,
        overflow: ask.overflow,
        hard: ask.deadline.is_some_and(|deadline| deadline.hard),
        decide_by,
        outlook: Outlook::default(),
        promised: None,
    }
}

/// Estimated tokens against the context, where they do not fit and the model has shown its ratio.
fn exceeds(model: &Model, ask: &Ask) -> Option<(u64, u32)> {
    let has = model.context.filter(|_| !ask.truncate && model.learnt.knows_tokens())?;
    // Short prompts are mostly template, so that their ratio puts longer ones too high; Ollama itself
    // judges what is near the limit.
    let at_most = ask.prompt_bytes as f64 / SURE_BYTES_PER_TOKEN;
    let prompt = model.learnt.prompt_tokens(ask.prompt_bytes).min(at_most) as u64;
    let needs = prompt.saturating_add(u64::from(ask.max_tokens.unwrap_or(0)));
    (needs > u64::from(has)).then_some((needs, has))
}

fn elsewhere(ask: &Ask, reason: OverflowReason, code: RefusalCode, retry_after: Duration) -> Verdict {
    if ask.overflow { Verdict::Overflow(reason) } else { refuse(code, retry_after) }
}

pub(crate) fn refuse(code: RefusalCode, retry_after: Duration) -> Verdict {
    Verdict::Refuse(refusal(code, retry_after))
}

/// A retry in no time is a busy loop, and one after eternity none at all; zero stays where no retry
/// can cure it. No wait at all was predicted by somebody who does not know.
pub(crate) fn refusal(code: RefusalCode, retry_after: Duration) -> Refusal {
    let retry_after = match code {
        RefusalCode::Saturated | RefusalCode::LocalUnavailable | RefusalCode::DeadlineExceeded => {
            let known = if retry_after.is_zero() { UNKNOWN_RETRY } else { retry_after };
            known.clamp(LEAST_RETRY, LONGEST_WAIT)
        }
        RefusalCode::ContextExceeded { .. } | RefusalCode::ModelNotFound => Duration::ZERO,
    };
    Refusal { code, retry_after }
}
