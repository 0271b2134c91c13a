//! Figures with what they must be and what they are meant to be, as a table.
//!
//! Absent: how they are measured.

use serde::Serialize;

use crate::output::number;

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
    pub(crate) fn new(figure: impl Into<String>, value: f64, digits: usize, must: Bound, aim: Bound) -> Self {
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
    pub(crate) fn told(figure: impl Into<String>, value: f64, digits: usize) -> Self {
        Self::new(figure, value, digits, Bound::None, Bound::None)
    }
}

/// All figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    cores: usize,
    scenarios: Vec<(&'static str, Vec<Row>)>,
}

impl Report {
    /// Of these scenarios, on this machine.
    pub(crate) fn new(scenarios: Vec<(&'static str, Vec<Row>)>) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        Self { cores, scenarios }
    }

    /// The figures that are not what they must be.
    pub(crate) fn missed(&self) -> Vec<&str> {
        let rows = self.scenarios.iter().flat_map(|(_, rows)| rows);
        rows.filter(|row| row.verdict == MISSED).map(|row| row.figure.as_str()).collect()
    }
}

/// The markdown table.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = String::from("| figure | measured | must | aim | verdict |\n|---|---|---|---|---|\n");
    for (scenario, rows) in &report.scenarios {
        for Row { figure, value, digits, must, aim, verdict } in rows {
            let value = number(value.unwrap_or(f64::NAN), *digits);
            let (must, aim) = (must.text(), aim.text());
            out.push_str(&format!("| {}: {figure} | {value} | {must} | {aim} | {verdict} |\n", scenario));
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
