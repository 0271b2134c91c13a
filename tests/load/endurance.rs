//! What only Causeway is asked: memory, resets of the link, a drain with streams open.
//!
//! Invariant: answers are judged token by token, so that lost, repeated and altered are told apart.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use causeway_standin::{Running, text};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::answer::Line;
use crate::causeway::Causeway;
use crate::client::{Connection, Target, Whole};
use crate::figures::{Samples, ms};
use crate::machine::rss_mb;
use crate::output::progress;
use crate::pair::free_port;
use crate::proxy::Proxy;
use crate::scenario::{FAST, LONG, prompt, streams};

/// What a fresh stack does once, like reading the catalog, is over by then.
const SETTLED: Duration = Duration::from_secs(2);

/// Within the 5 s that a wave of streams takes.
const AMID_STREAMS: Duration = Duration::from_secs(4);

/// A long answer takes this long.
const ANSWER: Duration = Duration::from_secs(10);

/// Within a long answer, once all have begun.
const AMID_ANSWERS: Duration = Duration::from_secs(2);

/// A refused caller's pause.
const AFTER_REFUSAL: Duration = Duration::from_millis(500);

/// Resident memory in MB.
#[derive(Serialize, Debug)]
pub(crate) struct Memory {
    pub(crate) daemon_idle: f64,
    pub(crate) relay_idle: f64,
    pub(crate) daemon_streams: f64,
    pub(crate) relay_streams: f64,
    pub(crate) daemon_early: f64,
    pub(crate) relay_early: f64,
    pub(crate) daemon_late: f64,
    pub(crate) relay_late: f64,
    pub(crate) early: usize,
    pub(crate) late: usize,
}

/// Idle, then requests in a row, then, in a fresh stack, 200 streams.
pub(crate) async fn memory(standin: &Arc<Running>, count: usize, early: usize, late: usize) -> anyhow::Result<Memory> {
    progress("memory: idle, streams");
    let causeway = Causeway::start(standin.addr(), &[]).await?;
    tokio::time::sleep(SETTLED).await;
    let rss = |causeway: &Causeway| anyhow::Ok((rss_mb(causeway.daemon_pid)?, rss_mb(causeway.relay_pid)?));
    let (daemon_idle, relay_idle) = rss(&causeway)?;
    let running = {
        let target = causeway.target.clone();
        tokio::spawn(async move { streams(&target, count).await })
    };
    tokio::time::sleep(AMID_STREAMS).await;
    let (daemon_streams, relay_streams) = rss(&causeway)?;
    running.await??;
    drop(causeway);
    progress("memory: requests in a row");
    let causeway = Causeway::start(standin.addr(), &[]).await?;
    in_a_row(&causeway.target, early).await?;
    let (daemon_early, relay_early) = rss(&causeway)?;
    in_a_row(&causeway.target, late - early).await?;
    let (daemon_late, relay_late) = rss(&causeway)?;
    Ok(Memory {
        daemon_idle,
        relay_idle,
        daemon_streams,
        relay_streams,
        daemon_early,
        relay_early,
        daemon_late,
        relay_late,
        early,
        late,
    })
}

async fn in_a_row(target: &Target, count: usize) -> anyhow::Result<()> {
    let mut connection = Connection::open(target.addr).await?;
    for _ in 0..count {
        let prompt = prompt();
        let answer = connection.whole(&target.chat(FAST, &prompt, true)).await?;
        anyhow::ensure!(judge(&prompt, 16, &answer) == Verdict::Exact, "a wrong answer");
    }
    Ok(())
}

/// How an answer compares with what it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Exact,
    Lost,
    Repeated,
    Altered,
    Refused,
}

fn judge(prompt: &str, tokens: u32, answer: &Whole) -> Verdict {
    if answer.head.status != 200 {
        return Verdict::Refused;
    }
    let Ok(lines) = crate::answer::lines(&answer.body) else { return Verdict::Altered };
    let done = lines.last().is_some_and(|line| line.done);
    let said: Vec<&str> = lines.iter().map(Line::said).filter(|said| !said.is_empty()).collect();
    let seed = text::seed(prompt);
    let expected: Vec<String> = (0..tokens).map(|index| text::token(seed, index)).collect();
    if said == expected {
        return if done { Verdict::Exact } else { Verdict::Lost };
    }
    let distinct: std::collections::HashSet<&&str> = said.iter().collect();
    if distinct.len() < said.len() {
        Verdict::Repeated
    } else if said.iter().all(|token| expected.iter().any(|own| own == token)) {
        Verdict::Lost
    } else {
        Verdict::Altered
    }
}

/// Counts of answers by how they ended.
#[derive(Serialize, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) answers: usize,
    pub(crate) lost: usize,
    pub(crate) repeated: usize,
    pub(crate) altered: usize,
    pub(crate) refused: usize,
    pub(crate) connections_reset: usize,
    pub(crate) gap_p99_ms: f64,
    pub(crate) gap_max_ms: f64,
}

impl Tally {
    fn count(&mut self, verdict: Verdict) {
        self.answers += 1;
        match verdict {
            Verdict::Exact => {}
            Verdict::Lost => self.lost += 1,
            Verdict::Repeated => self.repeated += 1,
            Verdict::Altered => self.altered += 1,
            Verdict::Refused => self.refused += 1,
        }
    }
}

/// `callers` callers with one 10 s answer after the other, every connection of the link reset every
/// `every` for `length`.
pub(crate) async fn resets(
    standin: &Arc<Running>,
    callers: usize,
    every: Duration,
    length: Duration,
) -> anyhow::Result<Tally> {
    progress("resets of the link");
    let edge_port = free_port()?;
    let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, edge_port))).await?;
    let flags = ["--edge-port".to_owned(), edge_port.to_string(), "--edge-through".to_owned(), proxy.addr.to_string()];
    let causeway = Causeway::start(standin.addr(), &flags).await?;
    let until = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let target = causeway.target.clone();
        tasks.spawn(async move {
            // Spread over one answer's length, so that a reset meets answers of every age.
            tokio::time::sleep(ANSWER * u32::try_from(caller).unwrap_or(0) / u32::try_from(callers).unwrap_or(1)).await;
            let mut found = Vec::new();
            while Instant::now() < until {
                let outcome = one_long(&target).await;
                let refused = outcome.0 == Verdict::Refused;
                found.push(outcome);
                if refused {
                    // `edge_offline`: no connection is up at this moment. As a client would, try again later.
                    tokio::time::sleep(AFTER_REFUSAL).await;
                }
            }
            found
        });
    }
    while Instant::now() < until {
        tokio::time::sleep(every).await;
        proxy.reset();
    }
    let (mut tally, mut gaps) = (Tally::default(), Samples::default());
    while let Some(found) = tasks.join_next().await {
        for (verdict, own) in found? {
            tally.count(verdict);
            gaps.extend(own);
        }
    }
    tally.connections_reset = proxy.cut();
    tally.gap_p99_ms = gaps.percentile(0.99);
    tally.gap_max_ms = gaps.max();
    if tally.lost + tally.repeated + tally.altered > 0 {
        progress(&causeway.last_lines());
    }
    Ok(tally)
}

async fn one_long(target: &Target) -> (Verdict, Samples) {
    let prompt = prompt();
    let mut gaps = Samples::default();
    let answer = async {
        let mut connection = Connection::open(target.addr).await?;
        connection.whole(&target.chat(LONG, &prompt, true)).await
    };
    let Ok(answer) = answer.await else { return (Verdict::Lost, gaps) };
    for pair in answer.lines.windows(2) {
        if let [earlier, later] = pair {
            gaps.push(ms(*later - *earlier));
        }
    }
    let verdict = judge(&prompt, 200, &answer);
    if !matches!(verdict, Verdict::Exact | Verdict::Refused) {
        let tail = answer.body.get(answer.body.len().saturating_sub(300)..).unwrap_or_default();
        progress(&format!("{verdict:?} ({}): … {}", answer.head.status, String::from_utf8_lossy(tail)));
    }
    (verdict, gaps)
}

/// SIGTERM to one program with `count` streams open: how many of them were cut.
#[derive(Serialize, Debug)]
pub(crate) struct Drain {
    pub(crate) streams: usize,
    pub(crate) cut_by_daemon: usize,
    pub(crate) cut_by_relay: usize,
}

/// Drains daemon and relay, each in a stack of its own.
pub(crate) async fn drain(standin: &Arc<Running>, count: usize) -> anyhow::Result<Drain> {
    let mut cut = [0; 2];
    for (at, name) in ["daemon", "relay"].into_iter().enumerate() {
        progress(&format!("drain of the {name}"));
        let causeway = Causeway::start(standin.addr(), &[]).await?;
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let target = causeway.target.clone();
            tasks.spawn(async move { one_long(&target).await.0 });
        }
        tokio::time::sleep(AMID_ANSWERS).await;
        let pid = if name == "daemon" { causeway.daemon_pid } else { causeway.relay_pid };
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        while let Some(verdict) = tasks.join_next().await {
            if let Some(cut) = cut.get_mut(at).filter(|_| !matches!(verdict, Ok(Verdict::Exact))) {
                *cut += 1;
            }
        }
    }
    let [cut_by_daemon, cut_by_relay] = cut;
    Ok(Drain { streams: count, cut_by_daemon, cut_by_relay })
}
