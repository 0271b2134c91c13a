//! Bedrock as a program's backend, and one request's session: what the daemon and the relay share.
//!
//! [`settings`] reads `[overflow]`; [`Overflow`] makes calls that [`budget`] has paid for; [`session`] decides
//! step by step, whoever answers; [`text`] understands a body. [`alone`] runs a request that Bedrock alone
//! answers: all that a program without a machine of its own needs. Absent: Ollama, admission, links and
//! listeners, which are the programs'; what a request becomes at Bedrock (`causeway-bedrock`).

pub mod alone;
mod away;
pub mod budget;
mod caller;
mod overflow;
pub mod session;
pub mod settings;
pub mod text;

pub use away::{Away, Told};
pub use caller::Caller;
pub use overflow::{Errand, Overflow, Talk};

/// The AWS SDK writes whole messages, prompts and answers too, at its lower levels: those are never
/// written, whatever somebody asks for.
#[must_use]
pub fn may_be_logged(target: &str, level: tracing::Level) -> bool {
    !target.starts_with("aws_") || level <= tracing::Level::WARN
}

/// The runtime's clock, so that tests with paused time drive everything.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
