//! What any Ollama must do, checked over HTTP: the real one and the stand-in both pass, directly
//! and through the relay. So a test that passes against the stand-in means something.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::stack::Api;

/// Runs every check against `api` for `model`.
///
/// # Errors
/// The first thing that is not as Ollama does it.
pub async fn check(api: &Api, model: &str) -> anyhow::Result<()> {
    chat_streams_lines_that_end_with_done(api, model).await?;
    chat_without_stream_is_one_object(api, model).await?;
    generate_streams_and_honours_num_predict(api, model).await?;
    openai_chat_streams_events_that_end_with_done(api, model).await?;
    openai_chat_without_stream_is_one_object(api, model).await?;
    openai_completions_answer(api, model).await?;
    anthropic_messages_answer(api, model).await?;
    embed_gives_a_unit_vector_for_each_input(api, model).await?;
    openai_and_legacy_embeddings_answer(api, model).await?;
    models_are_listed_in_both_dialects(api, model).await?;
    show_tells_capabilities(api, model).await?;
    a_missing_model_is_404_in_the_callers_dialect(api).await
}

fn hello(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say hello."}],
           "options": {"num_predict": 8, "seed": 1, "temperature": 0}})
}

async fn chat_streams_lines_that_end_with_done(api: &Api, model: &str) -> anyhow::Result<()> {
    let answer = api.post("/api/chat", hello(model)).await?;
    ensure!(answer.status == 200, "chat: {} {}", answer.status, answer.text());
    let kind = answer.headers.get("content-type").map(|value| value.to_str()).transpose()?;
    ensure!(kind == Some("application/x-ndjson"), "chat's content type is {kind:?}");
    let lines = answer.lines();
    let (last, tokens) = lines.split_last().unwrap();
    ensure!(!tokens.is_empty(), "chat gave no token lines");
    for line in tokens {
        ensure!(line["done"] == false && line["message"]["role"] == "assistant", "odd line {line}");
        ensure!(line["message"]["content"].is_string() && line["created_at"].is_string(), "odd line {line}");
    }
    done_line_has_counts_and_durations(last)
}

fn done_line_has_counts_and_durations(last: &Value) -> anyhow::Result<()> {
    ensure!(last["done"] == true, "the last line is not done: {last}");
    ensure!(["stop", "length"].contains(&last["done_reason"].as_str().unwrap_or_default()), "done_reason: {last}");
    for key in ["total_duration", "eval_count", "eval_duration", "prompt_eval_count"] {
        ensure!(last[key].as_u64().is_some_and(|value| value > 0), "{key} is missing in {last}");
    }
    let part = last["eval_duration"].as_u64().unwrap_or_default();
    ensure!(part <= last["total_duration"].as_u64().unwrap_or_default(), "durations do not fit: {last}");
    Ok(())
}

async fn chat_without_stream_is_one_object(api: &Api, model: &str) -> anyhow::Result<()> {
    let mut body = hello(model);
    body["stream"] = json!(false);
    let answer = api.post("/api/chat", body).await?;
    ensure!(answer.status == 200, "chat: {} {}", answer.status, answer.text());
    let whole = answer.json();
    ensure!(whole["message"]["content"].as_str().is_some_and(|text| !text.is_empty()), "no text: {whole}");
    done_line_has_counts_and_durations(&whole)
}

async fn generate_streams_and_honours_num_predict(api: &Api, model: &str) -> anyhow::Result<()> {
    let body = json!({"model": model, "prompt": "Count from one to one hundred:",
                      "options": {"num_predict": 5, "seed": 1, "temperature": 0}});
    let answer = api.post("/api/generate", body).await?;
    ensure!(answer.status == 200, "generate: {} {}", answer.status, answer.text());
    let lines = answer.lines();
    let last = lines.last().unwrap();
    ensure!(last["eval_count"].as_u64().is_some_and(|count| count <= 5), "num_predict 5 gave {last}");
    ensure!(lines.iter().any(|line| line["response"].as_str().is_some_and(|text| !text.is_empty())), "no text");
    done_line_has_counts_and_durations(last)
}

fn openai_hello(model: &str, stream: bool) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say hello."}],
           "max_tokens": 8, "stream": stream, "seed": 1, "temperature": 0})
}

async fn openai_chat_streams_events_that_end_with_done(api: &Api, model: &str) -> anyhow::Result<()> {
    let answer = api.post("/v1/chat/completions", openai_hello(model, true)).await?;
    ensure!(answer.status == 200, "/v1 chat: {} {}", answer.status, answer.text());
    let events = answer.events();
    ensure!(events.last() == Some(&Value::from("[DONE]")), "no [DONE]: {}", answer.text());
    ensure!(events[0]["object"] == "chat.completion.chunk", "odd first event {}", events[0]);
    let finish = events.iter().filter(|event| event["choices"][0]["finish_reason"].is_string()).count();
    ensure!(finish == 1, "{finish} events with a finish_reason");
    Ok(())
}

async fn openai_chat_without_stream_is_one_object(api: &Api, model: &str) -> anyhow::Result<()> {
    let answer = api.post("/v1/chat/completions", openai_hello(model, false)).await?;
    ensure!(answer.status == 200, "/v1 chat: {} {}", answer.status, answer.text());
    let whole = answer.json();
    ensure!(whole["object"] == "chat.completion", "odd object {whole}");
    ensure!(whole["choices"][0]["message"]["content"].is_string(), "no text: {whole}");
    ensure!(whole["usage"]["completion_tokens"].as_u64().is_some_and(|count| count > 0), "no usage: {whole}");
    Ok(())
}

async fn openai_completions_answer(api: &Api, model: &str) -> anyhow::Result<()> {
    let body = json!({"model": model, "prompt": "One, two,", "max_tokens": 4});
    let answer = api.post("/v1/completions", body).await?;
    ensure!(answer.status == 200, "/v1/completions: {} {}", answer.status, answer.text());
    ensure!(answer.json()["choices"][0]["text"].is_string(), "no text: {}", answer.text());
    Ok(())
}

async fn anthropic_messages_answer(api: &Api, model: &str) -> anyhow::Result<()> {
    let mut body = json!({"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": "Say hello."}]});
    let whole = api.post("/v1/messages", body.clone()).await?;
    ensure!(whole.status == 200, "/v1/messages: {} {}", whole.status, whole.text());
    ensure!(whole.json()["type"] == "message", "odd object {}", whole.text());
    body["stream"] = json!(true);
    let stream = api.post("/v1/messages", body).await?;
    let events = stream.events();
    let first = events.first().map(|event| event["type"].clone());
    let last = events.last().map(|event| event["type"].clone());
    ensure!(first == Some(json!("message_start")), "first event {first:?}");
    ensure!(last == Some(json!("message_stop")), "last event {last:?}");
    Ok(())
}

fn vector(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

async fn embed_gives_a_unit_vector_for_each_input(api: &Api, model: &str) -> anyhow::Result<()> {
    let answer = api.post("/api/embed", json!({"model": model, "input": ["the sky", "a stone"]})).await?;
    ensure!(answer.status == 200, "embed: {} {}", answer.status, answer.text());
    let both = answer.json();
    ensure!(both["model"] == model, "embed names the model {}", both["model"]);
    ensure!(both["prompt_eval_count"].as_u64().is_some_and(|count| count > 0), "no prompt_eval_count");
    ensure!(both["total_duration"].as_u64().is_some_and(|time| time > 0), "no total_duration");
    let (sky, stone) = (vector(&both["embeddings"][0]), vector(&both["embeddings"][1]));
    ensure!(both["embeddings"].as_array().is_some_and(|all| all.len() == 2), "not two vectors");
    ensure!(!sky.is_empty() && sky.len() == stone.len() && sky != stone, "{} and {} numbers", sky.len(), stone.len());
    let length = sky.iter().map(|x| x * x).sum::<f64>().sqrt();
    ensure!((length - 1.0).abs() < 0.01, "a vector of length {length}");
    let one = api.post("/api/embed", json!({"model": model, "input": "the sky"})).await?.json();
    let one = vector(&one["embeddings"][0]);
    let alike: f64 = one.iter().zip(&sky).map(|(a, b)| a * b).sum();
    ensure!(one.len() == sky.len() && alike > 0.99, "the same input gives another vector: {alike}");
    Ok(())
}

async fn openai_and_legacy_embeddings_answer(api: &Api, model: &str) -> anyhow::Result<()> {
    let openai = api.post("/v1/embeddings", json!({"model": model, "input": ["the sky", "a stone"]})).await?;
    ensure!(openai.status == 200, "/v1/embeddings: {} {}", openai.status, openai.text());
    let list = openai.json();
    ensure!(list["object"] == "list" && list["data"][1]["index"] == 1, "odd list");
    ensure!(!vector(&list["data"][1]["embedding"]).is_empty(), "no vector in {}", list["data"][1]);
    let legacy = api.post("/api/embeddings", json!({"model": model, "prompt": "the sky"})).await?;
    ensure!(legacy.status == 200, "/api/embeddings: {} {}", legacy.status, legacy.text());
    ensure!(!vector(&legacy.json()["embedding"]).is_empty(), "no vector");
    let missing = api.post("/api/embed", json!({"model": "no-such-model", "input": "x"})).await?;
    ensure!(missing.status == 404, "embed without its model: {} {}", missing.status, missing.text());
    Ok(())
}

async fn models_are_listed_in_both_dialects(api: &Api, model: &str) -> anyhow::Result<()> {
    let tags = api.get("/api/tags").await?.json();
    let entry = tags["models"].as_array().and_then(|models| models.iter().find(|entry| entry["name"] == model));
    ensure!(entry.is_some_and(|entry| entry["digest"].is_string() && entry["details"].is_object()), "{tags}");
    let models = api.get("/v1/models").await?.json();
    ensure!(models["object"] == "list", "odd list {models}");
    let listed = models["data"].as_array().is_some_and(|data| data.iter().any(|entry| entry["id"] == model));
    ensure!(listed, "{model} is not in {models}");
    let one = api.get(&format!("/v1/models/{model}")).await?;
    ensure!(one.status == 200 && one.json()["id"] == model, "{}", one.text());
    ensure!(api.get("/api/version").await?.json()["version"].is_string(), "no version");
    ensure!(api.get("/api/ps").await?.json()["models"].is_array(), "no ps");
    Ok(())
}

async fn show_tells_capabilities(api: &Api, model: &str) -> anyhow::Result<()> {
    let answer = api.post("/api/show", json!({"model": model})).await?;
    ensure!(answer.status == 200, "show: {} {}", answer.status, answer.text());
    let show = answer.json();
    ensure!(show["capabilities"].is_array() && show["details"].is_object(), "odd show {show}");
    Ok(())
}

async fn a_missing_model_is_404_in_the_callers_dialect(api: &Api) -> anyhow::Result<()> {
    let native = api.post("/api/chat", hello("no-such-model")).await?;
    ensure!(native.status == 404, "native: {} {}", native.status, native.text());
    let text = native.json()["error"].as_str().unwrap_or_default().to_owned();
    ensure!(text.contains("no-such-model") && text.contains("not found"), "native: {text}");
    let openai = api.post("/v1/chat/completions", openai_hello("no-such-model", false)).await?;
    ensure!(openai.status == 404, "openai: {} {}", openai.status, openai.text());
    ensure!(openai.json()["error"]["message"].is_string(), "openai: {}", openai.text());
    let anthropic = api
        .post(
            "/v1/messages",
            json!({"model": "no-such-model", "max_tokens": 8, "messages": [{"role": "user", "content": "x"}]}),
        )
        .await?;
    ensure!(anthropic.status == 404, "anthropic: {} {}", anthropic.status, anthropic.text());
    ensure!(anthropic.json()["type"] == "error", "anthropic: {}", anthropic.text());
    Ok(())
}
