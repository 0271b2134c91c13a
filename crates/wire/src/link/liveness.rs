//! Whether a connection lives, judged by what arrives on it.
//!
//! Invariants: any receipt is a sign of life; one ping is out at a time; a connection is dead only
//! after a ping and then a wait without any receipt. Pure: the link sends the ping.

use std::time::{Duration, Instant};

use crate::Limits;
use crate::limits::LIVENESS_MAX;

#[derive(Debug)]
struct Ping {
    token: u64,
    queued: Instant,
    sent: Option<Instant>,
    /// Something arrived since: the pong still measures, but nobody waits for it.
    answered: bool,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    Ping(u64),
    Dead,
}

#[derive(Debug)]
pub(super) struct Liveness {
    received: Instant,
    ping: Option<Ping>,
    last_token: u64,
    smoothed: Option<Duration>,
    last: Option<Duration>,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self { received: now, ping: None, last_token: 0, smoothed: None, last: None }
    }

    pub(super) fn on_receipt(&mut self, now: Instant) {
        self.received = now;
        if let Some(ping) = &mut self.ping {
            ping.answered = true;
        }
    }

    /// A new ping to be sent; the token counts up from 1.
    pub(super) fn start_ping(&mut self, now: Instant) -> u64 {
        self.last_token += 1;
        self.ping = Some(Ping { token: self.last_token, queued: now, sent: None, answered: false });
        self.last_token
    }

    /// The ping left for the socket: the round trip starts here.
    pub(super) fn on_ping_sent(&mut self, now: Instant, token: u64) {
        if let Some(ping) = self.ping.as_mut().filter(|ping| ping.token == token) {
            ping.sent = Some(now);
        }
    }

    /// The round trip, if this pong answers the ping that is out.
    pub(super) fn on_pong(&mut self, now: Instant, token: u64) -> Option<Duration> {
        let sent = self.ping.take_if(|ping| ping.token == token)?.sent?;
        let rtt = now.saturating_duration_since(sent);
        self.last = Some(rtt);
        self.smoothed = Some(self.smoothed.map_or(rtt, |smoothed| (smoothed * 7 + rtt) / 8));
        Some(rtt)
    }

    fn wait(&self, limits: &Limits) -> Duration {
        let rtt = self.smoothed.max(self.last).unwrap_or_default();
        limits.liveness_floor.max(rtt * 3).min(LIVENESS_MAX)
    }

    /// When `check` may have something to say.
    pub(super) fn deadline(&self, limits: &Limits, busy: bool) -> Instant {
        match &self.ping {
            Some(Ping { answered: false, sent: Some(sent), .. }) => *sent + self.wait(limits),
            // Still queued behind a socket that takes nothing: slow is not dead for longer.
            Some(Ping { answered: false, sent: None, queued, .. }) => *queued + LIVENESS_MAX,
            Some(Ping { answered: true, .. }) | None => {
                self.received + if busy { limits.ping_busy } else { limits.ping_idle }
            }
        }
    }

    pub(super) fn check(&mut self, now: Instant, limits: &Limits, busy: bool) -> Verdict {
        if self.deadline(limits, busy) > now {
            return Verdict::Alive;
        }
        match self.ping {
            Some(Ping { answered: false, .. }) => Verdict::Dead,
            Some(Ping { answered: true, .. }) | None => Verdict::Ping(self.start_ping(now)),
        }
    }
}
