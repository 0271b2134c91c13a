//! One caller that asks, waits and is answered or refused, with every moment of it.
//!
//! Invariants: an answer is compared with what the stand-in made of its prompt; a sign of life is no
//! first token. Absent: who asks how often; each scenario says so.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use causeway_standin::{Ran, text};
use tokio::task::JoinSet;

use crate::answer::lines;
use crate::client::{Connection, Target};
use crate::scenario::prompt;

/// One request as its caller saw it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) seed: u64,
    /// Causeway's id of it.
    pub(crate) id: Option<String>,
    pub(crate) sent: Instant,
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// Bedrock answered.
    pub(crate) elsewhere: bool,
    /// When its head was here.
    pub(crate) head: Instant,
    /// None where it was refused.
    pub(crate) first: Option<Instant>,
    pub(crate) ended: Instant,
}

/// A caller with a connection of its own.
pub(crate) struct Caller {
    connection: Connection,
    target: Target,
    model: String,
    /// Further header lines.
    headers: String,
    /// The answer is not our stand-in's: its text is nobody's business.
    trusted: bool,
}

impl Caller {
    pub(crate) async fn new(target: &Target, model: &str, headers: &str) -> anyhow::Result<Self> {
        let connection = Connection::open(target.addr).await?;
        Ok(Self {
            connection,
            target: target.clone(),
            model: model.to_owned(),
            headers: headers.to_owned(),
            trusted: false,
        })
    }

    /// Its answers come from another Ollama than our stand-in.
    pub(crate) fn trust(&mut self) {
        self.trusted = true;
    }

    /// Asks once, with a prompt of its own; an answer that is none of the stand-in's is an error.
    pub(crate) async fn ask(&mut self) -> anyhow::Result<Asked> {
        let prompt = prompt();
        let request = self.target.chat_with(&self.headers, &self.model, &prompt, true);
        let (seed, sent) = (text::seed(&prompt), Instant::now());
        let answer = self.connection.whole(&request).await?;
        let mut asked = Asked {
            seed,
            id: answer.head.request_id.clone(),
            sent,
            status: answer.head.status,
            retry_after: answer.head.retry_after,
            elsewhere: answer.head.elsewhere,
            head: answer.began,
            first: None,
            ended: Instant::now(),
        };
        if asked.status != 200 {
            return Ok(asked);
        }
        let body = || String::from_utf8_lossy(&answer.body).into_owned();
        let lines = lines(&answer.body).with_context(body)?;
        let said: Vec<&str> = lines.iter().map(|line| line.said()).filter(|said| !said.is_empty()).collect();
        let tokens = u32::try_from(said.len()).unwrap_or(u32::MAX);
        let whole = tokens > 0 && lines.last().is_some_and(|line| line.done);
        ensure!(
            self.trusted || asked.elsewhere || whole && said.concat() == text::answer(seed, tokens),
            "a wrong answer to `{prompt}`:\n{}",
            body()
        );
        let first = lines.iter().position(|line| !line.said().is_empty());
        asked.first = first.and_then(|first| answer.lines.get(first)).copied();
        Ok(asked)
    }
}

/// So many callers, each asking again as soon as it is answered, until this moment.
pub(crate) async fn closed_loop(
    target: &Target,
    model: &str,
    callers: usize,
    until: Instant,
) -> anyhow::Result<Vec<Asked>> {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let mut caller = Caller::new(target, model, "").await?;
        tasks.spawn(async move {
            let mut all = Vec::new();
            while Instant::now() < until {
                let asked = caller.ask().await?;
                ensure!(asked.status == 200, "a caller without a deadline was refused with {}", asked.status);
                all.push(asked);
            }
            anyhow::Ok(all)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

/// Share of the time between these moments in which the stand-in had at least one request.
pub(crate) fn occupancy(runs: &[Ran], from: Instant, to: Instant) -> f64 {
    let mut spans: Vec<(Instant, Instant)> = runs.iter().map(|run| (run.came.max(from), run.ended.min(to))).collect();
    spans.sort();
    let (mut busy, mut reached) = (Duration::ZERO, from);
    for (came, ended) in spans {
        busy += ended.saturating_duration_since(came.max(reached));
        reached = reached.max(ended);
    }
    busy.as_secs_f64() / (to - from).as_secs_f64()
}

/// Requests that came until `to` while another one was there.
pub(crate) fn overlaps(runs: &[Ran], to: Instant) -> usize {
    let beside = |run: &Ran| {
        let earlier = |other: &Ran| (other.came, other.seed) < (run.came, run.seed) && other.ended > run.came;
        runs.iter().any(earlier)
    };
    runs.iter().filter(|run| run.came <= to && beside(run)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occupancy_counts_time_once_and_overlaps_count_who_came_second() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let run = |came, ended| Ran { seed: came, came: at(came), began: Some(at(came)), ended: at(ended), tokens: 1 };
        let runs = [run(1, 4), run(2, 3), run(3, 5), run(7, 12)];
        assert!((occupancy(&runs, zero, at(10)) - 0.7).abs() < 1e-9);
        assert_eq!((overlaps(&runs, at(10)), overlaps(&runs, at(2))), (2, 1));
    }
}
