//! One request on this machine: the shared state machine, driven between the caller's stream, the admission,
//! Ollama and Bedrock.
//!
//! Absent: the decisions of a session (`causeway-overflow`), whether the request may run at all (`gate.rs`),
//! who is served when (`admission.rs`).

mod body;
pub(crate) mod run;
mod upstream;

pub(crate) use causeway_overflow::session::*;
