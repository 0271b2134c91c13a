//! Every timer and limit of the protocol, each with its unit and reason.
//!
//! Source of the figures: the table "Timers and limits" of `docs/protocol.md`.

use std::time::Duration;

/// Protocol name offered as WebSocket subprotocol; the client offers exactly this.
pub const SUBPROTOCOL: &str = "causeway.v1";

/// The protocol version this code speaks.
pub const VERSION: u32 = 1;

/// Largest header (the JSON line of a message), bytes. 8 KiB leaves room for 4 KiB of passed-on
/// headers and a 2 KiB path after escaping, and is a quarter of the smallest message.
pub const MAX_HEADER: usize = 8 * 1024;

/// Largest message any welcome may allow, bytes: bounds what is read before a welcome is known.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// Smallest message a welcome may allow, bytes: a full header and some body must fit. The
/// serverless relay's 32,000 is the least in use.
pub const MIN_MESSAGE: usize = 16 * 1024;

/// Largest `reply`, bytes: it comes back on every frame of the stream.
pub const MAX_REPLY: usize = 512;

/// Largest free text (`fail` message, `cancel` reason) as it is written, escapes included, bytes: a
/// sentence or two, cut at a character; beside the longest `reply` it still fits a header.
pub const MAX_REASON: usize = 1024;

/// Body bytes of one message, however large messages may be. A larger one would keep a cancel or
/// a ping behind it waiting for 1 s on a 0.5 Mbit/s uplink.
pub const CHUNK: usize = 64 * 1024;

/// Room left for a header of `data` or `end` when a body is cut, bytes (`reply` comes on top).
pub const SMALL_HEADER: usize = 1024;

/// Largest method + path + query in `open`, bytes; longer is 414.
pub const MAX_TARGET: usize = 2 * 1024;

/// Largest sum of passed-on header names and values in `open` and `head`, bytes; more is 431.
pub const MAX_HEADERS: usize = 4 * 1024;

/// Early frames held per stream and direction, count: the window bounds their bytes, this their overhead.
pub const MAX_HELD_FRAMES: usize = 1024;

/// Frames of one stream and direction in flight at once, count: what the receiver can hold early.
pub const MAX_FLIGHT: usize = MAX_HELD_FRAMES;

/// Frames after which an ack is due at once, count: a quarter of [`MAX_FLIGHT`], so that a fast
/// stream of small frames does not stop for `ack_delay`.
pub const ACK_EVERY: u32 = 256;

/// Missing numbers listed in one `ack`, count.
pub const MAX_MISS: usize = 16;

/// Decoded body bytes the edge accepts per stream (callers' bodies), bytes.
pub const EDGE_WINDOW: u64 = 1024 * 1024;

/// Decoded body bytes the relay accepts per stream (answers) before its caller reads on, bytes.
pub const RELAY_WINDOW: u64 = 256 * 1024;

/// Send buffer of one answer at the edge, bytes: Ollama is read at full speed into it.
pub const STREAM_BUFFER: usize = 8 * 1024 * 1024;

/// Send buffer of one request body at the relay beyond what `open` brought, bytes: one edge window.
pub const RELAY_BUFFER: usize = 1024 * 1024;

/// Below this much room a sender that may wait should wait; above it `Writable` is said, bytes.
pub const LOW_ROOM: usize = 64 * 1024;

/// All streams' buffers of one process together, bytes.
pub const TOTAL_BUFFER: usize = 256 * 1024 * 1024;

/// Frames that arrive before their `open`: all of them together, bytes.
pub const ORPHAN_POOL: usize = 4 * 1024 * 1024;

/// How long a frame waits for its `open` before `fail unknown_stream`.
pub const ORPHAN_HOLD: Duration = Duration::from_secs(5);

/// Frames in the orphan pool, count: bounds its overhead for frames without a body.
pub const ORPHAN_FRAMES: usize = 4096;

/// Tombstones of ended streams kept at once, count (about 5 MiB, and at most 32 MiB more where
/// opens carry `reply`).
pub const MAX_TOMBSTONES: usize = 65_536;

/// Body bytes of one `catalog` part, bytes.
pub const CATALOG_PART: usize = 24 * 1024;

/// Parts of one catalog, count: 1.5 MiB, some 7,000 models.
pub const CATALOG_PARTS: u32 = 64;

/// Connections of one link, count.
pub const MAX_CONNECTIONS: u8 = 4;

/// Connections a relay holds for one link, count: every one with its replacement.
pub const MAX_SOCKETS: usize = 2 * MAX_CONNECTIONS as usize;

/// Unsequenced replies that wait for one connection, count (about 1 MiB); the oldest go first,
/// because all of them are repeated when they are still needed.
pub const CONTROL_QUEUE: usize = 4096;

/// The last ack of a stream waits this long for another frame to go with: nobody waits for it, and
/// alone it would cost both ends a system call and the peer a wake-up. Far below every timeout.
pub const FINAL_ACK_DELAY: Duration = Duration::from_millis(10);
/// So many last acks go without waiting, count: about 8 KiB.
pub const FINAL_ACKS: usize = 64;

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

/// The retransmission timeout doubles up to this.
pub const RTO_MAX: Duration = Duration::from_secs(8);
/// Longest wait for any receipt after a ping, whatever the round trip.
pub const LIVENESS_MAX: Duration = Duration::from_secs(10);
/// `hello` is sent again this long after the first one, twice.
pub const HELLO_AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];
/// A replaced connection is read this long before it is closed.
pub const RETIRE: Duration = Duration::from_secs(10);
/// How often a replaced connection is looked at: nothing unacknowledged last sent on it closes it.
pub const RETIRE_LOOK: Duration = Duration::from_millis(250);
/// Earliest planned rotation: API Gateway cuts at 120 min, and links must not rotate together.
pub const ROTATE_MIN: Duration = Duration::from_secs(90 * 60);
/// Latest planned rotation.
pub const ROTATE_MAX: Duration = Duration::from_secs(110 * 60);
/// After the loss of a connection that had worked, the next dial comes within this.
pub const REDIAL_SOON: Duration = Duration::from_millis(250);
/// First and last ceiling of the full-jitter backoff.
pub const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// See [`BACKOFF_MIN`].
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// More losses than this in a minute are a fault, count.
pub const LOSSES_A_MINUTE: usize = 10;
/// Delay of a dial while losses are a fault.
pub const LOSSY_DELAY: Duration = Duration::from_secs(1);
/// Refusals (401, 403) in a row after which only [`REFUSED_DELAY`] helps, count.
pub const REFUSED_IN_A_ROW: u32 = 5;
/// Wait after that many refusals.
pub const REFUSED_DELAY: Duration = Duration::from_secs(5 * 60);
/// Longest wait a peer may ask for (Retry-After, goaway), so that a bad value is no outage.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// A superseded edge does not dial for this long.
pub const SUPERSEDED_DELAY: Duration = Duration::from_secs(5 * 60);
/// Wait for `welcome` after the first `hello`.
pub const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for TCP, TLS and the WebSocket handshake.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait for the peer's close after ours.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
