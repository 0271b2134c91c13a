//! What goes into a link and what comes out of it, as plain values.

use std::time::{Duration, Instant};

use crate::{Backend, ConnId, InstanceId, Limits, Load, ModelInfo, Open, StreamEvent, StreamId};

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
    Up {
        /// The peer's run.
        peer: InstanceId,
        /// Streams lived on from before.
        resumed: bool,
    },
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
    /// Connections that the edge wants; at the relay, which dials none, those there are.
    pub wanted: usize,
    /// Streams not yet ended.
    pub streams: usize,
    /// Streams that are still held: those, and edge streams until their last frame is acknowledged,
    /// relay streams until their last byte is taken.
    pub undelivered: usize,
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
