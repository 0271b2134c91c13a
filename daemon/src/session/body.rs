//! The caller's request body, counted against what all bodies together may hold.

use bytes::{Bytes, BytesMut};

use crate::work::BodyShare;

/// The caller's body as it comes in; mostly it is one piece and never copied.
pub(super) struct Body {
    share: BodyShare,
    first: Option<Bytes>,
    rest: BytesMut,
}

impl Body {
    pub(super) fn new(share: BodyShare) -> Self {
        Self { share, first: None, rest: BytesMut::new() }
    }

    /// Takes bytes, or refuses because all bodies together hold too much.
    pub(super) fn push(&mut self, bytes: Bytes) -> bool {
        if !self.share.grow(bytes.len()) {
            return false;
        }
        match self.first.take() {
            None if self.rest.is_empty() => self.first = Some(bytes),
            None => self.rest.extend_from_slice(&bytes),
            Some(first) => {
                self.rest.extend_from_slice(&first);
                self.rest.extend_from_slice(&bytes);
            }
        }
        true
    }

    pub(super) fn take(&mut self) -> Bytes {
        self.first.take().unwrap_or_else(|| std::mem::take(&mut self.rest).freeze())
    }

    /// Ollama has read it: its bytes no longer count.
    pub(super) fn is_sent(&mut self) {
        self.share.give_back();
    }
}
