//! What the admission costs where nothing is saturated: first tokens of one caller, direct, through
//! a quickstart from before it, and through this one, in rounds whose order rotates.

use std::path::Path;
use std::sync::Arc;

use causeway_standin::Running;

use crate::bounds::{Bound, Row};
use crate::causeway::{Causeway, PARALLEL, Program};
use crate::client::Target;
use crate::figures::median;
use crate::output::progress;
use crate::scenario::{single, stand_in};

/// The ways, in the order of the first round.
#[derive(Clone, Copy)]
enum Way {
    Direct,
    Before,
    Now,
}

const WAYS: [Way; 3] = [Way::Direct, Way::Before, Way::Now];

/// Of this quickstart with these further flags. `most`: what must be reached, and what is meant to be.
pub(crate) async fn measure(
    before: &Path,
    flags: &[String],
    (rounds, count): (usize, usize),
    most: (f64, f64),
) -> anyhow::Result<Vec<Row>> {
    let standin = stand_in().await?;
    let mut medians: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        progress(&format!("unsaturated: round {}/{rounds}", round + 1));
        for turn in 0..WAYS.len() {
            let place = (round + turn) % WAYS.len();
            let (Some(way), Some(own)) = (WAYS.get(place), medians.get_mut(place)) else { continue };
            own.push(one(&standin, *way, (before, flags), count).await?);
        }
    }
    let [direct, before, now] = medians;
    let added = |way: &[f64]| median(&way.iter().zip(&direct).map(|(own, direct)| own - direct).collect::<Vec<f64>>());
    let (added_before, added_now) = (added(&before), added(&now));
    Ok(vec![
        Row::told("first token direct, p50, ms", median(&direct), 3),
        Row::told("added before, p50, ms", added_before, 3),
        Row::told("added now, p50, ms", added_now, 3),
        Row::new("added now ÷ before", added_now / added_before, 3, Bound::AtMost(most.0), Bound::AtMost(most.1)),
    ])
}

/// The median first token of one round.
async fn one(
    standin: &Arc<Running>,
    way: Way,
    (before, flags): (&Path, &[String]),
    count: usize,
) -> anyhow::Result<f64> {
    let causeway = match way {
        Way::Direct => None,
        Way::Before => Some(Causeway::start_as(Program::Other(before), PARALLEL, standin.addr(), &[]).await?),
        Way::Now => Some(Causeway::start_as(Program::Own, PARALLEL, standin.addr(), flags).await?),
    };
    let direct = Target { addr: standin.addr(), key: None };
    let target = causeway.as_ref().map_or(&direct, |causeway| &causeway.target);
    single(target, count / 10).await?;
    Ok(single(target, count).await?.first.percentile(0.5))
}
