//! What both ends do with connections: coming up, going down, choosing one for a stream, sending.
//!
//! Invariants: a stream leaves a connection only when that dies or is replaced; what was last sent
//! on a dead connection is ready on another one at once; control overtakes data.

use std::time::Instant;

use super::conn::{Conn, State};
use super::liveness::Verdict;
use super::relay::CLOSING;
use super::timers::Key;
use super::{Down, End, Event, Link};
use crate::limits::{MAX_SOCKETS, RETIRE};
use crate::{Code, ConnId, Failure, Frame, InstanceId, StreamId, decode};

/// Close code of a connection from which nothing came: private use, as no registered code says it.
const CLOSE_SILENT: u16 = 4000;

impl Link {
    pub(super) fn live_conns(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.conns.iter().filter(|(_, conn)| conn.is_live()).map(|(id, _)| *id)
    }

    pub(super) fn arm_conn(&mut self, now: Instant, id: ConnId) {
        if let Some(conn) = self.conns.get(&id) {
            let edge = matches!(self.end, End::Edge(_));
            self.timers.arm(Key::Conn(id), Some(conn.deadline(now, &self.limits, edge, self.table.busy > 0)));
        }
    }

    pub(super) fn on_connected(&mut self, now: Instant, id: ConnId) {
        match &self.end {
            End::Edge(_) => self.say_hello(now, id),
            End::Relay(_) => {
                let open = self.conns.values().filter(|conn| !matches!(conn.state, State::Closing { .. })).count();
                self.conns.entry(id).or_insert_with(|| Conn::new(State::Greeting, now, None));
                if open >= MAX_SOCKETS {
                    return self.close(now, id, 1013, "too many connections");
                }
                self.arm_conn(now, id);
            }
        }
    }

    pub(super) fn on_message(&mut self, now: Instant, id: ConnId, text: &str) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if matches!(conn.state, State::Closing { .. } | State::Dialing) {
            return;
        }
        conn.liveness.on_receipt(now);
        let frame = match decode(text) {
            Ok(frame) => frame,
            Err(error) => {
                self.events.push_back(Event::Fault(format!("the peer broke the protocol: {error}")));
                return self.close(now, id, 1002, "protocol error");
            }
        };
        if conn.state == State::Greeting && !matches!(frame, Frame::Hello(_) | Frame::Welcome(_)) {
            return;
        }
        if answers(&frame) {
            conn.proven |= conn.is_live();
            self.return_path = Some(now);
        }
        self.on_frame(now, id, frame);
    }

    fn on_frame(&mut self, now: Instant, id: ConnId, frame: Frame) {
        match frame {
            Frame::Open { stream, .. }
            | Frame::Head { stream, .. }
            | Frame::Data { stream, .. }
            | Frame::End { stream, .. }
            | Frame::Fail { stream, .. }
            | Frame::Ack { stream, .. }
            | Frame::Probe { stream, .. }
            | Frame::Cancel { stream, .. } => self.on_stream_frame(now, id, stream, frame),
            Frame::Hello(hello) => self.on_hello(now, id, &hello),
            Frame::Welcome(welcome) => self.on_welcome(now, id, &welcome),
            Frame::Catalog { rev, part, of, body } => self.on_catalog(now, id, rev, (part, of), &body),
            Frame::Load { rev, load } => self.on_load(now, id, rev, load),
            Frame::Ping { token } => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.pong = Some(token);
                }
            }
            Frame::Pong { token } => {
                let rtt = self.conns.get_mut(&id).and_then(|conn| conn.liveness.on_pong(now, token));
                if let Some(rtt) = rtt {
                    self.rtt = Some(rtt);
                    self.events.push_back(Event::Rtt(rtt));
                }
            }
            Frame::Goaway { scope, reason, reconnect_in_ms } => {
                self.on_goaway(now, id, scope, &reason, reconnect_in_ms)
            }
            Frame::Goodbye { scope } => self.on_goodbye(now, id, scope),
            Frame::Unknown => {}
        }
    }

    /// A frame that this end never gets from a peer of this protocol.
    pub(super) fn protocol_error(&mut self, now: Instant, id: ConnId) {
        self.events.push_back(Event::Fault("the peer broke the protocol: a frame of the other direction".to_owned()));
        self.close(now, id, 1002, "protocol error");
    }

    /// A connection was welcomed: streams without one move here.
    pub(super) fn came_up(&mut self, now: Instant, id: ConnId) {
        let Some(peer) = self.conns.get(&id).and_then(|conn| conn.peer) else {
            return;
        };
        if self.down_since.take().is_some() {
            let resumed = self.table.streams.values().any(|entry| entry.peer == peer);
            self.events.push_back(Event::Up { peer, resumed });
        }
        for parked in std::mem::take(&mut self.table.parked) {
            self.assign(parked);
            self.touch(now, parked);
        }
        self.arm_conn(now, id);
    }

    /// Gives a stream the live connection with the fewest streams, or parks it.
    pub(super) fn assign(&mut self, id: StreamId) {
        let Some(entry) = self.table.streams.get(&id) else {
            return;
        };
        let peer: InstanceId = entry.peer;
        let live = self.conns.iter().filter(|(_, conn)| conn.is_live() && conn.peer == Some(peer));
        match live.min_by_key(|(_, conn)| conn.streams).map(|(conn, _)| *conn) {
            Some(conn) => self.settle_on(id, conn),
            None => {
                self.table.parked.insert(id);
            }
        }
    }

    pub(super) fn settle_on(&mut self, id: StreamId, conn_id: ConnId) {
        if let (Some(entry), Some(conn)) = (self.table.streams.get_mut(&id), self.conns.get_mut(&conn_id)) {
            entry.conn = Some(conn_id);
            entry.in_urgent = false;
            entry.in_ready = false;
            conn.streams += 1;
        }
    }

    /// Moves every stream that lives on this connection to another one. `died`: and what was last
    /// sent on it goes again.
    fn evacuate(&mut self, now: Instant, conn_id: ConnId, died: bool) {
        let mut moved = Vec::new();
        for (id, entry) in &mut self.table.streams {
            if entry.conn == Some(conn_id) {
                entry.conn = None;
                moved.push((*id, true));
            } else if died && entry.stream.unacked_on(conn_id) {
                moved.push((*id, false));
            }
            if died {
                entry.stream.conn_lost(conn_id);
            }
        }
        if let Some(conn) = self.conns.get_mut(&conn_id) {
            conn.streams = 0;
            conn.urgent.clear();
            conn.ready.clear();
        }
        // The table has no order of its own; the oldest request moves first.
        moved.sort_unstable();
        for (id, homeless) in moved {
            if homeless {
                self.assign(id);
            }
            self.touch(now, id);
        }
    }

    /// The connection is replaced: new frames go elsewhere, it is still read for a while.
    pub(super) fn retire(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if !conn.is_live() {
            return;
        }
        // The edge closes; a relay only does if that does not come.
        let wait = if matches!(self.end, End::Edge(_)) { RETIRE } else { RETIRE * 2 };
        conn.state = State::Retiring { until: now + wait };
        self.evacuate(now, id, false);
        self.arm_conn(now, id);
    }

    pub(super) fn close(&mut self, now: Instant, id: ConnId, code: u16, reason: &'static str) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        if matches!(conn.state, State::Closing { .. }) {
            return;
        }
        self.events.push_back(Event::Close(id, code, reason));
        self.release_last_acks(id);
        self.lose(now, id);
        self.arm_conn(now, id);
        self.fill_connections(now);
    }

    pub(super) fn on_closed(&mut self, now: Instant, id: ConnId) {
        self.lose(now, id);
        self.conns.remove(&id);
        self.timers.forget(Key::Conn(id));
        self.fill_connections(now);
    }

    /// The connection carries nothing any more.
    fn lose(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut conn.state, State::Closing { until: now + CLOSING });
        let proven = conn.proven;
        match before {
            State::Closing { until } => {
                conn.state = State::Closing { until };
                return;
            }
            State::Dialing | State::Greeting => return self.attempt_failed(now, id),
            State::Live => self.loss_noted(now, proven),
            State::Retiring { .. } => {}
        }
        self.evacuate(now, id, true);
        self.drop_strangers(now);
        if self.down_since.is_none() && !self.conns.values().any(Conn::is_up) {
            self.down_since = Some(now);
            self.timers.arm(Key::Down, Some(now + self.limits.resume_window));
            let why = self.down_reason();
            self.events.push_back(Event::Down(why));
        }
    }

    fn down_reason(&self) -> Down {
        let superseded = match &self.end {
            End::Edge(edge) => edge.superseded_until.is_some(),
            End::Relay(relay) => relay.superseded,
        };
        match (superseded, self.draining || self.peer_draining) {
            (true, _) => Down::Superseded,
            (false, true) => Down::Goodbye,
            (false, false) => Down::Lost,
        }
    }

    pub(super) fn on_down_timeout(&mut self, now: Instant) {
        let Some(since) = self.down_since else { return };
        let end = since + self.limits.resume_window;
        if end <= now {
            self.fail_all(now);
        } else {
            self.timers.arm(Key::Down, Some(end));
        }
    }

    pub(super) fn fail_all(&mut self, now: Instant) {
        let mut all: Vec<StreamId> = self.table.streams.keys().copied().collect();
        all.sort_unstable();
        for id in all {
            let failure = Failure::new(Code::LinkLost, "the link between relay and edge was gone for too long");
            self.with(now, id, |stream| stream.give_up(failure));
        }
    }

    pub(super) fn on_conn_timeout(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let edge = matches!(self.end, End::Edge(_));
        if conn.final_at.is_some_and(|at| at <= now) {
            conn.release_finals();
        }
        if conn.deadline(now, &self.limits, edge, self.table.busy > 0) > now
            && !matches!(conn.state, State::Retiring { .. })
        {
            return self.arm_conn(now, id);
        }
        match conn.state {
            State::Dialing => return self.close(now, id, 1000, "dial timeout"),
            State::Greeting => self.on_greeting_timeout(now, id),
            State::Live => {
                if conn.rotate_at.is_some_and(|at| at <= now) {
                    conn.rotate_at = None;
                    self.replace(now, id, now);
                }
                if self.is_left_over(id) {
                    return self.close(now, id, 1000, "replaced");
                }
                self.check_liveness(now, id);
            }
            State::Retiring { until } => {
                // Quiet is the edge's to see: it said goodbye, so it closes.
                let quiet = edge && !conn.has_output() && !self.table.unacked_on(id);
                if until <= now || quiet {
                    return self.close(now, id, 1000, "replaced");
                }
                self.check_liveness(now, id);
            }
            State::Closing { .. } => {
                self.conns.remove(&id);
                return;
            }
        }
        self.arm_conn(now, id);
    }

    fn check_liveness(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        match conn.liveness.check(now, &self.limits, self.table.busy > 0) {
            Verdict::Alive => {}
            Verdict::Ping(token) => conn.queue(Frame::Ping { token }),
            Verdict::Dead => {
                // Nothing that is queued would get through.
                conn.control.clear();
                self.close(now, id, CLOSE_SILENT, "silent");
            }
        }
    }

    /// The next frame for this connection: unsequenced and control frames, then streams in turn;
    /// in their company the final acks, last.
    pub(super) fn next_frame(&mut self, now: Instant, id: ConnId) -> Option<Frame> {
        let frame = self.next_urgent_frame(now, id);
        let conn = self.conns.get_mut(&id)?;
        if frame.is_none() && conn.in_company && conn.is_up() {
            conn.release_finals();
        }
        let frame = frame.or_else(|| conn.control.pop_front());
        conn.in_company = frame.is_some();
        frame
    }

    fn next_urgent_frame(&mut self, now: Instant, id: ConnId) -> Option<Frame> {
        let conn = self.conns.get_mut(&id)?;
        if let Some(frame) = conn.control.pop_front() {
            if let Frame::Ping { token } = frame {
                // The wait for an answer is shorter from here than while the ping was queued.
                conn.liveness.on_ping_sent(now, token);
                self.arm_conn(now, id);
            }
            return Some(frame);
        }
        if !conn.is_up() {
            return None;
        }
        if let Some(token) = conn.pong.take() {
            return Some(Frame::Pong { token });
        }
        while let Some(stream) = self.conns.get_mut(&id)?.urgent.pop_front() {
            if let Some(frame) = self.control_of(now, id, stream) {
                return Some(frame);
            }
        }
        if let Some(frame) = self.conns.get_mut(&id)?.bulk.pop_front() {
            return Some(frame);
        }
        while let Some(stream) = self.conns.get_mut(&id)?.ready.pop_front() {
            if let Some(frame) = self.numbered_of(now, id, stream) {
                return Some(frame);
            }
        }
        None
    }

    fn control_of(&mut self, now: Instant, conn: ConnId, id: StreamId) -> Option<Frame> {
        let entry = self.table.streams.get_mut(&id).filter(|entry| entry.conn == Some(conn))?;
        entry.in_urgent = false;
        let frame = entry.stream.poll_control(now);
        self.touch(now, id);
        frame
    }

    fn numbered_of(&mut self, now: Instant, conn: ConnId, id: StreamId) -> Option<Frame> {
        let entry = self.table.streams.get_mut(&id).filter(|entry| entry.conn == Some(conn))?;
        entry.in_ready = false;
        let frame = entry.stream.poll_numbered(now, conn);
        self.touch(now, id);
        frame
    }
}

/// Whether a frame answers something of ours: it shows that the way back works too.
fn answers(frame: &Frame) -> bool {
    match frame {
        Frame::Ack { .. } | Frame::Pong { .. } | Frame::Welcome(_) => true,
        Frame::Head { .. } | Frame::Fail { .. } => true,
        Frame::Data { .. }
        | Frame::End { .. }
        | Frame::Hello(_)
        | Frame::Catalog { .. }
        | Frame::Load { .. }
        | Frame::Open { .. }
        | Frame::Probe { .. }
        | Frame::Cancel { .. }
        | Frame::Ping { .. }
        | Frame::Goaway { .. }
        | Frame::Goodbye { .. }
        | Frame::Unknown => false,
    }
}
