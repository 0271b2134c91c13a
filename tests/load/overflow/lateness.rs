//! Who is late, and what is paid for it: callers in a closed loop, and callers who come by chance.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{Instant as Clock, sleep_until};

use super::{MODEL, Stack, stack};
use crate::bounds::{Bound, Row};
use crate::caller::{Asked, Caller, occupancy};
use crate::client::Target;
use crate::figures::{Samples, ms};
use crate::output::progress;

/// Callers of the closed loop, and what their first token may take.
const CALLERS: usize = 8;
const HURRY: Duration = Duration::from_secs(1);

/// Callers a second of the open loop: four fifths of what one slot serves.
const RATE: f64 = 0.4;
const PATIENCE: Duration = Duration::from_secs(5);

/// Eight callers on one slot, each asking again as soon as it is answered.
pub(super) async fn closed(length: Duration) -> anyhow::Result<Vec<Row>> {
    let stack = stack(1).await?;
    stack.teach().await?;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let mut caller = Caller::new(&stack.causeway.target, MODEL, &header(HURRY)).await?;
        tasks.spawn(async move {
            let mut all = Vec::new();
            while begun.elapsed() < length {
                all.push(caller.ask().await?);
            }
            anyhow::Ok(all)
        });
    }
    let mut asked = Vec::new();
    while let Some(done) = tasks.join_next().await {
        asked.extend(done??);
    }
    let mut rows = outcome(&asked, HURRY, (1.0, 0.0), Bound::None, Bound::None);
    let busy = occupancy(&stack.standin.runs(), begun, begun + length) * 100.0;
    rows.push(Row::new("slot in use, % of the time", busy, 2, Bound::AtLeast(90.0), Bound::AtLeast(97.0)));
    Ok(rows)
}

/// Callers that come independently of each other, in several draws.
pub(super) async fn open(length: Duration, draws: u64) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut all = Vec::new();
    for draw in 1..=draws {
        progress(&format!("open loop: draw {draw}/{draws}"));
        let stack = stack(1).await?;
        stack.teach().await?;
        let asked = come(&stack, length, draw).await?;
        rows.push(Row::told(format!("draw {draw}: at Bedrock, %"), share(&asked, |asked| asked.elsewhere), 1));
        all.extend(asked);
    }
    rows.extend(outcome(&all, PATIENCE, (0.0, 0.0), Bound::AtMost(8.0), Bound::AtMost(2.0)));
    Ok(rows)
}

async fn come(stack: &Stack, length: Duration, seed: u64) -> anyhow::Result<Vec<Asked>> {
    let (mut random, begun) = (StdRng::seed_from_u64(seed), Clock::now());
    let (mut tasks, mut at) = (JoinSet::new(), Duration::ZERO);
    loop {
        let uniform: f64 = random.random();
        at += Duration::from_secs_f64(-(1.0 - uniform).ln() / RATE);
        if at >= length {
            break;
        }
        sleep_until(begun + at).await;
        tasks.spawn(one(stack.causeway.target.clone()));
    }
    let mut asked = Vec::new();
    while let Some(done) = tasks.join_next().await {
        asked.push(done??);
    }
    Ok(asked)
}

async fn one(target: Target) -> anyhow::Result<Asked> {
    Caller::new(&target, MODEL, &header(PATIENCE)).await?.ask().await
}

fn header(deadline: Duration) -> String {
    format!("x-causeway-first-token-ms: {}\r\n", deadline.as_millis())
}

/// `late`: the share that must not be exceeded and the one that is meant, in percent.
fn outcome(asked: &[Asked], deadline: Duration, late: (f64, f64), must: Bound, aim: Bound) -> Vec<Row> {
    let first = |asked: &Asked| asked.first.map(|first| first - asked.sent);
    let (mut here, mut there) = (Samples::default(), Samples::default());
    for one in asked {
        let samples = if one.elsewhere { &mut there } else { &mut here };
        samples.push(first(one).map_or(f64::NAN, ms));
    }
    let too_late = share(asked, |asked| first(asked).is_none_or(|first| first > deadline));
    let errors = share(asked, |asked| asked.status != 200);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
    let count = asked.len() as f64;
    vec![
        Row::told("requests", count, 0),
        Row::new("first tokens late, %", too_late, 2, Bound::AtMost(late.0), Bound::AtMost(late.1)),
        Row::new("errors, %", errors, 2, Bound::AtMost(0.0), Bound::None),
        Row::new("at Bedrock, %", share(asked, |asked| asked.elsewhere), 1, must, aim),
        Row::told("first token here, p50, ms", here.percentile(0.5), 0),
        Row::told("first token at Bedrock, p50, ms", there.percentile(0.5), 0),
        Row::told("first token at Bedrock, max, ms", there.max(), 0),
    ]
}

/// In percent.
#[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
pub(super) fn share(asked: &[Asked], of: impl Fn(&Asked) -> bool) -> f64 {
    asked.iter().filter(|asked| of(asked)).count() as f64 / asked.len() as f64 * 100.0
}
