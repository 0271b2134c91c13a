//! Hard deadlines that often cannot be met: how fast refusals are, and how true.
//!
//! The real wait of a refused caller runs from its refusal to the moment at which the slot was free
//! of everyone who was there before it: of who ran and of who waited then. Those who are refused come
//! back when they were told to.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use causeway_standin::Ran;
use tokio::task::JoinSet;

use super::occupancy::ANSWER;
use super::{CALLERS, MODEL, fixed, stack};
use crate::bounds::{Bound, Row};
use crate::caller::{Asked, Caller, occupancy};
use crate::client::Target;
use crate::figures::{Samples, ms};

/// Every caller's deadline.
const HEADER: &str = "x-causeway-first-token-ms: 1000\r\n";

/// Answers before the measurement: until three are known nothing is refused up front.
const TAUGHT: usize = 5;

/// A refusal without a time is tried again after this.
const UNTOLD: Duration = Duration::from_secs(1);

/// One request, and whether its caller had been refused just before.
type Turn = (Asked, bool);

pub(super) async fn measure(length: Duration) -> anyhow::Result<Vec<Row>> {
    let (standin, causeway) = stack(fixed(ANSWER), 1, 1).await?;
    let mut teacher = Caller::new(&causeway.target, MODEL, "").await?;
    for _ in 0..TAUGHT {
        ensure!(teacher.ask().await?.status == 200, "refused while nothing else ran");
    }
    standin.clear();
    let begun = Instant::now();
    let turns = come_back(&causeway.target, begun + length).await?;
    Ok(rows(&turns, &standin.runs(), begun, length))
}

/// Eight callers who ask again at once when they were served and when told to when refused.
async fn come_back(target: &Target, until: Instant) -> anyhow::Result<Vec<Turn>> {
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let mut caller = Caller::new(target, MODEL, HEADER).await?;
        tasks.spawn(async move {
            let (mut turns, mut comes_back): (Vec<Turn>, bool) = (Vec::new(), false);
            while Instant::now() < until {
                let asked = caller.ask().await?;
                let refused = asked.status != 200;
                let pause = asked.retry_after.unwrap_or(UNTOLD);
                turns.push((asked, comes_back));
                comes_back = refused;
                if refused {
                    tokio::time::sleep(pause).await;
                }
            }
            anyhow::Ok(turns)
        });
    }
    let mut turns = Vec::new();
    while let Some(done) = tasks.join_next().await {
        turns.extend(done??);
    }
    Ok(turns)
}

/// From the refusal until all who were there before it had given the slot back; none where nobody was.
fn real_wait(refused: &Asked, turns: &[Turn], ends: &HashMap<u64, Instant>) -> Option<Duration> {
    let ahead = turns.iter().filter(|(asked, _)| asked.status == 200 && asked.sent < refused.head);
    let ends = ahead.filter_map(|(asked, _)| ends.get(&asked.seed)).filter(|ended| **ended > refused.head);
    ends.max().map(|ended| *ended - refused.head)
}

fn rows(turns: &[Turn], runs: &[Ran], begun: Instant, length: Duration) -> Vec<Row> {
    let ends: HashMap<u64, Instant> = runs.iter().map(|run| (run.seed, run.ended)).collect();
    let (mut after, mut error, mut early) = (Samples::default(), Samples::default(), Samples::default());
    for (refused, _) in turns.iter().filter(|(asked, _)| asked.status == 503) {
        after.push(ms(refused.head - refused.sent));
        let Some(real) = real_wait(refused, turns, &ends) else { continue };
        let told = refused.retry_after.unwrap_or_default();
        error.push((told.as_secs_f64() - real.as_secs_f64()).abs() / real.as_secs_f64() * 100.0);
        early.push(ms(told) - ms(real));
    }
    let count = |wanted: &dyn Fn(&Turn) -> bool| {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
        let count = turns.iter().filter(|turn| wanted(turn)).count() as f64;
        count
    };
    let came_back = count(&|(_, back)| *back);
    let served_then = count(&|(asked, back)| *back && asked.status == 200);
    vec![
        Row::told("served", count(&|(asked, _)| asked.status == 200), 0),
        Row::told("refused up front (503)", count(&|(asked, _)| asked.status == 503), 0),
        Row::told("let wait and then too late (504)", count(&|(asked, _)| asked.status == 504), 0),
        Row::told("refusal after, ms, p50", after.percentile(0.5), 2),
        Row::told("refusal after, ms, p99", after.percentile(0.99), 2),
        Row::new("refusal after, ms, max", after.max(), 2, Bound::AtMost(50.0), Bound::None),
        Row::new(
            "retry-after against the real wait, median error, %",
            error.percentile(0.5),
            1,
            Bound::AtMost(30.0),
            Bound::AtMost(15.0),
        ),
        Row::told("the same, p90, %", error.percentile(0.9), 1),
        Row::told("the same, too long (+) or too short (−), median, ms", early.percentile(0.5), 0),
        Row::told("refused callers who came back, served then, %", served_then / came_back * 100.0, 1),
        Row::told("slot in use, % of the time", occupancy(runs, begun, begun + length) * 100.0, 2),
    ]
}
