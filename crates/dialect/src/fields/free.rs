//! Trees of a caller's free JSON: how large they would be, and half surrogates made whole.
//!
//! Invariant: what Go reads is read here, with the same text. Absent: the bounds ([`super`]).

use std::borrow::Cow;

use memchr::memchr;
use serde::de::DeserializeOwned;

/// Bytes of an escaped UTF-16 unit: `\ud800`.
const UNIT: usize = 6;

/// What Go puts for half a surrogate pair, as an escape of the same length.
const REPLACEMENT: &[u8; UNIT] = b"\\ufffd";

/// Reads JSON as Go does.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    serde_json::from_str(&mended(json))
}

/// Values that JSON would be as a tree, count, or a few more: one, and one for each comma and each
/// opening bracket outside of texts.
pub(super) fn count(json: &str) -> usize {
    let mut rest = json.as_bytes();
    let mut values = 1;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => after_text(after),
            b',' | b'[' | b'{' => {
                values += 1;
                after
            }
            _ => after,
        };
    }
    values
}

/// What follows a text whose first quote is gone.
fn after_text(mut text: &[u8]) -> &[u8] {
    while let Some(end) = text.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        let escaped = text.get(end) == Some(&b'\\');
        text = text.get(end + 1 + usize::from(escaped)..).unwrap_or_default();
        if !escaped {
            return text;
        }
    }
    &[]
}

/// The same JSON with U+FFFD for each half of a surrogate pair that stands alone: JavaScript writes
/// such, Go reads it so, and serde_json refuses it.
pub(crate) fn mended(json: &str) -> Cow<'_, str> {
    let mut owned = Cow::Borrowed(json.as_bytes());
    let mut at = 0;
    while let Some(next) = owned.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += next;
        at += match (unit(&owned, at), unit(&owned, at + UNIT)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * UNIT,
            (Some(0xd800..=0xdfff), _) => {
                if let Some(half) = owned.to_mut().get_mut(at..at + UNIT) {
                    half.copy_from_slice(REPLACEMENT);
                }
                UNIT
            }
            // Any other escape has two bytes that matter here.
            _ => 2,
        };
    }
    match owned {
        Cow::Borrowed(_) => Cow::Borrowed(json),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// The UTF-16 unit that is escaped at this place.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + UNIT)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn values(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(values).sum(),
            Value::Object(members) => members.values().map(values).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }

    #[test]
    fn half_surrogates_are_read_as_go_reads_them() {
        for (json, text) in [
            (r#""\ud83d\ude00 é""#, "\u{1f600} é"),
            (r#""a\ud800b""#, "a\u{fffd}b"),
            (r#""\uDC00""#, "\u{fffd}"),
            (r#""\ud800\ud800""#, "\u{fffd}\u{fffd}"),
            (r#""\ud800\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud800\u0041\n""#, "\u{fffd}A\n"),
            (r#""\\ud800""#, "\\ud800"),
            (r#""\\\ud800""#, "\\\u{fffd}"),
        ] {
            assert_eq!(read::<String>(json).unwrap(), text, "{json}");
        }
        let object: Value = read(r#"{"\udfff":["\udbff"]}"#).unwrap();
        assert_eq!(object, serde_json::json!({"\u{fffd}": ["\u{fffd}"]}));
    }

    #[test]
    fn cut_escapes_are_no_more_than_a_fault() {
        for json in [r#""\u"#, r#""\ud8"#, r#""\ud800\u"#, r#""\"#, r#""\ud800"#, r#""\u+d80""#] {
            assert!(read::<String>(json).is_err(), "{json}");
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            r#"[,\[{"\\a]{0,4}"#.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((r#"[,\[{"\\a]{0,3}"#, inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_tree_has_more_values_than_its_text_counts(tree in tree()) {
            let json = tree.to_string();
            prop_assert!(values(&tree) <= count(&json) && count(&json) <= 2 * values(&tree), "{json}");
            prop_assert_eq!(read::<Value>(&json).unwrap(), tree);
        }

        #[test]
        fn any_text_is_counted_and_mended(json in r#"(\\u|d8|dc|00|"|\\|[\[{,:]|é)*"#) {
            let _ = count(&json);
            prop_assert_eq!(mended(&json).len(), json.len());
        }
    }
}
