//! Reading one JSON object member by member, so that each fault knows its place.
//!
//! Invariants: `null` is the same as an absent member, as in Ollama; what nobody took is listed as
//! dropped, under a bounded number of bounded names. Absent: what the members mean.

use memchr::{memchr, memchr2, memchr3_iter};
use serde_json::{Map, Value};

use crate::chat::BadRequest;

/// Names of dropped fields, count: they go into a header. A caller who needs more sends nonsense.
const MAX_DROPPED: usize = 32;

/// Length of one such name, characters: every real one is shorter.
const MAX_NAME: usize = 64;

/// Characters of a caller's word that a fault repeats: enough to recognise it.
const MAX_SHOWN: usize = 40;

/// Fields without effect, each named once, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    pub(super) names: Vec<String>,
}

impl Dropped {
    pub(super) fn add(&mut self, name: &str) {
        let name: String = name.chars().take(MAX_NAME).collect();
        if self.names.len() < MAX_DROPPED && !self.names.contains(&name) {
            self.names.push(name);
        }
    }
}

/// A JSON object that is being read.
#[derive(Debug)]
pub(super) struct Object {
    members: Map<String, Value>,
    /// Where it stands (`messages[0].content[1]`); empty for the body itself.
    place: String,
}

impl Object {
    pub(super) fn of(value: Value, place: String) -> Result<Self, BadRequest> {
        match value {
            Value::Object(members) => Ok(Self { members, place }),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Err(unexpected(&place, "an object", &other))
            }
        }
    }

    /// The place of one of its members.
    pub(super) fn at(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }

    /// A fault at one of its members.
    pub(super) fn fault(&self, key: &str, what: &str) -> BadRequest {
        BadRequest(format!("{}: {what}", self.at(key)))
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.members.shift_remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(unexpected(&self.at(key), "a string", &other)),
        }
    }

    /// A text that must be there and say something.
    pub(super) fn required_text(&mut self, key: &str) -> Result<String, BadRequest> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.fault(key, "a string that is not empty is required")),
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(unexpected(&self.at(key), "true or false", &other)),
        }
    }

    /// A number of 0 or more, at most `most`.
    pub(super) fn number(&mut self, key: &str, most: f64) -> Result<Option<f64>, BadRequest> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if (0.0..=most).contains(&number) => Ok(Some(number)),
            Some(_) => Err(self.fault(key, &format!("expected a number of 0 to {most}"))),
            None => Err(unexpected(&self.at(key), "a number", &value)),
        }
    }

    pub(super) fn integer(&mut self, key: &str) -> Result<Option<i64>, BadRequest> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(unexpected(&self.at(key), "a whole number", &value)),
        }
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, BadRequest> {
        self.take(key).map(|value| Self::of(value, self.at(key))).transpose()
    }

    /// An object whose members are the caller's own.
    pub(super) fn map(&mut self, key: &str) -> Result<Option<Map<String, Value>>, BadRequest> {
        Ok(self.object(key)?.map(|object| object.members))
    }

    pub(super) fn list(&mut self, key: &str, most: usize) -> Result<Option<Vec<Value>>, BadRequest> {
        self.take(key).map(|value| list(value, &self.at(key), most)).transpose()
    }

    /// Ends the reading: what is left had no effect. `prefix` names the kind of object and not its
    /// place, so that a field that every message repeats is listed once.
    pub(super) fn finish(self, prefix: &str, dropped: &mut Dropped) {
        for (key, value) in self.members {
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("cache_control", _) => dropped.add("cache_control"),
                (key, _) => dropped.add(&format!("{prefix}{key}")),
            }
        }
    }
}

/// The items of a list of bounded length.
pub(super) fn list(value: Value, place: &str, most: usize) -> Result<Vec<Value>, BadRequest> {
    match value {
        Value::Array(items) if items.len() <= most => Ok(items),
        Value::Array(items) => Err(BadRequest(format!("{place}: {} items; at most {most} are taken", items.len()))),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            Err(unexpected(place, "a list", &other))
        }
    }
}

/// The fault of a value of the wrong type; names the type and not the value, which may be a prompt.
pub(super) fn unexpected(place: &str, wanted: &str, found: &Value) -> BadRequest {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let place = if place.is_empty() { "the body" } else { place };
    BadRequest(format!("{place}: expected {wanted}, found {found}"))
}

/// A caller's word as a fault may repeat it.
pub(super) fn shown(word: &str) -> String {
    word.chars().take(MAX_SHOWN).flat_map(char::escape_default).collect()
}

/// JSON values in a body, about and without reading it: commas and opening brackets outside
/// strings. Bounds what a small body can grow to in memory.
pub(super) fn count_values(body: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = body;
    while let Some(string) = up_to_string(rest, &mut count) {
        rest = after_string(string);
    }
    count
}

/// Counts up to the next string; what follows its opening quote, if one begins.
fn up_to_string<'a>(bytes: &'a [u8], count: &mut usize) -> Option<&'a [u8]> {
    let end = memchr(b'"', bytes);
    let (plain, string) = bytes.split_at(end.unwrap_or(bytes.len()));
    *count += memchr3_iter(b',', b'[', b'{', plain).count();
    string.get(1..)
}

/// What follows the end of a string whose inside `bytes` begins with.
fn after_string(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some(place) = memchr2(b'"', b'\\', rest) {
        let escape = rest.get(place) == Some(&b'\\');
        rest = rest.get(place + if escape { 2 } else { 1 }..).unwrap_or_default();
        if !escape {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_strings_only() {
        for (body, count) in [
            (r#"{"a":1}"#, 1),
            (r#"{"a":[1,2,{"b":"x,[{"}]}"#, 5),
            (r#"{"a\\":[1,2]}"#, 3),
            (r#"{"a\",[{":1,"b":2}"#, 2),
            (r#"["unfinished,,,"#, 1),
            (r#"["\"#, 1),
            ("", 0),
        ] {
            assert_eq!(count_values(body.as_bytes()), count, "{body}");
        }
    }

    #[test]
    fn dropped_names_are_bounded_in_number_and_length() {
        let mut dropped = Dropped::default();
        for number in 0..1_000 {
            dropped.add(&format!("{number}{}", "é".repeat(1_000)));
        }
        assert_eq!(dropped.names.len(), MAX_DROPPED);
        assert!(dropped.names.iter().all(|name| name.chars().count() <= MAX_NAME));
    }

    #[test]
    fn a_field_that_every_message_repeats_is_listed_once() {
        let mut dropped = Dropped::default();
        for _ in 0..3 {
            let value = serde_json::json!({ "cache_control": {}, "odd": 1, "none": null });
            Object::of(value, String::new()).unwrap().finish("messages.", &mut dropped);
        }
        assert_eq!(dropped.names, ["cache_control", "messages.odd"]);
    }
}
