//! Body bytes that wait for their frame, and where a frame's body is cut.
//!
//! Invariants: the pieces joined are the bytes pushed; every piece is either UTF-8 or a run that
//! begins with a truly invalid byte (the codec writes that one as base64); at most 3 bytes, the
//! beginning of a character, are held back while more may come.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// A run of valid bytes of this length ends a base64 piece: shorter ones are cheaper inside it
/// than as a frame of their own, bytes.
const PLAIN_RUN: usize = 64;

/// A cut needs room for the longest character, bytes.
pub(super) const MIN_CUT: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.len = 0;
    }

    /// Whether `cut` has something to give, room provided. `last`: nothing more will be pushed.
    pub(super) fn has_piece(&self, last: bool) -> bool {
        if self.len >= MIN_CUT || last {
            return self.len > 0;
        }
        self.len > 0 && !begins_character(&self.front(self.len))
    }

    /// Takes the next piece of at most `max` bytes as text (base64 counted), `max` ≥ [`MIN_CUT`].
    pub(super) fn cut(&mut self, max: usize, last: bool) -> Option<Bytes> {
        let max = max.max(MIN_CUT);
        let front = self.front(self.len.min(max));
        let (valid, invalid) = match std::str::from_utf8(&front) {
            Ok(_) => (front.len(), None),
            Err(error) => (error.valid_up_to(), Some(error.error_len())),
        };
        let take = match invalid {
            _ if valid > 0 => valid,
            // An incomplete character is all there is: the rest may still come.
            Some(None) if !last => 0,
            Some(None) => front.len(),
            Some(Some(bad)) => invalid_run(&front, bad).min(max / 4 * 3),
            None => 0,
        };
        if take == 0 {
            return None;
        }
        self.advance(take);
        Some(front.slice(..take))
    }

    /// The first `want` ≤ `len` bytes in one piece: no copy where one chunk has them.
    fn front(&self, want: usize) -> Bytes {
        match self.chunks.front() {
            Some(chunk) if chunk.len() >= want => chunk.slice(..want),
            _ => {
                let mut joined = BytesMut::with_capacity(want);
                for chunk in &self.chunks {
                    let take = chunk.len().min(want - joined.len());
                    joined.extend_from_slice(&chunk[..take]);
                    if joined.len() == want {
                        break;
                    }
                }
                joined.freeze()
            }
        }
    }

    fn advance(&mut self, mut count: usize) {
        self.len = self.len.saturating_sub(count);
        while count > 0 {
            let Some(chunk) = self.chunks.front_mut() else {
                return;
            };
            if chunk.len() > count {
                chunk.advance(count);
                return;
            }
            count -= chunk.len();
            self.chunks.pop_front();
        }
    }
}

fn begins_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

/// Length of the run that begins with `bad` invalid bytes and ends before a long valid stretch or
/// before a character that is not complete yet.
fn invalid_run(bytes: &[u8], bad: usize) -> usize {
    let mut end = bad;
    while let Some(rest) = bytes.get(end..) {
        match std::str::from_utf8(rest) {
            Ok(plain) if plain.len() >= PLAIN_RUN => return end,
            Ok(plain) => return end + plain.len(),
            Err(error) if error.valid_up_to() >= PLAIN_RUN => return end,
            Err(error) => match error.error_len() {
                Some(bad) => end += error.valid_up_to() + bad,
                None => return end + error.valid_up_to(),
            },
        }
    }
    end
}
