//! One request: sequence numbers, acknowledgements, resends, window, terminal state.

use crate::{Failure, Head, Outcome};

/// What happened on a stream. Body bytes that were delivered before a terminal event are still
/// there to be taken with `recv`; no event follows a terminal one but [`crate::Event::Released`].
#[derive(Clone, PartialEq, Debug)]
pub enum StreamEvent {
    /// Status and headers arrived (relay).
    Head(Head),
    /// Body bytes can be taken with `recv`.
    Readable,
    /// `send_room` grew after it had been 0.
    Writable,
    /// Terminal: the peer's `end`; its outcome where it is the edge.
    End(Option<Outcome>),
    /// Terminal: the peer failed it, or this side did (`link_lost`, `slow_reader`, `draining`, …).
    Failed(Failure),
    /// Terminal (edge): the relay cancelled. The edge's application stops and calls `fail` with
    /// code `cancelled` and what was used, or `finish` if it had already queued its end.
    Cancelled(String),
}

/// Why body bytes were not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendRefused {
    /// The buffer is full; the stream was failed `slow_reader`.
    #[error("the peer reads too slowly and the buffer is full")]
    Overrun,
    /// The stream has ended or is not known.
    #[error("the stream has ended")]
    Ended,
}

/// Stub.
#[derive(Debug)]
pub struct Stream {}
