//! Anthropic's dialect: `/v1/messages` and `/v1/messages/count_tokens`.
//!
//! Invariants: a parser's fault names its place in the caller's JSON and what was expected there,
//! and never shows prompts; an encoded stream begins with `message_start`, its blocks have
//! ascending indices and never overlap, and it ends with one `message_stop` or one `error`.
//! Absent: batches, files, documents, running the tools of Anthropic's own servers; refusals before
//! the headers ([`crate::error`]).

mod blocks;
pub mod count;
mod encode;
mod fields;
mod request;

pub use encode::{Encoder, whole};
pub use request::{MAX_BLOCKS, MAX_IMAGES, MAX_MESSAGES, MAX_STOPS, MAX_TOOLS, parse};
