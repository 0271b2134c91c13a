//! What Ollama has: asked every ten seconds and when a model's time in memory ends, filtered, told to
//! the link.
//!
//! Invariants: a model outside the allow-list or running elsewhere is never announced; after a
//! failed question the last catalog stands (Ollama's absence is told by the requests' own
//! failures and by readiness); one read at a time, whoever wants it. Absent: whether a request may
//! run (`gate.rs`, `request.rs`).

mod expiry;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use causeway_dialect::model::ModelName;
use causeway_dialect::route::Upstream;
use causeway_wire::{Backend, ModelInfo};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::config::Ollama as Settings;
use crate::gate;
use crate::ollama::Ollama;
use crate::routes::Routes;

/// A model just created can be used after this long at the latest.
pub(crate) const POLL_EVERY: Duration = Duration::from_secs(10);

/// While Ollama does not answer it is asked more often: it is probably starting.
pub(crate) const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The longest wait for [`Catalog::read_anew`]: a read takes 10 s at most, and the one that is under
/// way may have to end first.
pub(crate) const READ_BOUND: Duration = Duration::from_secs(21);

/// No further model is asked about within one read after this time; the others come with the next.
const SHOW_BUDGET: Duration = Duration::from_secs(1);

/// What is known of Ollama.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Models that may be announced.
    pub(crate) models: Vec<ModelInfo>,
    /// Every model that runs on this machine, announced or not, by its reduced name.
    pub(crate) local: HashMap<String, Local>,
    /// Names whose manifest forwards to another machine.
    pub(crate) remote: HashSet<String>,
    /// Capabilities that `/api/show` told, by the model's digest: older Ollamas list none.
    shown: HashMap<String, Vec<String>>,
    /// Ollama's version.
    pub(crate) version: Option<String>,
    /// Why the last question failed; none if it did not.
    pub(crate) error: Option<String>,
    /// When Ollama last answered.
    pub(crate) answered: Option<SystemTime>,
}

/// What Ollama says of a model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Local {
    family: String,
    /// Ollama's words for what it can do; empty where this Ollama does not list them.
    capabilities: Vec<String>,
}

/// Families that Ollama serves one request at a time whatever its setting (`server/sched.go`).
const ONE_AT_A_TIME: [&str; 11] = [
    "mllama",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
    "nemotron_h_omni",
];

impl Local {
    /// Ollama serves it one request at a time, as it does all that only make vectors.
    pub(crate) fn is_forced_to_one(&self) -> bool {
        ONE_AT_A_TIME.contains(&self.family.as_str()) || self.can("completion") == Some(false)
    }

    /// Whether it thinks; none where Ollama does not say.
    pub(crate) fn thinks(&self) -> Option<bool> {
        self.can("thinking")
    }

    fn can(&self, what: &str) -> Option<bool> {
        (!self.capabilities.is_empty()).then(|| self.capabilities.iter().any(|known| known == what))
    }
}

/// A model in Ollama's memory: its reduced name, what is known of it, its context length in tokens.
pub(crate) type Row<'a> = (&'a str, &'a Local, Option<u32>);

/// The shared record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The last read that ended.
    last: watch::Sender<Read>,
    /// Reads begun since start, count.
    begun: AtomicU64,
    /// Rung by whoever cannot wait for the next poll; [`poll`] listens.
    wanted: Notify,
}

/// One read and its place in their order, from 1.
#[derive(Debug, Default)]
struct Read {
    number: u64,
    known: Arc<Known>,
}

impl Catalog {
    /// What is known now.
    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.0.last.borrow().known)
    }

    /// What a read says that begins after this call. Many who ask at once share one.
    pub(crate) async fn read_anew(&self) -> Arc<Known> {
        let begun = self.0.begun.load(Ordering::SeqCst);
        let mut reads = self.0.last.subscribe();
        self.0.wanted.notify_one();
        let newer = reads.wait_for(|read| read.number > begun).await;
        // The sender lives as long as `self`.
        newer.map_or_else(|_| self.known(), |read| Arc::clone(&read.known))
    }

    /// Has the next read begin now, without waiting for it.
    pub(crate) fn look_again(&self) {
        self.0.wanted.notify_one();
    }

    fn begin(&self) -> u64 {
        // Who has asked until now gets this read: one more would bring nothing.
        let _asked = pin!(self.0.wanted.notified()).enable();
        self.0.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn set(&self, number: u64, known: Known) {
        self.0.last.send_replace(Read { number, known: Arc::new(known) });
    }
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    remote_host: String,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    details: Details,
}

#[derive(Deserialize, Default)]
struct Details {
    context_length: Option<u64>,
    #[serde(default)]
    family: String,
}

#[derive(Deserialize)]
struct Show {
    #[serde(default)]
    capabilities: Vec<String>,
}

#[derive(Deserialize)]
struct Ps {
    #[serde(default)]
    models: Vec<InMemory>,
}

#[derive(Deserialize)]
struct InMemory {
    name: String,
    context_length: Option<u64>,
    #[serde(default)]
    expires_at: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// What goes out of the poll.
pub(crate) trait Listener: Send {
    /// A catalog that differs from the one before.
    fn changed(&mut self, models: Vec<ModelInfo>);
    /// What is in memory, as asked at this time.
    fn resident(&mut self, asked: Instant, rows: &[Row<'_>]);
}

/// Asks Ollama for ever.
pub(crate) async fn poll(
    ollama: Ollama,
    settings: Settings,
    routes: Routes,
    catalog: Catalog,
    mut listener: impl Listener,
) {
    let mut announced: Option<Vec<ModelInfo>> = None;
    loop {
        let (before, number) = (catalog.known(), catalog.begin());
        let asked = crate::now();
        let (after, ps) = look(&ollama, &settings, &routes, &before).await;
        report(&before, &after);
        let answered = after.error.is_none();
        if answered && announced.as_ref() != Some(&after.models) {
            listener.changed(after.models.clone());
            announced = Some(after.models.clone());
        }
        let mut pause = if answered { POLL_EVERY } else { RETRY_EVERY };
        if let Some(ps) = ps.filter(|_| answered) {
            listener.resident(asked, &rows(&after, &ps));
            pause = expiry::pause(SystemTime::now(), ps.models.iter().map(|model| model.expires_at.as_str()));
        }
        catalog.set(number, after);
        // Over or cut short: the next read is due.
        let _due = timeout(pause, catalog.0.wanted.notified()).await;
    }
}

fn rows<'a>(known: &'a Known, ps: &Ps) -> Vec<Row<'a>> {
    let row = |model: &InMemory| {
        let name = ModelName::parse(&model.name).ok()?.short();
        let (name, local) = known.local.get_key_value(&name)?;
        let context =
            model.context_length.and_then(|context| u32::try_from(context).ok()).filter(|context| *context > 0);
        Some((name.as_str(), local, context))
    };
    ps.models.iter().filter_map(row).collect()
}

/// The three questions go out together, so that a read takes no longer than the slowest.
async fn look(ollama: &Ollama, settings: &Settings, routes: &Routes, before: &Known) -> (Known, Option<Ps>) {
    let known_version = before.version.clone().filter(|_| before.error.is_none());
    let version = async {
        match known_version {
            Some(version) => Some(version),
            None => version_of(ollama).await,
        }
    };
    let (tags, resident, version) =
        tokio::join!(ollama.metadata(Upstream::OllamaTags), ollama.metadata(Upstream::OllamaPs), version);
    let parsed = tags.and_then(|body| serde_json::from_slice(&body).map_err(|error| error.to_string()));
    let tags: Tags = match parsed {
        Ok(tags) => tags,
        Err(error) => return (Known { error: Some(error), ..before.clone() }, None),
    };
    // A slow or broken /api/ps costs only the mark "resident".
    let ps: Option<Ps> = resident.ok().and_then(|body| serde_json::from_slice(&body).ok());
    let resident: HashSet<&str> = ps.iter().flat_map(|ps| &ps.models).map(|model| model.name.as_str()).collect();
    let shown = show(ollama, &tags, &before.shown).await;
    let mut known = Known { version, shown, answered: Some(SystemTime::now()), ..Known::default() };
    for mut tag in tags.models {
        if let Some(shown) = known.shown.get(&tag.digest) {
            tag.capabilities.clone_from(shown);
        }
        add(&mut known, tag, settings, routes, &resident);
    }
    add_mapped(&mut known, settings, routes);
    (known, ps)
}

/// What the models can do whose entry does not say it: each is asked about once.
async fn show(ollama: &Ollama, tags: &Tags, before: &HashMap<String, Vec<String>>) -> HashMap<String, Vec<String>> {
    let mut shown = HashMap::new();
    let end = crate::now() + SHOW_BUDGET;
    for tag in &tags.models {
        if !tag.capabilities.is_empty() || !tag.remote_host.is_empty() || shown.contains_key(&tag.digest) {
            continue;
        }
        if let Some(known) = before.get(&tag.digest) {
            shown.insert(tag.digest.clone(), known.clone());
        } else if crate::now() < end {
            let show: Option<Show> =
                ollama.show(&tag.name).await.ok().and_then(|body| serde_json::from_slice(&body).ok());
            // One that cannot be shown is asked about again with the next read.
            if let Some(show) = show {
                shown.insert(tag.digest.clone(), show.capabilities);
            }
        }
    }
    shown
}

fn add(known: &mut Known, tag: Tag, settings: &Settings, routes: &Routes, resident: &HashSet<&str>) {
    let Ok(name) = ModelName::parse(&tag.name) else { return };
    if name.is_cloud() || !tag.remote_host.is_empty() {
        known.remote.insert(name.short());
        return;
    }
    let local = Local { family: tag.details.family, capabilities: tag.capabilities.clone() };
    let slots = if local.is_forced_to_one() { 1 } else { settings.slots(name.as_short()) };
    known.local.insert(name.short(), local);
    if !gate::is_allowed(&name, &settings.models) {
        return;
    }
    known.models.push(ModelInfo {
        resident: resident.contains(tag.name.as_str()),
        slots,
        name: tag.name,
        digest: tag.digest,
        context: tag.details.context_length,
        capabilities: tag.capabilities,
        ceiling: routes.ceiling(&name),
    });
}

/// Models that this machine has not and that a mapping names: they are served elsewhere.
fn add_mapped(known: &mut Known, settings: &Settings, routes: &Routes) {
    for name in routes.named() {
        let is_here = known.local.contains_key(name.as_short()) || known.remote.contains(name.as_short());
        let ceiling: Vec<Backend> =
            routes.ceiling(&name).into_iter().filter(|backend| *backend == Backend::Bedrock).collect();
        if is_here || name.is_cloud() || ceiling.is_empty() || !gate::is_allowed(&name, &settings.models) {
            continue;
        }
        known.models.push(ModelInfo { name: name.short(), slots: 0, ceiling, ..ModelInfo::default() });
    }
}

async fn version_of(ollama: &Ollama) -> Option<String> {
    let body = ollama.metadata(Upstream::OllamaVersion).await.ok()?;
    let version: Version = serde_json::from_slice(&body).ok()?;
    Some(version.version)
}

fn report(before: &Known, after: &Known) {
    match (&before.error, &after.error) {
        (Some(_), None) => tracing::info!(models = after.models.len(), "Ollama answers again"),
        (None, None) if before.answered.is_none() => {
            tracing::info!(models = after.models.len(), version = after.version, "Ollama answers");
        }
        (None, Some(error)) => tracing::warn!(error, "Ollama does not answer; asking every second"),
        (None, None) | (Some(_), Some(_)) => {}
    }
}
