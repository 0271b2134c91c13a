//! Whether the only slot is ever idle while callers wait: eight of them, answers of two seconds.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::{CALLERS, MODEL, fixed, stack};
use crate::bounds::{Bound, Row};
use crate::caller::{closed_loop, occupancy, overlaps};

/// Every answer takes this long.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// Occupancy is counted from the first request's arrival: the load before it is not the slot's.
pub(super) async fn measure(length: Duration) -> anyhow::Result<Vec<Row>> {
    let (standin, causeway) = stack(fixed(ANSWER), 1, 1).await?;
    let until = Instant::now() + length + ANSWER;
    let asked = closed_loop(&causeway.target, MODEL, CALLERS, until).await?;
    let runs = standin.runs();
    let begun = runs.iter().map(|run| run.came).min().context("nothing was served")?;
    let share = occupancy(&runs, begun, begun + length) * 100.0;
    let over = overlaps(&runs, Instant::now());
    #[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
    let counts = [asked.len() as f64, over as f64];
    Ok(vec![
        Row::new("slot in use, % of the time", share, 2, Bound::AtLeast(95.0), Bound::AtLeast(99.0)),
        Row::told("answers", counts[0], 0),
        Row::new("requests beyond the slot", counts[1], 0, Bound::AtMost(0.0), Bound::None),
    ])
}
