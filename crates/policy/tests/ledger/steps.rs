//! Everything that may happen to a ledger, in any order.

use std::time::Duration;

use causeway_policy::{Loaded, Measured};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::judge::loads;
use crate::world::ms;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) model: Index,
    pub(crate) key: u64,
    pub(crate) batch: bool,
    pub(crate) prompt_bytes: u64,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) prefix: u64,
    pub(crate) deadline: Option<(u64, bool)>,
    pub(crate) queue_timeout: u64,
    pub(crate) overflow: bool,
    pub(crate) runs_twice: bool,
}

/// A ticket: one that is not done, or any that ever was.
#[derive(Clone, Debug)]
pub(crate) struct Which {
    pub(crate) index: Index,
    pub(crate) live: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Report {
    First,
    Progress(u32),
    Finished(Measured),
    Failed,
    Released,
    Cancelled,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Submit(Request),
    Wait(u64),
    Leap(u64),
    Back(u64),
    Report(Which, Report),
    Resident(u8),
    Loaded(Loaded),
    StrayLoaded(Index, Loaded),
    Probed,
    Unloaded,
    StrayUnloaded(Index),
    Overflowed(Index, Duration),
    Parallel(Index, u32),
    Down,
}

fn requests() -> impl Strategy<Value = Request> {
    let size = (
        prop_oneof![0_u64..20_000, Just(u64::MAX)],
        prop_oneof![Just(None), (0_u32..2_000).prop_map(Some)],
        0_u64..4,
        any::<bool>(),
    );
    let after = prop_oneof![0_u64..5_000, 0_u64..60_000, Just(0), Just(1_000_000_000_000), Just(u64::MAX)];
    let wishes = (prop::option::of((after, any::<bool>())), prop_oneof![1_u64..60_000, Just(u64::MAX)], any::<bool>());
    (any::<Index>(), 0_u64..5, prop::bool::weighted(0.2), size, wishes).prop_map(
        |(model, key, batch, (prompt_bytes, max_tokens, prefix, runs_twice), (deadline, queue_timeout, overflow))| {
            let runs_twice = runs_twice && prefix == 0;
            Request {
                model,
                key,
                batch,
                prompt_bytes,
                max_tokens,
                prefix,
                deadline,
                queue_timeout,
                overflow,
                runs_twice,
            }
        },
    )
}

fn times() -> impl Strategy<Value = Duration> {
    prop_oneof![(0_u64..5_000).prop_map(ms), Just(Duration::ZERO), Just(Duration::MAX)]
}

fn measured() -> impl Strategy<Value = Measured> {
    let count = || prop::option::of(prop_oneof![0_u64..5_000, Just(u64::MAX)]);
    let time = || prop::option::of(times());
    (count(), count(), time(), count(), time(), time(), time()).prop_map(
        |(
            prompt_eval_count,
            cached,
            prompt_eval_duration,
            eval_count,
            eval_duration,
            load_duration,
            total_duration,
        )| {
            Measured {
                prompt_eval_count,
                cached,
                prompt_eval_duration,
                eval_count,
                eval_duration,
                load_duration,
                total_duration,
            }
        },
    )
}

fn reports() -> impl Strategy<Value = Step> {
    let report = prop_oneof![
        5 => Just(Report::First),
        3 => (0_u32..100_000).prop_map(Report::Progress),
        6 => measured().prop_map(Report::Finished),
        2 => Just(Report::Cancelled),
        1 => Just(Report::Failed),
        1 => Just(Report::Released),
    ];
    let which = (any::<Index>(), prop::bool::weighted(0.8)).prop_map(|(index, live)| Which { index, live });
    (which, report).prop_map(|(which, report)| Step::Report(which, report))
}

pub(crate) fn steps() -> impl Strategy<Value = Step> {
    let load = || select(loads().to_vec());
    prop_oneof![
        9 => requests().prop_map(Step::Submit),
        5 => prop_oneof![0_u64..3_000, 0_u64..200_000].prop_map(Step::Wait),
        1 => prop_oneof![0_u64..10_000, 0_u64..1_000_000, Just(1_000_000_000_000)].prop_map(Step::Leap),
        1 => (0_u64..100_000).prop_map(Step::Back),
        18 => reports(),
        2 => any::<u8>().prop_map(Step::Resident),
        3 => load().prop_map(Step::Loaded),
        1 => (any::<Index>(), load()).prop_map(|(which, how)| Step::StrayLoaded(which, how)),
        1 => Just(Step::Probed),
        1 => Just(Step::Unloaded),
        1 => any::<Index>().prop_map(Step::StrayUnloaded),
        1 => (any::<Index>(), times()).prop_map(|(which, time)| Step::Overflowed(which, time)),
        1 => (any::<Index>(), 0_u32..6).prop_map(|(which, slots)| Step::Parallel(which, slots)),
        1 => Just(Step::Down),
    ]
}
