//! The emulator's own workings: its record, its order of scripts, throttles, and the canary.

use std::panic::AssertUnwindSafe;

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::Token;
use aws_smithy_runtime_api::client::auth::http::HTTP_BEARER_AUTH_SCHEME_ID;
use causeway_tests::bedrock::{
    Auth, CANARY, Config, Count, Emulator, End, ErrorName, Families, Family, Feature, Operation, Refusal, Script,
};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use crate::client::{MODEL, client, read, stream, user};

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]})
}

/// Without a proxy, whatever the environment says.
fn direct() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn post(emulator: &Emulator, path: &str, body: &str) -> (u16, Value) {
    let request = direct().post(format!("{}{path}", emulator.url()));
    let response = request.bearer_auth("secret").body(body.to_owned()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn the_record_says_who_asked_what_of_whom() {
    let emulator = Emulator::start().await;
    read(&emulator).await;
    post(&emulator, "/model/eu.amazon.nova-lite-v1%3A0/converse", &hello().to_string()).await;
    let calls = emulator.wait_for_ended(2).await;
    let [first, second] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((first.operation, first.auth, first.model.as_str()), (Operation::ConverseStream, Auth::SigV4, MODEL));
    assert_eq!(*first.body, hello());
    assert_eq!((second.operation, second.auth), (Operation::Converse, Auth::Bearer));
    assert_eq!(second.model, "eu.amazon.nova-lite-v1:0");
    assert_eq!((&first.end, &second.end), (&Some(End::Whole), &Some(End::Whole)));
    assert_eq!((first.number, second.number, second.in_flight), (0, 1, 1));
    assert!(!format!("{calls:?}").contains("secret"), "a credential is on record");
    emulator.assert_all_valid();
}

#[tokio::test]
async fn a_bearer_token_of_the_rust_client_is_told_from_a_signature() {
    let emulator = Emulator::start().await;
    let config = client(&emulator).config().to_builder().bearer_token(Token::new("secret", None));
    // Where there is a key as well, the key signs unless told otherwise.
    let config = config.auth_scheme_preference([HTTP_BEARER_AUTH_SCHEME_ID]).build();
    Client::from_conf(config).converse().model_id(MODEL).messages(user("Hello")).send().await.unwrap();
    assert_eq!(emulator.calls()[0].auth, Auth::Bearer);
}

#[tokio::test]
async fn calls_in_flight_are_counted_and_one_that_its_client_leaves_is_told_apart() {
    let emulator = Emulator::start().await;
    emulator.default_script(Script::silence());
    let (first, second) = (tokio::spawn(stream(&emulator).send()), tokio::spawn(stream(&emulator).send()));
    let calls = emulator.wait_for_calls(2).await;
    assert_eq!((calls[0].in_flight, calls[1].in_flight, emulator.in_flight()), (1, 2, 2));
    first.abort();
    second.abort();
    let calls = emulator.wait_for_ended(2).await;
    assert!(calls.iter().all(|call| call.end == Some(End::ClientLeft)), "{calls:?}");
    assert_eq!(emulator.in_flight(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_midway_is_seen() {
    let emulator = Emulator::start().await;
    emulator.script(Script::new().say(["one", "two"]).hang_after(2));
    let mut answer = stream(&emulator).send().await.unwrap();
    answer.stream.recv().await.unwrap();
    drop(answer);
    assert_eq!(emulator.wait_for_ended(1).await[0].end, Some(End::ClientLeft));
}

#[tokio::test]
async fn scripts_are_taken_in_order_and_then_the_default() {
    let emulator = Emulator::start().await;
    emulator.script(Script::text("first"));
    emulator.script(Script::refuse(ErrorName::ServiceUnavailable));
    emulator.default_script(Script::text("default"));
    assert_eq!(read(&emulator).await.lines[1], "0 text first");
    assert_eq!(emulator.scripts_left(), 1);
    assert_eq!(read(&emulator).await.code(), Some("ServiceUnavailableException"));
    assert_eq!(read(&emulator).await.lines[1], "0 text default");
    emulator.decide(|call| Script::text(format!("call {}", call.number)));
    assert_eq!(read(&emulator).await.lines[1], "0 text call 3");
}

#[tokio::test]
async fn throttles_by_chance_fall_the_same_way_for_the_same_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let emulator = Emulator::start().await;
        emulator.throttle(50, 7);
        let mut run = Vec::new();
        for _ in 0..20 {
            run.push(read(&emulator).await.code() == Some("ThrottlingException"));
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].contains(&true) && runs[0].contains(&false), "{runs:?}");
}

#[tokio::test]
async fn a_wrong_request_is_refused_with_its_reason_and_takes_no_script() {
    let emulator = Emulator::start().await;
    emulator.script(Script::text("later"));
    let (status, body) = post(&emulator, &format!("/model/{MODEL}/converse"), r#"{"messages": []}"#).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().contains("must start with a user message"), "{body}");
    assert_eq!(emulator.scripts_left(), 1);
    assert!(emulator.calls()[0].invalid().unwrap().contains("must start with a user message"));
    let judged = std::panic::catch_unwind(AssertUnwindSafe(|| emulator.assert_all_valid()));
    assert!(judged.is_err());
}

#[tokio::test]
async fn what_is_no_json_no_operation_or_no_credential_is_refused() {
    let emulator = Emulator::start().await;
    assert_eq!(post(&emulator, &format!("/model/{MODEL}/converse"), "{").await.0, 400);
    assert_eq!(post(&emulator, &format!("/model/{MODEL}/invoke"), "{}").await.0, 404);
    let url = format!("{}/model/{MODEL}/converse", emulator.url());
    let response = direct().post(url).body(hello().to_string()).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 403);
    assert_eq!(response.headers()["x-amzn-errortype"], "MissingAuthenticationTokenException");
    assert_eq!(emulator.calls()[2].auth, Auth::None);
}

#[tokio::test]
async fn count_tokens_takes_no_script() {
    let emulator = Emulator::start().await;
    emulator.script(Script::text("later"));
    let converse = aws_sdk_bedrockruntime::types::ConverseTokensRequest::builder().messages(user("Hello")).build();
    let input = aws_sdk_bedrockruntime::types::CountTokensInput::Converse(converse);
    let count = || client(&emulator).count_tokens().model_id(MODEL).input(input.clone()).send();
    assert!(count().await.unwrap().input_tokens > 0);
    emulator.count_tokens(Count::Tokens(321));
    assert_eq!(count().await.unwrap().input_tokens, 321);
    emulator.count_tokens(Count::Refuse(Refusal::too_many_tokens()));
    assert!(count().await.unwrap_err().into_service_error().is_throttling_exception());
    assert_eq!(emulator.scripts_left(), 1);
}

#[tokio::test]
async fn a_model_that_needs_a_profile_says_so() {
    let families = Families::default().with(Family::new("meta.").lacks(Feature::OnDemand));
    let emulator = Emulator::start_with(Config { families, ..Config::default() }).await.unwrap();
    let (status, body) = post(&emulator, "/model/meta.llama3-1/converse", &hello().to_string()).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().contains("on-demand throughput isn\u{2019}t supported"), "{body}");
    assert_eq!(post(&emulator, "/model/us.meta.llama3-1/converse", &hello().to_string()).await.0, 200);
}

#[tokio::test]
async fn a_dropped_emulator_closes_its_port_and_its_connections() {
    let emulator = Emulator::start().await;
    emulator.script(Script::silence());
    let url = emulator.url();
    let call = tokio::spawn(stream(&emulator).send());
    emulator.wait_for_calls(1).await;
    drop(emulator);
    assert!(call.await.unwrap().is_err());
    assert!(direct().get(url).send().await.is_err());
}

/// What a dropped emulator says of a prompt.
async fn verdict(prompt: &str, allowed: bool) -> Result<(), String> {
    let emulator = Emulator::start().await;
    if allowed {
        emulator.allow_canary();
    }
    client(&emulator).converse().model_id(MODEL).messages(user(prompt)).send().await.unwrap();
    let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(emulator)));
    dropped.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_canary_that_arrived_fails_the_test_that_drops_the_emulator() {
    let said = verdict(&format!("My secret is {CANARY}."), false).await.unwrap_err();
    assert!(said.contains("canary reached Bedrock in calls [0]"), "{said}");
    assert_eq!(verdict("Nothing secret.", false).await, Ok(()));
    assert_eq!(verdict(&format!("On purpose: {CANARY}."), true).await, Ok(()));
}

#[tokio::test]
async fn a_canary_in_a_refused_request_counts_too() {
    let emulator = Emulator::start().await;
    post(&emulator, "/elsewhere", &json!({"anything": CANARY}).to_string()).await;
    assert!(emulator.saw_canary());
    emulator.allow_canary();
}

#[tokio::test]
async fn a_test_that_already_fails_is_not_failed_twice() {
    let failing = AssertUnwindSafe(async {
        let emulator = Emulator::start().await;
        post(&emulator, "/elsewhere", CANARY).await;
        panic!("the test's own failure");
    });
    let said = failing.catch_unwind().await.unwrap_err();
    assert_eq!(said.downcast_ref::<&str>(), Some(&"the test's own failure"));
}
