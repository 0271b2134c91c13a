//! Counting before parsing, naming places, listing what was left.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn values(json: &Value) -> usize {
    match json {
        Value::Array(list) => 1 + list.iter().map(values).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(values).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_of_a_text_goes_uncounted(json in any_json()) {
        let counted = count(json.to_string().as_bytes());
        prop_assert!(counted >= values(&json), "{counted} of {json}");
        prop_assert!(counted <= 3 * values(&json), "{counted} of {json}");
    }
}

#[test]
fn what_stands_in_texts_is_not_counted() {
    assert_eq!(count(br#"{"a,b[":"\\\"{,,,\\"}"#), 2);
    assert_eq!(count(br#""never ended,,,\"#), 1);
}

#[test]
fn a_body_of_too_many_values_is_refused_before_it_is_parsed() {
    let body = format!("{{\"messages\":[1{}]}}", ",1".repeat(MAX_VALUES));
    let error = Budget::new().object(body.as_bytes(), &Place::Top).unwrap_err();
    assert!(error.to_string().contains("262144 JSON values"), "{error}");
}

#[test]
fn several_texts_of_one_request_share_one_budget() {
    let half = format!("{{\"a\":[1{}]}}", ",1".repeat(MAX_VALUES / 2));
    let mut budget = Budget::new();
    assert!(budget.object(half.as_bytes(), &Place::Top).is_ok());
    assert!(budget.object(half.as_bytes(), &Place::Top).is_err());
}

#[test]
fn a_body_nested_too_deep_is_refused() {
    let body = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(Budget::new().object(body.as_bytes(), &Place::Top).unwrap_err().to_string().contains("recursion"));
}

#[test]
fn names_of_what_was_left_fit_a_header_and_are_bounded() {
    let mut map: Map<String, Value> = (0..200).map(|n| (format!("x{n:03}"), json!(1))).collect();
    map.insert("a\r\nset-cookie: é".repeat(20), json!(1));
    map.insert("absent".to_owned(), Value::Null);
    let mut dropped = Dropped::default();
    dropped.rest("in.", Fields::new(map, &Place::Top));
    let names = dropped.into_names();
    assert_eq!(names.len(), MAX_DROPPED);
    assert!(names.iter().all(|name| name.is_ascii() && !name.contains(['\r', '\n']) && name.len() < 8 * SHOWN + 3));
    assert!(!names.contains(&"in.absent".to_owned()));
}
