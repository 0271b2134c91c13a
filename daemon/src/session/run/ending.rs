//! How a running session ends: what is given back, to whom, and what is left to do then.

use causeway_wire::{Code, Failure};
use tokio::time::timeout;

use super::{ENDING, Run};
use crate::admission::Health;
use crate::now;
use crate::session::upstream::{Brought, Upstreams};
use crate::session::{FIRST_TOKEN, Upstream};
use causeway_overflow::Caller;

impl<C: Caller> Run<'_, C> {
    pub(super) async fn fail(&mut self, failure: Failure, upstream: Upstream) {
        let cancelled = (failure.code == Code::Cancelled).then(now);
        let at_work = self.upstream.is_at_work();
        self.give_back(upstream);
        if let Some(cancelled) = cancelled.filter(|_| at_work) {
            // The client's connection task was woken by the drop and runs before this one resumes;
            // it closes the socket in that step.
            tokio::task::yield_now().await;
            self.work.observer.metrics.cancel_to_release(now() - cancelled);
        }
        self.sender.caller.fail(failure);
    }

    /// The answer is whole: its slot is free.
    pub(super) fn give_back_finished(&mut self) {
        if let (Some(place), Some(prepared)) = (self.place.take(), &self.prepared) {
            place.finished(now(), prepared.writer.measured);
        }
    }

    /// The answer ends early: Ollama is told, by closing its connection, and the ledger how.
    pub(super) fn give_back(&mut self, upstream: Upstream) {
        self.lingers = upstream == Upstream::Linger;
        if self.lingers {
            return;
        }
        // One that has not been asked waits, or has ended by itself.
        let stopped = self.asked && !self.upstream.is_at_work();
        self.upstream = Upstreams::Idle;
        match self.place.take() {
            Some(place) if stopped => {
                place.failed(now(), self.health);
                if self.health != Health::Well {
                    // What is in memory may have changed with it.
                    self.work.catalog.look_again();
                }
            }
            Some(place) => place.cancelled(now()),
            None => {}
        }
    }

    /// What is left to do once the caller has everything.
    pub(super) async fn let_go(mut self) {
        if self.lingers {
            // To leave while the model loads would abort the load.
            let first = async { while matches!(self.upstream.next().await, Brought::Status(_)) {} };
            let _first = timeout(FIRST_TOKEN, first).await;
            if let Some(place) = self.place.take() {
                place.cancelled(now());
            }
            return;
        }
        if self.upstream.is_at_work() {
            let end = async { while !matches!(self.upstream.next().await, Brought::Eof | Brought::Broken(_)) {} };
            let _ended = timeout(ENDING, end).await;
        }
    }
}
