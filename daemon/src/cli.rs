//! The commands: what each prints and which code it exits with.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use causeway_overflow::may_be_logged;
use clap::{Parser, Subcommand};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, DEFAULT_PATH};
use crate::{app, identity, probe};

/// sysexits.h: the command was used incorrectly.
const USAGE: u8 = 64;
/// sysexits.h: a service is unavailable.
const UNAVAILABLE: u8 = 69;
/// sysexits.h: something was found wrong with the configuration.
const CONFIG: u8 = 78;

/// Links the Ollama on this machine to a relay.
#[derive(Parser, Debug)]
#[command(name = "causewayd", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the daemon (exit 0 drained, 1 failed, 78 bad configuration)
    Run {
        /// Configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
        /// Write {"status_url", "pid"} here once the status port is bound
        #[arg(long, value_name = "PATH", hide = true)]
        ready_file: Option<PathBuf>,
    },
    /// Check the configuration and report every fault (exit 0 or 78)
    CheckConfig {
        /// Configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
    },
    /// Show a running daemon's state (exit 0 ready, 1 not ready, 69 not running)
    Status {
        /// Configuration file; its status.listen says where to ask
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
        /// The snapshot as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs one command line.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // The stream may be closed; the exit code still tells.
            let _printed = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match cli.command {
        Command::Run { config, ready_file } => run(&config, app::Options { ready_file }),
        Command::CheckConfig { config } => check_config(&config),
        Command::Status { config, json } => status(&config, json),
    }
}

fn run(file: &Path, options: app::Options) -> ExitCode {
    start_log();
    let Some(config) = load(file) else { return ExitCode::from(CONFIG) };
    let identity = match identity::load(&config.identity.directory, config.relay.ca_file.as_deref()) {
        Ok(identity) => identity,
        Err(error) => {
            complain(&format!("{error:#}"));
            return ExitCode::from(CONFIG);
        }
    };
    let ended = runtime().and_then(|runtime| {
        // A task like the others: the runtime looks at its outermost future only when every task
        // rests, so that requests would begin after what else there is to do.
        let app = runtime.spawn(app::run(config, identity, options));
        let ended = runtime.block_on(app).map_err(anyhow::Error::from).and_then(|ended| ended);
        // A lookup that waits for a dead name server must not hold up the end.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// One thread for all: the daemon's work is copying between two sockets, and a hop between threads
/// costs about as much as a whole frame. The GPU machine's other cores belong to inference.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn check_config(file: &Path) -> ExitCode {
    match load(file) {
        Some(config) => {
            say(&format!("{}: no faults", file.display()));
            if let Err(error) = identity::load(&config.identity.directory, config.relay.ca_file.as_deref()) {
                say(&format!("note: `causewayd run` would refuse to start: {error:#}"));
            }
            ExitCode::SUCCESS
        }
        None => ExitCode::from(CONFIG),
    }
}

fn status(file: &Path, json: bool) -> ExitCode {
    let Some(config) = load(file) else { return ExitCode::from(CONFIG) };
    let asked = runtime().and_then(|runtime| runtime.block_on(probe::snapshot(config.status_listen)));
    match asked {
        Ok(snapshot) => {
            say(&if json { format!("{snapshot:#}") } else { probe::describe(&snapshot) });
            ExitCode::from(u8::from(snapshot["readiness"]["ready"] != true))
        }
        Err(error) => {
            complain(&format!("no causewayd answers at {}: {error:#}", config.status_listen));
            ExitCode::from(UNAVAILABLE)
        }
    }
}

/// The configuration, or all its faults on standard error.
fn load(file: &Path) -> Option<Config> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!("{}: {error} (--config FILE names another file)", file.display()));
            return None;
        }
    };
    match Config::parse(&text, std::env::vars_os()) {
        Ok(config) => Some(config),
        Err(faults) => {
            for fault in faults {
                complain(&fault.describe(&file.display().to_string()));
            }
            None
        }
    }
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A parent in the same process (tests) may have set one already.
    let _set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .finish()
        .with(filter_fn(|metadata| may_be_logged(metadata.target(), *metadata.level())))
        .try_init();
}

fn say(text: &str) {
    // A closed pipe is the reader's choice.
    let _written = writeln!(io::stdout(), "{text}");
}

fn complain(text: &str) {
    let _written = writeln!(io::stderr(), "{text}");
}

/// How long `status` waits for an answer.
pub(crate) const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
