//! Bedrock's side of a running session: a pause before another try, the reservation, then the call.
//!
//! Invariant: dropping it ends the call and settles it. Absent: when (`session.rs`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use causeway_bedrock::{Brought, Fault};
use causeway_dialect::event::Event;
use causeway_policy::Usd;
use tokio::time::sleep;

use crate::overflow::{Errand, Overflow, Talk};

type Beginning = Pin<Box<dyn Future<Output = Result<Talk, Fault>> + Send>>;

/// Where the call stands.
pub(super) enum Away {
    Idle,
    Beginning(Beginning),
    Talking(Box<Talk>),
}

/// What Bedrock's side brought.
pub(super) enum Told {
    /// The call is made; fields without effect there.
    Begun(Vec<String>),
    /// These events came.
    More(Vec<Event>),
    /// And the last of them is the terminal one.
    Whole(Vec<Event>),
    /// It broke.
    Broken(Fault),
}

impl Away {
    /// Makes a call after a pause.
    pub(super) fn begin(overflow: Arc<Overflow>, errand: Errand, pause: Duration) -> Self {
        Self::Beginning(Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            overflow.begin(errand).await
        }))
    }

    /// The next thing; never while idle. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Told {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Beginning(beginning) => match beginning.await {
                Ok(mut talk) => {
                    let lost = std::mem::take(&mut talk.lost);
                    *self = Self::Talking(Box::new(talk));
                    Told::Begun(lost)
                }
                Err(fault) => {
                    *self = Self::Idle;
                    Told::Broken(fault)
                }
            },
            Self::Talking(talk) => {
                let mut events = Vec::new();
                match talk.next(&mut events).await {
                    Brought::More => Told::More(events),
                    Brought::End => Told::Whole(events),
                    Brought::Broken(fault) => Told::Broken(fault),
                }
            }
        }
    }

    /// A call is being made.
    pub(super) fn is_at_work(&self) -> bool {
        !matches!(self, Self::Idle)
    }

    /// From the request to the first piece.
    pub(super) fn first_piece(&self) -> Option<Duration> {
        match self {
            Self::Talking(talk) => talk.first_piece(),
            Self::Idle | Self::Beginning(_) => None,
        }
    }

    /// Ends it; what it cost, where that is known.
    pub(super) fn end(&mut self) -> Option<Usd> {
        match std::mem::replace(self, Self::Idle) {
            Self::Talking(talk) => talk.settle(),
            Self::Idle | Self::Beginning(_) => None,
        }
    }
}
