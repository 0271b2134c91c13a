//! Embeddings: native, legacy and OpenAI's.
//!
//! Invariant: a vector is a pure function of its input, of length one, except the legacy route's,
//! which Ollama does not normalise either. Inputs take a slot of their model like answers do.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use super::ask::Ask;
use super::{Dialect, Refusal, Reply, error, find, ok, ok_line};
use crate::config::Fault;
use crate::server::Shared;
use crate::text::{embedding, seed};

/// Answers one of the three routes.
pub(super) async fn embed(shared: &Arc<Shared>, path: &str, body: &[u8]) -> Reply {
    let dialect = if path == "/v1/embeddings" { Dialect::OpenAi } else { Dialect::Ollama };
    match make(shared, path, dialect, body).await {
        Ok(reply) => reply,
        Err((status, words)) => error(dialect, status, &words),
    }
}

async fn make(shared: &Arc<Shared>, path: &str, dialect: Dialect, body: &[u8]) -> Result<Reply, Refusal> {
    let came = Instant::now();
    let ask = Ask::parse(body)?;
    let slots = find(shared, ask.model.as_deref(), true)?;
    let inputs = inputs(&ask)?;
    let mut run = slots.run(seed(&inputs.concat()), shared.fault(), &shared.observations).await;
    if let Some(Fault::Status(status, words)) = &run.fault {
        let refusal = (StatusCode::from_u16(*status).unwrap_or_default(), words.clone());
        run.finish();
        return Err(refusal);
    }
    let load = slots.load().await;
    if !slots.pace.first_token.is_zero() {
        tokio::time::sleep(slots.pace.first_token).await;
    }
    let width = ask.dimensions.filter(|width| *width > 0).unwrap_or(slots.model.embedding);
    let vectors: Vec<Vec<f32>> =
        inputs.iter().map(|input| embedding(input, width.min(slots.model.embedding))).collect();
    let tokens: usize = inputs.iter().map(|input| input.len() / 4 + 1).sum();
    let model = ask.model.unwrap_or_default();
    let reply = match (path, dialect) {
        ("/api/embeddings", _) => {
            let raw: Vec<f32> = vectors.concat().into_iter().map(|x| x * 3.0).collect();
            ok(&json!({"embedding": raw}))
        }
        (_, Dialect::OpenAi) => {
            let base64 = ask.encoding_format.as_deref() == Some("base64");
            let data: Vec<Value> = vectors
                .iter()
                .enumerate()
                .map(|(index, vector)| {
                    let embedding = if base64 { encoded(vector) } else { json!(vector) };
                    json!({"object": "embedding", "embedding": embedding, "index": index})
                })
                .collect();
            let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
            ok_line(&json!({"object": "list", "data": data, "model": model, "usage": usage}))
        }
        _ => ok(&json!({"model": model, "embeddings": vectors,
            "total_duration": nanos(came.elapsed()), "load_duration": nanos(load), "prompt_eval_count": tokens})),
    };
    run.finish();
    Ok(reply)
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn encoded(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    Value::String(STANDARD.encode(bytes))
}

fn inputs(ask: &Ask) -> Result<Vec<String>, Refusal> {
    let bad = || (StatusCode::BAD_REQUEST, "invalid input type".to_owned());
    match &ask.input {
        Value::Null => Ok(vec![ask.prompt.clone().unwrap_or_default()]),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(bad)).collect(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(bad()),
    }
}
