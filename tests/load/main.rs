//! `causeway-load`: what the way through Causeway costs, against direct and a haproxy pair, and what
//! its admission keeps of what it promises.
//!
//! Job: the tables of docs/performance.md, each from one command. Client and stand-in are this process;
//! relay and daemon are this binary re-executed as quickstart does it.
//! Absent: other machines, real models; those show the model and not the way.

mod admission;
mod answer;
mod bounds;
mod caller;
mod causeway;
mod client;
mod compare;
mod crowd;
mod endurance;
mod figures;
mod machine;
mod output;
mod overflow;
mod pair;
mod proxy;
mod scenario;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

use crate::compare::{Part, Sizes, Way, compare};
use crate::output::{Report, markdown, print, progress};
use crate::pair::Pair;

#[derive(Parser)]
#[command(name = "causeway-load", about = "Measures Causeway against direct and a haproxy pair with mTLS")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Interleaved rounds of all ways, then memory, resets and drains
    Compare {
        /// Rounds; figures are medians over them
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Small sizes: see that it works
        #[arg(long)]
        quick: bool,
        /// Only these parts
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<Part>,
        /// Only these ways; ratios need all three
        #[arg(long, value_enum, value_delimiter = ',')]
        ways: Vec<Way>,
        /// Also write every round's figures here
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// What the admission promises: occupancy, refusals, predictions, shares
    Admission {
        /// Only these scenarios
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<admission::Scenario>,
        /// Short runs: see that it works
        #[arg(long)]
        quick: bool,
        /// A quickstart built from before the admission, to compare an unsaturated first token with
        #[arg(long, value_name = "PATH")]
        before: Option<PathBuf>,
        /// Also write the figures here
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// What overflow promises, with an emulated Bedrock: lateness, what goes there, what it adds
    Overflow {
        /// Only these scenarios
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<overflow::Scenario>,
        /// Short runs: see that it works
        #[arg(long)]
        quick: bool,
        /// A quickstart built from before overflow, to compare an unsaturated first token with
        #[arg(long, value_name = "PATH")]
        before: Option<PathBuf>,
        /// Also write the figures here
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Callers on one slot as a live table: who waits where, what was promised, what came
    Crowd {
        /// Callers at once
        #[arg(long, default_value_t = 8)]
        callers: usize,
        /// Answers that each caller wants
        #[arg(long, default_value_t = 3)]
        answers: usize,
        /// With an emulated Bedrock beside the stand-in: callers give up to it what would come too late
        #[arg(long, conflicts_with = "url")]
        overflow: bool,
        /// A running endpoint (http://IP:PORT) instead of a quickstart of its own
        #[arg(long, requires_all = ["key", "status_url", "model"])]
        url: Option<String>,
        /// Its key
        #[arg(long, env = "CAUSEWAY_KEY", hide_env_values = true)]
        key: Option<String>,
        /// Its daemon's status port (http://IP:PORT)
        #[arg(long)]
        status_url: Option<String>,
        /// A model there
        #[arg(long)]
        model: Option<String>,
        /// Lines even on a terminal
        #[arg(long)]
        plain: bool,
    },
}

const PARTS: [Part; 7] =
    [Part::Single, Part::Throughput, Part::Streams, Part::Cancel, Part::Memory, Part::Resets, Part::Drain];

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let word = args.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    if word == causeway::WORD {
        args.remove(1);
        return causeway_quickstart::main(args);
    }
    if word.starts_with("__") {
        return causeway_quickstart::main(args);
    }
    let Options { command } = Options::parse_from(args);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(obey(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn obey(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Compare { rounds, quick, only, ways, json } => {
            let sizes = if quick { Sizes::quick() } else { Sizes::full(rounds) };
            let parts = if only.is_empty() { PARTS.to_vec() } else { only };
            let ways = if ways.is_empty() { Way::ALL.to_vec() } else { ways };
            run(sizes, &parts, &ways, quick, json).await
        }
        Command::Admission { only, quick, before, json } => {
            let report = admission::run(admission::Asked { only, quick, before }).await?;
            told(&report, quick, json)
        }
        Command::Overflow { only, quick, before, json } => {
            let report = overflow::run(overflow::Asked { only, quick, before }).await?;
            told(&report, quick, json)
        }
        Command::Crowd { callers, answers, overflow, url, key, status_url, model, plain } => {
            let running = match (url, key, status_url, model) {
                (Some(url), Some(key), Some(status_url), Some(model)) => {
                    Some(crowd::Running { url, key, status_url, model })
                }
                _ => None,
            };
            crowd::run(crowd::Asked { callers, answers, overflow, running, plain }).await
        }
    }
}

/// Shows figures that have bounds; one that misses what it must be is an error.
fn told(report: &bounds::Report, quick: bool, json: Option<PathBuf>) -> anyhow::Result<()> {
    print(&bounds::markdown(report));
    write(json, report)?;
    let missed = report.missed();
    // A short run shows that it works, not how well.
    ensure!(quick || missed.is_empty(), "missed what it must reach: {}", missed.join("; "));
    Ok(())
}

/// The figures as JSON, where a place for them is named.
fn write(path: Option<PathBuf>, report: &impl serde::Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(&path, serde_json::to_vec_pretty(report)?).with_context(|| path.display().to_string())
}

fn failed(error: &anyhow::Error) -> ExitCode {
    progress(&format!("causeway-load: {error:#}"));
    ExitCode::FAILURE
}

/// Slow is a figure; a byte lost or a stream cut is a failure.
fn judge(report: &Report) -> anyhow::Result<()> {
    if let Some(resets) = &report.resets {
        let wrong = resets.lost + resets.repeated + resets.altered;
        ensure!(wrong == 0, "{wrong} answers were lost, repeated or altered while the link was reset");
        ensure!(resets.connections_reset > 0, "no connection was reset");
        ensure!(resets.answers > resets.refused, "every answer was refused while the link was reset");
    }
    if let Some(drain) = &report.drain {
        let cut = drain.cut_by_daemon + drain.cut_by_relay;
        ensure!(cut == 0, "{cut} streams were cut by a drain");
    }
    Ok(())
}

async fn run(sizes: Sizes, parts: &[Part], ways: &[Way], quick: bool, json: Option<PathBuf>) -> anyhow::Result<()> {
    let standin = scenario::stand_in().await?;
    let mut ways = ways.to_vec();
    if ways.contains(&Way::Haproxy) && !Pair::there() {
        progress("no haproxy here (Debian: apt-get install haproxy): no ratios");
        ways.retain(|way| *way != Way::Haproxy);
    }
    let causeway = ways.contains(&Way::Causeway);
    let compared = [Part::Single, Part::Throughput, Part::Streams, Part::Cancel];
    let rounds = if parts.iter().any(|part| compared.contains(part)) {
        compare(&standin, sizes, parts, &ways).await?
    } else {
        compare::Table::default()
    };
    let mut report = Report {
        sizes,
        haproxy: Pair::version(),
        cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        rounds,
        memory: None,
        resets: None,
        drain: None,
    };
    if causeway && parts.contains(&Part::Memory) {
        let (early, late) = if quick { (200, 1_000) } else { (2_000, 10_000) };
        report.memory = Some(endurance::memory(&standin, sizes.streams, early, late).await?);
    }
    if causeway && parts.contains(&Part::Resets) {
        let (callers, length) = if quick { (20, 20) } else { (100, 60) };
        let every = Duration::from_secs(2);
        report.resets = Some(endurance::resets(&standin, callers, every, Duration::from_secs(length)).await?);
    }
    if causeway && parts.contains(&Part::Drain) {
        report.drain = Some(endurance::drain(&standin, 50).await?);
    }
    print(&markdown(&report));
    write(json, &report)?;
    judge(&report)
}
