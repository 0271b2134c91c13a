//! Every kind of script, read by the service's own client.

use std::time::Duration;

use aws_sdk_bedrockruntime::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use aws_sdk_bedrockruntime::types::ContentBlock;
use causeway_tests::bedrock::{Emulator, End, ErrorName, Refusal, Script, Spelling, Tokens, Usage};
use serde_json::json;

use crate::client::{MODEL, Read, client, read, read_events, stream, user};

async fn read_script(script: Script) -> (Read, End) {
    let emulator = Emulator::start().await;
    emulator.script(script);
    let read = read(&emulator).await;
    let calls = emulator.wait_for_ended(1).await;
    (read, calls[0].end.clone().unwrap())
}

#[tokio::test]
async fn text_comes_in_its_pieces_without_a_start_of_block() {
    let (read, end) = read_script(Script::new().say(["Hel", "lo"]).used(7, 2)).await;
    assert_eq!(read.lines, ["start assistant", "0 text Hel", "0 text lo", "0 stop"]);
    assert_eq!(read.stop.as_deref(), Some("end_turn"));
    let usage = read.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.total_tokens), (7, 2, 9));
    assert_eq!(end, End::Whole);
}

#[tokio::test]
async fn tool_calls_come_in_fragments_with_text_between() {
    let script = Script::new()
        .say(["Let me look."])
        .call_tool("tooluse_1", "weather", ["{\"city\":", "\"Oslo\"}"])
        .say(["And the time."])
        .call_tool("tooluse_2", "clock", Vec::<String>::new());
    let (read, _) = read_script(script).await;
    assert_eq!(
        read.lines[1..],
        [
            "0 text Let me look.",
            "0 stop",
            "1 tool tooluse_1 weather",
            "1 input {\"city\":",
            "1 input \"Oslo\"}",
            "1 stop",
            "2 text And the time.",
            "2 stop",
            "3 tool tooluse_2 clock",
            "3 stop",
        ]
    );
    assert_eq!(read.stop.as_deref(), Some("tool_use"));
}

#[tokio::test]
async fn blocks_can_alternate_event_by_event() {
    let script = Script::new().call_tool("a", "one", ["{", "}"]).call_tool("b", "two", ["{}"]).interleaved();
    let (read, _) = read_script(script).await;
    assert_eq!(
        read.lines[1..],
        ["0 tool a one", "1 tool b two", "0 input {", "1 input {}", "0 input }", "1 stop", "0 stop"]
    );
}

#[tokio::test]
async fn a_signature_comes_alone_and_redacted_reasoning_as_it_is() {
    let script = Script::new().think(["Hm", "m."], ["c2ln", "bmVk"]).redacted(*b"secret").say(["Yes."]);
    let (read, _) = read_script(script).await;
    assert_eq!(
        read.lines[1..],
        [
            "0 thought Hm",
            "0 thought m.",
            "0 signature c2ln",
            "0 signature bmVk",
            "0 stop",
            "1 redacted secret",
            "1 stop",
            "2 text Yes.",
            "2 stop",
        ]
    );
}

#[tokio::test]
async fn a_raw_event_goes_out_as_it_is() {
    let script = Script::new().event("contentBlockStop", json!({"contentBlockIndex": 5})).stop("stop_sequence");
    let (read, _) = read_script(script).await;
    assert_eq!(read.lines, ["start assistant", "5 stop"]);
    assert_eq!(read.stop.as_deref(), Some("stop_sequence"));
}

#[tokio::test]
async fn usage_is_right_wrong_or_missing_as_scripted() {
    let wrong = Tokens { input: 1, output: 0, total: Some(99), cache_read: Some(5), cache_write: Some(6) };
    let (read, _) = read_script(Script::text("a").usage(Usage::Exact(wrong))).await;
    let usage = read.usage.unwrap();
    assert_eq!((usage.output_tokens, usage.total_tokens), (0, 99));
    assert_eq!((usage.cache_read_input_tokens, usage.cache_write_input_tokens), (Some(5), Some(6)));

    let (read, _) = read_script(Script::text("a").usage(Usage::Missing)).await;
    // The client fills in what the service's model requires: who settles by it must know that
    // all zeros are no usage.
    let usage = read.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.total_tokens), (0, 0, 0));

    let (read, end) = read_script(Script::text("a").usage(Usage::NoMetadata)).await;
    assert!(!read.metadata && read.stop.is_some() && read.error.is_none(), "{read:?}");
    assert_eq!(end, End::Whole);
}

#[tokio::test]
async fn invented_tokens_stop_at_max_tokens() {
    let emulator = Emulator::start().await;
    emulator.default_script(Script::tokens(10));
    let config = aws_sdk_bedrockruntime::types::InferenceConfiguration::builder().max_tokens(3).build();
    let read = read_events(stream(&emulator).inference_config(config).send().await.unwrap()).await;
    assert_eq!(read.lines.len(), 1 + 3 + 1);
    assert_eq!(read.stop.as_deref(), Some("max_tokens"));
    assert_eq!(read.usage.unwrap().output_tokens, 3);
}

#[tokio::test]
async fn an_exception_frame_midway_has_its_name() {
    for error in [
        ErrorName::Throttling,
        ErrorName::ModelStreamError,
        ErrorName::InternalServer,
        ErrorName::ServiceUnavailable,
        ErrorName::Validation,
    ] {
        let refusal = Refusal::new(error, "midway").from_model(500, "of the model");
        let (read, end) = read_script(Script::new().say(["one", "two"]).throw_after(2, refusal)).await;
        assert_eq!(read.lines, ["start assistant", "0 text one"]);
        assert!(read.error.as_ref().unwrap().words.contains("midway"), "{read:?}");
        assert_eq!(read.code().unwrap_or(error.name()), error.name());
        assert_eq!(end, End::Thrown(error));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_looks_whole() {
    let script = || Script::new().say(["one", "two"]);
    let (cut, end) = read_script(script().truncate_after(2)).await;
    assert_eq!((cut.lines.len(), cut.stop.is_none()), (2, true), "{cut:?}");
    assert_eq!(end, End::Broken);

    let (closed, end) = read_script(script().close_after(3)).await;
    assert_eq!((closed.lines.len(), closed.stop.is_none()), (3, true), "{closed:?}");
    assert_eq!(end, End::Broken);

    let (reset, end) = read_script(script().reset_after(2)).await;
    assert!(reset.error.is_some() && reset.stop.is_none(), "{reset:?}");
    assert_eq!(end, End::Broken);
}

#[tokio::test]
async fn a_frame_with_a_wrong_checksum_is_an_error_of_the_client() {
    let (read, _) = read_script(Script::new().say(["one", "two"]).corrupt_after(2)).await;
    assert_eq!(read.lines, ["start assistant", "0 text one"]);
    assert!(read.error.is_some(), "{read:?}");
}

#[tokio::test]
async fn a_guardrail_puts_its_own_words_midway() {
    let script = Script::new().say(["one", "two", "three"]).guardrail_after(2, "I may not say that.");
    let (read, end) = read_script(script).await;
    assert_eq!(read.lines, ["start assistant", "0 text one", "0 text I may not say that.", "0 stop"]);
    assert_eq!(read.stop.as_deref(), Some("guardrail_intervened"));
    assert_eq!(end, End::Whole);
}

#[tokio::test]
async fn every_row_of_the_error_table_comes_by_name_and_status() {
    for error in ErrorName::ALL {
        for spelling in [Spelling::Plain, Spelling::WithUri, Spelling::WithNamespace, Spelling::InBody] {
            let (read, end) = read_script(Script::refuse(Refusal::new(error, "said so").spelt(spelling))).await;
            let failed = read.error.unwrap();
            assert_eq!(failed.code.as_deref(), Some(error.name()), "{spelling:?}");
            assert!(failed.words.contains("said so"), "{}", failed.words);
            assert_eq!(end, End::Refused(error));
        }
    }
}

#[tokio::test]
async fn a_call_can_be_hung_up_on() {
    let (read, end) = read_script(Script::hang_up()).await;
    assert!(read.error.is_some());
    assert_eq!(end, End::Broken);
}

#[tokio::test]
async fn converse_says_at_once_what_the_stream_says_in_pieces() {
    let emulator = Emulator::start().await;
    emulator.script(
        Script::new()
            .think(["Hm", "m."], ["sig"])
            .say(["Let ", "me."])
            .call_tool("tooluse_1", "weather", ["{\"city\":", "\"Oslo\"}"])
            .used(3, 4),
    );
    let answer = client(&emulator).converse().model_id(MODEL).messages(user("Hello")).send().await.unwrap();
    let content = answer.output.unwrap().as_message().unwrap().content.clone();
    let reasoning = content[0].as_reasoning_content().unwrap().as_reasoning_text().unwrap();
    assert_eq!((reasoning.text.as_str(), reasoning.signature.as_deref()), ("Hmm.", Some("sig")));
    assert_eq!(content[1], ContentBlock::Text("Let me.".to_owned()));
    let tool = content[2].as_tool_use().unwrap();
    assert_eq!(tool.input.as_object().unwrap()["city"].as_string(), Some("Oslo"));
    assert_eq!(answer.stop_reason.as_str(), "tool_use");
    assert_eq!(answer.usage.unwrap().total_tokens, 7);
}

#[tokio::test]
async fn converse_shows_the_scripts_faults_too() {
    let emulator = Emulator::start().await;
    let converse = || client(&emulator).converse().model_id(MODEL).messages(user("Hello")).send();
    emulator.script(Script::text("a").throw_after(1, ErrorName::ModelTimeout));
    assert_eq!(converse().await.unwrap_err().code(), Some("ModelTimeoutException"));
    for broken in [Script::text("a").truncate_after(1), Script::text("a").reset_after(1), Script::hang_up()] {
        emulator.script(broken);
        let error = converse().await.unwrap_err();
        assert!(error.code().is_none(), "{}", DisplayErrorContext(&error));
    }
    let ends: Vec<_> = emulator.wait_for_ended(4).await.into_iter().skip(1).map(|call| call.end).collect();
    assert_eq!(ends, [Some(End::Broken), Some(End::Broken), Some(End::Broken)]);
}

#[tokio::test]
async fn waits_stand_where_the_script_puts_them() {
    let hour = Duration::from_secs(3600);
    let emulator = Emulator::start().await;
    emulator.script(Script::text("a").first_token_after(hour));
    emulator.script(Script::new().say(["a", "b"]).token_every(hour));
    emulator.script(Script::text("a").metadata_after(hour));
    for (events, last) in [(1, "start"), (2, "text"), (4, "stop")] {
        let mut answer = stream(&emulator).send().await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..events {
            seen.push(format!("{:?}", answer.stream.recv().await.unwrap().unwrap()).to_lowercase());
        }
        assert!(seen.last().unwrap().contains(last), "{seen:?}");
    }
    let ends: Vec<_> = emulator.wait_for_ended(3).await.into_iter().map(|call| call.end).collect();
    assert_eq!(ends, [Some(End::ClientLeft), Some(End::ClientLeft), Some(End::ClientLeft)]);
}
