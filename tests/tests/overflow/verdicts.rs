//! Who goes to Bedrock, and what the caller gets.

use causeway_standin::Fault;
use futures_util::future::join_all;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_would_wait_too_long_is_answered_by_bedrock_and_the_answer_says_why_and_for_how_much() {
    let way = Way::open().await;
    // The next one is expected to hold its slot for 1.5 s.
    way.teach_length(150).await;
    let held = way.hold().await;
    let answer = way.hurried("/api/chat", &chat("hurry")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(said(&answer), "from bedrock");
    assert_eq!(header(&answer, "x-causeway-served-by"), Some("bedrock"));
    assert_eq!(header(&answer, "x-causeway-model"), Some(BEDROCK_ID));
    assert_eq!(header(&answer, "x-causeway-reason"), Some("predicted_wait"));
    let last = answer.lines().pop().unwrap();
    assert_eq!((last["done"].clone(), last["done_reason"].clone()), (json!(true), json!("stop")));
    assert_eq!(last.get("load_duration"), None, "nothing was loaded");
    let cost = last["x_causeway"]["cost_usd"]
        .as_str()
        .map_or_else(|| header(&answer, "x-causeway-cost-usd").unwrap().to_owned(), str::to_owned);
    let calls = way.calls();
    assert_eq!(calls.len(), 1);
    let tokens = |key: &str| last[key].as_f64().unwrap();
    let due = tokens("prompt_eval_count") * 3e-6 + tokens("eval_count") * 15e-6;
    assert!((cost.parse::<f64>().unwrap() - due).abs() < 1e-8, "{cost} {due}");
    let spent = way.status().await["overflow"]["budget"]["spent_usd"].as_f64().unwrap();
    assert!((spent - due).abs() < 1e-8, "{spent} {due}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dialect_gets_bedrocks_answer_in_its_own_words() {
    let way = Way::open().await;
    let messages = json!([{"role": "user", "content": "Say hello."}]);
    for stream in [true, false] {
        for (path, body) in [
            ("/api/chat", json!({"model": "m", "messages": messages, "stream": stream})),
            ("/api/generate", json!({"model": "m", "prompt": "Say hello.", "stream": stream})),
            ("/v1/chat/completions", json!({"model": "m", "messages": messages, "stream": stream})),
            ("/v1/completions", json!({"model": "m", "prompt": "Say hello.", "stream": stream})),
            ("/v1/responses", json!({"model": "m", "input": "Say hello.", "stream": stream})),
            ("/v1/messages", json!({"model": "m", "max_tokens": 16, "messages": messages, "stream": stream})),
        ] {
            let answer = way.cloud_only(path, &body).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.text().contains("from bedrock"), "{path} {stream}: {}", answer.text());
            assert_eq!(header(&answer, "x-causeway-served-by"), Some("bedrock"), "{path}");
            assert_eq!(header(&answer, "x-causeway-reason"), Some("route"), "{path}");
            assert_eq!(
                header(&answer, "x-causeway-cost-usd").is_some(),
                !stream || !answer.text().contains("cost_usd")
            );
        }
    }
    assert_eq!(way.calls().len(), 12);
    assert!(way.standin.runs().is_empty(), "nothing ran here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_only_bedrock_has_is_served_and_one_that_nobody_has_is_not_found() {
    let way = Way::with("elsewhere", "5.0", "").await;
    let answer = way
        .post("/v1/chat/completions", &json!({"model": "elsewhere", "messages": [{"role": "user", "content": "Hi"}]}))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(header(&answer, "x-causeway-reason"), Some("not_local"));
    assert_eq!(answer.json()["model"], "elsewhere");
    let nobody =
        way.post("/api/chat", &json!({"model": "nobody", "messages": [{"role": "user", "content": "Hi"}]})).await;
    assert_eq!(nobody.status, 404, "{}", nobody.text());
    assert_eq!(way.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_called_whole_through_bedrock_in_ollamas_and_openais_words() {
    let way = Way::open().await;
    way.bedrock
        .default_script(Script::new().call_tool("t1", "weather", ["{\"ci", "ty\":", "\"Bern\"}"]).stop("tool_use"));
    let tools = json!([{"type": "function", "function": {"name": "weather", "description": "tells", "parameters":
        {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
    let mut body = chat("weather?");
    body["tools"] = tools;
    let answer = way.cloud_only("/api/chat", &body).await;
    let call = answer.lines().iter().find_map(|line| line["message"]["tool_calls"][0]["function"].as_object().cloned());
    assert_eq!(Value::from(call.unwrap())["arguments"], json!({"city": "Bern"}), "{}", answer.text());
    body["stream"] = json!(false);
    let answer = way.cloud_only("/v1/chat/completions", &body).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"city\":\"Bern\"}");
    way.calls();
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_hurried_callers_of_one_slot_are_all_answered_here_or_there() {
    // A soft deadline: on a slow machine more of them go there, and none is refused.
    let way = Way::with("m", "5.0", "[admission]\nfirst-token-ms = 300\n").await;
    way.teach().await;
    let answers = (0..8).map(|number| {
        let way = &way;
        async move { way.post("/api/chat", &chat(&format!("caller {number}"))).await }
    });
    let answers = join_all(answers).await;
    let served = |by: &str| answers.iter().filter(|answer| header(answer, "x-causeway-served-by") == Some(by)).count();
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(served("local") + served("bedrock"), 8);
    assert!(served("local") >= 1, "the slot is used");
    assert_eq!(way.calls().len(), served("bedrock"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_ollama_is_overtaken_by_the_hedge_and_a_quick_one_is_not() {
    let way = Way::hedged(50).await;
    way.teach().await;
    way.standin.fail_next(1, Fault::SilentAfter(0));
    let answer = way.post("/api/chat", &chat("silent")).await;
    assert_eq!((answer.status, said(&answer).as_str()), (200, "from bedrock"), "{}", answer.text());
    assert_eq!(header(&answer, "x-causeway-reason"), Some("hedge"));
    assert_eq!(way.calls().len(), 1);
    way.bedrock.default_script(Script::text("late").first_token_after(PATIENCE));
    let answer = way.post("/api/chat", &chat("quick enough")).await;
    assert_eq!(header(&answer, "x-causeway-served-by"), Some("local"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_model_is_loaded_while_its_first_callers_are_answered_by_bedrock() {
    let way = Way::open().await;
    let first = way.post("/api/chat", &chat("first")).await;
    assert_eq!(header(&first, "x-causeway-served-by"), Some("bedrock"), "{}", first.text());
    poll_until("the model is loaded and serves", PATIENCE, async || {
        let answer = way.post("/api/chat", &chat("later")).await;
        assert_eq!(answer.status, 200);
        Ok((header(&answer, "x-causeway-served-by") == Some("local")).then_some(()))
    })
    .await
    .unwrap();
}
