//! Rows of the way there.

use aws_sdk_bedrockruntime::types::{Tool as Told, ToolChoice};
use causeway_dialect::chat::{Image, ImageKind, ToolChoice as Choice};

use super::*;

fn specs(mapped: &Mapped) -> Vec<(String, Option<String>, Value)> {
    let config = mapped.call.tools.as_ref().unwrap();
    let spec = |tool: &Told| {
        let spec = tool.as_tool_spec().unwrap();
        let schema = document::to_json(spec.input_schema().unwrap().as_json().unwrap());
        (spec.name().to_owned(), spec.description().map(str::to_owned), schema)
    };
    config.tools().iter().map(spec).collect()
}

fn choice(mapped: &Mapped) -> Option<&ToolChoice> {
    mapped.call.tools.as_ref().and_then(|config| config.tool_choice())
}

#[test]
fn row_01_a_bare_prompt_is_the_users_one_message() {
    let body = json!({ "model": "m", "prompt": "Hi", "system": "Be brief", "images": [PNG] });
    let request = ollama::parse_generate(body.to_string().as_bytes()).unwrap();
    let mapped = mapped(&request, CLAUDE);
    assert_eq!(lines(&mapped.call.messages), ["user: <png> | Hi"]);
    assert_eq!(mapped.call.system.unwrap()[0].as_text().unwrap(), "Be brief");
}

#[test]
fn row_02_messages_of_one_side_in_a_row_become_one_and_the_sides_alternate() {
    let request = conversation(vec![
        said(Role::User, vec![text("a")]),
        said(Role::User, vec![text("b")]),
        said(Role::Assistant, vec![text("c")]),
        said(Role::Assistant, vec![text("d")]),
        said(Role::User, vec![text("e")]),
    ]);
    assert_eq!(heard(CLAUDE, &request), ["user: a | b", "assistant: c | d", "user: e"]);
}

#[test]
fn row_03_blank_texts_and_empty_messages_are_left_out() {
    let request = conversation(vec![
        said(Role::User, vec![text("a"), text(" \n")]),
        said(Role::Assistant, vec![text("")]),
        said(Role::Assistant, vec![]),
        said(Role::User, vec![text("b")]),
    ]);
    assert_eq!(heard(CLAUDE, &request), ["user: a | b"]);
}

#[test]
fn row_04_the_user_begins_and_the_models_last_words_are_gone_on_from() {
    let request = conversation(vec![said(Role::Assistant, vec![text("Once upon ")])]);
    assert_eq!(heard(CLAUDE, &request), ["user: Continue.", "assistant: Once upon"]);
    assert_eq!(heard(OSS, &request), ["user: Continue.", "assistant: Once upon ", "user: Continue."]);
}

#[test]
fn row_05_leading_system_texts_are_the_system_and_later_ones_the_users() {
    let request = conversation(vec![
        said(Role::System, vec![text("one"), text(" ")]),
        said(Role::System, vec![text("two")]),
        said(Role::User, vec![text("a")]),
        said(Role::System, vec![text("three")]),
    ]);
    let mapped = mapped(&request, CLAUDE);
    assert_eq!(lines(&mapped.call.messages), ["user: a | three"]);
    let system: Vec<String> =
        mapped.call.system.unwrap().iter().map(|block| block.as_text().unwrap().clone()).collect();
    assert_eq!(system, ["one", "two"]);
    let plain = Request { tools: Vec::new(), ..request };
    let old = map(&plain, &target("mistral.mistral-7b-instruct-v0:2"), &[]).unwrap();
    assert_eq!(old.call.system, None);
    assert_eq!(lines(&old.call.messages), ["user: one | two | a | three"]);
}

#[test]
fn row_06_pictures_are_told_by_their_first_bytes_and_are_the_users_only() {
    let picture = || Part::Image(causeway_dialect::image::read(PNG, "x").unwrap());
    let many = |count| conversation(vec![said(Role::User, (0..count).map(|_| picture()).chain([text("?")]).collect())]);
    assert_eq!(heard(CLAUDE, &many(1)), ["user: <png> | ?"]);
    assert_eq!(heard(CLAUDE, &many(20)).len(), 1);
    assert!(refused(&many(21), CLAUDE).contains("at most 20"));
    assert!(refused(&many(1), OSS).contains("sees no pictures"));
    let shown = conversation(vec![
        said(Role::User, vec![text("a")]),
        said(Role::Assistant, vec![picture(), text("b")]),
        said(Role::User, vec![text("c")]),
    ]);
    let mapped = mapped(&shown, CLAUDE);
    assert_eq!(lines(&mapped.call.messages), ["user: a", "assistant: b", "user: c"]);
    assert_eq!(mapped.lost, ["messages.images"]);
    let large = Image { base64: "A".repeat(5_000_004), kind: ImageKind::Png };
    let request = conversation(vec![said(Role::User, vec![Part::Image(large)])]);
    assert!(refused(&request, CLAUDE).contains("3.75 MB"));
}

#[test]
fn row_07_sounds_and_other_formats_are_not_mapped() {
    for kind in [ImageKind::Bmp, ImageKind::Tiff, ImageKind::Wav, ImageKind::Mp3, ImageKind::Flac] {
        let image = Image { base64: "AAAA".to_owned(), kind };
        let request = conversation(vec![said(Role::User, vec![Part::Image(image)])]);
        assert!(refused(&request, CLAUDE).contains("PNG, JPEG, GIF and WebP"), "{kind:?}");
    }
}

#[test]
fn row_08_names_that_do_not_fit_are_renamed_everywhere_alike() {
    let name = "höflich/".repeat(30);
    let request = Request {
        tools: vec![tool(&name), tool("plain")],
        tool_choice: Choice::Named(name.clone()),
        ..conversation(vec![
            said(Role::User, vec![text("a")]),
            said(Role::Assistant, vec![call("1", &name)]),
            said(Role::Tool, vec![result(Some("1"), None, "x")]),
        ])
    };
    let mapped = mapped(&request, CLAUDE);
    let out = specs(&mapped)[0].0.clone();
    assert!(out.len() <= 64 && out != name);
    assert_eq!(specs(&mapped)[1].0, "plain");
    assert!(lines(&mapped.call.messages)[1].contains(&format!("1={out}{{")));
    assert!(matches!(choice(&mapped), Some(ToolChoice::Tool(one)) if one.name() == out));
}

#[test]
fn row_09_tools_have_no_empty_description_and_a_schema_of_an_object() {
    let mut bare = tool("a");
    bare.description = Some(" ".to_owned());
    bare.parameters = json!(null);
    let request =
        Request { tools: vec![bare, tool("b"), tool("b")], ..conversation(vec![said(Role::User, vec![text("a")])]) };
    let mapped = mapped(&request, CLAUDE);
    let empty = json!({ "type": "object", "properties": {} });
    assert_eq!(
        specs(&mapped),
        [("a".to_owned(), None, empty.clone()), ("b".to_owned(), Some("does it".to_owned()), empty)]
    );
    assert_eq!(mapped.lost, ["tools"]);
}

#[test]
fn row_10_the_choice_of_a_tool_is_what_the_family_takes() {
    let with =
        |choice: Choice| Request { tool_choice: choice, ..conversation(vec![said(Role::User, vec![text("a")])]) };
    assert!(matches!(choice(&mapped(&with(Choice::Auto), CLAUDE)), Some(ToolChoice::Auto(_))));
    assert!(matches!(choice(&mapped(&with(Choice::Required), CLAUDE)), Some(ToolChoice::Any(_))));
    let named = with(Choice::Named("weather".to_owned()));
    assert!(matches!(choice(&mapped(&named, CLAUDE)), Some(ToolChoice::Tool(_))));
    assert!(mapped(&with(Choice::None), CLAUDE).call.tools.is_none());
    for forced in [with(Choice::Required), named] {
        let mapped = mapped(&forced, OSS);
        assert_eq!((choice(&mapped), mapped.lost.as_slice()), (None, ["tool_choice".to_owned()].as_slice()));
    }
    assert!(refused(&with(Choice::Named("other".to_owned())), CLAUDE).contains("not among the tools"));
    assert!(refused(&with(Choice::Auto), "us.deepseek.r1-v1:0").contains("calls no functions"));
}

#[test]
fn row_11_calls_have_objects_for_arguments_and_ids_of_their_own() {
    let long = "i".repeat(100);
    let request = conversation(vec![
        said(Role::User, vec![text("a")]),
        said(Role::Assistant, vec![call("", "weather"), call("", "weather"), call(&long, "weather")]),
        said(Role::Tool, vec![result(None, None, "1"), result(None, None, "2"), result(Some(&long), None, "3")]),
        said(Role::Assistant, vec![call(&long, "weather")]),
        said(Role::Tool, vec![result(Some(&long), None, "4")]),
    ]);
    let mapped = mapped(&request, CLAUDE);
    let mut ids = Vec::new();
    for message in &mapped.call.messages {
        for call in message.content().iter().filter_map(|block| block.as_tool_use().ok()) {
            assert!(call.tool_use_id().len() <= 64 && call.input().is_object());
            ids.push(call.tool_use_id().to_owned());
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn row_12_the_results_of_a_turn_stand_first_in_the_next_in_the_order_of_its_calls() {
    let request = conversation(vec![
        said(Role::User, vec![text("a")]),
        said(Role::Assistant, vec![text("b"), call("1", "weather"), call("2", "time"), call("3", "weather")]),
        said(Role::Tool, vec![result(Some("3"), None, "sun")]),
        said(Role::User, vec![text("and?")]),
        said(Role::Tool, vec![result(None, Some("time"), "noon")]),
        said(Role::Tool, vec![result(None, None, "rain")]),
    ]);
    assert_eq!(
        heard(CLAUDE, &request),
        [
            "user: a",
            r#"assistant: b | 1=weather{"city":"Bern"} | 2=time{"city":"Bern"} | 3=weather{"city":"Bern"}"#,
            "user: 1->rain | 2->noon | 3->sun | and?",
        ]
    );
}

#[test]
fn row_13_an_orphan_result_becomes_text_and_a_call_without_one_gets_an_error() {
    let request = conversation(vec![
        said(Role::Tool, vec![result(Some("9"), Some("time"), "noon")]),
        said(Role::Assistant, vec![call("1", "weather")]),
        said(Role::User, vec![text("never mind")]),
        said(Role::Assistant, vec![call("2", "weather")]),
    ]);
    assert_eq!(
        heard(CLAUDE, &request),
        [
            "user: [time gave: noon]",
            r#"assistant: 1=weather{"city":"Bern"}"#,
            "user: 1->!(no result was given) | never mind",
            r#"assistant: 2=weather{"city":"Bern"}"#,
            "user: 2->!(no result was given)",
        ]
    );
}

#[test]
fn row_14_calls_of_a_history_without_tools_are_told_as_text() {
    let history = conversation(vec![
        said(Role::User, vec![text("a")]),
        said(Role::Assistant, vec![call("1", "weather")]),
        said(Role::Tool, vec![result(Some("1"), Some("weather"), "sun")]),
    ]);
    let flat = ["user: a", r#"assistant: [called weather with {"city":"Bern"}]"#, "user: [weather gave: sun]"];
    for request in [Request { tools: Vec::new(), ..history.clone() }, Request { tool_choice: Choice::None, ..history }]
    {
        let mapped = mapped(&request, CLAUDE);
        assert_eq!(lines(&mapped.call.messages), flat);
        assert!(mapped.call.tools.is_none());
    }
}

#[test]
fn row_15_the_limit_of_tokens_is_always_said_and_never_above_the_mappings() {
    for (body, said, lost) in [
        (json!({}), 4_096, false),
        (json!({ "options": { "num_predict": 100 } }), 100, false),
        (json!({ "options": { "num_predict": -1 } }), 4_096, false),
        (json!({ "options": { "num_predict": 9_999 } }), 4_096, true),
    ] {
        let mapped = mapped(&chat(body), CLAUDE);
        assert_eq!(mapped.call.inference.max_tokens(), Some(said));
        assert_eq!(u32::try_from(said).unwrap(), mapped.max_tokens);
        assert_eq!(mapped.lost.contains(&"max_tokens".to_owned()), lost);
    }
}

#[test]
fn row_16_chance_is_clamped_and_only_what_the_family_takes_is_said() {
    let of = |options: Value, model: &str| {
        let mapped = mapped(&chat(json!({ "options": options })), model);
        let inference = &mapped.call.inference;
        (inference.temperature(), inference.top_p(), mapped.lost.join(","))
    };
    let both = json!({ "temperature": 0.5, "top_p": 0.9 });
    assert_eq!(of(json!({}), NOVA), (None, None, String::new()));
    assert_eq!(of(both.clone(), NOVA), (Some(0.5), Some(0.9), String::new()));
    assert_eq!(of(both.clone(), CLAUDE), (Some(0.5), None, "top_p".to_owned()));
    assert_eq!(of(json!({ "top_p": 0.9 }), CLAUDE), (None, Some(0.9), String::new()));
    assert_eq!(of(both, "us.anthropic.claude-opus-4-9-v1"), (None, None, "temperature,top_p".to_owned()));
    assert_eq!(of(json!({ "temperature": 1.5 }), NOVA), (Some(1.0), None, "temperature".to_owned()));
    assert_eq!(of(json!({ "temperature": 1, "top_p": 1 }), CLAUDE), (Some(1.0), None, String::new()));
}

#[test]
fn row_17_top_k_goes_where_the_family_has_it() {
    let request = chat(json!({ "options": { "top_k": 20 } }));
    assert_eq!(additional(&mapped(&request, CLAUDE)), json!({ "top_k": 20 }));
    assert_eq!(additional(&mapped(&request, NOVA)), json!({ "inferenceConfig": { "topK": 20 } }));
    assert_eq!(mapped(&request, OSS).lost, ["top_k"]);
}

#[test]
fn row_18_what_no_model_there_knows_is_dropped_by_name() {
    let options = json!({
        "min_p": 0.1, "seed": 7, "frequency_penalty": 0.5, "presence_penalty": 0.5, "repeat_penalty": 1.1,
        "mirostat": 1, "temperature": 0.5,
    });
    let mapped = mapped(&chat(json!({ "options": options, "logprobs": true })), CLAUDE);
    assert_eq!(
        mapped.lost,
        [
            "min_p",
            "seed",
            "frequency_penalty",
            "presence_penalty",
            "logprobs",
            "options.repeat_penalty",
            "options.mirostat"
        ]
    );
    let silent = chat(json!({ "options": { "min_p": 0, "seed": -1, "frequency_penalty": 0 } }));
    assert!(super::mapped(&silent, CLAUDE).lost.is_empty());
}

#[test]
fn row_19_stop_texts_are_none_blank_and_no_more_than_the_family_takes() {
    let request = Request { stop: vec!["\n".to_owned(), "END".to_owned()], ..chat(json!({})) };
    let claude = mapped(&request, CLAUDE);
    assert_eq!(
        (claude.call.inference.stop_sequences(), claude.lost.join(",")),
        (["END".to_owned()].as_slice(), "stop".to_owned())
    );
    let many = Request { stop: (0..9).map(|n| format!("s{n}")).collect(), ..chat(json!({})) };
    assert_eq!(mapped(&many, NOVA).call.inference.stop_sequences().len(), 4);
    let none = mapped(&many, OSS);
    assert!(none.call.inference.stop_sequences.is_none() && none.lost == ["stop"]);
}

#[test]
fn row_20_a_schema_is_closed_where_the_model_writes_it_and_a_forced_call_elsewhere() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
    let request = chat(json!({ "format": schema }));
    let native = mapped(&request, CLAUDE);
    let format = native
        .call
        .output
        .unwrap()
        .text_format()
        .unwrap()
        .structure()
        .unwrap()
        .as_json_schema()
        .unwrap()
        .schema()
        .to_owned();
    let closed: Value = serde_json::from_str(&format).unwrap();
    assert_eq!(closed["additionalProperties"], json!(false));
    assert!(native.call.tools.is_none());
    let forced = mapped(&request, NOVA);
    assert_eq!(specs(&forced)[0].2, schema);
    assert!(matches!(choice(&forced), Some(ToolChoice::Tool(_))));
    assert!(refused(&request, OSS).contains("format"));
    let both = Request { tools: vec![tool("weather")], ..request };
    assert!(refused(&both, NOVA).contains("while it has tools"));
}

#[test]
fn row_21_json_without_a_schema_is_a_forced_call_of_an_open_object() {
    let request = open_ai(json!({ "response_format": { "type": "json_object" } }));
    for model in [CLAUDE, NOVA] {
        assert_eq!(specs(&mapped(&request, model))[0].2, json!({ "type": "object", "properties": {} }), "{model}");
    }
    assert!(refused(&request, OSS).contains("format"));
}

#[test]
fn row_22_thought_is_asked_for_in_the_familys_own_words() {
    let of = |think: Value, model: &str| {
        let mapped = mapped(&chat(json!({ "think": think, "options": { "temperature": 0.5, "top_k": 5 } })), model);
        let effort = mapped.call.output.as_ref().and_then(|output| output.effort()).map(str::to_owned);
        (additional(&mapped), effort, mapped.lost.join(","))
    };
    let budget = |tokens: u32| json!({ "thinking": { "type": "enabled", "budget_tokens": tokens } });
    let none = "temperature,top_k".to_owned();
    assert_eq!(of(json!(true), CLAUDE), (budget(2_048), None, none.clone()));
    assert_eq!(of(json!("low"), CLAUDE), (budget(1_024), None, none.clone()));
    let adaptive = json!({ "thinking": { "type": "adaptive" } });
    assert_eq!(of(json!("high"), "us.anthropic.claude-opus-4-6-v1"), (adaptive, Some("high".to_owned()), none));
    let nova = json!({ "reasoningConfig": { "type": "enabled", "maxReasoningEffort": "medium" } });
    assert_eq!(of(json!(true), "us.amazon.nova-2-lite-v1:0"), (nova, None, "top_k".to_owned()));
    assert_eq!(of(json!("max"), OSS).0, json!({ "reasoning_effort": "high" }));
    assert_eq!(of(json!(false), OSS).2, "think,top_k");
    assert_eq!(of(json!(true), NOVA).2, "think");
    assert_eq!(of(json!(false), CLAUDE).0, json!({ "top_k": 5 }));
    let short = mapped(&chat(json!({ "think": true, "options": { "num_predict": 1_000 } })), CLAUDE);
    assert_eq!((additional(&short), short.lost.join(",")), (Value::Null, "think".to_owned()));
    let forced = Request { tool_choice: Choice::Required, ..conversation(vec![said(Role::User, vec![text("a")])]) };
    let forced = Request { think: chat(json!({ "think": true })).think, ..forced };
    assert_eq!(
        (additional(&mapped(&forced, CLAUDE)), mapped(&forced, CLAUDE).lost.join(",")),
        (Value::Null, "think".to_owned())
    );
}

#[test]
fn row_23_thought_of_a_history_is_given_back_only_with_its_seal_and_to_who_thinks() {
    let thought = |seal: Option<&str>| Part::Thinking { text: "hm".to_owned(), signature: seal.map(str::to_owned) };
    let asked = |seal, think: bool| Request {
        think: chat(json!({ "think": think })).think,
        ..conversation(vec![
            said(Role::User, vec![text("a")]),
            said(Role::Assistant, vec![thought(seal), call("1", "weather")]),
            said(Role::Tool, vec![result(Some("1"), None, "sun")]),
        ])
    };
    let with = heard(CLAUDE, &asked(Some("seal"), true));
    assert!(with[1].starts_with("assistant: (hm) | 1="), "{with:?}");
    for (request, model) in
        [(asked(None, true), CLAUDE), (asked(Some("seal"), false), CLAUDE), (asked(Some("seal"), true), NOVA)]
    {
        assert!(heard(model, &request)[1].starts_with("assistant: 1="), "{model}");
    }
    // A Claude that thinks must begin with its thought what it goes on from: without one it does not think.
    assert_eq!(additional(&mapped(&asked(None, true), CLAUDE)), Value::Null);
}

#[test]
fn row_24_what_only_a_local_model_can_do_is_not_mapped() {
    for body in [
        json!({ "model": "m", "prompt": "a", "suffix": "b" }),
        json!({ "model": "m", "prompt": "a", "raw": true }),
        json!({ "model": "m", "prompt": "a", "template": "{{ .Prompt }}" }),
        json!({ "model": "m", "prompt": "a", "context": [1, 2] }),
        json!({ "model": "m", "prompt": "" }),
    ] {
        let request = ollama::parse_generate(body.to_string().as_bytes()).unwrap();
        assert!(map(&request, &target(CLAUDE), &[]).is_err(), "{body}");
    }
    let role = conversation(vec![said(Role::of("control").unwrap(), vec![text("a")])]);
    assert!(refused(&role, CLAUDE).contains("role"));
}

#[test]
fn row_25_what_does_not_fit_the_models_context_is_not_mapped_and_both_numbers_are_named() {
    let request = conversation(vec![said(Role::User, vec![text(&"word ".repeat(200_000))])]);
    let words = refused(&request, OSS);
    assert!(words.contains("128000") && words.contains("need about"), "{words}");
}

#[test]
fn row_26_the_guardrail_of_the_mapping_goes_with_every_call() {
    let mut target = target(CLAUDE);
    target.guardrail = Some(("gr-1".to_owned(), "3".to_owned()));
    let call = map(&chat(json!({})), &target, &[]).unwrap().call;
    let guardrail = call.guardrail.unwrap();
    assert_eq!((guardrail.guardrail_identifier(), guardrail.guardrail_version()), ("gr-1", "3"));
    assert_eq!(guardrail.stream_processing_mode().as_str(), "sync");
}

#[test]
fn row_27_the_service_tier_of_the_mapping_goes_with_every_call() {
    let mut target = target(CLAUDE);
    target.service_tier = Some("flex".to_owned());
    assert_eq!(map(&chat(json!({})), &target, &[]).unwrap().call.tier.unwrap().r#type().as_str(), "flex");
    assert!(mapped(&chat(json!({})), CLAUDE).call.tier.is_none());
}

#[test]
fn row_28_ids_go_into_the_accounts_logs_in_letters_that_the_service_takes() {
    let long = "k".repeat(500);
    let pairs = [("causeway-request", "a\"b\n"), ("causeway-key", long.as_str()), ("empty", "")];
    let metadata = map(&chat(json!({})), &target(CLAUDE), &pairs).unwrap().call.metadata.unwrap();
    assert_eq!(metadata.len(), 2);
    assert_eq!(metadata["causeway-request"], "a_b_");
    assert_eq!(metadata["causeway-key"].len(), 256);
}
