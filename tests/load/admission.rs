//! What the admission promises, measured over real processes: the slot is never idle, refusals are
//! at once and truthful, waits are foretold, a wrong setting is found, keys share, nothing is added.
//!
//! Absent: what the policy would do under other loads (it is simulated elsewhere), other ways than
//! Causeway; none of them has an admission.

mod deadline;
mod fairness;
mod occupancy;
mod parallel;
mod prediction;
pub(crate) mod unsaturated;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::bounds::{Report, Row};
use crate::causeway::{Causeway, Program};
use crate::output::progress;
use causeway_standin::{Config, Model, Running, Standin};

/// The scenarios.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Scenario {
    Occupancy,
    HardDeadline,
    Prediction,
    Parallel,
    Fairness,
    Unsaturated,
}

impl Scenario {
    const ALL: [Self; 6] =
        [Self::Occupancy, Self::HardDeadline, Self::Prediction, Self::Parallel, Self::Fairness, Self::Unsaturated];

    fn name(self) -> &'static str {
        match self {
            Self::Occupancy => "occupancy",
            Self::HardDeadline => "hard deadline",
            Self::Prediction => "prediction",
            Self::Parallel => "parallel",
            Self::Fairness => "fairness",
            Self::Unsaturated => "unsaturated",
        }
    }
}

/// The model of every scenario.
const MODEL: &str = "m:latest";

/// Callers of every scenario with a closed loop.
const CALLERS: usize = 8;

/// What is asked for.
pub(crate) struct Asked {
    pub(crate) only: Vec<Scenario>,
    /// Short runs: see that it works.
    pub(crate) quick: bool,
    /// A quickstart from before the admission.
    pub(crate) before: Option<PathBuf>,
}

/// Runs the scenarios one after the other, each with a stack of its own.
pub(crate) async fn run(asked: Asked) -> anyhow::Result<Report> {
    let chosen = if asked.only.is_empty() { Scenario::ALL.to_vec() } else { asked.only };
    let mut scenarios = Vec::new();
    for scenario in chosen {
        progress(scenario.name());
        let rows = one(scenario, asked.quick, asked.before.as_deref()).await?;
        scenarios.push((scenario.name(), rows));
    }
    Ok(Report::new(scenarios))
}

async fn one(scenario: Scenario, quick: bool, before: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let seconds = |full, short| Duration::from_secs(if quick { short } else { full });
    match scenario {
        Scenario::Occupancy => occupancy::measure(seconds(60, 12)).await,
        Scenario::HardDeadline => deadline::measure(seconds(120, 20)).await,
        Scenario::Prediction => prediction::measure(if quick { 40 } else { 220 }).await,
        Scenario::Parallel => parallel::measure(if quick { 1 } else { 5 }).await,
        Scenario::Fairness => fairness::measure(seconds(60, 12)).await,
        Scenario::Unsaturated => {
            let Some(before) = before else {
                progress("unsaturated: left out, for want of --before (docs/performance.md)");
                return Ok(Vec::new());
            };
            unsaturated::measure(before, &[], if quick { (1, 300) } else { (9, 2_000) }, (1.2, 1.05)).await
        }
    }
}

/// A stand-in of one model with really so many slots, and quickstart in front of it.
async fn stack(model: Model, slots: usize, parallel: usize) -> anyhow::Result<(Arc<Running>, Causeway)> {
    let config = Config { models: vec![model.slots(slots)], check_host: false, log_runs: true, ..Config::default() };
    let standin = Arc::new(Standin::spawn(config).await?);
    let causeway = Causeway::start_as(Program::Own, parallel, standin.addr(), &[]).await?;
    Ok((standin, causeway))
}

/// A model whose answers all take this long.
fn fixed(answer: Duration) -> Model {
    // Twenty steps: to the first token, then from token to token.
    Model::named(MODEL).paced(20, answer / 20, answer / 20)
}
