//! A daemon told of four slots in front of an Ollama that serves one: how soon it finds out.
//!
//! An overlap is a request that came to the stand-in while another one was there: each waits inside
//! Ollama, out of the ledger's sight.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{CALLERS, MODEL, fixed, stack};
use crate::bounds::{Bound, Row};
use crate::caller::{closed_loop, overlaps};
use crate::client::Target;
use crate::figures::Samples;
use crate::output::progress;

/// What the daemon is told, and what is so.
const TOLD: usize = 4;
const REAL: usize = 1;

const ANSWER: Duration = Duration::from_secs(1);

/// Given up after this long.
const LIMIT: Duration = Duration::from_secs(60);

/// How often the status port is asked: a hundredth of an answer.
const LOOK: Duration = Duration::from_millis(10);

/// The key whose value is at fault.
const KEY: &str = "ollama.parallel";

pub(super) async fn measure(rounds: usize) -> anyhow::Result<Vec<Row>> {
    let (mut counts, mut seconds, mut named) = (Samples::default(), Samples::default(), Samples::default());
    for round in 0..rounds {
        progress(&format!("parallel: round {}/{rounds}", round + 1));
        let (standin, causeway) = stack(fixed(ANSWER), REAL, TOLD).await?;
        let begun = Instant::now();
        let target = causeway.target.clone();
        let mut callers = Box::pin(async move {
            // They go on until the slots are known, then leave.
            closed_loop(&target, MODEL, CALLERS, begun + LIMIT).await.map(|_| ())
        });
        let learnt = tokio::select! {
            learnt = until_learnt(&causeway.status) => learnt,
            ended = &mut callers => bail!("not found within {} s ({ended:?})", LIMIT.as_secs()),
        };
        let (status, at) = learnt?;
        drop(callers);
        // Those that were here then are logged once their callers' leaving is seen.
        tokio::time::timeout(ANSWER, standin.until(|standin| standin.in_flight() == 0)).await?;
        #[expect(clippy::cast_precision_loss, reason = "a few dozen requests")]
        counts.push(overlaps(&standin.runs(), at) as f64);
        seconds.push((at - begun).as_secs_f64());
        let faults = status["faults"].as_array().context("no faults in the status")?;
        let names = faults.iter().any(|fault| fault.as_str().is_some_and(|fault| fault.contains(KEY)));
        named.push(if names { 100.0 } else { 0.0 });
    }
    let rounds = if rounds == 1 { "one round".to_owned() } else { format!("{rounds} rounds") };
    Ok(vec![
        Row::new(
            format!("overlaps until 4 slots are known to be 1, most of {rounds}"),
            counts.max(),
            0,
            Bound::AtMost(10.0),
            Bound::AtMost(6.0),
        ),
        Row::told("the same, median", counts.percentile(0.5), 0),
        Row::told("seconds until then, median", seconds.percentile(0.5), 1),
        Row::new(format!("status names `{KEY}`, % of rounds"), named.mean(), 0, Bound::AtLeast(100.0), Bound::None),
    ])
}

async fn until_learnt(status: &Target) -> anyhow::Result<(Value, Instant)> {
    loop {
        let snapshot = status.json("/api/status").await?;
        let model = snapshot["models"].as_array().and_then(|models| models.iter().find(|model| model["name"] == MODEL));
        if model.is_some_and(|model| model["slots"] == REAL) {
            return Ok((snapshot, Instant::now()));
        }
        tokio::time::sleep(LOOK).await;
    }
}
