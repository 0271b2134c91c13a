//! The audit of a link: every count that is kept by hand against what it counts, and what is held
//! though no stream needs it. It is for tests, which cannot see these from outside.
//!
//! Invariants: it changes nothing; a new field of the table or of a connection does not compile
//! until it has its place here. Absent: any use in the programs, as it looks at every stream.

use super::Link;
use super::conn::Conn;
use super::table::Table;
use super::timers::Key;
use crate::ConnId;

/// A phrase for each figure that is not what it must be.
fn differences<'a>(of: &str, figures: impl IntoIterator<Item = (&'a str, usize, usize)>) -> Vec<String> {
    let wrong = figures.into_iter().filter(|(_, is, must)| is != must);
    wrong.map(|(what, is, must)| format!("{of}: {what} {is}, not {must}")).collect()
}

impl Link {
    /// Counts that disagree with what they count, a phrase each; none at any time.
    #[doc(hidden)]
    #[must_use]
    pub fn miscounts(&self) -> Vec<String> {
        let Table { streams, parked, tombs, orphans, buffered, active, busy, was_full: _ } = &self.table;
        let held = streams.values().map(|entry| entry.stream.unacked()).sum();
        let at_work = streams.values().filter(|entry| entry.stream.is_active()).count();
        let unanswered = streams.values().filter(|entry| entry.stream.is_busy()).count();
        let homeless = streams.values().filter(|entry| entry.conn.is_none()).count();
        let timers = self.timers.keys().filter(|key| match key {
            Key::Stream(id) => !streams.contains_key(id),
            Key::Conn(id) => !self.conns.contains_key(id),
            Key::Dial | Key::Load | Key::Orphans | Key::Down => false,
        });
        let counts = [
            ("buffered bytes", *buffered, held),
            ("active", *active, at_work),
            ("busy", *busy, unanswered),
            ("parked", parked.len(), homeless),
            ("timers of nothing", timers.count(), 0),
        ];
        let mut wrong = differences("table", counts);
        wrong.extend(differences("orphans", orphans.counts()));
        wrong.extend(differences("tombstones", tombs.counts()));
        wrong.extend(differences("timers", self.timers.counts()));
        for (id, conn) in &self.conns {
            let living = streams.values().filter(|entry| entry.conn == Some(*id)).count();
            wrong.extend(differences(&format!("{id:?}"), [("streams", conn.streams, living)]));
        }
        wrong
    }

    /// What is held beside live connections and tombstones, which fade with time, a phrase each;
    /// none once all streams have ended and their last frames have gone.
    #[doc(hidden)]
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let Table { streams, parked, tombs: _, orphans, buffered, active, busy, was_full } = &self.table;
        let figures = [
            ("streams", streams.len()),
            ("parked rows", parked.len()),
            ("early frames", orphans.len()),
            ("buffered bytes", *buffered),
            ("active streams", *active),
            ("busy streams", *busy),
            ("want of room", usize::from(*was_full)),
            ("events", self.events.len()),
        ];
        let mut left = differences("table", figures.map(|(what, is)| (what, is, 0)));
        for (id, conn) in &self.conns {
            left.extend(leftovers_of(*id, conn));
        }
        left
    }
}

fn leftovers_of(id: ConnId, conn: &Conn) -> Vec<String> {
    let Conn {
        state: _,
        since: _,
        peer: _,
        peer_window: _,
        liveness: _,
        proven: _,
        rotate_at: _,
        stale: _,
        hellos: _,
        in_company: _,
        replaces,
        streams,
        control,
        pong,
        finals,
        final_at,
        bulk,
        urgent,
        ready,
    } = conn;
    let figures = [
        ("no live connection", usize::from(!conn.is_live())),
        ("connection it replaces", usize::from(replaces.is_some())),
        ("streams", *streams),
        ("replies", control.len()),
        ("pong", usize::from(pong.is_some())),
        ("last acks", finals.len()),
        ("time for last acks", usize::from(final_at.is_some())),
        ("catalog and load", bulk.len()),
        ("streams with control", urgent.len()),
        ("streams with data", ready.len()),
    ];
    differences(&format!("{id:?}"), figures.map(|(what, is)| (what, is, 0)))
}
