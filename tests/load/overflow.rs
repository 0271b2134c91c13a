//! What overflow promises, measured over real processes with an emulated Bedrock: callers are in time
//! wherever the answer comes from, little is paid for, and nothing is added while there is room.
//!
//! Absent: other ways to overflow, which are compared in a simulation (`tests/admission`), and
//! Bedrock itself: its first token is a setting here.

mod failures;
mod lateness;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use causeway_standin::{Config, Model, Running, Standin};
use causeway_tests::bedrock::{Emulator, Script};

use crate::admission::unsaturated;
use crate::bounds::{Bound, Report, Row};
use crate::caller::Caller;
use crate::causeway::{Causeway, Program};
use crate::machine::rss_mb;
use crate::output::progress;

/// The scenarios.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Scenario {
    Closed,
    Open,
    Killed,
    Throttled,
    Unsaturated,
    Memory,
}

impl Scenario {
    const ALL: [Self; 6] = [Self::Closed, Self::Open, Self::Killed, Self::Throttled, Self::Unsaturated, Self::Memory];

    fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed loop",
            Self::Open => "open loop",
            Self::Killed => "killed",
            Self::Throttled => "throttled",
            Self::Unsaturated => "unsaturated",
            Self::Memory => "memory",
        }
    }
}

/// The model of every scenario, where it goes, and for how much.
const MODEL: &str = "m:latest";
const MAPPED: &str = "m=openai.gpt-oss-20b-1:0,0.07,0.30";

/// Answers of the saturated scenarios: this long, in so many steps.
const ANSWER: Duration = Duration::from_secs(2);
const TOKENS: u32 = 20;

/// Bedrock's first token.
const BEDROCK: Duration = Duration::from_millis(300);

/// Answers before the measurement: until three are known nothing is predicted.
const TAUGHT: usize = 3;

/// What is asked for.
pub(crate) struct Asked {
    pub(crate) only: Vec<Scenario>,
    /// Short runs: see that it works.
    pub(crate) quick: bool,
    /// A quickstart from before overflow.
    pub(crate) before: Option<PathBuf>,
}

/// Runs the scenarios one after the other, each with a stack of its own.
pub(crate) async fn run(asked: Asked) -> anyhow::Result<Report> {
    let chosen = if asked.only.is_empty() { Scenario::ALL.to_vec() } else { asked.only };
    let mut scenarios = Vec::new();
    for scenario in chosen {
        progress(scenario.name());
        let seconds = |full, short| Duration::from_secs(if asked.quick { short } else { full });
        let rows = match scenario {
            Scenario::Closed => lateness::closed(seconds(60, 12)).await?,
            Scenario::Open => lateness::open(seconds(120, 15), if asked.quick { 1 } else { 3 }).await?,
            Scenario::Killed => failures::killed(if asked.quick { 1 } else { 5 }).await?,
            Scenario::Throttled => failures::throttled(seconds(60, 12)).await?,
            Scenario::Unsaturated => match &asked.before {
                Some(before) => {
                    let bedrock = Emulator::start().await;
                    let sizes = if asked.quick { (1, 300) } else { (9, 2_000) };
                    unsaturated::measure(before, &flags(&bedrock), sizes, (1.1, 1.02)).await?
                }
                None => {
                    progress("unsaturated: left out, for want of --before (docs/performance.md)");
                    Vec::new()
                }
            },
            Scenario::Memory => memory().await?,
        };
        scenarios.push((scenario.name(), rows));
    }
    Ok(Report::new(scenarios))
}

/// An Ollama, a Bedrock, and quickstart between callers and them.
struct Stack {
    standin: Arc<Running>,
    bedrock: Emulator,
    causeway: Causeway,
}

/// With answers as long here as there, and so many slots.
async fn stack(slots: usize) -> anyhow::Result<Stack> {
    let model = Model::named(MODEL).paced(TOKENS, ANSWER / TOKENS, ANSWER / TOKENS);
    let bedrock = Emulator::start().await;
    let words = usize::try_from(TOKENS)?;
    bedrock.default_script(Script::tokens(words).first_token_after(BEDROCK).token_every(ANSWER / TOKENS));
    let config = Config {
        models: vec![model.slots(slots)],
        parallel: slots,
        check_host: false,
        log_runs: true,
        ..Config::default()
    };
    let standin = Arc::new(Standin::spawn(config).await?);
    let causeway = Causeway::start_as(Program::Own, slots, standin.addr(), &flags(&bedrock)).await?;
    Ok(Stack { standin, bedrock, causeway })
}

/// Quickstart's flags for overflow to this Bedrock.
fn flags(bedrock: &Emulator) -> Vec<String> {
    let url = bedrock.url();
    let flags = ["--bedrock-endpoint", &url, "--bedrock-model", MAPPED, "--daily-usd", "5"];
    flags.map(str::to_owned).to_vec()
}

impl Stack {
    /// Some answers of its own machine, for the daemon to learn from.
    async fn teach(&self) -> anyhow::Result<()> {
        let mut teacher = Caller::new(&self.causeway.target, MODEL, "x-causeway-route: local-only\r\n").await?;
        for _ in 0..TAUGHT {
            ensure!(teacher.ask().await?.status == 200, "refused while nothing else ran");
        }
        self.standin.clear();
        Ok(())
    }
}

/// What an idle daemon holds that may overflow.
async fn memory() -> anyhow::Result<Vec<Row>> {
    let stack = stack(1).await?;
    stack.teach().await?;
    let mut caller = Caller::new(&stack.causeway.target, MODEL, "x-causeway-route: cloud-only\r\n").await?;
    let before = rss_mb(stack.causeway.daemon_pid)?;
    for _ in 0..TAUGHT {
        ensure!(caller.ask().await?.elsewhere, "Bedrock did not answer");
    }
    let after = rss_mb(stack.causeway.daemon_pid)?;
    Ok(vec![
        Row::told("daemon's RSS before the first call to Bedrock, MB", before, 1),
        Row::new("daemon's RSS idle after three, MB", after, 1, Bound::AtMost(30.0), Bound::AtMost(18.0)),
    ])
}
