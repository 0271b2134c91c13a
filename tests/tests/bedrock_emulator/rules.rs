//! Rules beyond the service model: each refuses what breaks it, and lets its nearest neighbour pass.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use causeway_tests::bedrock::{Families, Family, Feature, Operation, validate};
use serde_json::{Value, json};

/// Has no rules of its own.
const PLAIN: &str = "amazon.nova-lite-v1:0";
/// Takes either temperature or topP, and thinks within a budget.
const CLAUDE: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
/// Takes neither, and thinks as it likes.
const NEWEST: &str = "global.anthropic.claude-opus-4-7";

fn judged(model: &str, body: &Value) -> Result<(), String> {
    validate(Operation::ConverseStream, model, body, &Families::default())
}

#[track_caller]
fn refuses(model: &str, body: &Value, expected: &str) {
    let refusal = judged(model, body).expect_err(&body.to_string());
    assert!(refusal.contains(expected), "{body}\n{refusal}");
}

#[track_caller]
fn passes(model: &str, body: &Value) {
    assert_eq!(judged(model, body), Ok(()), "{body}");
}

fn talk(messages: Value) -> Value {
    json!({"messages": messages})
}

/// One user turn of these blocks.
fn says(content: Value) -> Value {
    talk(json!([{"role": "user", "content": content}]))
}

fn hello() -> Value {
    says(json!([{"text": "Hello"}]))
}

fn tool(name: &str) -> Value {
    json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}})
}

/// Turns after a question, with one tool defined.
fn tool_talk(turns: &[(&str, Value)]) -> Value {
    let mut messages = vec![json!({"role": "user", "content": [{"text": "Weather?"}]})];
    messages.extend(turns.iter().map(|(role, content)| json!({"role": role, "content": content})));
    json!({"messages": messages, "toolConfig": {"tools": [tool("weather")]}})
}

fn call(id: &str) -> Value {
    json!({"toolUse": {"toolUseId": id, "name": "weather", "input": {}}})
}

fn result(id: &str) -> Value {
    json!({"toolResult": {"toolUseId": id, "content": [{"text": "Rain"}], "status": "success"}})
}

#[test]
fn a_conversation_starts_with_the_user() {
    let expected = "must start with a user message";
    refuses(PLAIN, &json!({}), expected);
    refuses(PLAIN, &talk(json!([])), expected);
    refuses(PLAIN, &talk(json!([{"role": "assistant", "content": [{"text": "Hello"}]}])), expected);
    passes(PLAIN, &hello());
}

#[test]
fn roles_alternate_and_none_is_system() {
    let turn = |role: &str| json!({"role": role, "content": [{"text": "Hello"}]});
    let twice = talk(json!([turn("user"), turn("user")]));
    refuses(PLAIN, &twice, "must alternate between user and assistant roles");
    refuses(PLAIN, &talk(json!([turn("user"), turn("system")])), "Unexpected role \"system\"");
    passes(PLAIN, &talk(json!([turn("user"), turn("assistant"), turn("user")])));
}

#[test]
fn some_models_let_nobody_begin_their_answer() {
    let turn = |role: &str| json!({"role": role, "content": [{"text": "Hello"}]});
    let prefilled = talk(json!([turn("user"), turn("assistant")]));
    passes(CLAUDE, &prefilled);
    refuses(NEWEST, &prefilled, "does not support assistant message prefill");
}

#[test]
fn no_turn_is_empty_and_no_text_blank() {
    refuses(PLAIN, &says(json!([])), "content field in the Message object at messages.0 is empty");
    for blank in ["", " ", "\n\t"] {
        let body = says(json!([{"text": "Hello"}, {"text": blank}]));
        refuses(PLAIN, &body, "text field in the ContentBlock object at messages.0.content.1 is blank");
    }
    let mut body = hello();
    body["system"] = json!([{"text": " "}]);
    refuses(PLAIN, &body, "SystemContentBlock object at system.0 is blank");
    let mut blank = result("a");
    blank["toolResult"]["content"] = json!([{"text": ""}]);
    let body = tool_talk(&[("assistant", json!([call("a")])), ("user", json!([blank]))]);
    refuses(PLAIN, &body, "messages.2.content.0.toolResult.content.0 is blank");
}

#[test]
fn tool_blocks_need_a_tool_config() {
    let mut body = tool_talk(&[("assistant", json!([call("a")])), ("user", json!([result("a")]))]);
    passes(PLAIN, &body);
    body.as_object_mut().unwrap().remove("toolConfig");
    refuses(PLAIN, &body, "toolConfig field must be defined when using toolUse and toolResult");
}

#[test]
fn every_call_is_answered_in_the_single_next_turn() {
    let both = json!([call("a"), call("b")]);
    let one = tool_talk(&[("assistant", both.clone()), ("user", json!([result("a")]))]);
    refuses(PLAIN, &one, "Expected toolResult blocks at messages.2.content for the following Ids: b");
    let late = tool_talk(&[
        ("assistant", both.clone()),
        ("user", json!([result("a")])),
        ("assistant", json!([{"text": "And?"}])),
        ("user", json!([result("b")])),
    ]);
    refuses(PLAIN, &late, "for the following Ids: b");
    refuses(PLAIN, &tool_talk(&[("assistant", both.clone())]), "messages.2.content for the following Ids: a, b");
    passes(PLAIN, &tool_talk(&[("assistant", both), ("user", json!([result("b"), result("a"), {"text": "So?"}]))]));
}

#[test]
fn a_result_without_its_call_is_an_orphan() {
    let exceeds = "exceeds the number of toolUse blocks of previous turn";
    let mut first = says(json!([result("a")]));
    first["toolConfig"] = json!({"tools": [tool("weather")]});
    refuses(PLAIN, &first, exceeds);
    let more = tool_talk(&[("assistant", json!([call("a")])), ("user", json!([result("a"), result("b")]))]);
    refuses(PLAIN, &more, exceeds);
    let other = tool_talk(&[("assistant", json!([call("a")])), ("user", json!([result("b")]))]);
    refuses(PLAIN, &other, "for the following Ids: a");
}

#[test]
fn ids_of_one_turn_differ() {
    let twice = json!([call("a"), call("a")]);
    let body = tool_talk(&[("assistant", twice), ("user", json!([result("a"), result("a")]))]);
    refuses(PLAIN, &body, "contain duplicate Ids");
}

#[test]
fn calls_stand_with_the_assistant_and_results_with_the_user() {
    let mut body = says(json!([call("a")]));
    body["toolConfig"] = json!({"tools": [tool("weather")]});
    refuses(PLAIN, &body, "toolUse block at messages.0.content.0 is not allowed");
    refuses(PLAIN, &tool_talk(&[("assistant", json!([result("a")]))]), "toolResult block at messages.1.content.0");
}

#[test]
fn arguments_json_results_and_schemas_are_objects() {
    for input in [json!("{}"), json!([]), Value::Null] {
        let mut call = call("a");
        call["toolUse"]["input"] = input.clone();
        let expected = if input.is_null() { "toolUse.input' failed" } else { "content.0.toolUse.input is invalid" };
        refuses(PLAIN, &tool_talk(&[("assistant", json!([call]))]), expected);
    }
    let mut list = result("a");
    list["toolResult"]["content"] = json!([{"json": [1]}]);
    let body = tool_talk(&[("assistant", json!([call("a")])), ("user", json!([list]))]);
    refuses(PLAIN, &body, "toolResult.content.0.json is invalid");
    let mut body = tool_talk(&[]);
    body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"] = json!({"properties": {}});
    refuses(PLAIN, &body, "inputSchema.json.type must be one of the following: object");
}

#[test]
fn a_result_says_something() {
    let mut empty = result("a");
    empty["toolResult"]["content"] = json!([]);
    let body = tool_talk(&[("assistant", json!([call("a")])), ("user", json!([empty]))]);
    refuses(PLAIN, &body, "content field in the ToolResultBlock object at messages.2.content.0.toolResult is empty");
}

#[test]
fn tool_names_are_unique_and_descriptions_say_something() {
    let mut body = tool_talk(&[]);
    body["toolConfig"]["tools"] = json!([tool("a"), tool("b"), tool("a")]);
    refuses(PLAIN, &body, "The tool a is already defined at toolConfig.tools.2.toolSpec");
    body["toolConfig"]["tools"] = json!([tool("a"), tool("b")]);
    passes(PLAIN, &body);
    body["toolConfig"]["tools"][0]["toolSpec"]["description"] = json!(" ");
    refuses(PLAIN, &body, "description field in the ToolSpecification object");
}

#[test]
fn a_chosen_tool_is_defined() {
    let mut body = tool_talk(&[]);
    body["toolConfig"]["toolChoice"] = json!({"tool": {"name": "weather"}});
    passes(PLAIN, &body);
    body["toolConfig"]["toolChoice"] = json!({"tool": {"name": "clock"}});
    refuses(PLAIN, &body, "The tool clock of toolConfig.toolChoice.tool is not defined");
}

#[test]
fn temperature_and_top_p_go_together_only_where_the_family_allows() {
    let with = |config: Value| json!({"messages": hello()["messages"], "inferenceConfig": config});
    let (both, one, other) = (json!({"temperature": 1, "topP": 1}), json!({"temperature": 0.5}), json!({"topP": 0.5}));
    passes(PLAIN, &with(both.clone()));
    refuses(CLAUDE, &with(both), "`temperature` and `top_p` cannot both be specified");
    passes(CLAUDE, &with(one.clone()));
    passes(CLAUDE, &with(other.clone()));
    refuses(NEWEST, &with(one), "`temperature` is deprecated for this model");
    refuses(NEWEST, &with(other), "`top_p` is deprecated for this model");
    passes(NEWEST, &with(json!({"maxTokens": 9})));
}

/// A picture of this size whose first bytes are `magic`.
fn picture(format: &str, magic: &[u8], size: usize) -> Value {
    let mut bytes = magic.to_vec();
    bytes.resize(size.max(magic.len()), 0);
    json!({"image": {"format": format, "source": {"bytes": STANDARD.encode(bytes)}}})
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01";
const GIF: &[u8] = b"GIF89a\x01\0\x01\0";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0";
const WEBP: &[u8] = b"RIFF\0\0\0\0WEBP";

#[test]
fn an_image_is_what_it_claims_and_not_too_large() {
    for (format, magic) in [("png", PNG), ("gif", GIF), ("jpeg", JPEG), ("webp", WEBP)] {
        passes(PLAIN, &says(json!([picture(format, magic, 99)])));
        let other = if format == "png" { "gif" } else { "png" };
        refuses(PLAIN, &says(json!([picture(other, magic, 99)])), "was specified using the");
    }
    passes(PLAIN, &says(json!([picture("png", PNG, 3_932_160)])));
    refuses(PLAIN, &says(json!([picture("png", PNG, 3_932_161)])), "exceeds the maximum size");
}

#[test]
fn no_side_of_an_image_is_longer_than_eight_thousand_pixels() {
    let riff = |chunk: &[u8]| [b"RIFF\0\0\0\0WEBP", chunk].concat();
    // 8001 is 0x1f41, and one less where the format counts from 0.
    for (format, magic, sides) in [
        ("png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x1f\x41\0\0\0\x01".to_vec(), "8001 x 1 pixels"),
        ("gif", b"GIF89a\x01\0\x41\x1f".to_vec(), "1 x 8001 pixels"),
        ("jpeg", b"\xff\xd8\xff\xe0\0\x04\0\0\xff\xc2\0\x0b\x08\x1f\x41\0\x02".to_vec(), "2 x 8001 pixels"),
        ("webp", riff(b"VP8X\x0a\0\0\0\0\0\0\0\x40\x1f\0\x01\0\0"), "8001 x 2 pixels"),
        ("webp", riff(b"VP8X\x0a\0\0\0\0\0\0\0\x01\0\0\0\0\x01"), "2 x 65537 pixels"),
        ("webp", riff(b"VP8L\0\0\0\0\x2f\x40\x5f\0\0"), "8001 x 2 pixels"),
        ("webp", riff(b"VP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x02\0\x41\x1f"), "2 x 8001 pixels"),
    ] {
        refuses(PLAIN, &says(json!([picture(format, &magic, 99)])), sides);
    }
}

#[test]
fn at_most_twenty_images_come_and_only_from_the_user() {
    let images = |count: usize| says(vec![picture("gif", GIF, 9); count].into());
    passes(PLAIN, &images(20));
    refuses(PLAIN, &images(21), "too many images");
    let turns = [("assistant", json!([picture("gif", GIF, 9)]))];
    refuses(PLAIN, &tool_talk(&turns), "image content block for the assistant role");
    let mut seen = result("a");
    seen["toolResult"]["content"] = json!([picture("gif", GIF, 9)]);
    passes(PLAIN, &tool_talk(&[("assistant", json!([call("a")])), ("user", json!([seen]))]));
}

fn document(name: &str) -> Value {
    json!({"document": {"format": "txt", "name": name, "source": {"bytes": "aGVsbG8="}}})
}

#[test]
fn at_most_five_documents_come_with_a_text_and_names_of_their_own() {
    let documents = |count: usize| {
        let mut content: Vec<Value> = (0..count).map(|number| document(&format!("Notes {number}"))).collect();
        content.push(json!({"text": "Read."}));
        says(content.into())
    };
    passes(PLAIN, &documents(5));
    refuses(PLAIN, &documents(6), "number of documents exceeds the limit of 5");
    refuses(PLAIN, &says(json!([document("a")])), "A text block must stand beside");
    refuses(PLAIN, &says(json!([document("a"), document("a"), {"text": "Read."}])), "duplicate document names: a");
    for name in ["notes.txt", "two  spaces"] {
        refuses(PLAIN, &says(json!([document(name), {"text": "Read."}])), "The document file name can only contain");
    }
    let mut large = document("a");
    large["document"]["source"]["bytes"] = STANDARD.encode(vec![0; 4_718_593]).into();
    refuses(PLAIN, &says(json!([large, {"text": "Read."}])), "exceeds the maximum size");
}

#[test]
fn at_most_four_cache_points_stand_anywhere() {
    let point = json!({"cachePoint": {"type": "default"}});
    let mut body = says(json!([{"text": "a"}, point, {"text": "b"}, point]));
    body["system"] = json!([{"text": "Be brief."}, point]);
    body["toolConfig"] = json!({"tools": [tool("weather"), point]});
    passes(CLAUDE, &body);
    body["system"].as_array_mut().unwrap().push(point.clone());
    refuses(CLAUDE, &body, "A maximum of 4 blocks with cache_control may be provided. Found 5.");
    refuses(CLAUDE, &says(json!([point])), "must follow the content that it caches");
    let mut first = says(json!([{"text": "a"}]));
    first["system"] = json!([point, {"text": "Be brief."}]);
    refuses(CLAUDE, &first, "but system.0 is one");
}

#[test]
fn cache_points_stand_only_where_the_model_takes_them_and_the_longer_ones_first() {
    let (five, hour) =
        (json!({"cachePoint": {"type": "default"}}), json!({"cachePoint": {"type": "default", "ttl": "1h"}}));
    let mut body = says(json!([{"text": "a"}, five]));
    passes("amazon.nova-lite-v1:0", &body);
    refuses("openai.gpt-oss-20b-1:0", &body, "did not allow prompt caching");
    body["toolConfig"] = json!({"tools": [tool("weather"), hour]});
    passes(CLAUDE, &body);
    refuses("amazon.nova-lite-v1:0", &body, "did not allow prompt caching");
    refuses(CLAUDE, &says(json!([{"text": "a"}, five, {"text": "b"}, hour])), "must not come after a ttl='5m'");
}

/// A request that thinks with this budget under this limit.
fn thinks(budget: i64, max_tokens: Option<i64>) -> Value {
    let mut body = hello();
    body["additionalModelRequestFields"] = json!({"thinking": {"type": "enabled", "budget_tokens": budget}});
    if let Some(max) = max_tokens {
        body["inferenceConfig"] = json!({"maxTokens": max});
    }
    body
}

#[test]
fn a_budget_for_thinking_is_large_enough_and_below_max_tokens() {
    passes(CLAUDE, &thinks(1024, Some(1025)));
    passes(CLAUDE, &thinks(1024, None));
    refuses(CLAUDE, &thinks(1023, Some(2000)), "budget_tokens: Input should be greater than or equal to 1024");
    refuses(CLAUDE, &thinks(1024, Some(1024)), "`max_tokens` must be greater than `thinking.budget_tokens`");
    refuses(CLAUDE, &thinks(4096, None), "`max_tokens` must be greater than");
    refuses(NEWEST, &thinks(1024, Some(2000)), "\"thinking.type.enabled\" is not supported for this model");
    let mut body = hello();
    body["additionalModelRequestFields"] = json!({"thinking": {"type": "adaptive"}});
    passes(NEWEST, &body);
    body["additionalModelRequestFields"] = json!({"thinking": {"type": "enabled"}});
    refuses(CLAUDE, &body, "budget_tokens: Field required");
}

#[test]
fn who_thinks_is_not_forced_to_a_tool() {
    for choice in [json!({"any": {}}), json!({"tool": {"name": "weather"}})] {
        let mut body = thinks(1024, Some(2000));
        body["toolConfig"] = json!({"tools": [tool("weather")], "toolChoice": choice});
        refuses(CLAUDE, &body, "Thinking may not be enabled when tool_choice forces tool use");
        body["toolConfig"]["toolChoice"] = json!({"auto": {}});
        passes(CLAUDE, &body);
    }
}

#[test]
fn who_thinks_samples_freely() {
    for (name, value) in [("temperature", 0.5), ("topP", 0.9)] {
        let mut body = thinks(1024, Some(2000));
        body["inferenceConfig"][name] = json!(value);
        refuses(CLAUDE, &body, "when thinking is enabled");
        body["inferenceConfig"][name] = json!(1);
        passes(CLAUDE, &body);
    }
}

#[test]
fn a_turn_of_tools_goes_on_with_the_thoughts_it_began_with() {
    let thought = json!({"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}});
    let turn = |content: Value| {
        let mut body = tool_talk(&[("assistant", content), ("user", json!([result("a")]))]);
        for key in ["additionalModelRequestFields", "inferenceConfig"] {
            body[key] = thinks(1024, Some(2000))[key].clone();
        }
        body
    };
    passes(CLAUDE, &turn(json!([thought, call("a")])));
    refuses(CLAUDE, &turn(json!([call("a")])), "Expected `thinking` or `redacted_thinking`");
}

#[test]
fn reasoning_is_the_assistants_and_signed_for_claude() {
    let signed = json!({"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}});
    let unsigned = json!({"reasoningContent": {"reasoningText": {"text": "Hm."}}});
    let then = |thought: Value| tool_talk(&[("assistant", json!([thought, {"text": "Yes."}]))]);
    passes(CLAUDE, &then(signed.clone()));
    refuses(CLAUDE, &then(unsigned.clone()), "thinking.signature: Field required");
    passes(PLAIN, &then(unsigned));
    refuses(CLAUDE, &says(json!([signed])), "thinking blocks may only be in assistant messages");
}

#[test]
fn a_stop_sequence_of_blanks_is_refused_by_claude() {
    let mut body = hello();
    body["inferenceConfig"] = json!({"stopSequences": ["\n"]});
    passes(PLAIN, &body);
    refuses(CLAUDE, &body, "each stop sequence must contain non-whitespace");
}

#[test]
fn every_object_of_a_schema_is_closed() {
    let with = |schema: &str| {
        let mut body = hello();
        let structure = json!({"jsonSchema": {"schema": schema}});
        body["outputConfig"] = json!({"textFormat": {"type": "json_schema", "structure": structure}});
        body
    };
    passes(PLAIN, &with(r#"{"type": "object", "additionalProperties": false, "default": {"type": "object"}}"#));
    refuses(PLAIN, &with(r#"{"type": "object"}"#), "'additionalProperties' must be explicitly set to false");
    refuses(PLAIN, &with(r#"{"type": "array", "items": {"type": "object"}}"#), "'additionalProperties' must be");
    refuses(PLAIN, &with("{"), "is not valid JSON");
    refuses(PLAIN, &with("[]"), "must be an object");
}

#[test]
fn a_family_lacks_what_it_is_said_to_lack() {
    let point = |body: &mut Value, key: &str, value: Value| body[key] = value;
    let turn = |role: &str| json!({"role": role, "content": [{"text": "Hello"}]});
    for (feature, expected) in [
        (Feature::Tools, "doesn't support tool use."),
        (Feature::StreamedTools, "doesn't support tool use in streaming mode"),
        (Feature::ToolChoice, "doesn't support the toolConfig.toolChoice field"),
        (Feature::Images, "doesn't support the image content block for the user role"),
        (Feature::Documents, "doesn't support the document content block for the user role"),
        (Feature::CachePoints, "did not allow prompt caching"),
        (Feature::System, "doesn't support system messages"),
        (Feature::StopSequences, "doesn't support the stopSequences field"),
        (Feature::Prefill, "does not support assistant message prefill"),
        (Feature::JsonSchema, "doesn't support the outputConfig.textFormat field"),
        (Feature::OnDemand, "with on-demand throughput isn"),
    ] {
        let mut body = hello();
        match feature {
            Feature::Tools | Feature::StreamedTools => body = tool_talk(&[]),
            Feature::ToolChoice => {
                body = tool_talk(&[]);
                body["toolConfig"]["toolChoice"] = json!({"any": {}});
            }
            Feature::Images => body = says(json!([picture("gif", GIF, 9)])),
            Feature::Documents => body = says(json!([document("a"), {"text": "Read."}])),
            Feature::CachePoints => body = says(json!([{"text": "a"}, {"cachePoint": {"type": "default"}}])),
            Feature::System => point(&mut body, "system", json!([{"text": "Be brief."}])),
            Feature::StopSequences => point(&mut body, "inferenceConfig", json!({"stopSequences": ["END"]})),
            Feature::Prefill => body = talk(json!([turn("user"), turn("assistant")])),
            Feature::JsonSchema => {
                let structure = json!({"jsonSchema": {"schema": "{}"}});
                point(
                    &mut body,
                    "outputConfig",
                    json!({"textFormat": {"type": "json_schema", "structure": structure}}),
                );
            }
            // What nova lacks by itself has a test of its own.
            Feature::CachedTools | Feature::OnDemand => {}
        }
        passes(PLAIN, &body);
        let families = Families::none().with(Family::new("amazon.nova").lacks(feature));
        let refusal = validate(Operation::ConverseStream, PLAIN, &body, &families).expect_err(expected);
        assert!(refusal.contains(expected), "{refusal}");
    }
}
