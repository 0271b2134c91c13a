//! A request body of any dialect, as far as the stand-in cares.
//!
//! Invariant: unknown fields are accepted; a syntax fault gives Go's words where they are known.
//! Absent: what tools, formats and pictures lead to; `script.rs` has that.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Refusal;

/// All dialects at once: no field means two things.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Ask {
    pub(super) model: Option<String>,
    pub(super) stream: Option<bool>,
    pub(super) messages: Option<Vec<Message>>,
    pub(super) prompt: Option<String>,
    pub(super) suffix: Option<String>,
    pub(super) raw: bool,
    pub(super) input: Value,
    pub(super) options: Map<String, Value>,
    pub(super) keep_alive: Value,
    pub(super) truncate: Option<bool>,
    pub(super) tools: Vec<Value>,
    pub(super) think: Value,
    pub(super) format: Value,
    pub(super) images: Vec<String>,
    pub(super) max_tokens: Option<i64>,
    pub(super) max_output_tokens: Option<i64>,
    pub(super) stream_options: StreamOptions,
    pub(super) dimensions: Option<usize>,
    pub(super) encoding_format: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct StreamOptions {
    pub(super) include_usage: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Message {
    pub(super) role: String,
    pub(super) content: Content,
    pub(super) images: Vec<String>,
}

/// A string, or a list of typed parts.
#[derive(Deserialize, Default)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
    #[default]
    Nothing,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Part {
    pub(super) text: String,
}

impl Ask {
    /// Parses a body; the content type does not matter.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Err((StatusCode::BAD_REQUEST, "missing request body".to_owned()));
        }
        serde_json::from_slice(body).map_err(|error| {
            let words = if error.is_eof() { "unexpected EOF".to_owned() } else { error.to_string() };
            (StatusCode::BAD_REQUEST, words)
        })
    }

    /// What the answer is derived from: the last message, the prompt, or the input.
    pub(super) fn prompt_text(&self) -> String {
        if let Some(last) = self.messages.as_ref().and_then(|messages| messages.last()) {
            return last.content.text();
        }
        if let Some(prompt) = &self.prompt {
            return prompt.clone();
        }
        match &self.input {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let last = items.last().cloned().unwrap_or_default();
                Message::deserialize(last).map(|message| message.content.text()).unwrap_or_default()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
        }
    }

    /// Texts of the tool messages that end the conversation, oldest first.
    pub(super) fn results(&self) -> Vec<String> {
        let backwards = self.messages.iter().flatten().rev().take_while(|message| message.role == "tool");
        let mut texts: Vec<String> = backwards.map(|message| message.content.text()).collect();
        texts.reverse();
        texts
    }

    /// The pictures of the last message, or of the prompt, as sent.
    pub(super) fn pictures(&self) -> &[String] {
        self.messages.as_ref().and_then(|messages| messages.last()).map_or(&self.images, |last| &last.images)
    }

    /// A rough count: four bytes a token, over everything said.
    pub(super) fn prompt_tokens(&self) -> usize {
        let bytes = match &self.messages {
            Some(messages) => messages.iter().map(|message| message.content.text().len() + 16).sum(),
            None => self.prompt_text().len(),
        };
        bytes / 4 + 1
    }

    /// The caller's limit on the answer, if it is one.
    pub(super) fn limit(&self) -> Result<Option<u32>, Refusal> {
        let native = match self.options.get("num_predict") {
            None => None,
            Some(value) => Some(value.as_i64().ok_or_else(|| {
                let words = "option \"num_predict\" must be of type integer".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, words)
            })?),
        };
        let limit = native.or(self.max_tokens).or(self.max_output_tokens);
        Ok(limit.filter(|limit| *limit > 0).map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)))
    }

    /// `keep_alive` of zero, as a number or a duration.
    pub(super) fn unloads(&self) -> bool {
        match &self.keep_alive {
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.strip_suffix(['s', 'm', 'h']).unwrap_or(text) == "0",
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.iter().map(|part| part.text.as_str()).collect(),
            Self::Nothing => String::new(),
        }
    }
}
