//! A simulated network between two links: wires with delay, order, bandwidth and faults, in
//! virtual time. It knows messages, not what they mean.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Way {
    ToRelay,
    ToEdge,
}

/// What a wire does to single messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Share of messages that vanish, 0 to 1.
    pub(crate) drop: f64,
    /// Share of messages that come twice.
    pub(crate) duplicate: f64,
    /// Share of messages that may overtake others.
    pub(crate) reorder: f64,
    /// Least delay.
    pub(crate) delay: Duration,
    /// More delay, uniformly random.
    pub(crate) jitter: Duration,
    /// Bytes a second; 0 is no bound.
    pub(crate) bandwidth: u64,
}

/// One WebSocket's two ends.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Run of the edge process that dialled, and its number for the connection.
    pub(crate) edge_run: u32,
    pub(crate) edge_conn: u64,
    pub(crate) relay_run: u32,
    pub(crate) edge_open: bool,
    pub(crate) relay_open: bool,
    /// The edge was welcomed on it.
    pub(crate) welcomed: bool,
    /// The end that this way leads to was told to close: it hears nothing more.
    pub(crate) closing: [bool; 2],
    /// Messages vanish, in both directions, and nobody is told.
    pub(crate) silent: bool,
    busy_until: [Instant; 2],
    last_arrival: [Instant; 2],
}

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Message {
        wire: u64,
        way: Way,
        text: String,
    },
    Opened {
        wire: u64,
        way: Way,
    },
    Closed {
        wire: u64,
        way: Way,
    },
    DialFailed {
        edge_run: u32,
        conn: u64,
    },
    /// A socket takes messages again.
    Pump,
    /// An application's turn: run of its process, request.
    EdgeApp(u32, u64),
    RelayApp(u32, u64),
}

/// Most bytes a socket takes ahead of the wire, in time: about 128 KiB at 10 Mbit/s.
const SOCKET_BUFFER: Duration = Duration::from_millis(100);

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) rng: StdRng,
    pub(crate) faults: Faults,
    pub(crate) wires: BTreeMap<u64, Wire>,
    /// Dials fail.
    pub(crate) cut: bool,
    queue: BTreeMap<(Instant, u64), Happening>,
    order: u64,
    next_wire: u64,
    /// Messages carried, for the curious.
    pub(crate) carried: u64,
}

impl Net {
    pub(crate) fn new(now: Instant, seed: u64, faults: Faults) -> Self {
        Self {
            now,
            rng: StdRng::seed_from_u64(seed ^ 0x5EED),
            faults,
            wires: BTreeMap::new(),
            cut: false,
            queue: BTreeMap::new(),
            order: 0,
            next_wire: 0,
            carried: 0,
        }
    }

    pub(crate) fn at(&mut self, when: Instant, what: Happening) {
        self.order += 1;
        self.queue.insert((when.max(self.now), self.order), what);
    }

    pub(crate) fn after(&mut self, wait: Duration, what: Happening) {
        self.at(self.now + wait, what);
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn pop_due(&mut self) -> Option<Happening> {
        let key = *self.queue.first_key_value()?.0;
        if key.0 > self.now {
            return None;
        }
        self.queue.remove(&key)
    }

    pub(crate) fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.random_bool(share)
    }

    fn delay(&mut self) -> Duration {
        let jitter = u64::try_from(self.faults.jitter.as_micros()).unwrap();
        self.faults.delay + Duration::from_micros(self.rng.random_range(0..=jitter))
    }

    pub(crate) fn dial(&mut self, edge_run: u32, conn: u64, relay_run: Option<u32>) {
        let delay = self.delay() * 2;
        let Some(relay_run) = relay_run.filter(|_| !self.cut) else {
            return self.after(delay, Happening::DialFailed { edge_run, conn });
        };
        let wire = self.next_wire;
        self.next_wire += 1;
        let open = Wire {
            edge_run,
            edge_conn: conn,
            relay_run,
            edge_open: false,
            relay_open: false,
            welcomed: false,
            closing: [false; 2],
            silent: false,
            busy_until: [self.now; 2],
            last_arrival: [self.now; 2],
        };
        self.wires.insert(wire, open);
        self.after(delay, Happening::Opened { wire, way: Way::ToRelay });
        self.after(delay, Happening::Opened { wire, way: Way::ToEdge });
    }

    pub(crate) fn can_take(&self, wire: u64, way: Way) -> bool {
        let wire = &self.wires[&wire];
        wire.busy_until[way as usize] <= self.now + SOCKET_BUFFER
    }

    pub(crate) fn send(&mut self, id: u64, way: Way, text: String) {
        self.carried += 1;
        let faults = self.faults;
        let bytes = text.len() as u64;
        let transfer = match faults.bandwidth {
            0 => Duration::ZERO,
            bandwidth => Duration::from_micros(bytes * 1_000_000 / bandwidth),
        };
        let (delay, overtakes) = (self.delay(), self.chance(faults.reorder));
        let (lost, twice) = (self.chance(faults.drop), self.chance(faults.duplicate));
        let late = self.delay() * 3;
        let now = self.now;
        let wire = self.wires.get_mut(&id).unwrap();
        let line = way as usize;
        wire.busy_until[line] = wire.busy_until[line].max(now) + transfer;
        let (free_at, silent) = (wire.busy_until[line], wire.silent);
        let mut arrival = free_at + delay;
        if overtakes {
            arrival += late;
        } else {
            arrival = arrival.max(wire.last_arrival[line]);
            wire.last_arrival[line] = arrival;
        }
        if transfer > Duration::ZERO {
            self.at(free_at, Happening::Pump);
        }
        if lost || silent {
            return;
        }
        if twice {
            self.at(arrival + late, Happening::Message { wire: id, way, text: text.clone() });
        }
        self.at(arrival, Happening::Message { wire: id, way, text });
    }

    /// A proxy resets the connection: both ends learn it, what was under way is gone.
    pub(crate) fn reset(&mut self, id: u64) {
        self.at(self.now, Happening::Closed { wire: id, way: Way::ToRelay });
        self.at(self.now, Happening::Closed { wire: id, way: Way::ToEdge });
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.silent = true;
        }
        self.queue.retain(|_, what| !matches!(what, Happening::Message { wire, .. } if *wire == id));
    }
}
