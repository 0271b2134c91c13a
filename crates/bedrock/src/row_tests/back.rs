//! Rows of the way back.

use std::time::Duration;

use aws_sdk_bedrockruntime::operation::converse::ConverseOutput as Single;
use aws_sdk_bedrockruntime::types::{
    ContentBlockDelta, ContentBlockDeltaEvent, ContentBlockStart, ContentBlockStartEvent, ContentBlockStopEvent,
    ConversationRole, ConverseOutput, ConverseStreamMetadataEvent, ConverseStreamOutput as Piece, MessageStopEvent,
    ReasoningContentBlock, ReasoningContentBlockDelta, ReasoningTextBlock, StopReason as Stop, TokenUsage,
    ToolUseBlock, ToolUseBlockDelta, ToolUseBlockStart,
};
use causeway_dialect::event::{Event, Finish, StopReason};
use causeway_wire::Code;

use super::*;
use crate::answer::{Times, pieces};

fn delta(index: i32, delta: ContentBlockDelta) -> Piece {
    Piece::ContentBlockDelta(ContentBlockDeltaEvent::builder().content_block_index(index).delta(delta).build().unwrap())
}

fn words(text: &str) -> Piece {
    delta(0, ContentBlockDelta::Text(text.to_owned()))
}

fn thought(delta_of: ReasoningContentBlockDelta) -> Piece {
    delta(0, ContentBlockDelta::ReasoningContent(delta_of))
}

fn begin(index: i32, id: &str, name: &str) -> Piece {
    let start = ToolUseBlockStart::builder().tool_use_id(id).name(name).build().unwrap();
    let start = ContentBlockStart::ToolUse(start);
    Piece::ContentBlockStart(ContentBlockStartEvent::builder().content_block_index(index).start(start).build().unwrap())
}

fn arguments(index: i32, text: &str) -> Piece {
    delta(index, ContentBlockDelta::ToolUse(ToolUseBlockDelta::builder().input(text).build().unwrap()))
}

fn end(index: i32) -> Piece {
    Piece::ContentBlockStop(ContentBlockStopEvent::builder().content_block_index(index).build().unwrap())
}

fn stop(reason: Stop) -> Piece {
    Piece::MessageStop(MessageStopEvent::builder().stop_reason(reason).build().unwrap())
}

fn counts() -> TokenUsage {
    TokenUsage::builder()
        .input_tokens(10)
        .output_tokens(5)
        .total_tokens(15)
        .cache_read_input_tokens(3)
        .cache_write_input_tokens(2)
        .build()
        .unwrap()
}

fn metadata() -> Piece {
    Piece::Metadata(ConverseStreamMetadataEvent::builder().usage(counts()).build())
}

const TIMES: Times = Times { first: Duration::from_millis(300), total: Duration::from_millis(1_000) };

fn read(request: &Request, model: &str, pieces: Vec<Piece>) -> Vec<Event> {
    let mut reader = mapped(request, model).reader;
    let mut events = Vec::new();
    pieces.into_iter().for_each(|piece| reader.feed(piece, &mut events));
    reader.finish(TIMES, &mut events);
    assert!(reader.has_ended());
    events
}

fn plain(pieces: Vec<Piece>) -> Vec<Event> {
    read(&chat(json!({})), CLAUDE, pieces)
}

fn said_text(text: &str) -> Event {
    Event::Text { text: text.to_owned(), logprobs: None }
}

fn finish(events: &[Event]) -> &Finish {
    match events.last() {
        Some(Event::Finish(finish)) => finish,
        other => panic!("no finish but {other:?}"),
    }
}

fn broke(events: &[Event]) -> bool {
    matches!(events.last(), Some(Event::Failed { code: Code::UpstreamIncomplete, .. }))
}

#[test]
fn row_29_text_needs_no_start() {
    let events = plain(vec![words("Hel"), words(""), words("lo"), end(0), stop(Stop::EndTurn), metadata()]);
    assert_eq!(events[..2], [said_text("Hel"), said_text("lo")]);
    assert_eq!(events.len(), 3);
}

#[test]
fn row_30_thought_and_its_seal_are_told_though_the_seal_comes_alone() {
    let events = plain(vec![
        thought(ReasoningContentBlockDelta::Text("hm".to_owned())),
        thought(ReasoningContentBlockDelta::Signature("seal".to_owned())),
        thought(ReasoningContentBlockDelta::RedactedContent(aws_sdk_bedrockruntime::primitives::Blob::new("x"))),
        words("Hi"),
        stop(Stop::EndTurn),
        metadata(),
    ]);
    let told = [Event::Thinking("hm".to_owned()), Event::Signature("seal".to_owned()), said_text("Hi")];
    assert_eq!(events[..3], told);
}

#[test]
fn row_31_calls_are_told_whole_under_the_callers_names() {
    let name = "n".repeat(100);
    let request =
        Request { tools: vec![tool(&name), tool("b")], ..conversation(vec![said(Role::User, vec![text("a")])]) };
    let out = mapped(&request, CLAUDE).call.tools.unwrap().tools()[0].as_tool_spec().unwrap().name().to_owned();
    let events = read(
        &request,
        CLAUDE,
        vec![
            begin(1, "x", &out),
            begin(2, "y", "b"),
            arguments(1, "{\"a\""),
            arguments(2, ""),
            arguments(1, ":[1]}"),
            end(1),
            end(2),
            stop(Stop::ToolUse),
            metadata(),
        ],
    );
    let arguments = json!({ "a": [1] }).as_object().unwrap().clone();
    assert_eq!(
        events[..2],
        [
            Event::ToolCall(ToolCall { id: "x".to_owned(), name, arguments }),
            Event::ToolCall(ToolCall { id: "y".to_owned(), name: "b".to_owned(), arguments: serde_json::Map::new() }),
        ]
    );
    assert_eq!(finish(&events).reason, StopReason::ToolCalls);
}

#[test]
fn row_32_the_end_waits_for_the_counts_and_does_without() {
    let mut reader = mapped(&chat(json!({})), CLAUDE).reader;
    let mut events = Vec::new();
    reader.feed(words("Hi"), &mut events);
    reader.feed(stop(Stop::EndTurn), &mut events);
    assert!(reader.has_stopped() && !reader.is_whole());
    reader.feed(metadata(), &mut events);
    assert!(reader.is_whole());
    reader.finish(TIMES, &mut events);
    let usage = finish(&events).usage;
    assert_eq!((usage.input, usage.output, usage.cached), (Some(15), Some(5), Some(3)));
    let without = plain(vec![words("Hi"), stop(Stop::EndTurn)]);
    assert_eq!(finish(&without).usage.input, None);
    let zeros = TokenUsage::builder().input_tokens(0).output_tokens(0).total_tokens(0).build().unwrap();
    let missing = Piece::Metadata(ConverseStreamMetadataEvent::builder().usage(zeros).build());
    let missing = plain(vec![words("Hi"), stop(Stop::EndTurn), missing]);
    assert_eq!(finish(&missing).usage.output, None, "the SDK reads missing counts as zeros");
}

#[test]
fn row_33_each_stop_reason_is_one_of_ours() {
    for (said, reason) in [
        (Stop::EndTurn, StopReason::Stop),
        (Stop::StopSequence, StopReason::StopSequence),
        (Stop::ToolUse, StopReason::Stop),
        (Stop::MaxTokens, StopReason::Length),
        (Stop::ModelContextWindowExceeded, StopReason::Length),
        (Stop::GuardrailIntervened, StopReason::ContentFilter),
        (Stop::ContentFiltered, StopReason::ContentFilter),
        (Stop::from("something_new"), StopReason::Stop),
    ] {
        let events = plain(vec![words("Hi"), stop(said.clone()), metadata()]);
        assert_eq!(finish(&events).reason, reason, "{said:?}");
    }
    let fields = document::from_json(&json!({ "stop_sequence": "END" }));
    let stopped = MessageStopEvent::builder().stop_reason(Stop::StopSequence).additional_model_response_fields(fields);
    let events = plain(vec![words("Hi"), Piece::MessageStop(stopped.build().unwrap())]);
    assert_eq!(finish(&events).stop_sequence.as_deref(), Some("END"));
}

#[test]
fn row_34_what_is_no_answer_and_no_call_is_an_error() {
    for reason in [Stop::MalformedModelOutput, Stop::MalformedToolUse] {
        assert!(broke(&plain(vec![words("Hi"), stop(reason), metadata()])));
    }
    for text in ["[1]", "{\"a\":", "x"] {
        let events = plain(vec![begin(0, "x", "f"), arguments(0, text), end(0), stop(Stop::ToolUse), metadata()]);
        assert!(broke(&events) && events.len() == 1, "{text}");
    }
}

#[test]
fn row_35_a_stream_without_its_end_is_an_error() {
    assert!(broke(&plain(vec![words("Hi")])));
    assert!(broke(&plain(Vec::new())));
    assert!(broke(&plain(vec![words("Hi"), metadata()])));
}

#[test]
fn row_36_the_first_piece_ends_the_prompts_time() {
    let events = plain(vec![words("Hi"), stop(Stop::EndTurn), metadata()]);
    let times = finish(&events).durations;
    assert_eq!((times.load, times.prompt_eval), (Some(0), Some(300_000_000)));
    assert_eq!((times.eval, times.total), (Some(700_000_000), Some(1_000_000_000)));
}

#[test]
fn row_37_a_single_answer_says_the_same_as_a_stream() {
    let thought = ReasoningTextBlock::builder().text("hm").signature("seal").build().unwrap();
    let input = document::from_json(&json!({ "a": 1 }));
    let call = ToolUseBlock::builder().tool_use_id("x").name("f").input(input).build().unwrap();
    let message = Message::builder()
        .role(ConversationRole::Assistant)
        .content(ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(thought)))
        .content(ContentBlock::Text("Hi".to_owned()))
        .content(ContentBlock::ToolUse(call))
        .build()
        .unwrap();
    let answer = Single::builder()
        .output(ConverseOutput::Message(message))
        .stop_reason(Stop::ToolUse)
        .usage(counts())
        .build()
        .unwrap();
    let events = plain(pieces(answer).unwrap());
    let arguments = json!({ "a": 1 }).as_object().unwrap().clone();
    assert_eq!(
        events[..4],
        [
            Event::Thinking("hm".to_owned()),
            Event::Signature("seal".to_owned()),
            said_text("Hi"),
            Event::ToolCall(ToolCall { id: "x".to_owned(), name: "f".to_owned(), arguments }),
        ]
    );
    assert_eq!((finish(&events).reason, finish(&events).usage.output), (StopReason::ToolCalls, Some(5)));
}

#[test]
fn the_arguments_of_a_forced_answer_are_told_as_text() {
    let request = chat(json!({ "format": "json" }));
    let pieces = vec![
        words("Sure:"),
        begin(1, "x", "answer"),
        arguments(1, "{\"a\":"),
        arguments(1, "1}"),
        end(1),
        stop(Stop::ToolUse),
    ];
    let events = read(&request, NOVA, pieces);
    assert_eq!(events[..2], [said_text("{\"a\":"), said_text("1}")]);
    assert_eq!((events.len(), finish(&events).reason), (3, StopReason::Stop));
}
