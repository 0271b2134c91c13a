//! One connection: its state, what waits to be sent on it, and its timers.
//!
//! Invariants: unsequenced replies are bounded and overtake everything; of pongs only the newest
//! waits; a stream's last ack waits for company, but not long. Absent: what the state changes mean
//! (`conns.rs`, `edge.rs`, `relay.rs`).

use std::collections::VecDeque;
use std::time::Instant;

use super::liveness::Liveness;
use crate::limits::{
    CLOSE_TIMEOUT, CONTROL_QUEUE, DIAL_TIMEOUT, FINAL_ACK_DELAY, FINAL_ACKS, HELLO_AGAIN, RETIRE_LOOK, WELCOME_TIMEOUT,
};
use crate::{ConnId, Frame, InstanceId, Limits, StreamId};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The shell was told to dial.
    Dialing,
    /// Open; hello or welcome is awaited.
    Greeting,
    /// Welcomed.
    Live,
    /// Replaced: still read, closed at `until` or when nothing last sent on it is unacknowledged.
    Retiring { until: Instant },
    /// The shell was told to close; only what is queued still goes.
    Closing { until: Instant },
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) state: State,
    pub(super) since: Instant,
    pub(super) peer: Option<InstanceId>,
    /// What the peer accepts per stream.
    pub(super) peer_window: u64,
    pub(super) liveness: Liveness,
    /// Something of ours was answered on it: its loss is followed at once.
    pub(super) proven: bool,
    pub(super) rotate_at: Option<Instant>,
    /// The connection this one is to replace.
    pub(super) replaces: Option<ConnId>,
    /// `rotate` came while it was being made: it is replaced as soon as it is live.
    pub(super) stale: bool,
    pub(super) hellos: usize,
    /// Streams that live on it.
    pub(super) streams: usize,
    pub(super) control: VecDeque<Frame>,
    pub(super) pong: Option<u64>,
    /// Final acks: they go with the next frame, or by themselves at `final_at`.
    pub(super) finals: VecDeque<Frame>,
    pub(super) final_at: Option<Instant>,
    /// A frame has gone since the queues were last empty.
    pub(super) in_company: bool,
    /// Catalog and load.
    pub(super) bulk: VecDeque<Frame>,
    /// Streams with a control frame to send.
    pub(super) urgent: VecDeque<StreamId>,
    /// Streams with a numbered frame to send, in turn.
    pub(super) ready: VecDeque<StreamId>,
}

impl Conn {
    pub(super) fn new(state: State, now: Instant, replaces: Option<ConnId>) -> Self {
        Self {
            state,
            since: now,
            peer: None,
            peer_window: 0,
            liveness: Liveness::new(now),
            proven: false,
            rotate_at: None,
            replaces,
            stale: false,
            hellos: 0,
            streams: 0,
            control: VecDeque::new(),
            pong: None,
            finals: VecDeque::new(),
            final_at: None,
            in_company: false,
            bulk: VecDeque::new(),
            urgent: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    pub(super) fn queue(&mut self, frame: Frame) {
        if self.control.len() >= CONTROL_QUEUE {
            self.control.pop_front();
        }
        self.control.push_back(frame);
    }

    /// Queues the last ack of a stream: nobody waits for it, so it does not go alone. Returns
    /// whether the connection's deadline came nearer.
    pub(super) fn queue_final(&mut self, now: Instant, ack: Frame) -> bool {
        self.finals.push_back(ack);
        if self.finals.len() >= FINAL_ACKS {
            self.release_finals();
            return false;
        }
        let first = self.final_at.is_none();
        self.final_at.get_or_insert(now + FINAL_ACK_DELAY);
        first
    }

    /// Company or not, they go now.
    pub(super) fn release_finals(&mut self) {
        self.final_at = None;
        for ack in std::mem::take(&mut self.finals) {
            self.queue(ack);
        }
    }

    /// Dialled and not welcomed yet (edge).
    pub(super) fn is_being_made(&self) -> bool {
        matches!(self.state, State::Dialing | State::Greeting)
    }

    /// Welcomed, and new frames may go on it.
    pub(super) fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Carries the link: welcomed, retiring ones too.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Live | State::Retiring { .. })
    }

    pub(super) fn has_output(&self) -> bool {
        if !self.control.is_empty() {
            return true;
        }
        match self.state {
            State::Dialing | State::Closing { .. } => false,
            State::Greeting => self.pong.is_some(),
            State::Live | State::Retiring { .. } => {
                self.pong.is_some() || !self.urgent.is_empty() || !self.bulk.is_empty() || !self.ready.is_empty()
            }
        }
    }

    /// When the connection needs a look. `edge` says hello again; a relay only waits for one.
    pub(super) fn deadline(&self, now: Instant, limits: &Limits, edge: bool, busy: bool) -> Instant {
        match self.state {
            State::Dialing => self.since + DIAL_TIMEOUT + CLOSE_TIMEOUT,
            State::Greeting => {
                let end = self.since + WELCOME_TIMEOUT;
                match (edge, self.hellos.checked_sub(1).and_then(|again| HELLO_AGAIN.get(again))) {
                    (true, Some(&again)) => end.min(self.since + again),
                    (true, None) | (false, _) => end,
                }
            }
            State::Live => {
                let alive = self.liveness.deadline(limits, busy);
                [self.rotate_at, self.final_at].into_iter().flatten().fold(alive, Instant::min)
            }
            State::Retiring { until } => {
                let look = until.min(now + RETIRE_LOOK).min(self.liveness.deadline(limits, busy));
                self.final_at.map_or(look, |at| at.min(look))
            }
            State::Closing { until } => until,
        }
    }
}
