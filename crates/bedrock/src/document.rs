//! JSON and the SDK's own form of it. The latter keeps no order of members.

use aws_smithy_types::{Document, Number};
use serde_json::{Map, Value};

/// A value for the SDK.
pub(crate) fn from_json(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(flag) => Document::Bool(*flag),
        Value::Number(number) => Document::Number(number_of(number)),
        Value::String(text) => Document::String(text.clone()),
        Value::Array(items) => Document::Array(items.iter().map(from_json).collect()),
        Value::Object(members) => object(members),
    }
}

/// An object for the SDK.
pub(crate) fn object(members: &Map<String, Value>) -> Document {
    Document::Object(members.iter().map(|(name, value)| (name.clone(), from_json(value))).collect())
}

fn number_of(number: &serde_json::Number) -> Number {
    match (number.as_u64(), number.as_i64()) {
        (Some(number), _) => Number::PosInt(number),
        (None, Some(number)) => Number::NegInt(number),
        (None, None) => Number::Float(number.as_f64().unwrap_or_default()),
    }
}

/// A value of the SDK's. Numbers that JSON does not have become null.
pub(crate) fn to_json(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(flag) => Value::Bool(*flag),
        Document::Number(Number::PosInt(number)) => (*number).into(),
        Document::Number(Number::NegInt(number)) => (*number).into(),
        Document::Number(Number::Float(number)) => (*number).into(),
        Document::String(text) => Value::String(text.clone()),
        Document::Array(items) => items.iter().map(to_json).collect(),
        Document::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), to_json(value)));
            Value::Object(members.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_comes_back_as_it_was() {
        let value = json!({ "a": [1, -2, 1.5, true, null, "x", u64::MAX], "b": { "c": {} } });
        assert_eq!(to_json(&from_json(&value)), value);
    }

    #[test]
    fn a_number_that_json_does_not_have_becomes_null() {
        assert_eq!(to_json(&Document::Number(Number::Float(f64::NAN))), Value::Null);
    }
}
