//! Chat and completion in all dialects: checks in Ollama's order, then a slot, then the answer.
//!
//! Invariant: nothing of an answer, not even its headers, is sent before the first token is there.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Either;

use super::ask::Ask;
use super::{Dialect, JSON, Refusal, Reply, error, find, next_id, text};
use crate::answer::{Anthropic, Chat, Completion, Encode, Generate, OpenAiChat, Plan, Responses, quiet, unix};
use crate::config::{Fault, Pace};
use crate::script::{self, Piece, Scene};
use crate::server::Shared;
use crate::slots::Slots;
use crate::text::{self as invented, seed};

fn dialect(path: &str) -> Dialect {
    match path {
        "/v1/messages" => Dialect::Anthropic,
        _ if path.starts_with("/v1/") => Dialect::OpenAi,
        _ => Dialect::Ollama,
    }
}

/// Answers an inference request.
pub(super) async fn infer(shared: &Arc<Shared>, path: &str, body: &Bytes) -> Reply {
    let came = Instant::now();
    let dialect = dialect(path);
    match prepare(shared, path, dialect, body) {
        Ok(Ready::Load(object, slots)) => {
            slots.load().await;
            text(StatusCode::OK, JSON, object)
        }
        Ok(Ready::Unload(object, slots)) => {
            slots.unload();
            text(StatusCode::OK, JSON, object)
        }
        Ok(Ready::Run(going)) => run(shared, path, came, *going).await,
        Err((status, words)) => error(dialect, status, &words),
    }
}

enum Ready {
    /// Answered once the model is resident.
    Load(String, Arc<Slots>),
    Unload(String, Arc<Slots>),
    Run(Box<Going>),
}

/// A request that passed every check.
struct Going {
    ask: Ask,
    slots: Arc<Slots>,
    pace: Pace,
    /// The answer, where it is not the invented text.
    script: Vec<Piece>,
}

fn bad(words: impl Into<String>) -> Refusal {
    (StatusCode::BAD_REQUEST, words.into())
}

fn prepare(shared: &Shared, path: &str, dialect: Dialect, body: &[u8]) -> Result<Ready, Refusal> {
    let ask = Ask::parse(body)?;
    let asked_to_think = script::effort(&ask.think).map_err(bad)?;
    let pictures: Result<Vec<Vec<u8>>, String> = ask.pictures().iter().map(|picture| script::decode(picture)).collect();
    let pictures = pictures.map_err(bad)?;
    if path == "/v1/chat/completions" && ask.messages.as_ref().is_none_or(Vec::is_empty) {
        return Err(bad("[] is too short - 'messages'"));
    }
    if dialect == Dialect::Anthropic && ask.max_tokens.unwrap_or(0) <= 0 {
        return Err(bad("max_tokens is required and must be positive"));
    }
    let slots = find(shared, ask.model.as_deref(), false)?;
    let limit = ask.limit()?;
    able(path, &ask, &slots, dialect)?;
    if is_empty(path, &ask) {
        let unloads = ask.unloads();
        let name = ask.model.as_deref().unwrap_or_default();
        let object = quiet(name, path == "/api/chat", if unloads { "unload" } else { "load" });
        return Ok(if unloads { Ready::Unload(object, slots) } else { Ready::Load(object, slots) });
    }
    let usual = invented::length(seed(&ask.prompt_text()), slots.pace.tokens, slots.model.variety);
    let mut pace = Pace { tokens: limit.unwrap_or(usual).max(1), ..slots.pace };
    let mut script = Vec::new();
    if dialect == Dialect::Ollama {
        if let Some(words) = script::format_fault(&ask.format) {
            return Err((StatusCode::INTERNAL_SERVER_ERROR, words));
        }
        let think = asked_to_think.filter(|_| slots.model.thinking);
        let pictures = if slots.model.vision { pictures } else { Vec::new() };
        script = scripted(&ask, think, pictures, pace.tokens);
        if let (false, Ok(whole)) = (script.is_empty(), u32::try_from(script.len())) {
            pace.tokens = limit.unwrap_or(whole).min(whole);
        }
    }
    Ok(Ready::Run(Box::new(Going { ask, slots, pace, script })))
}

/// Whether the model can do what is asked of it.
fn able(path: &str, ask: &Ask, slots: &Slots, dialect: Dialect) -> Result<(), Refusal> {
    if !slots.model.writes {
        let what = if matches!(path, "/api/generate" | "/v1/completions") { "generate" } else { "chat" };
        return Err(bad(format!("\"{}\" does not support {what}", ask.model.as_deref().unwrap_or_default())));
    }
    let short = format!("registry.ollama.ai/library/{}", slots.model.name);
    if !ask.tools.is_empty() && !slots.model.tools {
        return Err(bad(format!("{short} does not support tools")));
    }
    if ask.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(bad(format!("{short} does not support insert")));
    }
    if dialect == Dialect::Ollama && !slots.model.thinking && !ask.think.is_null() && ask.think != false {
        let name = ask.model.as_deref().unwrap_or_default();
        return Err(bad(format!("\"{name}\" does not support thinking")));
    }
    if ask.truncate == Some(false) && ask.prompt_tokens() > slots.model.context {
        return Err(bad("the input length exceeds the context length"));
    }
    Ok(())
}

/// The answer by the rules; empty where it is nothing but the invented text.
fn scripted(ask: &Ask, think: Option<String>, pictures: Vec<Vec<u8>>, tokens: u32) -> Vec<Piece> {
    let prompt = ask.prompt_text();
    let scene =
        Scene { prompt: &prompt, results: ask.results(), tools: &ask.tools, format: &ask.format, pictures, think };
    let (mut pieces, said) = scene.play(next_id);
    match said {
        Some(said) => pieces.extend(said),
        None if pieces.is_empty() => {}
        None => pieces.extend((0..tokens).map(|index| Piece::Text(invented::token(seed(&prompt), index)))),
    }
    pieces
}

/// Native requests without a prompt load or unload the model.
fn is_empty(path: &str, ask: &Ask) -> bool {
    match path {
        "/api/chat" => ask.messages.as_ref().is_none_or(Vec::is_empty),
        "/api/generate" => ask.prompt.as_ref().is_none_or(String::is_empty),
        _ => false,
    }
}

async fn run(shared: &Arc<Shared>, path: &str, came: Instant, going: Going) -> Reply {
    let Going { ask, slots, pace, script } = going;
    let dialect = dialect(path);
    let whole = u32::try_from(script.len()).unwrap_or(u32::MAX);
    let limited = ask.limit().is_ok_and(|limit| limit.is_some()) && (whole == 0 || pace.tokens < whole);
    let stream = ask.stream.unwrap_or(dialect == Dialect::Ollama);
    let prompt_tokens = ask.prompt_tokens();
    let mut run = slots.run(seed(&ask.prompt_text()), shared.fault(), &shared.observations).await;
    let load = slots.load().await;
    match &run.fault {
        Some(Fault::Status(status, words)) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let reply = error(dialect, status, words);
            run.finish();
            return reply;
        }
        Some(Fault::Refuse) => {
            run.finish();
            return text(StatusCode::FORBIDDEN, "text/plain", "");
        }
        _ => {}
    }
    let plan = Plan { run, pace, script, limited, prompt_tokens, came, load, begun: Instant::now() };
    let encode = encoder(path, ask, prompt_tokens, limited.then_some(pace.tokens));
    let content_type = HeaderValue::from_static(encode.content_type(stream));
    let mut reply = if stream {
        Response::new(Either::Right(plan.first_token(encode).await))
    } else {
        Response::new(Either::Left(plan.whole(encode).await.into()))
    };
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    if stream && matches!(path, "/v1/messages" | "/v1/responses") {
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    reply
}

fn encoder(path: &str, ask: Ask, prompt_tokens: usize, limit: Option<u32>) -> Box<dyn Encode> {
    let model = ask.model.unwrap_or_default();
    let (id, created) = (next_id(), unix(SystemTime::now()));
    let usage = ask.stream_options.include_usage;
    match path {
        "/api/chat" => Box::new(Chat { model }),
        "/api/generate" => Box::new(Generate { model, raw: ask.raw }),
        "/v1/completions" => Box::new(Completion { id, created, model, usage }),
        "/v1/messages" => Box::new(Anthropic { id, model, prompt_tokens }),
        "/v1/responses" => Box::new(Responses { id, created, model, limit, sequence: 0, text: String::new() }),
        _ => Box::new(OpenAiChat { id, created, model, usage }),
    }
}
