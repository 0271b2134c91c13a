//! A body of a text route: the request in it, and how its answer is read and written.
//!
//! Pure. Invariant: the answer repeats the caller's own spelling of the model; what was left out is named, or
//! refused where the caller is strict. Absent: what goes to a backend.

use causeway_dialect::anthropic::count;
use causeway_dialect::chat::{BadRequest, Request};
use causeway_dialect::encode::Stamp;
use causeway_dialect::native::Reader;
use causeway_dialect::openai::responses::Echo;
use causeway_dialect::route::Upstream;
use causeway_dialect::{anthropic, embed, hints, ollama, openai};
use causeway_wire::{Code, Failure};

/// Header bytes that the names of dropped fields may fill.
const MAX_DROPPED: usize = 1_024;

/// What an answer is.
pub enum Kind {
    /// A text.
    Text(Box<Text>),
    /// Vectors.
    Vectors(Box<embed::Gather>),
}

/// How a text is written.
pub struct Text {
    /// Of a backend that speaks as Ollama does.
    pub reader: Reader,
    /// What every piece of it repeats.
    pub stamp: Stamp,
    /// The caller's dialect.
    pub dialect: Writing,
}

/// The caller's route, with what its encoder needs beside the stamp.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Writing {
    /// `/api/chat`, `/api/generate`.
    Ollama(ollama::Route),
    /// `/v1/chat/completions`.
    OpenAiChat,
    /// `/v1/completions`.
    OpenAiCompletions,
    /// `/v1/responses`.
    OpenAiResponses(Box<Echo>),
    /// `/v1/messages`.
    Anthropic,
}

/// What an answer says of itself beside the text.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Our id of the request.
    pub id: &'a str,
    /// Seconds since 1970.
    pub created: u64,
    /// It comes piece by piece.
    pub streams: bool,
}

/// Reads the body of a text route.
///
/// # Errors
///
/// It cannot be read, or asks for what no caller may have.
pub fn read(route: Upstream, about: About<'_>, body: &[u8]) -> Result<(Request, Text), Failure> {
    let parsed = match route {
        Upstream::OllamaChat => with(ollama::parse_chat(body), Writing::Ollama(ollama::Route::Chat)),
        Upstream::OllamaGenerate => with(ollama::parse_generate(body), Writing::Ollama(ollama::Route::Generate)),
        Upstream::OpenAiChat => with(openai::chat::parse(body), Writing::OpenAiChat),
        Upstream::OpenAiCompletions => with(openai::completions::parse(body), Writing::OpenAiCompletions),
        Upstream::OpenAiResponses => {
            openai::responses::read(body).map(|(request, echo)| (request, Writing::OpenAiResponses(Box::new(echo))))
        }
        Upstream::AnthropicMessages => with(anthropic::parse(body), Writing::Anthropic),
        Upstream::OllamaEmbed
        | Upstream::OllamaEmbeddings
        | Upstream::OpenAiEmbeddings
        | Upstream::AnthropicCountTokens
        | Upstream::OllamaTags
        | Upstream::OllamaPs
        | Upstream::OllamaVersion
        | Upstream::OllamaShow
        | Upstream::OpenAiModels
        | Upstream::OpenAiModel => {
            return Err(Failure::new(Code::Internal, "a question about models was taken for inference"));
        }
    };
    let (mut request, dialect) = parsed.map_err(invalid)?;
    if ollama::wants_unload(&request) {
        let message = "a caller cannot unload a model of a shared machine: Ollama does so itself once nobody uses it";
        return Err(Failure::new(Code::RouteNotAllowed, message));
    }
    let stamp = Stamp {
        model: request.model.clone(),
        id: about.id.to_owned(),
        created: about.created,
        include_usage: request.include_usage,
        input_estimate: count::estimate(&request, count::TOKENS_PER_BYTE),
    };
    request.stream = about.streams;
    let reader = Reader::new(&request);
    Ok((request, Text { reader, stamp, dialect }))
}

fn with(parsed: Result<Request, BadRequest>, writing: Writing) -> Result<(Request, Writing), BadRequest> {
    parsed.map(|request| (request, writing))
}

/// The names of fields without effect in one line; a strict caller is refused for what was meant.
///
/// # Errors
///
/// `unsupported_parameter`.
pub fn judge_dropped(names: &[String], strict: bool) -> Result<String, Failure> {
    let refused = one_line(hints::refused(names));
    if strict && !refused.is_empty() {
        let message = format!(
            "x-causeway-strict: these parameters cannot be honoured: {refused}; leave them out, or the header, to do \
             without"
        );
        return Err(Failure::new(Code::UnsupportedParameter, message));
    }
    Ok(one_line(names.iter().map(String::as_str)))
}

/// Each name once, as far as a header has room.
fn one_line<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for name in names {
        let known = line.split(", ").any(|earlier| earlier == name);
        if !known && line.len() + name.len() + 2 <= MAX_DROPPED {
            line.push_str(if line.is_empty() { "" } else { ", " });
            line.push_str(name);
        }
    }
    line
}

/// A body that cannot be read.
#[must_use]
pub fn invalid(bad: BadRequest) -> Failure {
    Failure::new(Code::InvalidRequest, bad.0)
}
