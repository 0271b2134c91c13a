//! What a token costs the encoders: one more piece of text in a stream that has begun, and the same
//! with a character that JSON escapes. Must stay under 3 µs.

use std::hint::black_box;

use causeway_dialect::encode::{Encode, Stamp};
use causeway_dialect::event::Event;
use causeway_dialect::{anthropic, ollama, openai};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

/// Pieces as models send them: a word, and one with a line end and a quote.
const PIECES: [(&str, &str); 2] = [("a word", " language"), ("a piece with escapes", "}\n\"")];

fn text(piece: &str) -> Event {
    Event::Text { text: piece.to_owned(), logprobs: None }
}

fn measure(criterion: &mut Criterion, dialect: &str, mut encoder: impl Encode) {
    let mut out = Vec::with_capacity(4_096);
    encoder.event(0, text("The"), &mut out);
    let mut group = criterion.benchmark_group(dialect);
    for (name, piece) in PIECES {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || text(piece),
                |event| {
                    out.clear();
                    encoder.event(black_box(0), event, &mut out);
                    black_box(out.len())
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let stamp = Stamp {
        model: "qwen3:8b".to_owned(),
        id: "01JD0000000000000000000000".to_owned(),
        created: 1_795_392_000,
        include_usage: true,
        input_estimate: 12,
    };
    measure(criterion, "ollama chat", ollama::Encoder::new(ollama::Route::Chat, &stamp));
    measure(criterion, "openai chat", openai::chat::Encoder::new(&stamp));
    measure(criterion, "openai completions", openai::completions::Encoder::new(&stamp));
    measure(criterion, "openai responses", openai::responses::Encoder::new(&stamp, openai::responses::Echo::default()));
    measure(criterion, "anthropic", anthropic::Encoder::new(stamp));
}

criterion_group!(benches, encode);
criterion_main!(benches);
