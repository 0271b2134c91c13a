//! Bedrock's side of a running session: a pause before another try, the reservation, then the call.
//!
//! Invariant: dropping it ends the call and settles it. Absent: when ([`crate::session`]).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use causeway_bedrock::{Brought, Fault};
use causeway_dialect::event::Event;
use causeway_policy::Usd;
use tokio::time::sleep;

use crate::{Errand, Overflow, Talk};

/// See [`Stage::Beginning`].
type Beginning = Pin<Box<dyn Future<Output = Result<Talk, Fault>> + Send>>;

/// See the module's head.
pub struct Away(Stage);

/// Where the call stands.
enum Stage {
    /// None is made.
    Idle,
    /// It waits for its turn and its money.
    Beginning(Beginning),
    /// It is made.
    Talking(Box<Talk>),
}

/// What Bedrock's side brought.
pub enum Told {
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
    /// None is made.
    #[must_use]
    pub fn idle() -> Self {
        Self(Stage::Idle)
    }

    /// Makes a call after a pause.
    #[must_use]
    pub fn begin(overflow: Arc<Overflow>, errand: Errand, pause: Duration) -> Self {
        Self(Stage::Beginning(Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            overflow.begin(errand).await
        })))
    }

    /// The next thing; never while idle. Safe to drop and call again.
    pub async fn next(&mut self) -> Told {
        match &mut self.0 {
            Stage::Idle => std::future::pending().await,
            Stage::Beginning(beginning) => match beginning.await {
                Ok(mut talk) => {
                    let lost = std::mem::take(&mut talk.lost);
                    self.0 = Stage::Talking(Box::new(talk));
                    Told::Begun(lost)
                }
                Err(fault) => {
                    self.0 = Stage::Idle;
                    Told::Broken(fault)
                }
            },
            Stage::Talking(talk) => {
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
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        !matches!(self.0, Stage::Idle)
    }

    /// From the request to the first piece.
    #[must_use]
    pub fn first_piece(&self) -> Option<Duration> {
        match &self.0 {
            Stage::Talking(talk) => talk.first_piece(),
            Stage::Idle | Stage::Beginning(_) => None,
        }
    }

    /// Ends it; what it cost, where that is known.
    pub fn end(&mut self) -> Option<Usd> {
        match std::mem::replace(&mut self.0, Stage::Idle) {
            Stage::Talking(talk) => talk.settle(),
            Stage::Idle | Stage::Beginning(_) => None,
        }
    }
}
