//! What the link alone costs: a request and a small answer over loopback mTLS, one after the other
//! and many at once. Baseline for the load tool's whole-way figures.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "the tests use all of it, this only a part")]
mod support;

use bytes::Bytes;
use causeway_transport::{Received, RelayLink};
use causeway_wire::Head;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{Relay, open_stream};

/// Requests in flight together in the second figure.
const TOGETHER: u64 = 32;

async fn one(link: &RelayLink) {
    let mut caller = open_stream(link, b"{\"model\":\"m\",\"prompt\":\"hi\"}");
    loop {
        match caller.recv().await {
            Received::Head(_) | Received::Data(_) => {}
            Received::End(_) => return,
            Received::Failed(_) | Received::Cancelled(_) => panic!("the stream did not end well"),
        }
    }
}

fn round_trip(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (relay, link) = runtime.block_on(async {
        let relay = Relay::start().await;
        let (edge, mut incoming) = relay.edge(relay.address.port());
        tokio::spawn(async move {
            while let Some(mut request) = incoming.recv().await {
                let head = Head { status: 200, headers: Vec::new() };
                let _ = request.stream.send_whole(head, Bytes::from_static(b"{\"done\":true}"), None);
            }
            drop(edge);
        });
        let link = relay.link().await;
        (relay, link)
    });
    let mut group = criterion.benchmark_group("link");
    group.bench_function("one request", |bencher| bencher.iter(|| runtime.block_on(one(&link))));
    group.throughput(Throughput::Elements(TOGETHER));
    group.bench_function("32 requests together", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let tasks: Vec<_> = (0..TOGETHER)
                    .map(|_| {
                        let link = link.clone();
                        tokio::spawn(async move { one(&link).await })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
        });
    });
    group.finish();
    drop(relay);
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
