//! What trees of JSON take in memory, about: for bounds on what is held.

use serde_json::{Map, Value};

use crate::chat::ToolCall;

/// A member's place in a map beside key and value: its hash and its index.
const PLACE: usize = 2 * size_of::<usize>() + 1;

/// Places that the first member of a map or the first item of a list makes room for, count.
const FIRST: usize = 4;

/// Bytes of a value with all that it holds.
pub(crate) fn value(value: &Value) -> usize {
    size_of::<Value>() + beyond(value)
}

/// Bytes that a value holds elsewhere.
fn beyond(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(items) => items.capacity() * size_of::<Value>() + items.iter().map(beyond).sum::<usize>(),
        Value::Object(members) => map(members),
    }
}

/// Bytes that a map holds elsewhere.
pub(crate) fn map(members: &Map<String, Value>) -> usize {
    if members.is_empty() {
        return 0;
    }
    let room = members.len().next_power_of_two().max(FIRST);
    let texts = members.iter().map(|(key, value)| key.capacity() + beyond(value)).sum::<usize>();
    room * (size_of::<(String, Value)>() + PLACE) + texts
}

/// Bytes of a call.
pub(crate) fn call(call: &ToolCall) -> usize {
    size_of::<ToolCall>() + call.id.capacity() + call.name.capacity() + map(&call.arguments)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_weighs_at_least_its_texts_and_a_place_for_each_value() {
        let text = "x".repeat(1_000);
        for (tree, values) in
            [(json!([text, [], {}, null, 1]), 6), (json!({ "a": { text.as_str(): 1 }, "b": [[[]]] }), 6)]
        {
            assert!(value(&tree) >= 1_000 + values * size_of::<Value>(), "{tree}");
        }
        assert_eq!(value(&Value::Null), size_of::<Value>());
    }

    #[test]
    fn a_call_weighs_its_words_and_its_arguments() {
        let arguments = json!({ "a": "x".repeat(1_000) }).as_object().unwrap().clone();
        let heavy = ToolCall { id: "i".repeat(100), name: "f".repeat(10), arguments };
        assert!(call(&heavy) > 1_110);
    }
}
