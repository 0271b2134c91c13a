//! Ollama dies while callers wait for it; Bedrock refuses every second call.

use std::time::{Duration, Instant};

use causeway_standin::Fault;
use tokio::task::JoinSet;

use super::lateness::share;
use super::{BEDROCK, MODEL, Stack, stack};
use crate::bounds::{Bound, Row};
use crate::caller::Caller;
use crate::figures::{Samples, ms};

/// Streams that wait for Ollama's first token when it dies.
const STREAMS: usize = 20;

/// The soft deadline is the daemon's own: who is refused by Bedrock can wait here.
const CALLERS: usize = 8;
const THROTTLED: u32 = 50;

/// Streams before their first token whose Ollama is gone, in several rounds.
pub(super) async fn killed(rounds: usize) -> anyhow::Result<Vec<Row>> {
    let (mut added, mut errors, mut count) = (Samples::default(), 0.0, 0.0);
    for _ in 0..rounds {
        let stack = stack(STREAMS * 2).await?;
        stack.teach().await?;
        stack.standin.fail_next(STREAMS, Fault::SilentAfter(0));
        let Stack { standin, bedrock: _bedrock, causeway } = stack;
        let mut tasks = JoinSet::new();
        for _ in 0..STREAMS {
            let mut caller = Caller::new(&causeway.target, MODEL, "").await?;
            tasks.spawn(async move { caller.ask().await });
        }
        standin.until(|standin| standin.in_flight() == STREAMS).await;
        let died = Instant::now();
        standin.stop();
        while let Some(done) = tasks.join_next().await {
            let asked = done??;
            count += 1.0;
            match asked.first.filter(|_| asked.elsewhere) {
                Some(first) => added.push(ms(first - died) - ms(BEDROCK)),
                None => errors += 1.0,
            }
        }
    }
    Ok(vec![
        Row::new("streams that Bedrock did not answer, %", errors / count * 100.0, 1, Bound::AtMost(0.0), Bound::None),
        Row::told("wait added to Bedrock's first token, p50, ms", added.percentile(0.5), 0),
        Row::new("the same, max, ms", added.max(), 0, Bound::None, Bound::AtMost(200.0)),
    ])
}

/// Callers that can wait, and a Bedrock that refuses every second call.
pub(super) async fn throttled(length: Duration) -> anyhow::Result<Vec<Row>> {
    let stack = stack(1).await?;
    stack.teach().await?;
    stack.bedrock.throttle(THROTTLED, 1);
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let mut caller = Caller::new(&stack.causeway.target, MODEL, "").await?;
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
    #[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
    let counts = [asked.len() as f64, stack.bedrock.calls().len() as f64];
    let errors = share(&asked, |asked| asked.status != 200);
    Ok(vec![
        Row::told("answers", counts[0], 0),
        Row::told("calls to Bedrock", counts[1], 0),
        Row::told("answered by Bedrock, %", share(&asked, |asked| asked.elsewhere), 1),
        Row::new("errors, %", errors, 2, Bound::AtMost(0.0), Bound::None),
    ])
}
