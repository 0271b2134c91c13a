//! One request in no dialect: what every parser makes and every backend takes.
//!
//! Invariants: it holds what the caller asked for and nothing of how it was spelt, but for the
//! fields that only Ollama knows ([`Native`]), which are kept for it; whatever was left out on the
//! way is named in `dropped`. Absent: which backend runs it, and policy (`causeway-policy`).

mod document;
mod role;

use serde_json::{Map, Value};

pub use document::{CacheTime, Document, DocumentBody, DocumentFormat};
pub use role::{MAX_ROLE, Role, RoleName};

/// A request for text: a chat, or a bare prompt.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The model as the caller wrote it; answers repeat this spelling.
    pub model: String,
    /// The answer comes piece by piece.
    pub stream: bool,
    /// What the model is to continue.
    pub input: Input,
    /// Functions it may call.
    pub tools: Vec<Tool>,
    /// Whether it must, may or must not call one.
    pub tool_choice: ToolChoice,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of the answer; none: the model's own end.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer; never empty ones.
    pub stop: Vec<String>,
    /// What the answer must look like.
    pub format: Format,
    /// Whether and how hard it thinks before it answers.
    pub think: Think,
    /// A model that cannot think answers without thought, rather than refuse a request that asks for
    /// some (Anthropic's dialect: agents ask it of every model).
    pub relax_think: bool,
    /// Probabilities are wanted: with so many alternatives a token (0 to 20).
    pub logprobs: Option<u8>,
    /// A stream ends with its token counts (OpenAI's `stream_options.include_usage`; the other
    /// dialects always say them).
    pub include_usage: bool,
    /// Fields that only Ollama's native API has.
    pub native: Native,
    /// Fields of the caller that have no effect on any backend, by their name, in order.
    pub dropped: Vec<String>,
}

/// What is continued.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A conversation.
    Chat(Vec<Message>),
    /// A text (`/api/generate`, `/v1/completions`).
    Prompt(Box<Prompt>),
}

/// A bare prompt and what belongs to it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// Replaces the model's own system text.
    pub system: Option<String>,
    /// Pictures beside the text.
    pub images: Vec<Image>,
    /// Fill in the middle: what follows the gap.
    pub suffix: Option<String>,
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said, in order; empty for a message without content.
    pub parts: Vec<Part>,
}

/// A piece of a message.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture.
    Image(Image),
    /// A document.
    Document(Box<Document>),
    /// What stands before it in the whole request is worth keeping in a cache, and holds no more.
    CachePoint(CacheTime),
    /// What the model thought, from an earlier turn.
    Thinking {
        /// The thought.
        text: String,
        /// The seal of the service that thought it; a local model gives none.
        signature: Option<String>,
    },
    /// A call that the model made.
    ToolCall(ToolCall),
    /// What a call gave.
    ToolResult(ToolResult),
}

/// A picture or a sound, as callers and Ollama write it: it has one place for both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Its bytes in standard base64, checked.
    pub base64: String,
    /// By its first bytes, whatever the caller called it.
    pub kind: ImageKind,
}

/// Formats that models read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the names of the formats")]
pub enum ImageKind {
    Png,
    Jpeg,
    Gif,
    Webp,
    Bmp,
    Tiff,
    Wav,
    Mp3,
    Flac,
}

impl ImageKind {
    /// A sound.
    #[must_use]
    pub const fn is_audio(self) -> bool {
        match self {
            Self::Wav | Self::Mp3 | Self::Flac => true,
            Self::Png | Self::Jpeg | Self::Gif | Self::Webp | Self::Bmp | Self::Tiff => false,
        }
    }
}

/// A function that the model may call.
#[derive(Clone, PartialEq, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does; none rather than empty.
    pub description: Option<String>,
    /// JSON schema of its arguments.
    pub parameters: Value,
    /// The functions up to this one are worth keeping in a cache.
    pub cache: Option<CacheTime>,
}

/// Whether a function is called.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// None.
    None,
    /// One of them.
    Required,
    /// This one.
    Named(String),
}

/// A call of a function.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolCall {
    /// Ties call and result together; empty where the caller gave none.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// The result of a call.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolResult {
    /// The call's id, where one is known.
    pub id: Option<String>,
    /// The function's name, where one is known.
    pub name: Option<String>,
    /// The result: texts, pictures and documents.
    pub parts: Vec<Part>,
    /// The function failed.
    pub failed: bool,
}

/// How tokens are drawn; none leaves it to the model's own settings.
#[derive(Clone, PartialEq, Debug, Default)]
#[expect(missing_docs, reason = "the names that every dialect uses")]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<i64>,
    pub min_p: Option<f64>,
    pub seed: Option<i64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
}

/// What the answer must look like.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Format {
    /// Text.
    #[default]
    Text,
    /// Some JSON object.
    Json,
    /// JSON of this schema.
    Schema {
        /// The schema's name, where the dialect has one.
        name: Option<String>,
        /// The schema.
        schema: Value,
    },
}

/// Whether and how hard a model thinks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Think {
    /// As the model does by itself: on where it can.
    #[default]
    Unset,
    /// Not at all.
    Off,
    /// It does.
    On,
    /// So hard.
    Effort(Effort),
}

/// How hard a model thinks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "Ollama's own words")]
pub enum Effort {
    Low,
    Medium,
    High,
    Max,
}

/// What only Ollama's native API has. It goes to Ollama as the caller wrote it, but for what policy
/// bounds (`causeway-daemon`); no other backend can honour any of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Native {
    /// Further members of `options`: those that [`Sampling`], `max_tokens` and `stop` have no place
    /// for.
    pub options: Map<String, Value>,
    /// How long the model stays in memory after the answer; a number of seconds or a Go duration.
    pub keep_alive: Option<Value>,
    /// Cut a conversation that is too long, rather than refuse it.
    pub truncate: Option<bool>,
    /// The prompt goes to the model without a template.
    pub raw: bool,
    /// A template instead of the model's own.
    pub template: Option<String>,
    /// Token numbers of an earlier answer.
    pub context: Option<Vec<i64>>,
    /// Top-level fields that we do not know, by their name.
    pub unknown: Map<String, Value>,
}

impl Request {
    /// Fields with which only Ollama itself can serve it, by their name: fill in the middle, raw
    /// prompts, own templates, contexts, roles that only a model's template knows.
    #[must_use]
    pub fn only_local(&self) -> Option<&'static str> {
        let suffix = match &self.input {
            Input::Prompt(prompt) => prompt.suffix.is_some(),
            Input::Chat(_) => false,
        };
        let role = match &self.input {
            Input::Prompt(_) => false,
            Input::Chat(messages) => messages.iter().any(|message| matches!(message.role, Role::Other(_))),
        };
        let native = &self.native;
        [
            (suffix, "suffix"),
            (native.raw, "raw"),
            (native.template.is_some(), "template"),
            (native.context.is_some(), "context"),
            (role, "messages.role"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }

    /// The first document that no local model can read: one that is not a text.
    #[must_use]
    pub fn unreadable_here(&self) -> Option<&Document> {
        fn of(parts: &[Part]) -> Option<&Document> {
            parts.iter().find_map(|part| match part {
                Part::Document(document) => matches!(document.body, DocumentBody::Base64(_)).then_some(&**document),
                Part::ToolResult(result) => of(&result.parts),
                Part::Text(_) | Part::Image(_) | Part::CachePoint(_) | Part::Thinking { .. } | Part::ToolCall(_) => {
                    None
                }
            })
        }
        match &self.input {
            Input::Prompt(_) => None,
            Input::Chat(messages) => messages.iter().find_map(|message| of(&message.parts)),
        }
    }

    /// A request for nothing: Ollama loads the model (or unloads it) and answers without a text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.input {
            Input::Chat(messages) => messages.is_empty(),
            Input::Prompt(prompt) => prompt.text.is_empty() && prompt.images.is_empty() && prompt.suffix.is_none(),
        }
    }
}

/// Why a request cannot be taken (400); the message names the field and what was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub String);
