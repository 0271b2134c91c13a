//! OpenAI's chat and text completions as Ollama writes them.
//!
//! Invariants: `created` and `id` are one per stream; the role rides on every chunk; the usage
//! chunk comes only where it was asked for; whole answers end with a newline.

use std::fmt::Write;

use bytes::BytesMut;

use super::{Encode, Stats, string};

/// `/v1/chat/completions`.
pub(crate) struct OpenAiChat {
    pub(crate) id: u64,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) usage: bool,
}

/// `/v1/completions`.
pub(crate) struct Completion {
    pub(crate) id: u64,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) usage: bool,
}

fn content_type(stream: bool) -> &'static str {
    if stream { "text/event-stream" } else { "application/json" }
}

fn reason(stats: &Stats) -> &'static str {
    if stats.limited { "length" } else { "stop" }
}

fn usage(stats: &Stats) -> String {
    let (prompt, tokens) = (stats.prompt_tokens, usize::try_from(stats.tokens).unwrap_or(usize::MAX));
    let total = prompt.saturating_add(tokens);
    format!("\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{tokens},\"total_tokens\":{total}}}")
}

impl OpenAiChat {
    fn head(&self, out: &mut BytesMut, object: &str) {
        let Self { id, created, model, .. } = self;
        let model = string(model);
        let _ = write!(
            out,
            "{{\"id\":\"chatcmpl-{id}\",\"object\":\"{object}\",\"created\":{created},\"model\":{model},\
             \"system_fingerprint\":\"fp_ollama\",\"choices\":["
        );
    }

    fn chunk(&self, out: &mut BytesMut, text: &str, reason: &str) {
        out.extend_from_slice(b"data: ");
        self.head(out, "chat.completion.chunk");
        let _ = write!(
            out,
            "{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":{}}},\"finish_reason\":{reason}}}]}}\n\n",
            string(text)
        );
    }
}

impl Encode for OpenAiChat {
    fn content_type(&self, stream: bool) -> &'static str {
        content_type(stream)
    }

    fn token(&mut self, out: &mut BytesMut, _: u32, text: &str) {
        self.chunk(out, text, "null");
    }

    fn finish(&mut self, out: &mut BytesMut, stats: &Stats) {
        self.chunk(out, "", &format!("\"{}\"", reason(stats)));
        if self.usage {
            out.extend_from_slice(b"data: ");
            self.head(out, "chat.completion.chunk");
            let _ = write!(out, "],{}}}\n\n", usage(stats));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn whole(&mut self, out: &mut BytesMut, text: &str, stats: &Stats) {
        self.head(out, "chat.completion");
        let _ = writeln!(
            out,
            "{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":{}}},\"finish_reason\":\"{}\"}}],{}}}",
            string(text),
            reason(stats),
            usage(stats)
        );
    }
}

const NO_USAGE: &str = r#""usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#;

impl Completion {
    fn object(&self, out: &mut BytesMut, choices: &str, usage: &str) {
        let Self { id, created, model, .. } = self;
        let model = string(model);
        let usage = if usage.is_empty() { String::new() } else { format!(",{usage}") };
        let _ = write!(
            out,
            "{{\"id\":\"cmpl-{id}\",\"object\":\"text_completion\",\"created\":{created},\"choices\":[{choices}],\
             \"model\":{model},\"system_fingerprint\":\"fp_ollama\"{usage}}}"
        );
    }

    fn chunk(&self, out: &mut BytesMut, text: &str, reason: &str) {
        out.extend_from_slice(b"data: ");
        let choice = format!("{{\"text\":{},\"index\":0,\"finish_reason\":{reason}}}", string(text));
        self.object(out, &choice, if self.usage { NO_USAGE } else { "" });
        out.extend_from_slice(b"\n\n");
    }
}

impl Encode for Completion {
    fn content_type(&self, stream: bool) -> &'static str {
        content_type(stream)
    }

    fn token(&mut self, out: &mut BytesMut, _: u32, text: &str) {
        self.chunk(out, text, "null");
    }

    fn finish(&mut self, out: &mut BytesMut, stats: &Stats) {
        self.chunk(out, "", &format!("\"{}\"", reason(stats)));
        if self.usage {
            out.extend_from_slice(b"data: ");
            self.object(out, "", &usage(stats));
            out.extend_from_slice(b"\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn whole(&mut self, out: &mut BytesMut, text: &str, stats: &Stats) {
        let choice = format!("{{\"text\":{},\"index\":0,\"finish_reason\":\"{}\"}}", string(text), reason(stats));
        self.object(out, &choice, &usage(stats));
        out.extend_from_slice(b"\n");
    }
}
