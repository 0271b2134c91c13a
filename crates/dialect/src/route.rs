//! Which route a request is for: exact decoded forms, fail closed.

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

/// A route that may reach Ollama.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "each variant is one path of the contract's route table")]
pub enum Upstream {
    OllamaChat, OllamaGenerate, OllamaEmbed, OllamaEmbeddings,
    OllamaTags, OllamaPs, OllamaVersion, OllamaShow,
    OpenAiChat, OpenAiCompletions, OpenAiEmbeddings, OpenAiResponses, OpenAiModels, OpenAiModel,
    AnthropicMessages,
}

#[expect(clippy::todo, missing_docs, reason = "stub")]
impl Upstream {
    pub const fn dialect(self) -> Dialect { todo!() }
    pub const fn shape(self) -> Shape { todo!() }
    /// Takes a slot and carries a model in its body.
    pub const fn is_inference(self) -> bool { todo!() }
    /// Reads only: tags, ps, version, show, models.
    pub const fn is_metadata(self) -> bool { todo!() }
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

/// Judges `method` and the raw request target (path and query, as on the request line).
#[expect(clippy::todo, unused_variables, reason = "stub")]
#[must_use]
pub fn classify(method: &str, target: &str) -> Target { todo!() }
