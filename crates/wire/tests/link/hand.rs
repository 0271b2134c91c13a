//! One end of a link by hand: the test is the shell, the application and the peer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway_wire::{
    Backend, Code, ConnId, EdgeConfig, Event, Frame, Hello, Input, InstanceId, Limits, Link, Load, ModelInfo, Open,
    Policy, RelayConfig, StreamEvent, StreamId, Welcome, decode, encode,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::world::epoch;

const EDGE: InstanceId = InstanceId::new(1);
const RELAY: InstanceId = InstanceId::new(2);

pub(crate) struct Hand {
    pub(crate) now: Instant,
    pub(crate) link: Link,
    edge: bool,
    next_conn: u64,
    pub(crate) dials: Vec<ConnId>,
    pub(crate) closes: Vec<(ConnId, u16, &'static str)>,
    pub(crate) faults: Vec<String>,
    pub(crate) incoming: usize,
    pub(crate) released: Vec<StreamId>,
    pub(crate) failed: Vec<(StreamId, Code)>,
    pub(crate) cancelled: Vec<StreamId>,
    pub(crate) writable: Vec<StreamId>,
    pub(crate) loads: Vec<Load>,
    pub(crate) superseded: usize,
    pub(crate) catalogs: Vec<Vec<ModelInfo>>,
}

impl Hand {
    fn new(now: Instant, link: Link, edge: bool) -> Self {
        let mut hand = Self {
            now,
            link,
            edge,
            next_conn: 100,
            dials: Vec::new(),
            closes: Vec::new(),
            faults: Vec::new(),
            incoming: 0,
            released: Vec::new(),
            failed: Vec::new(),
            cancelled: Vec::new(),
            writable: Vec::new(),
            loads: Vec::new(),
            superseded: 0,
            catalogs: Vec::new(),
        };
        hand.drain();
        hand
    }

    pub(crate) fn edge() -> Self {
        Self::edge_with(4)
    }

    pub(crate) fn edge_with(max_streams: u32) -> Self {
        Self::edge_of(max_streams, 1)
    }

    /// An edge that draws its own random numbers.
    pub(crate) fn edge_seeded(seed: u64) -> Self {
        Self::edge_of(4, seed)
    }

    fn edge_of(max_streams: u32, seed: u64) -> Self {
        let now = epoch();
        let config = EdgeConfig {
            edge: "home".to_owned(),
            instance: EDGE,
            software: "test".to_owned(),
            connections: 4,
            max_streams,
            ceiling: vec![Backend::Local],
        };
        Self::new(now, Link::edge(config, StdRng::seed_from_u64(seed), now), true)
    }

    pub(crate) fn relay() -> Self {
        let now = epoch();
        let config = RelayConfig {
            instance: RELAY,
            software: "test".to_owned(),
            limits: Limits::STANDALONE,
            max_connections: 2,
        };
        Self::new(now, Link::relay(config, &hello(), StdRng::seed_from_u64(1), now), false)
    }

    pub(crate) fn hello(&self) -> Hello {
        hello()
    }

    /// A welcome that wants so many connections.
    pub(crate) fn welcome(&self, max_connections: u8) -> Welcome {
        Welcome {
            version: 1,
            instance: RELAY,
            software: "test".to_owned(),
            window: 262_144,
            max_connections,
            max_message: 262_144,
            flush_ms: 0,
            load_ms: 250,
            ping_idle_ms: 15_000,
            ping_busy_ms: 1_000,
            floor_ms: 1_000,
            rto_min_ms: 1_000,
            reorder_ms: 50,
            ack_delay_ms: 250,
            open_resend_ms: 2_000,
            resume_ms: 60_000,
            stream_max_ms: 1_800_000,
        }
    }

    pub(crate) fn open(&self) -> Open {
        Open {
            edge_instance: EDGE,
            method: "POST".to_owned(),
            path: "/api/chat".to_owned(),
            headers: Vec::new(),
            model: None,
            stream: None,
            policy: Policy::local(),
            key: "k".to_owned(),
            traceparent: None,
            reply: None,
        }
    }

    pub(crate) fn take(&mut self, _conn: ConnId, input: Input<'_>) {
        self.link.handle_input(self.now, input);
        self.drain();
    }

    pub(crate) fn message(&mut self, conn: ConnId, frame: &Frame) {
        let text = encode(frame);
        self.take(conn, Input::Message(conn, &text));
    }

    pub(crate) fn closed(&mut self, conn: ConnId) {
        self.take(conn, Input::Closed(conn));
    }

    /// Edge: the next dial, waiting for it as long as it takes.
    pub(crate) fn next_dial(&mut self) -> ConnId {
        while self.dials.is_empty() {
            self.pass();
        }
        self.dials.remove(0)
    }

    /// Lets time pass up to the link's next timer.
    pub(crate) fn pass(&mut self) {
        self.now = self.link.poll_timeout().expect("something is still to come").max(self.now);
        self.link.handle_timeout(self.now);
        self.drain();
    }

    /// Edge: answers the next dial.
    pub(crate) fn connect(&mut self) -> ConnId {
        let conn = self.next_dial();
        self.take(conn, Input::Connected(conn));
        conn
    }

    /// A welcomed connection with nothing left to send.
    pub(crate) fn up(&mut self) -> ConnId {
        let conn = if self.edge {
            let conn = self.connect();
            let welcome = Frame::Welcome(self.welcome(1));
            self.message(conn, &welcome);
            conn
        } else {
            self.next_conn += 1;
            let conn = ConnId(self.next_conn);
            self.take(conn, Input::Connected(conn));
            self.message(conn, &Frame::Hello(hello()));
            conn
        };
        self.out(conn);
        conn
    }

    /// Everything that goes out on a connection now.
    pub(crate) fn out(&mut self, conn: ConnId) -> Vec<Frame> {
        let texts = std::iter::from_fn(|| self.link.poll_transmit(self.now, conn));
        texts.map(|text| decode(&text).unwrap()).collect()
    }

    /// Lets time pass; what goes out on `conn` is given to `see`.
    pub(crate) fn run_for(&mut self, time: Duration, conn: ConnId, mut see: impl FnMut(Instant, Frame)) {
        let end = self.now + time;
        loop {
            for frame in self.out(conn) {
                // The peer lives: whatever it is asked, something comes back.
                self.link.handle_input(self.now, Input::Alive(conn));
                see(self.now, frame);
            }
            self.drain();
            let Some(at) = self.link.poll_timeout().filter(|at| *at <= end) else { break };
            self.now = at.max(self.now);
            self.link.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Lets time pass while the peer lives on all of these connections.
    pub(crate) fn idle_for(&mut self, time: Duration, conns: &[ConnId]) {
        let end = self.now + time;
        while let Some(at) = self.link.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.link.handle_timeout(self.now);
            self.drain();
            for conn in conns {
                self.out(*conn);
                self.link.handle_input(self.now, Input::Alive(*conn));
            }
        }
        self.now = end;
    }

    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::Dial(conn) => self.dials.push(conn),
                Event::Close(conn, code, reason) => self.closes.push((conn, code, reason)),
                Event::Fault(fault) => self.faults.push(fault),
                Event::Incoming(..) => self.incoming += 1,
                Event::Released(id) => self.released.push(id),
                Event::Stream(id, StreamEvent::Failed(failure)) => self.failed.push((id, failure.code)),
                Event::Stream(id, StreamEvent::Cancelled(_)) => self.cancelled.push(id),
                Event::Stream(id, StreamEvent::Writable) => self.writable.push(id),
                Event::Load(load) => self.loads.push(load),
                Event::Superseded => self.superseded += 1,
                Event::Catalog(models) => self.catalogs.push(models),
                Event::Up { .. } | Event::Down(_) | Event::Rtt(_) | Event::Stream(..) => {}
            }
        }
    }
}

fn hello() -> Hello {
    Hello {
        version: 1,
        edge: "home".to_owned(),
        instance: EDGE,
        software: "test".to_owned(),
        max_streams: 4,
        window: 1_048_576,
        ceiling: vec![Backend::Local],
    }
}

/// A whole request for this edge.
pub(crate) fn open_for(hand: &Hand, stream: StreamId) -> Frame {
    Frame::Open { stream, open: Box::new(hand.open()), body: Bytes::new(), fin: true }
}
