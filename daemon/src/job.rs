//! From a permitted request's body to what goes to Ollama and how the answer is written.
//!
//! Pure. Invariants: what goes out names the authorised model, whatever the body called it; the
//! answer repeats the caller's own spelling; whatever was left out on the way is named in
//! [`Job::dropped`], or refused where the caller is strict. Absent: when it may run (`admission.rs`).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use causeway_bedrock::{Mapped, Target, map, needs};
use causeway_dialect::anthropic::count;
use causeway_dialect::chat::{Document, DocumentFormat, Format, Input, Part, Request, Think};
use causeway_dialect::model::ModelName;
use causeway_dialect::native::{self, Bounds};
use causeway_dialect::route::{Shape, Upstream};
use causeway_dialect::{embed, ollama};
pub(crate) use causeway_overflow::text::judge_dropped;
use causeway_overflow::text::{self, Kind, Text, invalid};
use causeway_policy::{Ask, Class, Deadline, Key, ModelId};
use causeway_wire::{Code, Failure};

use crate::gate::Plan;

/// Characters of a prompt's beginning whose hash tells whether Ollama's prompt cache may hold it.
const PREFIX: usize = 1_024;

/// A request ready to run.
pub(crate) struct Job {
    /// What is asked of Ollama, in order; at least one.
    pub(crate) parts: Vec<Outgoing>,
    /// How the answer is read and written.
    pub(crate) kind: Kind,
    /// Fields without effect on Ollama, by name, fit for a header; none where it is empty.
    pub(crate) dropped: String,
    /// Fields without effect on any backend.
    pub(crate) common: Vec<String>,
    /// The request itself, while another backend may answer it.
    pub(crate) request: Option<Arc<Request>>,
    /// Why none can.
    pub(crate) unmapped: Option<String>,
    /// What of it no model on this machine can read; then only another backend may answer it.
    pub(crate) unreadable: Option<String>,
    /// The route on Ollama.
    pub(crate) route: Upstream,
}

/// One request to Ollama.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) body: Bytes,
    pub(crate) need: Need,
}

/// What the ledger must know of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Need {
    prompt_bytes: u64,
    max_tokens: Option<u32>,
    prefix: u64,
    batch: bool,
    runs_twice: bool,
    truncate: bool,
}

/// What the request's surroundings say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) plan: &'a Plan,
    /// Our id of the request.
    pub(crate) id: &'a str,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) bounds: &'a Bounds,
    /// Where it may overflow to.
    pub(crate) target: Option<&'a Target>,
}

/// What the ledger is asked beside the request's own need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) key: Key,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) queue_timeout: Duration,
    /// Bedrock could serve it.
    pub(crate) overflow: bool,
}

impl Need {
    /// The question to the ledger.
    pub(crate) fn ask(self, model: ModelId, terms: Terms) -> Ask {
        Ask {
            model,
            key: terms.key,
            class: if self.batch { Class::Batch } else { Class::Interactive },
            prompt_bytes: self.prompt_bytes,
            max_tokens: self.max_tokens,
            prefix: self.prefix,
            deadline: terms.deadline,
            queue_timeout: terms.queue_timeout,
            overflow: terms.overflow,
            runs_twice: self.runs_twice,
            truncate: self.truncate,
        }
    }
}

/// Reads the body of an inference route.
pub(crate) fn read(about: About<'_>, body: &[u8]) -> Result<Job, Failure> {
    let embedders = [
        (Upstream::OllamaEmbed, embed::Route::Embed),
        (Upstream::OllamaEmbeddings, embed::Route::Embeddings),
        (Upstream::OpenAiEmbeddings, embed::Route::OpenAi),
    ];
    if let Some((_, route)) = embedders.into_iter().find(|(upstream, _)| *upstream == about.plan.route) {
        return vectors(about, route, body);
    }
    let streams = about.plan.shape != Shape::Whole;
    let stamp = text::About { id: about.id, created: about.created, streams };
    let (request, text) = text::read(about.plan.route, stamp, body)?;
    one(about, request, text)
}

/// Tokens that a prompt has, about, and the request as Bedrock can count it, where it can.
pub(crate) fn count_tokens(body: &[u8], target: Option<&Target>) -> Result<(u64, Option<Mapped>), Failure> {
    let request = count::parse(body).map_err(invalid)?;
    let mapped = target.and_then(|target| map(&request, target, &[]).ok());
    Ok((count::estimate(&request, count::TOKENS_PER_BYTE), mapped))
}

fn one(about: About<'_>, mut request: Request, text: Text) -> Result<Job, Failure> {
    let outgoing = native::request(&request, &authorised(about.plan)?, about.bounds);
    let common = std::mem::take(&mut request.dropped);
    let dropped: Vec<String> = common.iter().cloned().chain(outgoing.lost).chain(outgoing.removed).collect();
    let route = match native::route(&request) {
        ollama::Route::Chat => Upstream::OllamaChat,
        ollama::Route::Generate => Upstream::OllamaGenerate,
    };
    let need = need(about.plan, &request);
    let unreadable = request.unreadable_here().map(unreadable);
    // What is lost here is no matter where only Bedrock may answer.
    let strict = about.plan.strict && about.plan.allow.local && unreadable.is_none();
    let able = about.target.map(|target| needs(&request, target, text.stamp.input_estimate));
    let (request, unmapped) = match able {
        Some(Ok(())) => (Some(Arc::new(request)), None),
        Some(Err(unmapped)) => (None, Some(unmapped.to_string())),
        None => (None, None),
    };
    Ok(Job {
        parts: vec![Outgoing { body: outgoing.body.into(), need }],
        kind: Kind::Text(Box::new(text)),
        dropped: judge_dropped(&dropped, strict)?,
        common,
        request,
        unmapped,
        unreadable,
        route,
    })
}

/// What a document is called that only some of Bedrock's models read.
fn unreadable(document: &Document) -> String {
    let name = match document.format {
        DocumentFormat::Pdf => "PDF",
        DocumentFormat::Doc | DocumentFormat::Docx => "Word",
        DocumentFormat::Xls | DocumentFormat::Xlsx => "Excel",
        DocumentFormat::Csv | DocumentFormat::Html | DocumentFormat::Md | DocumentFormat::Txt => "text",
    };
    format!("no model on this machine reads {name} documents (documents): send the document's text instead")
}

fn need(plan: &Plan, request: &Request) -> Need {
    let may_think = plan.local.thinks() != Some(false) && request.think != Think::Off;
    Need {
        // The estimate's own measure, so that a picture weighs as much here as there.
        prompt_bytes: (count::estimate(request, count::TOKENS_PER_BYTE) as f64 / count::TOKENS_PER_BYTE) as u64,
        max_tokens: if request.is_empty() { Some(0) } else { request.max_tokens },
        prefix: prefix(request),
        batch: plan.batch,
        runs_twice: request.format != Format::Text && may_think,
        truncate: request.native.truncate == Some(true),
    }
}

/// A hash of what the model reads first: prompts that begin alike may share a cache.
fn prefix(request: &Request) -> u64 {
    let mut hash = DefaultHasher::new();
    let mut room = PREFIX;
    let mut take = |text: &str| {
        let piece = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        room -= piece.len();
        piece.hash(&mut hash);
    };
    for tool in &request.tools {
        take(&tool.name);
    }
    match &request.input {
        Input::Prompt(prompt) => {
            take(prompt.system.as_deref().unwrap_or_default());
            take(&prompt.text);
        }
        Input::Chat(messages) => {
            for part in messages.iter().flat_map(|message| &message.parts) {
                match part {
                    Part::Text(text) => take(text),
                    Part::Image(_)
                    | Part::Document(_)
                    | Part::CachePoint(_)
                    | Part::Thinking { .. }
                    | Part::ToolCall(_)
                    | Part::ToolResult(_) => {}
                }
            }
        }
    }
    hash.finish()
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    bytes.hash(&mut hash);
    hash.finish()
}

fn vectors(about: About<'_>, route: embed::Route, body: &[u8]) -> Result<Job, Failure> {
    let mut request = embed::parse(route, body).map_err(invalid)?;
    let split = embed::split(&request, &authorised(about.plan)?, about.bounds);
    let mut dropped = std::mem::take(&mut request.dropped);
    dropped.extend(split.removed);
    let gather = embed::Gather::new(&request, &split.parts);
    let parts = split.parts.into_iter().map(|part| {
        let need = Need {
            prompt_bytes: part.body.len() as u64,
            max_tokens: Some(0),
            // Ollama keeps no prompts of an embedder: each part is read anew and tells its speed.
            prefix: hash_of(&part.body),
            batch: true,
            runs_twice: false,
            // The context holds for each text by itself: Ollama alone can tell which is too long.
            truncate: true,
        };
        Outgoing { body: part.body.into(), need }
    });
    Ok(Job {
        parts: parts.collect(),
        kind: Kind::Vectors(Box::new(gather)),
        dropped: judge_dropped(&dropped, about.plan.strict)?,
        common: Vec::new(),
        request: None,
        unmapped: None,
        unreadable: None,
        route: if route == embed::Route::Embeddings { Upstream::OllamaEmbeddings } else { Upstream::OllamaEmbed },
    })
}

/// The one name that goes to Ollama.
fn authorised(plan: &Plan) -> Result<ModelName, Failure> {
    let name = plan.model.as_deref().unwrap_or_default();
    ModelName::parse(name).map_err(|bad| Failure::new(Code::InvalidRequest, bad.to_string()))
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
