//! Embeddings: `/api/embed`, `/api/embeddings`, `/v1/embeddings`.
//!
//! Ollama works at all texts of one request at once, on one slot, so that a long list stands in
//! everyone's way. It is split into [`Part`]s that the ledger can put between others' requests, and
//! the [`Gather`] puts the answers together again. Invariants: vectors keep their order and the
//! very digits that Ollama wrote; one failing part fails all. Absent: HTTP, the order of the parts.

mod gather;
mod parse;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::ModelName;
use crate::native::{Bounds, bound_keep_alive, bound_options};
use crate::write::json;

pub use gather::{BadAnswer, Gather, MAX_VECTORS};
pub use parse::{MAX_INPUTS, parse};

/// Texts of one part, count: a quarter of a second of work for a small embedder on one GPU, and
/// few enough parts that their overhead stays under a tenth.
pub const PART: usize = 16;

/// The three routes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Route {
    /// `/api/embed`.
    Embed,
    /// `/api/embeddings`: one text, a vector that is not normalised.
    Embeddings,
    /// `/v1/embeddings`.
    OpenAi,
}

/// How a vector is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Encoding {
    /// As numbers.
    #[default]
    Float,
    /// As little-endian 32-bit floats in base64 (OpenAI).
    Base64,
}

/// A request for vectors.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The route it came by, and whose answer it gets.
    pub route: Route,
    /// The model as the caller wrote it.
    pub model: String,
    /// The texts; none: the model is only loaded.
    pub input: Vec<String>,
    /// Vectors are cut to so many numbers.
    pub dimensions: Option<u32>,
    /// How vectors are written.
    pub encoding: Encoding,
    /// Cut a text that is too long, rather than refuse it.
    pub truncate: Option<bool>,
    /// How long the model stays in memory.
    pub keep_alive: Option<Value>,
    /// Ollama's `options`.
    pub options: Map<String, Value>,
    /// Fields of the caller that have no effect, by their name.
    pub dropped: Vec<String>,
}

/// One native request of several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Where it goes, by POST.
    pub path: &'static str,
    /// Its JSON.
    pub body: Vec<u8>,
    /// Its texts, count: so many vectors must come back.
    pub texts: usize,
}

/// The parts of a request, in order; at least one, so that an empty request loads its model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Split {
    /// The native requests.
    pub parts: Vec<Part>,
    /// Fields of the caller that policy took out or changed, by their name.
    pub removed: Vec<String>,
}

/// A part of `/api/embed`.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<bool>,
    #[serde(flatten)]
    common: Common<'a>,
}

/// `/api/embeddings`.
#[derive(Serialize)]
struct OldBody<'a> {
    model: &'a str,
    prompt: &'a str,
    #[serde(flatten)]
    common: Common<'a>,
}

#[derive(Clone, Copy, Serialize)]
struct Common<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<&'a Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    options: &'a Map<String, Value>,
}

/// Splits a request into native ones of at most [`PART`] texts.
///
/// `model`: the name that was authorised, as in [`crate::native::request`]. `/api/embeddings` stays on
/// its own route: the other one would normalise its vector.
#[must_use]
pub fn split(request: &Request, model: &ModelName, bounds: &Bounds) -> Split {
    let mut removed = Vec::new();
    let keep_alive = bound_keep_alive(request.keep_alive.as_ref(), bounds, &mut removed);
    let options = bound_options(&request.options, bounds, &mut removed);
    let common = Common { keep_alive: keep_alive.as_ref(), options: &options };
    let model = model.as_short();
    let parts = match request.route {
        Route::Embeddings => {
            let prompt = request.input.first().map_or("", String::as_str);
            let body = OldBody { model, prompt, common };
            vec![part("/api/embeddings", &body, request.input.len().min(1))]
        }
        Route::Embed | Route::OpenAi => {
            let (dimensions, truncate) = (request.dimensions, request.truncate);
            let of = |input: &[String]| {
                part("/api/embed", &Body { model, input, dimensions, truncate, common }, input.len())
            };
            if request.input.is_empty() { vec![of(&[])] } else { request.input.chunks(PART).map(of).collect() }
        }
    };
    Split { parts, removed }
}

fn part<T: Serialize>(path: &'static str, body: &T, texts: usize) -> Part {
    let mut bytes = Vec::new();
    json(body, &mut bytes);
    Part { path, body: bytes, texts }
}

#[cfg(test)]
#[path = "embed_tests.rs"]
mod tests;
