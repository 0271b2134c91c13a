//! Random runs: every seed draws a network, requests and a course of misfortunes, then lets the
//! world heal and come to rest. The reference model in `world.rs` judges every step.
//!
//! `CAUSEWAY_SIM_SEEDS` says how many seeds run (500 by default; half as many once more with short
//! limits); seeds that ever failed are in `seeds.txt` and always run.

use std::env::VarError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use causeway_wire::{Code, Limits};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::net::Faults;
use crate::world::{Plan, Verdict, World, ms};

/// How long misfortunes go on, milliseconds.
const TROUBLE_MS: u64 = 30_000;

/// Longer than everything that may still wait: two resume windows and the slowest reader.
const REST: Duration = Duration::from_secs(260);

#[derive(Debug)]
struct Course {
    faults: Faults,
    connections: u8,
    plan: Vec<(u64, Plan)>,
    lossy: bool,
}

fn draw(seed: u64) -> Course {
    let mut rng = StdRng::seed_from_u64(seed);
    let lossy = rng.random_bool(0.5);
    let share = |rng: &mut StdRng, most: f64| {
        if lossy && rng.random_bool(0.7) { rng.random_range(0.0..most) } else { 0.0 }
    };
    let faults = Faults {
        drop: share(&mut rng, 0.25),
        duplicate: share(&mut rng, 0.25),
        reorder: share(&mut rng, 0.4),
        delay: ms(rng.random_range(0..60)),
        jitter: ms(if rng.random_bool(0.5) { rng.random_range(0..100) } else { 0 }),
        bandwidth: if rng.random_bool(0.3) { rng.random_range(200_000..5_000_000) } else { 0 },
    };
    let mut plan: Vec<(u64, Plan)> = Vec::new();
    for call in 0..rng.random_range(1..8) {
        plan.push((rng.random_range(300..15_000), Plan::Open(call)));
    }
    for _ in 0..rng.random_range(0..8) {
        let at = rng.random_range(0..TROUBLE_MS);
        match rng.random_range(0..20) {
            0..=4 => plan.push((at, Plan::ResetAll)),
            5..=8 => plan.push((at, Plan::ResetOne)),
            9..=12 => plan.push((at, Plan::SilenceOne)),
            13 | 14 => {
                let long = rng.random_bool(0.2);
                let wait = if long { rng.random_range(40_000..80_000) } else { rng.random_range(50..20_000) };
                plan.extend([(at, Plan::Cut(true)), (at + wait, Plan::Cut(false))]);
            }
            15 => plan.push((at, Plan::RestartEdge)),
            16 => plan.push((at, Plan::RestartRelay)),
            17 => plan.push((at, Plan::Rotate)),
            18 => plan.push((at, Plan::Reconnect)),
            // Requests cross the goodbye: the edge must refuse them.
            _ if rng.random_bool(0.3) => {
                let call = 60 + plan.len() as u64;
                plan.extend([(at, Plan::DrainEdge), (at, Plan::Open(call))]);
            }
            _ => plan.push((at, Plan::Rotate)),
        }
    }
    let connections = rng.random_range(1..3);
    if lossy {
        plan.extend((50..54).map(|call| (rng.random_range(300..15_000), Plan::OpenBriefly(call))));
    }
    plan.sort_by_key(|(at, _)| *at);
    Course { faults, connections, plan, lossy }
}

/// Whether every request must come through: no process died and no outage neared the resume window.
fn must_succeed(course: &Course) -> bool {
    let deadly = |plan: &Plan| matches!(plan, Plan::RestartEdge | Plan::RestartRelay | Plan::DrainEdge);
    let mut cuts = course.plan.iter().filter(|(_, plan)| matches!(plan, Plan::Cut(_)));
    let span = cuts.next().map_or(0, |(first, _)| cuts.next_back().map_or(0, |(last, _)| last - first));
    !course.plan.iter().any(|(_, plan)| deadly(plan)) && span < 30_000
}

/// So short that many an answer outlives them.
const SHORT: Limits =
    Limits { stream_max: Duration::from_secs(10), resume_window: Duration::from_secs(6), ..Limits::STANDALONE };

fn run(seed: u64, limits: Limits) {
    let course = draw(seed);
    let mut world = World::new(seed, course.faults);
    world.limits = limits;
    world.connections = course.connections;
    world.start_edge();
    world.drain();
    world.plan = course.plan.iter().map(|(at, plan)| (world.start + ms(*at), *plan)).collect();
    world.run_for(ms(TROUBLE_MS));
    world.net.faults = Faults { delay: ms(10), ..Faults::default() };
    world.run_for(REST);
    world.judge_rest();
    world.judge_ends();
    if !course.plan.iter().any(|(_, plan)| *plan == Plan::DrainEdge) {
        world.judge_connections();
    }
    let short = limits == SHORT;
    let must = must_succeed(&course) && !short;
    for (number, call) in &world.calls {
        if call.relay_run != world.relay_run || call.let_go {
            continue;
        }
        let verdict = call.verdict.clone().unwrap();
        let allowed = match &verdict {
            Verdict::Whole => call.script.fails_at.is_none(),
            Verdict::Failed(Code::UpstreamIncomplete) => call.script.fails_at.is_some(),
            Verdict::Failed(Code::Cancelled) => call.cancelled,
            Verdict::Failed(Code::DeadlineExceeded) => short,
            // Its open may be lost three times in a row.
            Verdict::Failed(Code::UnknownStream) => course.lossy || short,
            Verdict::Failed(Code::LinkLost | Code::Draining | Code::WrongInstance) => !must,
            Verdict::Failed(_) => false,
        };
        assert!(allowed, "call {number}: {verdict:?} in {course:?}");
    }
}

fn seeds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the only switch of the tests: how long they run")]
    let wanted = std::env::var("CAUSEWAY_SIM_SEEDS");
    count_of(wanted).unwrap_or_else(|wanted| panic!("CAUSEWAY_SIM_SEEDS is {wanted}, which is no number"))
}

/// A switch that is misspelt must not pass for the short run.
fn count_of(wanted: Result<String, VarError>) -> Result<u64, String> {
    match wanted {
        Ok(count) => count.parse().map_err(|_| format!("`{count}`")),
        Err(VarError::NotPresent) => Ok(500),
        Err(VarError::NotUnicode(bytes)) => Err(format!("{bytes:?}")),
    }
}

/// Runs the seeds on all processors; a failure names its seed.
fn run_all(seeds: &[u64], limits: Limits) {
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap()) {
                    if std::panic::catch_unwind(|| run(seed, limits)).is_err() {
                        eprintln!("simulation failed with seed {seed}; add it to crates/wire/tests/link/seeds.txt");
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "simulation failed with seed {failed}");
}

#[test]
fn two_ends_keep_their_promises_through_every_random_misfortune() {
    run_all(&(0..seeds()).collect::<Vec<_>>(), Limits::STANDALONE);
}

#[test]
fn streams_end_within_limits_so_short_that_many_reach_them() {
    run_all(&(0..seeds() / 2).collect::<Vec<_>>(), SHORT);
}

#[test]
fn a_number_of_seeds_that_is_no_number_is_no_default() {
    assert_eq!(count_of(Err(VarError::NotPresent)), Ok(500));
    assert_eq!(count_of(Ok("7".to_owned())), Ok(7));
    for wrong in ["", "10k", "10_000", "-1", " 5"] {
        assert_eq!(count_of(Ok(wrong.to_owned())), Err(format!("`{wrong}`")));
    }
}

#[test]
fn seeds_that_once_failed_still_pass() {
    let lines = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let seeds: Vec<u64> = lines.map(|line| line.trim().parse().unwrap()).collect();
    run_all(&seeds, Limits::STANDALONE);
    run_all(&seeds, SHORT);
}
