//! Reads a caller's JSON object member by member, so that every fault names its place.
//!
//! Values stay slices of the body until their type is asked for: nothing is built of what is not
//! wanted, and a picture of megabytes is not copied before it is checked. Invariants: `null` is an
//! absent member; trees are built of at most [`MAX_FREE`] bytes and [`MAX_VALUES`] values, and at most
//! [`MAX_OBJECTS`] objects are read of one body; a fault never shows a value. Absent: what the members mean.

mod dropped;
pub(crate) mod free;
mod json;

use std::borrow::Cow;
use std::cell::Cell;
use std::iter::Enumerate;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::Deserializer as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub(crate) use dropped::Dropped;
use json::{Bounded, Members, Text};

use crate::chat::BadRequest;
use crate::envelope::folds_to;

/// Largest free JSON of one request (schemas, arguments of calls, options, unknown fields; together),
/// bytes: no model's context holds megabytes of it.
pub const MAX_FREE: usize = 4 * 1024 * 1024;

/// Values in the free JSON of one request (together), count. As a tree a value takes up to 300 bytes,
/// though it may be one byte of text: so many take at most 40 MiB, ten times [`MAX_FREE`]. A thousand
/// tools with a hundred values each fit.
pub const MAX_VALUES: usize = 131_072;

/// Members of one object, count: the largest that a dialect knows has under 40.
pub const MAX_MEMBERS: usize = 256;

/// Objects that are read member by member in one request, count: messages, parts, calls, tools. The
/// dialects bound each list, but a list in every item of a list would be millions; so many take some
/// 20 MiB as a request, and no context has a third of them.
pub const MAX_OBJECTS: usize = 65_536;

/// Bytes of a key or reason that a fault shows: a caller's own words, as many as one reads.
const MAX_SHOWN: usize = 160;

/// Characters of a caller's word that a fault repeats: enough to recognise it.
const MAX_WORD: usize = 40;

/// Known keys of a body that does not reach Ollama as it was written: any spelling but the one that
/// is looked for is an unknown member.
pub(crate) const ANY: &[&str] = &[];

/// What kind of JSON a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Null,
    Flag,
    Number,
    Text,
    List,
    Object,
}

impl Kind {
    /// A value's kind is told by its first byte.
    fn of(raw: &RawValue) -> Self {
        match raw.get().as_bytes().first() {
            Some(b'"') => Self::Text,
            Some(b'[') => Self::List,
            Some(b'{') => Self::Object,
            Some(b't' | b'f') => Self::Flag,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag => "true or false",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// What one request may still have.
#[derive(Debug)]
struct Budget {
    /// Free JSON, bytes.
    free: Cell<usize>,
    /// Values in it, count.
    values: Cell<usize>,
    /// Objects, count.
    objects: Cell<usize>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { free: Cell::new(MAX_FREE), values: Cell::new(MAX_VALUES), objects: Cell::new(MAX_OBJECTS) }
    }
}

/// Takes so much of what is left; false where it is more.
fn spend(left: &Cell<usize>, size: usize) -> bool {
    let rest = left.get().checked_sub(size);
    rest.inspect(|rest| left.set(*rest)).is_some()
}

/// Shared by all that is read of one body.
type Left = Rc<Budget>;

/// One object, and where it stands in the body.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    place: String,
    members: Vec<(String, &'a RawValue)>,
    left: Left,
}

impl<'a> Fields<'a> {
    /// The body itself. `known`: the keys that Ollama would fold others onto; such another is refused,
    /// since it would pass by us to Ollama. [`ANY`] where the body does not go there as it is.
    pub(crate) fn of_body(body: &'a [u8], known: &[&str]) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(body).map_err(|error| {
            BadRequest(format!("the body is not JSON: it is not UTF-8 at byte {}", error.valid_up_to()))
        })?;
        let left = Left::default();
        match serde_json::from_str(text) {
            Ok(Members(members)) => Self { place: String::new(), members, left }.checked(known),
            Err(error) => Err(match serde_json::from_str::<&RawValue>(text) {
                Ok(raw) => Item { raw, place: "the body".to_owned(), left }.no_object(&error),
                Err(error) => BadRequest(format!("the body is not JSON: {}", cut(&error.to_string()))),
            }),
        }
    }

    fn checked(self, known: &[&str]) -> Result<Self, BadRequest> {
        for (key, _) in &self.members {
            if let Some(name) = known.iter().find(|name| *name != key && folds_to(key, name)) {
                let shown: String = key.chars().flat_map(char::escape_default).collect();
                return Err(self.fault(&shown, &format!("must be written `{name}`")));
            }
        }
        Ok(self)
    }

    /// Where a member stands: `messages[2].content`.
    pub(crate) fn at(&self, name: &str) -> String {
        let name = cut(name);
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// A fault at a member.
    pub(crate) fn fault(&self, name: &str, what: &str) -> BadRequest {
        BadRequest(format!("{}: {what}", self.at(name)))
    }

    /// The fault of a member that is not what it must be.
    pub(crate) fn expected(&self, name: &str, what: &str) -> BadRequest {
        expected(&self.at(name), what)
    }

    fn item(&self, name: &str, raw: &'a RawValue) -> Item<'a> {
        Item { raw, place: self.at(name), left: Rc::clone(&self.left) }
    }

    /// A member, which stays; none where it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<Item<'a>> {
        let (_, raw) = self.members.iter().find(|(key, _)| key == name)?;
        (Kind::of(raw) != Kind::Null).then(|| self.item(name, raw))
    }

    /// The key stands there, be it with null.
    pub(crate) fn stands(&self, name: &str) -> bool {
        self.members.iter().any(|(key, _)| key == name)
    }

    /// Takes a member out; none where it is absent or null, which Go reads alike.
    pub(crate) fn take(&mut self, name: &str) -> Option<Item<'a>> {
        let place = self.members.iter().position(|(key, _)| key == name)?;
        let (_, raw) = self.members.remove(place);
        (Kind::of(raw) != Kind::Null).then(|| self.item(name, raw))
    }

    /// A text; borrowed where it has no escapes.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, BadRequest> {
        self.take(name).map(|item| item.text()).transpose()
    }

    /// A text; none where it is empty, which Ollama reads as absent.
    pub(crate) fn some_text(&mut self, name: &str) -> Result<Option<String>, BadRequest> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()).map(Cow::into_owned))
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, BadRequest> {
        let read = |item: Item<'a>| item.parse().ok_or_else(|| item.expected("true or false"));
        self.take(name).map(read).transpose()
    }

    pub(crate) fn whole(&mut self, name: &str) -> Result<Option<i64>, BadRequest> {
        let read = |item: Item<'a>| item.parse().ok_or_else(|| item.expected("a whole number"));
        self.take(name).map(read).transpose()
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, BadRequest> {
        let read = |item: Item<'a>| match (item.parse(), item.kind()) {
            (Some(number), _) => Ok(number),
            (None, Kind::Number) => Err(item.fault("the number is too large")),
            (None, _) => Err(item.expected("a number")),
        };
        self.take(name).map(read).transpose()
    }

    /// A list of at most `most` items; an empty one where it is absent.
    pub(crate) fn list(&mut self, name: &str, most: usize) -> Result<List<'a>, BadRequest> {
        match self.take(name) {
            None => Ok(List::default()),
            Some(item) => item.list(most),
        }
    }

    /// An object that is read member by member; `known` as for the body.
    pub(crate) fn fields(&mut self, name: &str, known: &[&str]) -> Result<Option<Self>, BadRequest> {
        self.take(name).map(|item| item.fields(known)).transpose()
    }

    /// An object whose members are the caller's business.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, BadRequest> {
        let Some(item) = self.take(name) else { return Ok(None) };
        match item.free()? {
            Value::Object(members) => Ok(Some(members)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(item.expected("an object"))
            }
        }
    }

    /// Members that nobody took, as they are.
    pub(crate) fn rest(self) -> Result<Map<String, Value>, BadRequest> {
        let size: usize = self.members.iter().map(|(_, raw)| raw.get().len()).sum();
        if size > MAX_FREE {
            return Err(BadRequest(format!("fields that no dialect knows hold {size} bytes, at most {MAX_FREE}")));
        }
        let mut rest = Map::new();
        for (name, raw) in &self.members {
            rest.insert(name.clone(), self.item(name, raw).free()?);
        }
        Ok(rest)
    }

    /// Names of the members that nobody took.
    pub(crate) fn untaken(&self) -> impl Iterator<Item = &str> {
        let given = self.members.iter().filter(|(_, raw)| Kind::of(raw) != Kind::Null);
        given.map(|(name, _)| name.as_str())
    }

    /// Notes the members that nobody took: neither Ollama nor anyone else reads them.
    pub(crate) fn drop_rest(self, dropped: &mut Dropped) {
        for name in self.untaken() {
            dropped.note(&self.at(name));
        }
    }

    /// As [`Fields::drop_rest`], under the name of the kind of object (with a dot at its end) and not
    /// of its place.
    pub(crate) fn drop_rest_as(self, kind: &str, dropped: &mut Dropped) {
        for name in self.untaken() {
            dropped.note(&format!("{kind}{name}"));
        }
    }
}

/// A value, and where it stands in the body.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    raw: &'a RawValue,
    place: String,
    left: Left,
}

impl<'a> Item<'a> {
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Its JSON as the caller wrote it, blanks and line ends within included.
    pub(crate) fn json(&self) -> &'a str {
        self.raw.get()
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::of(self.raw)
    }

    pub(crate) fn fault(&self, what: &str) -> BadRequest {
        BadRequest(format!("{}: {what}", self.place))
    }

    /// The fault of another type; names the type and not the value, which may be a prompt.
    pub(crate) fn expected(&self, what: &str) -> BadRequest {
        self.fault(&format!("expected {what}, found {}", self.kind().name()))
    }

    /// The value, if it is of that type.
    pub(crate) fn parse<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.raw.get()).ok()
    }

    pub(crate) fn text(&self) -> Result<Cow<'a, str>, BadRequest> {
        let text: Option<Text<'a>> = self.parse();
        text.map(|text| text.0).ok_or_else(|| self.expected("a string"))
    }

    /// An object that is read member by member; `known` as for the body.
    pub(crate) fn fields(self, known: &[&str]) -> Result<Fields<'a>, BadRequest> {
        if !spend(&self.left.objects, 1) {
            return Err(self.fault(&format!("more than {MAX_OBJECTS} messages, parts, calls and tools in one request")));
        }
        match serde_json::from_str(self.raw.get()) {
            Ok(Members(members)) => Fields { place: self.place, members, left: self.left }.checked(known),
            Err(error) => Err(self.no_object(&error)),
        }
    }

    fn no_object(&self, error: &serde_json::Error) -> BadRequest {
        match self.kind() {
            Kind::Object => self.fault(&format!("cannot be read ({})", cut(&error.to_string()))),
            Kind::Null | Kind::Flag | Kind::Number | Kind::Text | Kind::List => self.expected("an object"),
        }
    }

    /// The items of a list, at most `most` of them.
    pub(crate) fn list(&self, most: usize) -> Result<List<'a>, BadRequest> {
        self.items(most).map_err(|no_list| match no_list {
            NoList::Other => self.expected("an array"),
            NoList::Over(_) => self.fault(&format!("more than {most} items")),
        })
    }

    /// As [`Item::list`], for dialects with words of their own for what is wrong.
    pub(crate) fn items(&self, most: usize) -> Result<List<'a>, NoList> {
        let mut json = serde_json::Deserializer::from_str(self.raw.get());
        match json.deserialize_seq(Bounded(most)) {
            Ok((_, count)) if count > most => Err(NoList::Over(count)),
            Ok((items, _)) => Ok(List {
                place: self.place.clone(),
                items: items.into_iter().enumerate(),
                left: Rc::clone(&self.left),
            }),
            Err(_) => Err(NoList::Other),
        }
    }

    /// Any JSON within the bounds.
    pub(crate) fn free(&self) -> Result<Value, BadRequest> {
        let json = self.raw.get();
        self.spend(json)?;
        free::read(json).map_err(|error| self.fault(&format!("cannot be read ({error})")))
    }

    /// Takes a text of what the request may have of free JSON, before it becomes a tree.
    pub(crate) fn spend(&self, json: &str) -> Result<(), BadRequest> {
        let size = json.len();
        if !spend(&self.left.free, size) {
            let what = format!("{size} bytes of JSON; schemas, arguments and the like are at most {MAX_FREE} together");
            return Err(self.fault(&what));
        }
        let values = free::count(json);
        if !spend(&self.left.values, values) {
            let what = format!("{values} values; schemas, arguments and the like have at most {MAX_VALUES} together");
            return Err(self.fault(&what));
        }
        Ok(())
    }
}

/// Why a value is no list of bounded length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoList {
    /// It is of another type.
    Other,
    /// It has so many items.
    Over(usize),
}

/// The items of a list, in order.
#[derive(Debug, Default)]
pub(crate) struct List<'a> {
    place: String,
    items: Enumerate<std::vec::IntoIter<&'a RawValue>>,
    left: Left,
}

impl<'a> Iterator for List<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let (number, raw) = self.items.next()?;
        Some(Item { raw, place: format!("{}[{number}]", self.place), left: Rc::clone(&self.left) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl ExactSizeIterator for List<'_> {}

/// The fault of a value that is not what it must be.
pub(crate) fn expected(place: &str, what: &str) -> BadRequest {
    BadRequest(format!("{place}: expected {what}"))
}

/// A caller's word as a fault may repeat it.
pub(crate) fn shown(word: &str) -> String {
    word.chars().take(MAX_WORD).flat_map(char::escape_default).collect()
}

/// The beginning of what a caller chose the length of.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_SHOWN)).unwrap_or_default()
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
