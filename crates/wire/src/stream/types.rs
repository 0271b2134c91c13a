//! What comes out of a stream and what it is made with, as plain values.

use crate::{Failure, Head, Outcome};

/// What happened on a stream. Body bytes that were delivered before a terminal event are still
/// there to be taken with `recv`; no event follows a terminal one but [`crate::Event::Released`].
/// At the edge `End` ends the caller's body only: the answer is the edge's own to end.
#[derive(Clone, PartialEq, Debug)]
pub enum StreamEvent {
    /// Status and headers arrived (relay).
    Head(Head),
    /// Body bytes can be taken with `recv`; take them until it gives `None`.
    Readable,
    /// `send_room` was short after a `send` (under 64 KiB) and is no longer.
    Writable,
    /// Relay, terminal: the whole answer is here; what it used. Edge: the caller's body is whole.
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
    /// The buffer is full. Edge: a stream, the fullest one, was failed `slow_reader`. Relay:
    /// the bytes were not taken, nothing else happened.
    #[error("the peer reads too slowly and the buffer is full")]
    Overrun,
    /// The stream has ended or is not known.
    #[error("the stream has ended")]
    Ended,
}

/// How a stream's state became unnecessary, and what late frames are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// Both terminal frames are where they belong: late frames get the final ack.
    Done {
        /// First sequence number of the peer that never was.
        next: u64,
    },
    /// This side gave up (`link_lost`).
    Lost {
        /// This side's next sequence number.
        seq: u64,
    },
    /// Cancelled before anything was sent: the peer never heard of it.
    Unsent,
}

/// Window sizes of a stream, bytes: what the peer accepts from us and what we accept from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Windows {
    /// From `hello` or `welcome` of the peer.
    pub peer: u64,
    /// As this side stated it.
    pub own: u64,
}
