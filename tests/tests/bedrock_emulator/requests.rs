//! Requests against the service model: types, required and unknown members, enums, lengths, ranges,
//! patterns and unions.

use causeway_tests::bedrock::{Families, Operation, validate};
use serde_json::{Value, json};

const MODEL: &str = "amazon.nova-lite-v1:0";

fn judged(operation: Operation, body: &Value) -> Result<(), String> {
    validate(operation, MODEL, body, &Families::none())
}

/// A small request with one member set.
fn with(member: &str, value: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]});
    body[member] = value;
    body
}

fn said(content: Value) -> Value {
    with("messages", json!([{"role": "user", "content": [content]}]))
}

#[test]
fn a_request_that_uses_every_member_passes() {
    let body = json!({
        "messages": [{"role": "user", "content": [
            {"text": "Hello"},
            {"image": {"format": "gif", "source": {"bytes": "R0lGODlhAQABAAAAACw="}}},
            {"document": {"format": "txt", "name": "Notes 1", "source": {"bytes": "aGVsbG8="}}},
            {"guardContent": {"text": {"text": "Guard me", "qualifiers": ["query"]}}},
            {"cachePoint": {"type": "default"}}
        ]}],
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "inferenceConfig": {"maxTokens": 1, "temperature": 0, "topP": 1.0, "stopSequences": ["END"]},
        "toolConfig": {
            "tools": [{"toolSpec": {
                "name": "weather",
                "description": "Says it.",
                "strict": true,
                "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": ["string", "null"]}}}}
            }}],
            "toolChoice": {"auto": {}}
        },
        "guardrailConfig": {
            "guardrailIdentifier": "abc123", "guardrailVersion": "DRAFT", "trace": "enabled_full",
            "streamProcessingMode": "async"
        },
        "additionalModelRequestFields": {"inferenceConfig": {"topK": 3}, "null": null},
        "promptVariables": {"who": {"text": "me"}},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "requestMetadata": {"tenant": "a b@c"},
        "performanceConfig": {"latency": "optimized"},
        "serviceTier": {"type": "flex"},
        "outputConfig": {
            "effort": "low",
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{\"type\":\"string\"}"}}}
        }
    });
    assert_eq!(judged(Operation::ConverseStream, &body), Ok(()));
}

#[test]
fn what_the_service_model_does_not_allow_is_refused_with_its_place() {
    let long = "x".repeat(65);
    let tool = |spec: Value| with("toolConfig", json!({"tools": [{"toolSpec": spec}]}));
    let schema = json!({"json": {"type": "object"}});
    for (body, expected) in [
        // Types.
        (json!([]), "must be an object"),
        (Value::Null, "must be an object"),
        (with("messages", json!("Hello")), "'messages' failed to satisfy constraint: Member must be a list"),
        (said(json!({"text": 1})), "'messages.1.member.content.1.member.text'"),
        (with("inferenceConfig", json!({"maxTokens": 1.5})), "must be an integer"),
        (with("inferenceConfig", json!({"maxTokens": "9"})), "must be an integer"),
        (with("inferenceConfig", json!({"topP": true})), "must be a number"),
        (tool(json!({"name": "a", "inputSchema": schema, "strict": "yes"})), "must be a boolean"),
        (said(json!({"image": {"format": "png", "source": {"bytes": "no base64!"}}})), "must be base64"),
        (with("requestMetadata", json!([])), "must be a map"),
        // Required members; a null is none.
        (with("messages", json!([{"role": "user"}])), "'messages.1.member.content' failed"),
        (with("messages", json!([{"role": null, "content": []}])), "Member must not be null"),
        (said(json!({"toolUse": {"toolUseId": "a", "name": "b"}})), "toolUse.input' failed"),
        (said(json!({"image": {"source": {"bytes": "AA=="}}})), "image.format' failed"),
        (tool(json!({"name": "a"})), "'toolConfig.tools.1.member.toolSpec.inputSchema' failed"),
        // Members that nobody knows, also those of the address.
        (with("stream", json!(true)), "'stream' failed to satisfy constraint: Member must be one that"),
        (with("modelId", json!(MODEL)), "'modelId' failed"),
        (said(json!({"text": "a", "type": "text"})), "content.1.member.type' failed"),
        (with("inferenceConfig", json!({"topK": 3})), "'inferenceConfig.topK' failed"),
        // Enums.
        (with("messages", json!([{"role": "tool", "content": []}])), "enum value set: [user, assistant, system]"),
        (said(json!({"image": {"format": "jpg", "source": {"bytes": "AA=="}}})), "[png, jpeg, gif, webp]"),
        (with("serviceTier", json!({"type": "auto"})), "Value 'auto' at 'serviceTier.type'"),
        // Lengths.
        (with("system", json!([{"text": ""}])), "'system.1.member.text' failed"),
        (said(json!({"image": {"format": "png", "source": {"bytes": ""}}})), "length greater than or equal to 1"),
        (tool(json!({"name": long, "inputSchema": schema})), "length less than or equal to 64"),
        (tool(json!({"name": "a", "description": "", "inputSchema": schema})), "toolSpec.description' failed"),
        (with("toolConfig", json!({"tools": []})), "'toolConfig.tools' failed"),
        (with("inferenceConfig", json!({"stopSequences": ["a", ""]})), "stopSequences.2.member' failed"),
        (with("requestMetadata", (0..17).map(|n| (n.to_string(), json!(""))).collect()), "equal to 16"),
        // Ranges.
        (with("inferenceConfig", json!({"maxTokens": 0})), "Value '0' at 'inferenceConfig.maxTokens'"),
        (with("inferenceConfig", json!({"temperature": 1.1})), "value less than or equal to 1"),
        (with("inferenceConfig", json!({"topP": -0.1})), "value greater than or equal to 0"),
        // Patterns.
        (tool(json!({"name": "get weather", "inputSchema": schema})), "expression pattern: [a-zA-Z0-9_-]+"),
        (said(json!({"toolUse": {"toolUseId": "a/b", "name": "b", "input": {}}})), "toolUseId' failed"),
        (with("guardrailConfig", json!({"guardrailVersion": "0"})), "guardrailVersion' failed"),
        (with("requestMetadata", json!({"a;b": "c"})), "Value 'a;b' at 'requestMetadata'"),
        // Unions.
        (said(json!({})), "Exactly one member of the union must be set"),
        (said(json!({"text": "a", "cachePoint": {"type": "default"}})), "Exactly one member"),
        (with("toolConfig", json!({"tools": [{}]})), "'toolConfig.tools.1.member' failed"),
    ] {
        let refusal = judged(Operation::Converse, &body).expect_err(&body.to_string());
        assert!(refusal.contains(expected), "{body}\n{refusal}");
        assert!(refusal.contains("validation error"), "{refusal}");
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let body = with("inferenceConfig", json!({"maxTokens": 0, "temperature": 2}));
    assert!(judged(Operation::Converse, &body).unwrap_err().starts_with("2 validation errors detected: "));
}

#[test]
fn operations_differ_where_their_shapes_do() {
    let sync = with("guardrailConfig", json!({"streamProcessingMode": "sync"}));
    assert_eq!(judged(Operation::ConverseStream, &sync), Ok(()));
    assert!(judged(Operation::Converse, &sync).is_err());

    let hello = with("messages", json!([{"role": "user", "content": [{"text": "Hello"}]}]));
    assert_eq!(judged(Operation::CountTokens, &json!({"input": {"converse": hello}})), Ok(()));
    assert_eq!(judged(Operation::CountTokens, &json!({"input": {"invokeModel": {"body": "e30="}}})), Ok(()));
    assert!(judged(Operation::CountTokens, &json!({"input": {}})).unwrap_err().contains("Exactly one member"));
    assert!(judged(Operation::CountTokens, &hello).unwrap_err().contains("'input' failed"));
    let blank = json!({"input": {"converse": said(json!({"text": " "}))}});
    assert!(judged(Operation::CountTokens, &blank).unwrap_err().contains("is blank"));
}

#[test]
fn a_model_id_is_an_id_a_profile_or_an_arn() {
    let body = with("messages", json!([{"role": "user", "content": [{"text": "Hello"}]}]));
    let judged = |model: &str| validate(Operation::Converse, model, &body, &Families::none());
    for model in [
        "amazon.nova-lite-v1:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "openai.gpt-oss-20b-1:0",
        "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/ab12cd34ef56",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    ] {
        assert_eq!(judged(model), Ok(()), "{model}");
    }
    for model in ["", "gpt oss", "llama3/8b", "arn:aws:s3:::bucket/key", &"a".repeat(2049)] {
        assert!(judged(model).unwrap_err().contains("at 'modelId' failed"), "{model}");
    }
}
