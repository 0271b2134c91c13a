//! `/v1/messages/count_tokens`, and the same estimate for `message_start`.
//!
//! An estimate, without the model's tokenizer: bytes of all that reaches the model as text, times a
//! ratio that the caller of this module learns from real counts, plus a fixed count a picture. It
//! serves requests of every dialect. Absent: learning the ratio.

use std::io;

use super::request::{Wanted, read};
use crate::chat::{BadRequest, Document, DocumentBody, Input, Message, Part, Request};

/// Tokens a byte as long as nothing is learnt: Ollama's own estimate, and near the truth for English.
pub const TOKENS_PER_BYTE: f64 = 0.25;

/// Tokens of a picture, about. Local vision models spend 256 (gemma3) to 1,601 (llama3.2-vision) on
/// one; Anthropic's spend at most some 1,600.
pub const IMAGE_TOKENS: u64 = 1_000;

/// Bytes of a token in a document that is not a text, about. A page is read as a picture and its text,
/// some 1,500 to 3,000 tokens; it has 10 KB where it is compressed text alone, and 100 KB and more
/// where it is scanned.
const DOCUMENT_BYTES_PER_TOKEN: u64 = 10;
/// Tokens of one at least: a page.
const DOCUMENT_TOKENS_LEAST: u64 = 1_500;
/// Tokens of one at most: what pictures in it weigh is not read as text.
const DOCUMENT_TOKENS_MOST: u64 = 60_000;

/// Bytes that a template adds to each message, about: the role and its markers.
const MESSAGE_BYTES: u64 = 16;

/// Reads the body of `/v1/messages/count_tokens`: that of `/v1/messages`, `max_tokens` apart.
///
/// # Errors
///
/// As [`parse`](super::parse).
pub fn parse(body: &[u8]) -> Result<Request, BadRequest> {
    read(body, Wanted::Count)
}

/// Tokens of a prompt: bytes × `tokens_per_byte`, rounded up, and [`IMAGE_TOKENS`] a picture, and a
/// document by its size; never less than one. Bytes are those of texts, thoughts, calls (name and arguments as JSON), results and tools
/// (name, description, schema as JSON), and 16 a message.
///
/// A ratio that no tokenizer has (not above 0, above 1, not a number) counts as [`TOKENS_PER_BYTE`].
#[must_use]
pub fn estimate(request: &Request, tokens_per_byte: f64) -> u64 {
    let known = tokens_per_byte > 0.0 && tokens_per_byte <= 1.0;
    let ratio = if known { tokens_per_byte } else { TOKENS_PER_BYTE };
    let mut sum = Sum::default();
    match &request.input {
        Input::Chat(messages) => messages.iter().for_each(|message| sum.message(message)),
        Input::Prompt(prompt) => {
            sum.text(&prompt.text);
            sum.text(prompt.system.as_deref().unwrap_or_default());
            sum.text(prompt.suffix.as_deref().unwrap_or_default());
            sum.images += prompt.images.len() as u64;
        }
    }
    for tool in &request.tools {
        sum.text(&tool.name);
        sum.text(tool.description.as_deref().unwrap_or_default());
        sum.json(&tool.parameters);
    }
    let text = (sum.bytes as f64 * ratio).ceil() as u64;
    (text + sum.images * IMAGE_TOKENS + sum.tokens).max(1)
}

/// The answer: `{"input_tokens":N}`.
#[must_use]
pub fn answer(tokens: u64) -> Vec<u8> {
    format!(r#"{{"input_tokens":{tokens}}}"#).into_bytes()
}

#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    images: u64,
    /// Of documents that are not texts.
    tokens: u64,
}

impl Sum {
    fn text(&mut self, text: &str) {
        self.bytes += text.len() as u64;
    }

    /// Its length as JSON, without writing it anywhere.
    fn json(&mut self, value: &impl serde::Serialize) {
        let mut length = Length(0);
        let counted = serde_json::to_writer(&mut length, value);
        debug_assert!(counted.is_ok(), "JSON that was read can be written");
        self.bytes += length.0;
    }

    fn document(&mut self, document: &Document) {
        match &document.body {
            DocumentBody::Text(text) => self.text(text),
            DocumentBody::Base64(_) => {
                let tokens = document.size() as u64 / DOCUMENT_BYTES_PER_TOKEN;
                self.tokens += tokens.clamp(DOCUMENT_TOKENS_LEAST, DOCUMENT_TOKENS_MOST);
            }
        }
        self.text(document.context.as_deref().unwrap_or_default());
    }

    fn message(&mut self, message: &Message) {
        self.bytes += MESSAGE_BYTES;
        self.parts(&message.parts);
    }

    fn parts(&mut self, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Text(text) | Part::Thinking { text, .. } => self.text(text),
                Part::Image(_) => self.images += 1,
                Part::Document(document) => self.document(document),
                Part::CachePoint(_) => {}
                Part::ToolCall(call) => {
                    self.text(&call.name);
                    self.json(&call.arguments);
                }
                Part::ToolResult(result) => self.parts(&result.parts),
            }
        }
    }
}

/// Counts bytes that are written to it.
struct Length(u64);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "count_tests.rs"]
mod tests;
