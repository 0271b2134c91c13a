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
mod unsaturated;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use causeway_standin::{Config, Model, Running, Standin};
use serde::Serialize;

use crate::causeway::{Causeway, Program};
use crate::output::{number, progress};

/// The scenarios.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
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

/// A bound on a figure.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    Within(f64, f64),
    /// No bound: told for who reads the others.
    None,
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
            Self::Within(least, most) => (least..=most).contains(&value),
            Self::None => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::Within(least, most) => format!("{least} to {most}"),
            Self::None => String::new(),
        }
    }
}

/// The verdict on a figure that is not what it must be.
const MISSED: &str = "missed";

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    figure: String,
    value: Option<f64>,
    #[serde(skip)]
    digits: usize,
    must: Bound,
    aim: Bound,
    verdict: &'static str,
}

impl Row {
    /// A figure with its bounds; NaN: it was not measured.
    fn new(figure: impl Into<String>, value: f64, digits: usize, must: Bound, aim: Bound) -> Self {
        let verdict = match (must, aim) {
            _ if value.is_nan() => "not measured",
            (Bound::None, Bound::None) => "",
            _ if !must.holds(value) => MISSED,
            (_, Bound::None) => "must met",
            _ if aim.holds(value) => "aim met",
            _ => "must met",
        };
        Self { figure: figure.into(), value: Some(value).filter(|value| !value.is_nan()), digits, must, aim, verdict }
    }

    /// A figure without bounds.
    fn told(figure: impl Into<String>, value: f64, digits: usize) -> Self {
        Self::new(figure, value, digits, Bound::None, Bound::None)
    }
}

/// All figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    cores: usize,
    scenarios: Vec<(Scenario, Vec<Row>)>,
}

impl Report {
    /// The figures that are not what they must be.
    pub(crate) fn missed(&self) -> Vec<&str> {
        let rows = self.scenarios.iter().flat_map(|(_, rows)| rows);
        rows.filter(|row| row.verdict == MISSED).map(|row| row.figure.as_str()).collect()
    }
}

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
        scenarios.push((scenario, rows));
    }
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Ok(Report { cores, scenarios })
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
            unsaturated::measure(before, if quick { 1 } else { 9 }, if quick { 300 } else { 2_000 }).await
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

/// The markdown table.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = String::from("| figure | measured | must | aim | verdict |\n|---|---|---|---|---|\n");
    for (scenario, rows) in &report.scenarios {
        for Row { figure, value, digits, must, aim, verdict } in rows {
            let value = number(value.unwrap_or(f64::NAN), *digits);
            let (must, aim) = (must.text(), aim.text());
            out.push_str(&format!("| {}: {figure} | {value} | {must} | {aim} | {verdict} |\n", scenario.name()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_tells_aim_must_and_what_was_not_measured_apart() {
        let verdict = |value| Row::new("", value, 0, Bound::AtLeast(95.0), Bound::AtLeast(99.0)).verdict;
        assert_eq!([94.0, 96.0, 99.5, f64::NAN].map(verdict), ["missed", "must met", "aim met", "not measured"]);
        assert_eq!(Row::told("", 3.0, 0).verdict, "");
    }
}
