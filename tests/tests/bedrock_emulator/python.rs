//! The service's own client for Python reads what its client for Rust reads, and its service model
//! is the one that the emulator checks by.
//!
//! Runs where `CAUSEWAY_PYTHON` names a Python with `tests/interop/requirements.txt`; says so where
//! it does not, and fails there if `CAUSEWAY_REQUIRE_LIVE` is set.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};

use causeway_tests::bedrock::{Auth, Emulator, End, ErrorName, Refusal, Script, Usage};
use causeway_tests::runner::say;
use serde_json::{Value, json};

use crate::client::{MODEL, Read, read};

/// A Python that has boto3, or none, and then this says so.
fn python(test: &str) -> Option<OsString> {
    let why = match std::env::var_os("CAUSEWAY_PYTHON") {
        None => "set CAUSEWAY_PYTHON to a Python with tests/interop/requirements.txt".to_owned(),
        Some(python) => match Command::new(&python).args(["-c", "import boto3"]).output() {
            Ok(output) if output.status.success() => return Some(python),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(why) => why.to_string(),
        },
    };
    assert!(std::env::var_os("CAUSEWAY_REQUIRE_LIVE").is_none(), "{test} must run here: {why}");
    say(&format!("SKIPPED {test}: {why}"));
    None
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn run(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// boto3's reports of as many calls.
async fn boto3(mut command: Command, emulator: &Emulator, how: &str, calls: usize) -> Vec<Value> {
    command.arg(folder().join("bedrock/boto3_reads.py")).args([&emulator.url(), MODEL, how, &calls.to_string()]);
    let output = run(command).await;
    let reports = String::from_utf8_lossy(&output.stdout);
    reports.lines().map(|report| serde_json::from_str(report).unwrap()).collect()
}

/// Neither credentials nor proxies of the machine, and no compiled script in the checkout.
fn clean(python: OsString) -> Command {
    let mut command = Command::new(python);
    command.env_remove("AWS_BEARER_TOKEN_BEDROCK").env_remove("AWS_PROFILE");
    command.env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Scripts that end in order, each with a word on what it tries.
fn whole() -> Vec<(&'static str, Script)> {
    let tools = || Script::new().call_tool("a", "one", ["{\"n\":", " 1}"]).call_tool("b", "two", ["{", "}"]);
    vec![
        ("text", Script::new().say(["Hel", "lo \u{1f600}"]).used(7, 2)),
        ("tools", tools()),
        ("tools and text", Script::new().say(["Look:"]).call_tool("a", "one", Vec::<String>::new()).say(["Done."])),
        ("tools that alternate", tools().interleaved()),
        ("reasoning", Script::new().think(["Hm", "m."], ["c2ln", "bmVk"]).redacted(*b"hidden").say(["Yes."])),
        ("stop reason", Script::text("a").stop("model_context_window_exceeded")),
        ("guardrail", Script::new().say(["one", "two"]).guardrail_after(2, "No.")),
        ("no metadata", Script::text("a").usage(Usage::NoMetadata)),
    ]
}

/// Scripts that break off, and those that are refused.
fn broken() -> Vec<(&'static str, Script)> {
    let two = || Script::new().say(["one", "two"]);
    let thrown = Refusal::new(ErrorName::ModelStreamError, "midway").from_model(500, "of the model");
    vec![
        ("exception", two().throw_after(2, ErrorName::Throttling)),
        ("exception of the model", two().throw_after(1, thrown)),
        ("truncated", two().truncate_after(2)),
        ("closed", two().close_after(3)),
        ("reset", two().reset_after(2)),
        ("checksum", two().corrupt_after(2)),
        ("throttled", Script::refuse(ErrorName::Throttling)),
        ("hung up", Script::hang_up()),
    ]
}

/// The Rust client's reading in the words of the Python script.
fn report(read: &Read) -> Value {
    let usage = read.usage.as_ref().map(|usage| {
        json!({
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "totalTokens": usage.total_tokens,
        })
    });
    json!({"lines": read.lines, "stop": read.stop, "usage": usage, "error": null, "faults": []})
}

/// Both clients' readings of each script.
async fn both(python: OsString, scripts: &[(&'static str, Script)]) -> Vec<(&'static str, Read, Value)> {
    let emulator = Emulator::start().await;
    let mut ours = Vec::new();
    for (_, script) in scripts {
        emulator.script(script.clone());
        ours.push(read(&emulator).await);
    }
    for (_, script) in scripts {
        emulator.script(script.clone());
    }
    let theirs = boto3(clean(python), &emulator, "stream", scripts.len()).await;
    emulator.assert_all_valid();
    assert_eq!((theirs.len(), emulator.calls().len()), (scripts.len(), 2 * scripts.len()));
    let names = scripts.iter().map(|(name, _)| *name);
    names.zip(ours).zip(theirs).map(|((name, ours), theirs)| (name, ours, theirs)).collect()
}

#[tokio::test]
async fn boto3_reads_the_streams_that_the_rust_client_reads() {
    let Some(python) = python("boto3_reads_the_streams_that_the_rust_client_reads") else { return };
    for (name, ours, theirs) in both(python, &whole()).await {
        assert!(ours.stop.is_some(), "{name}: {ours:?}");
        assert_eq!(theirs, report(&ours), "{name}");
    }
}

#[tokio::test]
async fn boto3_reads_as_far_as_the_rust_client_where_a_stream_breaks_off() {
    let Some(python) = python("boto3_reads_as_far_as_the_rust_client_where_a_stream_breaks_off") else { return };
    for (name, ours, theirs) in both(python, &broken()).await {
        assert_eq!((&theirs["lines"], &theirs["stop"]), (&json!(ours.lines), &Value::Null), "{name}: {theirs}");
        assert_eq!(theirs["faults"], json!([]), "{name}");
        let expected = match name {
            "exception" => "throttlingException",
            "exception of the model" => "modelStreamErrorException",
            "checksum" => "ChecksumMismatch",
            "throttled" => "ThrottlingException",
            "hung up" => "ConnectionClosedError",
            "reset" => "ProtocolError",
            // boto3 takes both for an end in order: only the missing messageStop tells.
            "truncated" | "closed" => {
                assert_eq!(theirs["error"], Value::Null, "{name}");
                continue;
            }
            other => panic!("{other} is not expected"),
        };
        assert_eq!(theirs["error"], expected, "{name}");
    }
}

#[tokio::test]
async fn boto3_reads_whole_answers_as_well() {
    let Some(python) = python("boto3_reads_whole_answers_as_well") else { return };
    let emulator = Emulator::start().await;
    emulator
        .script(Script::new().think(["Hm."], ["sig"]).say(["a", "b"]).call_tool("a", "one", ["{\"n\":1}"]).used(3, 4));
    let reports = boto3(clean(python), &emulator, "converse", 1).await;
    let answer = &reports[0]["answer"];
    assert_eq!(reports[0]["faults"], json!([]));
    assert_eq!(answer["output"]["message"]["content"][1]["text"], "ab");
    assert_eq!(answer["output"]["message"]["content"][2]["toolUse"]["input"], json!({"n": 1}));
    assert_eq!((&answer["stopReason"], &answer["usage"]["totalTokens"]), (&json!("tool_use"), &json!(7)));
    let call = emulator.calls().remove(0);
    assert_eq!((call.auth, call.end), (Auth::SigV4, Some(End::Whole)));
}

#[tokio::test]
async fn the_service_model_is_the_one_that_botocore_ships() {
    let Some(python) = python("the_service_model_is_the_one_that_botocore_ships") else { return };
    let mut command = clean(python);
    command.arg(folder().join("fixtures/extract_bedrock_model.py"));
    let printed = String::from_utf8(run(command).await.stdout).unwrap();
    let kept = std::fs::read_to_string(folder().join("fixtures/bedrock-runtime.json")).unwrap();
    let version = |extract: &str| serde_json::from_str::<Value>(extract).unwrap()["source"].clone();
    assert_eq!(version(&printed), version(&kept), "another botocore than tests/interop/requirements.txt pins");
    assert!(printed == kept, "run tests/fixtures/extract_bedrock_model.py again");
}
