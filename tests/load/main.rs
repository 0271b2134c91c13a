//! `causeway-load`: what the way through Causeway costs, against direct and a haproxy pair.
//!
//! Job: the table of docs/performance.md from one command. Client and stand-in are this process;
//! relay and daemon are this binary re-executed as quickstart does it.
//! Absent: other machines, real models; those show the model and not the way.

mod causeway;
mod client;
mod compare;
mod endurance;
mod figures;
mod machine;
mod output;
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
    let Command::Compare { rounds, quick, only, ways, json } = command;
    let sizes = if quick { Sizes::quick() } else { Sizes::full(rounds) };
    let parts = if only.is_empty() { PARTS.to_vec() } else { only };
    let ways = if ways.is_empty() { Way::ALL.to_vec() } else { ways };
    match runtime.block_on(run(sizes, &parts, &ways, quick, json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
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
    if let Some(path) = json {
        std::fs::write(&path, serde_json::to_vec_pretty(&report)?).with_context(|| path.display().to_string())?;
    }
    judge(&report)
}
