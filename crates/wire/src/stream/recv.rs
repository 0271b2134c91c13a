//! The receiving direction of a stream: order, duplicates, window, and when an ack is due.
//!
//! Invariants: what is delivered is a prefix of what was sent, each frame once; at most 1,024
//! early frames and one window of bytes are held; `next` and the limit in acks only grow.
//! Absent: what the frames mean for the stream's life (`stream.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::StreamEvent;
use crate::limits::{ACK_EVERY, MAX_HELD_FRAMES, MAX_MISS};
use crate::{Failure, Head, Limits, Outcome};

/// A sequenced frame without its number and body.
#[derive(Debug)]
pub(super) enum Item {
    Open { fin: bool },
    Head(Head),
    Data,
    End(Option<Outcome>),
    Fail(Failure),
}

/// The peer sent more body bytes than it was allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WindowBroken;

#[derive(Debug)]
pub(super) struct RecvHalf {
    next: u64,
    held: BTreeMap<u64, (Item, Bytes)>,
    held_bytes: u64,
    inbox: VecDeque<Bytes>,
    received: u64,
    consumed: u64,
    window: u64,
    advertised: u64,
    readable_said: bool,
    head_said: bool,
    ended: bool,
    discard: bool,
    unacked: u32,
    ack_now: bool,
    ack_at: Option<Instant>,
    gap_at: Option<Instant>,
    gap_old: bool,
}

impl RecvHalf {
    pub(super) fn new(window: u64) -> Self {
        Self {
            next: 0,
            held: BTreeMap::new(),
            held_bytes: 0,
            inbox: VecDeque::new(),
            received: 0,
            consumed: 0,
            window,
            advertised: window,
            readable_said: false,
            head_said: false,
            ended: false,
            discard: false,
            unacked: 0,
            ack_now: false,
            ack_at: None,
            gap_at: None,
            gap_old: false,
        }
    }

    /// The terminal frame was delivered.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Ended, and the application has taken everything.
    pub(super) fn drained(&self) -> bool {
        self.ended && self.inbox.is_empty()
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    fn limit(&self) -> u64 {
        self.consumed.saturating_add(self.window)
    }

    /// Takes a frame and pushes what it makes deliverable as events.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        limits: &Limits,
        seq: u64,
        item: Item,
        body: Bytes,
        events: &mut VecDeque<StreamEvent>,
    ) -> Result<(), WindowBroken> {
        if self.ended || seq < self.next || self.held.contains_key(&seq) {
            self.ack_now = true;
            return Ok(());
        }
        let bytes = body.len() as u64;
        if self.received.saturating_add(self.held_bytes).saturating_add(bytes) > self.limit() {
            return Err(WindowBroken);
        }
        if seq > self.next {
            if seq - self.next > MAX_HELD_FRAMES as u64 || self.held.len() >= MAX_HELD_FRAMES {
                return Ok(());
            }
            self.held_bytes += bytes;
            self.held.insert(seq, (item, body));
            self.gap_at.get_or_insert(now + limits.reorder);
        } else {
            self.deliver(item, body, events);
            while let Some((item, body)) = self.held.remove(&self.next) {
                self.held_bytes -= body.len() as u64;
                self.deliver(item, body, events);
            }
            self.gap_old = false;
            self.gap_at = (!self.held.is_empty()).then(|| now + limits.reorder);
        }
        self.unacked += 1;
        self.ack_now |= self.ended || self.unacked >= ACK_EVERY;
        self.ack_at.get_or_insert(now + limits.ack_delay);
        Ok(())
    }

    fn deliver(&mut self, item: Item, body: Bytes, events: &mut VecDeque<StreamEvent>) {
        if self.ended {
            return;
        }
        self.next += 1;
        let end = match item {
            Item::Head(head) => {
                if !self.head_said {
                    self.head_said = true;
                    events.push_back(StreamEvent::Head(head));
                }
                None
            }
            Item::Data | Item::Open { fin: false } => None,
            Item::Open { fin: true } => Some(StreamEvent::End(None)),
            Item::End(outcome) => Some(StreamEvent::End(outcome)),
            Item::Fail(failure) => Some(StreamEvent::Failed(failure)),
        };
        self.take_body(body, events);
        if let Some(end) = end {
            self.end(end, events);
        }
    }

    fn take_body(&mut self, body: Bytes, events: &mut VecDeque<StreamEvent>) {
        self.received += body.len() as u64;
        if self.discard {
            self.consumed = self.received;
            self.ack_for_limit();
        } else if !body.is_empty() {
            self.inbox.push_back(body);
            if !self.readable_said {
                self.readable_said = true;
                events.push_back(StreamEvent::Readable);
            }
        }
    }

    fn end(&mut self, event: StreamEvent, events: &mut VecDeque<StreamEvent>) {
        self.ended = true;
        self.held.clear();
        self.held_bytes = 0;
        self.gap_at = None;
        events.push_back(event);
    }

    /// Ends out of order: the peer has given the stream up and will not send what is missing.
    pub(super) fn end_abruptly(&mut self, seq: u64, failure: Failure, events: &mut VecDeque<StreamEvent>) {
        if !self.ended {
            self.next = self.next.max(seq.saturating_add(1));
            self.end(StreamEvent::Failed(failure), events);
        }
        self.ack_now = true;
    }

    /// Body bytes are of no use any more: dropped, and still acknowledged.
    pub(super) fn discard(&mut self) {
        self.discard = true;
        self.inbox.clear();
        self.consumed = self.received;
        self.ack_for_limit();
    }

    pub(super) fn recv(&mut self) -> Option<Bytes> {
        self.readable_said = false;
        let body = self.inbox.pop_front()?;
        self.consumed += body.len() as u64;
        self.readable_said = !self.inbox.is_empty();
        self.ack_for_limit();
        Some(body)
    }

    /// Delivered bytes wait to be taken.
    pub(super) fn has_data(&self) -> bool {
        !self.inbox.is_empty()
    }

    fn ack_for_limit(&mut self) {
        if !self.ended && self.limit() - self.advertised >= self.window / 2 {
            self.ack_now = true;
        }
    }

    pub(super) fn ack_requested(&mut self) {
        self.ack_now = true;
    }

    pub(super) fn wants_ack(&self) -> bool {
        self.ack_now
    }

    /// `next`, `limit` and `miss` of an ack that is sent now.
    pub(super) fn take_ack(&mut self) -> (u64, u64, Vec<u64>) {
        self.ack_now = false;
        self.ack_at = None;
        self.unacked = 0;
        self.advertised = self.limit();
        let miss = if self.gap_old { self.missing() } else { Vec::new() };
        (self.next, self.advertised, miss)
    }

    fn missing(&self) -> Vec<u64> {
        let mut miss = Vec::new();
        let mut expected = self.next;
        for &seq in self.held.keys() {
            for absent in expected..seq {
                if miss.len() == MAX_MISS {
                    return miss;
                }
                miss.push(absent);
            }
            expected = seq + 1;
        }
        miss
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.ack_now {
            return self.gap_at;
        }
        [self.ack_at, self.gap_at].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.ack_at.is_some_and(|at| at <= now) {
            self.ack_at = None;
            self.ack_now = true;
        }
        if self.gap_at.is_some_and(|at| at <= now) {
            self.gap_at = None;
            self.gap_old = true;
            self.ack_now = true;
        }
    }
}
