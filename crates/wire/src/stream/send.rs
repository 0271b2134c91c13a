//! The sending direction of a stream: numbers, window, what is in flight, and when it goes again.
//!
//! Invariants: a number keeps its content for ever; bodies in flight never pass the peer's limit;
//! at most 1,024 frames are in flight; the terminal frame is the last one.
//! Absent: receiving and cancelling (`recv.rs`, `stream.rs`).

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::outbox::{MIN_CUT, Outbox};
use super::rto::Rto;
use crate::limits::{CHUNK, MAX_FLIGHT, MAX_HEADER, SMALL_HEADER};
use crate::{ConnId, Failure, Head, Limits, Open, Outcome};

/// What a numbered frame is, apart from its body.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Open { open: Box<Open>, fin: bool },
    Head(Head),
    Data,
    End(Option<Box<Outcome>>),
    Fail(Box<Failure>),
}

/// How a direction ends, once the application said so.
#[derive(Debug)]
pub(super) enum Terminal {
    End(Option<Outcome>),
    Fail(Failure),
}

#[derive(Debug)]
struct Sent {
    content: Content,
    body: Bytes,
    on: Option<ConnId>,
    at: Instant,
    again: bool,
}

/// What frame 0 carries, while it has not been sent.
#[derive(Debug)]
pub(super) enum First {
    Open(Box<Open>),
    Head(Head),
}

#[derive(Debug)]
pub(super) struct SendHalf {
    outbox: Outbox,
    first: Option<First>,
    terminal: Option<Terminal>,
    flight: VecDeque<Sent>,
    base: u64,
    resend: BTreeSet<u64>,
    limit: u64,
    sent_bytes: u64,
    flight_bytes: usize,
    /// The terminal frame has its number: nothing new follows.
    closed: bool,
    /// Nothing is sent any more, new or again.
    abandoned: bool,
    /// The peer has shown that it knows the stream.
    answered: bool,
    flush_at: Option<Instant>,
    rto_at: Option<Instant>,
    probe_at: Option<Instant>,
    probe_now: bool,
    /// Since when something of ours waits for the peer's progress.
    stalled_since: Option<Instant>,
}

impl SendHalf {
    pub(super) fn new(first: Option<First>, limit: u64) -> Self {
        Self {
            outbox: Outbox::default(),
            first,
            terminal: None,
            flight: VecDeque::new(),
            base: 0,
            resend: BTreeSet::new(),
            limit,
            sent_bytes: 0,
            flight_bytes: 0,
            closed: false,
            abandoned: false,
            answered: false,
            flush_at: None,
            rto_at: None,
            probe_at: None,
            probe_now: false,
            stalled_since: None,
        }
    }

    /// Body bytes held: waiting or unacknowledged.
    pub(super) fn held_bytes(&self) -> usize {
        self.outbox.len() + self.flight_bytes
    }

    /// The application may still add to this direction.
    pub(super) fn is_open(&self) -> bool {
        self.terminal.is_none() && !self.closed && !self.abandoned
    }

    pub(super) fn end_queued(&self) -> bool {
        self.closed || self.terminal.is_some()
    }

    /// The terminal frame is acknowledged.
    pub(super) fn done(&self) -> bool {
        self.closed && self.flight.is_empty()
    }

    pub(super) fn unacked(&self) -> bool {
        !self.flight.is_empty()
    }

    pub(super) fn nothing_sent(&self) -> bool {
        self.base == 0 && self.flight.is_empty()
    }

    pub(super) fn first_acked(&self) -> bool {
        self.base > 0
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.base + self.flight.len() as u64
    }

    pub(super) fn unacked_on(&self, conn: ConnId) -> bool {
        self.flight.iter().any(|sent| sent.on == Some(conn))
    }

    pub(super) fn set_head(&mut self, head: Head) {
        if self.nothing_sent() && self.first.is_none() {
            self.first = Some(First::Head(head));
        }
    }

    pub(super) fn push(&mut self, now: Instant, limits: &Limits, body: Bytes) {
        // Bytes that are due already, and only the window holds, do not wait again for company.
        if self.outbox.is_empty() && !limits.flush.is_zero() {
            self.flush_at = Some(now + limits.flush);
        }
        self.outbox.push(body);
    }

    pub(super) fn set_terminal(&mut self, terminal: Terminal) {
        self.terminal = Some(terminal);
    }

    /// Takes back a terminal frame that has no number yet, with what it says was used.
    pub(super) fn take_outcome(&mut self) -> Option<Outcome> {
        match self.terminal.take()? {
            Terminal::End(outcome) => outcome,
            Terminal::Fail(failure) => Some(failure.outcome),
        }
    }

    /// Bytes wait that have no number yet.
    pub(super) fn can_shed(&self) -> bool {
        !self.closed && !self.abandoned && !self.outbox.is_empty()
    }

    /// Drops what has no number yet, except the terminal: the peer has no use for it.
    pub(super) fn drop_unsent(&mut self) {
        self.outbox.clear();
    }

    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
        self.outbox.clear();
        self.flight.clear();
        self.flight_bytes = 0;
        self.resend.clear();
        self.flush_at = None;
        self.rto_at = None;
        self.probe_at = None;
        self.probe_now = false;
        self.stalled_since = None;
    }

    /// Body bytes that a new frame may carry; 0 where not even one character surely fits.
    fn room(&self) -> usize {
        let left = usize::try_from(self.limit.saturating_sub(self.sent_bytes)).unwrap_or(usize::MAX);
        if left < MIN_CUT && left < self.outbox.len() { 0 } else { left }
    }

    /// Whether the outbox has a piece that only the window holds back.
    fn blocked(&self) -> bool {
        !self.abandoned && self.room() == 0 && self.outbox.has_piece(self.end_queued())
    }

    /// Whether a frame with a new number can be made now.
    fn has_new(&self, now: Instant) -> bool {
        if self.closed || self.abandoned || self.flight.len() >= MAX_FLIGHT {
            return false;
        }
        if self.first.is_some() {
            return true;
        }
        if self.outbox.is_empty() {
            return self.terminal.is_some();
        }
        let flushed = self.terminal.is_some() || self.outbox.len() >= CHUNK || self.flush_at.is_none_or(|at| at <= now);
        flushed && self.room() > 0 && self.outbox.has_piece(self.terminal.is_some())
    }

    /// Whether `next_frame` gives something.
    pub(super) fn wants(&self, now: Instant) -> bool {
        !self.resend.is_empty() || self.has_new(now)
    }

    /// The next frame: what must go again first, the lowest number first, then new ones.
    pub(super) fn next_frame(
        &mut self,
        now: Instant,
        conn: ConnId,
        limits: &Limits,
        rto: &Rto,
        reply_len: usize,
    ) -> Option<(u64, Content, Bytes)> {
        while let Some(seq) = self.resend.pop_first() {
            if let Some(frame) = self.again(now, conn, seq) {
                self.arm(now, limits, rto);
                return Some(frame);
            }
        }
        if !self.has_new(now) {
            return None;
        }
        let (content, body) = self.cut(limits, reply_len);
        let seq = self.next_seq();
        self.sent_bytes += body.len() as u64;
        self.flight_bytes += body.len();
        let sent = Sent { content: content.clone(), body: body.clone(), on: Some(conn), at: now, again: false };
        self.flight.push_back(sent);
        if self.outbox.is_empty() {
            self.flush_at = None;
        }
        self.stalled_since.get_or_insert(now);
        self.arm(now, limits, rto);
        Some((seq, content, body))
    }

    fn again(&mut self, now: Instant, conn: ConnId, seq: u64) -> Option<(u64, Content, Bytes)> {
        let place = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        let sent = self.flight.get_mut(place)?;
        sent.on = Some(conn);
        sent.at = now;
        sent.again = true;
        Some((seq, sent.content.clone(), sent.body.clone()))
    }

    /// Makes the next new frame; `has_new` said that there is one.
    fn cut(&mut self, limits: &Limits, reply_len: usize) -> (Content, Bytes) {
        let header = if self.first.is_some() { MAX_HEADER } else { SMALL_HEADER + 6 * reply_len };
        // Base64 pieces are cut by their encoded length, so this holds for both kinds of body.
        let most = limits.max_message.saturating_sub(header + 1).min(CHUNK).min(self.room());
        let last = self.terminal.is_some();
        let body = match most {
            0 => Bytes::new(),
            _ => self.outbox.cut(most, last).unwrap_or_default(),
        };
        let finished = last && self.outbox.is_empty();
        match self.first.take() {
            Some(First::Open(open)) => {
                self.closed = finished;
                if finished {
                    self.terminal = None;
                }
                (Content::Open { open, fin: finished }, body)
            }
            Some(First::Head(head)) => (Content::Head(head), body),
            None if !finished => (Content::Data, body),
            None => self.terminal_frame(body),
        }
    }

    fn terminal_frame(&mut self, body: Bytes) -> (Content, Bytes) {
        match self.terminal.take() {
            // `fail` carries no body: the last bytes go first, in a frame of their own.
            Some(Terminal::Fail(failure)) if !body.is_empty() => {
                self.terminal = Some(Terminal::Fail(failure));
                (Content::Data, body)
            }
            Some(Terminal::Fail(failure)) => {
                self.closed = true;
                (Content::Fail(Box::new(failure)), body)
            }
            Some(Terminal::End(outcome)) => {
                self.closed = true;
                (Content::End(outcome.map(Box::new)), body)
            }
            None => (Content::Data, body),
        }
    }

    /// Timers after a send: the retransmission timer runs from the oldest frame's last send.
    fn arm(&mut self, now: Instant, limits: &Limits, rto: &Rto) {
        if self.rto_at.is_none() && !self.flight.is_empty() {
            let unanswered_open = self.base == 0 && !self.answered;
            let opening = matches!(self.flight.front(), Some(Sent { content: Content::Open { .. }, .. }));
            let wait = rto.current(limits);
            let wait = if unanswered_open && opening { wait.max(limits.open_resend) } else { wait };
            self.rto_at = Some(now + wait);
        }
    }

    /// Notes whether only the window holds data back: then probes must ask for a lost ack.
    pub(super) fn watch_window(&mut self, now: Instant, limits: &Limits, rto: &Rto) {
        if self.flight.is_empty() && self.blocked() {
            self.probe_at.get_or_insert(now + rto.current(limits));
            self.stalled_since.get_or_insert(now);
        } else {
            self.probe_at = None;
            self.probe_now = false;
        }
    }

    /// Something of this stream came from the peer: it knows the stream.
    pub(super) fn peer_answered(&mut self) {
        self.answered = true;
    }

    /// Applies an ack by maximum. An ack of frames never sent is ignored.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        limits: &Limits,
        rto: &mut Rto,
        (next, limit): (u64, u64),
        miss: &[u64],
    ) {
        if self.abandoned || next > self.next_seq() {
            return;
        }
        let progress = next > self.base || limit > self.limit;
        self.limit = self.limit.max(limit);
        let mut newest = None;
        while self.base < next
            && let Some(sent) = self.flight.pop_front()
        {
            self.base += 1;
            self.flight_bytes -= sent.body.len();
            newest = Some(sent);
        }
        if let Some(Sent { again: false, at, .. }) = newest {
            rto.observe(now.saturating_duration_since(at), limits);
        }
        if self.resend.first().is_some_and(|&seq| seq < self.base) {
            self.resend = self.resend.split_off(&self.base);
        }
        if progress {
            rto.progress();
            self.rto_at = None;
            self.arm(now, limits, rto);
        }
        if progress || self.flight.is_empty() {
            self.stalled_since = (!self.flight.is_empty()).then_some(now);
        }
        let settled = rto.srtt().max(limits.reorder);
        for &seq in miss {
            if let Some(place) = seq.checked_sub(self.base).and_then(|place| usize::try_from(place).ok())
                && let Some(sent) = self.flight.get(place)
                && now.saturating_duration_since(sent.at) >= settled
            {
                self.resend.insert(seq);
            }
        }
    }

    /// Everything unacknowledged that was last sent on this connection must go again.
    pub(super) fn conn_lost(&mut self, conn: ConnId) {
        for (seq, sent) in (self.base..).zip(self.flight.iter_mut()) {
            if sent.on == Some(conn) {
                sent.on = None;
                self.resend.insert(seq);
            }
        }
    }

    pub(super) fn take_probe(&mut self) -> bool {
        std::mem::take(&mut self.probe_now)
    }

    pub(super) fn wants_probe(&self) -> bool {
        self.probe_now
    }

    pub(super) fn poll_timeout(&self, limits: &Limits) -> Option<Instant> {
        let stalled = self.stalled_since.map(|since| since + limits.resume_window);
        [self.flush_at, self.rto_at, self.probe_at, stalled].into_iter().flatten().min()
    }

    /// Returns whether the peer made no progress for the whole resume window.
    #[must_use]
    pub(super) fn handle_timeout(&mut self, now: Instant, limits: &Limits, rto: &mut Rto) -> bool {
        if self.flush_at.is_some_and(|at| at <= now) {
            // Due: whatever is in the outbox may go, and so may all that comes before it is empty.
            self.flush_at = None;
        }
        if self.rto_at.is_some_and(|at| at <= now) {
            self.rto_at = None;
            if !self.flight.is_empty() {
                self.resend.insert(self.base);
                rto.double();
                self.rto_at = Some(now + rto.current(limits));
            }
        }
        if self.probe_at.is_some_and(|at| at <= now) {
            self.probe_now = true;
            rto.double();
            self.probe_at = Some(now + rto.current(limits));
        }
        self.stalled_since.is_some_and(|since| since + limits.resume_window <= now)
    }
}
