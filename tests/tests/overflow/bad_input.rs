//! Input, settings and accounts that are wrong: said once, with the cure, and never paid for twice.

use causeway_tests::bedrock::{End, ErrorName, Refusal};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_has_no_such_model_or_takes_no_such_keys_is_named_with_its_cure() {
    let way = Way::open().await;
    for refusal in [
        Refusal::new(ErrorName::Validation, "The provided model identifier is invalid."),
        Refusal::new(ErrorName::UnrecognizedClient, "The security token included in the request is invalid."),
    ] {
        let before = way.bedrock.calls().len();
        way.bedrock.script(Script::refuse(refusal));
        let answer = way.cloud_only("/api/chat", &chat("wrong region")).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("overflow.region"), "{}", answer.text());
        assert_eq!(way.bedrock.calls().len(), before + 1, "it is not tried again");
        let faults = way.status().await["faults"].to_string();
        assert_eq!(faults.matches("overflow.region").count(), 1, "{faults}");
    }
    assert_eq!(way.cloud_only("/api/chat", &chat("mended")).await.status, 200);
    assert!(!way.status().await["faults"].to_string().contains("overflow.region"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_bedrock_refuses_is_not_tried_again_and_answered_here_where_that_is_allowed() {
    let way = Way::open().await;
    let refusal = Refusal::new(ErrorName::Validation, "output_config.format.schema: `oneOf` is not supported");
    way.bedrock.default_script(Script::refuse(refusal));
    let mut body = chat("schema");
    body["format"] = json!({"type": "object", "oneOf": []});
    let refused = way.cloud_only("/api/chat", &body).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("`oneOf` is not supported"), "{}", refused.text());
    assert_eq!(way.calls().len(), 1);
    // The model is not loaded yet, so that Bedrock is asked first.
    let here = way.post("/api/chat", &body).await;
    assert_eq!((here.status, header(&here, "x-causeway-served-by")), (200, Some("local")), "{}", here.text());
    assert_eq!(way.calls().len(), 2);
    assert_eq!(way.status().await["overflow"]["budget"]["spent_usd"], 0.0, "a refusal costs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_during_a_slow_call_costs_no_second_one() {
    let way = Way::open().await;
    way.bedrock.default_script(Script::text("from bedrock").first_token_after(Duration::from_secs(3)));
    let asked = tokio::spawn(way.request("/api/chat", &chat("cut")).header("x-causeway-route", "cloud-only").send());
    way.bedrock.wait_for_calls(1).await;
    way.cable.cut().await;
    let answer = whole(asked.await.unwrap().unwrap()).await;
    assert_eq!((answer.status, said(&answer).as_str()), (200, "from bedrock"), "{}", answer.text());
    let calls = way.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].end, Some(End::Whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_midway_are_said_once_and_used_again_once_they_are_good() {
    let way = Way::open().await;
    way.bedrock.default_script(Script::refuse(ErrorName::ExpiredToken));
    for _ in 0..2 {
        let answer = way.cloud_only("/api/chat", &chat("expired")).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("mend the credentials"), "{}", answer.text());
        let faults = way.status().await["faults"].to_string();
        assert_eq!(faults.matches("mend the credentials").count(), 1, "{faults}");
    }
    assert_eq!(way.calls().len(), 2, "one a request");
    assert_eq!(way.edge.log().matches("overflow fails until this is mended").count(), 1, "logged once");
    way.bedrock.default_script(Script::text("from bedrock"));
    assert_eq!(way.cloud_only("/api/chat", &chat("renewed")).await.status, 200);
    assert!(!way.status().await["faults"].to_string().contains("credentials"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_finds_no_credentials_serves_its_own_models_and_says_what_is_missing() {
    let way = Way::open().await.without_credentials().await;
    let fault = poll_until("it says that it has none", PATIENCE, async || {
        let faults = way.status().await["faults"].to_string();
        Ok(faults.contains("no credentials for Bedrock").then_some(faults))
    });
    assert_eq!(fault.await.unwrap().matches("no credentials for Bedrock").count(), 1);
    let there = way.cloud_only("/api/chat", &chat("there")).await;
    assert_eq!(there.status, 503, "{}", there.text());
    assert!(there.text().contains("no credentials for Bedrock"), "{}", there.text());
    let here = way.post("/api/chat", &chat("here")).await;
    assert_eq!((here.status, header(&here, "x-causeway-served-by")), (200, Some("local")), "{}", here.text());
    assert!(way.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_pictures_go_and_one_more_or_one_of_too_many_pixels_does_not() {
    let gif = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
    // The same with a side of 8,001.
    let wide = "R0lGODlhQR8BAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
    let way = Way::open().await;
    let pictures =
        |pictures: Vec<&str>| json!({"model": "m", "messages": [{"role": "user", "content": "?", "images": pictures}]});
    let answer = way.cloud_only("/api/chat", &pictures(vec![gif; 20])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let many = way.cloud_only("/api/chat", &pictures(vec![gif; 21])).await;
    assert!(many.status == 400 && many.text().contains("at most 20 pictures"), "{}", many.text());
    let large = way.cloud_only("/api/chat", &pictures(vec![wide])).await;
    assert!(large.status == 400 && large.text().contains("8001 x 1"), "{}", large.text());
    assert_eq!(way.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_whose_name_has_200_characters_is_called_by_it() {
    let name = "n".repeat(200);
    let way = Way::open().await;
    way.bedrock.decide(|call| {
        let name = call.body["toolConfig"]["tools"][0]["toolSpec"]["name"].as_str().unwrap_or_default();
        Script::new().call_tool("t1", name, ["{}"])
    });
    let mut body = chat("call");
    body["tools"] = json!([{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}]);
    let answer = way.cloud_only("/v1/chat/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"], name, "{answer}");
    assert_eq!(way.calls().len(), 1);
}
