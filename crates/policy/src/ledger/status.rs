//! The ledger as the status page and the link's load frame show it.

use std::time::Instant;

use super::model::Residency;
use super::types::{ModelId, ModelStatus, ParallelFault};
use super::{Ledger, Model};

impl Ledger {
    /// Every known model, in the order in which they became known.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Vec<ModelStatus> {
        let now = self.now.map_or(now, |last| last.max(now));
        self.models.iter().enumerate().map(|(index, model)| self.status(now, index, model)).collect()
    }

    /// Enough answers of the model are known for its forecasts to mean something.
    #[must_use]
    pub fn predicts(&self, model: ModelId) -> bool {
        self.index_of(model).and_then(|index| self.models.get(index)).is_some_and(|model| model.learnt.enough())
    }

    /// The model hangs and waits to be unloaded.
    #[must_use]
    pub fn is_wedged(&self, model: ModelId) -> bool {
        self.index_of(model).and_then(|index| self.models.get(index)).is_some_and(|model| model.watchdog.is_wedged())
    }

    fn status(&self, now: Instant, index: usize, model: &Model) -> ModelStatus {
        let releasing = model.running.iter().filter(|running| running.releasing.is_some()).count();
        let per_token = model.learnt.per_token(model.running.len());
        let fault: Option<ParallelFault> = model.parallel.fault();
        ModelStatus {
            id: model.id,
            name: model.name.clone(),
            slots: count(model.parallel.slots()),
            configured: model.parallel.configured(),
            resident: model.residency == Residency::Resident,
            in_flight: count(model.running.len() - releasing),
            releasing: count(releasing),
            queued: count(model.queue.len()),
            wait: self.drain(now, index),
            answer: model.learnt.answer_time(),
            tokens_per_second: if per_token > 0.0 { 1_000.0 / per_token } else { 0.0 },
            fault,
            suspect: model.watchdog.is_suspect(),
            wedged: model.watchdog.is_wedged(),
        }
    }
}

fn count(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
