//! What only the relay's end does: hello in, welcome out, catalog and load in, supersede.
//!
//! Invariants: a connection counts from its `hello`, which must name this link's edge and run;
//! an older catalog or load never replaces a newer one.

use std::time::Instant;

use super::catalog::CatalogIn;
use super::conn::State;
use super::{End, Event, Link, RelayConfig};
use crate::limits::{CLOSE_TIMEOUT, MAX_CONNECTIONS, MAX_MESSAGE, MIN_MESSAGE, RELAY_WINDOW, VERSION};
use crate::{ConnId, Frame, Hello, InstanceId, Limits, Load, Scope, Welcome};

#[derive(Debug)]
pub(super) struct RelayEnd {
    config: RelayConfig,
    edge: String,
    edge_instance: InstanceId,
    pub(super) edge_window: u64,
    pub(super) window: u64,
    pub(super) max_streams: u32,
    catalog: CatalogIn,
    load_rev: u64,
    pub(super) superseded: bool,
}

impl RelayEnd {
    pub(super) fn new(config: RelayConfig, hello: &Hello) -> Self {
        Self {
            config,
            edge: hello.edge.clone(),
            edge_instance: hello.instance,
            edge_window: hello.window,
            window: RELAY_WINDOW,
            max_streams: hello.max_streams,
            catalog: CatalogIn::default(),
            load_rev: 0,
            superseded: false,
        }
    }

    fn welcome(&self) -> Welcome {
        let limits = &self.config.limits;
        Welcome {
            version: VERSION,
            instance: self.config.instance,
            software: self.config.software.clone(),
            window: self.window,
            max_connections: self.config.max_connections.clamp(1, MAX_CONNECTIONS),
            max_message: limits.max_message.clamp(MIN_MESSAGE, MAX_MESSAGE) as u64,
            flush_ms: ms(limits.flush),
            load_ms: ms(limits.load_interval),
            ping_idle_ms: ms(limits.ping_idle),
            ping_busy_ms: ms(limits.ping_busy),
            floor_ms: ms(limits.liveness_floor),
            rto_min_ms: ms(limits.rto_min),
            reorder_ms: ms(limits.reorder),
            ack_delay_ms: ms(limits.ack_delay),
            open_resend_ms: ms(limits.open_resend),
            resume_ms: ms(limits.resume_window),
            stream_max_ms: ms(limits.stream_max),
        }
    }
}

fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The limits a welcome states, kept within what this code can bear.
pub(super) fn limits_of(welcome: &Welcome) -> Limits {
    let time = |ms: u64, most_s: u64| std::time::Duration::from_millis(ms.min(most_s * 1000));
    let some = |ms: u64, most_s: u64| time(ms.max(1), most_s);
    Limits {
        max_message: usize::try_from(welcome.max_message).unwrap_or(MAX_MESSAGE).clamp(MIN_MESSAGE, MAX_MESSAGE),
        flush: time(welcome.flush_ms, 1),
        load_interval: some(welcome.load_ms, 60),
        ping_idle: some(welcome.ping_idle_ms, 3600),
        ping_busy: some(welcome.ping_busy_ms, 60),
        liveness_floor: some(welcome.floor_ms, 10),
        rto_min: some(welcome.rto_min_ms, 8),
        reorder: some(welcome.reorder_ms, 8),
        ack_delay: some(welcome.ack_delay_ms, 8),
        open_resend: some(welcome.open_resend_ms, 60),
        resume_window: some(welcome.resume_ms, 600),
        stream_max: some(welcome.stream_max_ms, 24 * 3600),
    }
}

impl Link {
    pub(super) fn on_hello(&mut self, now: Instant, conn_id: ConnId, hello: &Hello) {
        let End::Relay(relay) = &self.end else {
            return self.protocol_error(now, conn_id);
        };
        if hello.edge != relay.edge {
            return self.close(now, conn_id, 1008, "wrong edge name");
        }
        if hello.instance != relay.edge_instance || relay.superseded {
            return self.close(now, conn_id, 1008, "wrong instance");
        }
        let welcome = relay.welcome();
        let (window, draining) = (relay.edge_window, self.draining);
        let Some(conn) = self.conns.get_mut(&conn_id) else {
            return;
        };
        let first = conn.state == State::Greeting;
        // A repeated hello means that our welcome was lost.
        conn.queue(Frame::Welcome(welcome));
        if first {
            conn.state = State::Live;
            conn.peer = Some(hello.instance);
            conn.peer_window = window;
            let token = conn.liveness.start_ping(now);
            conn.queue(Frame::Ping { token });
            if draining {
                conn.queue(goaway(Scope::Link, "draining"));
            }
            self.came_up(now, conn_id);
        }
    }

    pub(super) fn on_catalog(&mut self, now: Instant, conn: ConnId, rev: u64, (part, of): (u32, u32), body: &[u8]) {
        let End::Relay(relay) = &mut self.end else {
            return self.protocol_error(now, conn);
        };
        match relay.catalog.part(rev, part, of, body) {
            Ok(Some(models)) => self.events.push_back(Event::Catalog(models)),
            Ok(None) => {}
            Err(_) => self.protocol_error(now, conn),
        }
    }

    pub(super) fn on_load(&mut self, now: Instant, conn: ConnId, rev: u64, load: Load) {
        let End::Relay(relay) = &mut self.end else {
            return self.protocol_error(now, conn);
        };
        if rev > relay.load_rev {
            relay.load_rev = rev;
            self.events.push_back(Event::Load(load));
        }
    }

    pub(super) fn on_goodbye(&mut self, now: Instant, conn: ConnId, scope: Scope) {
        match (&self.end, scope) {
            (End::Edge(_), _) => self.protocol_error(now, conn),
            (End::Relay(_), Scope::Link) => self.peer_draining = true,
            (End::Relay(_), Scope::Connection) => self.retire(now, conn),
        }
    }

    pub(super) fn on_supersede(&mut self, now: Instant) {
        let End::Relay(relay) = &mut self.end else {
            return;
        };
        relay.superseded = true;
        self.fail_all(now);
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for id in conns {
            if let Some(conn) = self.conns.get_mut(&id)
                && conn.is_up()
            {
                conn.queue(goaway(Scope::Link, "superseded"));
            }
            self.close(now, id, 1000, "superseded");
        }
    }
}

pub(super) fn goaway(scope: Scope, reason: &str) -> Frame {
    Frame::Goaway { scope, reason: reason.to_owned(), reconnect_in_ms: None }
}

/// How long a closing connection is remembered if the shell never says that it is closed.
pub(super) const CLOSING: std::time::Duration = CLOSE_TIMEOUT.saturating_mul(2);
