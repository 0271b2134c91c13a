//! The daemon's own requests about a model's place in memory: load, probe, unload.
//!
//! A load is an empty request with the same options as every later one, so that none of them loads
//! the model anew. Absent: when (`admission/chores.rs`).

use std::time::Duration;

use bytes::Bytes;
use causeway_dialect::native;
use causeway_dialect::route::Upstream;
use causeway_wire::Code;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ollama::Ollama;
use crate::session::Trouble;

/// Largest answer that is read, bytes: one line.
const MAX_ANSWER: usize = 64 * 1024;

/// Ollama's words for a model that only makes vectors (`server/routes.go`).
const ONLY_VECTORS: &str = "does not support generate";

/// A load that ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Loading {
    /// The time that Ollama says it took.
    pub(crate) took: Option<Duration>,
}

#[derive(Deserialize, Default)]
struct Line {
    load_duration: Option<u64>,
}

/// Loads a model, or finds it loaded.
pub(crate) async fn load(ollama: &Ollama, model: &str, num_ctx: Option<u32>) -> Result<Loading, (Code, String)> {
    let options = options(num_ctx);
    let body = json!({ "model": model, "options": options, "stream": false });
    match ask(ollama, Upstream::OllamaGenerate, &body).await {
        Err((_, message)) if message.contains(ONLY_VECTORS) => {
            let body = json!({ "model": model, "options": options, "input": [] });
            ask(ollama, Upstream::OllamaEmbed, &body).await
        }
        loaded => loaded,
    }
}

/// Asks a model for one token.
pub(crate) async fn probe(ollama: &Ollama, model: &str, num_ctx: Option<u32>) -> Result<(), (Code, String)> {
    let mut options = options(num_ctx);
    options.insert("num_predict".to_owned(), 1.into());
    let body = json!({ "model": model, "prompt": "1", "raw": true, "options": options, "stream": false });
    ask(ollama, Upstream::OllamaGenerate, &body).await.map(|_| ())
}

/// Takes a model out of memory.
pub(crate) async fn unload(ollama: &Ollama, model: &str) -> Result<(), (Code, String)> {
    let body = json!({ "model": model, "keep_alive": 0, "stream": false });
    ask(ollama, Upstream::OllamaGenerate, &body).await.map(|_| ())
}

/// Another context length than that of other requests would load the model anew.
fn options(num_ctx: Option<u32>) -> Map<String, Value> {
    num_ctx.map(|num_ctx| ("num_ctx".to_owned(), num_ctx.into())).into_iter().collect()
}

async fn ask(ollama: &Ollama, route: Upstream, body: &Value) -> Result<Loading, (Code, String)> {
    let asked = ollama.ask(route, None, &Vec::new(), Some(Bytes::from(body.to_string()))).await;
    let mut answer = asked.map_err(unreachable)?;
    let status = answer.status().as_u16();
    let mut said = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(crate::ollama::trouble(&error)))? {
        let room = MAX_ANSWER.saturating_sub(said.len()).min(chunk.len());
        said.extend_from_slice(chunk.get(..room).unwrap_or_default());
    }
    if status != 200 {
        return Err(match native::fault(status, &said) {
            // Whoever cancelled it, it was none of the callers who wait for it.
            (Code::Cancelled, message) => (Code::LocalUnavailable, message),
            fault => fault,
        });
    }
    let line: Line = serde_json::from_slice(&said).unwrap_or_default();
    Ok(Loading { took: line.load_duration.map(Duration::from_nanos) })
}

fn unreachable(trouble: Trouble) -> (Code, String) {
    let (Trouble::Down(detail) | Trouble::Cut(detail) | Trouble::BadRequest(detail)) = trouble;
    let message = format!("Ollama does not answer on the edge ({detail}): start it, or mend ollama.url");
    (Code::LocalUnavailable, message)
}
