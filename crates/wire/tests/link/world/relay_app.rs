//! The relay's application: the callers, who write bodies and read answers as the scripts say.

use causeway_wire::{Code, Event, Failure, Outcome, StreamEvent};

use super::{Verdict, World, call_of, ms, stream_id};
use crate::net::{Happening, Way};
use crate::script::Reader;

impl World {
    pub(super) fn relay_event(&mut self, event: Event) {
        let now = self.net.now;
        match event {
            Event::Close(conn, ..) => self.shut(conn.0, Way::ToRelay),
            Event::Stream(id, event) => self.relay_stream_event(call_of(id), event),
            Event::Released(id) => {
                let record = self.calls.get_mut(&call_of(id)).unwrap();
                assert!(record.released.is_none(), "released twice");
                assert!(record.verdict.is_some() || record.let_go, "released without an end");
                record.released = Some(now);
            }
            Event::Up { .. }
            | Event::Down(_)
            | Event::Fault(_)
            | Event::Rtt(_)
            | Event::Catalog(_)
            | Event::Load(_) => {
                self.events.push(format!("{:?} relay {event:?}", now - self.start));
            }
            Event::Dial(_) | Event::Superseded | Event::Incoming(..) => {
                panic!("a relay does not get {event:?}")
            }
        }
    }

    fn relay_stream_event(&mut self, call: u64, event: StreamEvent) {
        let now = self.net.now;
        let run = self.relay_run;
        let record = self.calls.get_mut(&call).unwrap();
        assert!(record.verdict.is_none(), "call {call}: {event:?} after a terminal event");
        assert!(!record.let_go, "call {call}: {event:?} after release");
        match event {
            StreamEvent::Head(head) => {
                assert!(!record.head, "two heads");
                assert_eq!(head.status, 200);
                record.head = true;
            }
            StreamEvent::Readable | StreamEvent::Writable => self.net.after(ms(0), Happening::RelayApp(run, call)),
            StreamEvent::End(outcome) => {
                record.verdict = Some(Verdict::Whole);
                record.ended = Some(now);
                assert_eq!(outcome.unwrap().output_tokens, Some(record.script.answer.len() as u64));
                self.net.after(ms(0), Happening::RelayApp(run, call));
            }
            StreamEvent::Failed(failure) => {
                record.verdict = Some(Verdict::Failed(failure.code));
                record.refused = says_it_did_not_run(&failure);
                record.ended = Some(now);
                self.net.after(ms(0), Happening::RelayApp(run, call));
            }
            StreamEvent::Cancelled(_) => panic!("a relay is not cancelled"),
        }
    }

    /// Writes the rest of the body, reads the answer, goes away when the script says so.
    pub(super) fn relay_app(&mut self, run: u32, call: u64) {
        if run != self.relay_run {
            return;
        }
        let now = self.net.now;
        let (id, script) = (stream_id(call), self.calls[&call].script.clone());
        let opened = self.calls[&call].opened;
        let due = script.cancel_ms.is_some_and(|cancel| now >= opened + ms(cancel));
        if self.link_of(call).is_none() {
            return;
        }
        if due && !self.calls[&call].cancelled && self.calls[&call].verdict.is_none() {
            let record = self.calls.get_mut(&call).unwrap();
            record.cancelled = true;
            record.let_go = script.abrupt;
            let link = self.link_of(call).unwrap();
            if script.abrupt {
                link.release(now, id)
            } else {
                link.cancel(now, id, "caller gone")
            }
            return;
        }
        let given = self.calls[&call].given;
        let link = self.link_of(call).unwrap();
        let room = link.send_room(id).min(script.body.len() - given).min(50_000);
        if given < script.body.len() && room > 0 {
            link.send(now, id, script.body.slice(given..given + room)).unwrap();
            if given + room == script.body.len() {
                link.finish(now, id, None);
            }
            self.calls.get_mut(&call).unwrap().given += room;
            self.net.after(ms(2), Happening::RelayApp(run, call));
        }
        self.relay_read(run, call);
    }

    fn relay_read(&mut self, run: u32, call: u64) {
        let now = self.net.now;
        let id = stream_id(call);
        let mut taken = 0;
        while let Some(piece) = self.link_of(call).and_then(|link| link.recv(now, id)) {
            let record = self.calls.get_mut(&call).unwrap();
            assert!(!record.cancelled, "call {call}: bytes after cancel");
            let expected = &record.script.answer[record.received..record.received + piece.len()];
            assert_eq!(piece, expected, "call {call}: answer altered at {}", record.received);
            record.received += piece.len();
            let gap = now - record.last_bytes;
            if record.received > piece.len() {
                record.gap = record.gap.max(gap);
                record.gaps.push(gap);
            }
            record.last_bytes = now;
            taken += 1;
            let enough = if record.script.piece < 2_000 { 64 } else { 1 };
            if let Reader::Slow(pause) = record.script.caller
                && taken >= enough
            {
                self.net.after(ms(pause), Happening::RelayApp(run, call));
                break;
            }
        }
        let record = &self.calls[&call];
        if record.verdict == Some(Verdict::Whole) && !record.cancelled && record.released.is_some() {
            assert_eq!(record.received, record.script.answer.len(), "call {call}: end without all bytes");
        }
    }
}

/// Refusals are retryable because the request did not run; a cancelled one that ran tells its use.
fn says_it_did_not_run(failure: &Failure) -> bool {
    let refusals = [Code::Draining, Code::WrongInstance, Code::Saturated, Code::UnknownStream];
    (failure.retryable && refusals.contains(&failure.code))
        || (failure.code == Code::Cancelled && failure.outcome == Outcome::default())
}
