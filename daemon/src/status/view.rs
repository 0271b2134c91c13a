//! The facts behind the status port, each from its owner, each with its age.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use causeway_policy::{BudgetCap, ModelStatus, ParallelFault};
use causeway_transport::EdgeLinkStatus;
use serde::Serialize;

use crate::admission::Live;
use crate::identity::Life;
use crate::observe::{Counts, Record, unix_ms};
use crate::work::Work;

/// A return path older than this is not trusted. Pings go out every 15 s of silence and wait at
/// most 10 s.
const RETURN_PATH_FRESH: Duration = Duration::from_secs(45);

/// Ollama is asked every 10 s and given 5 s to answer.
const OLLAMA_FRESH: Duration = Duration::from_secs(30);

/// Requests on the first page, count.
const LATEST: usize = 200;

/// What the certificate says, and whether the last reload was refused.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) life: Life,
    pub(crate) reload_fault: Option<String>,
}

/// Where all facts come from.
pub(crate) struct View {
    pub(crate) work: Arc<Work>,
    /// The link's own snapshot.
    pub(crate) link: Box<dyn Fn() -> EdgeLinkStatus + Send + Sync>,
    pub(crate) relay: String,
    pub(crate) edge: String,
    pub(crate) certificate: ArcSwap<Certificate>,
    /// Why overflow is off although it is configured.
    pub(crate) overflow_fault: Option<String>,
    pub(crate) started: SystemTime,
    pub(crate) draining: AtomicBool,
}

/// One fact of readiness.
#[derive(Debug, Serialize)]
pub(crate) struct Fact {
    ok: bool,
    /// Age of what it rests on; none if that never was.
    age_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// `/readyz`.
#[derive(Debug, Serialize)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    facts: Facts,
}

#[derive(Debug, Serialize)]
struct Facts {
    link: Fact,
    return_path: Fact,
    ollama: Fact,
    model: Fact,
    /// Told, but not required: a new edge has served nothing yet.
    last_success: Fact,
}

/// `/api/status`.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    program: &'static str,
    version: &'static str,
    pid: u32,
    uptime_s: u64,
    edge: String,
    /// `running` or `draining`.
    state: &'static str,
    readiness: Readiness,
    link: Link,
    ollama: Ollama,
    models: Vec<Model>,
    /// Requests that wait or run, the oldest first.
    live: Vec<Live>,
    requests: Requests,
    certificate: CertificateView,
    /// None where it is off.
    overflow: Option<OverflowView>,
    /// What a person should mend, in sentences.
    faults: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Link {
    relay: String,
    connected: bool,
    connections: usize,
    streams: usize,
    up_since_ms: Option<u64>,
    rtt_ms: Option<f64>,
    losses: u64,
    resumed_streams: u64,
    superseded: bool,
    /// The last fault, also one that is over.
    last_error: Option<String>,
    /// When that was last so.
    last_error_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Ollama {
    url: String,
    answers: bool,
    version: Option<String>,
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Model {
    name: String,
    resident: bool,
    context: Option<u64>,
    /// As learnt, at most as configured.
    slots: u32,
    in_flight: u32,
    queued: u32,
    wait_ms: u64,
    answer_ms: u64,
}

#[derive(Debug, Serialize)]
struct Requests {
    in_flight: u32,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Serialize)]
struct CertificateView {
    not_after_ms: u64,
    days_left: f64,
}

#[derive(Debug, Serialize)]
struct OverflowView {
    region: String,
    endpoint: Option<String>,
    /// Local patterns and where they go.
    models: Vec<MappingView>,
    budget: BudgetView,
}

#[derive(Debug, Serialize)]
struct MappingView {
    local: String,
    bedrock: String,
    family: &'static str,
}

/// US dollars of the present UTC day.
#[derive(Debug, Serialize)]
struct BudgetView {
    /// None: unlimited.
    daily_usd: Option<f64>,
    spent_usd: f64,
    reserved_usd: f64,
}

impl View {
    /// Why the certificate cannot be used now, or was not replaced.
    pub(crate) fn certificate_faults(&self) -> Vec<String> {
        let certificate = self.certificate.load();
        let life = certificate.life.fault(SystemTime::now()).map(str::to_owned);
        life.into_iter().chain(certificate.reload_fault.clone()).collect()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let (link, known) = ((self.link)(), self.work.catalog.known());
        let not_after = self.certificate.load().life.not_after;
        let left = not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let (counts, _, _) = self.work.observer.snapshot(0);
        Snapshot {
            program: "causewayd",
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_s: age(self.started).as_secs(),
            edge: self.edge.clone(),
            state: if self.draining.load(Ordering::Relaxed) { "draining" } else { "running" },
            readiness: self.readiness(),
            faults: self.faults(&link, known.error.as_deref()),
            overflow: self.overflow(),
            link: Link {
                relay: self.relay.clone(),
                connected: link.connections > 0,
                connections: link.connections,
                streams: link.streams,
                up_since_ms: link.up_since.map(unix_ms),
                rtt_ms: link.rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
                losses: link.losses,
                resumed_streams: link.resumed_streams,
                superseded: link.superseded,
                last_error_ms: link.last_fault.as_ref().map(|fault| unix_ms(fault.at)),
                last_error: link.last_fault.map(|fault| fault.text),
            },
            ollama: Ollama {
                url: self.work.settings.url.to_string(),
                answers: known.answered.is_some() && known.error.is_none(),
                version: known.version.clone(),
                last_error: known.error.clone(),
            },
            models: self.models(),
            live: self.work.admission.live(crate::now()),
            requests: Requests { in_flight: self.work.admission.total(crate::now()), counts },
            certificate: CertificateView {
                not_after_ms: unix_ms(not_after),
                days_left: (left.as_secs_f64() / 8_640.0).round() / 10.0,
            },
        }
    }

    fn faults(&self, link: &EdgeLinkStatus, ollama: Option<&str>) -> Vec<String> {
        let mut faults = faults(link, ollama);
        if !self.work.admission.is_closed() {
            faults.push("Ollama failed several times in a row: requests are refused until it answers".to_owned());
        }
        faults.extend(self.work.admission.snapshot(crate::now()).iter().flat_map(model_faults));
        faults.extend(self.certificate_faults());
        faults.extend(self.overflow_fault.clone());
        faults.extend(self.work.overflow.iter().flat_map(|overflow| overflow.faults()));
        faults
    }

    fn overflow(&self) -> Option<OverflowView> {
        let (overflow, settings) = (self.work.overflow.as_ref()?, self.work.routes.overflow()?);
        let budget = overflow.budget();
        let mapping = |mapping: &crate::config::Mapping| MappingView {
            local: mapping.local.clone(),
            bedrock: mapping.target.model.clone(),
            family: mapping.target.family.name,
        };
        Some(OverflowView {
            region: settings.region.clone(),
            endpoint: settings.endpoint.clone(),
            models: settings.mappings.iter().map(mapping).collect(),
            budget: BudgetView {
                daily_usd: match settings.budget {
                    BudgetCap::Unlimited => None,
                    BudgetCap::Daily(cap) => Some(cap.dollars()),
                },
                spent_usd: budget.book.spent.dollars(),
                reserved_usd: budget.reserved.dollars(),
            },
        })
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let (link, known) = ((self.link)(), self.work.catalog.known());
        let (_, last_success, _) = self.work.observer.snapshot(0);
        let facts = Facts {
            link: fact(link.connections > 0, link.up_since, link.last_fault.map(|fault| fault.text)),
            return_path: fact(is_fresh(link.return_path, RETURN_PATH_FRESH), link.return_path, None),
            ollama: fact(
                known.error.is_none() && is_fresh(known.answered, OLLAMA_FRESH),
                known.answered,
                known.error.clone(),
            ),
            model: fact(
                !known.models.is_empty(),
                known.answered,
                known.models.is_empty().then(|| "Ollama has no model that ollama.models allows".to_owned()),
            ),
            last_success: fact(last_success.is_some(), last_success, None),
        };
        let draining = self.draining.load(Ordering::Relaxed);
        let ready = facts.link.ok && facts.return_path.ok && facts.ollama.ok && facts.model.ok && !draining;
        Readiness { ready, facts }
    }

    /// The latest requests, newest first.
    pub(crate) fn requests(&self) -> Vec<Record> {
        self.work.observer.snapshot(LATEST).2
    }

    /// Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let metrics = &self.work.observer.metrics;
        metrics.link(&(self.link)());
        metrics.certificate_expiry(self.certificate.load().life.not_after);
        let models = self.models();
        metrics.slots(models.iter().map(|model| (model.name.as_str(), model.in_flight, model.queued)));
        metrics.render()
    }

    fn models(&self) -> Vec<Model> {
        let (known, all) = (self.work.catalog.known(), self.work.admission.snapshot(crate::now()));
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let model = |info: &causeway_wire::ModelInfo| {
            let own = causeway_dialect::model::ModelName::parse(&info.name).ok();
            let status = own.and_then(|own| all.iter().find(|status| &*status.name == own.as_short()));
            Model {
                name: info.name.clone(),
                resident: status.map_or(info.resident, |status| status.resident),
                context: info.context,
                slots: status.map_or(info.slots, |status| status.slots),
                in_flight: status.map_or(0, |status| status.in_flight + status.releasing),
                queued: status.map_or(0, |status| status.queued),
                wait_ms: status.map_or(0, |status| ms(status.wait)),
                answer_ms: status.map_or(0, |status| ms(status.answer)),
            }
        };
        known.models.iter().map(model).collect()
    }
}

fn faults(link: &EdgeLinkStatus, ollama: Option<&str>) -> Vec<String> {
    let mut faults = Vec::new();
    if link.superseded {
        faults.push("another machine uses this edge's identity: give each its own".to_owned());
    }
    let why = link.last_fault.as_ref().map_or("still dialling", |fault| &fault.text);
    match link.connections {
        0 => faults.push(format!("no link to the relay: {why}")),
        some if some < link.wanted => {
            faults.push(format!("the link has {some} of {} connections: {why}", link.wanted));
        }
        _ => {}
    }
    if let Some(error) = ollama {
        faults.push(format!("Ollama does not answer: {error}"));
    }
    faults
}

/// What the ledger has found of a model that its owner should mend.
fn model_faults(status: &ModelStatus) -> impl Iterator<Item = String> {
    let name = &status.name;
    let parallel = status.fault.map(|fault| {
        format!(
            "{} = {} is too high for {name}: Ollama serves {} at once; lower it, or raise OLLAMA_NUM_PARALLEL",
            ParallelFault::KEY,
            fault.configured,
            fault.learnt
        )
    });
    let wedged = status.wedged.then(|| format!("{name} hangs: it is being unloaded; if this repeats, restart Ollama"));
    parallel.into_iter().chain(wedged)
}

fn fact(ok: bool, since: Option<SystemTime>, detail: Option<String>) -> Fact {
    let age_ms = since.map(|since| u64::try_from(age(since).as_millis()).unwrap_or(u64::MAX));
    Fact { ok, age_ms, detail: detail.filter(|_| !ok) }
}

fn is_fresh(at: Option<SystemTime>, within: Duration) -> bool {
    at.is_some_and(|at| age(at) <= within)
}

fn age(since: SystemTime) -> Duration {
    SystemTime::now().duration_since(since).unwrap_or_default()
}
