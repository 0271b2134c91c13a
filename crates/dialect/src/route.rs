//! Which route a request is for: exact decoded forms, fail closed.
//!
//! A path is never normalised and then served. It is decoded once, as Ollama's router decodes it,
//! and must then equal an entry of the table; whatever a laxer reader could take for one of
//! Ollama's management routes is refused as such.

/// A caller's dialect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// Ollama's native API.
    Ollama,
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Dialect {
    /// Label for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// How an inference answer looks when it streams, and whether the route streams without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shape {
    /// Newline-delimited JSON; streams unless `"stream":false` (Ollama native).
    Ndjson,
    /// Server-sent events; streams only with `"stream":true` (/v1).
    Sse,
    /// Always one JSON object.
    Whole,
}

impl Shape {
    /// The shape of one answer, given what the request said of `stream`.
    #[must_use]
    pub const fn of_answer(self, stream: Option<bool>) -> Self {
        match (self, stream) {
            (Self::Ndjson, Some(false)) | (Self::Sse, None | Some(false)) => Self::Whole,
            (shape, _) => shape,
        }
    }
}

/// A route that may reach Ollama.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "each variant is one path of the contract's route table")]
pub enum Upstream {
    OllamaChat,
    OllamaGenerate,
    OllamaEmbed,
    OllamaEmbeddings,
    OllamaTags,
    OllamaPs,
    OllamaVersion,
    OllamaShow,
    OpenAiChat,
    OpenAiCompletions,
    OpenAiEmbeddings,
    OpenAiResponses,
    OpenAiModels,
    OpenAiModel,
    AnthropicMessages,
    AnthropicCountTokens,
}

impl Upstream {
    /// Every route, for tables and tests.
    pub const ALL: [Self; 16] = [
        Self::OllamaChat,
        Self::OllamaGenerate,
        Self::OllamaEmbed,
        Self::OllamaEmbeddings,
        Self::OllamaTags,
        Self::OllamaPs,
        Self::OllamaVersion,
        Self::OllamaShow,
        Self::OpenAiChat,
        Self::OpenAiCompletions,
        Self::OpenAiEmbeddings,
        Self::OpenAiResponses,
        Self::OpenAiModels,
        Self::OpenAiModel,
        Self::AnthropicMessages,
        Self::AnthropicCountTokens,
    ];

    /// The path in its one exact form; of [`Self::OpenAiModel`] the part before the model's name.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::OllamaChat => "/api/chat",
            Self::OllamaGenerate => "/api/generate",
            Self::OllamaEmbed => "/api/embed",
            Self::OllamaEmbeddings => "/api/embeddings",
            Self::OllamaTags => "/api/tags",
            Self::OllamaPs => "/api/ps",
            Self::OllamaVersion => "/api/version",
            Self::OllamaShow => "/api/show",
            Self::OpenAiChat => "/v1/chat/completions",
            Self::OpenAiCompletions => "/v1/completions",
            Self::OpenAiEmbeddings => "/v1/embeddings",
            Self::OpenAiResponses => "/v1/responses",
            Self::OpenAiModels => "/v1/models",
            Self::OpenAiModel => "/v1/models/",
            Self::AnthropicMessages => "/v1/messages",
            Self::AnthropicCountTokens => "/v1/messages/count_tokens",
        }
    }

    /// The one method of the route.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::OllamaTags | Self::OllamaPs | Self::OllamaVersion | Self::OpenAiModels | Self::OpenAiModel => "GET",
            Self::OllamaChat
            | Self::OllamaGenerate
            | Self::OllamaEmbed
            | Self::OllamaEmbeddings
            | Self::OllamaShow
            | Self::OpenAiChat
            | Self::OpenAiCompletions
            | Self::OpenAiEmbeddings
            | Self::OpenAiResponses
            | Self::AnthropicMessages
            | Self::AnthropicCountTokens => "POST",
        }
    }

    /// The dialect its callers speak.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::OllamaChat
            | Self::OllamaGenerate
            | Self::OllamaEmbed
            | Self::OllamaEmbeddings
            | Self::OllamaTags
            | Self::OllamaPs
            | Self::OllamaVersion
            | Self::OllamaShow => Dialect::Ollama,
            Self::OpenAiChat
            | Self::OpenAiCompletions
            | Self::OpenAiEmbeddings
            | Self::OpenAiResponses
            | Self::OpenAiModels
            | Self::OpenAiModel => Dialect::OpenAi,
            Self::AnthropicMessages | Self::AnthropicCountTokens => Dialect::Anthropic,
        }
    }

    /// How its answer streams, if it does.
    #[must_use]
    pub const fn shape(self) -> Shape {
        match self {
            Self::OllamaChat | Self::OllamaGenerate => Shape::Ndjson,
            Self::OpenAiChat | Self::OpenAiCompletions | Self::OpenAiResponses | Self::AnthropicMessages => Shape::Sse,
            Self::OllamaEmbed
            | Self::OllamaEmbeddings
            | Self::OllamaTags
            | Self::OllamaPs
            | Self::OllamaVersion
            | Self::OllamaShow
            | Self::OpenAiEmbeddings
            | Self::OpenAiModels
            | Self::OpenAiModel
            | Self::AnthropicCountTokens => Shape::Whole,
        }
    }

    /// Takes a slot of a model.
    #[must_use]
    pub const fn is_inference(self) -> bool {
        !self.is_metadata() && !matches!(self, Self::AnthropicCountTokens)
    }

    /// Answers with vectors.
    #[must_use]
    pub const fn makes_vectors(self) -> bool {
        matches!(self, Self::OllamaEmbed | Self::OllamaEmbeddings | Self::OpenAiEmbeddings)
    }

    /// Is about the one model that its body or its path names.
    #[must_use]
    pub const fn names_model(self) -> bool {
        !matches!(self, Self::OllamaTags | Self::OllamaPs | Self::OllamaVersion | Self::OpenAiModels)
    }

    /// Reads only: tags, ps, version, show, models.
    #[must_use]
    pub const fn is_metadata(self) -> bool {
        matches!(
            self,
            Self::OllamaTags
                | Self::OllamaPs
                | Self::OllamaVersion
                | Self::OllamaShow
                | Self::OpenAiModels
                | Self::OpenAiModel
        )
    }
}

/// What a method and request target are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// May reach Ollama.
    Upstream(Upstream),
    /// `GET/HEAD /`.
    Root,
    /// One of Causeway's own paths (`/healthz`, `/readyz`, `/causeway/...`): the relay's business.
    Causeway,
    /// Ollama's management, account, web and debug routes, and every spelling that tries to reach
    /// them (`//api/pull`, `/api/../api/delete`, encoded slashes, absolute form): 403.
    Forbidden(Dialect),
    /// A path of the table with the wrong method: 405 with these methods.
    WrongMethod(Dialect, &'static str),
    /// Anything else: 404.
    Unknown(Dialect),
}

/// Ollama's management (M), account and web (X) and debug (D) routes; each also covers what lies
/// below it. Source: `server/routes.go` of Ollama.
const MANAGEMENT: [&str; 11] = [
    "/api/pull",
    "/api/push",
    "/api/create",
    "/api/copy",
    "/api/delete",
    "/api/blobs",
    "/api/me",
    "/api/signout",
    "/api/user",
    "/api/experimental",
    "/debug",
];

/// Judges `method` and the raw request target (path and query, as on the request line).
#[must_use]
pub fn classify(method: &str, target: &str) -> Target {
    if !target.starts_with('/') {
        return Target::Forbidden(Dialect::Ollama);
    }
    let raw = path_of(target);
    let decoded;
    let path = if raw.contains('%') {
        let Some(text) = decode(raw) else {
            return Target::Forbidden(dialect_of(raw));
        };
        if encodes_structure(raw, &text) {
            return Target::Forbidden(dialect_of(&text));
        }
        decoded = text;
        decoded.as_str()
    } else {
        raw
    };
    if is_devious(path) || reaches_management(path) {
        return Target::Forbidden(dialect_of(path));
    }
    if path == "/" {
        return match method {
            "GET" | "HEAD" => Target::Root,
            _ => Target::WrongMethod(Dialect::Ollama, "GET, HEAD"),
        };
    }
    if path == "/healthz" || path == "/readyz" || path.starts_with("/causeway/") {
        return Target::Causeway;
    }
    match upstream(path) {
        Some(route) if route.method() == method => Target::Upstream(route),
        Some(route) => Target::WrongMethod(route.dialect(), route.method()),
        None => Target::Unknown(dialect_of(path)),
    }
}

/// The decoded model name in a `/v1/models/ID` target, if it is one.
#[must_use]
pub fn model_in_path(target: &str) -> Option<String> {
    let path = decode(path_of(target))?;
    (upstream(&path)? == Upstream::OpenAiModel)
        .then(|| path.strip_prefix(Upstream::OpenAiModel.path()).map(str::to_owned))?
}

fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

fn upstream(path: &str) -> Option<Upstream> {
    let exact = |route: &&Upstream| **route != Upstream::OpenAiModel && route.path() == path;
    if let Some(route) = Upstream::ALL.iter().find(exact) {
        return Some(*route);
    }
    let id = path.strip_prefix(Upstream::OpenAiModel.path())?;
    (!id.is_empty() && !id.contains('/')).then_some(Upstream::OpenAiModel)
}

fn dialect_of(path: &str) -> Dialect {
    if path.starts_with("/v1/messages") {
        Dialect::Anthropic
    } else if path.starts_with("/v1/") {
        Dialect::OpenAi
    } else {
        Dialect::Ollama
    }
}

/// One round of percent decoding; `None` for a broken escape or for bytes that are no UTF-8.
#[must_use]
pub fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// An escape that stands for something that gives a path its structure, or for an escape.
fn encodes_structure(raw: &str, decoded: &str) -> bool {
    let structure = |text: &str| text.bytes().filter(|b| matches!(b, b'/' | b'\\')).count();
    structure(raw) != structure(decoded) || decoded.contains('%')
}

/// Forms that different readers take for different paths.
fn is_devious(path: &str) -> bool {
    let odd = |c: char| c == '\\' || c == '#' || c.is_control();
    path.contains("//") || path.contains(odd) || path.split('/').any(|segment| segment == "." || segment == "..")
}

/// Whether a reader that ignores case, parameters after `;` or a trailing slash would take the
/// path for a management route.
fn reaches_management(path: &str) -> bool {
    // Runs on every request: the common inference paths leave at the first comparison.
    MANAGEMENT.iter().any(|route| {
        path.get(..route.len()).is_some_and(|start| start.eq_ignore_ascii_case(route))
            && matches!(path.as_bytes().get(route.len()), None | Some(b'/' | b';' | b':' | b' '))
    })
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
