//! Both processes over the simulated network, and the judge: a reference model that knows what was
//! sent and holds what came out against it at every step.

mod edge_app;
mod judge;
mod ledger;
mod plan;
mod relay_app;
mod shell;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use causeway_wire::{Backend, Code, EdgeConfig, Frame, InstanceId, Limits, Link, Open, Policy, StreamId};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use self::ledger::Flow;
use crate::net::{Faults, Happening, Net, Way};
use crate::script::Script;

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// How a request ended for the caller.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Verdict {
    Whole,
    Failed(Code),
}

/// The caller's side of a request, in the relay process.
pub(crate) struct Call {
    pub(crate) relay_run: u32,
    pub(crate) edge_instance: InstanceId,
    pub(crate) script: Script,
    pub(crate) given: usize,
    pub(crate) head: bool,
    pub(crate) received: usize,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) released: Option<Instant>,
    /// It was refused with the promise that it did not run.
    pub(crate) refused: bool,
    pub(crate) cancelled: bool,
    /// The relay's application let go of it.
    pub(crate) let_go: bool,
    pub(crate) opened: Instant,
    pub(crate) ended: Option<Instant>,
    last_bytes: Instant,
    /// Longest time without answer bytes.
    pub(crate) gap: Duration,
    pub(crate) gaps: Vec<Duration>,
}

/// The edge's side.
pub(crate) struct Job {
    run: u32,
    got: usize,
    body_whole: bool,
    answering: bool,
    head_sent: bool,
    sent: usize,
    pub(crate) over: bool,
    pub(crate) stopped: bool,
    pub(crate) started: Instant,
    /// When the edge's application was done with it.
    pub(crate) ended: Option<Instant>,
    pub(crate) released: Option<Instant>,
}

pub(crate) struct Process {
    pub(crate) run: u32,
    pub(crate) link: Link,
    pub(crate) instance: InstanceId,
}

pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) net: Net,
    seed: u64,
    pub(crate) edge: Option<Process>,
    pub(crate) relay_run: u32,
    pub(crate) relay_up: bool,
    relay_instance: InstanceId,
    /// The relay's links, the newest last, each with the edge instance it is for.
    pub(crate) relay: Vec<(InstanceId, Link)>,
    /// Which of them a wire belongs to.
    belongs: HashMap<u64, InstanceId>,
    pub(crate) calls: BTreeMap<u64, Call>,
    pub(crate) jobs: HashMap<(u64, InstanceId), Job>,
    /// The bodies of each call, by the way they go.
    flows: HashMap<(u64, Way), Flow>,
    runs: u32,
    pub(crate) events: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) connections: u8,
    pub(crate) plan: Vec<(Instant, Plan)>,
    pub(crate) max_streams: u32,
    pub(crate) frames: Vec<(Duration, Way, Frame)>,
    pub(crate) record: bool,
}

/// What the test does to the world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Plan {
    Open(u64),
    /// A request whose caller is gone so soon that the cancel may overtake the `open`.
    OpenBriefly(u64),
    ResetAll,
    ResetOne,
    SilenceOne,
    Cut(bool),
    RestartEdge,
    RestartRelay,
    Rotate,
    DrainEdge,
    Reconnect,
}

pub(crate) fn stream_id(call: u64) -> StreamId {
    StreamId::new(1_700_000_000_000 + call, u128::from(call) * 0x1_0001)
}

fn call_of(id: StreamId) -> u64 {
    (0..u64::MAX).find(|call| stream_id(*call) == id).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "virtual time needs one beginning")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let start = epoch();
        let mut world = Self {
            start,
            net: Net::new(start, seed, faults),
            seed,
            edge: None,
            relay_run: 0,
            relay_up: true,
            relay_instance: InstanceId::new(u128::from(seed) << 8),
            relay: Vec::new(),
            belongs: HashMap::new(),
            calls: BTreeMap::new(),
            jobs: HashMap::new(),
            flows: HashMap::new(),
            runs: 0,
            events: Vec::new(),
            limits: Limits::STANDALONE,
            connections: 2,
            plan: Vec::new(),
            max_streams: 1000,
            frames: Vec::new(),
            record: false,
        };
        world.start_edge();
        world.drain();
        world
    }

    fn rng(&mut self) -> StdRng {
        self.runs += 1;
        StdRng::seed_from_u64(self.seed.wrapping_mul(1_000).wrapping_add(u64::from(self.runs)))
    }

    pub(crate) fn start_edge(&mut self) {
        let rng = self.rng();
        let run = self.runs;
        let instance = InstanceId::new((u128::from(self.seed) << 32) + u128::from(run));
        let config = EdgeConfig {
            edge: "home".to_owned(),
            instance,
            software: "test".to_owned(),
            connections: self.connections,
            max_streams: self.max_streams,
            ceiling: vec![Backend::Local],
        };
        self.edge = Some(Process { run, link: Link::edge(config, rng, self.net.now), instance });
    }

    pub(crate) fn open(&mut self, call: u64, script: Script) {
        let now = self.net.now;
        let Some((edge_instance, link)) = self.relay.last_mut() else {
            return;
        };
        let open = Open {
            edge_instance: *edge_instance,
            method: "POST".to_owned(),
            path: "/api/chat".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            model: Some("m".to_owned()),
            stream: Some(true),
            policy: Policy::local(),
            key: "k1".to_owned(),
            traceparent: None,
            reply: None,
        };
        let first = script.body.slice(..script.body_at_once);
        let fin = script.body_at_once == script.body.len();
        if link.open(now, stream_id(call), open, first, fin).is_err() {
            return;
        }
        let record = Call {
            relay_run: self.relay_run,
            edge_instance: *edge_instance,
            given: script.body_at_once,
            head: false,
            received: 0,
            verdict: None,
            released: None,
            refused: false,
            cancelled: false,
            let_go: false,
            opened: now,
            ended: None,
            last_bytes: now,
            gap: Duration::ZERO,
            gaps: Vec::new(),
            script,
        };
        if let Some(cancel) = record.script.cancel_ms {
            self.net.after(ms(cancel), Happening::RelayApp(self.relay_run, call));
        }
        self.calls.insert(call, record);
        if !fin {
            self.net.after(ms(1), Happening::RelayApp(self.relay_run, call));
        }
        self.drain();
    }

    fn link_of(&mut self, call: u64) -> Option<&mut Link> {
        let record = &self.calls[&call];
        if record.relay_run != self.relay_run {
            return None;
        }
        let instance = record.edge_instance;
        self.relay.iter_mut().find(|(of, _)| *of == instance).map(|(_, link)| link)
    }

    // Time.

    fn next_at(&self) -> Option<Instant> {
        let links = self.relay.iter().map(|(_, link)| link.poll_timeout());
        let edge = self.edge.as_ref().and_then(|edge| edge.link.poll_timeout());
        let planned = self.plan.first().map(|(at, _)| *at);
        links.chain([edge, planned, self.net.next_at()]).flatten().min()
    }

    /// Runs until `end`.
    pub(crate) fn run_until(&mut self, end: Instant) {
        let mut steps = 0_u64;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            steps = if at > self.net.now { 0 } else { steps + 1 };
            assert!(steps < 100_000, "time stands still");
            self.net.now = self.net.now.max(at);
            self.step();
        }
        self.net.now = end;
        self.step();
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.net.now + time);
    }

    fn step(&mut self) {
        let now = self.net.now;
        while self.plan.first().is_some_and(|(at, _)| *at <= now) {
            let (_, plan) = self.plan.remove(0);
            self.carry_out(plan);
            self.drain();
        }
        while let Some(what) = self.net.pop_due() {
            self.happen(what);
            self.drain();
        }
        if let Some(edge) = &mut self.edge
            && edge.link.poll_timeout().is_some_and(|at| at <= now)
        {
            edge.link.handle_timeout(now);
        }
        for (_, link) in &mut self.relay {
            if link.poll_timeout().is_some_and(|at| at <= now) {
                link.handle_timeout(now);
            }
        }
        self.drain();
        self.relay.retain(|(_, link)| !link.is_dead(now));
        self.check_books();
    }
}
