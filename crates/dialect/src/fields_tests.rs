//! Reading without trees: places, bounds, what stays within a fault.

use serde_json::json;

use super::*;

fn body(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

#[test]
fn a_place_leads_from_the_body_to_the_value() {
    let body = body(&json!({ "a": [1, { "b": { "c": "x" } }] }));
    let mut top = Fields::of_body(&body, ANY).unwrap();
    let mut inner = top.list("a", 2).unwrap().nth(1).unwrap().fields(ANY).unwrap();
    let mut inner = inner.fields("b", ANY).unwrap().unwrap();
    assert_eq!(inner.flag("c").unwrap_err().0, "a[1].b.c: expected true or false, found a string");
}

#[test]
fn null_is_absent_and_named_nowhere() {
    let body = body(&json!({ "a": null, "b": null, "c": 1, "d": null }));
    let mut top = Fields::of_body(&body, ANY).unwrap();
    assert!(top.take("a").is_none() && top.list("b", 1).unwrap().len() == 0);
    let mut dropped = Dropped::default();
    top.drop_rest_as("in.", &mut dropped);
    assert_eq!(dropped.into_names(), ["in.c"]);
}

#[test]
fn free_json_is_bounded_over_the_whole_request() {
    let half = "x".repeat(MAX_FREE / 2 - 16);
    let body = body(&json!({ "a": [{ "b": { "c": half } }, { "b": { "c": half } }, { "b": { "c": half } }] }));
    let list = Fields::of_body(&body, ANY).unwrap().list("a", 3).unwrap();
    let read: Vec<_> = list.map(|item| item.fields(ANY).unwrap().object("b")).collect();
    assert!(read[0].is_ok() && read[1].is_ok());
    assert!(read[2].as_ref().unwrap_err().0.starts_with("a[2].b: "), "{read:?}");
}

/// Four million bytes that would be the largest trees: a bracket more than two bytes holds a list.
fn heavy() -> Vec<String> {
    ["[]", "{}", "[0]", "[[0]]", r#"{"":0}"#, r#"{"a":[0]}"#]
        .map(|piece| format!("[{}]", vec![piece; 4_000_000 / (piece.len() + 1)].join(",")))
        .to_vec()
}

#[test]
fn free_json_is_bounded_in_values_so_that_a_tree_is_a_small_multiple_of_its_text() {
    for list in heavy() {
        let body = format!(r#"{{"a":{{"b":{list}}}}}"#);
        let fault = Fields::of_body(body.as_bytes(), ANY).unwrap().object("a").unwrap_err().0;
        assert!(fault.starts_with("a: ") && fault.ends_with("at most 131072 together"), "{fault}");
        let fault = Fields::of_body(body.as_bytes(), ANY).unwrap().rest().unwrap_err().0;
        assert!(fault.starts_with("a: "), "{fault}");
    }
    let mut largest = 0;
    for list in heavy() {
        let whole: Vec<Value> = serde_json::from_str(&list).unwrap();
        let fits = MAX_VALUES - free::count("[]");
        let kept: Vec<&Value> = whole.iter().take(fits / free::count(&whole[0].to_string())).collect();
        let body = body(&json!({ "a": kept }));
        let read = Fields::of_body(&body, ANY).unwrap().take("a").unwrap().free().unwrap();
        largest = largest.max(crate::weigh::value(&read));
    }
    assert!(largest <= 10 * MAX_FREE, "{largest}");
}

#[test]
fn values_are_counted_over_the_whole_request() {
    let half = vec![0; MAX_VALUES / 2 - 8];
    let body = body(&json!({ "a": { "l": half }, "b": { "l": half }, "c": { "l": half } }));
    let mut top = Fields::of_body(&body, ANY).unwrap();
    assert!(top.object("a").is_ok() && top.object("b").is_ok());
    let fault = top.object("c").unwrap_err().0;
    assert_eq!(fault, "c: 65530 values; schemas, arguments and the like have at most 131072 together");
}

#[test]
fn half_surrogates_in_keys_texts_and_trees_become_the_mark_that_go_puts() {
    let body = br#"{"\ud800k":{"\udc00":["\ud83d"]},"t":"a\ud800\ud83d\ude00\ufffd\ufffd\ufffd"}"#;
    let mut top = Fields::of_body(body, ANY).unwrap();
    assert_eq!(top.text("t").unwrap().unwrap(), "a\u{fffd}\u{1f600}\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(Value::Object(top.rest().unwrap()), json!({ "\u{fffd}k": { "\u{fffd}": ["\u{fffd}"] } }));
}

#[test]
fn a_list_over_its_bound_tells_its_length() {
    let body = body(&json!({ "a": [0, [1, 2], "3"], "b": {} }));
    let mut top = Fields::of_body(&body, ANY).unwrap();
    let list = top.take("a").unwrap();
    assert_eq!(list.items(2).unwrap_err(), NoList::Over(3));
    assert_eq!(list.items(3).unwrap().len(), 3);
    assert_eq!(top.take("b").unwrap().items(3).unwrap_err(), NoList::Other);
}

#[test]
fn what_is_nested_too_deep_is_not_followed() {
    let body = format!("{{\"a\":{{\"b\":{}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
    let mut top = Fields::of_body(body.as_bytes(), ANY).unwrap();
    let fault = top.object("a").unwrap_err().0;
    assert!(fault.starts_with("a: cannot be read") && fault.contains("recursion limit"), "{fault}");
}

#[test]
fn an_object_of_too_many_members_says_so_wherever_it_stands() {
    let many: Map<String, Value> = (0..=MAX_MEMBERS).map(|n| (format!("k{n}"), json!(1))).collect();
    let inner = body(&json!({ "a": many }));
    let fault = Fields::of_body(&inner, ANY).unwrap().fields("a", ANY).unwrap_err().0;
    assert!(fault.starts_with("a: cannot be read (more than 256 keys"), "{fault}");
    let outer = body(&Value::Object(many));
    let fault = Fields::of_body(&outer, ANY).unwrap_err().0;
    assert!(fault.starts_with("the body: cannot be read (more than 256 keys"), "{fault}");
}

#[test]
fn keys_are_held_to_the_known_ones_only_where_they_are_named() {
    let body = br#"{"Model":"m"}"#;
    let fault = Fields::of_body(body, &["model"]).unwrap_err().0;
    assert_eq!(fault, "Model: must be written `model`");
    assert_eq!(Fields::of_body(body, ANY).unwrap().untaken().collect::<Vec<_>>(), ["Model"]);
}

#[test]
fn numbers_are_read_in_their_range_and_a_text_is_none() {
    let body = br#"{"a":1e999,"b":"1","c":-2,"d":1.5}"#;
    let mut top = Fields::of_body(body, ANY).unwrap();
    assert_eq!(top.number("a").unwrap_err().0, "a: the number is too large");
    assert_eq!(top.number("b").unwrap_err().0, "b: expected a number, found a string");
    assert_eq!(top.number("c").unwrap(), Some(-2.0));
    assert_eq!(top.whole("d").unwrap_err().0, "d: expected a whole number, found a number");
}
