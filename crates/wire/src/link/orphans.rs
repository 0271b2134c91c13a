//! Frames that arrived before their `open` (edge): held for 5 s, then refused.
//!
//! Invariant: all of them together stay below 4 MiB and 4,096 frames; what does not fit is
//! dropped, because its sender sends it again.

use std::collections::VecDeque;
use std::time::Instant;

use foldhash::HashMap;

use crate::limits::{ORPHAN_FRAMES, ORPHAN_HOLD, ORPHAN_POOL};
use crate::{ConnId, Frame, StreamId};

#[derive(Debug)]
struct Waiting {
    conn: ConnId,
    frames: Vec<Frame>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Orphans {
    by_id: HashMap<StreamId, Waiting>,
    by_age: VecDeque<(Instant, StreamId)>,
    bytes: usize,
    frames: usize,
}

fn body_len(frame: &Frame) -> usize {
    match frame {
        Frame::Data { body, .. } | Frame::End { body, .. } => body.len(),
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Catalog { .. }
        | Frame::Load { .. }
        | Frame::Open { .. }
        | Frame::Head { .. }
        | Frame::Fail { .. }
        | Frame::Ack { .. }
        | Frame::Probe { .. }
        | Frame::Cancel { .. }
        | Frame::Ping { .. }
        | Frame::Pong { .. }
        | Frame::Goaway { .. }
        | Frame::Goodbye { .. }
        | Frame::Unknown => 0,
    }
}

impl Orphans {
    pub(super) fn hold(&mut self, now: Instant, conn: ConnId, id: StreamId, frame: Frame) {
        let bytes = body_len(&frame);
        if self.frames >= ORPHAN_FRAMES || self.bytes + bytes > ORPHAN_POOL {
            return;
        }
        self.frames += 1;
        self.bytes += bytes;
        let by_age = &mut self.by_age;
        let waiting = self.by_id.entry(id).or_insert_with(|| {
            by_age.push_back((now, id));
            Waiting { conn, frames: Vec::new(), bytes: 0 }
        });
        waiting.bytes += bytes;
        waiting.frames.push(frame);
    }

    /// The `open` (or a cancel) came: the frames in the order in which they arrived.
    pub(super) fn take(&mut self, id: StreamId) -> Vec<Frame> {
        let Some(waiting) = self.by_id.remove(&id) else {
            return Vec::new();
        };
        self.by_age.retain(|&(_, held)| held != id);
        self.bytes -= waiting.bytes;
        self.frames -= waiting.frames.len();
        waiting.frames
    }

    pub(super) fn len(&self) -> usize {
        self.frames.max(self.bytes).max(self.by_age.len()).max(self.by_id.len())
    }

    /// For the audit: each count, and what it counts.
    pub(super) fn counts(&self) -> [(&'static str, usize, usize); 3] {
        let frames = self.by_id.values().map(|waiting| waiting.frames.len()).sum();
        let bytes = self.by_id.values().flat_map(|waiting| &waiting.frames).map(body_len).sum();
        let aged = self.by_age.iter().filter(|(_, id)| self.by_id.contains_key(id)).count();
        [("frames", self.frames, frames), ("bytes", self.bytes, bytes), ("ages", self.by_age.len(), aged)]
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_age.front().map(|&(since, _)| since + ORPHAN_HOLD)
    }

    /// The next stream whose `open` did not come in time, and where its frames came from.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<(StreamId, ConnId)> {
        let id = match self.by_age.front() {
            Some(&(since, id)) if since + ORPHAN_HOLD <= now => id,
            Some(_) | None => return None,
        };
        let conn = self.by_id.get(&id)?.conn;
        self.take(id);
        Some((id, conn))
    }
}
