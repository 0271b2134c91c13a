//! How many requests Ollama really serves at once, learnt from overlapping ones.
//!
//! Invariants: slots stay within 1 and what is configured; only overlaps of our own requests take
//! slots away (waiting behind foreign ones does not). A strike tells of its own depth: a request
//! that had to wait while k − 1 others were giving tokens shows that there are fewer than k slots,
//! and says nothing about k − 1. Absent: the judgement whether one overlap was a strike (`running.rs`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::types::{ModelSettings, ParallelFault};

/// Strikes that take a slot away.
const STRIKES: usize = 3;
/// Overlaps among which they are counted.
const OVERLAPS: usize = 10;
/// Clean overlaps in a row that give one back.
const CLEAN: u32 = 20;
/// With few slots there may be no more overlaps to learn from: after this long one more is tried.
/// Wrong, it costs three requests a hidden wait each half hour.
const TRIAL: Duration = Duration::from_secs(30 * 60);
/// Bounds every list of running requests: the daemon takes no more streams at once.
pub(crate) const MOST_SLOTS: u32 = 256;

/// The slots of one model.
#[derive(Clone, Debug)]
pub(crate) struct Parallel {
    settings: ModelSettings,
    slots: u32,
    /// The newest overlaps: how many slots serving them together takes, and whether one waited.
    overlaps: VecDeque<(u32, bool)>,
    clean: u32,
    /// Of the last change or strike, while there are fewer slots than configured.
    changed: Option<Instant>,
    fault_since: Option<Instant>,
}

impl Parallel {
    pub(crate) fn new(settings: ModelSettings) -> Parallel {
        Parallel {
            settings,
            slots: most(settings),
            overlaps: VecDeque::with_capacity(OVERLAPS),
            clean: 0,
            changed: None,
            fault_since: None,
        }
    }

    /// Takes new settings; what was learnt under other ones is forgotten.
    pub(crate) fn set(&mut self, settings: ModelSettings) {
        if self.settings != settings {
            *self = Parallel::new(settings);
        }
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots as usize
    }

    pub(crate) fn configured(&self) -> u32 {
        most(self.settings)
    }

    /// One judged overlap, whose requests need `depth` slots to be served together.
    pub(crate) fn overlap(&mut self, now: Instant, depth: u32, strike: bool) {
        // It was granted under more slots than there are by now and tells of those.
        if depth > self.slots {
            return;
        }
        if self.overlaps.len() >= OVERLAPS {
            self.overlaps.pop_front();
        }
        self.overlaps.push_back((depth, strike));
        if !strike {
            self.clean += 1;
            if self.clean >= CLEAN && self.slots < self.configured() {
                self.widen(now);
            }
            return;
        }
        self.clean = 0;
        self.changed = self.changed.map(|_| now);
        let strikes = self.overlaps.iter().filter(|(_, strike)| *strike).count();
        if strikes >= STRIKES && self.slots > 1 {
            self.slots -= 1;
            self.changed = Some(now);
            self.fault_since.get_or_insert(now);
            let slots = self.slots;
            self.overlaps.retain(|(depth, _)| *depth <= slots);
        }
    }

    /// Gives a slot back for trial once nothing was learnt for long.
    pub(crate) fn settle(&mut self, now: Instant) {
        let due = self.changed.is_some_and(|at| now.saturating_duration_since(at) >= TRIAL);
        if due && self.slots < self.configured() {
            self.widen(now);
        }
    }

    pub(crate) fn fault(&self) -> Option<ParallelFault> {
        let since = self.fault_since?;
        Some(ParallelFault { configured: self.configured(), learnt: self.slots, since })
    }

    fn widen(&mut self, now: Instant) {
        self.slots += 1;
        self.clean = 0;
        self.overlaps.clear();
        let whole = self.slots >= self.configured();
        self.changed = (!whole).then_some(now);
        if whole {
            self.fault_since = None;
        }
    }
}

fn most(settings: ModelSettings) -> u32 {
    if settings.forced_one { 1 } else { settings.parallel.clamp(1, MOST_SLOTS) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::start;

    fn of(parallel: u32) -> Parallel {
        Parallel::new(ModelSettings { parallel, forced_one: false })
    }

    #[test]
    fn three_strikes_in_ten_overlaps_take_one_slot_and_name_the_fault() {
        let (mut parallel, now) = (of(2), start());
        for overlap in 0..10 {
            assert_eq!(parallel.slots(), 2, "after {overlap}");
            parallel.overlap(now, 2, overlap % 4 == 1 || overlap == 9);
        }
        assert_eq!(parallel.slots(), 1);
        assert_eq!(parallel.fault(), Some(ParallelFault { configured: 2, learnt: 1, since: now }));
        assert_eq!(ParallelFault::KEY, "ollama.parallel");
    }

    #[test]
    fn strikes_further_apart_than_ten_overlaps_take_nothing() {
        let (mut parallel, now) = (of(2), start());
        (0..60).for_each(|overlap| parallel.overlap(now, 2, overlap % 5 == 0));
        assert_eq!(parallel.slots(), 2);
        assert_eq!(parallel.fault(), None);
    }

    #[test]
    fn four_configured_and_one_real_is_learnt_within_six_overlaps_of_four_together() {
        let (mut parallel, now) = (of(4), start());
        let mut overlaps = 0;
        'learning: loop {
            for depth in 2..=u32::try_from(parallel.slots()).unwrap() {
                parallel.overlap(now, depth, true);
                overlaps += 1;
                if parallel.slots() == 1 {
                    break 'learning;
                }
            }
        }
        assert!(overlaps <= 6, "{overlaps}");
    }

    #[test]
    fn only_the_depth_that_waited_is_given_up() {
        let (mut parallel, now) = (of(4), start());
        for _ in 0..20 {
            (2..=4).for_each(|depth| parallel.overlap(now, depth, depth == 4));
        }
        assert_eq!(parallel.slots(), 3);
    }

    #[test]
    fn twenty_clean_overlaps_give_one_slot_back_up_to_the_configured_ones() {
        let (mut parallel, now) = (of(3), start());
        (0..3).for_each(|_| parallel.overlap(now, 3, true));
        assert_eq!(parallel.slots(), 2);
        (0..19).for_each(|_| parallel.overlap(now, 2, false));
        assert_eq!(parallel.slots(), 2);
        parallel.overlap(now, 2, false);
        assert_eq!(parallel.slots(), 3);
        assert_eq!(parallel.fault(), None);
        (0..40).for_each(|_| parallel.overlap(now, 2, false));
        assert_eq!(parallel.slots(), 3);
    }

    #[test]
    fn a_model_left_with_one_slot_tries_a_second_after_half_an_hour() {
        let (mut parallel, now) = (of(2), start());
        (0..3).for_each(|_| parallel.overlap(now, 2, true));
        assert_eq!(parallel.slots(), 1);
        parallel.settle(now + TRIAL - Duration::from_secs(1));
        assert_eq!(parallel.slots(), 1);
        parallel.settle(now + TRIAL);
        assert_eq!(parallel.slots(), 2);
    }

    #[test]
    fn a_family_that_ollama_serves_one_at_a_time_has_one_slot_whatever_is_configured() {
        let parallel = Parallel::new(ModelSettings { parallel: 8, forced_one: true });
        assert_eq!((parallel.slots(), parallel.configured()), (1, 1));
        assert_eq!(of(0).slots(), 1);
        assert_eq!(of(u32::MAX).slots(), MOST_SLOTS as usize);
    }

    #[test]
    fn new_settings_forget_what_was_learnt_under_the_old_ones() {
        let (mut parallel, now) = (of(4), start());
        (0..3).for_each(|_| parallel.overlap(now, 4, true));
        parallel.set(ModelSettings { parallel: 4, forced_one: false });
        assert_eq!(parallel.slots(), 3);
        parallel.set(ModelSettings { parallel: 2, forced_one: false });
        assert_eq!((parallel.slots(), parallel.fault()), (2, None));
    }
}
