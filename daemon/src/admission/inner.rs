//! What the lock holds: the ledger and the breakers, driven together.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use causeway_policy::{
    Ask, Breaker, Event, ModelId, ModelSettings, Pass, Refusal, RefusalCode, Resident, Ticket, Verdict,
};

use super::{Chore, ChoreKind, Decision, Health, Inner, KEPT_MODELS, Known, Row, Wanted};

/// What those who wait are told when Ollama goes down: about the breaker's first pause and probe.
const DOWN_PAUSE: Duration = Duration::from_secs(5);

/// What a request is told whose model finds no place among 128 others.
const CROWDED: Duration = Duration::from_secs(5);

impl Inner {
    /// The ticket and the verdict; no ticket where the model has no place in the ledger.
    pub(super) fn submit(
        &mut self,
        now: Instant,
        wanted: Wanted<'_>,
        ask: impl Fn(ModelId) -> Ask,
    ) -> (Option<Ticket>, Verdict) {
        for _ in 0..2 {
            let Some(id) = self.model(now, wanted.model, wanted.settings) else { break };
            let (ticket, verdict) = self.ledger.submit(now, &ask(id));
            let forgotten = Refusal { code: RefusalCode::ModelNotFound, retry_after: Duration::ZERO };
            if verdict != Verdict::Refuse(forgotten) {
                return (Some(ticket), verdict);
            }
            // The ledger has given the model's place to another one since: it gets a new one.
            self.models.remove(wanted.model);
        }
        let crowded = Refusal { code: RefusalCode::Saturated, retry_after: CROWDED };
        (None, Verdict::Refuse(crowded))
    }

    /// The ledger's id of a model, which becomes known if it was not. `None`: as many models as the
    /// ledger takes are at work.
    pub(super) fn model(&mut self, now: Instant, name: &str, settings: ModelSettings) -> Option<ModelId> {
        if let Some(known) = self.models.get(name).filter(|known| known.settings == settings) {
            return Some(known.id);
        }
        let id = self.ledger.model(now, name, settings)?;
        if self.models.len() >= KEPT_MODELS {
            let alive: HashSet<ModelId> = self.ledger.snapshot(now).into_iter().map(|model| model.id).collect();
            self.models.retain(|_, known| alive.contains(&known.id));
        }
        self.models
            .insert(name.to_owned(), Known { id, settings, breaker: Breaker::default(), fault: None, loaded: false });
        Some(id)
    }

    /// The ledger's view of a model in memory; none if it is not as we need it.
    pub(super) fn resident(&mut self, now: Instant, row: Row<'_>) -> Option<Resident> {
        let Row { name, settings, context, wanted } = row;
        let id = self.model(now, name, settings)?;
        let ours = self.models.get(name).is_some_and(|known| known.loaded);
        let differs = wanted.is_some() && context.is_some() && wanted != context;
        (ours || !differs).then_some(Resident { model: id, context: context.or(wanted) })
    }

    pub(super) fn tell(&mut self, now: Instant) {
        while let Some(event) = self.ledger.poll_event() {
            match event {
                Event::Granted(ticket) => {
                    if let Some(entry) = self.entries.get_mut(&ticket) {
                        entry.granted = Some(now);
                    }
                    self.decide(ticket, Decision::Granted);
                }
                Event::Overflow(ticket, reason) => self.decide(ticket, Decision::Overflow(reason)),
                Event::Refused(ticket, refusal) => self.decide(ticket, Decision::Refused(refusal)),
                Event::Late(ticket, late) => self.decide(ticket, Decision::Late(late)),
                Event::Preload(model) => self.command(model, ChoreKind::Preload),
                Event::Unload(model) => self.command(model, ChoreKind::Unload),
                Event::Probe(model) => self.command(model, ChoreKind::Probe),
            }
        }
    }

    fn decide(&self, ticket: Ticket, decision: Decision) {
        let Some(entry) = self.entries.get(&ticket) else { return };
        if entry.mailbox.try_send(decision).is_err() {
            tracing::error!(id = entry.id, ?decision, "a decision had no place in its request's mailbox");
        }
    }

    fn command(&self, model: ModelId, kind: ChoreKind) {
        let Some((name, _)) = self.models.iter().find(|(_, known)| known.id == model) else { return };
        let chore = Chore { model, name: name.clone(), kind };
        if let Err(error) = self.chores.try_send(chore) {
            tracing::error!(%error, "a command of the ledger could not be passed on");
        }
    }

    /// Whether a request may touch Ollama and its model's runner, and which of both it probes; or how
    /// long it may not.
    pub(super) fn pass(&mut self, now: Instant, model: &str) -> Result<Probes, Duration> {
        // The runner first: callers of a broken model shall not use up Ollama's own probes.
        let runner = match self.models.get_mut(model).map_or(Pass::Go, |known| known.breaker.ask(now, false)) {
            Pass::Shut(pause) => return Err(pause),
            Pass::Go => false,
            Pass::Probe => true,
        };
        match self.breaker.ask(now, false) {
            Pass::Go => Ok(Probes { ollama: false, runner }),
            Pass::Probe => Ok(Probes { ollama: true, runner }),
            Pass::Shut(pause) => {
                self.abandoned(now, model, Probes { ollama: false, runner });
                Err(pause)
            }
        }
    }

    /// Why a model is not served now, and what to do.
    pub(super) fn why_unavailable(&self, model: &str) -> &'static str {
        let known = self.models.get(model);
        if known.is_some_and(|known| !known.breaker.is_closed()) {
            return "the model broke off several answers in a row and rests for a moment: try again later, or use another";
        }
        if known.is_some_and(|known| self.ledger.is_wedged(known.id)) {
            return "the model hangs and is being unloaded: try again later";
        }
        "Ollama does not answer on the edge: start it, or mend ollama.url; try again later"
    }

    /// A probe ended without saying anything of Ollama.
    pub(super) fn abandoned(&mut self, now: Instant, model: &str, probes: Probes) {
        if probes.ollama {
            self.breaker.abandoned(now);
        }
        if let Some(known) = self.models.get_mut(model).filter(|_| probes.runner) {
            known.breaker.abandoned(now);
        }
    }

    /// What the end of a request says of Ollama and of its model's runner.
    pub(super) fn learn(&mut self, now: Instant, model: &str, health: Health) {
        let known = self.models.get_mut(model);
        match health {
            Health::Well => {
                self.breaker.success();
                if let Some(known) = known {
                    known.breaker.success();
                    known.fault = None;
                }
            }
            Health::Broken => {
                self.breaker.success();
                known.into_iter().for_each(|known| known.breaker.failure(now));
            }
            Health::Gone => self.gone(now),
        }
    }

    /// Ollama does not answer: after so many times in a row nothing waits for it any more.
    fn gone(&mut self, now: Instant) {
        // Why a model could not be loaded before says nothing now.
        self.models.values_mut().for_each(|known| known.fault = None);
        let was_closed = self.breaker.is_closed();
        self.breaker.failure(now);
        if was_closed && !self.breaker.is_closed() {
            tracing::warn!("Ollama fails again and again: requests are refused until it answers");
            self.ledger.down(now, DOWN_PAUSE);
        }
    }
}

/// Which breakers wait for a request's outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Probes {
    pub(super) ollama: bool,
    pub(super) runner: bool,
}
