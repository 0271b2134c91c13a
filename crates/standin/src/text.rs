//! The invented text: a pure function, so that whoever asks can check every byte.
//!
//! Invariant: no two tokens of one answer are equal, so a lost, repeated or exchanged token shows.
//! The words include what JSON must escape and text of two to four bytes a character.

/// Words that a token is made of. Some need escaping, some are not ASCII.
const WORDS: [&str; 16] = [
    " river",
    " stone",
    " füße",
    " \"quoted\"",
    " back\\slash",
    "\nline",
    " tab\there",
    " 川",
    " a<b>&c",
    " 🜁",
    " causeway",
    " ends.",
    " Ω",
    " token",
    " is",
    " the",
];

/// The number that stands for a prompt (FNV-1a, 64 bits).
#[must_use]
pub fn seed(prompt: &str) -> u64 {
    digest(OFFSET, prompt.as_bytes())
}

/// The start value of [`digest`].
pub const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// Continues an FNV-1a digest over more bytes.
#[must_use]
pub fn digest(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Token number `index` of the answer to the prompt with this seed.
#[must_use]
pub fn token(seed: u64, index: u32) -> String {
    let mixed = (seed ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = usize::try_from(mixed >> 60).ok().and_then(|at| WORDS.get(at)).copied().unwrap_or(" word");
    format!("{word}{index}")
}

/// Tokens of the answer to the prompt with this seed, at least one: log-normal over seeds with this
/// median and, as the logarithm's standard deviation, this variety.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of 2^32, and a length that saturates"
)]
pub fn length(seed: u64, median: u32, variety: f64) -> u32 {
    if variety <= 0.0 {
        return median;
    }
    // Box and Muller: a normal deviate of two uniform ones, the first never zero.
    let mixed = (seed ^ (seed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let share = |bits: u64| ((bits & 0xffff_ffff) as f64 + 0.5) / 4_294_967_296.0;
    let (radius, angle) = (share(mixed), share(mixed >> 32));
    let deviate = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
    ((f64::from(median) * (variety * deviate).exp()).round() as u32).max(1)
}

/// The whole answer of `tokens` tokens.
#[must_use]
pub fn answer(seed: u64, tokens: u32) -> String {
    (0..tokens).map(|index| token(seed, index)).collect()
}

/// A vector of length one for this input, cut to `dimensions`.
#[must_use]
pub fn embedding(input: &str, dimensions: usize) -> Vec<f32> {
    let mut state = seed(input);
    let raw: Vec<f32> = (0..dimensions)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let high = u16::try_from(state >> 48).unwrap_or(u16::MAX);
            f32::from(high) / 32_768.0 - 1.0
        })
        .collect();
    let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|x| x / norm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_prompt_gives_the_same_answer_and_another_one_another() {
        assert_eq!(answer(seed("a"), 20), answer(seed("a"), 20));
        assert_ne!(answer(seed("a"), 20), answer(seed("b"), 20));
    }

    #[test]
    fn lengths_of_answers_are_spread_about_their_median() {
        let mut lengths: Vec<u32> = (0..2_000).map(|n| length(seed(&format!("prompt {n}")), 100, 0.5)).collect();
        lengths.sort_unstable();
        let at = |share: f64| f64::from(lengths[(share * 2_000.0) as usize]);
        // One deviation to either side of the median is a factor of e^0.5.
        assert!((at(0.5) / 100.0 - 1.0).abs() < 0.1, "{}", at(0.5));
        assert!((at(0.841) / 164.9 - 1.0).abs() < 0.1, "{}", at(0.841));
        assert!((at(0.159) / 60.7 - 1.0).abs() < 0.1, "{}", at(0.159));
        assert_eq!(length(7, 100, 0.0), 100);
    }

    #[test]
    fn an_embedding_has_length_one() {
        let norm: f32 = embedding("hello", 8).iter().map(|x| x * x).sum();
        assert!((norm - 1.0).abs() < 1e-5);
    }
}
