//! What the application says to a stream: head, body, end, cancel, and what it takes.
//!
//! Invariants: nothing is taken into a full buffer; after a verb that ends this side's direction
//! no other one adds to it. Absent: frames and timers (`stream.rs`).

use std::time::Instant;

use bytes::Bytes;

use super::send::Terminal;
use super::{Cancelling, Gone, SendRefused, Side, Stream, StreamEvent, shorten};
use crate::frame::fits_header;
use crate::limits::{LOW_ROOM, MAX_HEADERS, RELAY_BUFFER, STREAM_BUFFER};
use crate::{Code, Failure, Head, Outcome};

impl Stream {
    /// Edge: status and headers, once, before any body.
    pub fn send_head(&mut self, now: Instant, head: Head) {
        let size: usize = head.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        // A header that the peer refuses to read would cost the connection, and go again on the next.
        let text = size + 8 * head.headers.len() + self.reply.as_ref().map_or(0, String::len);
        if size > MAX_HEADERS || !fits_header(&(&head, &self.reply), text) {
            self.fail_here(Failure::new(Code::Internal, "the answer's headers are too long for the link"));
        } else if self.side == Side::Edge && self.send.is_open() && !self.cancelled {
            self.send.set_head(head);
        }
        self.settle(now);
    }

    /// Whether this side's part is still to be done: edge, its answer's end is not queued; relay,
    /// the answer has not ended.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.gone.is_none()
            && match self.side {
                Side::Edge => self.send.is_open(),
                Side::Relay => !self.recv.ended(),
            }
    }

    /// Queues body bytes.
    ///
    /// # Errors
    /// [`SendRefused`]; past its buffer an edge stream fails `slow_reader`.
    pub fn send(&mut self, now: Instant, body: Bytes) -> Result<(), SendRefused> {
        if !self.send.is_open() || self.cancelled || self.cancelling.is_some() {
            return Err(SendRefused::Ended);
        }
        if body.len() > self.send_room() {
            self.starved = true;
            if self.side == Side::Edge {
                self.fail_slow_reader();
            }
            return Err(SendRefused::Overrun);
        }
        self.send.push(now, &self.limits, body);
        self.starved = self.send_room() < LOW_ROOM;
        self.settle(now);
        Ok(())
    }

    /// Edge: the buffer is full because the caller reads too slowly. An end that waits behind what
    /// is dropped becomes this failure, with the same outcome.
    pub fn fail_slow_reader(&mut self) {
        let mut failure = Failure::new(Code::SlowReader, "the caller read too slowly and the buffer is full");
        if let Some(outcome) = self.send.take_outcome() {
            failure.outcome = outcome;
        }
        self.fail_here(failure);
    }

    /// Edge: whether `fail_slow_reader` drops anything.
    pub(crate) fn can_shed(&self) -> bool {
        self.send.can_shed()
    }

    /// Bytes `send` takes now.
    #[must_use]
    pub fn send_room(&self) -> usize {
        if !self.send.is_open() || self.cancelled || self.cancelling.is_some() {
            return 0;
        }
        let buffer = match self.side {
            Side::Edge => STREAM_BUFFER,
            Side::Relay => RELAY_BUFFER,
        };
        buffer.saturating_sub(self.send.held_bytes())
    }

    pub(super) fn say_writable(&mut self) {
        if self.starved && self.send_room() >= LOW_ROOM {
            self.starved = false;
            if !self.concluded {
                self.events.push_back(StreamEvent::Writable);
            }
        }
    }

    /// Body bytes queued and not yet acknowledged.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.send.held_bytes()
    }

    /// Whether a frame is in flight.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.send.unacked() || self.cancelling.is_some()
    }

    /// Ends this side's direction after what is queued.
    pub fn finish(&mut self, now: Instant, outcome: Option<Outcome>) {
        if self.send.is_open() {
            let terminal = if self.cancelled {
                // The queued rest was dropped: an `end` would claim that it was sent.
                let failure = Failure::new(Code::Cancelled, "cancelled by the caller");
                Terminal::Fail(Failure { outcome: outcome.unwrap_or_default(), ..failure })
            } else {
                Terminal::End(outcome)
            };
            self.send.set_terminal(terminal);
        }
        self.settle(now);
    }

    /// Edge: ends the answer with an error after what is queued (after a cancel: at once).
    pub fn fail(&mut self, now: Instant, mut failure: Failure) {
        if self.side == Side::Edge && self.send.is_open() {
            shorten(&mut failure.message);
            self.send.set_terminal(Terminal::Fail(failure));
        }
        self.settle(now);
    }

    /// Relay: the caller is gone. What arrives from here is dropped; a terminal event still comes.
    pub fn cancel(&mut self, now: Instant, reason: &str) {
        if self.side == Side::Relay && !self.recv.ended() && self.gone.is_none() {
            self.start_cancel(now, reason);
        } else if self.side == Side::Relay {
            self.recv.discard();
        }
        self.settle(now);
    }

    pub(super) fn start_cancel(&mut self, now: Instant, reason: &str) {
        if self.cancelling.is_some() {
            return;
        }
        let unsent = self.send.nothing_sent();
        self.send.abandon();
        self.recv.discard();
        if unsent {
            self.gone = Some(Gone::Unsent);
            self.conclude(StreamEvent::Failed(Failure::new(Code::Cancelled, "cancelled before it was sent")));
            return;
        }
        let mut reason = reason.to_owned();
        shorten(&mut reason);
        self.cancelling = Some(Cancelling { reason, since: now, again_at: None, due: true });
    }

    /// Next delivered body bytes, in order; taking them opens the peer's window.
    pub fn recv(&mut self, now: Instant) -> Option<Bytes> {
        let body = self.recv.recv();
        self.settle(now);
        body
    }

    /// Whether `recv` would give something.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.recv.has_data()
    }

    /// The application is gone: no more events, and an unfinished stream is ended.
    pub fn release(&mut self, now: Instant) {
        self.muted = true;
        match self.side {
            Side::Relay => self.cancel(now, "released"),
            Side::Edge => {
                if self.send.is_open() {
                    self.fail_here(Failure::new(Code::Internal, "the request ended without its answer"));
                }
                self.recv.discard();
            }
        }
        self.settle(now);
    }
}
