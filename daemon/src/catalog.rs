//! What Ollama has: asked every ten seconds, filtered, told to the link.
//!
//! Invariants: a model outside the allow-list or running elsewhere is never announced; after a
//! failed question the last catalog stands (Ollama's absence is told by the requests' own
//! failures and by readiness). Absent: whether a request may run (`gate.rs`).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use causeway_dialect::model::ModelName;
use causeway_dialect::route::Upstream;
use causeway_wire::{Backend, ModelInfo};
use serde::Deserialize;

use crate::config::Ollama as Settings;
use crate::gate;
use crate::ollama::Ollama;

/// A model just created can be used after this long at the latest.
pub(crate) const POLL_EVERY: Duration = Duration::from_secs(10);

/// While Ollama does not answer it is asked more often: it is probably starting.
pub(crate) const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What is known of Ollama.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Models that may be announced.
    pub(crate) models: Vec<ModelInfo>,
    /// Names whose manifest forwards to another machine.
    pub(crate) remote: HashSet<String>,
    /// Ollama's version.
    pub(crate) version: Option<String>,
    /// Why the last question failed; none if it did not.
    pub(crate) error: Option<String>,
    /// When Ollama last answered.
    pub(crate) answered: Option<SystemTime>,
}

/// The shared record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog(Arc<Mutex<Arc<Known>>>);

impl Catalog {
    /// What is known now.
    pub(crate) fn known(&self) -> Arc<Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, known: Known) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
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
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// Asks Ollama for ever; `changed` gets every catalog that differs from the one before.
pub(crate) async fn poll(
    ollama: Ollama,
    settings: Settings,
    ceiling: Vec<Backend>,
    catalog: Catalog,
    changed: impl Fn(Vec<ModelInfo>) + Send,
) {
    let mut announced: Option<Vec<ModelInfo>> = None;
    loop {
        let before = catalog.known();
        let after = look(&ollama, &settings, &ceiling, &before).await;
        report(&before, &after);
        let answered = after.error.is_none();
        if answered && announced.as_ref() != Some(&after.models) {
            changed(after.models.clone());
            announced = Some(after.models.clone());
        }
        catalog.set(after);
        tokio::time::sleep(if answered { POLL_EVERY } else { RETRY_EVERY }).await;
    }
}

async fn look(ollama: &Ollama, settings: &Settings, ceiling: &[Backend], before: &Known) -> Known {
    let (tags, resident) = tokio::join!(ollama.metadata(Upstream::OllamaTags), ollama.metadata(Upstream::OllamaPs));
    let parsed = tags.and_then(|body| serde_json::from_slice(&body).map_err(|error| error.to_string()));
    let tags: Tags = match parsed {
        Ok(tags) => tags,
        Err(error) => return Known { error: Some(error), ..before.clone() },
    };
    // A slow or broken /api/ps costs only the mark "resident".
    let resident: Option<Tags> = resident.ok().and_then(|body| serde_json::from_slice(&body).ok());
    let resident: HashSet<String> = resident.into_iter().flat_map(|ps| ps.models).map(|model| model.name).collect();
    let version = match (&before.version, &before.error) {
        (Some(version), None) => Some(version.clone()),
        _ => version_of(ollama).await,
    };
    let mut known = Known { version, answered: Some(SystemTime::now()), ..Known::default() };
    for tag in tags.models {
        add(&mut known, tag, settings, ceiling, &resident);
    }
    known
}

fn add(known: &mut Known, tag: Tag, settings: &Settings, ceiling: &[Backend], resident: &HashSet<String>) {
    let Ok(name) = ModelName::parse(&tag.name) else { return };
    if name.is_cloud() || !tag.remote_host.is_empty() {
        known.remote.insert(name.short());
        return;
    }
    if !gate::is_allowed(&name, &settings.models) {
        return;
    }
    known.models.push(ModelInfo {
        resident: resident.contains(&tag.name),
        slots: settings.slots(name.as_short()),
        name: tag.name,
        digest: tag.digest,
        context: tag.details.context_length,
        capabilities: tag.capabilities,
        ceiling: ceiling.to_vec(),
    });
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
