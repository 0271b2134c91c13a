//! One request: sequence numbers, acknowledgements, resends, window, terminal state.
//!
//! A [`Stream`] works alone (a caller's function on the serverless relay) or in a
//! [`crate::Link`]'s table. It is driven in the order of the crate head.
//! Invariants: bytes come out in order and once; each side gets one terminal event; every stream
//! ends within `stream_max` and two resume windows; an edge stream is gone once its terminal frame is
//! acknowledged, a relay stream once it was delivered and its bytes were taken.
//! Absent: connections, tombstones and frames of unknown streams (`link.rs`).

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

mod outbox;
mod recv;
mod rto;
mod send;

use recv::{Item, RecvHalf};
use rto::Rto;
use send::{Content, First, SendHalf, Terminal};

use crate::limits::{LOW_ROOM, MAX_HEADERS, MAX_REASON, RELAY_BUFFER, STREAM_BUFFER};
use crate::{Code, ConnId, Failure, Frame, Head, Limits, Open, Outcome, StreamId};

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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Edge,
    Relay,
}

/// The relay's wish that the edge stops, repeated until a terminal frame comes.
#[derive(Debug)]
struct Cancelling {
    reason: String,
    since: Instant,
    again_at: Option<Instant>,
    due: bool,
}

/// One request. See the module's head.
#[derive(Debug)]
pub struct Stream {
    id: StreamId,
    side: Side,
    limits: Limits,
    reply: Option<String>,
    send: SendHalf,
    recv: RecvHalf,
    rto: Rto,
    events: VecDeque<StreamEvent>,
    cancelling: Option<Cancelling>,
    /// Edge: the relay cancelled.
    cancelled: bool,
    /// A terminal event was given or is queued.
    concluded: bool,
    /// The application is gone: events are of no use.
    muted: bool,
    starved: bool,
    ends_at: Instant,
    gone: Option<Gone>,
}

impl Stream {
    /// Relay: a request, with its first (or all) body bytes; `fin` if nothing follows them.
    #[must_use]
    pub fn relay(id: StreamId, limits: Limits, windows: Windows, now: Instant, open: Box<Open>, body: Bytes, fin: bool) -> Self {
        let mut stream = Self::new(Side::Relay, id, limits, windows, now, Some(First::Open(open)));
        stream.send.push(now, &limits, body);
        if fin {
            stream.send.set_terminal(Terminal::End(None));
        }
        stream
    }

    /// Edge: the answering end of a request whose `open` arrived with this body.
    #[must_use]
    pub fn edge(id: StreamId, limits: Limits, windows: Windows, now: Instant, open: &Open, body: Bytes, fin: bool) -> Self {
        let mut stream = Self::new(Side::Edge, id, limits, windows, now, None);
        stream.reply.clone_from(&open.reply);
        stream.accept(now, 0, Item::Open { fin }, body);
        stream
    }

    fn new(side: Side, id: StreamId, limits: Limits, windows: Windows, now: Instant, first: Option<First>) -> Self {
        Self {
            id,
            side,
            limits,
            reply: None,
            send: SendHalf::new(first, windows.peer),
            recv: RecvHalf::new(windows.own),
            rto: Rto::default(),
            events: VecDeque::new(),
            cancelling: None,
            cancelled: false,
            concluded: false,
            muted: false,
            starved: false,
            ends_at: now + limits.stream_max,
            gone: None,
        }
    }

    /// A frame of this stream arrived. Frames of the other direction's kinds are ignored.
    pub fn handle_input(&mut self, now: Instant, frame: Frame) {
        self.send.peer_answered();
        match (self.side, frame) {
            (_, Frame::Data { seq, body, .. }) => self.accept(now, seq, Item::Data, body),
            (_, Frame::End { seq, body, outcome, .. }) => {
                self.accept(now, seq, Item::End(outcome.map(|outcome| *outcome)), body);
            }
            (_, Frame::Ack { next, limit, miss, .. }) => {
                self.send.on_ack(now, &self.limits, &mut self.rto, (next, limit), &miss);
                self.say_writable();
            }
            (_, Frame::Probe { .. }) => self.recv.ack_requested(),
            (Side::Edge, Frame::Open { body, fin, .. }) => self.accept(now, 0, Item::Open { fin }, body),
            (Side::Edge, Frame::Cancel { reason, .. }) => self.on_cancel(reason),
            (Side::Relay, Frame::Head { head, body, .. }) => self.accept(now, 0, Item::Head(head), body),
            (Side::Relay, Frame::Fail { seq, failure, .. }) => self.on_fail(now, seq, *failure),
            (Side::Relay, Frame::Open { .. } | Frame::Cancel { .. })
            | (Side::Edge, Frame::Head { .. } | Frame::Fail { .. })
            | (
                _,
                Frame::Hello(_)
                | Frame::Welcome(_)
                | Frame::Catalog { .. }
                | Frame::Load { .. }
                | Frame::Ping { .. }
                | Frame::Pong { .. }
                | Frame::Goaway { .. }
                | Frame::Goodbye { .. }
                | Frame::Unknown,
            ) => {}
        }
        self.settle(now);
    }

    fn accept(&mut self, now: Instant, seq: u64, item: Item, body: Bytes) {
        let queued = self.events.len();
        if self.recv.accept(now, &self.limits, seq, item, body, &mut self.events).is_err() {
            self.window_broken(now);
        } else {
            self.note_conclusion(queued);
        }
    }

    /// After a delivery: nothing follows a terminal event, and the relay has nothing left to send
    /// once the answer has ended.
    fn note_conclusion(&mut self, queued: usize) {
        if self.concluded {
            self.events.truncate(queued);
        }
        if self.side == Side::Relay && self.recv.ended() {
            self.concluded = true;
            self.send.abandon();
            self.cancelling = None;
        }
    }

    fn on_fail(&mut self, now: Instant, seq: u64, failure: Failure) {
        // An edge that gave the stream up, or never had it, has nothing left to send again.
        if !matches!(failure.code, Code::LinkLost | Code::UnknownStream) {
            return self.accept(now, seq, Item::Fail(failure), Bytes::new());
        }
        let queued = self.events.len();
        self.recv.end_abruptly(seq, failure, &mut self.events);
        self.note_conclusion(queued);
    }

    fn window_broken(&mut self, now: Instant) {
        let failure = Failure::new(Code::Internal, "the peer sent more than its window allows");
        match self.side {
            Side::Edge => self.fail_here(failure),
            Side::Relay => {
                self.conclude(StreamEvent::Failed(failure));
                self.start_cancel(now, "window");
            }
        }
    }

    fn on_cancel(&mut self, reason: String) {
        if self.cancelled || self.send.end_queued() {
            return;
        }
        self.cancelled = true;
        self.send.drop_unsent();
        self.recv.discard();
        self.conclude(StreamEvent::Cancelled(reason));
    }

    /// Gives the one terminal event.
    fn conclude(&mut self, event: StreamEvent) {
        if !self.concluded {
            self.concluded = true;
            self.events.push_back(event);
        }
    }

    /// Edge: ends the answer from inside, dropping what the relay has not been sent.
    fn fail_here(&mut self, failure: Failure) {
        if self.send.is_open() {
            self.send.drop_unsent();
            self.send.set_terminal(Terminal::Fail(failure.clone()));
        }
        self.recv.discard();
        self.conclude(StreamEvent::Failed(failure));
    }

    /// Either side: the peer is out of reach for good.
    pub fn give_up(&mut self, failure: Failure) {
        if self.gone.is_none() {
            self.gone = Some(Gone::Lost { seq: self.send.next_seq() });
            self.send.abandon();
            self.recv.discard();
            self.cancelling = None;
            self.conclude(StreamEvent::Failed(failure));
        }
    }

    /// Edge: the relay that asked is gone, and its caller with it.
    pub fn peer_gone(&mut self, reason: &str) {
        if self.gone.is_none() {
            self.gone = Some(Gone::Lost { seq: self.send.next_seq() });
            self.send.abandon();
            self.recv.discard();
            self.conclude(StreamEvent::Cancelled(reason.to_owned()));
        }
    }

    /// What follows from a change: window watch, and whether the state is still needed.
    fn settle(&mut self, now: Instant) {
        self.send.watch_window(now, &self.limits, &self.rto);
        if self.gone.is_some() {
            return;
        }
        let done = match self.side {
            Side::Edge => self.send.done(),
            Side::Relay => self.recv.drained() || (self.muted && self.recv.ended()),
        };
        if done {
            self.gone = Some(Gone::Done { next: self.recv.next() });
        }
    }

    /// Timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.recv.handle_timeout(now);
        if self.send.handle_timeout(now, &self.limits, &mut self.rto) {
            self.give_up(link_lost());
        }
        if let Some(cancelling) = &mut self.cancelling {
            if cancelling.again_at.is_some_and(|at| at <= now) {
                cancelling.again_at = None;
                cancelling.due = true;
                self.rto.double();
            }
            if cancelling.since + self.limits.resume_window <= now {
                self.give_up(link_lost());
            }
        }
        if self.ends_at <= now {
            self.end_of_life(now);
        }
        self.settle(now);
    }

    fn end_of_life(&mut self, now: Instant) {
        // What is begun here has one more resume window; after that nothing waits any longer.
        self.ends_at = now + self.limits.resume_window;
        match self.side {
            Side::Edge if self.send.is_open() => {
                self.fail_here(Failure::new(Code::DeadlineExceeded, "the answer took longer than a stream may live"));
            }
            Side::Relay if !self.recv.ended() && self.cancelling.is_none() => self.start_cancel(now, "stream_max"),
            Side::Edge | Side::Relay => self.give_up(link_lost()),
        }
    }

    /// The next frame for this connection: control first.
    pub fn poll_transmit(&mut self, now: Instant, conn: ConnId) -> Option<Frame> {
        self.poll_control(now).or_else(|| self.poll_numbered(now, conn))
    }

    /// The next `cancel`, `ack` or `probe`: what overtakes data.
    pub fn poll_control(&mut self, now: Instant) -> Option<Frame> {
        let again_in = self.rto.current(&self.limits);
        if let Some(cancelling) = &mut self.cancelling
            && cancelling.due
        {
            cancelling.due = false;
            cancelling.again_at = Some(now + again_in);
            return Some(Frame::Cancel { stream: self.id, reason: cancelling.reason.clone() });
        }
        if self.recv.wants_ack() {
            let (next, limit, miss) = self.recv.take_ack();
            return Some(Frame::Ack { stream: self.id, next, limit, miss, reply: self.reply.clone() });
        }
        self.send.take_probe().then(|| Frame::Probe { stream: self.id, reply: self.reply.clone() })
    }

    /// The next numbered frame; it counts as last sent on this connection.
    pub fn poll_numbered(&mut self, now: Instant, conn: ConnId) -> Option<Frame> {
        let reply_len = self.reply.as_ref().map_or(0, String::len);
        let (seq, content, body) = self.send.next_frame(now, conn, &self.limits, &self.rto, reply_len)?;
        self.send.watch_window(now, &self.limits, &self.rto);
        let (stream, reply) = (self.id, self.reply.clone());
        Some(match content {
            Content::Open { open, fin } => Frame::Open { stream, open, body, fin },
            Content::Head(head) => Frame::Head { stream, head, body, reply },
            Content::Data => Frame::Data { stream, seq, body, reply },
            Content::End(outcome) => Frame::End { stream, seq, body, outcome, reply },
            Content::Fail(failure) => Frame::Fail { stream, seq, failure, reply },
        })
    }

    /// Whether `poll_control` gives something.
    #[must_use]
    pub fn wants_control(&self) -> bool {
        self.recv.wants_ack()
            || self.send.wants_probe()
            || self.cancelling.as_ref().is_some_and(|cancelling| cancelling.due)
    }

    /// Whether `poll_numbered` gives something.
    #[must_use]
    pub fn wants_numbered(&self, now: Instant) -> bool {
        self.send.wants(now)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        if self.muted {
            self.events.clear();
        }
        self.events.pop_front()
    }

    /// When to call `handle_timeout`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.gone.is_some() {
            return None;
        }
        let cancel = self.cancelling.as_ref().map(|cancelling| {
            let gives_up = cancelling.since + self.limits.resume_window;
            cancelling.again_at.map_or(gives_up, |at| at.min(gives_up))
        });
        let timers = [self.recv.poll_timeout(), self.send.poll_timeout(&self.limits), cancel, Some(self.ends_at)];
        timers.into_iter().flatten().min()
    }

    /// Edge: status and headers, once, before any body.
    pub fn send_head(&mut self, now: Instant, head: Head) {
        let size: usize = head.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > MAX_HEADERS {
            self.fail_here(Failure::new(Code::Internal, "the answer's headers are longer than 4 KiB"));
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

    /// Edge: the buffer is full because the caller reads too slowly.
    pub fn fail_slow_reader(&mut self) {
        self.fail_here(Failure::new(Code::SlowReader, "the caller read too slowly and the buffer is full"));
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

    fn say_writable(&mut self) {
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

    fn start_cancel(&mut self, now: Instant, reason: &str) {
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

    /// A connection died or was replaced: what was last sent on it goes again, on any other.
    pub fn conn_lost(&mut self, conn: ConnId) {
        self.send.conn_lost(conn);
        if let Some(cancelling) = &mut self.cancelling {
            cancelling.due = true;
        }
    }

    /// Whether a frame in flight was last sent on this connection.
    #[must_use]
    pub fn unacked_on(&self, conn: ConnId) -> bool {
        self.send.unacked_on(conn)
    }

    /// Set once the state is not needed any more.
    #[must_use]
    pub fn gone(&self) -> Option<Gone> {
        self.gone
    }
}

fn link_lost() -> Failure {
    Failure::new(Code::LinkLost, "the link between relay and edge was gone for too long")
}

/// Cuts a free text at a character so that its frame's header stays within 8 KiB.
pub(crate) fn shorten(text: &mut String) {
    if text.len() > MAX_REASON {
        text.truncate(text.floor_char_boundary(MAX_REASON));
    }
}
