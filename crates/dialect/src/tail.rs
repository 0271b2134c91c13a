//! Where in its line or event a streamed answer stands, and what brings it to a clean end.
//!
//! Memory is a few dozen bytes whatever the stream; whole lines are not looked into.

mod json;

use json::JsonTail;
use memchr::memchr;

/// Bytes of a line's beginning that tell its kind: `data: ` is the longest.
const PREFIX: usize = 6;

/// The state after the last byte sent.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    line: Line,
    /// Server-sent events: lines since the last blank one, and whether one of them was data.
    block: Block,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Block {
    #[default]
    Closed,
    /// Only fields that dispatch nothing by themselves (`event:`, `id:`, comments).
    Open,
    /// Holds data: a blank line dispatches it.
    Data,
}

/// The unfinished line.
#[derive(Debug, Default)]
struct Line {
    prefix: [u8; PREFIX],
    /// Bytes in `prefix`; more than that stay uncounted.
    known: usize,
    /// An NDJSON object from its first byte, or what follows `data:`.
    json: JsonTail,
    /// The line is `data: [DONE]` or its beginning: how much of the marker stands there.
    done: usize,
}

/// What ends a streamed answer of OpenAI's.
const DONE: &[u8] = b"[DONE]";

impl Tail {
    /// Takes note of bytes as they go to the caller.
    pub(crate) fn observe(&mut self, bytes: &[u8]) {
        // Nearly every chunk ends a line or an event: then only the last event is looked at.
        if bytes.ends_with(b"\n\n") {
            *self = Self::default();
            return;
        }
        let mut rest = bytes;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.line.take_prefix(line);
            self.end_line();
            rest = after.get(1..).unwrap_or_default();
        }
        self.line.feed(rest);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.block = match (line.known, self.block) {
            (0, _) => Block::Closed,
            (1, _) if line.prefix.starts_with(b"\r") => Block::Closed,
            (_, Block::Data) => Block::Data,
            _ if line.is_data() => Block::Data,
            _ => Block::Open,
        };
    }

    /// Ends an unfinished NDJSON line, with `members` (`"key":value`) added to its object.
    /// Nothing if the line is finished.
    pub(crate) fn end_ndjson(&self, members: &str) -> Vec<u8> {
        let mut out = Vec::new();
        if self.line.known > 0 {
            self.line.json.close(members, &mut out);
            out.push(b'\n');
        }
        out
    }

    /// Ends an unfinished event. `members` go into its half-written JSON object, `event` is the
    /// field line that renames it (or nothing). What is left open has no data and dispatches nothing.
    pub(crate) fn end_event(&self, members: &str, event: &str) -> EndOfEvent {
        let mut bytes = Vec::new();
        let mut block = self.block;
        let mut finished = false;
        if self.line.is_data() {
            block = Block::Data;
            finished = self.line.done > 0;
            let spoilt = if finished {
                bytes.extend_from_slice(DONE.get(self.line.done..).unwrap_or_default());
                false
            } else {
                self.line.json.close(members, &mut bytes)
            };
            bytes.push(b'\n');
            if spoilt && !event.is_empty() {
                bytes.extend_from_slice(event.as_bytes());
                bytes.push(b'\n');
            }
        } else if self.line.known > 0 {
            // `dat`, `data`, `even`: one letter more makes it a field that no reader knows.
            if !self.line.has_colon() {
                bytes.push(b'x');
            }
            bytes.push(b'\n');
        }
        if block == Block::Data {
            bytes.push(b'\n');
        }
        EndOfEvent { bytes, finished }
    }
}

/// What [`Tail::end_event`] says.
pub(crate) struct EndOfEvent {
    pub(crate) bytes: Vec<u8>,
    /// The unfinished line was the end marker: the answer is whole and needs no error.
    pub(crate) finished: bool,
}

impl Line {
    fn take_prefix(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(PREFIX - self.known) {
            self.prefix[self.known] = *byte;
            self.known += 1;
        }
    }

    fn is_data(&self) -> bool {
        self.prefix.starts_with(b"data:")
    }

    fn has_colon(&self) -> bool {
        self.known == PREFIX || self.prefix.contains(&b':')
    }

    /// Bytes of a line that is not finished yet: looked at one by one.
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let value_began = self.is_data() || self.prefix.starts_with(b"{");
            self.take_prefix(&[*byte]);
            if self.is_data()
                && value_began
                && (self.done > 0 || self.json.is_blank())
                && DONE.get(self.done) == Some(byte)
            {
                self.done += 1;
                continue;
            }
            if self.done > 0 {
                // An array that only began like the marker.
                for seen in DONE.iter().take(std::mem::take(&mut self.done)) {
                    self.json.feed(*seen);
                }
            }
            if value_began || self.prefix.starts_with(b"{") {
                self.json.feed(*byte);
            }
        }
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
