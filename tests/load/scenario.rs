//! The four measurements that all three ways undergo alike.
//!
//! Invariant: every token of every answer is checked against what the stand-in sent; one wrong
//! token ends the run, since a fast wrong answer is no figure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use causeway_standin::{Config, Model, Running, Standin, text};
use tokio::task::JoinSet;

use crate::answer::check;
use crate::causeway::PARALLEL;
use crate::client::{Connection, Target, Whole};
use crate::figures::{Samples, ms};

/// 16 tokens as fast as they can be written, one write each.
pub(crate) const FAST: &str = "fast:latest";
/// The same 16 tokens in one write.
pub(crate) const TOGETHER: &str = "together:latest";
/// 100 tokens, 20 a second.
pub(crate) const STEADY: &str = "steady:latest";
/// 200 tokens, 20 a second: an answer of 10 s.
pub(crate) const LONG: &str = "long:latest";
/// Thousands of tokens, one each millisecond, to be cancelled.
pub(crate) const ENDLESS: &str = "endless:latest";

/// Tokens of an answer of [`FAST`] and [`TOGETHER`], and of [`STEADY`].
const FAST_TOKENS: u32 = 16;
const STEADY_TOKENS: u32 = 100;

/// Tokens read before a cancelled answer is left.
const CANCEL_AT: usize = 3;

/// Longest wait for a cancel to be seen.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// How often the stand-in is asked for a cancel; the cancel's own time is the stand-in's note of it.
const LOOK: Duration = Duration::from_millis(1);

/// The stand-in, in this process, so that both ends read one clock.
pub(crate) async fn stand_in() -> anyhow::Result<Arc<Running>> {
    let gap = Duration::from_millis(50);
    let models = vec![
        Model::named(FAST).paced(FAST_TOKENS, Duration::ZERO, Duration::ZERO),
        Model::named(TOGETHER).at_once(FAST_TOKENS),
        Model::named(STEADY).paced(STEADY_TOKENS, gap, gap),
        Model::named(LONG).paced(200, gap, gap),
        Model::named(ENDLESS).paced(5_000, Duration::ZERO, Duration::from_millis(1)),
    ];
    let config = Config { models, parallel: PARALLEL, check_host: false, ..Config::default() };
    Ok(Arc::new(Standin::spawn(config).await?))
}

/// A prompt that no other request of this run has.
pub(crate) fn prompt() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("load {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// One caller, one stream after the other.
#[derive(Default)]
pub(crate) struct Single {
    pub(crate) first: Samples,
    pub(crate) whole: Samples,
    pub(crate) gap: Samples,
}

pub(crate) async fn single(target: &Target, count: usize) -> anyhow::Result<Single> {
    let mut connection = Connection::open(target.addr).await?;
    let mut found = Single::default();
    for _ in 0..count {
        let prompt = prompt();
        let request = target.chat(FAST, &prompt, true);
        let begun = Instant::now();
        let answer = connection.whole(&request).await?;
        found.whole.push(ms(begun.elapsed()));
        check(&prompt, FAST_TOKENS, &answer)?;
        record(begun, &answer, &mut found.first, &mut found.gap)?;
    }
    Ok(found)
}

fn record(begun: Instant, answer: &Whole, first: &mut Samples, gap: &mut Samples) -> anyhow::Result<()> {
    first.push(ms(*answer.lines.first().context("an answer without a line")? - begun));
    for pair in answer.lines.windows(2) {
        if let [earlier, later] = pair {
            gap.push(ms(*later - *earlier));
        }
    }
    Ok(())
}

/// Answers a second of `callers` callers with one connection each, not streamed.
pub(crate) async fn throughput(
    target: &Target,
    model: &'static str,
    callers: usize,
    each: usize,
) -> anyhow::Result<f64> {
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..callers {
        let target = target.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(target.addr).await?;
            for _ in 0..each {
                let prompt = prompt();
                let answer = connection.whole(&target.chat(model, &prompt, false)).await?;
                check(&prompt, FAST_TOKENS, &answer)?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 requests")]
    Ok((callers * each) as f64 / begun.elapsed().as_secs_f64())
}

/// Many streams at once, each on a connection of its own, all begun together.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) first: Samples,
    pub(crate) gap: Samples,
}

pub(crate) async fn streams(target: &Target, count: usize) -> anyhow::Result<Streams> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let target = target.clone();
        tasks.spawn(async move {
            let prompt = prompt();
            let begun = Instant::now();
            let mut connection = Connection::open(target.addr).await?;
            let answer = connection.whole(&target.chat(STEADY, &prompt, true)).await?;
            check(&prompt, STEADY_TOKENS, &answer)?;
            let mut found = Streams::default();
            record(begun, &answer, &mut found.first, &mut found.gap)?;
            anyhow::Ok(found)
        });
    }
    let mut all = Streams::default();
    while let Some(done) = tasks.join_next().await {
        let found = done??;
        all.first.extend(found.first);
        all.gap.extend(found.gap);
    }
    Ok(all)
}

/// Leaves answers at their third token; the time until the stand-in saw it.
pub(crate) async fn cancel(standin: &Running, target: &Target, count: usize) -> anyhow::Result<Samples> {
    let mut found = Samples::default();
    for _ in 0..count {
        let prompt = prompt();
        let mut connection = Connection::open(target.addr).await?;
        connection.send(&target.chat(ENDLESS, &prompt, true)).await?;
        let status = connection.head().await?.status;
        ensure!(status == 200, "status {status}");
        let mut body = Vec::new();
        while body.iter().filter(|byte| **byte == b'\n').count() < CANCEL_AT {
            connection.piece(&mut body).await?.context("the endless answer ended")?;
        }
        let left = Instant::now();
        drop(connection);
        let seen = loop {
            if let Some(cancel) = standin.take_cancel(text::seed(&prompt)) {
                break cancel.at;
            }
            if left.elapsed() > CANCEL_LIMIT {
                bail!("a cancel was not seen within {} s", CANCEL_LIMIT.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        };
        found.push(ms(seen.saturating_duration_since(left)));
    }
    Ok(found)
}
