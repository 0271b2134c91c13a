//! causewayd: beside Ollama, linked to a relay, so that cloud applications can use this machine's models.
//!
//! The way of a request: `app.rs` takes it from the link, `request.rs` sees to its account,
//! `gate.rs` judges it, `job.rs` reads it, `admission.rs` gives it a slot, `session.rs` decides step
//! by step, `session/run.rs` does what it says, `ollama.rs` asks Ollama. Questions about models go
//! by `lookup.rs` instead. A library, so that quickstart can start it by re-executing itself. What
//! cannot be served in time goes to Bedrock (`causeway-overflow`). Absent for now: enrolment.

mod admission;
mod app;
mod catalog;
mod cli;
pub mod config;
mod filter;
#[cfg(test)]
mod fixtures;
mod gate;
mod identity;
mod job;
mod load;
mod lookup;
mod metrics;
mod notify;
mod observe;
mod ollama;
mod probe;
mod ready;
mod request;
mod routes;
mod session;
mod signals;
mod status;
mod work;

/// The runtime's clock, so that tests with paused time drive everything.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// The program: `args` with the program's name first, the exit code as the contract says.
pub fn main(args: impl IntoIterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    cli::main(args)
}
