//! Whether a list of tools has one with which Ollama itself would ask ollama.com.
//!
//! Invariants: what cannot be read counts as such a tool, for Ollama's reader may be laxer than ours
//! (depth, half characters, numbers out of range); nothing is built of the tools. Absent: what else
//! they say.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Key, folds_to};

/// Whether one of `tools` is of a type that begins with `web_search` (on `/v1/responses` and
/// `/v1/messages`), or cannot be read. A caller's own function may be called so.
pub(super) fn asks_the_web(tools: &RawValue) -> bool {
    // What is no list, Ollama refuses.
    if !tools.get().trim_ascii_start().starts_with('[') {
        return false;
    }
    let mut json = serde_json::Deserializer::from_str(tools.get());
    json.deserialize_seq(List).is_err()
}

/// Ends with an error at the first tool of that type.
struct List;

impl<'a> Visitor<'a> for List {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tools")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut tools: A) -> Result<(), A::Error> {
        while let Some(tool) = tools.next_element::<&'a RawValue>()? {
            if tool.get().starts_with('{') {
                let mut json = serde_json::Deserializer::from_str(tool.get());
                json.deserialize_map(Tool).map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }
}

struct Tool;

impl<'a> Visitor<'a> for Tool {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tool")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        // Every one: of several Go keeps the last that is no null.
        while let Some(key) = members.next_key_seed(Key)? {
            let value: &'a RawValue = members.next_value()?;
            if folds_to(&key, "type") && value.get().starts_with('"') {
                let kind: String = serde_json::from_str(value.get()).map_err(A::Error::custom)?;
                if kind.to_ascii_lowercase().starts_with("web_search") {
                    return Err(A::Error::custom("it asks the web"));
                }
            }
        }
        Ok(())
    }
}
