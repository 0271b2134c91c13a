//! What one simulated request will do, drawn from its seed: both ends and the judge know it.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How a reader takes what arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reader {
    AtOnce,
    /// One piece every so many milliseconds.
    Slow(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) body: Bytes,
    pub(crate) answer: Bytes,
    /// Body bytes given with `open`; the rest comes by `send`.
    pub(crate) body_at_once: usize,
    /// Bytes a `send` of the answer, and milliseconds between two.
    pub(crate) piece: usize,
    pub(crate) pace_ms: u64,
    pub(crate) think_ms: u64,
    /// The edge answers without waiting for the whole body.
    pub(crate) early: bool,
    /// The edge fails after this many answer bytes instead of finishing.
    pub(crate) fails_at: Option<usize>,
    /// The caller goes away after this many milliseconds.
    pub(crate) cancel_ms: Option<u64>,
    /// The caller goes away by `release` and not by `cancel`.
    pub(crate) abrupt: bool,
    pub(crate) caller: Reader,
    pub(crate) edge: Reader,
}

impl Script {
    /// `scale`: largest body and answer, bytes.
    pub(crate) fn draw(seed: u64, scale: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let body_len = length(&mut rng, scale);
        let answer_len = length(&mut rng, scale);
        let body = content(&mut rng, body_len);
        let answer = content(&mut rng, answer_len);
        let body_at_once = if rng.random_bool(0.7) { body.len() } else { rng.random_range(0..=body.len()) };
        let piece = if answer_len > 20_000 { rng.random_range(2_000..60_000) } else { rng.random_range(1..400) };
        let reader = |rng: &mut StdRng| match rng.random_range(0..6) {
            0 => Reader::Slow(rng.random_range(5..200)),
            _ => Reader::AtOnce,
        };
        Self {
            body_at_once,
            piece,
            // Whole answers within a minute, whatever the size of a piece.
            pace_ms: rng.random_range(0..60).min(60_000 / (1 + answer_len / piece) as u64),
            think_ms: rng.random_range(0..3_000),
            early: rng.random_bool(0.1),
            fails_at: rng.random_bool(0.1).then(|| rng.random_range(0..=answer.len())),
            cancel_ms: rng.random_bool(0.15).then(|| rng.random_range(0..8_000)),
            abrupt: rng.random_bool(0.3),
            caller: reader(&mut rng),
            edge: reader(&mut rng),
            body,
            answer,
        }
    }

    /// A request that behaves: the body at once, an answer of `answer` bytes at a steady pace.
    pub(crate) fn plain(body: &[u8], answer: usize, piece: usize, pace_ms: u64) -> Self {
        let mut script = Self::draw(1, 10);
        script.body = Bytes::copy_from_slice(body);
        script.body_at_once = body.len();
        script.answer = (0..answer).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
        (script.piece, script.pace_ms, script.think_ms) = (piece, pace_ms, 0);
        (script.early, script.fails_at, script.cancel_ms) = (false, None, None);
        (script.caller, script.edge) = (Reader::AtOnce, Reader::AtOnce);
        script
    }
}

fn length(rng: &mut StdRng, scale: usize) -> usize {
    match rng.random_range(0..10) {
        0 => 0,
        1..=6 => rng.random_range(0..scale / 50 + 2),
        7 | 8 => rng.random_range(0..scale / 5 + 2),
        _ => rng.random_range(0..scale),
    }
}

/// Text of one to four bytes a character, plain text, or bytes that are no text, in stretches.
pub(crate) fn content(rng: &mut StdRng, len: usize) -> Bytes {
    const CHARS: [&str; 8] = ["a", "\n", "\"", "é", "ß", "漢", "€", "🦀"];
    let mut bytes = Vec::with_capacity(len + 400);
    let kind = rng.random_range(0..4);
    while bytes.len() < len {
        match if kind == 3 { rng.random_range(0..3) } else { kind } {
            0 => bytes.extend(std::iter::repeat_n(b'x', rng.random_range(1..300))),
            1 => (0..rng.random_range(1..80)).for_each(|_| bytes.extend(CHARS[rng.random_range(0..8)].bytes())),
            _ => bytes.extend((0..rng.random_range(1..200)).map(|_| rng.random::<u8>())),
        }
    }
    bytes.truncate(len);
    Bytes::from(bytes)
}
