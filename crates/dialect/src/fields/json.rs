//! What of JSON is read without building a tree: texts, members and items as slices.
//!
//! Invariant: what is kept is bounded by a count, whatever the length of the text. Absent: places
//! and faults ([`super`]).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::MAX_MEMBERS;

/// A text that borrows where it can, and bears what JavaScript writes of half a surrogate pair:
/// U+FFFD stands for it, as in Go.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

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
        let text = std::str::from_utf8(bytes).map_or_else(|_| lossy(bytes.to_vec()), ToOwned::to_owned);
        Ok(Text(Cow::Owned(text)))
    }
}

/// Half a pair comes as three bytes that are no UTF-8 and never stand in any: one U+FFFD is as long.
fn lossy(mut bytes: Vec<u8>) -> String {
    for at in 0..bytes.len() {
        if let Some(half @ [0xed, 0xa0..=0xff, _]) = bytes.get_mut(at..at + 3) {
            half.copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The members of an object; of equal keys the last stays, as in Go.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

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
        let mut count = 0;
        while let Some((Text(key), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            // Repeated ones too: each costs a look at all.
            count += 1;
            if count > MAX_MEMBERS {
                return Err(A::Error::custom(format_args!("more than {MAX_MEMBERS} keys")));
            }
            match members.iter_mut().find(|(earlier, _)| *earlier == key) {
                Some((_, earlier)) => *earlier = value,
                None => members.push((key.into_owned(), value)),
            }
        }
        Ok(members)
    }
}

/// Keeps so many items and counts them all: a list of a million nothings takes no memory.
pub(super) struct Bounded(pub(super) usize);

impl<'de> Visitor<'de> for Bounded {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.0 {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => break,
            }
        }
        let mut count = items.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((items, count))
    }
}
