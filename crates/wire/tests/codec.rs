//! The text form of frames: golden bytes per frame, the way there and back, and no panic on any text.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use bytes::Bytes;
use causeway_wire::limits::{MAX_HEADER, MAX_MESSAGE};
use causeway_wire::{
    Backend, Code, CodecError, Failure, Frame, Head, Hello, InstanceId, Load, ModelLoad, Open, Outcome, Policy, Scope,
    StreamId, Welcome, decode, encode,
};
use proptest::prelude::*;

fn stream() -> StreamId {
    "01HF7YAT000000000000000001".parse().unwrap()
}

fn instance() -> InstanceId {
    InstanceId::new(0xABCD)
}

fn open() -> Open {
    Open {
        edge_instance: instance(),
        method: "POST".to_owned(),
        path: "/api/chat".to_owned(),
        headers: vec![("accept".to_owned(), "*/*".to_owned())],
        model: Some("qwen3:8b".to_owned()),
        stream: Some(true),
        policy: Policy {
            allow: vec![Backend::Local, Backend::Bedrock],
            batch: true,
            deadline_ms: Some(4000),
            hard: true,
            spend_max_usd: 0.5,
        },
        key: "k1".to_owned(),
        traceparent: Some("00-1-2-01".to_owned()),
        reply: Some("r".to_owned()),
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        instance: instance(),
        software: "0.1.0".to_owned(),
        window: 262_144,
        max_connections: 2,
        max_message: 262_144,
        flush_ms: 0,
        load_ms: 250,
        ping_idle_ms: 15_000,
        ping_busy_ms: 1_000,
        floor_ms: 1_000,
        rto_min_ms: 1_000,
        reorder_ms: 50,
        ack_delay_ms: 250,
        open_resend_ms: 2_000,
        resume_ms: 60_000,
        stream_max_ms: 1_800_000,
    }
}

/// Every frame type with its bytes. docs/protocol.md shows the same ones.
fn golden() -> Vec<(Frame, &'static str)> {
    let reply = Some("r".to_owned());
    let body = Bytes::from_static(b"say \"hi\"\n");
    let outcome = Outcome {
        input_tokens: Some(3),
        output_tokens: Some(5),
        usd: Some(0.25),
        served_by: Some(Backend::Bedrock),
        first_token_ms: Some(7),
        total_ms: Some(9),
        broke: None,
    };
    let broken = Outcome { broke: Some(Code::UpstreamIncomplete), ..Outcome::default() };
    let hello = Hello {
        version: 1,
        edge: "home".to_owned(),
        instance: instance(),
        software: "0.1.0".to_owned(),
        max_streams: 64,
        window: 1_048_576,
        ceiling: vec![Backend::Local],
    };
    let load =
        ModelLoad { model: "m".to_owned(), in_flight: 1, queued: 2, wait_ms: 3, answer_ms: 4, tokens_per_s: 5.5 };
    let failure = Failure {
        outcome: outcome.clone(),
        retry_after_ms: Some(250),
        ..Failure::new(Code::Draining, "shutting down").retryable()
    };
    let head = Head { status: 200, headers: vec![("content-type".to_owned(), "text/plain".to_owned())] };
    vec![
        (
            Frame::Hello(hello),
            r#"{"type":"hello","version":1,"edge":"home","instance":"0000000000000000000000000000abcd","software":"0.1.0","max_streams":64,"window":1048576,"ceiling":["local"]}"#,
        ),
        (
            Frame::Welcome(welcome()),
            r#"{"type":"welcome","version":1,"instance":"0000000000000000000000000000abcd","software":"0.1.0","window":262144,"max_connections":2,"max_message":262144,"flush_ms":0,"load_ms":250,"ping_idle_ms":15000,"ping_busy_ms":1000,"floor_ms":1000,"rto_min_ms":1000,"reorder_ms":50,"ack_delay_ms":250,"open_resend_ms":2000,"resume_ms":60000,"stream_max_ms":1800000}"#,
        ),
        (
            Frame::Catalog { rev: 1, part: 0, of: 1, body: Bytes::from_static(b"[]") },
            "{\"type\":\"catalog\",\"rev\":1,\"part\":0,\"of\":1}\n[]",
        ),
        (
            Frame::Load { rev: 2, load: Load { models: vec![load] } },
            "{\"type\":\"load\",\"rev\":2}\n{\"models\":[{\"model\":\"m\",\"in_flight\":1,\"queued\":2,\"wait_ms\":3,\"answer_ms\":4,\"tokens_per_s\":5.5}]}",
        ),
        (
            Frame::Open { stream: stream(), open: Box::new(open()), body: body.clone(), fin: true },
            "{\"type\":\"open\",\"stream\":\"01HF7YAT000000000000000001\",\"fin\":true,\"request\":{\"edge_instance\":\"0000000000000000000000000000abcd\",\"method\":\"POST\",\"path\":\"/api/chat\",\"headers\":[[\"accept\",\"*/*\"]],\"model\":\"qwen3:8b\",\"stream\":true,\"policy\":{\"allow\":[\"local\",\"bedrock\"],\"batch\":true,\"deadline_ms\":4000,\"hard\":true,\"spend_max_usd\":0.5},\"key\":\"k1\",\"traceparent\":\"00-1-2-01\",\"reply\":\"r\"}}\nsay \"hi\"\n",
        ),
        (
            Frame::Head { stream: stream(), head, body: body.clone(), reply: reply.clone() },
            "{\"type\":\"head\",\"stream\":\"01HF7YAT000000000000000001\",\"status\":200,\"headers\":[[\"content-type\",\"text/plain\"]],\"reply\":\"r\"}\nsay \"hi\"\n",
        ),
        (
            Frame::Data { stream: stream(), seq: 7, body, reply: None },
            "{\"type\":\"data\",\"stream\":\"01HF7YAT000000000000000001\",\"seq\":7}\nsay \"hi\"\n",
        ),
        (
            Frame::Data { stream: stream(), seq: 8, body: Bytes::from_static(b"\xFFa"), reply: None },
            "{\"type\":\"data\",\"stream\":\"01HF7YAT000000000000000001\",\"seq\":8,\"b64\":true}\n/2E=",
        ),
        (
            Frame::End {
                stream: stream(),
                seq: 9,
                body: Bytes::from_static("€".as_bytes()),
                outcome: Some(Box::new(outcome)),
                reply: None,
            },
            "{\"type\":\"end\",\"stream\":\"01HF7YAT000000000000000001\",\"seq\":9,\"outcome\":{\"input_tokens\":3,\"output_tokens\":5,\"usd\":0.25,\"served_by\":\"bedrock\",\"first_token_ms\":7,\"total_ms\":9}}\n€",
        ),
        (
            Frame::End { stream: stream(), seq: 9, body: Bytes::new(), outcome: Some(Box::new(broken)), reply: None },
            "{\"type\":\"end\",\"stream\":\"01HF7YAT000000000000000001\",\"seq\":9,\"outcome\":{\"broke\":\"upstream_incomplete\"}}",
        ),
        (
            Frame::Fail { stream: stream(), seq: 0, failure: Box::new(failure), reply: None },
            r#"{"type":"fail","stream":"01HF7YAT000000000000000001","seq":0,"failure":{"code":"draining","message":"shutting down","retryable":true,"retry_after_ms":250,"input_tokens":3,"output_tokens":5,"usd":0.25,"served_by":"bedrock","first_token_ms":7,"total_ms":9}}"#,
        ),
        (
            Frame::Ack { stream: stream(), next: 4, limit: 262_144, miss: vec![4, 6], reply: None },
            r#"{"type":"ack","stream":"01HF7YAT000000000000000001","next":4,"limit":262144,"miss":[4,6]}"#,
        ),
        (Frame::Probe { stream: stream(), reply: None }, r#"{"type":"probe","stream":"01HF7YAT000000000000000001"}"#),
        (
            Frame::Cancel { stream: stream(), reason: "caller gone".to_owned() },
            r#"{"type":"cancel","stream":"01HF7YAT000000000000000001","reason":"caller gone"}"#,
        ),
        (Frame::Ping { token: 5 }, r#"{"type":"ping","token":5}"#),
        (Frame::Pong { token: 5 }, r#"{"type":"pong","token":5}"#),
        (
            Frame::Goaway { scope: Scope::Connection, reason: "deploy".to_owned(), reconnect_in_ms: Some((0, 500)) },
            r#"{"type":"goaway","scope":"connection","reason":"deploy","reconnect_in_ms":[0,500]}"#,
        ),
        (Frame::Goodbye { scope: Scope::Link }, r#"{"type":"goodbye","scope":"link"}"#),
        (Frame::Unknown, r#"{"type":"unknown","opt":true}"#),
    ]
}

#[test]
fn every_frame_has_these_bytes() {
    for (frame, bytes) in golden() {
        assert_eq!(encode(&frame), bytes);
        assert_eq!(decode(bytes).unwrap(), frame);
    }
}

#[test]
fn every_golden_frame_is_shown_in_the_specification() {
    let page = include_str!("../../../docs/protocol.md");
    for (_, bytes) in golden().iter().filter(|(frame, _)| !matches!(frame, Frame::Unknown)) {
        let header = bytes.lines().next().unwrap();
        assert!(page.contains(header), "docs/protocol.md does not show {header}");
    }
}

#[test]
fn unknown_fields_and_any_field_order_are_read() {
    let text = r#"{"new":{"deep":[1,2]},"seq":3,"stream":"01HF7YAT000000000000000001","type":"data"}"#;
    let expected = Frame::Data { stream: stream(), seq: 3, body: Bytes::new(), reply: None };
    assert_eq!(decode(text).unwrap(), expected);
}

#[test]
fn an_unknown_type_is_an_error_unless_it_is_optional() {
    assert_eq!(decode(r#"{"type":"shout"}"#), Err(CodecError::UnknownType));
    assert_eq!(decode("{\"type\":\"shout\",\"opt\":true}\nwith a body").unwrap(), Frame::Unknown);
}

#[test]
fn what_is_too_long_is_refused_before_it_is_read() {
    let header = format!("{{\"type\":\"cancel\",\"reason\":\"{}\"}}", "x".repeat(MAX_HEADER));
    assert_eq!(decode(&header), Err(CodecError::HeaderTooLong));
    assert_eq!(decode(&"x".repeat(MAX_MESSAGE + 1)), Err(CodecError::MessageTooLong(MAX_MESSAGE + 1)));
    let reply = format!("{{\"type\":\"probe\",\"stream\":\"{}\",\"reply\":\"{}\"}}", stream(), "r".repeat(513));
    assert_eq!(decode(&reply), Err(CodecError::ReplyTooLong));
}

#[test]
fn a_header_is_cut_off_at_a_byte_limit_inside_a_character_without_harm() {
    let text = format!("{}{}", "x".repeat(MAX_HEADER), "€".repeat(10));
    assert_eq!(decode(&text), Err(CodecError::HeaderTooLong));
}

#[test]
fn bad_bodies_are_typed_errors() {
    let ping = "{\"type\":\"ping\",\"token\":1}\nbody";
    assert_eq!(decode(ping), Err(CodecError::UnexpectedBody));
    let data = format!("{{\"type\":\"data\",\"stream\":\"{}\",\"seq\":1,\"b64\":true}}\n*", stream());
    assert_eq!(decode(&data), Err(CodecError::BadBase64));
    assert_eq!(decode("{\"type\":\"load\",\"rev\":1}\n[1"), Err(CodecError::BadBody));
}

#[test]
fn numbers_that_are_no_unsigned_64_bits_are_refused() {
    for number in ["-1", "1.5", "18446744073709551616", "1e3", "\"1\"", "null"] {
        let text = format!("{{\"type\":\"ping\",\"token\":{number}}}");
        assert!(matches!(decode(&text), Err(CodecError::BadHeader { .. })), "{number}");
    }
    assert_eq!(decode("{\"type\":\"ping\",\"token\":18446744073709551615}").unwrap(), Frame::Ping { token: u64::MAX });
}

#[test]
fn an_ack_lists_at_most_sixteen_missing_numbers() {
    let miss: Vec<u64> = (0..500).collect();
    let text = encode(&Frame::Ack { stream: stream(), next: 0, limit: 0, miss, reply: None });
    let Frame::Ack { miss, .. } = decode(&text).unwrap() else { panic!("an ack is an ack") };
    assert_eq!(miss, (0..16).collect::<Vec<u64>>());
}

#[test]
fn a_code_of_a_later_version_is_read_as_internal() {
    let text = format!(
        "{{\"type\":\"fail\",\"stream\":\"{}\",\"seq\":1,\"failure\":{{\"code\":\"brand_new\",\"message\":\"\"}}}}",
        stream()
    );
    let Frame::Fail { failure, .. } = decode(&text).unwrap() else { panic!("a fail is a fail") };
    assert_eq!(failure.code, Code::Internal);
}

fn bodies() -> impl Strategy<Value = Bytes> {
    prop_oneof![".{0,200}".prop_map(Bytes::from), proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)]
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec(("[a-z-]{1,20}", ".{0,40}"), 0..5)
}

fn replies() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(".{0,40}")
}

fn frames() -> impl Strategy<Value = Frame> {
    let id = any::<(u64, u128)>().prop_map(|(ms, random)| StreamId::new(ms, random));
    let outcome =
        proptest::option::of(any::<(Option<u64>, Option<u64>)>().prop_map(|(input_tokens, output_tokens)| {
            Box::new(Outcome { input_tokens, output_tokens, ..Outcome::default() })
        }));
    prop_oneof![
        (id.clone(), any::<u64>(), bodies(), replies()).prop_map(|(stream, seq, body, reply)| Frame::Data {
            stream,
            seq,
            body,
            reply
        }),
        (id.clone(), any::<u64>(), bodies(), outcome, replies())
            .prop_map(|(stream, seq, body, outcome, reply)| Frame::End { stream, seq, body, outcome, reply }),
        (id.clone(), any::<u16>(), headers(), bodies(), replies()).prop_map(
            |(stream, status, headers, body, reply)| {
                Frame::Head { stream, head: Head { status, headers }, body, reply }
            }
        ),
        (id.clone(), ".{0,40}", headers(), bodies(), any::<bool>()).prop_map(|(stream, path, headers, body, fin)| {
            Frame::Open { stream, open: Box::new(Open { path, headers, ..open() }), body, fin }
        }),
        (id.clone(), any::<u64>(), ".{0,80}", any::<bool>()).prop_map(|(stream, seq, message, retryable)| {
            let failure = Failure { retryable, ..Failure::new(Code::SlowReader, message) };
            Frame::Fail { stream, seq, failure: Box::new(failure), reply: None }
        }),
        (id.clone(), any::<(u64, u64)>(), proptest::collection::vec(any::<u64>(), 0..16), replies())
            .prop_map(|(stream, (next, limit), miss, reply)| Frame::Ack { stream, next, limit, miss, reply }),
        (id, ".{0,80}").prop_map(|(stream, reason)| Frame::Cancel { stream, reason }),
        (".{0,40}", any::<Option<(u64, u64)>>()).prop_map(|(reason, reconnect_in_ms)| Frame::Goaway {
            scope: Scope::Link,
            reason,
            reconnect_in_ms
        }),
        (any::<(u64, u32, u32)>(), ".{1,80}").prop_map(|((rev, part, of), body)| Frame::Catalog {
            rev,
            part,
            of,
            body: Bytes::from(body)
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(frame in frames()) {
        let text = encode(&frame);
        prop_assert_eq!(decode(&text).unwrap(), frame);
    }

    #[test]
    fn any_text_is_a_frame_or_an_error(text in ".{0,300}") {
        let _ = decode(&text);
    }

    #[test]
    fn a_damaged_frame_is_a_frame_or_an_error(
        frame in frames(), at in any::<proptest::sample::Index>(), with in "[\"{}:,\\[\\]0-9a-z\\\\\n€-]{0,4}", cut in 0_usize..4
    ) {
        let text = encode(&frame);
        let mut from = at.index(text.len() + 1);
        while !text.is_char_boundary(from) { from -= 1; }
        let mut to = (from + cut).min(text.len());
        while !text.is_char_boundary(to) { to += 1; }
        let damaged = format!("{}{with}{}", &text[..from], &text[to..]);
        if let Ok(read) = decode(&damaged) {
            // What was read can be written and read again.
            prop_assert!(decode(&encode(&read)).is_ok());
        }
    }
}
