//! The reference for what is buffered: what the applications gave, what of it the network saw leave,
//! and what of that the sender was told has arrived. No link is asked.

use causeway_wire::{Frame, decode};

use super::{Call, Job, World, call_of};
use crate::net::Way;

/// One direction of a call's bodies.
#[derive(Default)]
pub(super) struct Flow {
    /// Body bytes up to and with each numbered frame that left, in the order of the numbers.
    sums: Vec<usize>,
    /// Frames that the sender was told have arrived.
    acked: usize,
}

impl Flow {
    pub(super) fn sent_bytes(&self) -> usize {
        self.sums.last().copied().unwrap_or(0)
    }

    fn acked_bytes(&self) -> usize {
        let acked = self.acked.min(self.sums.len());
        acked.checked_sub(1).map_or(0, |last| self.sums[last])
    }
}

impl World {
    /// A message leaves an end: a numbered frame counts the first time.
    pub(super) fn note_sent(&mut self, way: Way, text: &str) {
        let (stream, seq, body) = match decode(text) {
            Ok(Frame::Open { stream, body, .. } | Frame::Head { stream, body, .. }) => (stream, 0, body),
            Ok(Frame::Data { stream, seq, body, .. } | Frame::End { stream, seq, body, .. }) => (stream, seq, body),
            Ok(_) | Err(_) => return,
        };
        let call = call_of(stream);
        let flow = self.flows.entry((call, way)).or_default();
        if seq != flow.sums.len() as u64 {
            return;
        }
        flow.sums.push(flow.sent_bytes() + body.len());
        if way == Way::ToRelay {
            self.check_window(call);
        }
    }

    /// A message is given to the end that `way` leads to. On a connection that is not up yet, or not
    /// any more, that end does not listen to it.
    pub(super) fn note_heard(&mut self, id: u64, way: Way, text: &str) {
        let greeted = self.belongs.contains_key(&id);
        let Some(wire) = self.net.wires.get_mut(&id).filter(|wire| !wire.closing[way as usize]) else {
            return;
        };
        match decode(text) {
            Ok(Frame::Welcome(_)) => wire.welcomed = true,
            Ok(Frame::Ack { stream, next, .. }) => {
                let (up, sender) = match way {
                    Way::ToEdge => (wire.welcomed, Way::ToRelay),
                    Way::ToRelay => (greeted, Way::ToEdge),
                };
                if up {
                    let flow = self.flows.entry((call_of(stream), sender)).or_default();
                    flow.acked = flow.acked.max(usize::try_from(next).unwrap());
                }
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Body bytes that the relay must hold of a call: nothing once it has ended or was cancelled, by
    /// its caller or for its length.
    pub(super) fn held_at_relay(&self, call: u64, record: &Call) -> usize {
        let too_long = self.net.now >= record.opened + self.limits.stream_max;
        if record.verdict.is_some() || record.cancelled || too_long {
            return 0;
        }
        record.given - self.flows.get(&(call, Way::ToEdge)).map_or(0, Flow::acked_bytes)
    }

    /// Body bytes that the edge must hold of a job: of one that was stopped only what had left.
    pub(super) fn held_at_edge(&self, call: u64, job: &Job) -> usize {
        if job.released.is_some() {
            return 0;
        }
        let (left, acked) =
            self.flows.get(&(call, Way::ToRelay)).map_or((0, 0), |flow| (flow.sent_bytes(), flow.acked_bytes()));
        (if job.stopped { left } else { job.sent }) - acked
    }
}
