//! Who occupies which model's slots: requests in flight, slots still being released, answer times.
//!
//! Pure: time is an argument. Ollama serves a model's requests in the order they came, so the
//! first `slots` entries are being answered and the others wait. Absent: decisions (a later
//! version queues here; now every request goes to Ollama at once).

use std::collections::HashMap;
use std::time::Instant;

use causeway_policy::{AnswerTime, predicted_wait};
use causeway_wire::ModelLoad;

/// One occupied place; given back with [`Ledger::release`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    /// When it came to have a slot.
    since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Model {
    slots: u32,
    entries: Vec<Entry>,
    answer: AnswerTime,
}

/// All models' slots.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    models: HashMap<String, Model>,
    last: u64,
}

impl Ledger {
    /// Occupies a place of `model`, which has `slots`.
    pub(crate) fn admit(&mut self, now: Instant, model: &str, slots: u32) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        if !self.models.contains_key(model) {
            self.models.insert(model.to_owned(), Model::default());
        }
        if let Some(model) = self.models.get_mut(model) {
            model.slots = slots.max(1);
            model.entries.push(Entry { ticket, since: None });
            model.advance(now);
        }
        ticket
    }

    /// Gives a place back. `answered`: a whole answer was served, so its time counts.
    pub(crate) fn release(&mut self, now: Instant, name: &str, ticket: Ticket, answered: bool) {
        let Some(model) = self.models.get_mut(name) else { return };
        let Some(place) = model.entries.iter().position(|entry| entry.ticket == ticket) else { return };
        let entry = model.entries.remove(place);
        if let (true, Some(since)) = (answered, entry.since) {
            model.answer.record(now.saturating_duration_since(since));
        }
        model.advance(now);
        // Names come from callers: one that never had an answer is not kept.
        if model.entries.is_empty() && model.answer.average().is_zero() {
            self.models.remove(name);
        }
    }

    /// All places occupied.
    pub(crate) fn total(&self) -> u32 {
        self.models.values().map(Model::in_flight).sum()
    }

    /// Every model that has or had load.
    pub(crate) fn load(&self) -> Vec<ModelLoad> {
        self.models.iter().map(|(name, model)| model.load(name)).collect()
    }
}

impl Model {
    fn in_flight(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    fn advance(&mut self, now: Instant) {
        for entry in self.entries.iter_mut().take(self.slots as usize) {
            entry.since.get_or_insert(now);
        }
    }

    fn load(&self, name: &str) -> ModelLoad {
        let (in_flight, average) = (self.in_flight(), self.answer.average());
        let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        ModelLoad {
            model: name.to_owned(),
            in_flight,
            queued: 0,
            wait_ms: milliseconds(predicted_wait(in_flight, self.slots, average)),
            answer_ms: milliseconds(average),
            tokens_per_s: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn load_of(ledger: &Ledger) -> ModelLoad {
        ledger.load().pop().unwrap()
    }

    #[test]
    fn a_place_stays_occupied_until_it_is_released() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let first = ledger.admit(now, "m", 1);
        let second = ledger.admit(now, "m", 1);
        assert_eq!(ledger.total(), 2);
        ledger.release(now + SECOND, "m", first, true);
        ledger.release(now + SECOND, "m", first, true);
        assert_eq!(ledger.total(), 1);
        ledger.release(now + SECOND, "m", second, false);
        assert_eq!(ledger.total(), 0);
    }

    #[test]
    fn waiting_for_a_slot_is_not_counted_as_answering() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let first = ledger.admit(now, "m", 1);
        let second = ledger.admit(now, "m", 1);
        ledger.release(now + SECOND, "m", first, true);
        ledger.release(now + 2 * SECOND, "m", second, true);
        assert_eq!(load_of(&ledger).answer_ms, 1_000);
    }

    #[test]
    fn the_predicted_wait_follows_what_is_in_flight() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let first = ledger.admit(now, "m", 1);
        ledger.release(now + SECOND, "m", first, true);
        assert_eq!(load_of(&ledger).wait_ms, 0);
        ledger.admit(now, "m", 1);
        ledger.admit(now, "m", 1);
        assert_eq!((load_of(&ledger).in_flight, load_of(&ledger).wait_ms), (2, 2_000));
    }

    #[test]
    fn a_name_that_never_had_an_answer_is_forgotten() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let ticket = ledger.admit(now, "made-up", 1);
        ledger.release(now, "made-up", ticket, false);
        assert!(ledger.load().is_empty());
    }
}
