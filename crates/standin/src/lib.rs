//! A stand-in for Ollama: the same routes, shapes, errors and waits, with invented text.
//!
//! Job: let quickstart run without a GPU, and let tests and the load tool know every byte that
//! an answer must have. The shapes follow recordings of Ollama 0.24 field by field.
//!
//! Invariants:
//! - It never passes for the real thing: every response says `server: causeway-standin`, and the
//!   version and the models' family say so too.
//! - The text of an answer is a pure function of the prompt and the token's index ([`text`]); tool
//!   calls, structured output, thoughts and looks at pictures follow rules (the head of `script.rs`).
//! - Durations in an answer are measured, so they fit the wall time.
//! - A request beyond a model's slots waits without a byte, as with Ollama.
//! - A client that leaves frees its slot at once; [`Handle::cancels`] says when that was seen.
//!
//! Absent: a model. Only Ollama's own routes call tools, think, see and keep to a schema; `/v1` routes
//! accept what Ollama accepts there and invent text. Pull, push, create and the like are refused.

mod answer;
mod api;
mod config;
mod observe;
pub mod script;
mod server;
mod slots;
pub mod text;

pub use config::{Config, Fault, Model, Pace};
pub use observe::{Cancel, Ran, Seen};
pub use server::{Handle, Running, Standin};
