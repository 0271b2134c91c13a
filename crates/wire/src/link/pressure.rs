//! The edge's one buffer over all streams: who gives way when it is full, who hears of room again.
//!
//! Invariants: all streams together never hold more than 256 MiB; the stream that would hold most
//! gives way, and only if it has bytes that were not sent yet: dropping others frees nothing.

use std::time::Instant;

use super::{Event, Link};
use crate::limits::{LOW_ROOM, TOTAL_BUFFER};
use crate::{StreamEvent, StreamId};

impl Link {
    /// Edge: makes room for so many bytes of this stream, and returns whether there is.
    pub(super) fn make_room(&mut self, now: Instant, id: StreamId, len: usize) -> bool {
        while self.table.buffered + len > TOTAL_BUFFER {
            self.table.was_full = true;
            let fullest = self.table.fullest(id, len);
            self.with(now, fullest, crate::Stream::fail_slow_reader);
            if fullest == id {
                return false;
            }
        }
        true
    }

    /// Keeps watch over the buffer after a change to it.
    pub(super) fn watch_room(&mut self) {
        if self.table.buffered + LOW_ROOM > TOTAL_BUFFER {
            self.table.was_full = true;
        } else if self.table.was_full && self.table.buffered + LOW_ROOM < TOTAL_BUFFER / 4 * 3 {
            self.table.was_full = false;
            self.say_room();
        }
    }

    /// Says `Writable` to all, the oldest request first: who comes first may fill the room again.
    fn say_room(&mut self) {
        let streams = self.table.streams.iter();
        let writable = streams.filter(|(_, entry)| entry.stream.send_room() > 0).map(|(id, _)| *id);
        let mut writable: Vec<StreamId> = writable.collect();
        writable.sort_unstable();
        self.events.extend(writable.into_iter().map(|id| Event::Stream(id, StreamEvent::Writable)));
    }
}
