//! The part of a running session that is about its other backend.
//!
//! Absent: when it goes there and comes back (`session/leave.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_bedrock::{Fault, Kind};
use causeway_dialect::event::Event as Said;
use causeway_dialect::model::ModelName;
use causeway_policy::Usd;
use causeway_wire::{Backend, Code, Failure};

use super::{LARGE, Prepared, Run};
use crate::config::Mapping;
use crate::job::{self, Job};
use crate::session::{Command, Elsewhere, Event, Heard, Upstream, Why, Writer};
use causeway_overflow::{Away, Caller, Errand, Told};

impl<C: Caller> Run<'_, C> {
    /// Where this request may overflow to, as far as its routes say.
    pub(super) fn mapping(&self) -> Option<Mapping> {
        self.work.overflow.as_ref().filter(|_| self.plan.allow.bedrock)?;
        let model = ModelName::parse(self.model()).ok()?;
        self.work.routes.mapping(&model).cloned()
    }

    /// Judges whether another backend may answer it.
    pub(super) fn elsewhere(&mut self, job: Job, mapping: Option<Mapping>, length: usize) -> Result<Prepared, Failure> {
        let Job { parts, kind, dropped, common, request, unmapped, unreadable, route } = job;
        if let (Some(unreadable), None) = (&unreadable, &mapping) {
            return Err(Failure::new(Code::InvalidRequest, unreadable.as_str()));
        }
        // What is kept for Bedrock is about as large as the body.
        let request = request.zip(mapping).filter(|_| self.kept.grow(length));
        let hedge = self.work.routes.overflow().map(|overflow| overflow.hedge).unwrap_or_default();
        self.session.elsewhere = match (&request, self.plan.allow.local && unreadable.is_none()) {
            (Some(_), true) => Elsewhere::May(hedge),
            (Some(_), false) => Elsewhere::Must(match (self.plan.allow.local, self.plan.is_absent) {
                (_, true) => Why::NotLocal,
                (false, false) => Why::Route,
                (true, false) => Why::Document,
            }),
            (None, true) => Elsewhere::Never,
            (None, false) => {
                let Some(why) = unmapped else {
                    let message = "the edge holds too many request bodies at once: try again";
                    return Err(Failure::new(Code::Saturated, message).retryable());
                };
                if let Some(unreadable) = unreadable.filter(|_| self.plan.allow.local) {
                    let message = format!("{unreadable}; nor can Bedrock take it: {why}");
                    return Err(Failure::new(Code::InvalidRequest, message));
                }
                let message = format!("this request may be answered by Bedrock only, and cannot be: {why}");
                return Err(Failure::new(Code::UnsupportedParameter, message));
            }
        };
        let writer = Writer::new(kind, self.plan.route.dialect(), self.plan.shape);
        let mapped = request.as_ref().map(|(_, mapping)| mapping.target.model.clone());
        let model = self.plan.model.clone();
        Ok(Prepared { writer, dropped, parts, route, request, common, lost: String::new(), model, mapped })
    }

    /// Whether a call has a chance now.
    pub(super) fn can_go_away(&self, now: Instant) -> bool {
        let request = self.prepared.as_ref().and_then(|prepared| prepared.request.as_ref());
        let (Some((_, mapping)), Some(overflow)) = (request, &self.work.overflow) else { return false };
        overflow.can_begin(now, mapping, self.open.policy.spend_max_usd)
    }

    /// Nothing more is wanted of Ollama.
    pub(super) fn leave(&mut self, pause: Duration) {
        self.give_back(Upstream::Drop);
        (self.asked, self.last) = (false, None);
        if let Some(prepared) = &mut self.prepared {
            prepared.writer.begin();
        }
        if !self.away.is_at_work() {
            self.go_away(pause);
        }
    }

    /// Asks Bedrock, after a pause that is somewhat different for each.
    pub(super) fn go_away(&mut self, pause: Duration) {
        let prepared = self.prepared.as_ref().and_then(|prepared| prepared.request.clone());
        let (Some((request, mapping)), Some(overflow)) = (prepared, &self.work.overflow) else { return };
        if let Some(why) = self.session.why.filter(|_| self.session.calls() == 1) {
            self.work.observer.metrics.overflow(why);
        }
        let spent = self.spent.unwrap_or_default().dollars();
        let errand = Errand {
            request,
            mapping,
            ids: [("causeway-request", self.id.to_owned()), ("causeway-key", self.open.key.clone())],
            grant: (self.open.policy.spend_max_usd - spent).max(0.0),
            is_large: self.kept.is_over(LARGE),
        };
        let pause = pause.mul_f64(rand::random_range(0.5..=1.0));
        self.sender.caller.may_cost();
        self.away = Away::begin(Arc::clone(overflow), errand, pause);
    }

    pub(super) fn on_told(&mut self, now: Instant, told: Told) -> Command {
        let beside = self.upstream.is_at_work();
        let Some(prepared) = &mut self.prepared else { return Command::Wait };
        let (events, whole) = match told {
            Told::Begun(lost) => {
                let names: Vec<String> = prepared.common.iter().cloned().chain(lost).collect();
                return match job::judge_dropped(&names, self.plan.strict) {
                    Ok(lost) => {
                        prepared.lost = lost;
                        Command::Wait
                    }
                    Err(failure) if self.plan.allow.local => {
                        self.broken(now, &Fault::new(Kind::Invalid, &failure.message))
                    }
                    Err(failure) => self.session.give_up(now, failure),
                };
            }
            Told::Broken(fault) => return self.broken(now, &fault),
            Told::More(events) => (events, false),
            Told::Whole(events) => (events, true),
        };
        if events.is_empty() && !whole && self.away.first_piece().is_none() {
            // It has begun, and has said nothing yet.
            return Command::Wait;
        }
        self.held.extend(events);
        let visible = self.held.iter().any(Said::is_visible);
        if beside && !visible && !whole {
            return Command::Wait;
        }
        if beside {
            // Bedrock was first.
            prepared.writer.begin();
            self.give_back(Upstream::Drop);
        }
        self.hear(now)
    }

    /// Writes what Bedrock has said.
    pub(super) fn hear(&mut self, now: Instant) -> Command {
        let Some(prepared) = &mut self.prepared else { return Command::Wait };
        let heard = prepared.writer.hear(std::mem::take(&mut self.held));
        self.session.tokens = prepared.writer.tokens;
        if let Some(last) = self.last.replace(now) {
            self.work.observer.metrics.inter_token(now.saturating_duration_since(last));
        } else if let Some(first) = self.away.first_piece() {
            self.work.admission.overflowed(self.model(), first);
        }
        match heard {
            Heard::Quiet => Command::Wait,
            Heard::More { visible } => self.session.handle(now, Event::AwayTold(visible)),
            Heard::Whole => {
                self.learn(None);
                self.session.handle(now, Event::AwayWhole)
            }
            Heard::Fault(_, message) => self.broken(now, &Fault::new(Kind::Broken, &message)),
        }
    }

    /// A call to Bedrock failed.
    pub(super) fn broken(&mut self, now: Instant, fault: &Fault) -> Command {
        self.settle_away();
        self.held.clear();
        self.learn(Some(fault));
        self.session.handle(now, Event::AwayBroken(fault.kind, fault.to_string()))
    }

    pub(super) fn learn(&self, fault: Option<&Fault>) {
        let model = self.prepared.as_ref().and_then(|prepared| prepared.mapped.as_deref());
        if let (Some(overflow), Some(model)) = (&self.work.overflow, model) {
            overflow.learn(model, fault);
        }
    }

    /// Ends what is under way at Bedrock; what all of it has cost.
    pub(super) fn settle_away(&mut self) -> Option<f64> {
        if let Some(cost) = self.away.end() {
            self.work.observer.metrics.spent(cost.dollars());
            self.spent = Some(self.spent.unwrap_or_default().plus(cost));
        }
        self.session.usd = self.spent.map(Usd::dollars);
        self.session.usd
    }

    /// The caller sees the answer of one backend: the other one is dropped, and nobody is asked again.
    pub(super) fn is_decided(&mut self) {
        if self.session.backend() == Backend::Local {
            self.settle_away();
        }
        // Ollama has read the body.
        self.body.is_sent();
        self.kept.give_back();
        if let Some(prepared) = &mut self.prepared {
            prepared.parts.clear();
            prepared.request = None;
        }
    }
}
