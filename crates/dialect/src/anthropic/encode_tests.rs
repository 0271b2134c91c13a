//! Streams and single messages, as a client reads them.

use causeway_wire::Code;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chat::{Input, Part};

fn stamp() -> Stamp {
    Stamp { model: "qwen3:8b".to_owned(), id: "01ABC".to_owned(), created: 7, include_usage: false, input_estimate: 12 }
}

fn text(text: &str) -> Event {
    Event::Text { text: text.to_owned(), logprobs: None }
}

fn thought(text: &str) -> Event {
    Event::Thinking(text.to_owned())
}

fn call(id: &str, name: &str, arguments: &Value) -> Event {
    let arguments = arguments.as_object().unwrap().clone();
    Event::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
}

fn finish(reason: StopReason) -> Event {
    let usage = Usage { input: Some(30), output: Some(5), cached: None };
    Event::Finish(Box::new(Finish { reason, usage, ..Finish::default() }))
}

fn failed() -> Event {
    Event::Failed { code: Code::UpstreamIncomplete, message: "it broke \"off\"\n".to_owned() }
}

fn encoded(events: impl IntoIterator<Item = Event>) -> Vec<u8> {
    let mut encoder = Encoder::new(stamp());
    let mut out = Vec::new();
    events.into_iter().for_each(|event| encoder.event(0, event, &mut out));
    out
}

/// The events of a stream as a client dispatches them; the framing is checked on the way. Comments
/// come as `:` with their text.
fn read(bytes: &[u8]) -> Vec<(String, Value)> {
    let stream = std::str::from_utf8(bytes).unwrap();
    assert!(stream.is_empty() || stream.ends_with("\n\n"), "{stream}");
    let read = |block: &str| {
        if let Some(comment) = block.strip_prefix(": ") {
            return (":".to_owned(), Value::from(comment));
        }
        let (name, data) = block.split_once('\n').unwrap();
        let name = name.strip_prefix("event: ").unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["type"], name, "an event says its name twice");
        (name.to_owned(), data)
    };
    stream.split_terminator("\n\n").map(read).collect()
}

fn names(bytes: &[u8]) -> Vec<String> {
    read(bytes).into_iter().map(|(name, _)| name).collect()
}

/// What an SDK puts together from a stream; panics where an SDK would.
#[derive(Default, PartialEq, Debug)]
struct Client {
    blocks: Vec<Value>,
    stop_reason: Value,
    usage: Value,
    terminals: usize,
}

fn accumulate(bytes: &[u8]) -> Client {
    let mut client = Client::default();
    let mut open: Option<u64> = None;
    let mut fragment = String::new();
    for (number, (name, data)) in read(bytes).into_iter().enumerate() {
        assert_eq!(client.terminals, 0, "{name} after the terminal event");
        match name.as_str() {
            "message_start" => assert_eq!((number, &data["message"]["content"]), (0, &json!([]))),
            "error" => client.terminals += 1,
            ":" => {}
            _ if number == 0 => panic!("{name} before message_start"),
            "ping" => {}
            "content_block_start" => {
                assert_eq!((open, data["index"].as_u64()), (None, Some(client.blocks.len() as u64)));
                open = data["index"].as_u64();
                client.blocks.push(data["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(open, data["index"].as_u64());
                let block = client.blocks.last_mut().unwrap();
                let delta = &data["delta"];
                let key = match (block["type"].as_str().unwrap(), delta["type"].as_str().unwrap()) {
                    ("text", "text_delta") => "text",
                    ("thinking", "thinking_delta") => "thinking",
                    ("tool_use", "input_json_delta") => {
                        fragment.push_str(delta["partial_json"].as_str().unwrap());
                        continue;
                    }
                    (block, delta) => panic!("{delta} in a block of {block}"),
                };
                block[key] = Value::from(block[key].as_str().unwrap().to_owned() + delta[key].as_str().unwrap());
            }
            "content_block_stop" => {
                assert_eq!(open.take(), data["index"].as_u64());
                let block = client.blocks.last_mut().unwrap();
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(&std::mem::take(&mut fragment)).unwrap();
                }
            }
            "message_delta" => {
                assert_eq!(open, None);
                client.stop_reason = data["delta"]["stop_reason"].clone();
                client.usage = data["usage"].clone();
            }
            "message_stop" => {
                assert!(client.stop_reason.is_string(), "message_stop without message_delta");
                client.terminals += 1;
            }
            other => panic!("an SDK knows no event {other}"),
        }
    }
    client
}

#[test]
fn a_stream_of_text_is_what_clients_know() {
    let bytes = encoded([text("He\"l"), text(""), text("lo 🦀\n"), finish(StopReason::Stop)]);
    let message = json!({
        "id": "msg_01ABC", "type": "message", "role": "assistant", "model": "qwen3:8b", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 12, "output_tokens": 0 },
    });
    let delta = |text: &str| json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } });
    let expected = [
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        delta("He\"l"),
        delta("lo 🦀\n"),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({
            "type": "message_delta",
            "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": { "input_tokens": 30, "output_tokens": 5 },
        }),
        json!({ "type": "message_stop" }),
    ];
    assert_eq!(read(&bytes).into_iter().map(|(_, data)| data).collect::<Vec<_>>(), expected);
}

#[test]
fn the_bytes_of_a_stream_are_these() {
    let bytes = encoded([thought("hm"), text("\u{1}\u{2028}"), finish(StopReason::Length)]);
    let expected = concat!(
        "event: message_start\n",
        r#"data: {"type":"message_start","message":{"id":"msg_01ABC","type":"message","role":"assistant","#,
        r#""model":"qwen3:8b","content":[],"stop_reason":null,"stop_sequence":null,"#,
        r#""usage":{"input_tokens":12,"output_tokens":0}}}"#,
        "\n\nevent: content_block_start\n",
        r#"data: {"type":"content_block_start","index":0,"#,
        r#""content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        "\n\nevent: content_block_delta\n",
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        "\n\nevent: content_block_stop\n",
        r#"data: {"type":"content_block_stop","index":0}"#,
        "\n\nevent: content_block_start\n",
        r#"data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        "\n\nevent: content_block_delta\n",
        r#"data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"\u0001"#,
        "\u{2028}\"}}",
        "\n\nevent: content_block_stop\n",
        r#"data: {"type":"content_block_stop","index":1}"#,
        "\n\nevent: message_delta\n",
        r#"data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"#,
        r#""usage":{"input_tokens":30,"output_tokens":5}}"#,
        "\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn calls_are_blocks_of_their_own_with_their_arguments_whole() {
    let bytes = encoded([
        thought("hm"),
        text("I look"),
        call("", "look", &json!({ "at": "\"🦀\"" })),
        call("call_7", "hear", &json!({})),
        finish(StopReason::ToolCalls),
    ]);
    let client = accumulate(&bytes);
    let expected = [
        json!({ "type": "thinking", "thinking": "hm", "signature": "" }),
        json!({ "type": "text", "text": "I look" }),
        json!({ "type": "tool_use", "id": "toolu_01ABC_0", "name": "look", "input": { "at": "\"🦀\"" } }),
        json!({ "type": "tool_use", "id": "call_7", "name": "hear", "input": {} }),
    ];
    assert_eq!(client.blocks, expected);
    assert_eq!(client.stop_reason, "tool_use");
}

#[test]
fn stop_reasons_agree_with_the_answer_whatever_the_backend_named() {
    for (reason, called, expected) in [
        (StopReason::Stop, false, "end_turn"),
        (StopReason::Stop, true, "tool_use"),
        (StopReason::ToolCalls, true, "tool_use"),
        (StopReason::ToolCalls, false, "end_turn"),
        (StopReason::StopSequence, false, "stop_sequence"),
        (StopReason::Length, false, "max_tokens"),
        (StopReason::Length, true, "max_tokens"),
        (StopReason::ContentFilter, false, "refusal"),
        (StopReason::Load, false, "end_turn"),
        (StopReason::Unload, false, "end_turn"),
    ] {
        let events = called.then(|| call("", "f", &json!({}))).into_iter().chain([finish(reason)]);
        assert_eq!(accumulate(&encoded(events)).stop_reason, expected, "{reason:?}");
    }
}

#[test]
fn the_text_that_ended_an_answer_is_named() {
    let finish =
        Finish { reason: StopReason::StopSequence, stop_sequence: Some("END".to_owned()), ..Finish::default() };
    let bytes = encoded([Event::Finish(Box::new(finish))]);
    let delta = &read(&bytes)[1].1["delta"];
    assert_eq!(delta, &json!({ "stop_reason": "stop_sequence", "stop_sequence": "END" }));
}

#[test]
fn cached_tokens_are_told_apart_from_the_others_and_missing_counts_are_estimated() {
    let usage = |input, cached| {
        let usage = Usage { input, output: None, cached };
        accumulate(&encoded([Event::Finish(Box::new(Finish { usage, ..Finish::default() }))])).usage
    };
    assert_eq!(
        usage(Some(100), Some(80)),
        json!({ "input_tokens": 20, "cache_read_input_tokens": 80, "output_tokens": 0 })
    );
    assert_eq!(
        usage(Some(100), Some(0)),
        json!({ "input_tokens": 100, "cache_read_input_tokens": 0, "output_tokens": 0 })
    );
    assert_eq!(usage(Some(5), Some(80))["input_tokens"], 0);
    assert_eq!(usage(None, None), json!({ "input_tokens": 12, "output_tokens": 0 }));
}

#[test]
fn an_answer_without_text_is_whole_all_the_same() {
    assert_eq!(names(&encoded([finish(StopReason::Stop)])), ["message_start", "message_delta", "message_stop"]);
}

#[test]
fn a_break_is_an_error_event_and_closes_nothing_before() {
    let bytes = encoded([text("He"), failed(), text("llo"), finish(StopReason::Stop)]);
    assert_eq!(names(&bytes), ["message_start", "content_block_start", "content_block_delta", "error"]);
    let error = json!({ "type": "error", "error": { "type": "api_error", "message": "it broke \"off\"\n" } });
    assert_eq!(read(&bytes)[3].1, error);
    assert_eq!(names(&encoded([failed()])), ["error"]);
}

#[test]
fn a_sign_of_life_is_a_ping_after_the_start_and_none_after_the_end() {
    let mut encoder = Encoder::new(stamp());
    let mut out = Vec::new();
    encoder.heartbeat(0, &mut out);
    encoder.heartbeat(0, &mut out);
    encoder.event(0, text("hi"), &mut out);
    encoder.heartbeat(0, &mut out);
    encoder.event(0, finish(StopReason::Stop), &mut out);
    let length = out.len();
    encoder.heartbeat(0, &mut out);
    assert_eq!(out.len(), length);
    let expected = ["message_start", "ping", "ping", "content_block_start", "content_block_delta", "ping"];
    assert_eq!(names(&out)[..6], expected);
    assert_eq!(accumulate(&out).blocks, [json!({ "type": "text", "text": "hi" })]);
}

#[test]
fn what_is_known_at_the_end_is_a_comment_before_the_terminal_event() {
    let members = json!({ "served_by": "bedrock", "note": "a\nb" });
    for (last, before) in [(finish(StopReason::Stop), "message_stop"), (failed(), "error")] {
        let mut encoder = Encoder::new(stamp());
        let mut out = Vec::new();
        encoder.trailer(members.as_object().unwrap().clone());
        encoder.event(0, text("hi"), &mut out);
        encoder.event(0, last, &mut out);
        let events = read(&out);
        let [.., (mark, comment), (terminal, _)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((mark.as_str(), terminal.as_str()), (":", before));
        let told = comment.as_str().unwrap().strip_prefix("x_causeway ").unwrap();
        assert_eq!(serde_json::from_str::<Value>(told).unwrap(), members);
    }
}

#[test]
fn members_of_ollamas_own_lines_are_not_shown() {
    let native = Event::Native(json!({ "remote_model": "x" }).as_object().unwrap().clone());
    assert!(encoded([native, text(""), thought("")]).is_empty());
}

fn gathered(events: impl IntoIterator<Item = Event>) -> Answer {
    let mut answer = Answer::default();
    events.into_iter().for_each(|event| answer.take(event));
    answer
}

fn whole_of(answer: &Answer, trailer: &Value) -> Value {
    serde_json::from_slice(&whole(answer, &stamp(), 0, trailer.as_object().unwrap().clone())).unwrap()
}

#[test]
fn a_single_answer_is_one_message() {
    let events = [text("Hel"), thought("hm"), text("lo"), call("", "f", &json!({ "a": 1 })), finish(StopReason::Stop)];
    let expected = json!({
        "id": "msg_01ABC", "type": "message", "role": "assistant", "model": "qwen3:8b",
        "content": [
            { "type": "thinking", "thinking": "hm", "signature": "" },
            { "type": "text", "text": "Hello" },
            { "type": "tool_use", "id": "toolu_01ABC_0", "name": "f", "input": { "a": 1 } },
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": { "input_tokens": 30, "output_tokens": 5 },
        "x_causeway": { "cost_usd": 0.1 },
    });
    assert_eq!(whole_of(&gathered(events), &json!({ "cost_usd": 0.1 })), expected);
}

#[test]
fn a_single_answer_without_an_end_is_well_formed() {
    let message = whole_of(&gathered([text("He")]), &json!({}));
    assert_eq!(message["stop_reason"], Value::Null);
    assert_eq!(message["content"], json!([{ "type": "text", "text": "He" }]));
    assert_eq!(message.get("x_causeway"), None);
    assert_eq!(whole_of(&Answer::default(), &json!({}))["content"], json!([]));
}

#[test]
fn a_single_answer_that_broke_off_is_an_error_and_no_answer() {
    let message = whole_of(&gathered([text("He"), failed()]), &json!({ "served_by": "local" }));
    assert_eq!(message["type"], "error");
    assert_eq!(message["x_causeway"]["served_by"], "local");
    assert_eq!(message.get("content"), None);
}

fn any_event() -> impl Strategy<Value = Event> {
    let reason = prop::sample::select(vec![
        StopReason::Stop,
        StopReason::StopSequence,
        StopReason::Length,
        StopReason::ToolCalls,
        StopReason::ContentFilter,
        StopReason::Load,
        StopReason::Unload,
    ]);
    prop_oneof![
        8 => any::<String>().prop_map(|piece| text(&piece)),
        4 => any::<String>().prop_map(Event::Thinking),
        3 => (any::<String>(), any::<String>()).prop_map(|(name, value)| call("", &name, &json!({ name.clone(): value }))),
        1 => Just(Event::Native(Map::new())),
        1 => reason.prop_map(finish),
        1 => Just(failed()),
    ]
}

proptest! {
    #[test]
    fn any_order_of_events_is_a_stream_that_clients_read(
        events in prop::collection::vec((any_event(), any::<bool>()), 0..24),
    ) {
        let mut encoder = Encoder::new(stamp());
        let mut out = Vec::new();
        for (event, heartbeat) in events.clone() {
            if heartbeat {
                encoder.heartbeat(0, &mut out);
            }
            encoder.event(0, event, &mut out);
        }
        encoder.event(0, finish(StopReason::Stop), &mut out);
        let client = accumulate(&out);
        prop_assert_eq!(client.terminals, 1);

        let ending = [finish(StopReason::Stop)];
        let mut answer = gathered(events.into_iter().map(|(event, _)| event).chain(ending));
        // A single answer that broke off is an error alone: compared is what came before.
        answer.failed = None;
        let joined = |kind: &str| -> String {
            client.blocks.iter().filter_map(|block| block[kind].as_str()).collect()
        };
        prop_assert_eq!(joined("text"), answer.text.clone());
        prop_assert_eq!(joined("thinking"), answer.thinking.clone());
        let message = whole_of(&answer, &json!({}));
        let calls = |blocks: &[Value]| -> Vec<Value> {
            blocks.iter().filter(|block| block["type"] == "tool_use").cloned().collect()
        };
        prop_assert_eq!(calls(&client.blocks), calls(message["content"].as_array().unwrap()));
        prop_assert_eq!(&client.stop_reason, &message["stop_reason"]);
    }

    #[test]
    fn an_answer_that_is_sent_back_as_history_keeps_its_meaning(
        (said, thought_of) in (any::<String>(), any::<String>()),
        named in prop::collection::vec(("[a-z_]{1,8}", any::<String>()), 0..4),
    ) {
        let calls = named.into_iter().map(|(name, value)| call("", &name, &json!({ "é": [value] })));
        let answer = gathered([text(&said), thought(&thought_of)].into_iter().chain(calls));
        let content = whole_of(&answer, &json!({}))["content"].take();
        let history = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": content }]);
        let body = json!({ "model": "m", "max_tokens": 1, "messages": history });
        let request = crate::anthropic::parse(&serde_json::to_vec(&body).unwrap()).unwrap();

        let thinking = (!thought_of.is_empty()).then_some(Part::Thinking { text: thought_of, signature: None });
        let mut parts: Vec<Part> = thinking.into_iter().chain((!said.is_empty()).then_some(Part::Text(said))).collect();
        for (number, call) in (0..).zip(answer.tool_calls) {
            parts.push(Part::ToolCall(ToolCall { id: format!("toolu_01ABC_{number}"), ..call }));
        }
        let Input::Chat(messages) = request.input else { panic!("not a chat") };
        prop_assert_eq!(messages.get(1).map(|message| message.parts.clone()).unwrap_or_default(), parts);
        prop_assert!(request.dropped.is_empty());
    }

    #[test]
    fn a_stream_cut_at_any_byte_can_be_ended_with_an_error(cut in 0_usize..2_000) {
        let bytes = encoded([thought("hm 🦀"), text("Grüße"), call("", "f", &json!({ "a": "世界" }))]);
        let cut = cut.min(bytes.len());
        let mut tail = error::StreamTail::default();
        tail.observe(&bytes[..cut]);
        let mut out = bytes[..cut].to_vec();
        out.extend(tail.complete(Dialect::Anthropic, crate::route::Shape::Sse, Code::LinkLost, "lost"));
        let stream = String::from_utf8_lossy(&out);
        let last = stream.strip_suffix("\n\n").unwrap().rsplit("\n\n").next().unwrap();
        // The last of several `event` fields names the event.
        let field = |name: &str| last.lines().rev().find_map(|line| line.strip_prefix(name)).unwrap();
        prop_assert_eq!(field("event: "), "error");
        prop_assert_eq!(&serde_json::from_str::<Value>(field("data: ")).unwrap()["error"]["message"], "lost");
    }
}

/// Every member of `theirs` is in `ours` and of the same type; what names a kind is the same.
fn assert_has_all_of(ours: &Value, theirs: &Value, at: &str) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, theirs) in theirs {
                let at = format!("{at}.{name}");
                let own = ours.get(name).unwrap_or_else(|| panic!("{at} is missing"));
                match name.as_str() {
                    "type" | "role" | "stop_reason" => assert_eq!(own, theirs, "{at}"),
                    _ => assert_has_all_of(own, theirs, &at),
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{at}");
            ours.iter().zip(theirs).for_each(|(ours, theirs)| assert_has_all_of(ours, theirs, at));
        }
        _ => assert_eq!(std::mem::discriminant(ours), std::mem::discriminant(theirs), "{at}"),
    }
}

#[test]
fn streams_and_single_messages_have_all_that_ollamas_own_have() {
    let events = || ["I", "'m", " glad"].map(text).into_iter().chain([finish(StopReason::Length)]);
    let (_, theirs) = include_str!("recorded/messages.sse").split_once("\n\n").unwrap();
    let ours = read(&encoded(events()));
    let ours = ours.iter().filter(|(name, _)| !matches!(name.as_str(), "ping" | ":"));
    let theirs = read(theirs.as_bytes());
    assert_eq!(
        ours.clone().map(|(name, _)| name).collect::<Vec<_>>(),
        theirs.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    ours.zip(&theirs).for_each(|((name, ours), (_, theirs))| assert_has_all_of(ours, theirs, name));
    let (_, theirs) = include_str!("recorded/messages_single.json").split_once("\n\n").unwrap();
    let ours = whole_of(&gathered(events()), &json!({}));
    assert_has_all_of(&ours, &serde_json::from_str(theirs).unwrap(), "message");
}

#[test]
fn a_seal_ends_its_thought_and_a_single_answer_carries_it() {
    let events = [
        Event::Thinking("hm".to_owned()),
        Event::Signature("seal".to_owned()),
        Event::Text { text: "Hi".to_owned(), logprobs: None },
        Event::Finish(Box::default()),
    ];
    let mut encoder = Encoder::new(stamp());
    let (mut out, mut answer) = (Vec::new(), Answer::default());
    for event in events {
        encoder.event(0, event.clone(), &mut out);
        answer.take(event);
    }
    let text = String::from_utf8(out).unwrap();
    let seal = r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"seal"}}"#;
    let (before, after) = text.split_once(seal).expect(&text);
    assert!(before.contains("thinking_delta") && after.trim_start().starts_with("event: content_block_stop"), "{text}");
    let whole: Value = serde_json::from_slice(&whole(&answer, &stamp(), 0, Map::new())).unwrap();
    assert_eq!(whole["content"][0], json!({ "type": "thinking", "thinking": "hm", "signature": "seal" }));
}

#[test]
fn a_single_answer_of_several_sealed_thoughts_claims_no_seal() {
    let mut answer = Answer::default();
    for event in ["a", "b"] {
        answer.take(Event::Thinking(event.to_owned()));
        answer.take(Event::Signature(event.to_owned()));
    }
    answer.take(Event::Finish(Box::default()));
    let whole: Value = serde_json::from_slice(&whole(&answer, &stamp(), 0, Map::new())).unwrap();
    assert_eq!(whole["content"][0], json!({ "type": "thinking", "thinking": "ab", "signature": "" }));
}
