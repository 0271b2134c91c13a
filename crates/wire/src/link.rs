//! An edge's presence at a relay: connections, liveness, catalog, load, and its streams.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;

use crate::{
    Backend, ConnId, Failure, Head, Hello, InstanceId, Limits, Load, ModelInfo, Open, Outcome,
    SendRefused, StreamEvent, StreamId,
};

/// What an edge says of itself.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Edge name, as in its certificate.
    pub edge: String,
    /// This run.
    pub instance: InstanceId,
    /// Software version, for people.
    pub software: String,
    /// Connections wanted, 1 to 4; the relay's `max_connections` may lower it.
    pub connections: u8,
    /// Streams taken at once, count.
    pub max_streams: u32,
    /// Most open backends this edge's configuration allows.
    pub ceiling: Vec<Backend>,
}

/// What a relay says of itself.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// This run.
    pub instance: InstanceId,
    /// Software version, for people.
    pub software: String,
    /// Stated in `welcome`.
    pub limits: Limits,
    /// Connections wanted per link.
    pub max_connections: u8,
}

/// What the shell tells a link.
#[derive(Debug)]
pub enum Input<'a> {
    /// A WebSocket is open: one that [`Event::Dial`] asked for, or (relay) one just accepted.
    Connected(ConnId),
    /// The dial that [`Event::Dial`] asked for failed.
    DialFailed(ConnId, DialFailure),
    /// One text message arrived.
    Message(ConnId, &'a str),
    /// Something that is not a text message arrived (WebSocket ping, pong): proof of life only.
    Alive(ConnId),
    /// The WebSocket is gone; nothing more comes from it or goes to it.
    Closed(ConnId),
}

/// Why a dial failed, by what the link must do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DialFailure {
    /// TCP, TLS or anything else that the next try may cure.
    Unreachable,
    /// HTTP 401 or 403: five in a row wait 5 minutes.
    Refused,
    /// The relay said when to come back.
    RetryAfter(Duration),
}

/// What a link tells the shell.
#[derive(Debug)]
pub enum Event {
    /// Open a WebSocket and answer with [`Input::Connected`] or [`Input::DialFailed`] (edge only).
    Dial(ConnId),
    /// Send what `poll_transmit` still gives, then close the socket with this code and reason.
    Close(ConnId, u16, &'static str),
    /// The first connection was welcomed (or, relay: said hello). `resumed` if streams survived a gap.
    Up { /// The peer's run.
        peer: InstanceId, /// Streams lived on from before.
        resumed: bool },
    /// The last connection is gone.
    Down(Down),
    /// Another process uses this identity; the link does not dial for 5 minutes (edge only).
    Superseded,
    /// A sentence for the status page: more than 10 losses a minute, a peer's protocol error.
    Fault(String),
    /// The relay got a whole new catalog (relay only).
    Catalog(Vec<ModelInfo>),
    /// The relay got newer load (relay only).
    Load(Load),
    /// A round trip was measured.
    Rtt(Duration),
    /// A request to run (edge only). From here its events come as [`Event::Stream`].
    Incoming(StreamId, Box<Open>),
    /// Something happened on a stream.
    Stream(StreamId, StreamEvent),
    /// Everything of this stream is acknowledged and delivered; its state is gone.
    Released(StreamId),
}

/// Why a link went down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down {
    /// Sockets closed or died.
    Lost,
    /// The peer drains or said goodbye.
    Goodbye,
    /// Another instance took over.
    Superseded,
}

/// Why [`Link::open`] did not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenRefused {
    /// No live connection, or the edge drains.
    #[error("the edge has no live connection or drains")]
    Offline,
    /// The edge takes no more streams.
    #[error("the edge takes no more streams at once")]
    Full,
    /// The method and path are over [`crate::limits`]' 2 KiB.
    #[error("method and path are longer than 2 KiB")]
    TargetTooLong,
    /// The passed-on headers are over 4 KiB.
    #[error("passed-on headers are longer than 4 KiB")]
    HeadersTooLong,
}

/// A snapshot for status pages and routing.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Welcomed, live connections.
    pub connections: usize,
    /// Streams not yet ended.
    pub streams: usize,
    /// The peer's run.
    pub peer: Option<InstanceId>,
    /// Last round trip.
    pub rtt: Option<Duration>,
    /// When something last arrived that answered something of ours.
    pub return_path: Option<Instant>,
    /// The relay said goaway or the edge goodbye, or `drain` was called.
    pub draining: bool,
    /// Bytes held in stream buffers.
    pub buffered: usize,
}

/// See the crate head for the drive order.
pub struct Link {}
#[expect(unused_variables, clippy::todo, missing_docs, reason = "stub")]
impl Link {
    pub fn edge(config: EdgeConfig, rng: StdRng, now: Instant) -> Self { todo!() }
    /// `hello` is what the shell peeked from the first message; that same message is still to be
    /// passed to `handle_input` after [`Input::Connected`].
    pub fn relay(config: RelayConfig, hello: &Hello, rng: StdRng, now: Instant) -> Self { todo!() }

    // the five verbs
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) { todo!() }
    pub fn handle_timeout(&mut self, now: Instant) { todo!() }
    pub fn poll_event(&mut self) -> Option<Event> { todo!() }
    /// The next text message for this connection: control first, then streams in turn.
    pub fn poll_transmit(&mut self, now: Instant, conn: ConnId) -> Option<String> { todo!() }
    /// Whether `poll_transmit` may give something for this connection now (cheap).
    pub fn wants_transmit(&self, conn: ConnId) -> bool { todo!() }
    pub fn poll_timeout(&self) -> Option<Instant> { todo!() }

    // the application's verbs; unknown or released streams are ignored
    /// Relay: opens a stream with a fresh id chosen by the caller (ULID).
    pub fn open(&mut self, now: Instant, id: StreamId, open: Open, body: Bytes, fin: bool) -> Result<(), OpenRefused> { todo!() }
    /// Edge: status and headers, once, before any body. Transmitted with the first body bytes if
    /// those are queued before the next `poll_transmit`.
    pub fn send_head(&mut self, now: Instant, id: StreamId, head: Head) { todo!() }
    /// Queues body bytes. Edge answers: refuses `Overrun` past the stream's or the process's buffer
    /// (the fullest stream fails `slow_reader`). Check `send_room` first where the source can wait.
    pub fn send(&mut self, now: Instant, id: StreamId, body: Bytes) -> Result<(), SendRefused> { todo!() }
    /// Bytes `send` takes now without refusing; 0 also for unknown or ended streams.
    pub fn send_room(&self, id: StreamId) -> usize { todo!() }
    /// Body bytes queued and not yet acknowledged.
    pub fn unacked(&self, id: StreamId) -> usize { todo!() }
    pub fn finish(&mut self, now: Instant, id: StreamId, outcome: Option<Outcome>) { todo!() }
    pub fn fail(&mut self, now: Instant, id: StreamId, failure: Failure) { todo!() }
    pub fn cancel(&mut self, now: Instant, id: StreamId, reason: &str) { todo!() }
    /// Next delivered body bytes, in order; taking them opens the peer's window.
    pub fn recv(&mut self, now: Instant, id: StreamId) -> Option<Bytes> { todo!() }
    /// The application is gone: an unfinished stream is cancelled (relay) or failed `internal` (edge),
    /// undelivered bytes are dropped.
    pub fn release(&mut self, now: Instant, id: StreamId) { todo!() }

    /// Edge: sends the catalog after every welcome and now if it changed.
    pub fn set_catalog(&mut self, now: Instant, models: Vec<ModelInfo>) { todo!() }
    /// Edge: rate limited and sent on a change of 20 % as link.md says.
    pub fn set_load(&mut self, now: Instant, load: Load) { todo!() }
    /// Refuse new streams and say so (edge: goodbye link; relay: goaway link). Streams live on.
    pub fn drain(&mut self, now: Instant) { todo!() }
    /// Edge: make-before-break replacement of all connections (renewed certificate, planned time).
    pub fn rotate(&mut self, now: Instant) { todo!() }
    /// Edge: dial at once, whatever the backoff says (SIGHUP, an interface came up).
    pub fn reconnect_now(&mut self, now: Instant) { todo!() }
    /// Relay: another instance of this edge said hello: goaway superseded, close, fail all streams.
    pub fn supersede(&mut self, now: Instant) { todo!() }
    pub fn status(&self) -> Status { todo!() }
    /// Relay: nothing can come of this link any more (no connection for the resume window, or
    /// superseded and closed): the registry may drop it.
    pub fn is_dead(&self, now: Instant) -> bool { todo!() }
}
