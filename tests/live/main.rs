//! A real Ollama with a real small model behind `cargo quickstart`'s processes.
//!
//! Runs where `OLLAMA_BIN` (or `ollama` on the PATH) and `CAUSEWAY_GGUF` are there, and says so
//! where they are not. Scenarios share one server and run in order.

mod cli;
mod recordings;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use causeway_tests::conformance;
use causeway_tests::ollama::{self, MODEL, Ollama, SECOND_MODEL};
use causeway_tests::runner::{Runner, skipped};
use causeway_tests::stack::{Api, Quickstart};
use futures_util::StreamExt;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let found = match ollama::find() {
        Ok(found) => found,
        Err(why) => return Ok(skipped("live", &why)),
    };
    let server = Arc::new(Ollama::start(&found).await?);
    let binary = Path::new(env!("CARGO_BIN_EXE_causeway-run"));
    let stack = Arc::new(Quickstart::start(binary, &["--ollama", &server.url, "--parallel", "1"]).await?);
    let direct = Api::new(&server.url, None);

    let mut runner = Runner::default();
    let api = stack.api();
    runner.run("quickstart_serves_the_real_ollama_and_not_the_stand_in", quickstart(Arc::clone(&stack))).await;
    runner.run("the_real_ollama_conforms_directly", conforms(direct.clone(), MODEL)).await;
    runner.run("the_real_ollama_conforms_through_the_relay", conforms(api.clone(), MODEL)).await;
    runner.run("a_second_model_answers_too", conforms(api.clone(), SECOND_MODEL)).await;
    runner.run("answers_are_ollamas_own_bytes", same_bytes(direct.clone(), api.clone())).await;
    runner.run("the_recordings_are_made_again", recordings::made_again(direct.clone())).await;
    runner.run("embed_gives_what_ollama_gives", embed(direct, api.clone())).await;
    runner.run("a_cancelled_answer_frees_the_slot_at_once", cancel(api.clone())).await;
    runner.run("a_deadline_that_cannot_be_met_is_refused_at_once", deadline(api)).await;
    let client = cli::command_line(binary, Arc::clone(&stack), Arc::clone(&server), found);
    runner.run("the_ollama_command_works_through_the_proxy", client).await;
    runner.run("the_access_log_has_a_line_for_each_request", log_lines(Arc::clone(&stack))).await;
    drop(stack);
    drop(server);
    Ok(runner.finish())
}

async fn conforms(api: Api, model: &'static str) -> anyhow::Result<()> {
    conformance::check(&api, model).await
}

async fn quickstart(stack: Arc<Quickstart>) -> anyhow::Result<()> {
    ensure!(!stack.ready.stand_in, "the stand-in serves");
    let ready = Api::new(&stack.ready.url, None).get("/readyz").await?;
    ensure!(ready.status == 200, "readyz: {} {}", ready.status, ready.text());
    let status = Api::new(&stack.ready.status_url, None).get("/api/status").await?;
    ensure!(status.status == 200, "status: {}", status.text());
    Ok(())
}

/// Deterministic sampling, so that two runs agree.
fn fixed(model: &str) -> Value {
    json!({"model": model, "prompt": "The capital of France is", "stream": false,
           "options": {"num_predict": 12, "seed": 7, "temperature": 0}})
}

async fn same_bytes(direct: Api, api: Api) -> anyhow::Result<()> {
    let one = direct.post("/api/generate", fixed(MODEL)).await?.json();
    let other = api.post("/api/generate", fixed(MODEL)).await?;
    ensure!(other.headers.get("x-causeway-served-by").is_some_and(|by| by == "local"), "{:?}", other.headers);
    ensure!(other.headers.contains_key("x-causeway-request-id"), "{:?}", other.headers);
    let other = other.json();
    ensure!(one["response"] == other["response"], "direct {one}\nrelayed {other}");
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    ensure!(keys(&one) == keys(&other), "direct {one}\nrelayed {other}");
    Ok(())
}

async fn embed(direct: Api, api: Api) -> anyhow::Result<()> {
    let body = json!({"model": MODEL, "input": ["one", "two"]});
    let one = direct.post("/api/embed", body.clone()).await?;
    let other = api.post("/api/embed", body).await?;
    ensure!(one.status == other.status, "direct {} relayed {}: {}", one.status, other.status, other.text());
    ensure!(one.json()["embeddings"] == other.json()["embeddings"], "embeddings differ");
    Ok(())
}

fn long_answer() -> Value {
    json!({"model": MODEL, "prompt": "Write a very long story.\n",
           "options": {"num_predict": 2000, "seed": 3, "temperature": 0.9}})
}

/// Time to the first token line of a short answer.
async fn first_token(api: &Api) -> anyhow::Result<Duration> {
    let body = json!({"model": MODEL, "prompt": "Hi", "options": {"num_predict": 1}});
    let started = Instant::now();
    let response = api.request("POST", "/api/generate", Some(&body)).send().await?;
    let mut stream = response.bytes_stream();
    stream.next().await.context("no token")??;
    Ok(started.elapsed())
}

/// Cancelled at token 3, the next first token comes in under a tenth of the time that the
/// cancelled answer had left (estimated from the pace of its own first tokens, or measured in a
/// control that is not cancelled).
async fn cancel(api: Api) -> anyhow::Result<()> {
    let control = Instant::now();
    let whole = api.post("/api/generate", long_answer()).await?;
    let whole_time = control.elapsed();
    let tokens = whole.lines().last().and_then(|line| line["eval_count"].as_u64()).unwrap_or_default();
    ensure!(tokens > 200, "the control answer has only {tokens} tokens");

    let response = api.request("POST", "/api/generate", Some(&long_answer())).send().await?;
    let started = Instant::now();
    let mut stream = response.bytes_stream();
    for _ in 0..3 {
        stream.next().await.context("ended early")??;
    }
    drop(stream);
    let left = whole_time.saturating_sub(started.elapsed());
    let next = first_token(&api).await?;
    ensure!(
        next < left / 10,
        "the next first token took {next:?}; the cancelled answer of {tokens} tokens had about {left:?} left"
    );
    causeway_tests::runner::say(&format!(
        "    cancelled at token 3 of {tokens}: {left:?} were left, the next first token came after {next:?}"
    ));
    Ok(())
}

async fn deadline(api: Api) -> anyhow::Result<()> {
    // The one slot is taken, so no first token can come in time.
    let busy = api.request("POST", "/api/generate", Some(&long_answer())).send().await?;
    let mut busy = busy.bytes_stream();
    busy.next().await.context("ended early")??;
    let body = json!({"model": MODEL, "prompt": "Hi"});
    let started = Instant::now();
    let answer =
        api.request("POST", "/api/generate", Some(&body)).header("x-causeway-first-token-ms", "700").send().await?;
    let took = started.elapsed();
    let retry_after = answer.headers().get("retry-after-ms").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let (status, text) = (answer.status().as_u16(), answer.text().await?);
    ensure!(status == 503, "{status} {text}");
    ensure!(took < Duration::from_millis(500), "refused only after {took:?}");
    ensure!(retry_after.is_some_and(|ms| ms > 0), "no retry-after-ms");
    drop(busy);
    let next = first_token(&api).await?;
    ensure!(next < Duration::from_secs(3), "the slot was not freed: {next:?}");
    Ok(())
}

async fn log_lines(stack: Arc<Quickstart>) -> anyhow::Result<()> {
    let log = stack.log();
    let line = log
        .lines()
        .find(|line| line.contains("/api/generate") && line.contains("local"))
        .with_context(|| format!("no line for /api/generate in:\n{log}"))?;
    ensure!(line.contains("POST") && line.contains("200"), "{line}");
    ensure!(!log.contains("capital of France"), "a prompt is in the log");
    Ok(())
}
