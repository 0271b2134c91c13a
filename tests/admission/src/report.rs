//! The tables of docs/performance.md, and its plots.
//!
//! Everything between the two markers of the document is written here; prose around them is not
//! touched. Each figure is the mean over the seeds 1 to 5.

use std::fmt::Write as _;

use crate::arrivals::{HOUR, MILLISECOND};
use crate::figures::Figures;
use crate::overflow;
use crate::plot::{Axis, Series, bars, lines};
use crate::scenario::Scenario;
use crate::systems::{COMPARED, Which};
use crate::world::{How, play};

pub(crate) const BEGIN: &str = "<!-- admission: begin -->";
pub(crate) const END: &str = "<!-- admission: end -->";
/// Enough that the order of systems does not change with one more.
const SEEDS: u64 = 5;
/// Scenarios whose rows are shown in full.
const IN_FULL: [&str; 6] = ["steady", "bursty", "overload", "ten to one", "two models", "unstated"];
/// A difference smaller than this is none: about what seeds differ by.
const SAME: f64 = 0.005;

/// One scenario under every compared system.
struct Row {
    scenario: Scenario,
    systems: Vec<(Which, Figures)>,
}

impl Row {
    fn of(&self, which: Which) -> Figures {
        self.systems.iter().find(|(other, _)| *other == which).map(|(_, figures)| *figures).unwrap_or_default()
    }
}

fn figures(scenario: &Scenario, which: Which) -> Figures {
    Figures::mean((1..=SEEDS).map(|seed| Figures::of(scenario, &play(scenario, which, seed))).collect())
}

/// The text between the markers.
pub(crate) fn tables() -> String {
    let rows: Vec<Row> = Scenario::all()
        .into_iter()
        .map(|scenario| Row { systems: COMPARED.map(|which| (which, figures(&scenario, which))).to_vec(), scenario })
        .collect();
    [goodput(&rows), behind(&rows), details(&rows), own(&rows), overflow::table(), settings(), witness()].join("\n")
}

fn goodput(rows: &[Row]) -> String {
    let mut text = "Answers in time an hour, and thousands of tokens in them:\n\n\
        | scenario | asked for | Ollama alone | limit | FIFO | Causeway | Causeway with Bedrock: GPU + Bedrock |\n\
        |---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let cell = |which| {
            let Figures { goodput, tokens, .. } = row.of(which);
            format!("{goodput:.0} ({:.0}k)", tokens / 1_000.0)
        };
        let both = format!("{} + {:.0}", cell(Which::Overflow), row.of(Which::Overflow).elsewhere);
        let (name, asked) = (row.scenario.name, row.of(Which::Alone).offered);
        let asked = if row.scenario.closed.is_some() { "always 8".to_owned() } else { format!("{asked:.0}") };
        let [alone, limit, fifo, causeway, _] = COMPARED.map(cell);
        let _ = writeln!(text, "| {name} | {asked} | {alone} | {limit} | {fifo} | {causeway} | {both} |");
    }
    text
}

/// Says where a baseline does better.
fn behind(rows: &[Row]) -> String {
    let list = |of: fn(&Figures) -> f64| {
        let mut found = Vec::new();
        for row in rows {
            let own = of(&row.of(Which::Causeway));
            let rivals = row.systems.iter().take(3).map(|(which, figures)| (which.name(), of(figures)));
            let best = rivals.max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((name, best)) = best.filter(|(_, best)| own < best * (1.0 - SAME)) {
                found.push(format!("{} ({:.0} % under {name})", row.scenario.name, (1.0 - own / best) * 100.0));
            }
        }
        if found.is_empty() { "nowhere".to_owned() } else { found.join(", ") }
    };
    let (answers, tokens) = (list(|figures| figures.goodput), list(|figures| figures.tokens));
    format!("Where Causeway without Bedrock is behind the best baseline in answers: {answers}. In tokens: {tokens}.\n")
}

fn details(rows: &[Row]) -> String {
    let mut text = "In full:\n\n\
        | scenario | system | first token p50 / p90 / p99, s | longest silence, s | served, refused, left, % | \
        refused after, s | GPU time for answers late or cut off, % | slots at work while wanted, % | Jain | in time: \
        largest key, others, % |\n|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows.iter().filter(|row| IN_FULL.contains(&row.scenario.name)) {
        for (which, figures) in &row.systems {
            let Figures { p50, p90, p99, silence, told_after, jain, .. } = *figures;
            let [served, refused, left, wasted, occupied, large, small] = [
                figures.served,
                figures.refused,
                figures.left,
                figures.wasted,
                figures.occupied,
                figures.large,
                figures.small,
            ]
            .map(|share| share * 100.0);
            let told = if told_after.is_nan() { "–".to_owned() } else { format!("{told_after:.1}") };
            let _ = writeln!(
                text,
                "| {} | {} | {p50:.1} / {p90:.1} / {p99:.1} | {silence:.0} | {served:.0}, {refused:.0}, {left:.0} | \
                 {told} | {wasted:.1} | {occupied:.1} | {jain:.2} | {large:.0}, {small:.0} |",
                row.scenario.name,
                which.name(),
            );
        }
    }
    text
}

fn own(rows: &[Row]) -> String {
    let mut text = "What Causeway says of itself, without Bedrock:\n\n\
        | scenario | first token: median error | within p90 | `retry-after-ms`: median error | taken in, then 504 | \
        overlaps until `parallel` is right |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let Figures { error, covered, retry_error, expired, overlaps, .. } = row.of(Which::Causeway);
        let percent = |share: f64| if share.is_nan() { "–".to_owned() } else { format!("{:.0} %", share * 100.0) };
        let overlaps = if overlaps.is_nan() { "–".to_owned() } else { format!("{overlaps:.0}") };
        let [error, covered, retry] = [error, covered, retry_error].map(percent);
        let expired = format!("{:.1} %", expired * 100.0);
        let _ = writeln!(text, "| {} | {error} | {covered} | {retry} | {expired} | {overlaps} |", row.scenario.name);
    }
    text
}

/// The baselines with other settings.
fn settings() -> String {
    let others = [Which::Limit(1), Which::Limit(2), Which::Limit(4), Which::Fifo(5), Which::Fifo(10), Which::Fifo(30)];
    let mut text = "The baselines set otherwise, answers in time an hour:\n\n\
        | scenario | limit ×1 | ×2 (above) | ×4 | FIFO 5 s | 10 s (above) | 30 s | Causeway |\n\
        |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for scenario in Scenario::all().into_iter().filter(|scenario| IN_FULL.contains(&scenario.name)) {
        let all = others.into_iter().chain([Which::Causeway]);
        let cells: Vec<String> = all.map(|which| format!("{:.0}", figures(&scenario, which).goodput)).collect();
        let _ = writeln!(text, "| {} | {} |", scenario.name, cells.join(" | "));
    }
    text
}

/// A short run in whole numbers, which a test repeats and compares with the document.
pub(crate) fn witness() -> String {
    let scenario = Scenario { length: HOUR / 3, ..Scenario::default().bursty(1.0) };
    let mut text = "Repeated by a test (20 minutes of bursts at full load, seed 1):\n\n\
        | system | calls | in time | tokens in time | refused | left | first tokens, ms in all |\n\
        |---|---|---|---|---|---|---|\n"
        .to_owned();
    for which in COMPARED {
        let run = play(&scenario, which, 1);
        let served = || run.ends.iter().filter(|end| end.how == How::Served);
        let good = || served().filter(|end| end.in_time);
        let count = |how: &[How]| run.ends.iter().filter(|end| how.contains(&end.how)).count();
        let tokens: u32 = good().map(|end| end.tokens).sum();
        let first: u64 = served().filter_map(|end| end.first).sum();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {tokens} | {} | {} | {} |",
            which.name(),
            run.ends.len(),
            good().count(),
            count(&[How::Refused, How::Expired]),
            count(&[How::Left]),
            first / MILLISECOND,
        );
    }
    text
}

/// Name and content of each plot.
pub(crate) fn plots() -> [(&'static str, String); 3] {
    [
        ("admission-first-token.svg", first_tokens()),
        ("admission-goodput.svg", goodput_over_load()),
        ("admission-fairness.svg", fairness()),
    ]
}

/// Hundred points a line are as smooth as the eye sees.
const POINTS: usize = 100;

fn first_tokens() -> String {
    let scenario = Scenario::default().bursty(0.8);
    let series = COMPARED.map(|which| {
        let (mut first, mut calls) = (Vec::new(), 0);
        for seed in 1..=SEEDS {
            let run = play(&scenario, which, seed);
            calls += run.ends.len();
            first.extend(run.ends.iter().filter_map(|end| end.first).map(|first| first as f64 / 1e6));
        }
        first.sort_unstable_by(f64::total_cmp);
        let last = first.len() - 1;
        let ranks = (0..=POINTS).map(|point| point * last / POINTS);
        let points = ranks.map(|rank| (first[rank], (rank + 1) as f64 / calls as f64 * 100.0));
        Series { name: which.name(), points: points.collect() }
    });
    let marks = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0].map(|at| (at, format!("{at}"))).to_vec();
    let across = Axis { name: "seconds to the first token", marks, from: 0.05, to: 40.0, logarithmic: true };
    lines("Bursts at 0.8 of capacity: share of all calls with a first token by then", &across, &percents(), &series)
}

fn goodput_over_load() -> String {
    let systems = [Which::Alone, Which::Limit(2), Which::Fifo(10), Which::Causeway, Which::Fifo(30)];
    let capacity = Scenario::default().capacity() * 3_600.0;
    let series = systems.map(|which| {
        let loads = (2..=12).map(|quarter| f64::from(quarter) / 4.0);
        let points = loads.map(|load| {
            let scenario = Scenario { load, ..Scenario::default() };
            (load, figures(&scenario, which).goodput / capacity * 100.0)
        });
        Series { name: which.name(), points: points.collect() }
    });
    let marks = (1..=6).map(|half| f64::from(half) / 2.0).map(|at| (at, format!("{at}"))).collect();
    let across = Axis { name: "asked for ÷ what two slots can serve", marks, from: 0.5, to: 3.0, logarithmic: false };
    let up = Axis { name: "answers in time, % of capacity", to: 120.0, ..percents() };
    lines("Answers in time over load (Poisson, first token within 10 s)", &across, &up, &series)
}

fn fairness() -> String {
    let scenarios = Scenario::all();
    let Some(scenario) = scenarios.iter().find(|scenario| scenario.name == "ten to one") else { return String::new() };
    let systems: Vec<Figures> = COMPARED.iter().map(|which| figures(scenario, *which)).collect();
    let names = COMPARED.map(Which::name);
    let of = |field: fn(&Figures) -> f64| systems.iter().map(|figures| field(figures) * 100.0).collect();
    let series = [("the large key", of(|figures| figures.large)), ("the small keys", of(|figures| figures.small))];
    let title = "One key asks ten times as much as each of three others: calls in time on the GPU";
    bars(title, &percents(), &names, &series)
}

fn percents() -> Axis<'static> {
    let marks = (0..=5).map(|fifth| f64::from(fifth) * 20.0).map(|at| (at, format!("{at}"))).collect();
    Axis { name: "% of calls", marks, from: 0.0, to: 100.0, logarithmic: false }
}
