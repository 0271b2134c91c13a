//! A caller's JSON taken apart field by field, so that every fault says where it lies.
//!
//! Invariants: `null` is an absent field, as in Ollama; a value is looked for under its exact name;
//! what was not taken remains and can be reported. The memory of a body is bounded before it is
//! parsed. Absent: what the fields mean.

use std::fmt;

use memchr::memchr2;
use serde_json::{Map, Value};

use super::{MAX_DROPPED, MAX_VALUES};
use crate::chat::BadRequest;

/// Where in the body a value stands; written as `messages[2].content[0].type`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Top,
    Key(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    pub(super) fn wants(&self, expected: &str) -> BadRequest {
        BadRequest(format!("{self}: expected {expected}"))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => f.write_str("the body"),
            Self::Key(Self::Top, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// What one request may still cost.
#[derive(Debug)]
pub(super) struct Budget {
    values: usize,
    pub(super) images: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { values: MAX_VALUES, images: super::MAX_IMAGES }
    }

    /// Parses one object out of `json`.
    pub(super) fn object(&mut self, json: &[u8], at: &Place<'_>) -> Result<Map<String, Value>, BadRequest> {
        match self.values.checked_sub(count(json)) {
            Some(left) => self.values = left,
            None => return Err(BadRequest(format!("{at}: more than {MAX_VALUES} JSON values in one request"))),
        }
        serde_json::from_slice(json).map_err(|error| BadRequest(format!("{at}: not a JSON object: {error}")))
    }
}

/// Values in a JSON text, at least: what opens or follows within containers. Never too few, whatever
/// the bytes are, for a parser that gets as far.
fn count(json: &[u8]) -> usize {
    let mut values = 1;
    let mut rest = json.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b',' | b'{' | b'[' => values += 1,
            b'"' => {
                let text = rest.as_slice();
                rest = text.get(string_end(text)..).unwrap_or_default().iter();
            }
            _ => {}
        }
    }
    values
}

/// Bytes up to and with the quote that ends a string.
fn string_end(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        match text.get(at - 1) {
            Some(b'\\') => at += 1,
            _ => return at,
        }
    }
    text.len()
}

/// An object whose fields are taken one by one.
pub(super) struct Fields<'p> {
    map: Map<String, Value>,
    at: &'p Place<'p>,
}

impl<'p> Fields<'p> {
    pub(super) fn new(map: Map<String, Value>, at: &'p Place<'p>) -> Self {
        Self { map, at }
    }

    pub(super) fn of(value: Value, at: &'p Place<'p>) -> Result<Self, BadRequest> {
        match value {
            Value::Object(map) => Ok(Self { map, at }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(at.wants("an object"))
            }
        }
    }

    /// The fault of a field.
    pub(super) fn wants(&self, key: &str, expected: &str) -> BadRequest {
        Place::Key(self.at, key).wants(expected)
    }

    pub(super) fn at(&self) -> &'p Place<'p> {
        self.at
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wants(key, "a string")),
        }
    }

    /// A text that must be there and say something.
    pub(super) fn name(&mut self, key: &str) -> Result<String, BadRequest> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.wants(key, "a string that is not empty")),
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wants(key, "true or false")),
        }
    }

    pub(super) fn whole(&mut self, key: &str) -> Result<Option<i64>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| self.wants(key, "a whole number of 64 bits")),
        }
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| self.wants(key, "a number")),
        }
    }

    pub(super) fn list(&mut self, key: &str, most: usize) -> Result<Option<Vec<Value>>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(list)) if list.len() <= most => Ok(Some(list)),
            Some(_) => Err(self.wants(key, &format!("a list of at most {most}"))),
        }
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Map<String, Value>>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(self.wants(key, "an object")),
        }
    }

    /// Names of what nobody took.
    fn rest(self) -> impl Iterator<Item = String> {
        self.map.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key)
    }
}

/// Names of fields without effect.
#[derive(Debug, Default)]
pub(super) struct Dropped(Vec<String>);

impl Dropped {
    pub(super) fn add(&mut self, name: &str) {
        if self.0.len() < MAX_DROPPED && !self.0.iter().any(|known| known == name) {
            self.0.push(name.to_owned());
        }
    }

    /// All that nobody took of an object; `within`: the objects round it, with a dot at the end.
    pub(super) fn rest(&mut self, within: &str, fields: Fields<'_>) {
        for key in fields.rest() {
            self.add(&format!("{within}{}", shown(&key)));
        }
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.0
    }
}

/// Characters of a caller's own key that are shown, count: the longest field of the dialect has 22.
const SHOWN: usize = 40;

/// A key as it can stand in a header.
fn shown(key: &str) -> String {
    key.chars().take(SHOWN).flat_map(char::escape_default).collect()
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
