//! What must hold at every step, and once everything has come to rest.

use causeway_wire::limits::RELAY_WINDOW;
use causeway_wire::{Frame, decode};

use super::{Verdict, World, call_of, stream_id};

impl World {
    /// The count that the edge's cap on all buffers goes by is what the streams hold.
    pub(super) fn check_memory(&self) {
        let links = self.relay.iter().map(|(_, link)| link).chain(self.edge.as_ref().map(|edge| &edge.link));
        for link in links {
            let held: usize = self.calls.keys().map(|call| link.unacked(stream_id(*call))).sum();
            assert_eq!(link.status().buffered, held);
        }
    }

    /// A message left the edge. What is under way of an answer, or waits at the relay for its caller,
    /// is never more than the relay's window.
    pub(super) fn note_answer(&mut self, text: &str) {
        let (stream, seq, body) = match decode(text) {
            Ok(Frame::Head { stream, body, .. }) => (stream, 0, body),
            Ok(Frame::Data { stream, seq, body, .. } | Frame::End { stream, seq, body, .. }) => (stream, seq, body),
            Ok(_) | Err(_) => return,
        };
        let call = call_of(stream);
        let sent = self.sent.entry(call).or_default();
        if seq != sent.frames {
            return;
        }
        sent.frames += 1;
        sent.bytes += body.len() as u64;
        let record = &self.calls[&call];
        let reads = !record.cancelled && !record.let_go && !matches!(record.verdict, Some(Verdict::Failed(_)));
        // Past its longest life the relay drops what comes, whoever reads.
        let lives = self.net.now < record.opened + self.limits.stream_max;
        if reads && lives && record.relay_run == self.relay_run {
            let untaken = sent.bytes - record.received as u64;
            assert!(untaken <= RELAY_WINDOW, "call {call}: {untaken} bytes sent and not taken");
        }
    }

    /// Everything has come to rest: nothing is held, every call and every job has its one end.
    pub(crate) fn judge_rest(&self) {
        for (call, record) in &self.calls {
            if record.relay_run != self.relay_run {
                continue;
            }
            let over = record.verdict.is_some() || record.let_go;
            assert!(over, "call {call} never ended: {} of {} bytes", record.received, record.script.answer.len());
            assert!(record.released.is_some(), "call {call} was never released ({:?})", record.verdict);
            if record.verdict == Some(Verdict::Whole) && !record.cancelled {
                assert_eq!(record.received, record.script.answer.len(), "call {call}: not all bytes");
            }
        }
        let edge = self.edge.as_ref().unwrap();
        for ((call, instance), job) in &self.jobs {
            if *instance == edge.instance {
                assert!(job.over, "call {call}: the edge still runs it");
                assert!(job.released.is_some(), "call {call}: the edge still holds it");
            }
        }
        let links = self.relay.iter().map(|(_, link)| link).chain([&edge.link]);
        for link in links {
            let status = link.status();
            assert_eq!((status.streams, status.buffered), (0, 0));
        }
    }
    /// Both ends count as many connections as the relay wants.
    pub(crate) fn judge_connections(&self) {
        let edge = self.edge.as_ref().unwrap();
        assert_eq!(edge.link.status().connections, usize::from(self.connections), "at the edge");
        let relay = self.relay.iter().find(|(of, _)| *of == edge.instance).map(|(_, link)| link);
        let connections = relay.map(|link| link.status().connections);
        assert_eq!(connections, Some(usize::from(self.connections)), "at the relay");
    }

    /// No stream outlived its limits on either side, and none that was refused has run.
    pub(crate) fn judge_ends(&self) {
        let (life, resume) = (self.limits.stream_max, self.limits.resume_window);
        for (call, record) in self.calls.iter().filter(|(_, record)| record.relay_run == self.relay_run) {
            assert!(!record.refused || !self.jobs.contains_key(&(*call, record.edge_instance)), "call {call} ran");
            let gone = record.released.filter(|_| record.let_go);
            for end in record.ended.into_iter().chain(gone) {
                assert!(end - record.opened <= life + resume, "call {call} took {:?}", end - record.opened);
            }
        }
        let edge = self.edge.as_ref().unwrap();
        for ((call, _), job) in self.jobs.iter().filter(|((_, instance), _)| *instance == edge.instance) {
            let (ended, released) = (job.ended.unwrap() - job.started, job.released.unwrap() - job.started);
            assert!(ended <= life, "call {call}: the edge ran it for {ended:?}");
            assert!(released <= life + 2 * resume, "call {call}: the edge held it for {released:?}");
        }
    }
}
