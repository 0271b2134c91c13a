//! What is taken out of Ollama's metadata before it leaves the machine.
//!
//! `show` loses the owner's system prompt, messages, modelfile, licence and tensors; lists lose
//! models outside the allow-list and those that run elsewhere. An answer that needs no change
//! keeps its own bytes; one that is not understood is not passed on.

use causeway_dialect::model::ModelName;
use causeway_dialect::route::Upstream;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::gate;

/// Largest metadata answer, bytes: a verbose `show` with its vocabulary has some tens of MB and
/// is what this refuses; lists of a thousand models have under 1 MB.
pub(crate) const MAX_METADATA: usize = 8 * 1024 * 1024;

/// Keys of `show` that stay at home.
const SHOW_PRIVATE: [&str; 5] = ["system", "messages", "modelfile", "license", "tensors"];

/// Whether answers of this route must be whole and filtered.
pub(crate) const fn applies(route: Upstream) -> bool {
    matches!(route, Upstream::OllamaShow | Upstream::OllamaTags | Upstream::OllamaPs | Upstream::OpenAiModels)
}

/// The answer as it may leave; `None` where it is not what the route promises.
pub(crate) fn apply(route: Upstream, body: &[u8], allow: &[String]) -> Option<Vec<u8>> {
    if route == Upstream::OllamaShow {
        return show(body);
    }
    let key = if route == Upstream::OpenAiModels { "data" } else { "models" };
    list(body, key, allow)
}

fn show(body: &[u8]) -> Option<Vec<u8>> {
    let mut object: Map<String, Value> = serde_json::from_slice(body).ok()?;
    for key in SHOW_PRIVATE {
        object.remove(key);
    }
    serde_json::to_vec(&object).ok()
}

/// What a list entry says of its model, in either dialect.
#[derive(Deserialize)]
struct Listed {
    name: Option<String>,
    id: Option<String>,
    #[serde(default)]
    remote_host: String,
}

fn list(body: &[u8], key: &str, allow: &[String]) -> Option<Vec<u8>> {
    let mut object: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let Some(Value::Array(entries)) = object.get_mut(key) else {
        // Ollama's empty list is `null` on /v1/models.
        return Some(body.to_vec());
    };
    let before = entries.len();
    entries.retain(|entry| Listed::deserialize(entry).is_ok_and(|listed| is_shown(&listed, allow)));
    if entries.len() == before {
        return Some(body.to_vec());
    }
    serde_json::to_vec(&object).ok()
}

fn is_shown(listed: &Listed, allow: &[String]) -> bool {
    let Some(name) = listed.name.as_deref().or(listed.id.as_deref()) else { return false };
    let Ok(name) = ModelName::parse(name) else { return false };
    !name.is_cloud() && listed.remote_host.is_empty() && gate::is_allowed(&name, allow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(route: Upstream, body: &str, allow: &str) -> String {
        String::from_utf8(apply(route, body.as_bytes(), &[allow.to_owned()]).unwrap()).unwrap()
    }

    #[test]
    fn show_keeps_the_owners_texts_at_home() {
        let body = r#"{"license":"L","modelfile":"FROM x","system":"secret","messages":[],"tensors":[],"details":{"family":"llama"}}"#;
        assert_eq!(filtered(Upstream::OllamaShow, body, "*"), r#"{"details":{"family":"llama"}}"#);
    }

    #[test]
    fn a_list_that_needs_no_change_keeps_its_bytes() {
        let body = r#"{ "models": [ {"name":"a:latest", "size": 1} ] }"#;
        assert_eq!(filtered(Upstream::OllamaTags, body, "*"), body);
    }

    #[test]
    fn lists_lose_models_outside_the_allow_list_and_those_that_run_elsewhere() {
        let body = r#"{"models":[{"name":"a:1"},{"name":"b:1"},{"name":"a:cloud"},{"name":"a:2","remote_host":"https://ollama.com"}]}"#;
        assert_eq!(filtered(Upstream::OllamaTags, body, "a"), r#"{"models":[{"name":"a:1"}]}"#);
        let body = r#"{"data":[{"id":"a:1"},{"id":"b:1"}]}"#;
        assert_eq!(filtered(Upstream::OpenAiModels, body, "a"), r#"{"data":[{"id":"a:1"}]}"#);
    }

    #[test]
    fn an_answer_that_is_not_understood_is_not_passed_on() {
        assert_eq!(apply(Upstream::OllamaShow, b"system prompt", &[]), None);
    }
}
