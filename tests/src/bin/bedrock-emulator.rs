//! The Bedrock emulator by hand: for demos, and for clients that are no Rust test.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use causeway_tests::bedrock::{Config, Emulator, Script};
use causeway_tests::runner::say;
use clap::Parser;

/// Any seed: two runs throttle the same calls.
const SEED: u64 = 4;

/// Answers Converse, ConverseStream and CountTokens on this machine with invented words.
#[derive(Debug, Parser)]
#[command(name = "bedrock-emulator")]
struct Options {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Milliseconds from a request to its first token.
    #[arg(long, default_value_t = 300)]
    first_token_ms: u64,
    /// Milliseconds between two tokens.
    #[arg(long, default_value_t = 20)]
    token_ms: u64,
    /// Tokens of an answer; a smaller maxTokens cuts it.
    #[arg(long, default_value_t = 50)]
    tokens: usize,
    /// How many of a hundred calls are throttled.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    throttle_percent: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let config = Config { listen: options.listen, ..Config::default() };
    let emulator = match Emulator::start_with(config).await {
        Ok(emulator) => emulator,
        Err(why) => {
            say(&format!("cannot listen on {}: {why}", options.listen));
            return ExitCode::FAILURE;
        }
    };
    emulator.throttle(options.throttle_percent, SEED);
    emulator.default_script(
        Script::tokens(options.tokens)
            .first_byte_after(Duration::from_millis(options.first_token_ms))
            .token_every(Duration::from_millis(options.token_ms)),
    );
    announce(&emulator.url());
    let _ = tokio::signal::ctrl_c().await;
    ExitCode::SUCCESS
}

/// The one line on standard output, for whoever starts this and reads it.
#[expect(clippy::print_stdout, reason = "a program's output")]
fn announce(line: &str) {
    println!("{line}");
}
