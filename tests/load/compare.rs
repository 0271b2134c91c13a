//! Interleaved rounds: direct, haproxy pair, Causeway, in an order that rotates.
//!
//! Invariants: all three see the same client, stand-in, requests and sizes; a ratio compares two
//! ways of the same round; figures are medians over rounds, but where one round has too few
//! samples for a p99, all rounds are pooled.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_standin::Running;

use crate::causeway::Causeway;
use crate::client::Target;
use crate::figures::{Samples, median};
use crate::machine::cpu_seconds;
use crate::output::progress;
use crate::pair::Pair;
use crate::scenario;

/// The three ways.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    Direct,
    Haproxy,
    Causeway,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Haproxy, Self::Causeway];
}

/// How much is measured in one round.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Sizes {
    pub(crate) rounds: usize,
    pub(crate) single: usize,
    pub(crate) callers: usize,
    pub(crate) each: usize,
    pub(crate) streams: usize,
    pub(crate) waves: usize,
    pub(crate) cancels: usize,
}

impl Sizes {
    /// At least 5,000 samples behind every p99: of a round, or of five rounds where they are pooled.
    pub(crate) fn full(rounds: usize) -> Self {
        Self { rounds, single: 5_000, callers: 32, each: 500, streams: 200, waves: 5, cancels: 1_000 }
    }

    /// Enough to see that it works; no figures for a document.
    pub(crate) fn quick() -> Self {
        Self { rounds: 1, single: 200, callers: 32, each: 50, streams: 50, waves: 1, cancels: 30 }
    }
}

/// Which measurements to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    Single,
    Throughput,
    Streams,
    Cancel,
    Memory,
    Resets,
    Drain,
}

/// Figures by way and name: one value a round.
#[derive(Default, Debug, serde::Serialize)]
pub(crate) struct Table(BTreeMap<Way, BTreeMap<&'static str, Vec<f64>>>);

impl Table {
    fn add(&mut self, way: Way, name: &'static str, value: f64) {
        self.0.entry(way).or_default().entry(name).or_default().push(value);
    }

    fn rounds(&self, way: Way, name: &str) -> &[f64] {
        self.0.get(&way).and_then(|figures| figures.get(name)).map_or(&[], Vec::as_slice)
    }

    /// The median over rounds; NaN where it was not measured.
    pub(crate) fn figure(&self, way: Way, name: &str) -> f64 {
        median(self.rounds(way, name))
    }

    /// The median over rounds of what this way adds to direct.
    pub(crate) fn added(&self, way: Way, name: &str) -> f64 {
        let direct = self.rounds(Way::Direct, name);
        let added: Vec<f64> = self.rounds(way, name).iter().zip(direct).map(|(own, direct)| own - direct).collect();
        median(&added)
    }

    /// The median over rounds of Causeway's figure over haproxy's.
    pub(crate) fn ratio(&self, name: &str) -> f64 {
        let pairs = self.rounds(Way::Causeway, name).iter().zip(self.rounds(Way::Haproxy, name));
        median(&pairs.map(|(own, pair)| own / pair).collect::<Vec<f64>>())
    }

    /// The same of what each adds to direct.
    pub(crate) fn added_ratio(&self, name: &str) -> f64 {
        let direct = self.rounds(Way::Direct, name);
        let pairs = self.rounds(Way::Causeway, name).iter().zip(self.rounds(Way::Haproxy, name)).zip(direct);
        median(&pairs.map(|((own, pair), direct)| (own - direct) / (pair - direct)).collect::<Vec<f64>>())
    }
}

/// Samples of all rounds, for p99s of which one round has too few.
#[derive(Default)]
struct Pools(BTreeMap<Way, BTreeMap<&'static str, Samples>>);

/// Measures all rounds.
pub(crate) async fn compare(
    standin: &Arc<Running>,
    sizes: Sizes,
    parts: &[Part],
    ways: &[Way],
) -> anyhow::Result<Table> {
    let (mut table, mut pools) = (Table::default(), Pools::default());
    for round in 0..sizes.rounds {
        for turn in 0..ways.len() {
            let Some(way) = ways.get((round + turn) % ways.len()) else { continue };
            progress(&format!("round {}/{}: {way:?}", round + 1, sizes.rounds));
            one(standin, sizes, parts, *way, &mut table, &mut pools).await?;
        }
    }
    for (way, samples) in pools.0 {
        for (name, mut samples) in samples {
            table.add(way, name, samples.percentile(0.99));
        }
    }
    Ok(table)
}

async fn one(
    standin: &Arc<Running>,
    sizes: Sizes,
    parts: &[Part],
    way: Way,
    table: &mut Table,
    pools: &mut Pools,
) -> anyhow::Result<()> {
    let (mut pair, mut causeway) = (None, None);
    let (target, pids): (Target, Vec<u32>) = match way {
        Way::Direct => (Target { addr: standin.addr(), key: None }, Vec::new()),
        Way::Haproxy => {
            let pair = pair.insert(Pair::start(standin.addr()).await?);
            (pair.target.clone(), pair.pids())
        }
        Way::Causeway => {
            let causeway = causeway.insert(Causeway::start(standin.addr(), &[]).await?);
            (causeway.target.clone(), causeway.pids())
        }
    };
    let measured = measure(standin, sizes, parts, &target, &pids, way, table, pools).await;
    measured.map_err(|error| match &causeway {
        Some(causeway) => error.context(format!("last lines of quickstart:\n{}", causeway.last_lines())),
        None => error,
    })
}

#[expect(clippy::too_many_arguments, reason = "one call; a struct would only repeat the names")]
async fn measure(
    standin: &Arc<Running>,
    sizes: Sizes,
    parts: &[Part],
    target: &Target,
    pids: &[u32],
    way: Way,
    table: &mut Table,
    pools: &mut Pools,
) -> anyhow::Result<()> {
    // The first wave of streams meets cold connection pools, as after any quiet time.
    if parts.contains(&Part::Streams) {
        let mut all = scenario::Streams::default();
        for _ in 0..sizes.waves {
            let wave = scenario::streams(target, sizes.streams).await?;
            all.first.extend(wave.first);
            all.gap.extend(wave.gap);
        }
        table.add(way, "streams_first_p50", all.first.percentile(0.5));
        table.add(way, "streams_gap_p99", all.gap.percentile(0.99));
        pools.0.entry(way).or_default().entry("streams_first_p99").or_default().extend(all.first);
    }
    if parts.contains(&Part::Single) {
        scenario::single(target, sizes.single / 10).await?;
        let mut found = scenario::single(target, sizes.single).await?;
        table.add(way, "single_first_p50", found.first.percentile(0.5));
        table.add(way, "single_first_p99", found.first.percentile(0.99));
        table.add(way, "single_whole_p50", found.whole.percentile(0.5));
        table.add(way, "single_whole_p99", found.whole.percentile(0.99));
        table.add(way, "single_gap_p99", found.gap.percentile(0.99));
    }
    if parts.contains(&Part::Throughput) {
        let together = ["requests_per_second", "ends_cpu_us", "between_cpu_us"];
        let apart = ["requests_per_second_apart", "ends_cpu_us_apart", "between_cpu_us_apart"];
        for (model, names) in [(scenario::TOGETHER, together), (scenario::FAST, apart)] {
            let found = throughput(sizes, target, pids, model).await?;
            for (name, figure) in names.into_iter().zip(found) {
                table.add(way, name, figure);
            }
        }
    }
    if parts.contains(&Part::Cancel) {
        scenario::cancel(standin, target, sizes.cancels / 10).await?;
        let mut found = scenario::cancel(standin, target, sizes.cancels).await?;
        table.add(way, "cancel_p50", found.percentile(0.5));
        pools.0.entry(way).or_default().entry("cancel_p99").or_default().extend(found);
    }
    Ok(())
}

/// Requests a second, and the CPU time a request takes of the two ends and of what lies between, µs.
async fn throughput(sizes: Sizes, target: &Target, pids: &[u32], model: &'static str) -> anyhow::Result<[f64; 3]> {
    scenario::throughput(target, model, sizes.callers, sizes.each / 10).await?;
    let own = [std::process::id()];
    let (ends, between) = (cpu_seconds(&own), cpu_seconds(pids));
    let rate = scenario::throughput(target, model, sizes.callers, sizes.each).await?;
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 requests")]
    let requests = (sizes.callers * sizes.each) as f64;
    let spent = |pids: &[u32], before: f64| (cpu_seconds(pids) - before) * 1e6 / requests;
    Ok([rate, spent(&own, ends), spent(pids, between)])
}
