//! Every metric of the daemon, in one file: names, base units, closed sets of labels.
//!
//! Nothing is registered globally, so that tests run side by side. Absent: where the figures
//! come from (`observe.rs`, `status.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_dialect::route::Dialect;
use causeway_policy::{Promise, RefusalCode, Verdict};
use causeway_transport::EdgeLinkStatus;
use causeway_wire::Backend;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::session::Why;

/// Seconds; a token on a fast GPU to a cold load of a large model.
const FIRST_TOKEN_BUCKETS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// Seconds; the aim is under a millisecond.
const CANCEL_BUCKETS: [f64; 9] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1];

/// Seconds; a token on a fast GPU to a machine that swaps.
const INTER_TOKEN_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0];

/// Seconds; from "no queue" to the longest that one may wait.
const WAIT_BUCKETS: [f64; 11] = [0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0];

/// What the admission decided, and why it refused.
const DECISIONS: [(&str, &str); 7] = [
    ("admit", "none"),
    ("queue", "none"),
    ("refuse", "saturated"),
    ("refuse", "local_unavailable"),
    ("refuse", "deadline_exceeded"),
    ("refuse", "context_exceeded"),
    ("refuse", "model_not_found"),
];

/// Who began to answer, as a label.
const SERVED_BY: [&str; 3] = ["none", "local", "bedrock"];

const DIALECTS: [Dialect; 3] = [Dialect::Ollama, Dialect::OpenAi, Dialect::Anthropic];

/// How a request ended, as a label.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeLabel {
    /// The whole answer was passed on.
    Served,
    /// It never reached Ollama.
    Refused,
    /// The caller left.
    Cancelled,
    /// It broke.
    Failed,
}

const OUTCOMES: [OutcomeLabel; 4] =
    [OutcomeLabel::Served, OutcomeLabel::Refused, OutcomeLabel::Cancelled, OutcomeLabel::Failed];

impl OutcomeLabel {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// Handles on all metrics.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    registered: Registered,
    /// Models that have had a gauge.
    seen: Mutex<BTreeSet<String>>,
}

struct Registered {
    /// By dialect, then outcome, then [`SERVED_BY`].
    requests: [[[Counter; 3]; 4]; 3],
    /// Of prompts and answers, by [`SERVED_BY`].
    tokens: [[Counter; 3]; 2],
    bedrock_usd: Gauge,
    panics: Counter,
    first_token: Histogram,
    cancel_to_release: Histogram,
    inter_token: Histogram,
    queue_wait: Histogram,
    prediction_error: Histogram,
    /// By [`DECISIONS`].
    admission: [Counter; 7],
    /// By [`Why::ALL`].
    overflow: [Counter; Why::ALL.len()],
    link_connected: Gauge,
    link_rtt: Gauge,
    link_reconnects: Counter,
    link_resumed: Counter,
    certificate_expiry: Gauge,
}

impl Metrics {
    /// Registers everything, so that each name is there from the first scrape.
    pub(crate) fn new() -> Result<Self, BuildError> {
        let name = |text: &str| Matcher::Full(format!("causeway_{text}"));
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(name("first_token_seconds"), &FIRST_TOKEN_BUCKETS)?
            .set_buckets_for_metric(name("cancel_to_release_seconds"), &CANCEL_BUCKETS)?
            .set_buckets_for_metric(name("inter_token_seconds"), &INTER_TOKEN_BUCKETS)?
            .set_buckets_for_metric(name("queue_wait_seconds"), &WAIT_BUCKETS)?
            .set_buckets_for_metric(name("prediction_error_seconds"), &WAIT_BUCKETS)?
            .build_recorder();
        let handle = recorder.handle();
        let registered = with_local_recorder(&recorder, || {
            gauge!("causeway_build_info", "version" => env!("CARGO_PKG_VERSION"), "program" => "causewayd").set(1.0);
            let tokens = |direction: &'static str| {
                SERVED_BY.map(
                    |served_by| counter!("causeway_tokens_total", "direction" => direction, "served_by" => served_by),
                )
            };
            Registered {
                requests: DIALECTS.map(|dialect| OUTCOMES.map(|outcome| requests(dialect, outcome))),
                tokens: ["input", "output"].map(tokens),
                bedrock_usd: gauge!("causeway_bedrock_usd_total"),
                panics: counter!("causeway_request_panics_total"),
                first_token: histogram!("causeway_first_token_seconds"),
                cancel_to_release: histogram!("causeway_cancel_to_release_seconds"),
                inter_token: histogram!("causeway_inter_token_seconds"),
                queue_wait: histogram!("causeway_queue_wait_seconds"),
                prediction_error: histogram!("causeway_prediction_error_seconds"),
                admission: DECISIONS.map(|(decision, reason)| {
                    counter!("causeway_admission_total", "decision" => decision, "reason" => reason)
                }),
                overflow: Why::ALL.map(|why| {
                    counter!("causeway_admission_total", "decision" => "overflow", "reason" => why.as_str())
                }),
                link_connected: gauge!("causeway_link_connected"),
                link_rtt: gauge!("causeway_link_rtt_seconds"),
                link_reconnects: counter!("causeway_link_reconnects_total", "reason" => "lost"),
                link_resumed: counter!("causeway_link_resumed_streams_total"),
                certificate_expiry: gauge!("causeway_certificate_expiry_timestamp_seconds"),
            }
        });
        Ok(Self { recorder, handle, registered, seen: Mutex::default() })
    }

    /// One request ended.
    pub(crate) fn request(&self, dialect: Dialect, outcome: OutcomeLabel, served_by: Option<Backend>) {
        let dialect = DIALECTS.iter().position(|known| *known == dialect).unwrap_or(0);
        let outcome = OUTCOMES.iter().position(|known| *known == outcome).unwrap_or(0);
        self.registered.requests[dialect][outcome][column(served_by)].increment(1);
    }

    pub(crate) fn tokens(&self, served_by: Option<Backend>, input: Option<u64>, output: Option<u64>) {
        for (counters, tokens) in self.registered.tokens.iter().zip([input, output]) {
            counters[column(served_by)].increment(tokens.unwrap_or(0));
        }
    }

    /// A call to Bedrock cost so much, US dollars.
    pub(crate) fn spent(&self, usd: f64) {
        self.registered.bedrock_usd.increment(usd);
    }

    /// A request goes to Bedrock.
    pub(crate) fn overflow(&self, why: Why) {
        if let Some(place) = Why::ALL.iter().position(|known| *known == why) {
            self.registered.overflow[place].increment(1);
        }
    }

    pub(crate) fn first_token(&self, after: Duration) {
        self.registered.first_token.record(after.as_secs_f64());
    }

    pub(crate) fn cancel_to_release(&self, after: Duration) {
        self.registered.cancel_to_release.record(after.as_secs_f64());
    }

    /// Between two pieces of one answer.
    pub(crate) fn inter_token(&self, gap: Duration) {
        self.registered.inter_token.record(gap.as_secs_f64());
    }

    /// A request had to wait this long for its slot.
    pub(crate) fn queue_wait(&self, waited: Duration) {
        self.registered.queue_wait.record(waited.as_secs_f64());
    }

    /// A first token came; how far off the promise was, in either direction.
    pub(crate) fn prediction_error(&self, promise: &Promise) {
        if let Some(predicted) = promise.predicted {
            self.registered.prediction_error.record(promise.actual.abs_diff(predicted).as_secs_f64());
        }
    }

    /// What the admission decided; where to go is counted where it is done.
    pub(crate) fn admission(&self, verdict: &Verdict) {
        let decision = match verdict {
            Verdict::Admit => 0,
            Verdict::Queue(_) => 1,
            Verdict::Overflow(_) => return,
            Verdict::Refuse(refusal) => match refusal.code {
                RefusalCode::Saturated => 2,
                RefusalCode::LocalUnavailable => 3,
                RefusalCode::DeadlineExceeded => 4,
                RefusalCode::ContextExceeded { .. } => 5,
                RefusalCode::ModelNotFound => 6,
            },
        };
        self.registered.admission[decision].increment(1);
    }

    pub(crate) fn panicked(&self) {
        self.registered.panics.increment(1);
    }

    /// Slots occupied and requests waiting, by model of the catalog.
    pub(crate) fn slots<'a>(&self, models: impl Iterator<Item = (&'a str, u32, u32)>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A model that is gone has no load.
        let mut all: BTreeMap<String, (u32, u32)> = seen.iter().map(|model| (model.clone(), (0, 0))).collect();
        all.extend(models.map(|(model, in_use, queued)| (model.to_owned(), (in_use, queued))));
        seen.extend(all.keys().cloned());
        with_local_recorder(&self.recorder, || {
            for (model, (in_use, queued)) in all {
                gauge!("causeway_slots_in_use", "model" => model.clone()).set(f64::from(in_use));
                gauge!("causeway_queue_depth", "model" => model).set(f64::from(queued));
            }
        });
    }

    pub(crate) fn link(&self, status: &EdgeLinkStatus) {
        self.registered.link_connected.set(if status.connections > 0 { 1.0 } else { 0.0 });
        self.registered.link_rtt.set(status.rtt.unwrap_or_default().as_secs_f64());
        self.registered.link_reconnects.absolute(status.losses);
        self.registered.link_resumed.absolute(status.resumed_streams);
    }

    pub(crate) fn certificate_expiry(&self, at: SystemTime) {
        self.registered.certificate_expiry.set(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }

    /// Prometheus text.
    pub(crate) fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds recorded samples into their buckets; without it every sample is kept until a scrape.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// The place of a backend in [`SERVED_BY`]; nothing is ever served by another.
fn column(served_by: Option<Backend>) -> usize {
    match served_by {
        None => 0,
        Some(Backend::Local | Backend::OllamaCloud) => 1,
        Some(Backend::Bedrock) => 2,
    }
}

fn requests(dialect: Dialect, outcome: OutcomeLabel) -> [Counter; 3] {
    SERVED_BY.map(|served_by| {
        counter!(
            "causeway_requests_total",
            "dialect" => dialect.as_str(), "outcome" => outcome.as_str(), "served_by" => served_by
        )
    })
}
