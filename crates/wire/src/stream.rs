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
mod transmit;
mod types;
mod verbs;

pub use types::{Gone, SendRefused, StreamEvent, Windows};

use recv::{Item, RecvHalf};
use rto::Rto;
use send::{First, SendHalf, Terminal};

use crate::limits::MAX_REASON;
use crate::{Code, ConnId, Failure, Frame, Limits, Open, StreamId};

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
    /// Relay: it lived too long and was cancelled for that; bytes were dropped.
    expired: bool,
    /// A terminal event was given or is queued.
    concluded: bool,
    /// The application is gone: events are of no use.
    muted: bool,
    starved: bool,
    /// When the peer last said something of this stream, or was asked to.
    heard: Instant,
    ask_now: bool,
    ends_at: Instant,
    gone: Option<Gone>,
}

impl Stream {
    /// Relay: a request, with its first (or all) body bytes; `fin` if nothing follows them.
    #[must_use]
    pub fn relay(
        id: StreamId,
        limits: Limits,
        windows: Windows,
        now: Instant,
        open: Box<Open>,
        body: Bytes,
        fin: bool,
    ) -> Self {
        let mut stream = Self::new(Side::Relay, id, limits, windows, now, Some(First::Open(open)));
        stream.send.push(now, &limits, body);
        if fin {
            stream.send.set_terminal(Terminal::End(None));
        }
        stream
    }

    /// Edge: the answering end of a request whose `open` arrived with this body.
    #[must_use]
    pub fn edge(
        id: StreamId,
        limits: Limits,
        windows: Windows,
        now: Instant,
        open: &Open,
        body: Bytes,
        fin: bool,
    ) -> Self {
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
            expired: false,
            concluded: false,
            muted: false,
            starved: false,
            heard: now,
            ask_now: false,
            ends_at: now + limits.stream_max,
            gone: None,
        }
    }

    /// A frame of this stream arrived. Frames of the other direction's kinds are ignored.
    pub fn handle_input(&mut self, now: Instant, frame: Frame) {
        self.send.peer_answered();
        self.heard = now;
        self.ask_now = false;
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
            if self.expired && !self.concluded {
                self.say_expired();
            }
            self.concluded = true;
            self.send.abandon();
            self.cancelling = None;
        }
    }

    /// The end that answers our own cancel: bytes were dropped, so it must not pass for a whole one.
    fn say_expired(&mut self) {
        let used = match self.events.pop_back() {
            Some(StreamEvent::End(outcome)) => outcome.unwrap_or_default(),
            Some(StreamEvent::Failed(failure)) if failure.code == Code::Cancelled => failure.outcome,
            other => return self.events.extend(other),
        };
        self.events.push_back(StreamEvent::Failed(Failure { outcome: used, ..too_long() }));
    }

    fn on_fail(&mut self, now: Instant, seq: u64, failure: Failure) {
        // An edge that once took the request and does not know it now may have run it: that promise
        // is of its present run only.
        let disowned = matches!(failure.code, Code::UnknownStream | Code::WrongInstance);
        let failure = if disowned && self.was_taken() { link_lost() } else { failure };
        // An edge that gave the stream up, or never had it, has nothing left to send again.
        if !matches!(failure.code, Code::LinkLost | Code::UnknownStream) {
            return self.accept(now, seq, Item::Fail(failure), Bytes::new());
        }
        let queued = self.events.len();
        self.recv.end_abruptly(seq, failure, &mut self.events);
        self.note_conclusion(queued);
    }

    /// Relay: the edge has acknowledged the `open` or begun to answer.
    fn was_taken(&self) -> bool {
        self.send.first_acked() || self.recv.next() > 0
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

    /// Either side: the peer is out of reach for good. An answer that is whole stays to be taken.
    pub fn give_up(&mut self, failure: Failure) {
        if self.side == Side::Relay && self.recv.ended() {
            return;
        }
        self.drop_state(failure);
    }

    fn drop_state(&mut self, failure: Failure) {
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
        if self.silence_ends() <= now {
            // One side may have given up unseen by the other: the answer to a probe tells.
            self.heard = now;
            self.ask_now = !self.recv.ended() || self.side == Side::Edge;
        }
        if self.ends_at <= now {
            self.end_of_life(now);
        }
        self.settle(now);
    }

    fn silence_ends(&self) -> Instant {
        self.heard + self.limits.resume_window / 2
    }

    fn end_of_life(&mut self, now: Instant) {
        // What is begun here has one more resume window; after that nothing waits any longer.
        self.ends_at = now + self.limits.resume_window;
        match self.side {
            Side::Edge if self.send.is_open() => {
                self.fail_here(too_long());
            }
            Side::Relay if !self.recv.ended() && self.cancelling.is_none() => {
                self.expired = true;
                self.start_cancel(now, "stream_max");
            }
            // An answer that is whole stays to be taken: its caller has its own limits.
            Side::Relay if self.recv.ended() => {}
            Side::Edge | Side::Relay => self.drop_state(link_lost()),
        }
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
        let ends = Some(self.ends_at.min(self.silence_ends()));
        let timers = [self.recv.poll_timeout(), self.send.poll_timeout(&self.limits), cancel, ends];
        timers.into_iter().flatten().min()
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

    /// Edge: what `open` asked to be echoed.
    pub(crate) fn reply(&self) -> Option<&str> {
        self.reply.as_deref()
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

fn too_long() -> Failure {
    Failure::new(Code::DeadlineExceeded, "the answer took longer than a stream may live")
}

/// Cuts a free text at a character where it would be longer than `MAX_REASON` as it is written.
pub(crate) fn shorten(text: &mut String) {
    let mut written = 0;
    let too_long = text.char_indices().find(|(_, character)| {
        written += match character {
            '"' | '\\' => 2,
            '\0'..='\u{1f}' => 6,
            plain => plain.len_utf8(),
        };
        written > MAX_REASON
    });
    if let Some((at, _)) = too_long {
        text.truncate(at);
    }
}
