//! How true the foretold first token is for who had to wait, with answers of one length and of many.
//!
//! The promise is read from the status port's record of each request, the truth by its caller's own
//! clock. The p90 forecast is judged once the record tells it (`promised_p90_ms`).

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use causeway_standin::Model;
use serde::Deserialize;

use super::{CALLERS, MODEL, fixed, stack};
use crate::bounds::{Bound, Row};
use crate::caller::{Asked, closed_loop};
use crate::client::Target;
use crate::figures::{Samples, ms};

/// Every answer, or the median of them, takes this long.
const ANSWER: Duration = Duration::from_millis(500);

/// Answers before the first that counts.
const LEARNT: u64 = 20;

/// Waits that count, milliseconds.
const WAITED: f64 = 100.0;

/// The spread of real answers' lengths: the standard deviation of their logarithm, by which one of six
/// is more than twice as long as the median.
const VARIETY: f64 = 0.7;

/// The port keeps 200 records; eight callers with such answers make two a second.
const COLLECT: Duration = Duration::from_secs(10);

/// What is read of a record.
#[derive(Clone, Deserialize)]
struct Record {
    seq: u64,
    id: String,
    queued_ms: f64,
    promised_ms: Option<f64>,
    promised_p90_ms: Option<f64>,
}

pub(super) async fn measure(answers: u32) -> anyhow::Result<Vec<Row>> {
    let mut rows = judged("fixed lengths", fixed(ANSWER), answers, Bound::AtMost(20.0), Bound::AtMost(10.0)).await?;
    rows.extend(judged("real lengths", fixed(ANSWER).varied(VARIETY), answers, Bound::None, Bound::None).await?);
    Ok(rows)
}

async fn judged(name: &str, model: Model, answers: u32, must: Bound, aim: Bound) -> anyhow::Result<Vec<Row>> {
    let (_standin, causeway) = stack(model, 1, 1).await?;
    let until = Instant::now() + ANSWER * answers;
    let (target, status) = (causeway.target.clone(), causeway.status.clone());
    let mut callers = Box::pin(closed_loop(&target, MODEL, CALLERS, until));
    let mut records = BTreeMap::new();
    let asked = loop {
        tokio::select! {
            asked = &mut callers => break asked?,
            () = tokio::time::sleep(COLLECT) => collect(&status, &mut records).await?,
        }
    };
    collect(&status, &mut records).await?;
    Ok(rows(name, &asked, &records, must, aim))
}

async fn collect(status: &Target, records: &mut BTreeMap<u64, Record>) -> anyhow::Result<()> {
    let latest: Vec<Record> = serde_json::from_value(status.json("/api/requests").await?)?;
    records.extend(latest.into_iter().map(|record| (record.seq, record)));
    Ok(())
}

fn rows(name: &str, asked: &[Asked], records: &BTreeMap<u64, Record>, must: Bound, aim: Bound) -> Vec<Row> {
    let truth: HashMap<&str, f64> =
        asked.iter().filter_map(|asked| Some((asked.id.as_deref()?, ms(asked.first? - asked.sent)))).collect();
    let (mut error, mut signed, mut covered) = (Samples::default(), Samples::default(), Samples::default());
    let mut count = 0.0;
    let ours = records.values().filter(|record| truth.contains_key(record.id.as_str()));
    for (before, record) in ours.enumerate() {
        let (Some(real), Some(promised)) = (truth.get(record.id.as_str()), record.promised_ms) else { continue };
        if (before as u64) < LEARNT || record.queued_ms < WAITED {
            continue;
        }
        count += 1.0;
        error.push((promised - real).abs() / real * 100.0);
        signed.push((promised - real) / real * 100.0);
        if let Some(p90) = record.promised_p90_ms {
            covered.push(if *real <= p90 { 100.0 } else { 0.0 });
        }
    }
    let p90 = |bound| if name.starts_with("real") { bound } else { Bound::None };
    vec![
        Row::told(format!("{name}: forecasts judged"), count, 0),
        Row::new(format!("{name}: median error, %"), error.percentile(0.5), 1, must, aim),
        Row::told(format!("{name}: p90 error, %"), error.percentile(0.9), 1),
        Row::told(format!("{name}: too long (+) or too short (−), median, %"), signed.percentile(0.5), 1),
        Row::new(
            format!("{name}: p90 forecast covers the truth, %"),
            covered.mean(),
            1,
            p90(Bound::Within(80.0, 97.0)),
            p90(Bound::Within(85.0, 95.0)),
        ),
    ]
}
