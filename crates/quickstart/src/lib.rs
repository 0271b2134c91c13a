//! `cargo quickstart`: a relay, a daemon and, where no Ollama answers, a stand-in, as one process
//! tree on loopback.
//!
//! Job: the first two minutes. One command, three lines to paste, a line for every request.
//!
//! Invariants:
//! - Each program runs as its own process by re-executing this binary, with the same `main` that
//!   its own binary has; nothing is wired up in a way that an installation could not be.
//! - The children end when their standard input closes, so also after `kill -9` of the parent.
//! - Everything lies in one private directory (0700), which is removed at the end.
//! - Nothing but loopback, the Ollama named by `--ollama` and, where `--bedrock-model` is given, Amazon
//!   Bedrock is contacted; proxy variables are ignored.

mod child;
mod cli;
mod http;
mod ollama;
mod output;
mod overflow;
mod ports;
mod process;
mod ready;
mod requests;
mod stack;
mod state;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs quickstart, or, re-executed by it, one of its programs.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = child::main(&args) {
        return code;
    }
    let options = match cli::parse(args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failure(&error.into()),
    };
    match runtime.block_on(stack::run(&options)) {
        Ok(code) => code,
        Err(error) => output::failure(&error),
    }
}
