//! One answer about models from several edges' answers, within a key's scope.

use std::collections::{BTreeMap, HashSet};

use causeway_dialect::model::ModelName;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::core::auth::Key;

/// What `POST /api/show` says that no caller gets: what the owner wrote into the model, and bulk.
const HIDDEN: [&str; 5] = ["system", "messages", "modelfile", "license", "tensors"];

/// Which list of models an answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListKind {
    /// `{"models":[{"name":…}]}`: tags and ps.
    Ollama,
    /// `{"object":"list","data":[{"id":…}]}`.
    OpenAi,
}

#[derive(Deserialize)]
struct OllamaList<'a> {
    #[serde(borrow, default)]
    models: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct OpenAiList<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "id")]
    name: Option<String>,
}

/// The union of lists, in order; of a model that several edges have, the first entry stays, in its
/// edge's own bytes. Entries outside the key's scope and answers that are no list are left out.
#[must_use]
pub fn union(kind: ListKind, bodies: &[impl AsRef<[u8]>], key: &Key) -> Vec<u8> {
    let mut seen = HashSet::new();
    let mut out: Vec<u8> = match kind {
        ListKind::Ollama => b"{\"models\":[".to_vec(),
        ListKind::OpenAi => b"{\"object\":\"list\",\"data\":[".to_vec(),
    };
    let mut first = true;
    for body in bodies {
        for raw in entries(kind, body.as_ref()) {
            let entry: Option<Entry> = serde_json::from_str(raw.get()).ok();
            let Some(model) = entry.and_then(|entry| ModelName::parse(&entry.name?).ok()) else {
                continue;
            };
            if key.allows_model(&model) && seen.insert(model) {
                if !std::mem::replace(&mut first, false) {
                    out.push(b',');
                }
                out.extend_from_slice(raw.get().as_bytes());
            }
        }
    }
    out.extend_from_slice(b"]}");
    out
}

fn entries(kind: ListKind, body: &[u8]) -> Vec<&RawValue> {
    let entries = match kind {
        ListKind::Ollama => serde_json::from_slice(body).ok().and_then(|list: OllamaList<'_>| list.models),
        ListKind::OpenAi => serde_json::from_slice(body).ok().and_then(|list: OpenAiList<'_>| list.data),
    };
    entries.unwrap_or_default()
}

/// A `show` answer without what no caller gets; `None` if it is no JSON object.
#[must_use]
pub fn filter_show(body: &[u8]) -> Option<Vec<u8>> {
    // Values stay in the edge's own bytes: a tree of them would take many times their room.
    let mut object: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    // Go's clients ignore case, so the filter does too.
    object.retain(|name, _| !HIDDEN.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)));
    serde_json::to_vec(&object).ok()
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// The answer with the lowest version, in its own bytes. Versions compare by their numbers; a
/// pre-release is lower than its release.
#[must_use]
pub fn lowest_version<'a, B: AsRef<[u8]>>(bodies: &'a [B]) -> Option<&'a B> {
    let parsed = |body: &&'a B| {
        let version: Version = serde_json::from_slice((*body).as_ref()).ok()?;
        Some(rank(&version.version))
    };
    bodies.iter().filter(|body| parsed(body).is_some()).min_by_key(|body| parsed(body))
}

fn rank(version: &str) -> (Vec<u64>, bool, String) {
    let (numbers, suffix) = version.split_once('-').unwrap_or((version, ""));
    let numbers = numbers.trim_start_matches('v').split('.').map(|part| part.parse().unwrap_or(0)).collect();
    (numbers, suffix.is_empty(), suffix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_united_in_the_edges_own_bytes() {
        let a = r#"{"models":[{"name":"qwen3:8b","size":1.50},{"name":"llama3:latest"}]}"#;
        let b = r#"{"models":[{ "name":"QWEN3:8b" },{"name":"phi4"}, {"bad":1}, 7]}"#;
        let both = union(ListKind::Ollama, &[a, b, "nonsense", r#"{"models":null}"#], &Key::for_test(&[]));
        assert_eq!(
            String::from_utf8(both).unwrap(),
            r#"{"models":[{"name":"qwen3:8b","size":1.50},{"name":"llama3:latest"},{"name":"phi4"}]}"#
        );
        let scoped = union(ListKind::Ollama, &[a, b], &Key::for_test(&["phi4", "llama3"]));
        assert_eq!(String::from_utf8(scoped).unwrap(), r#"{"models":[{"name":"llama3:latest"},{"name":"phi4"}]}"#);
        let none: [&str; 0] = [];
        assert_eq!(union(ListKind::OpenAi, &none, &Key::for_test(&[])), b"{\"object\":\"list\",\"data\":[]}");
        let list = r#"{"object":"list","data":[{"id":"qwen3:8b","object":"model"}]}"#;
        assert_eq!(union(ListKind::OpenAi, &[list], &Key::for_test(&[])), list.as_bytes());
    }

    #[test]
    fn show_loses_what_the_owner_wrote_in_any_case_of_its_name() {
        let body =
            r#"{"system":"s","System":"s","messages":[],"modelfile":"m","license":"l","tensors":[],"details":{"a":1}}"#;
        assert_eq!(filter_show(body.as_bytes()).unwrap(), br#"{"details":{"a":1}}"#);
        assert_eq!(filter_show(b"[]"), None);
    }

    #[test]
    fn the_lowest_version_is_lowest_by_number() {
        let bodies = [r#"{"version":"0.10.0"}"#, r#"{"version":"0.9.2"}"#, r#"{"version":"0.9.10"}"#, "x"];
        assert_eq!(lowest_version(&bodies), Some(&bodies[1]));
        let bodies = [r#"{"version":"0.33.0"}"#, r#"{"version":"0.33.0-rc2"}"#];
        assert_eq!(lowest_version(&bodies), Some(&bodies[1]));
        assert_eq!(lowest_version(&["x"]), None);
    }
}
