//! Runs one hot path N times, for counting instructions: `causeway-hot PATH N`.
//!
//! `tests/load/instructions.sh` runs it under callgrind at two values of N and divides the
//! difference, so that start-up does not count. Paths: see [`PATHS`].

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway_dialect::envelope;
use causeway_dialect::route::classify;
use causeway_wire::{
    Backend, ConnId, EdgeConfig, Event, Frame, Head, Input, InstanceId, Limits, Link, Open, Policy, RelayConfig,
    StreamEvent, StreamId, decode, encode,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// One line of a token stream, as Ollama writes it.
const LINE: &str = "{\"model\":\"llama3.2:3b\",\"created_at\":\"2026-01-01T00:00:00.000000Z\",\
                    \"message\":{\"role\":\"assistant\",\"content\":\" token\"},\"done\":false}\n";

/// A small chat request.
const BODY: &[u8] = br#"{"model":"llama3.2:3b","messages":[{"role":"user","content":"Why is the sky blue?"}],"stream":true,"options":{"num_predict":16}}"#;

/// Name, what one turn is, and the function that runs N turns.
type HotPath = (&'static str, &'static str, fn(u64));

/// All of them.
const PATHS: [HotPath; 6] = [
    ("encode", "encode one token's `data` frame", encode_data),
    ("decode", "decode one token's `data` frame", decode_data),
    ("token", "one token through both ends of the link", tokens),
    ("request", "open, head with body, end and their acks through both ends of the link", requests),
    ("route", "judge method and path", routes),
    ("envelope", "read and rewrite a body's top level", envelopes),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let path = PATHS.iter().find(|(name, _, _)| arguments.get(1).is_some_and(|wanted| wanted == name));
    let turns: Option<u64> = arguments.get(2).and_then(|text| text.parse().ok());
    let (Some((_, _, run)), Some(turns)) = (path, turns) else {
        for (name, what, _) in PATHS {
            causeway_tests::runner::say(&format!("causeway-hot {name} N    {what}"));
        }
        return ExitCode::from(64);
    };
    run(turns);
    ExitCode::SUCCESS
}

fn data(seq: u64) -> Frame {
    Frame::Data { stream: StreamId::new(1, 2), seq, body: Bytes::from_static(LINE.as_bytes()), reply: None }
}

fn encode_data(turns: u64) {
    for seq in 0..turns {
        black_box(encode(black_box(&data(seq))));
    }
}

fn decode_data(turns: u64) {
    let text = encode(&data(7));
    for _ in 0..turns {
        let _ = black_box(decode(black_box(&text)));
    }
}

fn routes(turns: u64) {
    for _ in 0..turns {
        black_box(classify(black_box("POST"), black_box("/v1/chat/completions")));
    }
}

fn envelopes(turns: u64) {
    for _ in 0..turns {
        let _ = black_box(envelope::read(black_box(BODY)));
        let _ = black_box(envelope::rewrite(black_box(BODY), Some("llama3.2:3b"), Some(true)));
    }
}

/// Both ends in memory over one loss-free connection.
struct Pair {
    conn: ConnId,
    edge: Link,
    relay: Link,
    now: Instant,
    next: u128,
    /// Requests that the edge was told of.
    incoming: Vec<StreamId>,
}

const EDGE: InstanceId = InstanceId::new(1);

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let config = EdgeConfig {
            edge: "gpu-1".to_owned(),
            instance: EDGE,
            software: String::new(),
            connections: 1,
            max_streams: 256,
            ceiling: vec![Backend::Local],
        };
        let mut edge = Link::edge(config, StdRng::seed_from_u64(1), now);
        let mut conn = ConnId(0);
        while let Some(event) = edge.poll_event() {
            if let Event::Dial(id) = event {
                conn = id;
            }
        }
        edge.handle_input(now, Input::Connected(conn));
        while edge.poll_event().is_some() {}
        let hello = edge.poll_transmit(now, conn).unwrap_or_default();
        let Ok(Frame::Hello(said)) = decode(&hello) else { Self::broken() };
        let config = RelayConfig {
            instance: InstanceId::new(2),
            software: String::new(),
            limits: Limits::STANDALONE,
            max_connections: 1,
        };
        let mut relay = Link::relay(config, &said, StdRng::seed_from_u64(2), now);
        relay.handle_input(now, Input::Connected(conn));
        while relay.poll_event().is_some() {}
        relay.handle_input(now, Input::Message(conn, &hello));
        let mut pair = Self { conn, edge, relay, now, next: 1, incoming: Vec::new() };
        pair.exchange();
        pair
    }

    fn broken() -> ! {
        causeway_tests::runner::say("the edge's first message is no hello");
        std::process::exit(70)
    }

    /// Carries messages both ways until neither end has any.
    fn exchange(&mut self) {
        loop {
            self.drain();
            let mut quiet = true;
            while let Some(text) = self.relay.poll_transmit(self.now, self.conn) {
                self.edge.handle_input(self.now, Input::Message(self.conn, &text));
                self.drain();
                quiet = false;
            }
            while let Some(text) = self.edge.poll_transmit(self.now, self.conn) {
                self.relay.handle_input(self.now, Input::Message(self.conn, &text));
                self.drain();
                quiet = false;
            }
            if quiet {
                return;
            }
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.edge.poll_event() {
            if let Event::Incoming(id, _) = event {
                self.incoming.push(id);
            }
        }
        let mut readable = Vec::new();
        while let Some(event) = self.relay.poll_event() {
            if let Event::Stream(id, StreamEvent::Readable) = event {
                readable.push(id);
            }
        }
        for id in readable {
            while let Some(bytes) = self.relay.recv(self.now, id) {
                black_box(bytes);
            }
        }
    }

    fn open(&mut self) -> StreamId {
        let id = StreamId::new(1, self.next);
        self.next += 1;
        let open = Open {
            edge_instance: EDGE,
            method: "POST".to_owned(),
            path: "/api/chat".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            model: Some("llama3.2:3b".to_owned()),
            stream: Some(true),
            policy: Policy::local(),
            key: "k".to_owned(),
            traceparent: None,
            reply: None,
        };
        // A refusal shows as instructions per turn that are far too few.
        let _ = self.relay.open(self.now, id, open, Bytes::from_static(BODY), true);
        self.exchange();
        id
    }
}

fn head() -> Head {
    Head { status: 200, headers: vec![("content-type".to_owned(), "application/x-ndjson".to_owned())] }
}

fn tokens(turns: u64) {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.edge.send_head(pair.now, id, head());
    for _ in 0..turns {
        let _ = pair.edge.send(pair.now, id, Bytes::from_static(LINE.as_bytes()));
        pair.now += Duration::from_millis(1);
        pair.edge.handle_timeout(pair.now);
        pair.relay.handle_timeout(pair.now);
        pair.exchange();
    }
}

fn requests(turns: u64) {
    let mut pair = Pair::new();
    for _ in 0..turns {
        let id = pair.open();
        pair.edge.send_head(pair.now, id, head());
        let _ = pair.edge.send(pair.now, id, Bytes::from_static(LINE.as_bytes()));
        pair.edge.finish(pair.now, id, None);
        pair.now += Duration::from_millis(1);
        pair.edge.handle_timeout(pair.now);
        pair.relay.handle_timeout(pair.now);
        pair.exchange();
        pair.edge.release(pair.now, id);
        pair.relay.release(pair.now, id);
        pair.exchange();
    }
}
