//! Identifiers on the wire, a type each, so that none is mistaken for another.
//!
//! Randomness and time come in as arguments; nothing here draws either.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford's base 32, the alphabet of ULIDs (<https://github.com/ulid/spec>).
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

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
            let index = CROCKFORD
                .iter()
                .position(|&known| known == character)
                .ok_or(ParseIdError { expected: "a ULID of 26 characters" })?;
            value = (value << 5) | index as u128;
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
        let plain = text.len() == 32
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
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
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
text_form!(StreamId);
text_form!(InstanceId);
