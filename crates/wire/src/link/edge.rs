//! What only the edge's end does: dialling, hello, welcome in, rotation, catalog and load out.
//!
//! Invariants: nothing but hello is sent before welcome; a replacement is welcomed before the old
//! connection is said goodbye to; streams of another relay run are never moved to a new one.

use std::time::{Duration, Instant};

use super::catalog::CatalogOut;
use super::conn::{Conn, State};
use super::dialer::{Dialer, between};
use super::load::LoadOut;
use super::relay::limits_of;
use super::timers::Key;
use super::{DialFailure, EdgeConfig, End, Event, Link};
use crate::limits::{
    EDGE_WINDOW, HELLO_AGAIN, MAX_CONNECTIONS, MAX_RETRY_AFTER, ROTATE_MAX, ROTATE_MIN, SUPERSEDED_DELAY, VERSION,
    WELCOME_TIMEOUT,
};
use crate::{ConnId, Frame, Hello, ModelInfo, Scope, StreamId, Welcome};

#[derive(Debug)]
pub(super) struct EdgeEnd {
    pub(super) config: EdgeConfig,
    dialer: Dialer,
    /// Connections to replace, and from when on.
    replacements: Vec<(Instant, ConnId)>,
    next_conn: u64,
    /// Connections wanted; one until the first welcome says how many the relay wants.
    pub(super) wanted: usize,
    peer_window: u64,
    catalog: CatalogOut,
    pub(super) load: LoadOut,
    pub(super) superseded_until: Option<Instant>,
}

impl EdgeEnd {
    pub(super) fn new(config: EdgeConfig, now: Instant) -> Self {
        Self {
            config,
            dialer: Dialer::new(now),
            replacements: Vec::new(),
            next_conn: 0,
            wanted: 1,
            peer_window: 0,
            catalog: CatalogOut::default(),
            load: LoadOut::default(),
            superseded_until: None,
        }
    }

    pub(super) fn dial_at_once(&mut self, now: Instant) {
        self.superseded_until = None;
        for (at, _) in &mut self.replacements {
            *at = now.min(*at);
        }
        self.dialer.come_now(now);
    }

    fn hello(&self) -> Hello {
        Hello {
            version: VERSION,
            edge: self.config.edge.clone(),
            instance: self.config.instance,
            software: self.config.software.clone(),
            max_streams: self.config.max_streams,
            window: EDGE_WINDOW,
            ceiling: self.config.ceiling.clone(),
        }
    }
}

impl Link {
    /// Dials what is missing, as soon as the dialer allows, and what is to be replaced.
    pub(super) fn fill_connections(&mut self, now: Instant) {
        let End::Edge(edge) = &mut self.end else {
            return;
        };
        if let Some(until) = edge.superseded_until {
            if until > now {
                return self.timers.arm(Key::Dial, Some(until));
            }
            edge.superseded_until = None;
        }
        let (conns, peer) = (&self.conns, self.peer);
        // A connection to an older run of the relay is neither counted nor replaced: it only lives
        // until the streams there have ended.
        let current = |id: &ConnId| conns.get(id).is_some_and(|conn| conn.is_live() && conn.peer == peer);
        let counts = |conn: &&Conn| match conn.state {
            State::Dialing | State::Greeting => conn.replaces.is_none_or(|old| !current(&old)),
            State::Live => conn.peer == peer,
            State::Retiring { .. } | State::Closing { .. } => false,
        };
        let have = conns.values().filter(counts).count();
        let any_live = conns.values().any(Conn::is_live);
        let wanted = match () {
            () if self.draining && self.table.streams.is_empty() => 0,
            () if edge.dialer.failing() && !any_live => 1,
            () => edge.wanted,
        };
        let earliest = edge.dialer.earliest();
        // One that was told when to come instead keeps that time also if it is lost before.
        edge.replacements.retain(|(at, old)| current(old) || (*at > now && !conns.contains_key(old)));
        let spoken_for = edge.replacements.iter().filter(|(_, old)| !current(old)).count();
        let missing = wanted.min(edge.wanted.saturating_sub(spoken_for)).saturating_sub(have);
        let (due, later): (Vec<_>, Vec<_>) =
            edge.replacements.iter().copied().partition(|(at, _)| (*at).max(earliest) <= now);
        edge.replacements = later;
        let next_replacement = edge.replacements.iter().map(|(at, _)| (*at).max(earliest)).min();
        self.timers.arm(Key::Dial, next_replacement);
        if missing > 0 && earliest > now {
            self.timers.arm(Key::Dial, Some(earliest));
        } else {
            for _ in 0..missing {
                self.dial(now, None);
            }
        }
        for (_, old) in due {
            self.dial(now, Some(old));
        }
    }

    fn dial(&mut self, now: Instant, replaces: Option<ConnId>) {
        let End::Edge(edge) = &mut self.end else {
            return;
        };
        let id = ConnId(edge.next_conn);
        edge.next_conn += 1;
        self.conns.insert(id, Conn::new(State::Dialing, now, replaces));
        self.events.push_back(Event::Dial(id));
        self.arm_conn(now, id);
    }

    pub(super) fn say_hello(&mut self, now: Instant, id: ConnId) {
        let End::Edge(edge) = &self.end else { return };
        let hello = Frame::Hello(edge.hello());
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.state == State::Dialing) else {
            // A dial that was given up has come through after all.
            return self.events.push_back(Event::Close(id, 1000, "not wanted any more"));
        };
        conn.state = State::Greeting;
        conn.since = now;
        conn.hellos = 1;
        conn.queue(hello);
        self.arm_conn(now, id);
    }

    pub(super) fn on_greeting_timeout(&mut self, now: Instant, id: ConnId) {
        let hello = match &self.end {
            End::Edge(edge) => Some(Frame::Hello(edge.hello())),
            End::Relay(_) => None,
        };
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.since + WELCOME_TIMEOUT <= now {
            let why = if hello.is_some() { "no welcome" } else { "no hello" };
            return self.close(now, id, 1002, why);
        }
        if let Some(hello) = hello
            && conn.hellos <= HELLO_AGAIN.len()
        {
            conn.hellos += 1;
            conn.queue(hello);
        }
    }

    pub(super) fn on_dial_failed(&mut self, now: Instant, id: ConnId, failure: &DialFailure) {
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        self.timers.forget(Key::Conn(id));
        if let End::Edge(edge) = &mut self.end
            && conn.state == State::Dialing
        {
            edge.dialer.failed(now, failure, &mut self.rng);
            edge.replacements.extend(conn.replaces.map(|old| (now, old)));
        }
        self.fill_connections(now);
    }

    /// An attempt came as far as a socket and no further.
    pub(super) fn attempt_failed(&mut self, now: Instant, id: ConnId) {
        let replaces = self.conns.get(&id).and_then(|conn| conn.replaces);
        if let End::Edge(edge) = &mut self.end {
            edge.dialer.failed(now, &DialFailure::Unreachable, &mut self.rng);
            edge.replacements.extend(replaces.map(|old| (now, old)));
        }
    }

    /// A welcomed connection was lost.
    pub(super) fn loss_noted(&mut self, now: Instant, proven: bool) {
        let End::Edge(edge) = &mut self.end else {
            return;
        };
        if edge.dialer.lost(now, proven, &mut self.rng) {
            let fault = "more than 10 connections were lost within a minute: dialling once a second";
            self.events.push_back(Event::Fault(fault.to_owned()));
        }
    }

    pub(super) fn on_welcome(&mut self, now: Instant, id: ConnId, welcome: &Welcome) {
        let End::Edge(edge) = &mut self.end else {
            return self.protocol_error(now, id);
        };
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.state == State::Greeting) else {
            return;
        };
        if welcome.version != VERSION {
            self.events.push_back(Event::Fault(format!("the relay speaks protocol version {}", welcome.version)));
            return self.close(now, id, 1002, "version");
        }
        let limits = limits_of(welcome);
        let known = self.peer == Some(welcome.instance);
        if known && (limits.max_message < self.limits.max_message || welcome.window < edge.peer_window) {
            return self.close(now, id, 1008, "limit_shrunk");
        }
        edge.dialer.welcomed();
        edge.wanted = usize::from(edge.config.connections.min(welcome.max_connections).clamp(1, MAX_CONNECTIONS));
        conn.state = State::Live;
        conn.peer = Some(welcome.instance);
        conn.rotate_at = Some(now + between(&mut self.rng, ROTATE_MIN, ROTATE_MAX));
        if !known {
            self.peer = Some(welcome.instance);
            self.limits = limits;
            edge.peer_window = welcome.window;
        }
        conn.peer_window = edge.peer_window;
        let (replaced, stale) = (conn.replaces.take(), std::mem::take(&mut conn.stale));
        self.greet(now, id);
        self.drop_strangers(now);
        if !known && self.down_since.is_none() {
            self.events.push_back(Event::Up { peer: welcome.instance, resumed: false });
        }
        if self.down_since.is_some() {
            self.peer_draining = false;
        }
        self.came_up(now, id);
        if let Some(old) = replaced {
            self.say_goodbye(now, old);
        }
        self.trim_connections(now);
        if stale {
            self.replace(now, id, now);
        }
        self.fill_connections(now);
    }

    /// Retires the oldest connections beyond those that are wanted: this welcome wants fewer, or
    /// one was dialled for a run of the relay that has come back.
    fn trim_connections(&mut self, now: Instant) {
        let End::Edge(edge) = &self.end else { return };
        let current = self.conns.iter().filter(|(_, conn)| conn.is_live() && conn.peer == self.peer);
        let current: Vec<ConnId> = current.map(|(id, _)| *id).collect();
        let surplus = current.len().saturating_sub(edge.wanted);
        for old in current.into_iter().take(surplus) {
            self.say_goodbye(now, old);
        }
    }

    /// What the edge says first on a welcomed connection.
    fn greet(&mut self, now: Instant, id: ConnId) {
        let (End::Edge(edge), Some(conn)) = (&mut self.end, self.conns.get_mut(&id)) else {
            return;
        };
        let token = conn.liveness.start_ping(now);
        conn.queue(Frame::Ping { token });
        if self.draining {
            conn.queue(Frame::Goodbye { scope: Scope::Link });
        }
        conn.bulk.extend(edge.catalog.frames());
        conn.bulk.extend(edge.load.frame(now));
    }

    /// The replacement is welcomed: the old connection retires, unless it leads to another run of
    /// the relay, whose streams only live there.
    fn say_goodbye(&mut self, now: Instant, old: ConnId) {
        if let Some(conn) = self.conns.get_mut(&old)
            && conn.is_live()
            && conn.peer == self.peer
        {
            conn.queue(Frame::Goodbye { scope: Scope::Connection });
            self.retire(now, old);
        }
    }

    /// A connection to an older run of the relay with nothing left to do there.
    pub(super) fn is_left_over(&self, id: ConnId) -> bool {
        matches!(self.end, End::Edge(_))
            && self.conns.get(&id).is_some_and(|conn| conn.peer != self.peer && conn.streams == 0)
    }

    /// Cancels the streams of relay runs that are gone: their callers are gone with them.
    pub(super) fn drop_strangers(&mut self, now: Instant) {
        if !matches!(self.end, End::Edge(_)) {
            return;
        }
        let reachable = |peer| self.conns.values().any(|conn| conn.is_up() && conn.peer == Some(peer));
        let streams = self.table.streams.iter();
        let strangers = streams.filter(|(_, entry)| Some(entry.peer) != self.peer && !reachable(entry.peer));
        let mut strangers: Vec<StreamId> = strangers.map(|(id, _)| *id).collect();
        strangers.sort_unstable();
        for id in strangers {
            self.with(now, id, |stream| stream.peer_gone("the relay has restarted"));
        }
    }

    /// Dials a replacement for a live connection from `at` on.
    pub(super) fn replace(&mut self, now: Instant, old: ConnId, at: Instant) {
        let under_way = self
            .conns
            .values()
            .any(|conn| conn.replaces == Some(old) && matches!(conn.state, State::Dialing | State::Greeting));
        let End::Edge(edge) = &mut self.end else {
            return;
        };
        edge.replacements.retain(|(_, planned)| *planned != old);
        if !under_way {
            edge.replacements.push((at, old));
            self.fill_connections(now);
        }
    }

    pub(super) fn on_goaway(
        &mut self,
        now: Instant,
        id: ConnId,
        scope: Scope,
        reason: &str,
        range: Option<(u64, u64)>,
    ) {
        let (low, high) = range.unwrap_or((0, 0));
        let most = MAX_RETRY_AFTER;
        let wait = between(&mut self.rng, Duration::from_millis(low).min(most), Duration::from_millis(high).min(most));
        let End::Edge(edge) = &mut self.end else {
            return self.protocol_error(now, id);
        };
        match (scope, reason) {
            (Scope::Connection, _) => self.replace(now, id, now + wait),
            (Scope::Link, "superseded") => self.on_superseded(now),
            (Scope::Link, _) => {
                self.peer_draining = true;
                if range.is_some() {
                    edge.dialer.come_at(now + wait);
                }
            }
        }
    }

    fn on_superseded(&mut self, now: Instant) {
        let End::Edge(edge) = &mut self.end else {
            return;
        };
        edge.superseded_until = Some(now + SUPERSEDED_DELAY);
        edge.replacements.clear();
        self.events.push_back(Event::Superseded);
        let mut streams: Vec<StreamId> = self.table.streams.keys().copied().collect();
        streams.sort_unstable();
        for id in streams {
            self.with(now, id, |stream| stream.peer_gone("another machine uses this identity"));
        }
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for id in conns {
            self.close(now, id, 1000, "superseded");
        }
        self.fill_connections(now);
    }

    pub(super) fn on_drain(&mut self, _now: Instant) {
        if self.draining {
            return;
        }
        self.draining = true;
        for conn in self.conns.values_mut().filter(|conn| conn.is_live()) {
            conn.queue(match self.end {
                End::Edge(_) => Frame::Goodbye { scope: Scope::Link },
                End::Relay(_) => super::relay::goaway(Scope::Link, "draining"),
            });
        }
    }

    pub(super) fn on_set_catalog(&mut self, _now: Instant, models: Vec<ModelInfo>) {
        let End::Edge(edge) = &mut self.end else {
            return;
        };
        let (changed, skipped) = edge.catalog.set(models);
        if skipped > 0 {
            let fault = "the catalog has more than the link can tell: some models are left out";
            self.events.push_back(Event::Fault(fault.to_owned()));
        }
        // To the newest run: an older one only ends its answers.
        let peer = self.peer;
        if changed && let Some(conn) = self.conns.values_mut().find(|conn| conn.is_live() && conn.peer == peer) {
            // Parts of an older catalog that still wait are of no use.
            conn.bulk.retain(|frame| !matches!(frame, Frame::Catalog { .. }));
            conn.bulk.extend(edge.catalog.frames());
        }
    }

    /// Sends the load if it is worth it and time for it, or sets the timer.
    pub(super) fn say_load(&mut self, now: Instant) {
        let End::Edge(edge) = &mut self.end else {
            return;
        };
        let Some(due) = edge.load.due(now, self.limits.load_interval) else {
            return;
        };
        let peer = self.peer;
        let Some(conn) = self.conns.values_mut().find(|conn| conn.is_live() && conn.peer == peer) else {
            return;
        };
        if due > now {
            return self.timers.arm(Key::Load, Some(due));
        }
        conn.bulk.retain(|frame| !matches!(frame, Frame::Load { .. }));
        conn.bulk.extend(edge.load.frame(now));
    }
}
