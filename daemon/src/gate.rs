//! What may reach Ollama: judged here again, whatever the relay decided.
//!
//! Invariant: a [`Plan`] is the only way to Ollama, and holds a route of the closed table and a
//! model of the allow-list; the raw target is never used again. Absent: the body (`job.rs`).

use std::time::Duration;

use causeway_dialect::model::ModelName;
use causeway_dialect::route::{self, Shape, Target, Upstream};
use causeway_wire::{Backend, Code, Failure, Open};

use crate::catalog::Local;
use crate::routes::Routes;

/// A request that may run.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Plan {
    /// Where it goes.
    pub(crate) route: Upstream,
    /// How its answer looks.
    pub(crate) shape: Shape,
    /// The model, reduced; none for lists.
    pub(crate) model: Option<String>,
    /// The caller's hard deadline for the first token.
    pub(crate) deadline: Option<Duration>,
    /// It gives way to others.
    pub(crate) batch: bool,
    /// What cannot be honoured is refused, not left out.
    pub(crate) strict: bool,
    /// What Ollama says of the model.
    pub(crate) local: Local,
    /// Where it may run.
    pub(crate) allow: Allowed,
    /// This machine does not have the model.
    pub(crate) is_absent: bool,
}

/// Backends that all who have a say leave to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Allowed {
    pub(crate) local: bool,
    pub(crate) bedrock: bool,
}

/// Judges `open`. `allow` are the patterns of `ollama.models`; `is_remote` knows models that
/// Ollama would forward to another machine.
pub(crate) fn judge(
    open: &Open,
    allow: &[String],
    routes: &Routes,
    is_remote: impl Fn(&str) -> bool,
) -> Result<Plan, Failure> {
    let route = match route::classify(&open.method, &open.path) {
        Target::Upstream(route) => route,
        Target::Root | Target::Causeway | Target::Forbidden(_) | Target::WrongMethod(..) | Target::Unknown(_) => {
            let message = format!(
                "{} {} is not served: only inference and read-only routes reach the Ollama of an edge",
                printable(&open.method),
                printable(&open.path)
            );
            return Err(Failure::new(Code::RouteNotAllowed, message));
        }
    };
    let name = named_model(open, route)?;
    let model = match &name {
        Some(name) => Some(permitted(name, allow, is_remote)?),
        None => None,
    };
    let allow = allowed(open, routes, route, name.as_ref())?;
    let deadline = open.policy.deadline_ms.filter(|_| open.policy.hard).map(Duration::from_millis);
    let strict = open.headers.iter().any(|(name, value)| name == "x-causeway-strict" && value == "true");
    let (shape, batch) = (route.shape().of_answer(open.stream), open.policy.batch);
    Ok(Plan { route, shape, model, deadline, batch, strict, local: Local::default(), allow, is_absent: false })
}

/// The model that the request is about; for a path with a name the path's own.
fn named_model(open: &Open, route: Upstream) -> Result<Option<ModelName>, Failure> {
    let text = if route == Upstream::OpenAiModel { route::model_in_path(&open.path) } else { open.model.clone() };
    match text {
        Some(text) => match ModelName::parse(&text) {
            Ok(name) => Ok(Some(name)),
            Err(error) => Err(Failure::new(Code::InvalidRequest, error.to_string())),
        },
        None if route.names_model() => {
            Err(Failure::new(Code::InvalidRequest, "the request names no model: set \"model\""))
        }
        None => Ok(None),
    }
}

/// What owner and relay both allow. Vectors of another model, and lists, are no answer to the same question.
fn allowed(open: &Open, routes: &Routes, route: Upstream, name: Option<&ModelName>) -> Result<Allowed, Failure> {
    let owner = name.map_or_else(|| routes.general(), |name| routes.ceiling(name));
    let both = |backend| owner.contains(&backend) && open.policy.allow.contains(&backend);
    let local = both(Backend::Local) || !route.is_inference();
    let asked_there = route.is_inference() && !route.makes_vectors() || route == Upstream::AnthropicCountTokens;
    let bedrock = both(Backend::Bedrock) && asked_there;
    if local || bedrock {
        return Ok(Allowed { local, bedrock });
    }
    let message = "no backend is left for this request: what its route and key allow, this edge does not (its \
                   [privacy] and [overflow]), or it cannot be asked of Bedrock";
    Err(Failure::new(Code::RouteConflict, message))
}

fn permitted(name: &ModelName, allow: &[String], is_remote: impl Fn(&str) -> bool) -> Result<String, Failure> {
    if name.is_cloud() || is_remote(name.as_short()) {
        let message = format!(
            "`{name}` runs on another machine than the edge's own (an Ollama cloud model), which this edge does \
             not allow: choose a local model"
        );
        return Err(Failure::new(Code::RouteConflict, message));
    }
    if !is_allowed(name, allow) {
        let message = format!("this edge does not offer `{name}`: its ollama.models leaves it out");
        return Err(Failure::new(Code::ModelNotFound, message));
    }
    Ok(name.short())
}

/// Whether a pattern of the allow-list covers the model.
pub(crate) fn is_allowed(name: &ModelName, allow: &[String]) -> bool {
    allow.iter().any(|pattern| name.matches(pattern))
}

/// The relay's text for a message: short, without control characters.
fn printable(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{open, overflow_to, routes_of};

    fn judged(open: &Open, allow: &str) -> Result<Plan, Code> {
        let routes = routes_of(&overflow_to("http://127.0.0.1:1", "mapped*"));
        judge(open, &[allow.to_owned()], &routes, |name| name == "forwarded:latest").map_err(|failure| failure.code)
    }

    #[test]
    fn management_account_and_debug_routes_are_refused_in_every_spelling() {
        for (method, path) in [
            ("POST", "/api/pull"),
            ("DELETE", "/api/delete"),
            ("POST", "//api/pull"),
            ("POST", "/api/../api/delete"),
            ("POST", "/api%2fpull"),
            ("POST", "/API/PULL"),
            ("GET", "http://127.0.0.1:9180/api/status"),
            ("GET", "/debug/pprof/cmdline"),
            ("POST", "/api/me"),
            ("GET", "/"),
            ("GET", "/api/status"),
            ("GET", "/metrics"),
            ("GET", "/api/chat"),
        ] {
            assert_eq!(judged(&open(method, path, Some("m")), "*"), Err(Code::RouteNotAllowed), "{method} {path}");
        }
    }

    #[test]
    fn a_model_outside_the_allow_list_is_not_offered() {
        let outside = open("POST", "/api/chat", Some("LIBRARY/Llama3"));
        assert_eq!(judged(&outside, "qwen*"), Err(Code::ModelNotFound));
        let inside = judged(&open("POST", "/api/chat", Some("Qwen3:8B")), "qwen*").unwrap();
        assert_eq!(inside.model.as_deref(), Some("qwen3:8b"));
    }

    #[test]
    fn cloud_models_and_local_names_for_remote_ones_are_refused() {
        for model in ["gpt-oss:120b-cloud", "kimi:cloud", "forwarded"] {
            assert_eq!(judged(&open("POST", "/v1/responses", Some(model)), "*"), Err(Code::RouteConflict), "{model}");
        }
        assert_eq!(judged(&open("GET", "/v1/models/kimi:cloud", None), "*"), Err(Code::RouteConflict));
    }

    #[test]
    fn a_request_that_may_not_run_locally_has_no_backend() {
        let mut elsewhere = open("POST", "/api/chat", Some("m"));
        elsewhere.policy.allow = vec![Backend::Bedrock];
        assert_eq!(judged(&elsewhere, "*"), Err(Code::RouteConflict));
        for path in ["/api/embed", "/api/embeddings", "/v1/embeddings"] {
            let mut vectors = open("POST", path, Some("mapped"));
            vectors.policy.allow = vec![Backend::Bedrock];
            assert_eq!(judged(&vectors, "*"), Err(Code::RouteConflict), "{path}");
        }
    }

    #[test]
    fn a_mapped_model_may_go_where_the_relay_leaves_it() {
        let mut mapped = open("POST", "/api/chat", Some("mapped"));
        for (allow, local, bedrock) in [
            (vec![Backend::Local], true, false),
            (vec![Backend::Bedrock], false, true),
            (vec![Backend::Local, Backend::Bedrock], true, true),
        ] {
            mapped.policy.allow = allow;
            assert_eq!(judged(&mapped, "*").unwrap().allow, Allowed { local, bedrock });
        }
        mapped.policy.allow = vec![Backend::OllamaCloud];
        assert_eq!(judged(&mapped, "*"), Err(Code::RouteConflict));
        mapped.model = Some("mapped:cloud".to_owned());
        mapped.policy.allow = vec![Backend::Local, Backend::Bedrock];
        assert_eq!(judged(&mapped, "*"), Err(Code::RouteConflict), "a cloud model overflows nowhere");
    }

    #[test]
    fn an_inference_request_without_a_model_is_invalid() {
        assert_eq!(judged(&open("POST", "/api/chat", None), "*"), Err(Code::InvalidRequest));
        assert!(judged(&open("GET", "/api/tags", None), "*").is_ok());
    }

    #[test]
    fn only_a_hard_deadline_ends_a_request() {
        let mut hard = open("POST", "/api/chat", Some("m"));
        hard.policy.deadline_ms = Some(250);
        assert_eq!(judged(&hard, "*").unwrap().deadline, None);
        hard.policy.hard = true;
        assert_eq!(judged(&hard, "*").unwrap().deadline, Some(Duration::from_millis(250)));
    }

    #[test]
    fn the_stream_flag_that_the_relay_read_decides_the_shape() {
        let mut chat = open("POST", "/api/chat", Some("m"));
        assert_eq!(judged(&chat, "*").unwrap().shape, Shape::Ndjson);
        chat.stream = Some(false);
        assert_eq!(judged(&chat, "*").unwrap().shape, Shape::Whole);
        let v1 = open("POST", "/v1/chat/completions", Some("m"));
        assert_eq!(judged(&v1, "*").unwrap().shape, Shape::Whole);
    }
}
