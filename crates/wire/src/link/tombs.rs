//! What is remembered of ended streams, so that no late frame runs or revives anything.
//!
//! Invariants: at most 65,536, each for twice the resume window; the oldest go first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use foldhash::HashMap;

use crate::limits::MAX_TOMBSTONES;
use crate::{Code, Failure, StreamId};

/// What late frames of an ended stream are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tomb {
    /// Ended on both sides: the final ack.
    Done { next: u64 },
    /// Edge: it never ran, and never will.
    Refused(Refusal),
    /// This side gave it up; `seq` is the number its own terminal frame would have had.
    Lost { seq: u64 },
}

/// Why the edge does not run a request, or has given its answer up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    Draining,
    WrongInstance,
    Saturated,
    Cancelled,
    UnknownStream,
    LinkLost,
}

impl Refusal {
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Draining => Failure::new(Code::Draining, "the edge is shutting down; did not run").retryable(),
            Self::WrongInstance => {
                Failure::new(Code::WrongInstance, "meant for another run of the edge; did not run").retryable()
            }
            Self::Saturated => Failure::new(Code::Saturated, "the edge takes no more streams; did not run").retryable(),
            Self::Cancelled => Failure::new(Code::Cancelled, "cancelled before it ran"),
            Self::UnknownStream => {
                Failure::new(Code::UnknownStream, "its open did not arrive; did not run").retryable()
            }
            Self::LinkLost => Failure::new(Code::LinkLost, "the edge gave this stream up"),
        }
    }
}

#[derive(Debug)]
struct Grave {
    tomb: Tomb,
    /// Echoed on every answer, as it was while the stream lived.
    reply: Option<Box<str>>,
}

#[derive(Debug, Default)]
pub(super) struct Tombs {
    by_id: HashMap<StreamId, Grave>,
    by_age: VecDeque<(Instant, StreamId)>,
}

impl Tombs {
    pub(super) fn insert(&mut self, now: Instant, hold: Duration, id: StreamId, tomb: Tomb, reply: Option<&str>) {
        self.expire(now, hold);
        if self.by_id.insert(id, Grave { tomb, reply: reply.map(Box::from) }).is_none() {
            self.by_age.push_back((now, id));
        }
        if self.by_age.len() > MAX_TOMBSTONES {
            self.drop_oldest();
        }
    }

    /// What to say, and the `reply` to echo with it.
    pub(super) fn get(&self, id: StreamId) -> Option<(Tomb, Option<&str>)> {
        self.by_id.get(&id).map(|grave| (grave.tomb, grave.reply.as_deref()))
    }

    /// For the audit: each has its age, and nothing else has.
    pub(super) fn counts(&self) -> [(&'static str, usize, usize); 1] {
        [("ages", self.by_age.len(), self.by_id.len())]
    }

    pub(super) fn expire(&mut self, now: Instant, hold: Duration) {
        while self.by_age.front().is_some_and(|&(since, _)| since + hold <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.by_age.pop_front() {
            self.by_id.remove(&id);
        }
    }
}
