//! Both processes over the simulated network, and the judge: a reference model that knows what was
//! sent and holds what came out against it at every step.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use causeway_wire::limits::{STREAM_BUFFER, TOTAL_BUFFER};
use causeway_wire::{
    Backend, Code, ConnId, DialFailure, EdgeConfig, Event, Failure, Frame, Head, Input, InstanceId, Limits, Link, Open,
    Outcome, Policy, RelayConfig, StreamEvent, StreamId, decode,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::net::{Faults, Happening, Net, Way};
use crate::script::{Reader, Script};

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
    pub(crate) released: bool,
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
    pub(crate) released: bool,
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
    runs: u32,
    pub(crate) events: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) connections: u8,
    pub(crate) plan: Vec<(Instant, Plan)>,
    pub(crate) max_streams: u32,
    pub(crate) frames: Vec<(Duration, Way, Frame)>,
    pub(crate) record: bool,
    steps: u64,
}

/// What the test does to the world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Plan {
    Open(u64),
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
            runs: 0,
            events: Vec::new(),
            limits: Limits::STANDALONE,
            connections: 2,
            plan: Vec::new(),
            max_streams: 1000,
            frames: Vec::new(),
            record: false,
            steps: 0,
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
            policy: Policy {
                allow: vec![Backend::Local],
                batch: false,
                deadline_ms: None,
                hard: false,
                spend_max_usd: 0.0,
            },
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
            released: false,
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
        self.steps += 1;
        if self.steps.is_multiple_of(50) {
            self.check_memory();
        }
    }

    fn check_memory(&self) {
        let links = self.relay.iter().map(|(_, link)| link).chain(self.edge.as_ref().map(|edge| &edge.link));
        for link in links {
            let status = link.status();
            assert!(status.buffered <= TOTAL_BUFFER, "all buffers hold {}", status.buffered);
        }
        if let Some(edge) = &self.edge {
            for call in self.calls.keys() {
                assert!(edge.link.unacked(stream_id(*call)) <= STREAM_BUFFER);
            }
        }
    }

    // The network's side.

    fn happen(&mut self, what: Happening) {
        let now = self.net.now;
        match what {
            Happening::Opened { wire, way } => self.opened(wire, way),
            Happening::Closed { wire, way } => self.closed(wire, way),
            Happening::DialFailed { edge_run, conn } => {
                if let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == edge_run) {
                    edge.link.handle_input(now, Input::DialFailed(ConnId(conn), DialFailure::Unreachable));
                }
            }
            Happening::Message { wire, way, text } => self.message(wire, way, &text),
            Happening::Pump => {}
            Happening::EdgeApp(run, call) => self.edge_app(run, call),
            Happening::RelayApp(run, call) => self.relay_app(run, call),
        }
    }

    fn opened(&mut self, id: u64, way: Way) {
        let now = self.net.now;
        let Some(wire) = self.net.wires.get_mut(&id) else {
            return;
        };
        match way {
            Way::ToEdge => {
                if let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == wire.edge_run) {
                    wire.edge_open = true;
                    edge.link.handle_input(now, Input::Connected(ConnId(wire.edge_conn)));
                }
            }
            Way::ToRelay => wire.relay_open = self.relay_up && wire.relay_run == self.relay_run,
        }
    }

    fn closed(&mut self, id: u64, way: Way) {
        let now = self.net.now;
        let Some(wire) = self.net.wires.get_mut(&id) else {
            return;
        };
        match way {
            Way::ToEdge => {
                let (was_open, conn) = (std::mem::take(&mut wire.edge_open), wire.edge_conn);
                if let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == wire.edge_run && was_open) {
                    edge.link.handle_input(now, Input::Closed(ConnId(conn)));
                }
            }
            Way::ToRelay => {
                wire.relay_open = false;
                if let Some(instance) = self.belongs.remove(&id)
                    && let Some((_, link)) = self.relay.iter_mut().find(|(of, _)| *of == instance)
                {
                    link.handle_input(now, Input::Closed(ConnId(id)));
                }
            }
        }
        if self.net.wires.get(&id).is_some_and(|wire| !wire.edge_open && !wire.relay_open) {
            self.net.wires.remove(&id);
        }
    }

    fn message(&mut self, id: u64, way: Way, text: &str) {
        let now = self.net.now;
        let Some(wire) = self.net.wires.get(&id).filter(|wire| !wire.silent) else {
            return;
        };
        if self.record {
            self.frames.push((now - self.start, way, decode(text).unwrap()));
        }
        match way {
            Way::ToEdge if wire.edge_open => {
                let conn = ConnId(wire.edge_conn);
                if let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == wire.edge_run) {
                    edge.link.handle_input(now, Input::Message(conn, text));
                }
            }
            Way::ToRelay if wire.relay_open => self.relay_message(id, text),
            Way::ToEdge | Way::ToRelay => {}
        }
    }

    /// The relay's shell: finds or makes the link by the first message, `hello`.
    fn relay_message(&mut self, id: u64, text: &str) {
        let now = self.net.now;
        if !self.belongs.contains_key(&id) {
            let Ok(Frame::Hello(hello)) = decode(text) else {
                return;
            };
            if !self.relay.iter().any(|(of, _)| *of == hello.instance) {
                for (_, old) in &mut self.relay {
                    old.supersede(now);
                }
                let config = RelayConfig {
                    instance: self.relay_instance,
                    software: "test".to_owned(),
                    limits: self.limits,
                    max_connections: self.connections,
                };
                let rng = self.rng();
                self.relay.push((hello.instance, Link::relay(config, &hello, rng, now)));
            }
            self.belongs.insert(id, hello.instance);
            let link = &mut self.relay.iter_mut().find(|(of, _)| *of == hello.instance).unwrap().1;
            link.handle_input(now, Input::Connected(ConnId(id)));
        }
        let instance = self.belongs[&id];
        if let Some((_, link)) = self.relay.iter_mut().find(|(of, _)| *of == instance) {
            link.handle_input(now, Input::Message(ConnId(id), text));
        }
    }

    /// Delivers events and sends what can be sent, until nothing moves.
    pub(crate) fn drain(&mut self) {
        loop {
            let mut moved = false;
            while let Some(event) = self.edge.as_mut().and_then(|edge| edge.link.poll_event()) {
                moved = true;
                self.edge_event(event);
            }
            for place in 0..self.relay.len() {
                while let Some(event) = self.relay.get_mut(place).and_then(|(_, link)| link.poll_event()) {
                    moved = true;
                    self.relay_event(event);
                }
            }
            moved |= self.pump();
            if !moved {
                return;
            }
        }
    }

    fn pump(&mut self) -> bool {
        let now = self.net.now;
        let mut moved = false;
        let wires: Vec<u64> = self.net.wires.keys().copied().collect();
        for id in wires {
            let wire = &self.net.wires[&id];
            let (conn, edge_open, relay_open) = (ConnId(wire.edge_conn), wire.edge_open, wire.relay_open);
            let edge_run = wire.edge_run;
            while edge_open && self.net.can_take(id, Way::ToRelay) {
                let edge = self.edge.as_mut().filter(|edge| edge.run == edge_run);
                let Some(text) = edge.and_then(|edge| edge.link.poll_transmit(now, conn)) else {
                    break;
                };
                self.net.send(id, Way::ToRelay, text);
                moved = true;
            }
            let Some(instance) = self.belongs.get(&id).copied() else {
                continue;
            };
            while relay_open && self.net.can_take(id, Way::ToEdge) {
                let link = self.relay.iter_mut().find(|(of, _)| *of == instance);
                let Some(text) = link.and_then(|(_, link)| link.poll_transmit(now, ConnId(id))) else {
                    break;
                };
                self.net.send(id, Way::ToEdge, text);
                moved = true;
            }
        }
        moved
    }

    fn shut(&mut self, id: u64, by: Way) {
        // What was queued goes first; the other end learns of it after that.
        self.pump();
        let (here, there) = match by {
            Way::ToEdge => (Way::ToEdge, Way::ToRelay),
            Way::ToRelay => (Way::ToRelay, Way::ToEdge),
        };
        self.net.at(self.net.now, Happening::Closed { wire: id, way: here });
        let silent = self.net.wires.get(&id).is_none_or(|wire| wire.silent);
        if !silent {
            let wait = self.net.faults.delay + self.net.faults.jitter + ms(1);
            self.net.after(wait, Happening::Closed { wire: id, way: there });
        }
    }

    // The edge's application.

    fn edge_event(&mut self, event: Event) {
        let edge = self.edge.as_ref().unwrap();
        let (run, instance) = (edge.run, edge.instance);
        match event {
            Event::Dial(conn) => {
                let relay = self.relay_up.then_some(self.relay_run);
                self.net.dial(run, conn.0, relay);
            }
            Event::Close(conn, ..) => {
                let wire = self.net.wires.iter().find(|(_, wire)| wire.edge_run == run && wire.edge_conn == conn.0);
                if let Some((id, true)) = wire.map(|(id, wire)| (*id, wire.edge_open)) {
                    self.shut(id, Way::ToEdge);
                }
            }
            Event::Incoming(id, _) => {
                let call = call_of(id);
                let job = Job {
                    run,
                    got: 0,
                    body_whole: false,
                    answering: false,
                    head_sent: false,
                    sent: 0,
                    over: false,
                    stopped: false,
                    released: false,
                };
                assert!(self.jobs.insert((call, instance), job).is_none(), "call {call} ran twice on one edge run");
                self.net.after(ms(1), Happening::EdgeApp(run, call));
            }
            Event::Stream(id, event) => self.edge_stream_event(call_of(id), instance, run, event),
            Event::Released(id) => {
                if let Some(job) = self.jobs.get_mut(&(call_of(id), instance)) {
                    assert!(!job.released, "released twice");
                    job.released = true;
                }
            }
            Event::Up { .. } | Event::Down(_) | Event::Superseded | Event::Fault(_) | Event::Rtt(_) => {
                self.events.push(format!("{:?} edge {event:?}", self.net.now - self.start));
            }
            Event::Catalog(_) | Event::Load(_) => panic!("an edge does not get {event:?}"),
        }
    }

    fn edge_stream_event(&mut self, call: u64, instance: InstanceId, run: u32, event: StreamEvent) {
        let job = self.jobs.get_mut(&(call, instance)).expect("events come after Incoming");
        assert!(!job.stopped, "call {call}: {event:?} after a terminal event");
        match event {
            StreamEvent::Readable | StreamEvent::Writable => {
                self.net.after(ms(0), Happening::EdgeApp(run, call));
            }
            StreamEvent::End(outcome) => {
                assert!(outcome.is_none());
                job.body_whole = true;
                self.net.after(ms(0), Happening::EdgeApp(run, call));
            }
            StreamEvent::Cancelled(_) => {
                job.stopped = true;
                job.over = true;
                let edge = self.edge.as_mut().unwrap();
                let outcome = Outcome { output_tokens: Some(7), ..Outcome::default() };
                let failure = Failure { outcome, ..Failure::new(Code::Cancelled, "stopped") };
                edge.link.fail(self.net.now, stream_id(call), failure);
            }
            StreamEvent::Failed(failure) => {
                job.stopped = true;
                job.over = true;
                let code = failure.code;
                assert!(matches!(code, Code::LinkLost | Code::DeadlineExceeded), "call {call}: {code:?}");
            }
            StreamEvent::Head(_) => panic!("an edge gets no head"),
        }
    }

    /// Reads the body and writes the answer, a piece at a time.
    fn edge_app(&mut self, run: u32, call: u64) {
        let now = self.net.now;
        let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == run) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&(call, edge.instance)).filter(|job| job.run == run) else {
            return;
        };
        let script = &self.calls[&call].script;
        let id = stream_id(call);
        while let Some(piece) = edge.link.recv(now, id) {
            assert_eq!(piece, script.body[job.got..job.got + piece.len()], "call {call}: body altered");
            job.got += piece.len();
            if let Reader::Slow(pause) = script.edge {
                self.net.after(ms(pause), Happening::EdgeApp(run, call));
                break;
            }
        }
        let ready = (job.body_whole && !job.stopped && job.got == script.body.len()) || script.early;
        if ready && !job.answering {
            job.answering = true;
            return self.net.after(ms(script.think_ms), Happening::EdgeApp(run, call));
        }
        if !job.answering || job.over {
            return;
        }
        if !job.head_sent {
            job.head_sent = true;
            edge.link.send_head(now, id, Head { status: 200, headers: vec![("x".to_owned(), "y".to_owned())] });
        }
        let most = script.fails_at.unwrap_or(script.answer.len());
        let piece = script.piece.min(most - job.sent).min(edge.link.send_room(id));
        if edge.link.send(now, id, script.answer.slice(job.sent..job.sent + piece)).is_ok() {
            job.sent += piece;
        }
        if job.sent < most {
            return self.net.after(ms(script.pace_ms.max(1)), Happening::EdgeApp(run, call));
        }
        job.over = true;
        if script.fails_at.is_some() {
            edge.link.fail(now, id, Failure::new(Code::UpstreamIncomplete, "broke off"));
        } else {
            let outcome = Outcome { output_tokens: Some(job.sent as u64), ..Outcome::default() };
            edge.link.finish(now, id, Some(outcome));
        }
    }

    // The relay's application.

    fn relay_event(&mut self, event: Event) {
        let now = self.net.now;
        match event {
            Event::Close(conn, ..) => self.shut(conn.0, Way::ToRelay),
            Event::Stream(id, event) => self.relay_stream_event(call_of(id), event),
            Event::Released(id) => {
                let record = self.calls.get_mut(&call_of(id)).unwrap();
                assert!(!record.released, "released twice");
                assert!(record.verdict.is_some() || record.let_go, "released without an end");
                record.released = true;
            }
            Event::Up { .. }
            | Event::Down(_)
            | Event::Fault(_)
            | Event::Rtt(_)
            | Event::Catalog(_)
            | Event::Load(_) => {
                self.events.push(format!("{:?} relay {event:?}", now - self.start));
            }
            Event::Dial(_) | Event::Superseded | Event::Incoming(..) => {
                panic!("a relay does not get {event:?}")
            }
        }
    }

    fn relay_stream_event(&mut self, call: u64, event: StreamEvent) {
        let now = self.net.now;
        let run = self.relay_run;
        let record = self.calls.get_mut(&call).unwrap();
        assert!(record.verdict.is_none(), "call {call}: {event:?} after a terminal event");
        assert!(!record.let_go, "call {call}: {event:?} after release");
        match event {
            StreamEvent::Head(head) => {
                assert!(!record.head, "two heads");
                assert_eq!(head.status, 200);
                record.head = true;
            }
            StreamEvent::Readable | StreamEvent::Writable => self.net.after(ms(0), Happening::RelayApp(run, call)),
            StreamEvent::End(outcome) => {
                record.verdict = Some(Verdict::Whole);
                record.ended = Some(now);
                assert_eq!(outcome.unwrap().output_tokens, Some(record.script.answer.len() as u64));
                self.net.after(ms(0), Happening::RelayApp(run, call));
            }
            StreamEvent::Failed(failure) => {
                record.verdict = Some(Verdict::Failed(failure.code));
                record.ended = Some(now);
                self.net.after(ms(0), Happening::RelayApp(run, call));
            }
            StreamEvent::Cancelled(_) => panic!("a relay is not cancelled"),
        }
    }

    /// Writes the rest of the body, reads the answer, goes away when the script says so.
    fn relay_app(&mut self, run: u32, call: u64) {
        if run != self.relay_run {
            return;
        }
        let now = self.net.now;
        let (id, script) = (stream_id(call), self.calls[&call].script.clone());
        let opened = self.calls[&call].opened;
        let due = script.cancel_ms.is_some_and(|cancel| now >= opened + ms(cancel));
        if self.link_of(call).is_none() {
            return;
        }
        if due && !self.calls[&call].cancelled && self.calls[&call].verdict.is_none() {
            let record = self.calls.get_mut(&call).unwrap();
            record.cancelled = true;
            record.let_go = script.abrupt;
            let link = self.link_of(call).unwrap();
            if script.abrupt {
                link.release(now, id)
            } else {
                link.cancel(now, id, "caller gone")
            }
            return;
        }
        let given = self.calls[&call].given;
        let link = self.link_of(call).unwrap();
        let room = link.send_room(id).min(script.body.len() - given).min(50_000);
        if given < script.body.len() && room > 0 {
            link.send(now, id, script.body.slice(given..given + room)).unwrap();
            if given + room == script.body.len() {
                link.finish(now, id, None);
            }
            self.calls.get_mut(&call).unwrap().given += room;
            self.net.after(ms(2), Happening::RelayApp(run, call));
        }
        self.relay_read(run, call);
    }

    fn relay_read(&mut self, run: u32, call: u64) {
        let now = self.net.now;
        let id = stream_id(call);
        let mut taken = 0;
        while let Some(piece) = self.link_of(call).and_then(|link| link.recv(now, id)) {
            let record = self.calls.get_mut(&call).unwrap();
            assert!(!record.cancelled, "call {call}: bytes after cancel");
            let expected = &record.script.answer[record.received..record.received + piece.len()];
            assert_eq!(piece, expected, "call {call}: answer altered at {}", record.received);
            record.received += piece.len();
            let gap = now - record.last_bytes;
            if record.received > piece.len() {
                record.gap = record.gap.max(gap);
                record.gaps.push(gap);
            }
            record.last_bytes = now;
            taken += 1;
            let enough = if record.script.piece < 2_000 { 64 } else { 1 };
            if let Reader::Slow(pause) = record.script.caller
                && taken >= enough
            {
                self.net.after(ms(pause), Happening::RelayApp(run, call));
                break;
            }
        }
        let record = &self.calls[&call];
        if record.verdict == Some(Verdict::Whole) && !record.cancelled && record.released {
            assert_eq!(record.received, record.script.answer.len(), "call {call}: end without all bytes");
        }
    }

    // What the test does.

    pub(crate) fn carry_out(&mut self, plan: Plan) {
        let now = self.net.now;
        let wires: Vec<u64> = self.net.wires.keys().copied().collect();
        match plan {
            Plan::Open(call) => {
                let script = Script::draw(self.seed ^ (call << 20), 400_000);
                self.open(call, script);
            }
            Plan::ResetAll => wires.iter().for_each(|wire| self.net.reset(*wire)),
            Plan::ResetOne => {
                if let Some(wire) = wires.first() {
                    self.net.reset(*wire);
                }
            }
            Plan::SilenceOne => {
                if let Some(wire) = wires.last().and_then(|wire| self.net.wires.get_mut(wire)) {
                    wire.silent = true;
                }
            }
            Plan::Cut(cut) => {
                self.net.cut = cut;
                if cut {
                    wires.iter().for_each(|wire| self.net.reset(*wire));
                }
            }
            Plan::RestartEdge => {
                self.edge = None;
                wires.iter().for_each(|wire| self.net.reset(*wire));
                self.start_edge();
            }
            Plan::RestartRelay => {
                self.relay.clear();
                self.belongs.clear();
                self.relay_run += 1;
                self.relay_instance = InstanceId::new((u128::from(self.seed) << 8) + u128::from(self.relay_run));
                wires.iter().for_each(|wire| self.net.reset(*wire));
            }
            Plan::Rotate => self.edge.as_mut().unwrap().link.rotate(now),
            Plan::DrainEdge => self.edge.as_mut().unwrap().link.drain(now),
            Plan::Reconnect => self.edge.as_mut().unwrap().link.reconnect_now(now),
        }
    }

    /// Everything has come to rest: nothing is held, every call and every job has its one end.
    pub(crate) fn judge_rest(&self) {
        for (call, record) in &self.calls {
            if record.relay_run != self.relay_run {
                continue;
            }
            let over = record.verdict.is_some() || record.let_go;
            assert!(over, "call {call} never ended: {} of {} bytes", record.received, record.script.answer.len());
            assert!(record.released, "call {call} was never released ({:?})", record.verdict);
            if record.verdict == Some(Verdict::Whole) && !record.cancelled {
                assert_eq!(record.received, record.script.answer.len(), "call {call}: not all bytes");
            }
        }
        let edge = self.edge.as_ref().unwrap();
        for ((call, instance), job) in &self.jobs {
            if *instance == edge.instance {
                assert!(job.over, "call {call}: the edge still runs it");
                assert!(job.released, "call {call}: the edge still holds it");
            }
        }
        let links = self.relay.iter().map(|(_, link)| link).chain([&edge.link]);
        for link in links {
            let status = link.status();
            assert_eq!((status.streams, status.buffered), (0, 0));
        }
    }
}
