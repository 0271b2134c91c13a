//! Bounds of the relay, each with its unit and reason. Those of the link are `causeway_wire::limits`.

use std::time::Duration;

/// All header names and values of one request together, bytes. What is passed on must fit 4 KiB
/// in `open`; the rest (credentials, tracing, client versions) is under 1 KiB with every client known.
pub const MAX_REQUEST_HEADERS: usize = 4 * 1024;

/// hyper's read and write buffer per connection, bytes: above it a head is refused (431).
pub const CONNECTION_BUFFER: usize = 32 * 1024;

/// Callers' connections at once, count: with 32 KiB buffers each way and as much read ahead at most
/// 384 MiB.
pub const MAX_CALLERS: usize = 4096;

/// Edges' sockets at once that have not shown a certificate, count: about 20 KiB each.
pub const MAX_HANDSHAKES: usize = 1024;

/// The same from one network, count: a site's edges that all come back at the same moment.
pub const MAX_HANDSHAKES_OF_ONE: usize = 64;

/// Time for a TLS handshake on either port.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Time from a request head's first byte to its last.
pub const HEAD_TIME: Duration = Duration::from_secs(10);

/// A connection without a request is closed after this long; clients' pools keep them up to 90 s.
pub const IDLE_TIME: Duration = Duration::from_secs(120);

/// Longest silence within a caller's body.
pub const BODY_IDLE: Duration = Duration::from_secs(30);

/// Longest time for a caller's whole body: 32 MiB over 1 Mbit/s. Without it a byte now and then
/// would hold a place for ever.
pub const BODY_TIME: Duration = Duration::from_secs(300);

/// A caller that takes no byte for this long loses its request.
pub const WRITE_STALL: Duration = Duration::from_secs(60);

/// A caller that has been behind its answer for this long, without once having taken all that was
/// there, loses it: a stream's longest life. A byte a minute would hold a whole answer for days.
pub const BEHIND_TIME: Duration = Duration::from_secs(30 * 60);

/// Bytes after a request that are read before its answer is whole, so that its caller's leaving
/// shows; beyond them it does not until something is written. The rest of one read is kept besides.
pub const READ_AHEAD: usize = 16 * 1024;

/// After our side of a connection is closed the caller's bytes are taken until it is silent for this long…
pub const LINGER_SILENCE: Duration = Duration::from_secs(2);

/// …or for this long in all: 32 MiB over 10 Mbit/s.
pub const LINGER_TIME: Duration = Duration::from_secs(30);

/// A body up to this long rides in `open`, bytes; longer ones follow as the edge's window allows.
pub const BODY_IN_OPEN: usize = 64 * 1024;

/// An answer this short that is whole when its head is there goes out with its length, bytes.
pub const WHOLE_ANSWER: usize = 64 * 1024;

/// One edge's answer to a metadata request, bytes: thousands of models.
pub const METADATA_BODY: usize = 8 * 1024 * 1024;

/// All edges' answers to metadata requests that are held at once, bytes, until their callers have
/// taken them: eight of the longest, thousands of usual ones. As much again while they are united.
pub const METADATA_POOL: u64 = 64 * 1024 * 1024;

/// Wait for an edge's answer to a metadata request.
pub const METADATA_TIME: Duration = Duration::from_secs(15);

/// Beyond the caller's deadline the daemon has this long to say so itself.
pub const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// A stream of the relay's own that is silent for so long gets a sign of life, as an edge's does…
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(10);

/// …and a single answer.
pub const SINGLE_HEARTBEAT: Duration = Duration::from_secs(50);

/// Longest deadline a caller may state: a stream's longest life.
pub const MAX_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Longest `x-request-id`, bytes.
pub const MAX_REQUEST_ID: usize = 128;

/// Edges that are sent one request, count: the first and one more.
pub const MAX_ATTEMPTS: usize = 2;

/// Where every slot is taken, callers are asked to come again no sooner than this (they would only
/// be refused again)…
pub const SATURATED_LEAST: Duration = Duration::from_secs(1);

/// …and no later: predictions that far are guesses.
pub const SATURATED_MOST: Duration = Duration::from_secs(60);

/// The longest name of a caller's session, characters: a UUID several times over.
pub const MAX_SESSION: usize = 256;

/// The longest wait that an edge may foretell: its queue holds nobody longer.
pub const FORETOLD_MOST: Duration = Duration::from_secs(3_600);

/// An edge whose last answer is older than this does not count as reachable: a ping after 15 s of
/// silence, and twice the wait for its answer.
pub const RETURN_PATH_FRESH: Duration = Duration::from_secs(30);

/// Failed authentications one address may make at once, count.
pub const FAILURE_BURST: u32 = 20;

/// Then one more after each of these.
pub const FAILURE_REFILL: Duration = Duration::from_secs(1);

/// Addresses watched at once, count (about 64 bytes each).
pub const WATCHED_ADDRESSES: usize = 16_384;

/// Wait for the last lines of the access log to be taken: nobody may read them.
pub const LOG_TIME: Duration = Duration::from_secs(1);

/// Wait for the last requests to be entered in the books: one transaction on a slow disk.
pub const BOOKS_TIME: Duration = Duration::from_secs(5);

/// Running streams finish within this time on shutdown.
pub const DRAIN_TIME: Duration = Duration::from_secs(120);
