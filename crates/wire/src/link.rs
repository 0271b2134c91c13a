//! An edge's presence at a relay: connections, liveness, catalog, load, and its streams.
//!
//! This file is the public face: the five verbs and the application's. `conns.rs` has what both
//! ends do with connections, `edge.rs` and `relay.rs` what one of them does, `streams.rs` the
//! frames of streams and their table. Invariants: a stream belongs to one pair of instances and
//! may live on any connection between them; control overtakes data; every queue is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use rand::rngs::StdRng;

mod audit;
mod catalog;
mod conn;
mod conns;
mod dialer;
mod edge;
mod liveness;
mod load;
mod orphans;
mod pressure;
mod relay;
mod streams;
mod table;
mod timers;
mod tombs;
mod types;

pub use types::{DialFailure, Down, EdgeConfig, Event, Input, OpenRefused, RelayConfig, Status};

use conn::{Conn, State};
use edge::EdgeEnd;
use relay::RelayEnd;
use table::Table;
use timers::{Key, Timers};

use crate::limits::TOTAL_BUFFER;
use crate::{
    ConnId, Failure, Head, Hello, InstanceId, Limits, Load, ModelInfo, Open, Outcome, SendRefused, StreamId, encode,
};

/// Which end this is, and what only that end has.
#[derive(Debug)]
enum End {
    Edge(Box<EdgeEnd>),
    Relay(Box<RelayEnd>),
}

/// See the crate head for the drive order.
#[derive(Debug)]
pub struct Link {
    end: End,
    limits: Limits,
    rng: StdRng,
    conns: BTreeMap<ConnId, Conn>,
    table: Table,
    timers: Timers,
    events: VecDeque<Event>,
    /// The peer's run, the newest one.
    peer: Option<InstanceId>,
    /// Since when there has been no connection; none while there is one.
    down_since: Option<Instant>,
    draining: bool,
    peer_draining: bool,
    return_path: Option<Instant>,
    rtt: Option<std::time::Duration>,
}

impl Link {
    /// The edge's end. It asks for its first connection at once ([`Event::Dial`]).
    #[must_use]
    pub fn edge(config: EdgeConfig, rng: StdRng, now: Instant) -> Self {
        let mut link = Self::new(End::Edge(Box::new(EdgeEnd::new(config, now))), Limits::STANDALONE, rng, now);
        link.fill_connections(now);
        link
    }

    /// The relay's end, one for each run of an edge. `hello` is what the shell peeked from the
    /// first message; that same message is still to be passed to `handle_input` after
    /// [`Input::Connected`].
    #[must_use]
    pub fn relay(config: RelayConfig, hello: &Hello, rng: StdRng, now: Instant) -> Self {
        let limits = config.limits;
        let mut link = Self::new(End::Relay(Box::new(RelayEnd::new(config, hello))), limits, rng, now);
        link.peer = Some(hello.instance);
        link
    }

    fn new(end: End, limits: Limits, rng: StdRng, now: Instant) -> Self {
        Self {
            end,
            limits,
            rng,
            conns: BTreeMap::new(),
            table: Table::default(),
            timers: Timers::default(),
            events: VecDeque::new(),
            peer: None,
            down_since: Some(now),
            draining: false,
            peer_draining: false,
            return_path: None,
            rtt: None,
        }
    }

    // The five verbs.

    /// Something came from a socket, or happened to one.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected(conn) => self.on_connected(now, conn),
            Input::DialFailed(conn, failure) => self.on_dial_failed(now, conn, &failure),
            Input::Message(conn, text) => self.on_message(now, conn, text),
            Input::Alive(conn) => {
                if let Some(conn) = self.conns.get_mut(&conn) {
                    conn.liveness.on_receipt(now);
                }
            }
            Input::Closed(conn) => self.on_closed(now, conn),
        }
    }

    /// Timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.timers.pop_due(now) {
            match key {
                Key::Conn(id) => self.on_conn_timeout(now, id),
                Key::Stream(id) => {
                    if let Some(entry) = self.table.streams.get_mut(&id) {
                        entry.stream.handle_timeout(now);
                        self.touch(now, id);
                    }
                }
                Key::Dial => self.fill_connections(now),
                Key::Load => self.say_load(now),
                Key::Orphans => self.refuse_orphans(now),
                Key::Down => self.on_down_timeout(now),
            }
        }
        self.table.tombs.expire(now, self.limits.resume_window * 2);
    }

    /// The next event. Drain them before the next mutation.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next text message for this connection: control first, then streams in turn.
    pub fn poll_transmit(&mut self, now: Instant, conn: ConnId) -> Option<String> {
        self.next_frame(now, conn).map(|frame| encode(&frame))
    }

    /// Whether `poll_transmit` may give something for this connection now (cheap).
    #[must_use]
    pub fn wants_transmit(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(Conn::has_output)
    }

    /// When to call `handle_timeout`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    // The application's verbs. Unknown and released streams are ignored.

    /// Relay: opens a stream with a fresh id chosen by the caller (ULID). The body may be of any
    /// length; what exceeds the first message follows as the edge's window allows.
    ///
    /// # Errors
    /// [`OpenRefused`], and nothing happened.
    pub fn open(&mut self, now: Instant, id: StreamId, open: Open, body: Bytes, fin: bool) -> Result<(), OpenRefused> {
        self.open_stream(now, id, open, body, fin)
    }

    /// Edge: status and headers, once, before any body. Transmitted with the first body bytes if
    /// those are queued before the next `poll_transmit`. Headers over 4 KiB fail the stream.
    pub fn send_head(&mut self, now: Instant, id: StreamId, head: Head) {
        self.with(now, id, |stream| stream.send_head(now, head));
    }

    /// Queues body bytes. Edge answers: past the stream's or the process's buffer the fullest
    /// stream fails `slow_reader`. Check `send_room` first where the source can wait.
    ///
    /// # Errors
    /// [`SendRefused::Overrun`] if the bytes were not taken for lack of room,
    /// [`SendRefused::Ended`] if this direction has ended or the stream is not known.
    pub fn send(&mut self, now: Instant, id: StreamId, body: Bytes) -> Result<(), SendRefused> {
        // What the stream itself refuses costs no other one anything.
        let takes = self.table.streams.get(&id).is_some_and(|entry| entry.stream.send_room() >= body.len());
        if takes && matches!(self.end, End::Edge(_)) && !self.make_room(now, id, body.len()) {
            return Err(SendRefused::Overrun);
        }
        self.with(now, id, |stream| stream.send(now, body)).unwrap_or(Err(SendRefused::Ended))
    }

    /// Bytes `send` takes now without refusing; 0 also for unknown or ended streams.
    #[must_use]
    pub fn send_room(&self, id: StreamId) -> usize {
        let Some(entry) = self.table.streams.get(&id) else {
            return 0;
        };
        let room = entry.stream.send_room();
        match self.end {
            End::Edge(_) => room.min(TOTAL_BUFFER.saturating_sub(self.table.buffered)),
            End::Relay(_) => room,
        }
    }

    /// Body bytes queued and not yet acknowledged.
    #[must_use]
    pub fn unacked(&self, id: StreamId) -> usize {
        self.table.streams.get(&id).map_or(0, |entry| entry.stream.unacked())
    }

    /// Ends this side's direction after what is queued.
    pub fn finish(&mut self, now: Instant, id: StreamId, outcome: Option<Outcome>) {
        self.with(now, id, |stream| stream.finish(now, outcome));
    }

    /// Edge: ends the answer with an error after what is queued (after a cancel: at once).
    pub fn fail(&mut self, now: Instant, id: StreamId, failure: Failure) {
        self.with(now, id, |stream| stream.fail(now, failure));
    }

    /// Relay: the caller is gone. Bytes that arrive from here are dropped; the terminal event
    /// still comes, with what was used.
    pub fn cancel(&mut self, now: Instant, id: StreamId, reason: &str) {
        self.with(now, id, |stream| stream.cancel(now, reason));
    }

    /// Next delivered body bytes, in order; taking them opens the peer's window. Take until `None`.
    pub fn recv(&mut self, now: Instant, id: StreamId) -> Option<Bytes> {
        self.with(now, id, |stream| stream.recv(now)).flatten()
    }

    /// Whether `recv` would give something.
    #[must_use]
    pub fn has_data(&self, id: StreamId) -> bool {
        self.table.streams.get(&id).is_some_and(|entry| entry.stream.has_data())
    }

    /// The application is gone: an unfinished stream is cancelled (relay) or failed `internal`
    /// (edge), undelivered bytes are dropped. No more [`Event::Stream`] follows, one
    /// [`Event::Released`] does.
    pub fn release(&mut self, now: Instant, id: StreamId) {
        self.with(now, id, |stream| stream.release(now));
    }

    /// Edge: sends the catalog after every welcome and now if it changed.
    pub fn set_catalog(&mut self, now: Instant, models: Vec<ModelInfo>) {
        self.on_set_catalog(now, models);
    }

    /// Edge: what `load` is to say; sent on a change of 20 %, at most every `load_ms`.
    pub fn set_load(&mut self, now: Instant, load: Load) {
        if let End::Edge(edge) = &mut self.end {
            edge.load.set(load);
            self.say_load(now);
        }
    }

    /// Refuse new streams and say so (edge: goodbye link; relay: goaway link). Streams live on.
    pub fn drain(&mut self, now: Instant) {
        self.on_drain(now);
    }

    /// The shell is about to close this connection: last acks that wait for company go now.
    pub fn release_last_acks(&mut self, conn: ConnId) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.release_finals();
        }
    }

    /// Edge: make-before-break replacement of all connections (renewed certificate, planned time).
    pub fn rotate(&mut self, now: Instant) {
        let live: Vec<ConnId> = self.live_conns().collect();
        for conn in self.conns.values_mut().filter(|conn| conn.is_being_made()) {
            conn.stale = true;
        }
        for conn in live {
            self.replace(now, conn, now);
        }
    }

    /// Edge: dial at once, whatever the backoff says (SIGHUP, an interface came up).
    pub fn reconnect_now(&mut self, now: Instant) {
        if let End::Edge(edge) = &mut self.end {
            edge.dial_at_once(now);
            self.fill_connections(now);
        }
    }

    /// Relay: another instance of this edge said hello: goaway superseded, close, fail all streams.
    pub fn supersede(&mut self, now: Instant) {
        self.on_supersede(now);
    }

    /// A snapshot.
    #[must_use]
    pub fn status(&self) -> Status {
        let connections = self.conns.values().filter(|conn| conn.is_live()).count();
        Status {
            connections,
            wanted: match &self.end {
                End::Edge(edge) => edge.wanted,
                End::Relay(_) => connections,
            },
            streams: self.table.active,
            undelivered: self.table.streams.len(),
            peer: self.peer,
            rtt: self.rtt,
            return_path: self.return_path,
            draining: self.draining || self.peer_draining,
            buffered: self.table.buffered,
        }
    }

    /// Relay: nothing can come of this link any more (no connection for the resume window, or
    /// superseded and closed), and no answer waits to be taken: the registry may drop it.
    #[must_use]
    pub fn is_dead(&self, now: Instant) -> bool {
        let superseded = match &self.end {
            End::Relay(relay) => relay.superseded,
            End::Edge(_) => false,
        };
        let gone = self.down_since.is_some_and(|since| superseded || since + self.limits.resume_window <= now);
        // A whole answer may still wait for its application to take it.
        gone && self.table.streams.is_empty()
            && self.conns.values().all(|conn| matches!(conn.state, State::Closing { .. }))
    }

    /// Runs a verb on a stream and then sees to what follows from it.
    fn with<T>(&mut self, now: Instant, id: StreamId, verb: impl FnOnce(&mut crate::Stream) -> T) -> Option<T> {
        let entry = self.table.streams.get_mut(&id)?;
        let result = verb(&mut entry.stream);
        self.touch(now, id);
        Some(result)
    }
}
