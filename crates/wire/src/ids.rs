//! Identifiers on the wire, a type each, so that none is mistaken for another.
//!
//! Randomness and time come in as arguments; nothing here draws either.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford's base 32, the alphabet of ULIDs (<https://github.com/ulid/spec>).
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The alphabet turned round: a character's value, or [`NO_DIGIT`]. An id is read once a frame.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value: u8 = 0;
    while value < 32 {
        values[CROCKFORD[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Marks a byte outside the alphabet.
const NO_DIGIT: u8 = 0xFF;

/// One request. A ULID chosen by the relay: 48 bits of Unix milliseconds, 80 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u128);

impl StreamId {
    /// Builds an id from Unix time in milliseconds (48 bits are kept) and randomness (80 bits are kept).
    #[must_use]
    pub fn new(unix_ms: u64, random: u128) -> Self {
        let time = u128::from(unix_ms & 0xFFFF_FFFF_FFFF);
        Self((time << 80) | (random & ((1 << 80) - 1)))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 26];
        for (place, character) in text.iter_mut().enumerate() {
            let index = (self.0 >> (5 * (25 - place))) & 31;
            *character = CROCKFORD[usize::try_from(index).unwrap_or(0)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for StreamId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        // 26 characters hold 130 bits: the first one may only use three of its five.
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return Err(ParseIdError { expected: "a ULID of 26 characters" });
        }
        let mut value = 0_u128;
        for character in text.bytes() {
            let index = VALUES[usize::from(character)];
            if index == NO_DIGIT {
                return Err(ParseIdError { expected: "a ULID of 26 characters" });
            }
            value = (value << 5) | u128::from(index);
        }
        Ok(Self(value))
    }
}

/// One run of one process: 128 random bits, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(u128);

impl InstanceId {
    /// Wraps 128 random bits.
    #[must_use]
    pub const fn new(random: u128) -> Self {
        Self(random)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for InstanceId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !plain {
            return Err(ParseIdError { expected: "32 lower-case hexadecimal digits" });
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| ParseIdError { expected: "32 lower-case hexadecimal digits" })
    }
}

/// A local handle for one WebSocket; never on the wire. The shell may choose any unused number
/// on the relay; on the edge the [`crate::Link`] chooses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnId(pub u64);

/// A text that is not the identifier it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {expected}")]
pub struct ParseIdError {
    expected: &'static str,
}

/// Reads an id from a text without copying it first.
struct FromText<T>(PhantomData<T>);

impl<T: FromStr<Err = ParseIdError>> Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id as text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! text_form {
    ($type:ty) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(FromText(PhantomData))
            }
        }
    };
}
text_form!(StreamId);
text_form!(InstanceId);
