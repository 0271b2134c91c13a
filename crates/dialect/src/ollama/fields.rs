//! Reads a caller's JSON object member by member, so that every fault names its place.
//!
//! Values stay slices of the body until their type is asked for: nothing is built of what is not
//! wanted, and a picture of megabytes is not copied before it is checked. A key that Ollama would
//! fold onto one we know must be written that way, otherwise it would pass by us to Ollama. Absent:
//! what the members mean.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::chat::BadRequest;
use crate::envelope::folds_to;

/// Largest free JSON (a schema, a call's arguments, options, an unknown field), bytes: as a tree it
/// takes up to 16 times as much memory, and no model reads a schema of megabytes.
pub const MAX_FREE: usize = 4 * 1024 * 1024;

/// Members of one object, count: the largest that a dialect knows has under 40.
pub const MAX_MEMBERS: usize = 256;

/// Places kept in [`Dropped`], count: they travel in one response header.
const MAX_DROPPED: usize = 32;

/// Bytes of a key or reason that a fault shows: a caller's own words, as many as one reads.
const MAX_SHOWN: usize = 160;

/// Characters of one kept place: as above.
const MAX_PLACE: usize = 64;

/// One object, and where it stands in the body.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    place: String,
    members: Vec<(String, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// The body itself. `known`: every key that has a meaning here.
    pub(crate) fn of_body(body: &'a [u8], known: &[&str]) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(body)
            .map_err(|error| BadRequest(format!("the body is not UTF-8 at byte {}", error.valid_up_to())))?;
        let members: Members<'a> = serde_json::from_str(text)
            .map_err(|error| BadRequest(format!("the body: expected a JSON object ({})", cut(&error.to_string()))))?;
        Self { place: String::new(), members: members.0 }.checked(known)
    }

    /// An object within the body.
    pub(crate) fn of(raw: &'a RawValue, place: String, known: &[&str]) -> Result<Self, BadRequest> {
        let members: Members<'a> = serde_json::from_str(raw.get()).map_err(|_| expected(&place, "an object"))?;
        Self { place, members: members.0 }.checked(known)
    }

    fn checked(self, known: &[&str]) -> Result<Self, BadRequest> {
        for (key, _) in &self.members {
            if let Some(name) = known.iter().find(|name| *name != key && folds_to(key, name)) {
                let shown: String = key.chars().flat_map(char::escape_default).collect();
                return Err(BadRequest(format!("{}: must be written `{name}`", self.place_of(&shown))));
            }
        }
        Ok(self)
    }

    /// Where a member stands: `messages[2].content`.
    pub(crate) fn place_of(&self, name: &str) -> String {
        let name = cut(name);
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// Takes a member out; none where it is absent or null, which Go reads alike.
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let place = self.members.iter().position(|(key, _)| key == name)?;
        let (_, value) = self.members.remove(place);
        (value.get() != "null").then_some(value)
    }

    fn typed<T: Deserialize<'a>>(&mut self, name: &str, what: &str) -> Result<Option<T>, BadRequest> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| expected(&self.place_of(name), what))
    }

    /// A text; borrowed where it has no escapes.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, BadRequest> {
        let text: Option<Text<'a>> = self.typed(name, "a string")?;
        Ok(text.map(|text| text.0))
    }

    /// A text; none where it is empty, which Ollama reads as absent.
    pub(crate) fn some_text(&mut self, name: &str) -> Result<Option<String>, BadRequest> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()).map(Cow::into_owned))
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, BadRequest> {
        self.typed(name, "true or false")
    }

    pub(crate) fn whole(&mut self, name: &str) -> Result<Option<i64>, BadRequest> {
        self.typed(name, "a whole number")
    }

    /// A list of at most `most` items; each with its place.
    pub(crate) fn list(&mut self, name: &str, most: usize) -> Result<Option<Vec<(&'a RawValue, String)>>, BadRequest> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        let place = self.place_of(name);
        let items = items(raw, &place, most)?;
        let placed = |(number, raw)| (raw, format!("{place}[{number}]"));
        Ok(Some(items.into_iter().enumerate().map(placed).collect()))
    }

    /// An object whose members are the caller's business.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, BadRequest> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        match free(raw, &self.place_of(name))? {
            Value::Object(members) => Ok(Some(members)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(expected(&self.place_of(name), "an object"))
            }
        }
    }

    /// Members that nobody took, as they are; together at most [`MAX_FREE`] bytes.
    pub(crate) fn rest(self) -> Result<Map<String, Value>, BadRequest> {
        let size: usize = self.members.iter().map(|(_, raw)| raw.get().len()).sum();
        if size > MAX_FREE {
            return Err(BadRequest(format!("fields that no dialect knows hold {size} bytes, at most {MAX_FREE}")));
        }
        let mut rest = Map::new();
        for (name, raw) in &self.members {
            let value = free(raw, &self.place_of(name))?;
            rest.insert(name.clone(), value);
        }
        Ok(rest)
    }

    /// Notes the members that nobody took: neither Ollama nor anyone else reads them.
    pub(crate) fn drop_rest(self, dropped: &mut Dropped) {
        for (name, _) in &self.members {
            dropped.note(&self.place_of(name));
        }
    }
}

/// Any JSON within the bounds.
pub(crate) fn free(raw: &RawValue, place: &str) -> Result<Value, BadRequest> {
    let size = raw.get().len();
    if size > MAX_FREE {
        return Err(BadRequest(format!("{place}: {size} bytes of JSON, at most {MAX_FREE}")));
    }
    serde_json::from_str(raw.get()).map_err(|error| BadRequest(format!("{place}: cannot be read ({error})")))
}

/// The items of a list, at most `most` of them.
pub(crate) fn items<'a>(raw: &'a RawValue, place: &str, most: usize) -> Result<Vec<&'a RawValue>, BadRequest> {
    let mut over = false;
    let mut json = serde_json::Deserializer::from_str(raw.get());
    let items = json.deserialize_seq(Bounded { most, over: &mut over });
    match items {
        Ok(items) => Ok(items),
        Err(_) if over => Err(BadRequest(format!("{place}: more than {most} items"))),
        Err(_) => Err(expected(place, "an array")),
    }
}

/// A text on its own.
pub(crate) fn text_of<'a>(raw: &'a RawValue, place: &str) -> Result<Cow<'a, str>, BadRequest> {
    let text: Result<Text<'a>, _> = serde_json::from_str(raw.get());
    text.map(|text| text.0).map_err(|_| expected(place, "a string"))
}

/// The beginning of what a caller chose the length of.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_SHOWN)).unwrap_or_default()
}

/// The fault of a value of another type.
pub(crate) fn expected(place: &str, what: &str) -> BadRequest {
    BadRequest(format!("{place}: expected {what}"))
}

/// Names of what has no effect anywhere, each once, without the numbers of items.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    names: Vec<String>,
}

impl Dropped {
    pub(crate) fn note(&mut self, place: &str) {
        let mut inside = false;
        let mut name: String = place
            .chars()
            .filter(|c| {
                inside = (inside || *c == '[') && *c != ']';
                !inside && *c != ']' && (c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
            })
            .collect();
        name.truncate(MAX_PLACE);
        if self.names.len() < MAX_DROPPED && !name.is_empty() && !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        self.names
    }
}

/// A text that borrows where it can, and bears what JavaScript writes of half a surrogate pair:
/// U+FFFD stands for it, as in Go.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Text(String::from_utf8_lossy(bytes)))
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        // A half pair comes as three bytes that are no UTF-8: one mark stands for them.
        let text = String::from_utf8_lossy(bytes);
        let text = if text.contains("\u{FFFD}\u{FFFD}\u{FFFD}") && std::str::from_utf8(bytes).is_err() {
            text.replace("\u{FFFD}\u{FFFD}\u{FFFD}", "\u{FFFD}")
        } else {
            text.into_owned()
        };
        Ok(Text(Cow::Owned(text)))
    }
}

/// The members of an object; of equal keys the last stays, as in Go.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(MembersVisitor).map(Members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            if let Some((_, earlier)) = members.iter_mut().find(|(earlier, _)| *earlier == key) {
                *earlier = value;
            } else if members.len() < MAX_MEMBERS {
                members.push((key, value));
            } else {
                return Err(A::Error::custom(format_args!("more than {MAX_MEMBERS} keys")));
            }
        }
        Ok(members)
    }
}

/// Counts while it reads, so that a list of a million nothings costs nothing.
struct Bounded<'r> {
    most: usize,
    over: &'r mut bool,
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == self.most {
                *self.over = true;
                return Err(A::Error::custom("too many"));
            }
            items.push(item);
        }
        Ok(items)
    }
}
