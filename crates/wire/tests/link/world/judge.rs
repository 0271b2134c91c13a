//! What must hold at every step, and once everything has come to rest.

use causeway_wire::Link;
use causeway_wire::limits::RELAY_WINDOW;

use super::{Verdict, World, stream_id};
use crate::net::Way;

impl World {
    /// Each end holds what the ledger says, byte for byte, and counts it right.
    pub(super) fn check_books(&self) {
        for (of, link) in &self.relay {
            let calls = self.calls.iter().filter(|(_, record)| record.relay_run == self.relay_run);
            let calls = calls.filter(|(_, record)| record.edge_instance == *of);
            check_link(link, calls.map(|(call, record)| (*call, self.held_at_relay(*call, record))));
        }
        if let Some(edge) = &self.edge {
            let jobs = self.jobs.iter().filter(|((_, instance), _)| *instance == edge.instance);
            check_link(&edge.link, jobs.map(|((call, _), job)| (*call, self.held_at_edge(*call, job))));
        }
    }

    /// A new frame of an answer left the edge. What is under way of it, or waits at the relay for its
    /// caller, is never more than the relay's window.
    pub(super) fn check_window(&self, call: u64) {
        let record = &self.calls[&call];
        let reads = !record.cancelled && !record.let_go && !matches!(record.verdict, Some(Verdict::Failed(_)));
        // Past its longest life the relay drops what comes, whoever reads.
        let lives = self.net.now < record.opened + self.limits.stream_max;
        if reads && lives && record.relay_run == self.relay_run {
            let untaken = (self.flows[&(call, Way::ToRelay)].sent_bytes() - record.received) as u64;
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
            assert_eq!((status.streams, status.undelivered, status.buffered), (0, 0, 0));
            assert_eq!(link.leftovers(), Vec::<String>::new());
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
            // No run of the edge may have run it: the promise is not of one run only.
            let ran = self.jobs.keys().any(|(job, _)| job == call);
            assert!(!record.refused || !ran, "call {call} ran");
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

fn check_link(link: &Link, calls: impl Iterator<Item = (u64, usize)>) {
    let mut total = 0;
    for (call, held) in calls {
        assert_eq!(link.unacked(stream_id(call)), held, "call {call}: bytes held");
        total += held;
    }
    assert_eq!(link.status().buffered, total, "all bytes held");
    assert_eq!(link.miscounts(), Vec::<String>::new());
}
