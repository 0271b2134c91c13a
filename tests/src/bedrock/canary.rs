//! The words that must never reach Bedrock, and how they are found in what does.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Put it into a prompt that must stay local: an emulator that saw it panics when it is dropped.
pub const CANARY: &str = "causeway-canary-7f3d91c2-stays-at-home";

/// Base64 works on groups of this many bytes, so a text shows in as many ways.
const GROUP: usize = 3;

static TRACES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut traces = vec![CANARY.as_bytes().to_vec()];
    for skipped in 0..GROUP {
        // Whole groups only: what stands before and after cannot change their letters.
        let whole = &CANARY.as_bytes()[skipped..];
        let whole = &whole[..whole.len() / GROUP * GROUP];
        traces.push(STANDARD_NO_PAD.encode(whole).into_bytes());
        traces.push(URL_SAFE_NO_PAD.encode(whole).into_bytes());
    }
    traces
});

/// Whether the canary stands in these bytes, as it is or within base64.
pub(super) fn is_in(bytes: &[u8]) -> bool {
    TRACES.iter().any(|trace| bytes.windows(trace.len()).any(|window| window == trace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_is_found_as_it_is_and_in_base64_at_every_offset() {
        assert!(is_in(format!("{{\"text\":\"a {CANARY}\"}}").as_bytes()));
        for before in ["", "x", "xy", "xyz"] {
            assert!(is_in(STANDARD_NO_PAD.encode(format!("{before}{CANARY} and more")).as_bytes()), "{before}");
        }
    }

    #[test]
    fn other_words_are_not_the_canary() {
        assert!(!is_in(b"causeway-canary"));
        assert!(!is_in(b""));
    }
}
