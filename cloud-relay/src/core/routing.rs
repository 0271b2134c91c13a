//! Which edge takes a request: all linked edges that have the model and are in the key's scope,
//! power of two choices over predicted wait. Generic over the shell's handle on an edge.

use std::collections::HashMap;
use std::time::Duration;

use causeway_dialect::model::ModelName;
use causeway_policy::predicted_wait;
use causeway_wire::{Code, InstanceId, Load, ModelInfo};

use crate::core::errors::Refusal;
use crate::core::route::{Allowed, conflict};

/// How long an answer takes where no edge has given one yet: a short chat. Only its being more than
/// nothing matters, so that requests spread.
const UNKNOWN_ANSWER: Duration = Duration::from_secs(1);

/// What the relay knows of its edges.
#[derive(Debug)]
pub struct Directory<H> {
    edges: HashMap<String, Edge<H>>,
}

impl<H> Default for Directory<H> {
    fn default() -> Self {
        Self { edges: HashMap::new() }
    }
}

#[derive(Debug)]
struct Edge<H> {
    handle: H,
    instance: InstanceId,
    linked: bool,
    /// A catalog arrived; before that any model is tried.
    listed: bool,
    models: HashMap<ModelName, Model>,
}

/// One model of one edge.
#[derive(Clone, Copy, Debug)]
struct Model {
    /// In the newest catalog.
    offered: bool,
    /// Who may answer it there at most.
    ceiling: Allowed,
    slots: u32,
    answer: Duration,
    /// In flight and queued there, as its newest load says.
    loaded: u32,
    /// Ours in flight now, and when that load arrived.
    own: u32,
    own_then: u32,
}

impl Default for Model {
    /// Of a model that no catalog has named yet: its edge will judge.
    fn default() -> Self {
        let (offered, ceiling, answer) = (false, Allowed::ANY, Duration::ZERO);
        Self { offered, ceiling, slots: 0, answer, loaded: 0, own: 0, own_then: 0 }
    }
}

impl Model {
    /// In flight now: what the load said, plus ours opened since, less ours ended since; never
    /// fewer than ours.
    fn in_flight(&self) -> u32 {
        let since = self.loaded.saturating_add(self.own).saturating_sub(self.own_then);
        since.max(self.own)
    }

    /// `unknown`: how long an answer takes where this edge has not given one yet.
    fn wait(&self, unknown: Duration) -> Duration {
        if !self.ceiling.local {
            // Nothing waits for a slot where Bedrock alone answers.
            return Duration::ZERO;
        }
        let answer = if self.answer.is_zero() { unknown } else { self.answer };
        predicted_wait(self.in_flight(), self.slots, answer)
    }
}

/// What a request needs of an edge.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// The key's edges; none means all.
    pub scope: &'a [String],
    /// The one edge the caller wants.
    pub pin: Option<&'a str>,
    /// Edges that were tried.
    pub tried: &'a [String],
    /// Requests of one session go to one edge, whose prompt cache then knows what was said.
    pub session: Option<Session>,
    /// Who may answer it.
    pub allowed: Allowed,
}

/// A caller's session, of one key. The same on every relay and after every restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session(u64);

impl Session {
    /// The session that a key's caller named so.
    #[must_use]
    pub fn new(key: &str, name: &str) -> Self {
        Self(mixed(&[key.as_bytes(), name.as_bytes()]))
    }
}

/// A session stays at its edge for this much more waiting than elsewhere: about what reading a long
/// prompt anew would cost.
const FAITHFUL: Duration = Duration::from_secs(2);

/// FNV-1a over parts, each ended so that no two lists of them are alike; the last step spreads the
/// bits (the finalizer of MurmurHash3).
fn mixed(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.iter().copied().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// The edge that takes a request, which is counted there until [`Directory::ended`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice<H> {
    /// Name.
    pub edge: String,
    /// Its run.
    pub instance: InstanceId,
    /// The shell's handle.
    pub handle: H,
    /// Who may answer there: what the request allows and the edge's owner too.
    pub allowed: Allowed,
}

impl<H: Clone> Directory<H> {
    /// A link came up. The same run of the edge keeps what is known of it.
    pub fn up(&mut self, edge: &str, instance: InstanceId, handle: H) {
        match self.edges.get_mut(edge) {
            Some(known) if known.instance == instance => {
                known.linked = true;
                known.handle = handle;
            }
            Some(_) | None => {
                let fresh = Edge { handle, instance, linked: true, listed: false, models: HashMap::new() };
                self.edges.insert(edge.to_owned(), fresh);
            }
        }
    }

    /// A link went down; its catalog is remembered, so that the model's absence can be explained.
    pub fn down(&mut self, edge: &str, instance: InstanceId) {
        if let Some(known) = self.known(edge, instance) {
            known.linked = false;
        }
    }

    /// A whole new catalog. Names that Ollama could not have are left out.
    pub fn catalog(&mut self, edge: &str, instance: InstanceId, models: &[ModelInfo]) {
        let Some(known) = self.known(edge, instance) else {
            return;
        };
        known.listed = true;
        for model in known.models.values_mut() {
            model.offered = false;
        }
        for info in models {
            if let Ok(name) = ModelName::parse(&info.name) {
                let model = known.models.entry(name).or_default();
                model.offered = true;
                model.ceiling = Allowed::ceiling(&info.ceiling);
                model.slots = info.slots;
            }
        }
        known.models.retain(|_, model| model.offered || model.own > 0);
    }

    /// Newer load: models it does not name have none.
    pub fn load(&mut self, edge: &str, instance: InstanceId, load: &Load) {
        let Some(known) = self.known(edge, instance) else {
            return;
        };
        for model in known.models.values_mut() {
            model.loaded = 0;
            model.own_then = model.own;
        }
        for entry in &load.models {
            let name = ModelName::parse(&entry.model).ok();
            if let Some(model) = name.and_then(|name| known.models.get_mut(&name)) {
                model.loaded = entry.in_flight.saturating_add(entry.queued);
                if entry.answer_ms > 0 {
                    model.answer = Duration::from_millis(entry.answer_ms);
                }
            }
        }
    }

    /// Chooses an edge and counts the request there. `random` decides between equals.
    ///
    /// # Errors
    ///
    /// `model_not_found` where linked edges are known not to have it, `edge_offline` where the
    /// edges that might are not linked, `route_conflict` for a pin outside the key's scope and where
    /// no owner of the model allows what the request does.
    pub fn choose(&mut self, wanted: Wanted<'_>, random: u64) -> Result<Choice<H>, Refusal> {
        check_pin(wanted.scope, wanted.pin)?;
        let eligible = |name: &str| {
            in_scope(wanted.scope, name)
                && wanted.pin.is_none_or(|pin| pin == name)
                && !wanted.tried.iter().any(|tried| tried == name)
        };
        let left = |edge: &Edge<H>| {
            edge.models.get(wanted.model).filter(|model| model.offered).map(|model| wanted.allowed.and(model.ceiling))
        };
        let offers = |edge: &Edge<H>| left(edge).is_some_and(|left| !left.is_empty());
        let linked = || self.edges.iter().filter(|(name, edge)| edge.linked && eligible(name));
        // An edge whose catalog is still on its way is tried only if no other one has the model.
        let mut candidates: Vec<(&String, &Edge<H>)> = linked().filter(|(_, edge)| offers(edge)).collect();
        // Where a machine has the model itself, none that only has it at Bedrock is asked: the first
        // goes there too, if it must.
        if candidates.iter().any(|(_, edge)| left(edge).is_some_and(|left| left.local)) {
            candidates.retain(|(_, edge)| left(edge).is_some_and(|left| left.local));
        }
        if candidates.is_empty() {
            candidates = linked().filter(|(_, edge)| !edge.listed).collect();
        }
        let load = |edge: &Edge<H>| edge.models.get(wanted.model).copied().unwrap_or_default();
        let chosen = match candidates.as_slice() {
            [] => return Err(self.explain(wanted, &eligible)),
            [only] => only.0.clone(),
            many => {
                let (first, second) = two_of(many.len(), random);
                // An edge without an answer yet must not look faster than all others for ever.
                let slowest = many.iter().map(|(_, edge)| load(edge).answer).max().unwrap_or_default();
                let unknown = slowest.max(UNKNOWN_ANSWER);
                let key = |index: usize| {
                    many.get(index).map(|(_, edge)| {
                        let model = load(edge);
                        (model.wait(unknown), model.in_flight())
                    })
                };
                let free = if key(second) < key(first) { second } else { first };
                // The edge of the greatest hash: it changes only for sessions whose edge goes or comes.
                let home = wanted.session.and_then(|Session(session)| {
                    let names = many.iter().map(|(name, _)| mixed(&[&session.to_le_bytes(), name.as_bytes()]));
                    names.enumerate().max_by_key(|(_, hash)| *hash).map(|(index, _)| index)
                });
                let wait = |index: usize| key(index).map(|(wait, _)| wait).unwrap_or_default();
                let index = home.filter(|home| wait(*home) <= wait(free).saturating_add(FAITHFUL)).unwrap_or(free);
                many.get(index).map(|(name, _)| (*name).clone()).unwrap_or_default()
            }
        };
        let Some(edge) = self.edges.get_mut(&chosen) else {
            return Err(Refusal::new(Code::EdgeOffline, "the edge went away; try again"));
        };
        let model = edge.models.entry(wanted.model.clone()).or_default();
        model.own += 1;
        let allowed = wanted.allowed.and(model.ceiling);
        Ok(Choice { edge: chosen, instance: edge.instance, handle: edge.handle.clone(), allowed })
    }

    /// The shortest predicted wait for a slot among the edges that could take a request now, tried
    /// or not; `None` where no linked edge is known to have the model.
    #[must_use]
    pub fn wait(&self, wanted: Wanted<'_>) -> Option<Duration> {
        let eligible = |name: &str| in_scope(wanted.scope, name) && wanted.pin.is_none_or(|pin| pin == name);
        let linked = self.edges.iter().filter(|(name, edge)| edge.linked && eligible(name));
        let models = linked.filter_map(|(_, edge)| edge.models.get(wanted.model));
        let may = |model: &&Model| model.offered && !model.ceiling.and(wanted.allowed).is_empty();
        models.filter(may).map(|model| model.wait(UNKNOWN_ANSWER)).min()
    }

    /// This run of an edge is linked.
    #[must_use]
    pub fn is_linked(&self, edge: &str, instance: InstanceId) -> bool {
        self.edges.get(edge).is_some_and(|known| known.linked && known.instance == instance)
    }

    /// Whether a linked edge that was not tried is known to take such a request.
    #[must_use]
    pub fn has_another(&self, wanted: Wanted<'_>) -> bool {
        self.edges.iter().any(|(name, edge)| {
            let model = edge.models.get(wanted.model).filter(|model| model.offered);
            edge.linked
                && in_scope(wanted.scope, name)
                && wanted.pin.is_none_or(|pin| pin == name)
                && !wanted.tried.contains(name)
                && model.is_some_and(|model| !wanted.allowed.and(model.ceiling).is_empty())
        })
    }

    /// Another run of this edge has linked since: the one of this instance is gone for good.
    #[must_use]
    pub fn is_gone(&self, edge: &str, instance: InstanceId) -> bool {
        self.edges.get(edge).is_some_and(|known| known.instance != instance)
    }

    /// A request that [`Self::choose`] counted is over.
    pub fn ended(&mut self, edge: &str, instance: InstanceId, model: &ModelName) {
        let Some(edge) = self.known(edge, instance) else {
            return;
        };
        if let Some(entry) = edge.models.get_mut(model) {
            entry.own = entry.own.saturating_sub(1);
            // Names come from callers: what no catalog has is not remembered.
            if entry.own == 0 && !entry.offered {
                edge.models.remove(model);
            }
        }
    }

    /// The edges that a question to all of them goes to: every linked one within the key's scope,
    /// in order of their names, or the one that the caller wants.
    ///
    /// # Errors
    ///
    /// As for [`Self::choose`]: `route_conflict` for a pin outside the key's scope, `edge_offline`
    /// for one that is not linked.
    pub fn asked(&self, scope: &[String], pin: Option<&str>) -> Result<Vec<Choice<H>>, Refusal> {
        check_pin(scope, pin)?;
        let mut linked = self.linked(scope);
        if let Some(pin) = pin {
            linked.retain(|choice| choice.edge == pin);
            if linked.is_empty() {
                return Err(not_linked(Some(pin)));
            }
        }
        Ok(linked)
    }

    /// Linked edges within a key's scope, in order of their names.
    #[must_use]
    pub fn linked(&self, scope: &[String]) -> Vec<Choice<H>> {
        let mut linked: Vec<Choice<H>> = self
            .edges
            .iter()
            .filter(|(name, edge)| edge.linked && in_scope(scope, name))
            .map(|(name, edge)| Choice {
                edge: name.clone(),
                instance: edge.instance,
                handle: edge.handle.clone(),
                allowed: Allowed::ANY,
            })
            .collect();
        linked.sort_by(|a, b| a.edge.cmp(&b.edge));
        linked
    }

    /// Models in an edge's newest catalog, short names in order.
    #[must_use]
    pub fn models_of(&self, edge: &str) -> Vec<String> {
        let models = self.edges.get(edge).map(|edge| &edge.models);
        let mut names: Vec<String> =
            models.into_iter().flatten().filter(|(_, model)| model.offered).map(|(name, _)| name.short()).collect();
        names.sort();
        names
    }

    fn known(&mut self, edge: &str, instance: InstanceId) -> Option<&mut Edge<H>> {
        self.edges.get_mut(edge).filter(|known| known.instance == instance)
    }

    fn explain(&self, wanted: Wanted<'_>, eligible: &dyn Fn(&str) -> bool) -> Refusal {
        let model = wanted.model.as_short();
        let known = || self.edges.iter().filter(|(name, _)| eligible(name)).map(|(_, edge)| edge);
        if !known().any(|edge| edge.linked) {
            return not_linked(wanted.pin);
        }
        let may =
            |edge: &Edge<H>| edge.models.get(wanted.model).map(|model| !wanted.allowed.and(model.ceiling).is_empty());
        if known().any(|edge| !edge.linked && may(edge) == Some(true)) {
            let message = format!("the edge that has `{model}` is not linked; check that causewayd runs there");
            return Refusal::new(Code::EdgeOffline, message);
        }
        if known().any(|edge| may(edge) == Some(false)) {
            return no_backend(wanted.allowed, model);
        }
        Refusal::new(
            Code::ModelNotFound,
            format!("model '{model}' not found on any linked edge; pull it there, or list models with GET /api/tags"),
        )
    }
}

/// The model is there, and no owner of it allows what the request does.
fn no_backend(allowed: Allowed, model: &str) -> Refusal {
    match (allowed.local, allowed.bedrock) {
        (false, true) => conflict(format!(
            "only Amazon Bedrock may answer this request, and no owner of `{model}` allows that; send \
             x-causeway-route: auto"
        )),
        (true, false) => conflict(format!(
            "only an edge's own machine may answer this request, and none has `{model}`: it is answered by Amazon \
             Bedrock alone; send x-causeway-route: auto with a key that is not local-only"
        )),
        (_, _) => conflict(format!("the owner of `{model}` allows no backend that is served here")),
    }
}

fn in_scope(scope: &[String], edge: &str) -> bool {
    scope.is_empty() || scope.iter().any(|name| name == edge)
}

/// Refuses a pin that the key's scope does not have.
fn check_pin(scope: &[String], pin: Option<&str>) -> Result<(), Refusal> {
    match pin.filter(|pin| !in_scope(scope, pin)) {
        Some(pin) => Err(Refusal::new(Code::RouteConflict, format!("this key may not use the edge `{pin}`"))),
        None => Ok(()),
    }
}

fn not_linked(pin: Option<&str>) -> Refusal {
    let message = match pin {
        Some(pin) => format!("the edge `{pin}` is not linked; start causewayd there, or leave x-causeway-edge out"),
        None => "no edge is linked; check that causewayd runs on the GPU machine".to_owned(),
    };
    Refusal::new(Code::EdgeOffline, message)
}

/// Two different indexes under `count` (at least 2).
fn two_of(count: usize, random: u64) -> (usize, usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX).max(2);
    let first = (random & u64::from(u32::MAX)) % count;
    let second = (first + 1 + (random >> 32) % (count - 1)) % count;
    (usize::try_from(first).unwrap_or(0), usize::try_from(second).unwrap_or(0))
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
