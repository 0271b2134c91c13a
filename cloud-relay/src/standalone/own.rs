//! The relay's own paths: liveness, readiness, edges, cancelling.

use std::time::Instant;

use causeway_dialect::model::ModelName;
use causeway_wire::Code;
use http::{Method, StatusCode};
use serde::Serialize;

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::limits::RETURN_PATH_FRESH;
use crate::standalone::answer::Reply;
use crate::standalone::relay::Relay;

const JSON: &str = "application/json";

/// `GET/HEAD /`.
pub(crate) fn root() -> Reply {
    Reply::own(StatusCode::OK, "text/plain; charset=utf-8", "Causeway is running")
}

/// `GET /healthz`: the process lives.
pub(crate) fn healthz() -> Reply {
    Reply::own(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

#[derive(Serialize)]
struct EdgeFacts {
    edge: String,
    software: String,
    connections: usize,
    streams: usize,
    draining: bool,
    /// Since something last arrived that answered something of ours.
    return_path_age_ms: Option<u64>,
    rtt_ms: Option<f64>,
    models: Vec<String>,
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edges: Option<Vec<EdgeFacts>>,
}

/// `GET /readyz`: an edge is linked and its return path is fresh. Details for who has a key.
pub(crate) fn readyz(relay: &Relay, key: Option<&Key>) -> Reply {
    let all = facts(relay);
    let fresh = |facts: &EdgeFacts| {
        let most = RETURN_PATH_FRESH.as_millis();
        facts.connections > 0 && facts.return_path_age_ms.is_some_and(|age| u128::from(age) <= most)
    };
    let ready = !relay.is_draining() && all.iter().any(fresh);
    let readiness = Readiness {
        ready,
        draining: key.map(|_| relay.is_draining()),
        store: key.map(|_| if relay.keys.healthy() { "ok" } else { "cannot be read" }),
        streams: key.map(|_| relay.running.count()),
        edges: key.map(|key| all.into_iter().filter_map(|facts| facts.within(key)).collect()),
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::own(status, JSON, serde_json::to_vec(&readiness).unwrap_or_default())
}

impl EdgeFacts {
    /// What a key may know of it: nothing outside its edges, no model outside its models.
    fn within(mut self, key: &Key) -> Option<Self> {
        self.models.retain(|model| ModelName::parse(model).is_ok_and(|name| key.allows_model(&name)));
        key.allows_edge(&self.edge).then_some(self)
    }
}

fn facts(relay: &Relay) -> Vec<EdgeFacts> {
    let now = Instant::now();
    let links = relay.registry.linked(&[]).into_iter();
    links
        .map(|choice| {
            let status = choice.handle.status();
            let age = status.return_path.map(|then| now.saturating_duration_since(then).as_millis());
            EdgeFacts {
                software: choice.handle.software().to_owned(),
                connections: status.connections,
                streams: status.streams,
                draining: status.draining,
                return_path_age_ms: age.map(|age| u64::try_from(age).unwrap_or(u64::MAX)),
                rtt_ms: status.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
                models: relay.registry.models_of(&choice.edge),
                edge: choice.edge,
            }
        })
        .collect()
}

/// Everything below `/causeway/`, for a known key.
///
/// # Errors
///
/// 403 without an admin key, 404 for an id that is no running request of this key's.
pub(crate) fn causeway(relay: &Relay, method: &Method, path: &str, key: &Key) -> Result<Reply, Refusal> {
    if let Some(id) = path.strip_prefix("/causeway/v1/requests/")
        && *method == Method::DELETE
    {
        if !relay.running.cancel(&key.id, id) {
            return Err(Refusal::invalid("no request with this id is running").with_status(404));
        }
        return Ok(Reply::own(StatusCode::OK, JSON, "{\"cancelled\":true}"));
    }
    if path == "/causeway/v1/edges" && *method == Method::GET {
        if !key.admin {
            return Err(Refusal::new(Code::RouteNotAllowed, "this needs a key made with --admin"));
        }
        let body = serde_json::json!({ "edges": facts(relay) });
        return Ok(Reply::own(StatusCode::OK, JSON, body.to_string()));
    }
    Err(Refusal::invalid("there is nothing at this path").with_status(404))
}
