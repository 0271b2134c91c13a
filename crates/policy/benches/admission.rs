//! What one decision costs: a request is submitted to a model whose slots are taken and which 64
//! others wait for, is placed and predicted, and leaves again.
//!
//! The queue has eight keys, both classes, hard, soft and no deadlines, and nobody is moved: the
//! longest way through the ledger. The two halves are timed apart.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod crowd;

use causeway_policy::Verdict;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use crate::crowd::{ask, full};

fn admission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admission");
    let (mut ledger, now, model) = full();
    let newcomer = ask(model, 30);
    group.bench_function("submit behind 64 and leave", |bencher| {
        bencher.iter(|| {
            let (ticket, verdict) = ledger.submit(now, &newcomer);
            let Verdict::Queue(_) = verdict else { panic!("{verdict:?}") };
            ledger.cancelled(now, ticket);
            verdict
        });
    });
    let (ledger, now, model) = full();
    let newcomer = ask(model, 30);
    group.bench_function("submit behind 64", |bencher| {
        bencher.iter_batched_ref(|| ledger.clone(), |ledger| ledger.submit(now, &newcomer), BatchSize::SmallInput);
    });
    let (mut ledger, now, _) = full();
    group.bench_function("look again at 64", |bencher| {
        bencher.iter(|| {
            ledger.handle_timeout(now);
            ledger.poll_timeout()
        });
    });
    group.finish();
}

criterion_group!(benches, admission);
criterion_main!(benches);
