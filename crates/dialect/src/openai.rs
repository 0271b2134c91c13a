//! OpenAI's dialect: chat completions, completions and responses, as Ollama's `/v1` speaks them.
//!
//! Each route is a parser and an encoder. What Ollama's `/v1` reads past although its native API
//! can do it is honoured; what no backend can do is named in `Request::dropped`. Fields that change
//! nothing about the answer (who asks, notes, hints for OpenAI's own caches) are neither. Absent:
//! embeddings, model lists, anything that OpenAI keeps between two requests.

pub mod chat;
mod chat_encode;
pub mod completions;
mod completions_encode;
mod items;
mod logprobs;
mod messages;
pub mod responses;
mod responses_encode;
mod shared;
#[cfg(test)]
mod testing;
mod write;

/// Messages or input items of one request, count: far above any context's worth of turns.
pub const MAX_MESSAGES: usize = 10_000;

/// Parts of one message's content, count: a document in many pieces fits; an Ollama message takes
/// them joined anyway.
pub const MAX_PARTS: usize = 1_000;

/// Pictures of one request, count: five times what any backend takes (Bedrock: 20).
pub const MAX_IMAGES: usize = 100;

/// Functions of one request, count: OpenAI takes 128, agents with several servers offer 200.
pub const MAX_TOOLS: usize = 1_024;

/// Calls of one message, count: as many as there may be functions.
pub const MAX_CALLS: usize = MAX_TOOLS;

/// Texts that end the answer, count: OpenAI takes 4; each is searched for at every token.
pub const MAX_STOPS: usize = 64;
