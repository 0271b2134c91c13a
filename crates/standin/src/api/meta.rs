//! What the stand-in says of itself and its models.
//!
//! Invariant: everything here that could be taken for a real Ollama names the stand-in.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde_json::{Value, json};

use super::ask::Ask;
use super::{Dialect, Reply, details, error, find, ok, ok_line, text};
use crate::answer::{rfc3339, unix};
use crate::server::Shared;
use crate::slots::Slots;
use crate::text::seed;

/// The version recorded from a real Ollama, marked as a stand-in's.
const VERSION: &str = "0.24.0-standin";

/// Ollama keeps a model this long after its last use.
const KEEP_ALIVE: Duration = Duration::from_secs(300);

/// The read-only routes.
pub(super) fn get(shared: &Shared, path: &str) -> Reply {
    match path {
        "/" => text(StatusCode::OK, "text/plain; charset=utf-8", "Ollama is running"),
        "/api/version" => ok(&json!({"version": VERSION})),
        "/api/status" => ok(&json!({"cloud": {"disabled": true, "source": "env"}})),
        "/api/tags" => list(shared.models().iter().map(|slots| tag(slots)).collect()),
        "/api/ps" => list(shared.models().iter().filter(|slots| slots.resident()).map(|slots| loaded(slots)).collect()),
        _ => openai(shared, path),
    }
}

fn list(models: Vec<Value>) -> Reply {
    ok(&json!({"models": models}))
}

fn openai(shared: &Shared, path: &str) -> Reply {
    let object = |slots: &Slots| json!({"id": slots.model.name, "object": "model", "created": unix(slots.modified), "owned_by": "library"});
    match path.strip_prefix("/v1/models/") {
        Some(name) => match find(shared, Some(name), false) {
            Ok(slots) => ok_line(&object(&slots)),
            Err((status, words)) => error(Dialect::OpenAi, status, &words),
        },
        None if path == "/v1/models" => {
            let data: Vec<Value> = shared.models().iter().map(|slots| object(slots)).collect();
            ok_line(&json!({"object": "list", "data": data}))
        }
        None => text(StatusCode::NOT_FOUND, "text/plain", "404 page not found"),
    }
}

fn digest(slots: &Slots) -> String {
    format!("{:064x}", seed(&slots.model.name))
}

fn tag(slots: &Slots) -> Value {
    let name = &slots.model.name;
    let mut tag = json!({"name": name, "model": name, "modified_at": rfc3339(slots.modified).to_string(), "size": 1,
        "digest": digest(slots), "details": details()});
    if let (Some(host), Some(tag)) = (&slots.model.remote_host, tag.as_object_mut()) {
        tag.insert("remote_model".to_owned(), name.as_str().into());
        tag.insert("remote_host".to_owned(), host.as_str().into());
    }
    tag
}

fn loaded(slots: &Slots) -> Value {
    let name = &slots.model.name;
    json!({"name": name, "model": name, "size": 1, "digest": digest(slots), "details": details(),
        "expires_at": rfc3339(SystemTime::now() + KEEP_ALIVE).to_string(), "size_vram": 0,
        "context_length": slots.model.context})
}

/// `POST /api/show`.
pub(super) fn show(shared: &Shared, body: &[u8]) -> Reply {
    let found = Ask::parse(body).and_then(|ask| find(shared, ask.model.as_deref(), false));
    let slots = match found {
        Ok(slots) => slots,
        Err((status, words)) => return error(Dialect::Ollama, status, &words),
    };
    let model = &slots.model;
    let able = [
        ("completion", model.writes),
        ("embedding", !model.writes),
        ("tools", model.tools),
        ("vision", model.vision),
        ("thinking", model.thinking),
    ];
    let capabilities: Vec<&str> = able.into_iter().filter_map(|(name, has)| has.then_some(name)).collect();
    ok(&json!({
        "modelfile": "# The stand-in has no model file\n", "parameters": "", "template": "{{ .Prompt }}",
        "details": details(),
        "model_info": {"general.architecture": "causeway-standin", "general.parameter_count": 0,
            "causeway-standin.context_length": slots.model.context,
            "causeway-standin.embedding_length": slots.model.embedding},
        "tensors": [], "capabilities": capabilities, "modified_at": rfc3339(slots.modified).to_string(),
    }))
}
