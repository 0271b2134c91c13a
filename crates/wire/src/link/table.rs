//! The streams of a link: which connection each lives on, and who has something to send.
//!
//! Invariants: a stream is in a connection's queue at most once per kind (stale rows are skipped);
//! the counts here and on the connections follow every change through `Link::touch`.

use std::collections::BTreeSet;

use foldhash::HashMap;

use super::orphans::Orphans;
use super::tombs::Tombs;
use crate::{ConnId, InstanceId, Stream, StreamId};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stream: Stream,
    /// The peer's run it belongs to: it never crosses to another.
    pub(super) peer: InstanceId,
    /// Where it lives; none while no connection to its peer is live.
    pub(super) conn: Option<ConnId>,
    pub(super) in_urgent: bool,
    pub(super) in_ready: bool,
    pub(super) busy: bool,
    pub(super) buffered: usize,
    pub(super) active: bool,
}

impl Entry {
    pub(super) fn new(stream: Stream, peer: InstanceId) -> Self {
        Self { stream, peer, conn: None, in_urgent: false, in_ready: false, busy: false, buffered: 0, active: false }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) streams: HashMap<StreamId, Entry>,
    /// Streams without a connection, the oldest request first.
    pub(super) parked: BTreeSet<StreamId>,
    pub(super) tombs: Tombs,
    pub(super) orphans: Orphans,
    /// Send buffers of all streams together, bytes.
    pub(super) buffered: usize,
    /// Streams whose own part is not done.
    pub(super) active: usize,
    /// Streams with something unacknowledged.
    pub(super) busy: usize,
    /// The process's buffer was full: `Writable` is due when it has room again.
    pub(super) was_full: bool,
}

impl Table {
    pub(super) fn unacked_on(&self, conn: ConnId) -> bool {
        self.streams.values().any(|entry| entry.stream.unacked_on(conn))
    }

    /// The stream that would hold most, of those that have something to drop, if this one took so
    /// many bytes more; it may be this one.
    pub(super) fn fullest(&self, taker: StreamId, len: usize) -> StreamId {
        let sheds = self.streams.iter().filter(|(id, entry)| **id == taker || entry.stream.can_shed());
        let holds = sheds.map(|(id, entry)| (entry.buffered + if *id == taker { len } else { 0 }, *id));
        holds.max().map_or(taker, |(_, id)| id)
    }
}
