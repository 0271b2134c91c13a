//! One request's place in the ledger, from its submission to its last byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_policy::{Forecast, Measured, Promise, Ticket};
use tokio::sync::mpsc;

use super::{Admission, Decision, Inner, Probes};

/// Dropped, it is given back: as finished or failed if that was said, as cancelled otherwise.
pub(crate) struct Place {
    admission: Arc<Admission>,
    ticket: Ticket,
    decisions: mpsc::Receiver<Decision>,
    /// It is the one request that finds out whether Ollama is back.
    probes: Probes,
    ended: bool,
}

/// What the end of a request says of Ollama.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// It works; the request itself may have been at fault.
    Well,
    /// It answers, but the model's runner broke (5xx, an answer cut off).
    Broken,
    /// It does not answer at all.
    Gone,
}

impl Place {
    pub(super) fn new(
        admission: Arc<Admission>,
        ticket: Ticket,
        decisions: mpsc::Receiver<Decision>,
        probes: Probes,
    ) -> Self {
        Self { admission, ticket, decisions, probes, ended: false }
    }

    /// The next decision. Safe to drop and call again; never ends by itself.
    pub(crate) async fn decided(&mut self) -> Decision {
        match self.decisions.recv().await {
            Some(decision) => decision,
            None => std::future::pending().await,
        }
    }

    /// The first token came. What had been promised for it, where anything was.
    pub(crate) fn first_token(&self, now: Instant) -> Option<Promise> {
        let mut inner = self.admission.inner();
        let promise = inner.ledger.first_token(now, self.ticket);
        // Others need not wait for the whole answer to know that Ollama is back.
        if let Some(model) = inner.entries.get(&self.ticket).map(|entry| entry.model.clone()) {
            inner.learn(now, &model, Health::Well);
        }
        self.admission.settle(inner, now);
        promise
    }

    /// So many tokens have come in all.
    pub(crate) fn progress(&self, now: Instant, tokens: u32) {
        self.admission.inner().ledger.progress(now, self.ticket, tokens);
    }

    /// The whole answer came.
    pub(crate) fn finished(mut self, now: Instant, measured: Measured) {
        self.end(now, Some(Health::Well), |inner, ticket| inner.ledger.finished(now, ticket, measured));
    }

    /// Ollama refused the request or broke it off.
    pub(crate) fn failed(mut self, now: Instant, health: Health) {
        self.end(now, Some(health), |inner, ticket| inner.ledger.failed(now, ticket));
    }

    /// The caller left, or waits no longer: Ollama may still be at work.
    pub(crate) fn cancelled(mut self, now: Instant) {
        self.end(now, None, |inner, ticket| inner.ledger.cancelled(now, ticket));
    }

    /// What was promised when it had to wait; nothing as long as too few answers are known.
    pub(crate) fn promised(&self) -> Option<Forecast> {
        self.admission.inner().entries.get(&self.ticket)?.promised
    }

    /// From the submission to the slot; `None` while it waits.
    pub(crate) fn waited(&self) -> Option<Duration> {
        let inner = self.admission.inner();
        let entry = inner.entries.get(&self.ticket)?;
        Some(entry.granted?.saturating_duration_since(entry.submitted))
    }

    fn end(&mut self, now: Instant, health: Option<Health>, report: impl FnOnce(&mut Inner, Ticket)) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let mut inner = self.admission.inner();
        report(&mut inner, self.ticket);
        let model = inner.entries.remove(&self.ticket).map(|entry| entry.model).unwrap_or_default();
        match health {
            Some(health) => inner.learn(now, &model, health),
            None => inner.abandoned(now, &model, self.probes),
        }
        self.admission.settle(inner, now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A task that is cut off or panics has no moment of its own to name.
        let now = tokio::time::Instant::now().into_std();
        self.end(now, None, |inner, ticket| inner.ledger.cancelled(now, ticket));
    }
}
