//! Whether a request can reach an edge, and what each key may know of it.

use std::time::Duration;

use causeway_dialect::model::ModelName;
use serde::Serialize;

use crate::core::auth::Key;
use crate::core::limits::RETURN_PATH_FRESH;

/// One linked edge, as the shell sees it now.
#[derive(Clone, PartialEq, Debug)]
pub struct Linked {
    /// Name.
    pub edge: String,
    /// Program and version.
    pub software: String,
    /// Welcomed, live connections, count.
    pub connections: usize,
    /// Requests running there, count.
    pub streams: usize,
    /// It takes no new requests.
    pub draining: bool,
    /// Since something last arrived that answered something of ours.
    pub return_path: Option<Duration>,
    /// Last round trip.
    pub rtt: Option<Duration>,
    /// Models in its newest catalog, short names.
    pub models: Vec<String>,
}

/// What readiness is judged by.
#[derive(Clone, PartialEq, Debug)]
pub struct Facts {
    /// The relay takes no new requests.
    pub draining: bool,
    /// The store could be read when it was last looked at.
    pub store: bool,
    /// Requests in flight, count.
    pub streams: usize,
    /// All linked edges.
    pub edges: Vec<Linked>,
}

#[derive(Serialize)]
struct Edge {
    edge: String,
    software: String,
    connections: usize,
    streams: usize,
    draining: bool,
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
    edges: Option<Vec<Edge>>,
}

#[derive(Serialize)]
struct Edges {
    edges: Vec<Edge>,
}

impl Linked {
    /// A new request would reach it, and its answer would come back.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.connections > 0 && !self.draining && self.return_path.is_some_and(|age| age <= RETURN_PATH_FRESH)
    }

    fn shown(self) -> Edge {
        Edge {
            edge: self.edge,
            software: self.software,
            connections: self.connections,
            streams: self.streams,
            draining: self.draining,
            return_path_age_ms: self.return_path.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            rtt_ms: self.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            models: self.models,
        }
    }

    /// What a key may know of it: nothing outside its edges, no model outside its models.
    fn within(mut self, key: &Key) -> Option<Edge> {
        self.models.retain(|model| ModelName::parse(model).is_ok_and(|name| key.allows_model(&name)));
        key.allows_edge(&self.edge).then(|| self.shown())
    }
}

/// `GET /readyz`: whether an edge can be reached, and the JSON body. Details are for who has a key.
#[must_use]
pub fn readyz(facts: Facts, key: Option<&Key>) -> (bool, Vec<u8>) {
    let ready = !facts.draining && facts.edges.iter().any(Linked::is_reachable);
    let readiness = Readiness {
        ready,
        draining: key.map(|_| facts.draining),
        store: key.map(|_| if facts.store { "ok" } else { "cannot be read" }),
        streams: key.map(|_| facts.streams),
        edges: key.map(|key| facts.edges.into_iter().filter_map(|edge| edge.within(key)).collect()),
    };
    (ready, json(&readiness))
}

/// `GET /causeway/v1/edges`, for an admin key.
#[must_use]
pub fn edges(edges: Vec<Linked>) -> Vec<u8> {
    json(&Edges { edges: edges.into_iter().map(Linked::shown).collect() })
}

/// Texts, numbers and lists are always JSON.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked() -> Linked {
        Linked {
            edge: "gpu-1".to_owned(),
            software: "causewayd/1".to_owned(),
            connections: 1,
            streams: 0,
            draining: false,
            return_path: Some(RETURN_PATH_FRESH),
            rtt: Some(Duration::from_millis(2)),
            models: vec!["qwen3:8b".to_owned(), "secret:latest".to_owned()],
        }
    }

    fn facts(edges: Vec<Linked>) -> Facts {
        Facts { draining: false, store: true, streams: 3, edges }
    }

    #[test]
    fn ready_means_that_a_new_request_would_reach_an_edge_and_come_back() {
        let stale = Linked { return_path: Some(RETURN_PATH_FRESH + Duration::from_millis(1)), ..linked() };
        let silent = Linked { return_path: None, ..linked() };
        let cut = Linked { connections: 0, ..linked() };
        let leaving = Linked { draining: true, ..linked() };
        for (edges, expected) in [
            (vec![], false),
            (vec![stale.clone()], false),
            (vec![silent], false),
            (vec![cut], false),
            (vec![leaving], false),
            (vec![stale, linked()], true),
        ] {
            assert_eq!(readyz(facts(edges.clone()), None).0, expected, "{edges:?}");
        }
        assert!(!readyz(Facts { draining: true, ..facts(vec![linked()]) }, None).0);
    }

    #[test]
    fn without_a_key_only_the_answer_is_told_and_with_one_what_is_in_its_scope() {
        let body = |key: Option<&Key>| String::from_utf8(readyz(facts(vec![linked()]), key).1).unwrap();
        assert_eq!(body(None), "{\"ready\":true}");
        let scoped = body(Some(&Key::for_test(&["qwen3:*"])));
        assert!(scoped.contains("\"models\":[\"qwen3:8b\"]") && scoped.contains("\"store\":\"ok\""), "{scoped}");
        assert!(scoped.contains("\"rtt_ms\":2.0") && scoped.contains("\"return_path_age_ms\":30000"), "{scoped}");
        let elsewhere = Key { edges: vec!["gpu-9".to_owned()], ..Key::for_test(&[]) };
        assert!(body(Some(&elsewhere)).ends_with("\"edges\":[]}"));
    }

    #[test]
    fn an_operator_sees_every_edge() {
        let body = String::from_utf8(edges(vec![linked()])).unwrap();
        assert!(body.contains("\"edge\":\"gpu-1\"") && body.contains("secret:latest"), "{body}");
    }
}
