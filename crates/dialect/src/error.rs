//! Errors in the caller's dialect, before the headers (status and body) and within a broken stream.

use causeway_wire::Code;

use crate::route::{Dialect, Shape};

/// JSON body of a refusal, in the dialect: `{"error":"…"}` (Ollama), `{"error":{message,type,param,code}}`
/// (OpenAI), `{"type":"error","error":{type,message}}` (Anthropic). Message first names what happened,
/// then what to do.
#[expect(clippy::todo, unused_variables, reason = "stub")]
#[must_use]
pub fn body(dialect: Dialect, code: Code, message: &str) -> Vec<u8> { todo!() }

/// Watches the bytes of a streamed answer so that a break can be completed: a half-written line or
/// event is ended, then the dialect's own error follows.
#[derive(Debug, Default)]
pub struct StreamTail {}

#[expect(clippy::todo, unused_variables, missing_docs, reason = "stub")]
impl StreamTail {
    pub fn observe(&mut self, bytes: &[u8]) { todo!() }
    /// The bytes that end the broken answer properly; empty where the shape has no in-stream error
    /// (`Shape::Whole`: the connection is cut instead).
    pub fn complete(&self, dialect: Dialect, shape: Shape, code: Code, message: &str) -> Vec<u8> { todo!() }
}
