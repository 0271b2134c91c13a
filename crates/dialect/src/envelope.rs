//! The top level of a request body: read by the relay, re-serialised by the daemon.
//!
//! Ollama decodes with Go's `encoding/json`: it ignores case under Unicode simple folding and
//! takes the last of several keys. So that nothing reaches Ollama but what was authorised, keys
//! that carry a decision may stand once, in their one spelling. Values below the top level are
//! checked for being JSON (without recursion) and otherwise left alone.

mod web;

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Keys that decide what runs, and where.
const GUARDED: [&str; 5] = ["model", "name", "stream", "options", "keep_alive"];

/// Top-level keys of one body, count: bounds the memory of rewriting (dialects know under 40).
const MAX_KEYS: usize = 256;

/// What the top level says. Nothing below it is parsed, only checked for being JSON.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    /// `model` (or `name` where the route takes that).
    pub model: Option<String>,
    /// `stream`, if said.
    pub stream: Option<bool>,
}

/// Why a body is refused (400 `invalid_request`); the message names the key and the cure.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadBody(pub String);

/// Reads a JSON object's top level. Refuses: not UTF-8, not JSON, not an object, trailing bytes,
/// and duplicate or case-folded variants (Unicode simple folding, as Go compares: `ſtream`,
/// U+212A) among `model, name, stream, options, keep_alive`.
///
/// # Errors
///
/// Anything of the above, `model` or `stream` of another type, `model` and `name` that differ, or
/// more than 256 keys.
pub fn read(body: &[u8]) -> Result<Envelope, BadBody> {
    let mut model = None;
    let mut name = None;
    let mut stream = None;
    walk(body, |key, value| {
        match key.as_ref() {
            "model" => model = text_of("model", value)?,
            "name" => name = text_of("name", value)?,
            "stream" => stream = flag_of(value)?,
            _ => {}
        }
        Ok(())
    })?;
    if let (Some(model), Some(name)) = (&model, &name)
        && model != name
    {
        return Err(BadBody("`model` and `name` differ; send only `model`".to_owned()));
    }
    Ok(Envelope { model: model.or(name), stream })
}

/// The same object with `model` and `stream` set to what the relay authorised; every other
/// top-level value keeps its bytes and place; of duplicated other keys the last stays.
/// `None` leaves a value as it is; a `name` beside or instead of `model` is set too.
///
/// # Errors
///
/// As for [`read`], and a tool with which Ollama itself would ask ollama.com.
pub fn rewrite(body: &[u8], model: Option<&str>, stream: Option<bool>) -> Result<Vec<u8>, BadBody> {
    let mut members: Vec<(Cow<'_, str>, &str)> = Vec::new();
    walk(body, |key, value| {
        if folds_to(&key, "tools") && web::asks_the_web(value) {
            return Err(BadBody(
                "a tool of type `web_search` would make Ollama send the question to ollama.com; leave it out, or \
                 offer a function of your own"
                    .to_owned(),
            ));
        }
        match members.iter_mut().find(|(earlier, _)| *earlier == key) {
            Some((_, earlier)) => *earlier = value.get(),
            None => members.push((key, value.get())),
        }
        Ok(())
    })?;
    let model = model.map(quote);
    if let Some(model) = &model {
        set(&mut members, "model", model);
        if let Some((_, name)) = members.iter_mut().find(|(key, _)| key == "name") {
            *name = model;
        }
    }
    match stream {
        Some(true) => set(&mut members, "stream", "true"),
        Some(false) => set(&mut members, "stream", "false"),
        None => {}
    }
    let mut out = Vec::with_capacity(body.len() + 64);
    out.push(b'{');
    for (place, (key, value)) in members.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(quote(key).as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
    Ok(out)
}

fn set<'a>(members: &mut Vec<(Cow<'a, str>, &'a str)>, key: &'static str, value: &'a str) {
    match members.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => *old = value,
        None => members.push((Cow::Borrowed(key), value)),
    }
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn text_of(key: &str, value: &RawValue) -> Result<Option<String>, BadBody> {
    let text: Option<String> =
        serde_json::from_str(value.get()).map_err(|_| BadBody(format!("`{key}` must be a string")))?;
    // Ollama's own command sends `"name":""` beside the model.
    Ok(text.filter(|text| !text.is_empty()))
}

fn flag_of(value: &RawValue) -> Result<Option<bool>, BadBody> {
    serde_json::from_str(value.get()).map_err(|_| BadBody("`stream` must be true or false".to_owned()))
}

/// Calls `each` with every top-level member in order, after the checks that `read` promises.
fn walk<'a>(
    body: &'a [u8],
    each: impl FnMut(Cow<'a, str>, &'a RawValue) -> Result<(), BadBody>,
) -> Result<(), BadBody> {
    let text = std::str::from_utf8(body)
        .map_err(|error| BadBody(format!("the body is not UTF-8 at byte {}", error.valid_up_to())))?;
    if text.trim_ascii().is_empty() {
        return Err(BadBody("the body is empty; send a JSON object".to_owned()));
    }
    let mut refusal = None;
    let members = Members { each, seen: [false; GUARDED.len()], refusal: &mut refusal };
    let mut json = serde_json::Deserializer::from_str(text);
    let outcome = json.deserialize_map(members).and_then(|()| json.end());
    match (refusal, outcome) {
        (Some(refusal), _) => Err(refusal),
        (None, Err(error)) => Err(BadBody(format!("the body is not a JSON object: {error}"))),
        (None, Ok(())) => Ok(()),
    }
}

struct Members<'r, F> {
    each: F,
    seen: [bool; GUARDED.len()],
    /// Our own reason, kept beside serde's error so that its text needs no parsing.
    refusal: &'r mut Option<BadBody>,
}

impl<F> Members<'_, F> {
    /// A guarded key must stand once and in its one spelling.
    fn check(&mut self, key: &str) -> Result<(), BadBody> {
        let Some(place) = GUARDED.iter().position(|guarded| folds_to(key, guarded)) else {
            return Ok(());
        };
        let guarded = GUARDED[place];
        if key != guarded {
            let shown: String = key.chars().flat_map(char::escape_default).collect();
            return Err(BadBody(format!("key `{shown}` must be written `{guarded}`")));
        }
        if std::mem::replace(&mut self.seen[place], true) {
            return Err(BadBody(format!("key `{guarded}` stands twice; send it once")));
        }
        Ok(())
    }
}

impl<'a, F> Visitor<'a> for Members<'_, F>
where
    F: FnMut(Cow<'a, str>, &'a RawValue) -> Result<(), BadBody>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut count = 0;
        while let Some(key) = map.next_key_seed(Key)? {
            let value: &'a RawValue = map.next_value()?;
            count += 1;
            let outcome = if count > MAX_KEYS {
                Err(BadBody(format!("the body has more than {MAX_KEYS} top-level keys")))
            } else {
                self.check(&key).and_then(|()| (self.each)(key, value))
            };
            if let Err(refusal) = outcome {
                *self.refusal = Some(refusal);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// A decoded key, borrowed where it has no escapes.
struct Key;

impl<'a> DeserializeSeed<'a> for Key {
    type Value = Cow<'a, str>;

    fn deserialize<D: serde::Deserializer<'a>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Key {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Unicode simple folding onto an ASCII key. Besides the letters themselves only two characters
/// fold to ASCII: U+017F (long s) and U+212A (Kelvin sign).
pub(crate) fn folds_to(key: &str, guarded: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        _ => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(guarded.chars())
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
