//! The command line: parses, calls, turns outcomes into exit codes.
//!
//! 0 done, 1 runtime failure, 64 wrong usage, 78 bad configuration. Secrets are printed once by
//! `keys create` and never taken from arguments.

mod keys;
mod proxy;
mod reports;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use causeway_overflow::may_be_logged;
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::standalone::config::Config;
use crate::standalone::store::Store;
use crate::standalone::{app, init, parts};

/// `EX_USAGE` and `EX_CONFIG` of sysexits.h.
const USAGE: u8 = 64;
const CONFIG: u8 = 78;

/// Most threads that carry requests, count: far more than a relay's traffic of tokens needs.
const MAX_WORKERS: usize = 8;

/// Lets cloud applications use the models on your own GPU machines.
#[derive(Parser)]
#[command(name = "causeway-relay", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a certificate authority, a server certificate, a store and a commented configuration,
    /// or what is missing of them.
    Init {
        /// Directory to make them in.
        #[arg(long)]
        dir: PathBuf,
        /// Name under which the relay is reached.
        #[arg(long, required_unless_present = "renew_certificates")]
        name: Option<String>,
        /// Only sign a new certificate for the callers' port; all else stays.
        #[arg(long)]
        renew_certificates: bool,
    },
    /// Runs the relay.
    Serve {
        #[command(flatten)]
        config: ConfigFile,
        /// Also drain and end when standard input closes (for a parent process).
        #[arg(long, hide = true)]
        until_stdin_closes: bool,
    },
    /// Prints every fault of a configuration.
    CheckConfig {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Callers' keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Serves clients on this machine that cannot send a key (the `ollama` command), adding it.
    Proxy(proxy::Proxy),
    /// Sums requests, tokens and cost of what was answered.
    Usage(reports::Usage),
    /// Prints what was done to keys, requests that were refused, failed or went to the cloud, and what
    /// went wrong with spending.
    Audit(reports::Audit),
}

#[derive(Args)]
struct ConfigFile {
    /// The relay's configuration file.
    #[arg(long = "config", value_name = "FILE")]
    path: PathBuf,
}

/// Why a command did not do it.
enum Failure {
    Config(String),
    Runtime(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Runtime(error.into())
    }
}

/// Runs the program with these arguments, the first being its name, to its end.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no fault.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(Failure::Config(faults)) => {
            say_error(&faults);
            ExitCode::from(CONFIG)
        }
        Err(Failure::Runtime(error)) => {
            say_error(&format!("causeway-relay: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Init { dir, name, renew_certificates: true } => say(&init::renew(&dir, name.as_deref())?)?,
        Command::Init { dir, name, renew_certificates: false } => say(&init::init(&dir, &name.unwrap_or_default())?)?,
        Command::CheckConfig { config } => {
            let parsed = load(&config.path)?;
            parts::load(&parsed).map_err(|faults| Failure::Config(faults.to_string()))?;
            say(&format!("{}: no faults\n", config.path.display()))?;
        }
        Command::Serve { config, until_stdin_closes } => return serve(&config.path, until_stdin_closes),
        Command::Keys(command) => keys::run(command)?,
        Command::Proxy(asked) => return proxy::run(&asked),
        Command::Usage(asked) => reports::usage(&asked)?,
        Command::Audit(asked) => reports::audit(&asked)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl ConfigFile {
    /// The store that it names.
    fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open(&load(&self.path)?.store)?)
    }
}

fn load(path: &Path) -> Result<Config, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::Config(format!("{}: {error}", path.display())))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    Config::parse(&text, directory).map_err(|faults| {
        let lines = faults.to_string();
        let lines: Vec<String> = lines.lines().map(|line| format!("{}: {line}", path.display())).collect();
        Failure::Config(lines.join("\n"))
    })
}

fn serve(path: &Path, until_stdin_closes: bool) -> Result<ExitCode, Failure> {
    let config = load(path)?;
    let parts = parts::load(&config).map_err(|faults| match faults.of_configuration {
        true => Failure::Config(faults.to_string()),
        // A service manager may start it again: the fault may pass.
        false => Failure::Runtime(anyhow::anyhow!("{faults}")),
    })?;
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build()?;
    let outcome = runtime.block_on(app::serve(config, parts, until_stdin_closes));
    // A thread that still reads standard input must not hold up the end.
    runtime.shutdown_background();
    Ok(outcome?)
}

/// The level is `CAUSEWAY_LOG`'s, `info` without it.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var("CAUSEWAY_LOG")
        .from_env_lossy();
    // Set already if the process runs it twice, as tests do.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .finish()
        .with(filter_fn(|metadata| may_be_logged(metadata.target(), *metadata.level())))
        .try_init();
}

/// Threads that carry requests: half the cores. A message passes two tasks (the edge's connection
/// and the caller's), and where cores are few a second thread is woken more often than it helps.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, MAX_WORKERS))
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn say_error(text: &str) {
    // Nothing is left to tell it to if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
