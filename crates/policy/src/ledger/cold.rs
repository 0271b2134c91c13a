//! Which model is loaded next, and what has to leave for it.
//!
//! Invariants: one load at a time; a load begins only when nothing of ours runs on a model that it
//! may push out (Ollama can deadlock otherwise); it is never ours to abort once begun. Absent: the
//! load itself, a detached request of the shell.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::model::{Model, Residency};
use super::types::{Event, Loaded, OverflowReason};

/// A model used within this time is in use.
const IN_USE: Duration = Duration::from_secs(120);
/// A model that was just loaded keeps its memory for so long while anybody wants it: two models
/// that cannot share the GPU then alternate by turns and not by requests.
pub(crate) const TURN: Duration = Duration::from_secs(30);
/// A load without report is given up: twice what Ollama itself lets one stall.
const LOAD_LIMIT: Duration = Duration::from_secs(600);
/// After a failed load.
const LOAD_PAUSE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) model: usize,
    /// When the preload began; not yet while the victims' streams end.
    pub(crate) since: Option<Instant>,
}

/// The one load of an Ollama.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loader {
    pub(crate) current: Option<Load>,
    /// When it was last looked whether something can begin.
    stepped: Option<Instant>,
    /// For each model, a bit for every other that was seen in memory beside it.
    together: Vec<u128>,
}

impl Loader {
    /// Begins what can begin. Whether anything changed that other models depend on.
    pub(crate) fn step(&mut self, now: Instant, models: &mut [Model], events: &mut VecDeque<Event>) -> bool {
        let mut changed = false;
        self.stepped = Some(now);
        loop {
            match self.current {
                Some(Load { since: Some(since), model }) => {
                    if now.saturating_duration_since(since) < LOAD_LIMIT {
                        return self.mark(model, models) || changed;
                    }
                    self.ended(now, model, Loaded::Failed, models, events);
                }
                Some(Load { since: None, model }) if self.may_load(now, model, models) => {
                    changed |= self.mark(model, models);
                    if models.iter().any(|model| model.victim && !model.running.is_empty()) {
                        return changed;
                    }
                    self.current = Some(Load { model, since: Some(now) });
                    events.extend(models.get(model).map(|model| Event::Preload(model.id)));
                    return true;
                }
                Some(Load { since: None, .. }) => self.give_up(models),
                None => {
                    let Some(model) = self.next_load(now, models) else { return changed };
                    self.current = Some(Load { model, since: None });
                }
            }
            changed = true;
        }
    }

    /// The preload of `index` ended.
    pub(crate) fn ended(
        &mut self,
        now: Instant,
        index: usize,
        how: Loaded,
        models: &mut [Model],
        events: &mut VecDeque<Event>,
    ) {
        let Some(Load { since: Some(since), .. }) = self.current.filter(|load| load.model == index) else { return };
        self.current = None;
        for victim in models.iter_mut().filter(|model| model.victim) {
            victim.victim = false;
            // Taken for gone until `/api/ps` shows it: to send to it now could load it again.
            if matches!(how, Loaded::Ready(_)) {
                victim.residency = Residency::Absent;
            }
        }
        let Some(model) = models.get_mut(index) else { return };
        match how {
            Loaded::Ready(took) => {
                // What Ollama says of it counts only where it fits the wall time.
                let wall = now.saturating_duration_since(since);
                model.learnt.loaded(took.filter(|took| *took <= wall).unwrap_or(wall));
                model.residency = Residency::Resident;
                model.loaded_at = Some(now);
                model.last_used = Some(now);
                model.load_after = None;
            }
            Loaded::Failed => {
                model.load_after = Some(now + LOAD_PAUSE);
                model.flush(OverflowReason::LoadFailed, LOAD_PAUSE, events);
            }
        }
    }

    /// Takes over what `/api/ps` shows: bits of the models in memory.
    pub(crate) fn seen(&mut self, listed: u128, models: &mut [Model]) {
        // `/api/ps` lists a model that is still loading: only the end of its load counts.
        let loading = self.current.filter(|load| load.since.is_some()).map(|load| load.model);
        let listed = listed & !loading.map_or(0, bit);
        self.together.resize(models.len(), 0);
        for (index, model) in models.iter_mut().enumerate().filter(|(index, _)| Some(*index) != loading) {
            if listed & bit(index) == 0 {
                model.residency = Residency::Absent;
                model.context = None;
                if model.watchdog.is_wedged() {
                    model.watchdog.unloaded();
                }
                continue;
            }
            model.residency = Residency::Resident;
            self.together.get_mut(index).into_iter().for_each(|others| *others |= listed & !bit(index));
        }
        let arrived = self.current.filter(|load| load.since.is_none() && listed & bit(load.model) != 0);
        if arrived.is_some() {
            self.give_up(models);
        }
        // Before anything is granted on what has turned up.
        if let Some(load) = self.current {
            self.mark(load.model, models);
        }
    }

    /// Forgets everything about a model whose place another takes.
    pub(crate) fn forget(&mut self, index: usize) {
        for (own, others) in self.together.iter_mut().enumerate() {
            *others = if own == index { 0 } else { *others & !bit(index) };
        }
    }

    /// Whether a model that is not resident is being loaded or waits for another's load to end.
    pub(crate) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// Whether those who waited for a load that has not begun have all gone elsewhere.
    pub(crate) fn is_vain(&self, models: &[Model]) -> bool {
        let waits = self.current.filter(|load| load.since.is_none());
        waits.is_some_and(|load| models.get(load.model).is_none_or(|model| model.queue.is_empty()))
    }

    pub(crate) fn is_loading(&self, index: usize) -> bool {
        self.current.is_some_and(|load| load.model == index)
    }

    /// When something of this is due without a report.
    pub(crate) fn next(&self, models: &[Model]) -> Option<Instant> {
        if let Some(load) = self.current {
            return load.since.map(|since| since + LOAD_LIMIT);
        }
        let waits = |model: &&Model| model.residency == Residency::Absent && !model.queue.is_empty();
        models.iter().find(waits)?;
        let pauses = models.iter().filter(waits).filter_map(|model| model.load_after);
        let turns = models.iter().filter_map(|model| model.loaded_at).map(|at| at + TURN);
        let uses = models.iter().filter_map(|model| model.last_used).map(|at| at + IN_USE);
        // Since then, not since now: a report may have come before the timer.
        pauses.chain(turns).chain(uses).filter(|at| self.stepped.is_none_or(|stepped| *at > stepped)).min()
    }

    /// The model whose load may begin: of those that may, the one whose request waits longest.
    fn next_load(&self, now: Instant, models: &[Model]) -> Option<usize> {
        let oldest = |model: &Model| model.queue.iter().map(|entry| entry.since).min();
        let waiting = models.iter().enumerate().filter_map(|(index, model)| Some((oldest(model)?, index)));
        waiting.filter(|(_, index)| self.may_load(now, *index, models)).min().map(|(_, index)| index)
    }

    /// Whether a load is wanted and may begin, once the streams of those that leave for it have ended.
    fn may_load(&self, now: Instant, index: usize, models: &[Model]) -> bool {
        let Some(cold) = models.get(index) else { return false };
        let victims = self.victims(index, models);
        cold.residency == Residency::Absent
            && cold.running.is_empty()
            && !cold.queue.is_empty()
            && !cold.watchdog.holds()
            && cold.load_after.is_none_or(|at| at <= now)
            && chosen(models, victims).all(|victim| may_push_out(now, cold, victim))
    }

    /// Makes victims of those that a load would push out now. Once it has begun none is let go any
    /// more, but what turns up meanwhile is no safer. Whether anything changed.
    fn mark(&self, index: usize, models: &mut [Model]) -> bool {
        let victims = self.victims(index, models);
        let begun = self.current.is_some_and(|load| load.since.is_some());
        let mut changed = false;
        for (other, model) in models.iter_mut().enumerate() {
            let victim = victims & bit(other) != 0 || (begun && model.victim);
            changed |= model.victim != victim;
            model.victim = victim;
        }
        changed
    }

    /// Bits of the models in memory, by the list or by what runs on them, that were never seen there
    /// beside this one.
    pub(crate) fn victims(&self, index: usize, models: &[Model]) -> u128 {
        let beside = self.together.get(index).copied().unwrap_or_default();
        let there = |model: &Model| model.residency == Residency::Resident || !model.running.is_empty();
        let there = models.iter().enumerate().filter(|(_, model)| there(model));
        there.fold(0, |bits, (other, _)| bits | bit(other)) & !beside & !bit(index)
    }

    /// Whether two models were seen in memory together.
    pub(crate) fn beside(&self, index: usize, other: usize) -> bool {
        self.together.get(index).is_some_and(|others| others & bit(other) != 0)
    }

    fn give_up(&mut self, models: &mut [Model]) {
        self.current = None;
        models.iter_mut().for_each(|model| model.victim = false);
    }
}

/// The models of a set of bits.
pub(crate) fn chosen(models: &[Model], bits: u128) -> impl Iterator<Item = &Model> {
    models.iter().enumerate().filter(move |(index, _)| bits & bit(*index) != 0).map(|(_, model)| model)
}

/// Whether a model may be made to leave for a cold one, or go on leaving.
fn may_push_out(now: Instant, cold: &Model, victim: &Model) -> bool {
    (victim.victim || turn_left(now, victim).is_zero()) && (!in_use(now, victim) || outweighs(now, cold, victim))
}

/// What is left of the time for which a model that was just loaded and is wanted is let be.
pub(crate) fn turn_left(now: Instant, victim: &Model) -> Duration {
    let end = victim.loaded_at.filter(|_| !victim.idle()).map(|at| at + TURN);
    end.map(|end| end.saturating_duration_since(now)).unwrap_or_default()
}

pub(crate) fn in_use(now: Instant, model: &Model) -> bool {
    let lately = model.last_used.is_some_and(|at| now.saturating_duration_since(at) < IN_USE);
    lately || !model.running.is_empty()
}

/// Whether a cold model is wanted so much that one in use has to leave for it. One that is leaving
/// turns round only for a greater demand: its streams would end in vain otherwise.
pub(crate) fn outweighs(now: Instant, cold: &Model, victim: &Model) -> bool {
    let (own, its) = (cold.demand.total(now), victim.demand.total(now));
    cold.queue.iter().any(|entry| !entry.overflow) || own > its || (victim.victim && own == its)
}

fn bit(index: usize) -> u128 {
    u32::try_from(index).ok().and_then(|index| 1_u128.checked_shl(index)).unwrap_or_default()
}
