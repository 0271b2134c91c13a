//! The frames a stream has to send: control first, then numbered ones.

use std::time::Instant;

use super::Stream;
use super::send::Content;
use crate::{ConnId, Frame};

impl Stream {
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
        let ask = self.send.take_probe() | std::mem::take(&mut self.ask_now);
        ask.then(|| Frame::Probe { stream: self.id, reply: self.reply.clone() })
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
            || self.ask_now
            || self.cancelling.as_ref().is_some_and(|cancelling| cancelling.due)
    }

    /// Whether `poll_numbered` gives something.
    #[must_use]
    pub fn wants_numbered(&self, now: Instant) -> bool {
        self.send.wants(now)
    }
}
