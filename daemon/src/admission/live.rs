//! Requests that have not ended, as the status page shows them.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Admission;

/// One request that waits or runs. Times in milliseconds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Live {
    pub(crate) id: String,
    pub(crate) model: String,
    /// `waiting` or `running`.
    pub(crate) state: &'static str,
    /// Since it was submitted.
    pub(crate) age_ms: u64,
    /// In the queue, up to now.
    pub(crate) waited_ms: u64,
    /// Requests of its model before it; none once it runs.
    pub(crate) place: Option<u32>,
    /// What was promised at its submission: from there to its first token.
    pub(crate) promised_ms: Option<u64>,
    /// The same, as nine of ten do not exceed it.
    pub(crate) promised_p90_ms: Option<u64>,
    /// What is expected now: from now to its first token.
    pub(crate) expected_ms: Option<u64>,
}

impl Admission {
    /// Requests that have not ended, the oldest first.
    pub(crate) fn live(&self, now: Instant) -> Vec<Live> {
        let inner = self.inner();
        let mut entries: Vec<_> = inner.entries.iter().collect();
        entries.sort_by_key(|(ticket, _)| **ticket);
        let live = entries.into_iter().map(|(ticket, entry)| {
            let forecast = inner.ledger.forecast(now, *ticket).filter(|_| entry.granted.is_none());
            Live {
                id: entry.id.clone(),
                model: entry.model.clone(),
                state: if entry.granted.is_some() { "running" } else { "waiting" },
                age_ms: ms(now.saturating_duration_since(entry.submitted)),
                waited_ms: ms(entry.granted.unwrap_or(now).saturating_duration_since(entry.submitted)),
                place: forecast.map(|forecast| forecast.place),
                promised_ms: entry.promised.map(|promised| ms(promised.first_token)),
                promised_p90_ms: entry.promised.map(|promised| ms(promised.p90)),
                expected_ms: forecast.map(|forecast| ms(forecast.first_token)),
            }
        });
        live.collect()
    }
}

fn ms(duration: Duration) -> u64 {
    super::milliseconds(duration)
}
