//! Bodies that try to say two things at once, and the promise that rewriting keeps the rest.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

#[test]
fn a_tool_that_ollama_runs_at_ollama_com_is_refused_and_a_function_of_that_name_is_not() {
    for tools in [
        r#"[{"type":"web_search"}]"#,
        r#"[{"type":"function","name":"f"},{"type":"web_search_20250305","name":"web_search"}]"#,
        r#"[{"Type":"Web_Search_preview"}]"#,
        r#"[{"type":"web\u005fsearch"}]"#,
    ] {
        for key in ["tools", "Tools", "tool\u{17f}"] {
            let body = format!(r#"{{"model":"m","{key}":{tools}}}"#);
            assert!(rewrite(body.as_bytes(), Some("m"), None).is_err(), "{body}");
        }
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    // Ollama's reader takes all of these.
    for members in [
        r#""type":"web_search","x":"\ud800""#.to_owned(),
        r#""type":"web_search","x":1e999"#.to_owned(),
        format!(r#""type":"web_search","x":{deep}"#),
        r#""type":"web_search","type":null"#.to_owned(),
        r#""\ud800":1,"type":"web_search""#.to_owned(),
    ] {
        let body = format!(r#"{{"model":"m","tools":[{{{members}}}]}}"#);
        assert!(rewrite(body.as_bytes(), Some("m"), None).is_err(), "{body}");
    }
    for tools in ["null", "[]", r#"[{"x":"\ud800"}]"#, "[1,null]"] {
        let body = format!(r#"{{"model":"m","tools":{tools}}}"#);
        assert!(rewrite(body.as_bytes(), Some("m"), None).is_ok(), "{body}");
    }
    let own = r#"{"model":"m","tools":[{"type":"function","function":{"name":"web_search"}}]}"#;
    assert!(rewrite(own.as_bytes(), Some("m"), None).is_ok());
}

#[test]
fn model_and_stream_are_read_wherever_they_stand() {
    let body = br#" {"messages":[{"role":"user","model":"deep"}],"stream" : true,"model":"m"} "#;
    assert_eq!(read(body), Ok(Envelope { model: Some("m".to_owned()), stream: Some(true) }));
    assert_eq!(read(b"{}"), Ok(Envelope::default()));
    assert_eq!(read(br#"{"model":null,"stream":null}"#), Ok(Envelope::default()));
    assert_eq!(read(br#"{"name":"m"}"#).unwrap().model.as_deref(), Some("m"));
    assert_eq!(read(br#"{"name":"m","model":"m"}"#).unwrap().model.as_deref(), Some("m"));
    assert_eq!(read(br#"{"name":"","model":"m"}"#).unwrap().model.as_deref(), Some("m"), "as the ollama command does");
    assert_eq!(read(br#"{"name":"","model":""}"#).unwrap().model, None);
}

#[test]
fn an_escaped_key_is_seen_decoded() {
    assert_eq!(read(br#"{"mod\u0065l":"m"}"#).unwrap().model.as_deref(), Some("m"));
    assert!(read(br#"{"mod\u0065l":"m","model":"n"}"#).is_err());
    assert!(read(br#"{"\u017ftream":true}"#).is_err());
}

#[test]
fn duplicate_and_folded_variants_of_guarded_keys_are_refused_by_name() {
    for key in GUARDED {
        let value = if key == "stream" { "true" } else { "\"x\"" };
        let twice = format!("{{\"{key}\":{value},\"{key}\":{value}}}");
        assert!(read(twice.as_bytes()).unwrap_err().0.contains(key));
        let upper = format!("{{\"{}\":{value}}}", key.to_ascii_uppercase());
        assert!(read(upper.as_bytes()).unwrap_err().0.contains(key));
    }
    for key in ["ſtream", "optionſ", "\u{212A}eep_alive", "KEEP_ALIVE", "ſTREAM", "Model", "nAme"] {
        let body = format!("{{\"{key}\":1}}");
        assert!(read(body.as_bytes()).unwrap_err().0.contains("must be written"), "{key}");
        assert!(rewrite(body.as_bytes(), None, None).is_err(), "{key}");
    }
    assert!(read("{\"mödel\":1,\"models\":2,\"streams\":3}".as_bytes()).is_ok());
}

#[test]
fn what_is_no_json_object_is_refused_with_a_reason() {
    for body in [
        &b""[..],
        b"  \n",
        b"null",
        b"[]",
        b"\"model\"",
        b"{",
        b"{\"model\":\"m\"",
        b"{\"model\":\"m\"}}",
        b"{\"model\":\"m\"} {}",
        b"{'model':1}",
        b"{\"a\":tru}",
        b"{\"a\":01}",
        b"\xff{}",
        b"{\"a\":\"\n\"}",
        b"{\"model\":\"m\",}",
        b"\xef\xbb\xbf{}",
        b"{\"model\":7}",
        b"{\"stream\":\"true\"}",
        b"{\"model\":\"a\",\"name\":\"b\"}",
        b"{\"model\":\"\\ud800\"}",
    ] {
        assert!(read(body).is_err(), "{}", String::from_utf8_lossy(body));
    }
    let many: String = (0..=MAX_KEYS).map(|n| format!("\"k{n}\":0,")).collect();
    assert!(read(format!("{{{}}}", many.trim_end_matches(',')).as_bytes()).is_err());
}

#[test]
fn deep_nesting_takes_no_stack() {
    let deep = format!("{{\"model\":\"m\",\"a\":{}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert_eq!(read(deep.as_bytes()).unwrap().model.as_deref(), Some("m"));
}

#[test]
fn rewriting_sets_what_was_authorised_and_keeps_the_bytes_of_the_rest() {
    let body = br#"{ "mod\u0065l" : "M", "options":{"seed": 1.50e1 }, "x":1, "x":[ 2 ],"stream":true}"#;
    let out = rewrite(body, Some("m:latest"), Some(false)).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"model":"m:latest","options":{"seed": 1.50e1 },"x":[ 2 ],"stream":false}"#
    );
    assert_eq!(rewrite(b"{}", Some("m\""), Some(true)).unwrap(), br#"{"model":"m\"","stream":true}"#);
    assert_eq!(rewrite(br#"{"name":"x"}"#, Some("m"), None).unwrap(), br#"{"name":"m","model":"m"}"#);
    assert_eq!(rewrite(br#"{"stream":true}"#, None, None).unwrap(), br#"{"stream":true}"#);
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_give_an_envelope_or_a_reason(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read(&body);
        let _ = rewrite(&body, Some("m"), Some(true));
    }

    #[test]
    fn any_object_like_text_gives_an_envelope_or_a_reason(body in r#"\{["modelstream:,truef1\\u0065{}\[\] ]{0,40}\}"#) {
        if let Ok(envelope) = read(body.as_bytes()) {
            let value: Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(envelope.stream, value.get("stream").and_then(Value::as_bool));
        }
    }

    #[test]
    fn rewriting_keeps_every_other_value(
        members in prop::collection::btree_map("[a-z]{1,3}|.{1,8}", json(), 0..8),
        pretty in any::<bool>(),
    ) {
        let original = Value::Object(members.into_iter().collect());
        let text = if pretty { serde_json::to_vec_pretty(&original) } else { serde_json::to_vec(&original) };
        let Ok(out) = rewrite(&text.unwrap(), Some("m"), Some(true)) else { return Ok(()) };
        let Value::Object(mut after) = serde_json::from_slice(&out).unwrap() else { panic!("no object") };
        prop_assert_eq!(after.get("model"), Some(&Value::from("m")));
        prop_assert_eq!(after.get("stream"), Some(&Value::from(true)));
        let Value::Object(mut before) = original else { panic!("no object") };
        for key in ["model", "stream", "name"] {
            after.remove(key);
            before.remove(key);
        }
        prop_assert_eq!(after, before);
        let again = read(&out).unwrap();
        prop_assert_eq!(again.model.as_deref(), Some("m"));
    }
}
