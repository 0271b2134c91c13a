//! Every timer and limit of the protocol, each with its unit and reason.
//!
//! Source of the figures: the table "Timers and limits" of `docs/protocol.md`.

use std::time::Duration;

/// Protocol name offered as WebSocket subprotocol; the client offers exactly this.
pub const SUBPROTOCOL: &str = "causeway.v1";

/// Largest header (the JSON line of a message), bytes. 8 KiB leaves room for 4 KiB of passed-on
/// headers and a 2 KiB path after escaping, and is a quarter of the smallest message.
pub const MAX_HEADER: usize = 8 * 1024;

/// Largest method + path + query in `open`, bytes; longer is 414.
pub const MAX_TARGET: usize = 2 * 1024;

/// Largest sum of passed-on header names and values in `open` and `head`, bytes; more is 431.
pub const MAX_HEADERS: usize = 4 * 1024;

/// Early frames held per stream and direction, count: the window bounds their bytes, this their overhead.
pub const MAX_HELD_FRAMES: usize = 1024;

/// Missing numbers listed in one `ack`, count.
pub const MAX_MISS: usize = 16;

/// Decoded body bytes the edge accepts per stream (callers' bodies), bytes.
pub const EDGE_WINDOW: u64 = 1024 * 1024;

/// Decoded body bytes the relay accepts per stream (answers) before its caller reads on, bytes.
pub const RELAY_WINDOW: u64 = 256 * 1024;

/// Send buffer of one answer at the edge, bytes: Ollama is read at full speed into it.
pub const STREAM_BUFFER: usize = 8 * 1024 * 1024;

/// All streams' buffers of one process together, bytes.
pub const TOTAL_BUFFER: usize = 256 * 1024 * 1024;

/// Frames that arrive before their `open`: all of them together, bytes.
pub const ORPHAN_POOL: usize = 4 * 1024 * 1024;

/// How long a frame waits for its `open` before `fail unknown_stream`.
pub const ORPHAN_HOLD: Duration = Duration::from_secs(5);

/// Tombstones of ended streams kept at once, count (about 4 MiB).
pub const MAX_TOMBSTONES: usize = 65_536;

/// Body bytes of one `catalog` part, bytes.
pub const CATALOG_PART: usize = 24 * 1024;

/// Connections of one link, count.
pub const MAX_CONNECTIONS: u8 = 4;

/// Limits and timers that the relay states in `welcome`; they hold for a pair of instances.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest message (header, newline, body), bytes.
    pub max_message: usize,
    /// How long data after the first waits for company before it is sent.
    pub flush: Duration,
    /// Least time between two `load` frames.
    pub load_interval: Duration,
    /// Ping after this long without receipt.
    pub ping_idle: Duration,
    /// Ping after this long without receipt while something is unacknowledged.
    pub ping_busy: Duration,
    /// Least wait for any receipt after a ping; the wait is max(this, 3 × RTT), at most 10 s.
    pub liveness_floor: Duration,
    /// Least retransmission timeout.
    pub rto_min: Duration,
    /// How long a gap may stand before it is reported.
    pub reorder: Duration,
    /// How long the first unacknowledged frame waits for its ack.
    pub ack_delay: Duration,
    /// `open` without any answer is sent again after this long.
    pub open_resend: Duration,
    /// No progress for this long ends a stream; also how long a link may be gone.
    pub resume_window: Duration,
    /// Longest life of a stream.
    pub stream_max: Duration,
}

impl Limits {
    /// A standalone relay: one process holds the sockets, so messages are large and nothing waits.
    pub const STANDALONE: Self = Self {
        max_message: 256 * 1024,
        flush: Duration::ZERO,
        load_interval: Duration::from_millis(250),
        ping_idle: Duration::from_secs(15),
        ping_busy: Duration::from_secs(1),
        liveness_floor: Duration::from_secs(1),
        rto_min: Duration::from_millis(1_000),
        reorder: Duration::from_millis(50),
        ack_delay: Duration::from_millis(250),
        open_resend: Duration::from_secs(2),
        resume_window: Duration::from_secs(60),
        stream_max: Duration::from_secs(30 * 60),
    };
}

/// Wait for `welcome` after the first `hello`.
pub const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for TCP, TLS and the WebSocket handshake.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait for the peer's close after ours.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
