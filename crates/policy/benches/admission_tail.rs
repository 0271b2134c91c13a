//! How long the slowest of a million decisions take: criterion knows means and medians, a caller
//! meets the tail. Prints a line; asserts nothing about time.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod crowd;

use std::io::Write as _;
use std::time::{Duration, Instant};

use causeway_policy::Verdict;

use crate::crowd::{ask, full};

const DECISIONS: usize = 1_000_000;

#[expect(clippy::disallowed_methods, reason = "the clock is what is measured with")]
fn main() {
    // `cargo test --benches` wants to know that it runs, not how fast.
    let decisions = if std::env::args().any(|arg| arg == "--bench") { DECISIONS } else { 10 };
    let (mut ledger, now, model) = full();
    let mut times: Vec<Duration> = (0..decisions)
        .map(|number| {
            let newcomer = ask(model, number as u64);
            let begun = Instant::now();
            let (ticket, verdict) = ledger.submit(now, &newcomer);
            let time = begun.elapsed();
            let Verdict::Queue(_) = verdict else { panic!("{verdict:?}") };
            ledger.cancelled(now, ticket);
            while ledger.poll_event().is_some() {}
            time
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 1_000].as_nanos();
    let line =
        format!("{decisions} decisions behind 64: p50 {} ns, p99 {} ns, p99.9 {} ns\n", at(500), at(990), at(999));
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}
