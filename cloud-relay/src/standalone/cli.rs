//! The command line: parses, calls, turns outcomes into exit codes.
//!
//! 0 done, 1 runtime failure, 64 wrong usage, 78 bad configuration. Secrets are printed once by
//! `keys create` and never taken from arguments.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::core::auth::{Key, NewKey};
use crate::standalone::config::Config;
use crate::standalone::keys::unix_now;
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
    Keys(KeysCommand),
}

#[derive(Args)]
struct ConfigFile {
    /// The relay's configuration file.
    #[arg(long = "config", value_name = "FILE")]
    path: PathBuf,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Makes a key and prints it once.
    Create {
        #[command(flatten)]
        config: ConfigFile,
        /// For people.
        #[arg(long)]
        name: String,
        /// Shell pattern of models it may use; repeat for more. All, if left out.
        #[arg(long = "models", value_name = "GLOB")]
        models: Vec<String>,
        /// Edge it may use; repeat for more. All, if left out.
        #[arg(long = "edges", value_name = "NAME")]
        edges: Vec<String>,
        /// How long it lives: a number and s, m, h or d.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Option<Duration>,
        /// May see all edges.
        #[arg(long)]
        admin: bool,
    },
    /// Lists all keys, without their secrets.
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Ends a key's use within a second.
    Revoke {
        #[command(flatten)]
        config: ConfigFile,
        /// The key's id: the part between `cw_` and the second `_`.
        id: String,
    },
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
        Command::Keys(command) => keys(command)?,
    }
    Ok(ExitCode::SUCCESS)
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
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var("CAUSEWAY_LOG")
        .from_env_lossy();
    // Set already if the process runs it twice, as tests do.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build()?;
    let outcome = runtime.block_on(app::serve(config, parts, until_stdin_closes));
    // A thread that still reads standard input must not hold up the end.
    runtime.shutdown_background();
    Ok(outcome?)
}

/// Threads that carry requests: half the cores. A message passes two tasks (the edge's connection
/// and the caller's), and where cores are few a second thread is woken more often than it helps.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, MAX_WORKERS))
}

fn keys(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create { config, name, models, edges, expires, admin } => {
            let store = Store::open(&load(&config.path)?.store)?;
            let new = NewKey::from_random(rand::random(), rand::random());
            let now = unix_now();
            let key = Key {
                id: new.id,
                name,
                models,
                edges,
                admin,
                expires: expires.map(|time| now + time.as_secs()),
                revoked: None,
                hash: new.hash,
            };
            store.add_key(&key, now)?;
            say(&format!("{}\n", new.text))
        }
        KeysCommand::List { config } => {
            let keys = Store::open(&load(&config.path)?.store)?.keys()?;
            let now = unix_now();
            let mut text = format!("{:<12} {:<20} {:<8} {:<24} {}\n", "ID", "NAME", "STATE", "MODELS", "EDGES");
            for key in keys {
                text.push_str(&key_line(&key, now));
            }
            say(&text)
        }
        KeysCommand::Revoke { config, id } => {
            Store::open(&load(&config.path)?.store)?.revoke_key(&id, unix_now())?;
            say(&format!("{id} revoked\n"))
        }
    }
}

fn key_line(key: &Key, now: u64) -> String {
    let state = match (key.revoked, key.expires) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(expires)) if expires <= now => "expired".to_owned(),
        (None, Some(expires)) => format!("{}d", (expires - now).div_ceil(86_400)),
        (None, None) if key.admin => "admin".to_owned(),
        (None, None) => "valid".to_owned(),
    };
    let list = |items: &[String]| if items.is_empty() { "all".to_owned() } else { items.join(",") };
    format!("{:<12} {:<20} {state:<8} {:<24} {}\n", key.id, key.name, list(&key.models), list(&key.edges))
}

/// `90d`, `12h`, `15m`, `30s`.
fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a number and s, m, h or d, as in 90d";
    let unit = text.chars().last().ok_or(EXPECTED)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: Option<u64> = text.strip_suffix(unit).and_then(|number| number.parse().ok());
    number
        .filter(|number| *number > 0)
        .and_then(|number| number.checked_mul(seconds))
        .filter(|total| *total <= u64::from(u32::MAX))
        .map(Duration::from_secs)
        .ok_or_else(|| EXPECTED.to_owned())
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
    fn times_have_a_unit() {
        assert_eq!(duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        for text in ["", "d", "0d", "90", "-1d", "1w", "99999999999d", "1.5h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
