//! Two keys on one slot, one with ten times the other's callers: what the small one gets.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::{MODEL, fixed, stack};
use crate::bounds::{Bound, Row};
use crate::caller::closed_loop;

/// Callers of either key, each in a closed loop.
const SMALL: usize = 1;
const BIG: usize = 10;

const ANSWER: Duration = Duration::from_millis(500);

/// Tokens are counted by the stand-in, over answers that ended while the small key asked.
pub(super) async fn measure(length: Duration) -> anyhow::Result<Vec<Row>> {
    let (standin, causeway) = stack(fixed(ANSWER), 1, 1).await?;
    let (big, small) = (causeway.target.clone(), causeway.another_key()?);
    // A new key is known within a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let until = Instant::now() + length;
    let ask_first = tokio::time::sleep(ANSWER * 4);
    let (theirs, own) = tokio::join!(closed_loop(&big, MODEL, BIG, until), async {
        // The big key has its queue full before the small one comes.
        ask_first.await;
        closed_loop(&small, MODEL, SMALL, until).await
    });
    let (theirs, own) = (theirs?, own?);
    let seeds: HashSet<u64> = own.iter().map(|asked| asked.seed).collect();
    let from = own.iter().map(|asked| asked.sent).min();
    let to = own.iter().map(|asked| asked.ended).max();
    let runs = standin.runs();
    let within = runs.iter().filter(|run| Some(run.ended) > from && Some(run.ended) <= to);
    let (mut small, mut all) = (0.0, 0.0);
    for run in within {
        let tokens = f64::from(run.tokens);
        all += tokens;
        small += if seeds.contains(&run.seed) { tokens } else { 0.0 };
    }
    #[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
    let counts = (own.len() as f64, theirs.len() as f64);
    Ok(vec![
        Row::new(
            "tokens of the key with 1 caller beside one with 10, %",
            small / all * 100.0,
            1,
            Bound::AtLeast(40.0),
            Bound::AtLeast(48.0),
        ),
        Row::told("answers of the small key", counts.0, 0),
        Row::told("answers of the big key", counts.1, 0),
    ])
}
