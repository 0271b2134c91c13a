//! What one model's past answers say of its next ones: lengths, speeds, load time, foreign wait.
//!
//! Invariants: a figure is learnt only from a measurement that fits the wall time by the daemon's
//! own clock; every figure is finite and not negative. Milliseconds and tokens are `f64` here and
//! nowhere outside of the ledger. Absent: who waits for what (see `plan.rs`).

use std::time::{Duration, Instant};

use super::types::Measured;
use crate::histogram::{Histogram, Spread};
use crate::wait::AnswerTime;

/// Answers before a prediction is trusted.
const ENOUGH: usize = 3;
/// What was learnt longer ago than this no longer keeps a request from a free slot.
const STALE: Duration = Duration::from_secs(5 * 60);
/// Share that the past keeps at each sample: the newest answers count, about five of them.
const KEEP: f64 = 0.8;
/// Concurrency levels with a speed of their own; more streams share the last.
const LEVELS: usize = 8;
/// Bytes of text to a token until the model has shown its own ratio (English and code: 3 to 5).
const BYTES_PER_TOKEN: f64 = 4.0;
/// No tokenizer makes more tokens than this of a byte, templates and images apart.
const MOST_TOKENS_PER_BYTE: f64 = 2.0;
/// Tokens that a template may add.
const TEMPLATE_TOKENS: f64 = 512.0;
/// A chunk of the stream carries at most so many tokens; a count beyond it is a lie.
const TOKENS_PER_CHUNK: u64 = 64;
/// Load time until one was seen: a mid-size model from an SSD.
const FIRST_LOAD_MS: f64 = 5_000.0;
/// Bedrock's first token until enough were seen.
const FIRST_OVERFLOW_MS: f64 = 800.0;
/// Share of Bedrock's first tokens that come within the time that is kept for them: of those who leave at the
/// last moment the others are late.
const OVERFLOW_SHARE: f64 = 0.99;
/// Overflowed first tokens before their own are used. Up to a hundred the largest of them counts: one slow
/// answer makes requests leave early for a while, where a smaller share has twice as many of them late in the
/// simulation.
const OVERFLOW_SAMPLES: usize = 20;
/// Foreign load that was seen once is half forgotten after this long without an answer.
const FOREIGN_HALF_LIFE: f64 = 60_000.0;
/// Share of a prefill by which it varies from one prompt to the next.
const PREFILL_SPREAD: f64 = 0.2;
/// Durations may exceed the wall time by this share and this much: clocks and rounding.
const WALL_SLACK: f64 = 1.1;
const WALL_SLACK_MS: f64 = 20.0;

/// The most that one request costs its key, in tokens: the largest context of models that one GPU
/// machine serves. A prompt that is cut to the context, or a size that is a lie, costs no more.
pub(crate) const MOST_CHARGED: u64 = 131_072;

/// The size of a request, as far as its time depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) prompt_bytes: u64,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) runs_twice: bool,
}

/// One answer by our own clock, beside what Ollama said of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    pub(crate) need: Need,
    /// Grant to first token; to the end where there was none.
    pub(crate) head: Duration,
    /// First token to the end.
    pub(crate) tail: Duration,
    /// Chunks with tokens that the session has seen.
    pub(crate) progress: u32,
    /// Streams at once while it answered, itself included.
    pub(crate) concurrency: f64,
    /// The prompt cache cannot have helped: another prefix than the previous request's.
    pub(crate) uncached: bool,
    /// Nothing of ours was in flight when it was granted.
    pub(crate) alone: bool,
    pub(crate) measured: Measured,
}

/// What one answer turned out to be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Outcome {
    /// Prompt and answer in tokens.
    pub(crate) tokens: u64,
    /// Time before the first token that neither load nor prefill explains, in milliseconds; none
    /// where neither Ollama nor the past can tell.
    pub(crate) hidden: Option<f64>,
}

/// A ratio of two sums that forget: large samples weigh more than small ones.
#[derive(Clone, Copy, Debug, Default)]
struct Ratio {
    top: f64,
    bottom: f64,
}

impl Ratio {
    fn record(&mut self, top: f64, bottom: f64) {
        if top.is_finite() && bottom.is_finite() && top >= 0.0 && bottom > 0.0 {
            self.top = self.top * KEEP + top;
            self.bottom = self.bottom * KEEP + bottom;
        }
    }

    fn value(&self) -> Option<f64> {
        (self.bottom > 0.0).then(|| self.top / self.bottom)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Learnt {
    lengths: Histogram,
    /// Milliseconds per token of one stream, by streams at once less one.
    decode: [Ratio; LEVELS],
    /// Milliseconds per uncached prompt token.
    prefill: Ratio,
    /// Tokens per byte of prompt.
    tokens: Ratio,
    load: AnswerTime,
    foreign_ms: f64,
    foreign_at: Option<Instant>,
    /// First tokens of Bedrock in milliseconds.
    overflow: Histogram,
    /// Kept beside it: every decision asks.
    overflow_ms: f64,
    answer: AnswerTime,
    finished: Option<Instant>,
}

impl Default for Learnt {
    fn default() -> Learnt {
        Learnt {
            lengths: Histogram::default(),
            decode: [Ratio::default(); LEVELS],
            prefill: Ratio::default(),
            tokens: Ratio::default(),
            load: AnswerTime::default(),
            foreign_ms: 0.0,
            foreign_at: None,
            overflow: Histogram::default(),
            overflow_ms: FIRST_OVERFLOW_MS,
            answer: AnswerTime::default(),
            finished: None,
        }
    }
}

impl Learnt {
    /// Whether predictions can be built on.
    pub(crate) fn enough(&self) -> bool {
        self.lengths.len() >= ENOUGH
    }

    /// Whether a free slot is better tried than predicted: too little is known, or of too long ago.
    pub(crate) fn unsure(&self, now: Instant) -> bool {
        !self.enough() || self.finished.is_none_or(|at| now.saturating_duration_since(at) >= STALE)
    }

    pub(crate) fn prompt_tokens(&self, bytes: u64) -> f64 {
        bytes as f64 * self.tokens.value().unwrap_or(1.0 / BYTES_PER_TOKEN)
    }

    /// Whether the model has shown how many tokens its prompts are.
    pub(crate) fn knows_tokens(&self) -> bool {
        self.enough() && self.tokens.value().is_some()
    }

    /// Time of the prefill in milliseconds.
    pub(crate) fn prefill(&self, need: Need) -> Spread {
        let once = self.prompt_tokens(need.prompt_bytes) * self.prefill.value().unwrap_or(0.0);
        let mean = if need.runs_twice { once * 2.0 } else { once };
        Spread { mean, variance: (mean * PREFILL_SPREAD).powi(2) }
    }

    /// Tokens of the whole answer.
    pub(crate) fn length(&self, need: Need) -> Spread {
        self.lengths.whole(need.max_tokens)
    }

    /// Time of what is left of an answer that has reached `tokens`, in milliseconds.
    pub(crate) fn residual(&self, need: Need, tokens: u32, per_token: f64) -> Spread {
        self.lengths.residual(tokens, need.max_tokens).times(per_token)
    }

    /// No known answer was longer than `tokens`: when this one ends is a guess.
    pub(crate) fn outgrown(&self, need: Need, tokens: u32) -> bool {
        self.lengths.outgrown(tokens, need.max_tokens)
    }

    /// Milliseconds per token of one of `streams` at once; 0 while unknown. A level that was never
    /// seen is taken from the nearest one below, else above.
    pub(crate) fn per_token(&self, streams: usize) -> f64 {
        let level = streams.clamp(1, LEVELS);
        let (below, above) = self.decode.split_at(level);
        let known = below.iter().rev().chain(above).find_map(Ratio::value);
        known.unwrap_or(0.0)
    }

    /// Estimated tokens of prompt and answer: what a key is charged in advance.
    pub(crate) fn cost(&self, need: Need) -> u64 {
        charge(self.prompt_tokens(need.prompt_bytes), self.length(need).mean)
    }

    pub(crate) fn load_ms(&self) -> f64 {
        let average = self.load.average();
        if average.is_zero() { FIRST_LOAD_MS } else { millis(average) }
    }

    pub(crate) fn loaded(&mut self, took: Duration) {
        if !took.is_zero() {
            self.load.record(took);
        }
    }

    /// Expected wait behind requests that are not ours, in milliseconds.
    pub(crate) fn foreign(&self, now: Instant) -> f64 {
        let Some(at) = self.foreign_at else { return 0.0 };
        if self.foreign_ms < 1.0 {
            return 0.0;
        }
        self.foreign_ms * (-millis(now.saturating_duration_since(at)) / FOREIGN_HALF_LIFE).exp2()
    }

    pub(crate) fn record_foreign(&mut self, now: Instant, hidden: f64) {
        self.foreign_ms = self.foreign(now) * KEEP + hidden.max(0.0) * (1.0 - KEEP);
        self.foreign_at = Some(now);
    }

    /// The milliseconds that 99 of 100 first tokens of Bedrock do not exceed.
    pub(crate) fn overflow_ms(&self) -> f64 {
        self.overflow_ms
    }

    pub(crate) fn record_overflow(&mut self, first_token: Duration) {
        self.overflow.record(u32::try_from(first_token.as_millis()).unwrap_or(u32::MAX));
        if self.overflow.len() >= OVERFLOW_SAMPLES {
            self.overflow_ms = self.overflow.quantile(OVERFLOW_SHARE).unwrap_or(FIRST_OVERFLOW_MS);
        }
    }

    pub(crate) fn answer_time(&self) -> Duration {
        self.answer.average()
    }

    /// Learns from one finished answer.
    pub(crate) fn finished(&mut self, now: Instant, seen: &Observed) -> Outcome {
        let believed = believed(seen);
        let expected = self.prefill(seen.need).mean;
        let length = length(seen);
        self.learn_prompt(seen, believed);
        self.learn_speed(seen, believed, length);
        if let Some(load) = seen.measured.load_duration.filter(|_| believed.is_some()) {
            // A resident model reports a few milliseconds; those are no loads.
            if load > Duration::from_millis(500) {
                self.loaded(load);
            }
        }
        self.lengths.record(u32::try_from(length).unwrap_or(u32::MAX));
        self.answer.record(seen.head.saturating_add(seen.tail));
        self.finished = Some(now);
        let explained = match believed {
            Some(times) => Some(times.load + times.prefill),
            None if expected > 0.0 => Some(expected),
            None => None,
        };
        let prompt = seen.measured.prompt_eval_count.filter(|count| self.plausible_prompt(seen, *count));
        let prompt = prompt.unwrap_or(self.prompt_tokens(seen.need.prompt_bytes) as u64);
        Outcome {
            tokens: prompt.saturating_add(length).max(1),
            hidden: explained.map(|explained| (millis(seen.head) - explained).max(0.0)),
        }
    }

    fn plausible_prompt(&self, seen: &Observed, count: u64) -> bool {
        count > 0 && count as f64 <= seen.need.prompt_bytes as f64 * MOST_TOKENS_PER_BYTE + TEMPLATE_TOKENS
    }

    fn learn_prompt(&mut self, seen: &Observed, believed: Option<Times>) {
        if seen.need.runs_twice {
            return;
        }
        let count = seen.measured.prompt_eval_count.filter(|count| self.plausible_prompt(seen, *count));
        // More of it cached than there is: a count that says nothing.
        let cached = seen.measured.cached.filter(|cached| count.is_some_and(|count| *cached <= count));
        let fresh = seen.uncached || cached.is_some();
        if let Some(count) = count.filter(|_| fresh && seen.need.prompt_bytes > 0) {
            self.tokens.record(count as f64, seen.need.prompt_bytes as f64);
        }
        let worked = match (count, cached) {
            // Nothing was worked on.
            (Some(count), Some(cached)) if cached == count => return,
            (Some(count), Some(cached)) => (count - cached) as f64,
            (Some(count), None) if seen.uncached => count as f64,
            (None, _) if seen.uncached => self.prompt_tokens(seen.need.prompt_bytes),
            (Some(_) | None, _) => return,
        };
        match believed {
            Some(times) => self.prefill.record(times.prefill, worked.max(1.0)),
            // Our own clock cannot tell prefill from waiting behind another of ours.
            None if seen.alone => self.prefill.record(millis(seen.head), worked.max(1.0)),
            None => {}
        }
    }

    fn learn_speed(&mut self, seen: &Observed, believed: Option<Times>, length: u64) {
        if length == 0 {
            return;
        }
        let level = (seen.concurrency.round() as usize).clamp(1, LEVELS) - 1;
        let Some(ratio) = self.decode.get_mut(level) else { return };
        match believed {
            // Of an answer that runs twice the durations know the second half alone.
            Some(times) if !seen.need.runs_twice => ratio.record(times.decode, length as f64),
            // The tail holds every token but the first.
            _ if length > 1 => ratio.record(millis(seen.tail), (length - 1) as f64),
            Some(_) | None => {}
        }
    }
}

/// Ollama's durations of one answer, in milliseconds, that have passed the check.
#[derive(Clone, Copy)]
struct Times {
    load: f64,
    prefill: f64,
    decode: f64,
}

/// Ollama's durations where they fit the wall time.
///
/// Present, not zero, together at most the wall, and the answer's own at least half of what passed
/// between first token and end. The time before the first token is not held against them: what
/// they leave of it is how waiting inside Ollama shows.
fn believed(seen: &Observed) -> Option<Times> {
    let prefill = seen.measured.prompt_eval_duration.filter(|time| !time.is_zero())?;
    let decode = seen.measured.eval_duration.filter(|time| !time.is_zero())?;
    let load = seen.measured.load_duration.unwrap_or_default();
    let (load, prefill, decode) = (millis(load), millis(prefill), millis(decode));
    let (head, tail) = (millis(seen.head), millis(seen.tail));
    let fits = |time: f64, wall: f64| time <= wall * WALL_SLACK + WALL_SLACK_MS;
    // A repeated run's first half is in none of the durations.
    let whole = seen.need.runs_twice || decode * 2.0 >= tail;
    (fits(load + prefill, head) && fits(load + prefill + decode, head + tail) && whole).then_some(Times {
        load,
        prefill,
        decode,
    })
}

/// Tokens of the answer: Ollama's count where the chunks bear it out.
fn length(seen: &Observed) -> u64 {
    let chunks = u64::from(seen.progress);
    let counted = seen.measured.eval_count.filter(|count| *count > 0);
    let most = chunks.max(1).saturating_mul(TOKENS_PER_CHUNK);
    counted.filter(|count| *count <= most).map_or(chunks, |count| count.max(chunks))
}

/// What a key is charged for a request of so many prompt and answer tokens: at least one, so that
/// turns always move on.
pub(crate) fn charge(prompt: f64, answer: f64) -> u64 {
    ((prompt + answer) as u64).clamp(1, MOST_CHARGED)
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Milliseconds as a time; what is no time is none, what is too long is the longest.
pub(crate) fn duration(millis: f64) -> Duration {
    if millis > 0.0 { Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or(Duration::MAX) } else { Duration::ZERO }
}
