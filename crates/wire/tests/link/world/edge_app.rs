//! The edge's application: reads bodies and writes answers as the scripts say.

use causeway_wire::{Code, Event, Failure, Head, InstanceId, Outcome, StreamEvent};

use super::{Job, World, call_of, ms, stream_id};
use crate::net::{Happening, Way};
use crate::script::Reader;

impl World {
    pub(super) fn edge_event(&mut self, event: Event) {
        let edge = self.edge.as_ref().unwrap();
        let (run, instance) = (edge.run, edge.instance);
        match event {
            Event::Dial(conn) => {
                let relay = self.relay_up.then_some(self.relay_run);
                self.net.dial(run, conn.0, relay);
            }
            Event::Close(conn, ..) => {
                let wire = self.net.wires.iter().find(|(_, wire)| wire.edge_run == run && wire.edge_conn == conn.0);
                if let Some((id, true)) = wire.map(|(id, wire)| (*id, wire.edge_open)) {
                    self.shut(id, Way::ToEdge);
                }
            }
            Event::Incoming(id, _) => {
                let call = call_of(id);
                let job = Job {
                    run,
                    got: 0,
                    body_whole: false,
                    answering: false,
                    head_sent: false,
                    sent: 0,
                    over: false,
                    stopped: false,
                    started: self.net.now,
                    ended: None,
                    released: None,
                };
                assert!(self.jobs.insert((call, instance), job).is_none(), "call {call} ran twice on one edge run");
                self.net.after(ms(1), Happening::EdgeApp(run, call));
            }
            Event::Stream(id, event) => self.edge_stream_event(call_of(id), instance, run, event),
            Event::Released(id) => {
                if let Some(job) = self.jobs.get_mut(&(call_of(id), instance)) {
                    assert!(job.released.is_none(), "released twice");
                    job.released = Some(self.net.now);
                }
            }
            Event::Up { .. } | Event::Down(_) | Event::Superseded | Event::Fault(_) | Event::Rtt(_) => {
                self.events.push(format!("{:?} edge {event:?}", self.net.now - self.start));
            }
            Event::Catalog(_) | Event::Load(_) => panic!("an edge does not get {event:?}"),
        }
    }

    fn edge_stream_event(&mut self, call: u64, instance: InstanceId, run: u32, event: StreamEvent) {
        let job = self.jobs.get_mut(&(call, instance)).expect("events come after Incoming");
        assert!(!job.stopped, "call {call}: {event:?} after a terminal event");
        match event {
            StreamEvent::Readable | StreamEvent::Writable => {
                self.net.after(ms(0), Happening::EdgeApp(run, call));
            }
            StreamEvent::End(outcome) => {
                assert!(outcome.is_none());
                job.body_whole = true;
                self.net.after(ms(0), Happening::EdgeApp(run, call));
            }
            StreamEvent::Cancelled(_) => {
                job.stopped = true;
                job.over = true;
                job.ended.get_or_insert(self.net.now);
                let edge = self.edge.as_mut().unwrap();
                let outcome = Outcome { output_tokens: Some(7), ..Outcome::default() };
                let failure = Failure { outcome, ..Failure::new(Code::Cancelled, "stopped") };
                edge.link.fail(self.net.now, stream_id(call), failure);
            }
            StreamEvent::Failed(failure) => {
                job.stopped = true;
                job.over = true;
                job.ended.get_or_insert(self.net.now);
                let code = failure.code;
                assert!(matches!(code, Code::LinkLost | Code::DeadlineExceeded), "call {call}: {code:?}");
            }
            StreamEvent::Head(_) => panic!("an edge gets no head"),
        }
    }

    /// Reads the body and writes the answer, a piece at a time.
    pub(super) fn edge_app(&mut self, run: u32, call: u64) {
        let now = self.net.now;
        let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == run) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&(call, edge.instance)).filter(|job| job.run == run) else {
            return;
        };
        let script = &self.calls[&call].script;
        let id = stream_id(call);
        while let Some(piece) = edge.link.recv(now, id) {
            assert_eq!(piece, script.body[job.got..job.got + piece.len()], "call {call}: body altered");
            job.got += piece.len();
            if let Reader::Slow(pause) = script.edge {
                self.net.after(ms(pause), Happening::EdgeApp(run, call));
                break;
            }
        }
        let ready = (job.body_whole && !job.stopped && job.got == script.body.len()) || script.early;
        if ready && !job.answering {
            job.answering = true;
            return self.net.after(ms(script.think_ms), Happening::EdgeApp(run, call));
        }
        if !job.answering || job.over {
            return;
        }
        if !job.head_sent {
            job.head_sent = true;
            edge.link.send_head(now, id, Head { status: 200, headers: vec![("x".to_owned(), "y".to_owned())] });
        }
        let most = script.fails_at.unwrap_or(script.answer.len());
        let piece = script.piece.min(most - job.sent).min(edge.link.send_room(id));
        if edge.link.send(now, id, script.answer.slice(job.sent..job.sent + piece)).is_ok() {
            job.sent += piece;
        }
        if job.sent < most {
            return self.net.after(ms(script.pace_ms.max(1)), Happening::EdgeApp(run, call));
        }
        job.over = true;
        job.ended = Some(now);
        if script.fails_at.is_some() {
            edge.link.fail(now, id, Failure::new(Code::UpstreamIncomplete, "broke off"));
        } else {
            let outcome = Outcome { output_tokens: Some(job.sent as u64), ..Outcome::default() };
            edge.link.finish(now, id, Some(outcome));
        }
    }
}
