//! The accounts of requests: every one is recorded once, whatever its end.
//!
//! No prompt, answer or key is ever part of a record. Absent: the link's and Ollama's facts, which
//! their owners keep.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_dialect::route::Dialect;
use causeway_policy::Forecast;
use causeway_wire::{Backend, Outcome};
use serde::Serialize;

use crate::metrics::{Metrics, OutcomeLabel};
use crate::session::Ending;

/// Requests kept for the status page, count: about 60 KiB.
const KEPT: usize = 200;

/// One request that ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    /// Counts up from 1, so that a reader knows what it has seen.
    pub(crate) seq: u64,
    /// When it ended, Unix milliseconds.
    pub(crate) at_ms: u64,
    /// The request's id.
    pub(crate) id: String,
    pub(crate) method: String,
    /// Path without query.
    pub(crate) path: String,
    pub(crate) dialect: &'static str,
    pub(crate) model: Option<String>,
    pub(crate) stream: bool,
    pub(crate) outcome: OutcomeLabel,
    /// Ollama's status, or that of the error code.
    pub(crate) status: u16,
    /// Error code where it was not served.
    pub(crate) code: Option<&'static str>,
    pub(crate) served_by: Option<&'static str>,
    /// Why it was not this machine.
    pub(crate) reason: Option<&'static str>,
    /// What Bedrock cost.
    pub(crate) usd: Option<f64>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) first_token_ms: Option<f64>,
    /// In the edge's queue.
    pub(crate) queued_ms: f64,
    /// What was promised when it had to wait: from its submission to its first token.
    pub(crate) promised_ms: Option<f64>,
    /// The same, as nine of ten do not exceed it.
    pub(crate) promised_p90_ms: Option<f64>,
    pub(crate) total_ms: f64,
}

/// How a request waited for its slot, all its parts together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Queueing {
    /// From submission to slot.
    pub(crate) waited: Duration,
    /// What was promised when it had to wait.
    pub(crate) promised: Option<Forecast>,
}

/// What is known of a request when it ends.
#[derive(Debug)]
pub(crate) struct Finished<'a> {
    pub(crate) id: String,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) dialect: Dialect,
    pub(crate) model: Option<&'a str>,
    pub(crate) stream: bool,
    pub(crate) ending: Ending,
    pub(crate) outcome: Outcome,
    pub(crate) first_token: Option<Duration>,
    pub(crate) queueing: Queueing,
    /// Why Bedrock answered it.
    pub(crate) reason: Option<&'static str>,
    pub(crate) total: Duration,
}

/// Counts since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) served: u64,
    pub(crate) refused: u64,
    pub(crate) cancelled: u64,
    pub(crate) failed: u64,
    pub(crate) panics: u64,
}

#[derive(Debug, Default)]
struct Accounts {
    /// Ids of requests that have begun and are not accounted yet.
    open: HashSet<String>,
    counts: Counts,
    recent: VecDeque<Record>,
    last_success: Option<SystemTime>,
}

/// The accounts and the metrics.
pub(crate) struct Observer {
    pub(crate) metrics: Metrics,
    accounts: Mutex<Accounts>,
    sequence: AtomicU64,
}

impl Observer {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, accounts: Mutex::default(), sequence: AtomicU64::new(0) }
    }

    /// A request came in; [`Self::finished`] is owed.
    pub(crate) fn began(&self, id: &str) {
        self.accounts().open.insert(id.to_owned());
    }

    /// Whether a request that began is not accounted yet.
    pub(crate) fn is_open(&self, id: &str) -> bool {
        self.accounts().open.contains(id)
    }

    /// The one place where a request's end is accounted.
    pub(crate) fn finished(&self, finished: Finished<'_>) {
        let (outcome, status, code) = match finished.ending {
            Ending::Served(status) => (OutcomeLabel::Served, status, None),
            Ending::Refused(code) => (OutcomeLabel::Refused, code.http_status(), Some(code)),
            Ending::Cancelled => (
                OutcomeLabel::Cancelled,
                causeway_wire::Code::Cancelled.http_status(),
                Some(causeway_wire::Code::Cancelled),
            ),
            Ending::Failed(code) => (OutcomeLabel::Failed, code.http_status(), Some(code)),
        };
        let served_by = finished.outcome.served_by;
        self.metrics.request(finished.dialect, outcome, served_by);
        self.metrics.tokens(served_by, finished.outcome.input_tokens, finished.outcome.output_tokens);
        if let Some(first) = finished.first_token {
            self.metrics.first_token(first);
        }
        let record = Record {
            seq: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            at_ms: unix_ms(SystemTime::now()),
            id: finished.id,
            method: finished.method.chars().take(16).collect(),
            path: finished.path.split('?').next().unwrap_or_default().chars().take(200).collect(),
            dialect: finished.dialect.as_str(),
            model: finished.model.map(str::to_owned),
            stream: finished.stream,
            outcome,
            status,
            code: code.map(causeway_wire::Code::as_str),
            served_by: finished.outcome.served_by.map(backend),
            reason: finished.reason,
            usd: finished.outcome.usd,
            input_tokens: finished.outcome.input_tokens,
            output_tokens: finished.outcome.output_tokens,
            first_token_ms: finished.first_token.map(milliseconds),
            queued_ms: milliseconds(finished.queueing.waited),
            promised_ms: finished.queueing.promised.map(|promised| milliseconds(promised.first_token)),
            promised_p90_ms: finished.queueing.promised.map(|promised| milliseconds(promised.p90)),
            total_ms: milliseconds(finished.total),
        };
        log(&record);
        self.keep(record);
    }

    /// A request's task panicked; its guard failed the stream and accounted for it.
    pub(crate) fn panicked(&self) {
        self.metrics.panicked();
        self.accounts().counts.panics += 1;
    }

    /// Counts, last success and the latest records, newest first.
    pub(crate) fn snapshot(&self, records: usize) -> (Counts, Option<SystemTime>, Vec<Record>) {
        let accounts = self.accounts();
        let recent = accounts.recent.iter().rev().take(records).cloned().collect();
        (accounts.counts, accounts.last_success, recent)
    }

    fn keep(&self, record: Record) {
        let mut accounts = self.accounts();
        accounts.open.remove(&record.id);
        let counts = &mut accounts.counts;
        match record.outcome {
            OutcomeLabel::Served => counts.served += 1,
            OutcomeLabel::Refused => counts.refused += 1,
            OutcomeLabel::Cancelled => counts.cancelled += 1,
            OutcomeLabel::Failed => counts.failed += 1,
        }
        if record.outcome == OutcomeLabel::Served && record.status == 200 {
            accounts.last_success = Some(UNIX_EPOCH + Duration::from_millis(record.at_ms));
        }
        if accounts.recent.len() == KEPT {
            accounts.recent.pop_front();
        }
        accounts.recent.push_back(record);
    }

    fn accounts(&self) -> std::sync::MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(record: &Record) {
    let Record { id, path, model, status, code, total_ms, .. } = record;
    match record.outcome {
        OutcomeLabel::Served | OutcomeLabel::Cancelled | OutcomeLabel::Refused => {
            tracing::debug!(id, path, model, status, code, total_ms, "request ended");
        }
        OutcomeLabel::Failed => tracing::warn!(id, path, model, status, code, total_ms, "request failed"),
    }
}

fn backend(backend: Backend) -> &'static str {
    match backend {
        Backend::Local => "local",
        Backend::Bedrock => "bedrock",
        Backend::OllamaCloud => "ollama_cloud",
    }
}

fn milliseconds(duration: Duration) -> f64 {
    // Microseconds are exact in the JSON and short to read.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Unix time in milliseconds.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
