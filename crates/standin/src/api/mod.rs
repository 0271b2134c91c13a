//! Routes: which path is whose, wrong methods, unknown paths, and the shapes of errors.
//!
//! Invariant: an error has the shape of the dialect that its path belongs to.

mod ask;
mod embed;
mod infer;
mod meta;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{Either, Full};
use serde_json::{Value, json};

use crate::answer::{Answer, string};
use crate::server::Shared;
use crate::slots::Slots;

/// A body known whole, or a stream of tokens.
pub(crate) type Reply = Response<Either<Full<Bytes>, Answer>>;

/// Which shape an error takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    Ollama,
    OpenAi,
    Anthropic,
}

const JSON: &str = "application/json; charset=utf-8";

const GET: &[&str] = &["/", "/api/version", "/api/status", "/api/tags", "/api/ps"];
const POST: &[&str] = &[
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/api/show",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
];
/// Ollama has these; a stand-in has nothing to manage.
const MANAGEMENT: &[&str] =
    &["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/me", "/api/signout"];

/// Answers one request whose body is complete.
pub(crate) async fn dispatch(shared: &Arc<Shared>, method: &Method, path: &str, body: Bytes) -> Reply {
    if GET.contains(&path) || path.starts_with("/v1/models") {
        if method != Method::GET && method != Method::HEAD {
            return wrong_method("GET");
        }
        return meta::get(shared, path);
    }
    if MANAGEMENT.contains(&path) {
        return error(Dialect::Ollama, StatusCode::NOT_IMPLEMENTED, "the stand-in has no models to manage");
    }
    if !POST.contains(&path) {
        return text(StatusCode::NOT_FOUND, "text/plain", "404 page not found");
    }
    if method != Method::POST {
        return wrong_method("POST");
    }
    match path {
        "/api/show" => meta::show(shared, &body),
        "/api/embed" | "/api/embeddings" | "/v1/embeddings" => embed::embed(shared, path, &body).await,
        _ => infer::infer(shared, path, &body).await,
    }
}

fn wrong_method(allow: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "405 method not allowed");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    reply
}

/// A whole body.
pub(crate) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body.into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

fn ok(body: &Value) -> Reply {
    text(StatusCode::OK, JSON, body.to_string())
}

/// OpenAI's objects end with a newline and name no charset.
fn ok_line(body: &Value) -> Reply {
    text(StatusCode::OK, "application/json", format!("{body}\n"))
}

/// An error in the dialect's shape.
pub(crate) fn error(dialect: Dialect, status: StatusCode, message: &str) -> Reply {
    let quoted = string(message);
    match dialect {
        Dialect::Ollama => text(status, JSON, format!("{{\"error\":{quoted}}}")),
        Dialect::OpenAi => {
            let kind = match status.as_u16() {
                400 => "invalid_request_error",
                404 => "not_found_error",
                _ => "api_error",
            };
            let body =
                format!("{{\"error\":{{\"message\":{quoted},\"type\":\"{kind}\",\"param\":null,\"code\":null}}}}\n");
            text(status, "application/json", body)
        }
        Dialect::Anthropic => {
            let kind = match status.as_u16() {
                400 => "invalid_request_error",
                404 => "not_found_error",
                429 => "rate_limit_error",
                503 | 529 => "overloaded_error",
                _ => "api_error",
            };
            let id = next_id();
            let body = format!(
                "{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":{quoted}}},\"request_id\":\"req_{id:024x}\"}}\n"
            );
            text(status, "application/json", body)
        }
    }
}

/// Ollama's ids are random and short; these only have to differ.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Why a request names no model of ours, as status and Ollama's words.
pub(crate) type Refusal = (StatusCode, String);

/// Finds a model by the name as sent: any case, `:latest` implied.
pub(crate) fn find(shared: &Shared, name: Option<&str>, embed: bool) -> Result<Arc<Slots>, Refusal> {
    let name = name.unwrap_or_default();
    if name.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "model is required".to_owned()));
    }
    if name.contains("//") || name.contains(char::is_whitespace) {
        return Err((StatusCode::BAD_REQUEST, "invalid model name".to_owned()));
    }
    if name.ends_with(":cloud") || name.ends_with("-cloud") {
        let words = "ollama cloud is disabled: remote model is unavailable".to_owned();
        return Err((StatusCode::FORBIDDEN, words));
    }
    shared.model(name).ok_or_else(|| {
        let words = if embed {
            format!("model \"{name}\" not found, try pulling it first")
        } else {
            format!("model '{name}' not found")
        };
        (StatusCode::NOT_FOUND, words)
    })
}

fn details() -> Value {
    json!({"parent_model": "", "format": "gguf", "family": "causeway-standin",
        "families": ["causeway-standin"], "parameter_size": "0", "quantization_level": "none"})
}
