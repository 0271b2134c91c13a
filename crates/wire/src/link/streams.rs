//! The frames of streams, known and unknown, and what follows from a change to a stream.
//!
//! Invariants: a request comes up at most once per edge instance; every frame of an ended or
//! unknown stream gets an answer that ends the matter; nothing unknown makes state but a bounded
//! tombstone or orphan.

use std::time::Instant;

use bytes::Bytes;

use super::table::Entry;
use super::timers::Key;
use super::tombs::{Refusal, Tomb};
use super::{End, Event, Link, OpenRefused};
use crate::frame::fits_header;
use crate::limits::{MAX_HEADERS, MAX_REPLY, MAX_TARGET};
use crate::stream::{Gone, Windows};
use crate::{Code, ConnId, Frame, Open, Stream, StreamId};

impl Link {
    pub(super) fn open_stream(
        &mut self,
        now: Instant,
        id: StreamId,
        open: Open,
        body: Bytes,
        fin: bool,
    ) -> Result<(), OpenRefused> {
        let End::Relay(relay) = &self.end else {
            return Err(OpenRefused::Offline);
        };
        let Some(peer) = self.peer else {
            return Err(OpenRefused::Offline);
        };
        if self.draining || self.peer_draining || relay.superseded || self.live_conns().next().is_none() {
            return Err(OpenRefused::Offline);
        }
        if self.table.active >= usize::try_from(relay.max_streams).unwrap_or(usize::MAX) {
            return Err(OpenRefused::Full);
        }
        check_size(&open)?;
        if self.table.streams.contains_key(&id) {
            return Ok(());
        }
        let windows = Windows { peer: relay.edge_window, own: relay.window };
        let stream = Stream::relay(id, self.limits, windows, now, Box::new(open), body, fin);
        self.table.streams.insert(id, Entry::new(stream, peer));
        self.assign(id);
        self.touch(now, id);
        Ok(())
    }

    /// A frame of a stream came on a connection.
    pub(super) fn on_stream_frame(&mut self, now: Instant, conn: ConnId, id: StreamId, frame: Frame) {
        if let Some(entry) = self.table.streams.get_mut(&id) {
            entry.stream.handle_input(now, frame);
            self.touch(now, id);
            return;
        }
        match self.end {
            End::Edge(_) => self.on_unknown_at_edge(now, conn, id, frame),
            End::Relay(_) => self.on_unknown_at_relay(conn, id, &frame),
        }
    }

    fn on_unknown_at_edge(&mut self, now: Instant, conn: ConnId, id: StreamId, frame: Frame) {
        if matches!(frame, Frame::Ack { .. }) {
            return;
        }
        let Some((tomb, reply)) = self.table.tombs.get(id) else {
            return self.on_new_at_edge(now, conn, id, frame);
        };
        let reply = if let Frame::Open { open, .. } = &frame { open.reply.as_deref() } else { reply };
        let answer = match tomb {
            Tomb::Done { .. } if matches!(frame, Frame::Cancel { .. }) => return,
            Tomb::Done { next } => final_ack(id, next, reply),
            Tomb::Refused(why) => refusal(id, 0, why, reply),
            Tomb::Lost { seq } => refusal(id, seq, Refusal::LinkLost, reply),
        };
        self.reply(conn, answer);
    }

    fn on_new_at_edge(&mut self, now: Instant, conn: ConnId, id: StreamId, frame: Frame) {
        if let Frame::Open { open, body, fin, .. } = frame {
            self.on_open(now, conn, id, open, body, fin);
        } else if matches!(frame, Frame::Cancel { .. }) {
            // Its open has not come, so nobody has said what to echo.
            self.refuse(now, conn, id, Refusal::Cancelled, None);
        } else {
            self.table.orphans.hold(now, conn, id, frame);
            self.timers.arm(Key::Orphans, self.table.orphans.deadline());
        }
    }

    fn on_open(&mut self, now: Instant, conn: ConnId, id: StreamId, open: Box<Open>, body: Bytes, fin: bool) {
        let End::Edge(edge) = &self.end else { return };
        let most = usize::try_from(edge.config.max_streams).unwrap_or(usize::MAX);
        if open.edge_instance != edge.config.instance {
            // No tombstone: it is not this run's request, and stays refused.
            return self.reply(conn, refusal(id, 0, Refusal::WrongInstance, open.reply.as_deref()));
        }
        if self.draining {
            return self.refuse(now, conn, id, Refusal::Draining, open.reply.as_deref());
        }
        // Answers that only wait for their last ack count too, twice over, so that they are bounded.
        if self.table.active >= most || self.table.streams.len() >= most.saturating_mul(2).saturating_add(64) {
            return self.refuse(now, conn, id, Refusal::Saturated, open.reply.as_deref());
        }
        let Some((peer, window)) = self.conns.get(&conn).and_then(|conn| Some((conn.peer?, conn.peer_window))) else {
            return;
        };
        let windows = Windows { peer: window, own: crate::limits::EDGE_WINDOW };
        let stream = Stream::edge(id, self.limits, windows, now, &open, body, fin);
        self.table.streams.insert(id, Entry::new(stream, peer));
        self.events.push_back(Event::Incoming(id, open));
        self.settle_on(id, conn);
        for early in self.table.orphans.take(id) {
            if let Some(entry) = self.table.streams.get_mut(&id) {
                entry.stream.handle_input(now, early);
            }
        }
        self.touch(now, id);
    }

    /// Refuses for good: a later copy of the `open` gets the same answer.
    fn refuse(&mut self, now: Instant, conn: ConnId, id: StreamId, why: Refusal, reply: Option<&str>) {
        self.table.orphans.take(id);
        self.table.tombs.insert(now, self.limits.resume_window * 2, id, Tomb::Refused(why), reply);
        self.reply(conn, refusal(id, 0, why, reply));
    }

    pub(super) fn refuse_orphans(&mut self, now: Instant) {
        while let Some((id, conn)) = self.table.orphans.pop_expired(now) {
            self.refuse(now, conn, id, Refusal::UnknownStream, None);
        }
        self.timers.arm(Key::Orphans, self.table.orphans.deadline());
    }

    fn on_unknown_at_relay(&mut self, conn: ConnId, id: StreamId, frame: &Frame) {
        let answer = match (self.table.tombs.get(id), frame) {
            (_, Frame::Ack { .. }) => return,
            (Some((Tomb::Done { next }, _)), _) => final_ack(id, next, None),
            // The edge is done with it: an ack of everything is all it waits for.
            (_, Frame::End { seq, .. } | Frame::Fail { seq, .. }) => final_ack(id, seq.saturating_add(1), None),
            (_, _) => Frame::Cancel { stream: id, reason: Code::UnknownStream.as_str().to_owned() },
        };
        self.reply(conn, answer);
    }

    /// Queues an unsequenced answer on the connection it belongs to, or on any live one.
    pub(super) fn reply(&mut self, conn: ConnId, frame: Frame) {
        let usable = self.conns.get(&conn).is_some_and(super::Conn::is_up);
        let conn = if usable { Some(conn) } else { self.live_conns().next() };
        if let Some(conn) = conn.and_then(|conn| self.conns.get_mut(&conn)) {
            conn.queue(frame);
        }
    }

    /// Queues the last ack of a stream; see [`super::Conn::queue_final`].
    fn reply_last(&mut self, now: Instant, id: ConnId, ack: Frame) {
        match self.conns.get_mut(&id).filter(|conn| conn.is_up()) {
            Some(conn) => {
                if conn.queue_final(now, ack) {
                    self.arm_conn(now, id);
                }
            }
            None => self.reply(id, ack),
        }
    }

    /// What follows from any change to a stream: events, counts, timers, queues, its end.
    pub(super) fn touch(&mut self, now: Instant, id: StreamId) {
        let Some(entry) = self.table.streams.get_mut(&id) else {
            return;
        };
        while let Some(event) = entry.stream.poll_event() {
            self.events.push_back(Event::Stream(id, event));
        }
        let buffered = entry.stream.unacked();
        self.table.buffered = self.table.buffered - entry.buffered + buffered;
        entry.buffered = buffered;
        let active = entry.stream.is_active();
        self.table.active = self.table.active + usize::from(active) - usize::from(entry.active);
        entry.active = active;
        self.watch_room();
        self.touch_busy(now, id);
        let Some(entry) = self.table.streams.get_mut(&id) else {
            return;
        };
        if let Some(gone) = entry.stream.gone() {
            return self.remove(now, id, gone);
        }
        self.timers.arm(Key::Stream(id), entry.stream.poll_timeout());
        if let Some(conn) = entry.conn.and_then(|conn| self.conns.get_mut(&conn)) {
            if !entry.in_urgent && entry.stream.wants_control() {
                entry.in_urgent = true;
                conn.urgent.push_back(id);
            }
            if !entry.in_ready && entry.stream.wants_numbered(now) {
                entry.in_ready = true;
                conn.ready.push_back(id);
            }
        }
    }

    /// Keeps the count of streams with something unacknowledged: it sets the pace of pings, on every
    /// connection, so that no stream moves from a dead one to another that died unnoticed.
    fn touch_busy(&mut self, now: Instant, id: StreamId) {
        let Some(entry) = self.table.streams.get_mut(&id) else { return };
        let busy = entry.stream.gone().is_none() && entry.stream.is_busy();
        if busy == entry.busy {
            return;
        }
        entry.busy = busy;
        if !busy {
            self.table.busy -= 1;
            return;
        }
        self.table.busy += 1;
        if self.table.busy == 1 {
            let ids: Vec<ConnId> = self.conns.keys().copied().collect();
            for id in ids {
                self.arm_conn(now, id);
            }
        }
    }

    fn remove(&mut self, now: Instant, id: StreamId, gone: Gone) {
        let Some(mut entry) = self.table.streams.remove(&id) else {
            return;
        };
        self.timers.forget(Key::Stream(id));
        self.table.parked.remove(&id);
        self.table.buffered -= entry.buffered;
        self.table.active -= usize::from(entry.active);
        self.table.busy -= usize::from(entry.busy);
        let conn = entry.conn;
        if let Some(conn) = conn.and_then(|conn| self.conns.get_mut(&conn)) {
            conn.streams = conn.streams.saturating_sub(1);
        }
        let hold = self.limits.resume_window * 2;
        match gone {
            Gone::Done { next } => {
                self.table.tombs.insert(now, hold, id, Tomb::Done { next }, entry.stream.reply());
                if let Some(conn) = conn
                    && let Some(last @ Frame::Ack { .. }) = entry.stream.poll_control(now)
                {
                    self.reply_last(now, conn, last);
                }
            }
            Gone::Lost { seq } => {
                self.table.tombs.insert(now, hold, id, Tomb::Lost { seq }, entry.stream.reply());
                if let (Some(conn), End::Relay(_)) = (conn, &self.end) {
                    let reason = Code::LinkLost.as_str().to_owned();
                    self.reply(conn, Frame::Cancel { stream: id, reason });
                }
            }
            Gone::Unsent => {}
        }
        self.events.push_back(Event::Released(id));
    }
}

fn final_ack(stream: StreamId, next: u64, reply: Option<&str>) -> Frame {
    Frame::Ack { stream, next, limit: 0, miss: Vec::new(), reply: reply.map(str::to_owned) }
}

fn refusal(stream: StreamId, seq: u64, why: Refusal, reply: Option<&str>) -> Frame {
    Frame::Fail { stream, seq, failure: Box::new(why.failure()), reply: reply.map(str::to_owned) }
}

fn check_size(open: &Open) -> Result<(), OpenRefused> {
    if open.method.len() + open.path.len() > MAX_TARGET {
        return Err(OpenRefused::TargetTooLong);
    }
    let headers: usize = open.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers > MAX_HEADERS || open.reply.as_ref().is_some_and(|reply| reply.len() > MAX_REPLY) {
        return Err(OpenRefused::HeadersTooLong);
    }
    let rest = [&open.model, &open.traceparent, &open.reply].into_iter().flatten().map(String::len).sum::<usize>();
    let text = open.path.len() + open.method.len() + headers + rest + open.key.len() + 8 * open.headers.len();
    if fits_header(open, text) { Ok(()) } else { Err(OpenRefused::HeadersTooLong) }
}
