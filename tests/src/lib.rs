//! What end-to-end tests share: the whole product as processes, a real Ollama where there is one,
//! a plain HTTP client, and checks that the stand-in and the real Ollama both pass.
//!
//! Absent: assertions about one part alone; those stand beside that part.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers fail the test by panicking")]

pub mod bedrock;
pub mod conformance;
pub mod edge;
pub mod ollama;
pub mod patience;
pub mod runner;
pub mod stack;
