//! The links as the hub tells of them, kept in the core's directory.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_dialect::model::ModelName;
use causeway_transport::{HubEvents, RelayLink};
use causeway_wire::{InstanceId, Load, ModelInfo};
use tokio::sync::Notify;

use crate::core::ceilings::{Ceilings, EVERY, Said};
use crate::core::errors::Refusal;
use crate::core::route::Allowed;
use crate::core::routing::{Choice, Directory, Wanted};
use crate::standalone::books::Books;

/// How long after a new run's first frame it is known here at the latest: its `hello` is answered first.
const SUPERSEDED: Duration = Duration::from_millis(500);

/// A link that comes back within this time was a blip, and its edge goes on with what it had: dialling
/// anew takes well under a second.
const BLIP: Duration = Duration::from_secs(2);

/// All edges.
pub(crate) struct Registry {
    directory: Mutex<Directory<RelayLink>>,
    /// What edges have said of their models, those that are gone too.
    ceilings: Mutex<Ceilings>,
    /// Keeps that.
    books: Arc<Books>,
    /// Told whenever a link came up or went down, or has other models.
    changed: Notify,
}

impl Registry {
    /// No edge is linked yet; `ceilings` are of those that were.
    pub(crate) fn new(ceilings: Ceilings, books: Arc<Books>) -> Self {
        let (directory, changed) = (Mutex::default(), Notify::new());
        Self { directory, ceilings: Mutex::new(ceilings), books, changed }
    }

    /// What all edges that ever offered a model say of its going to Bedrock.
    pub(crate) fn said_of(&self, model: &ModelName) -> Said {
        self.ceilings.lock().unwrap_or_else(PoisonError::into_inner).of(model)
    }

    fn lock(&self) -> MutexGuard<'_, Directory<RelayLink>> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses an edge; the request counts there until the guard is dropped.
    pub(crate) fn choose(self: &Arc<Self>, wanted: Wanted<'_>) -> Result<(RelayLink, Counted), Refusal> {
        let choice = self.lock().choose(wanted, rand::random())?;
        let counted = Counted {
            registry: Arc::clone(self),
            edge: choice.edge,
            instance: choice.instance,
            model: wanted.model.clone(),
            allowed: choice.allowed,
        };
        Ok((choice.handle, counted))
    }

    /// Whether that run of an edge is gone for good. The next one's `hello` ends its streams a moment
    /// before it is known here: that moment is waited.
    pub(crate) async fn is_gone(&self, counted: &Counted) -> bool {
        let gone = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                if self.lock().is_gone(&counted.edge, counted.instance) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(SUPERSEDED, gone).await.is_ok()
    }

    /// Ends once a request is better asked elsewhere: that run of its edge has been without a link for
    /// longer than a blip, and another edge would take it.
    pub(crate) async fn left_behind(&self, edge: &str, instance: InstanceId, wanted: Wanted<'_>) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.lock().is_linked(edge, instance) {
                tokio::time::sleep(BLIP).await;
                let directory = self.lock();
                if !directory.is_linked(edge, instance) && directory.has_another(wanted) {
                    return;
                }
            }
            changed.await;
        }
    }

    /// When a slot for such a request is predicted to be free.
    pub(crate) fn wait(&self, wanted: Wanted<'_>) -> Option<Duration> {
        self.lock().wait(wanted)
    }

    /// The edges that a question to all of them goes to.
    pub(crate) fn asked(&self, scope: &[String], pin: Option<&str>) -> Result<Vec<Choice<RelayLink>>, Refusal> {
        self.lock().asked(scope, pin)
    }

    /// Linked edges within a key's scope.
    pub(crate) fn linked(&self, scope: &[String]) -> Vec<Choice<RelayLink>> {
        self.lock().linked(scope)
    }

    /// Models in an edge's newest catalog.
    pub(crate) fn models_of(&self, edge: &str) -> Vec<String> {
        self.lock().models_of(edge)
    }
}

impl HubEvents for Registry {
    fn up(&self, link: &RelayLink) {
        tracing::info!(edge = link.edge(), software = link.software(), "edge linked");
        self.lock().up(link.edge(), link.edge_instance(), link.clone());
        self.changed.notify_waiters();
    }

    fn down(&self, link: &RelayLink) {
        tracing::info!(edge = link.edge(), "edge gone");
        self.lock().down(link.edge(), link.edge_instance());
        self.changed.notify_waiters();
    }

    fn catalog(&self, link: &RelayLink, models: Vec<ModelInfo>) {
        let new = self.ceilings.lock().unwrap_or_else(PoisonError::into_inner).announce(link.edge(), &models);
        if new.iter().any(|word| word.model == EVERY) {
            let edge = link.edge();
            tracing::warn!(edge, "it offers more models than are remembered: the relay itself asks Bedrock for none");
        }
        self.books.note_ceilings(new);
        self.lock().catalog(link.edge(), link.edge_instance(), &models);
        self.changed.notify_waiters();
    }

    fn load(&self, link: &RelayLink, load: Load) {
        self.lock().load(link.edge(), link.edge_instance(), &load);
    }
}

/// A request in flight at an edge.
pub(crate) struct Counted {
    registry: Arc<Registry>,
    edge: String,
    instance: InstanceId,
    model: ModelName,
    allowed: Allowed,
}

impl Counted {
    /// The edge's name.
    pub(crate) fn edge(&self) -> &str {
        &self.edge
    }

    /// Its run.
    pub(crate) fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Who may answer the request there.
    pub(crate) fn allowed(&self) -> Allowed {
        self.allowed
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.registry.lock().ended(&self.edge, self.instance, &self.model);
    }
}
