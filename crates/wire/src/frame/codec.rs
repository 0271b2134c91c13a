//! Text form of frames: a compact JSON header, and, where there is a body, a newline and the body.
//!
//! Invariants: `decode` is total (any input gives a frame or a [`CodecError`], nothing panics, no
//! length in the input is trusted); headers are read and written by derived, typed code, never
//! through a JSON tree; `encode` allocates the message once. `encode` does not enforce size
//! limits: whoever builds a frame does (`stream/send.rs`, `link.rs`).
//! Absent: what a frame means, and the order and number in which frames may come.

mod decoder;
mod encoder;
mod headers;

use serde::Serialize;

pub use decoder::decode;
pub use encoder::encode;

use crate::limits::MAX_HEADER;

/// Text of this length fits a header however it is escaped (six to one), bytes.
const SURELY_FITS: usize = 1000;

/// Room for what a header says beside its variable part: type, id, numbers, flags; bytes.
const REST_OF_HEADER: usize = 128;

/// Whether a header's variable part, with `text` bytes of text in it, fits the header that a peer
/// reads. Measured only where escaping may blow it up past that.
pub(crate) fn fits_header<T: Serialize>(part: &T, text: usize) -> bool {
    text < SURELY_FITS || serde_json::to_string(part).is_ok_and(|text| text.len() + REST_OF_HEADER <= MAX_HEADER)
}

/// Why a text is no frame. Details name places and kinds, never content.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// The message is longer than any welcome allows.
    #[error("message of {0} bytes is longer than the protocol allows")]
    MessageTooLong(usize),
    /// The header line is longer than 8 KiB.
    #[error("header is longer than 8 KiB")]
    HeaderTooLong,
    /// The header is not the JSON object its type asks for.
    #[error("header is not valid at byte {column}")]
    BadHeader {
        /// Column of the fault in the header line.
        column: usize,
    },
    /// A type this version does not know, not marked optional.
    #[error("unknown frame type")]
    UnknownType,
    /// The body is marked base64 and is not.
    #[error("body is not base64")]
    BadBase64,
    /// A body after a frame that carries none.
    #[error("this frame type carries no body")]
    UnexpectedBody,
    /// The body is not the JSON it should be.
    #[error("body is not valid JSON for its frame")]
    BadBody,
    /// `reply` is longer than 512 bytes.
    #[error("reply is longer than 512 bytes")]
    ReplyTooLong,
}

impl From<serde_json::Error> for CodecError {
    fn from(error: serde_json::Error) -> Self {
        Self::BadHeader { column: error.column() }
    }
}
