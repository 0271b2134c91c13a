//! What must hold at every step, and once everything has come to rest.

use causeway_wire::limits::{STREAM_BUFFER, TOTAL_BUFFER};

use super::{Verdict, World, stream_id};

impl World {
    pub(super) fn check_memory(&self) {
        let links = self.relay.iter().map(|(_, link)| link).chain(self.edge.as_ref().map(|edge| &edge.link));
        for link in links {
            let status = link.status();
            assert!(status.buffered <= TOTAL_BUFFER, "all buffers hold {}", status.buffered);
        }
        if let Some(edge) = &self.edge {
            for call in self.calls.keys() {
                assert!(edge.link.unacked(stream_id(*call)) <= STREAM_BUFFER);
            }
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
            assert!(record.released, "call {call} was never released ({:?})", record.verdict);
            if record.verdict == Some(Verdict::Whole) && !record.cancelled {
                assert_eq!(record.received, record.script.answer.len(), "call {call}: not all bytes");
            }
        }
        let edge = self.edge.as_ref().unwrap();
        for ((call, instance), job) in &self.jobs {
            if *instance == edge.instance {
                assert!(job.over, "call {call}: the edge still runs it");
                assert!(job.released, "call {call}: the edge still holds it");
            }
        }
        let links = self.relay.iter().map(|(_, link)| link).chain([&edge.link]);
        for link in links {
            let status = link.status();
            assert_eq!((status.streams, status.buffered), (0, 0));
        }
    }
}
