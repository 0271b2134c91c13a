//! Anthropic's messages as Ollama writes them.
//!
//! Invariant: one text block; the first event's input count is an estimate, the last one's is not.

use std::fmt::Write;

use bytes::BytesMut;

use super::{Encode, Stats, string};

/// `/v1/messages`.
pub(crate) struct Anthropic {
    pub(crate) id: u64,
    pub(crate) model: String,
    pub(crate) prompt_tokens: usize,
}

fn reason(stats: &Stats) -> &'static str {
    if stats.limited { "max_tokens" } else { "end_turn" }
}

impl Encode for Anthropic {
    fn content_type(&self, stream: bool) -> &'static str {
        if stream { "text/event-stream" } else { "application/json" }
    }

    fn token(&mut self, out: &mut BytesMut, index: u32, text: &str) {
        if index == 0 {
            let _ = write!(
                out,
                "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_{:024x}\",\
                 \"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":[],\
                 \"usage\":{{\"input_tokens\":{},\"output_tokens\":0}}}}}}\n\n",
                self.id,
                string(&self.model),
                self.prompt_tokens
            );
            out.extend_from_slice(
                b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
                  \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            );
        }
        let _ = write!(
            out,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{{\"type\":\"text_delta\",\"text\":{}}}}}\n\n",
            string(text)
        );
    }

    fn finish(&mut self, out: &mut BytesMut, stats: &Stats) {
        out.extend_from_slice(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
        let _ = write!(
            out,
            "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{}\"}},\
             \"usage\":{{\"input_tokens\":{},\"output_tokens\":{}}}}}\n\n",
            reason(stats),
            stats.prompt_tokens,
            stats.tokens
        );
        out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn whole(&mut self, out: &mut BytesMut, text: &str, stats: &Stats) {
        let _ = writeln!(
            out,
            "{{\"id\":\"msg_{:024x}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\
             \"content\":[{{\"type\":\"text\",\"text\":{}}}],\"stop_reason\":\"{}\",\
             \"usage\":{{\"input_tokens\":{},\"output_tokens\":{}}}}}",
            self.id,
            string(&self.model),
            string(text),
            reason(stats),
            stats.prompt_tokens,
            stats.tokens
        );
    }
}
