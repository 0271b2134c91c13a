//! One model's slots: who holds them, who waits, what was learnt.
//!
//! Invariants: never more running requests than slots at a grant; a request is in exactly one of
//! queue and running. Absent: which models may be loaded at the same time (`cold.rs`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::plan::{Newcomer, drain, plan, surely};
use super::predict::{Learnt, Observed, duration, millis};
use super::queue::{Entry, Queue};
use super::ready::Ready;
use super::running::{Overlap, Running};
use super::strikes::Parallel;
use super::types::{
    Event, Forecast, Late, Measured, ModelId, ModelSettings, OverflowReason, Promise, RefusalCode, Ticket,
};
use super::{Desk, demand::Demand, door::UNKNOWN_RETRY, door::refusal};
use crate::histogram::Spread;
use crate::watchdog::{Check, Watchdog};

/// Whether Ollama has the model in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Residency {
    Absent,
    Resident,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) id: ModelId,
    pub(crate) name: Box<str>,
    pub(crate) parallel: Parallel,
    pub(crate) running: Vec<Running>,
    pub(crate) queue: Queue,
    pub(crate) learnt: Learnt,
    pub(crate) residency: Residency,
    pub(crate) context: Option<u32>,
    /// Another model is about to take its memory: nothing more is granted.
    pub(crate) victim: bool,
    pub(crate) demand: Demand,
    pub(crate) last_used: Option<Instant>,
    pub(crate) loaded_at: Option<Instant>,
    /// After a failed load, not before this.
    pub(crate) load_after: Option<Instant>,
    pub(crate) watchdog: Watchdog,
    /// When the forecasts of those that wait were made.
    pub(crate) planned: Instant,
    /// The prefix of the request that was granted last.
    prefix: Option<u64>,
    /// Sum of streams over time, in milliseconds, up to `busy_at`.
    busy: f64,
    busy_at: Instant,
    /// Silence up to here was told to the watchdog.
    mute_at: Instant,
}

impl Model {
    pub(crate) fn new(now: Instant, id: ModelId, name: &str, settings: ModelSettings) -> Model {
        Model {
            id,
            name: name.into(),
            parallel: Parallel::new(settings),
            running: Vec::new(),
            queue: Queue::default(),
            learnt: Learnt::default(),
            residency: Residency::Absent,
            context: None,
            victim: false,
            demand: Demand::default(),
            last_used: None,
            loaded_at: None,
            load_after: None,
            watchdog: Watchdog::default(),
            planned: now,
            prefix: None,
            busy: 0.0,
            busy_at: now,
            mute_at: now,
        }
    }

    pub(crate) fn idle(&self) -> bool {
        self.running.is_empty() && self.queue.is_empty()
    }

    /// Whether requests may be sent to it at all now.
    pub(crate) fn open(&self) -> bool {
        self.residency == Residency::Resident && !self.victim && !self.watchdog.holds() && !self.watchdog.is_suspect()
    }

    pub(crate) fn has_slot(&self) -> bool {
        self.open() && self.running.len() < self.parallel.slots()
    }

    pub(crate) fn running_mut(&mut self, ticket: Ticket) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.ticket == ticket)
    }

    /// Gives a slot to a request whose key is already charged.
    pub(crate) fn start(&mut self, now: Instant, entry: &Entry, charged: u64) {
        self.count_busy(now);
        let prefill = self.learnt.prefill(entry.need).mean;
        let late_at = self.late_at(now, entry);
        self.running.push(Running {
            ticket: entry.ticket,
            key: entry.key,
            class: entry.class,
            need: entry.need,
            submitted: entry.since,
            granted: now,
            first: None,
            last_sign: now,
            tokens: 0,
            charged,
            prefill,
            head: prefill + self.learnt.foreign(now),
            promised: entry.promised,
            deadline: late_at,
            overflow: entry.overflow,
            uncached: self.prefix != Some(entry.prefix),
            overlaps: !self.running.is_empty(),
            beside: speaking(&self.running),
            saw_end: false,
            saw_cut: false,
            busy_at_first: 0.0,
            suspect: false,
            releasing: None,
        });
        self.prefix = Some(entry.prefix);
        self.last_used = Some(now);
    }

    /// When an admitted request that is still silent is late. One that missing its deadline would end must leave
    /// while Bedrock can be in time, once it is surely later here than was thought.
    fn late_at(&self, now: Instant, entry: &Entry) -> Option<Instant> {
        let deadline = entry.deadline?;
        let Some(decide_by) = entry.decide_by.filter(|_| entry.hard && entry.overflow) else { return Some(deadline) };
        let first = self.learnt.prefill(entry.need).plus(Spread::exact(self.learnt.foreign(now)));
        let sure = now.checked_add(duration(surely(first))).unwrap_or(deadline);
        Some(if decide_by > now { decide_by.max(sure).min(deadline) } else { deadline })
    }

    pub(crate) fn first_token(&mut self, now: Instant, ticket: Ticket) -> Option<Promise> {
        self.count_busy(now);
        let busy = self.busy;
        let running = self.running_mut(ticket).filter(|running| running.first.is_none())?;
        running.first = Some(now);
        running.last_sign = now;
        running.tokens = running.tokens.max(1);
        running.busy_at_first = busy;
        running.deadline = None;
        let promised = running.promised.map(|promised| promised.forecast(0.0));
        let promise = Promise {
            predicted: promised.map(|promised| promised.first_token),
            p90: promised.map(|promised| promised.p90),
            actual: now.saturating_duration_since(running.submitted),
            queued: running.granted.saturating_duration_since(running.submitted),
        };
        let beside = speaking(&self.running);
        for silent in self.running.iter_mut().filter(|running| running.first.is_none()) {
            silent.beside = silent.beside.max(beside);
        }
        self.watchdog.alive();
        Some(promise)
    }

    /// Ends a request that gave a whole answer, and learns from it.
    pub(crate) fn finish(&mut self, now: Instant, ticket: Ticket, measured: Measured) -> bool {
        // What was cut off is no answer to learn from.
        if self.running_mut(ticket).is_some_and(|running| running.releasing.is_some()) {
            return self.drop_running(now, ticket);
        }
        let Some(running) = self.take(now, ticket, false) else { return false };
        let first = running.first.unwrap_or(now);
        let tail = now.saturating_duration_since(first);
        let streams = if tail.is_zero() { 1.0 } else { (self.busy - running.busy_at_first) / millis(tail) };
        let outcome = self.learnt.finished(
            now,
            &Observed {
                need: running.need,
                head: first.saturating_duration_since(running.granted),
                tail,
                progress: running.tokens,
                concurrency: streams,
                uncached: running.uncached,
                alone: !running.overlaps,
                measured,
            },
        );
        self.queue.settled(running.class, running.key, running.charged, outcome.tokens);
        match running.judge(&outcome) {
            Overlap::Strike => self.parallel.overlap(now, running.depth(), true),
            Overlap::Clean => self.parallel.overlap(now, running.depth(), false),
            Overlap::Foreign => self.learnt.record_foreign(now, outcome.hidden.unwrap_or_default()),
            Overlap::Unclear => {}
        }
        self.watchdog.alive();
        true
    }

    /// Ends a request that gave no whole answer.
    pub(crate) fn drop_running(&mut self, now: Instant, ticket: Ticket) -> bool {
        let Some(running) = self.take(now, ticket, true) else { return false };
        let prompt = self.learnt.prompt_tokens(running.need.prompt_bytes) as u64;
        let real = prompt.saturating_add(u64::from(running.tokens)).max(1);
        self.queue.settled(running.class, running.key, running.charged, real);
        true
    }

    /// Frees the slots whose release is over, and sees who has been silent for too long.
    pub(crate) fn pass_time(&mut self, now: Instant) {
        self.parallel.settle(now);
        while let Some(over) = self.running.iter().find(|running| running.releasing.is_some_and(|until| until <= now)) {
            let ticket = over.ticket;
            self.drop_running(now, ticket);
        }
        for running in &mut self.running {
            if running.suspicious_at().is_some_and(|at| at <= now) {
                running.suspect = true;
                self.watchdog.silent();
            }
        }
    }

    /// Says what follows from silence at a deadline.
    pub(crate) fn say_late(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        let loading = self.residency != Residency::Resident;
        for running in &mut self.running {
            if running.deadline.is_none_or(|deadline| deadline > now) {
                continue;
            }
            let late = match (running.overflow, loading) {
                // To leave now would abort the load; it is said once the model is there.
                (true, true) => continue,
                (true, false) => Late::Overflow,
                (false, true) => Late::ExpiredWhileLoading,
                (false, false) => Late::Expired,
            };
            running.deadline = None;
            events.push_back(Event::Late(running.ticket, late));
        }
    }

    /// Resolves waiting requests whose time is over.
    pub(crate) fn expire(&mut self, now: Instant, ready: Ready, events: &mut VecDeque<Event>) {
        let mut over = Vec::new();
        while let Some(ticket) = self.queue.overdue(now) {
            over.extend(self.queue.remove(ticket));
        }
        if over.is_empty() {
            return;
        }
        // Their own forecasts have just been wrong.
        let retry_after = self.retry_after(drain(self, now, ready));
        for Entry { ticket, overflow, deadline, .. } in over {
            let deadline = deadline.is_some_and(|deadline| deadline <= now);
            events.push_back(match (overflow, deadline) {
                (true, true) => Event::Overflow(ticket, OverflowReason::Deadline),
                (true, false) => Event::Overflow(ticket, OverflowReason::QueueTimeout),
                (false, true) => Event::Refused(ticket, refusal(RefusalCode::DeadlineExceeded, retry_after)),
                (false, false) => Event::Refused(ticket, refusal(RefusalCode::Saturated, retry_after)),
            });
        }
    }

    /// Gives free slots to those who wait.
    pub(crate) fn grant(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        while self.has_slot() {
            let learnt = &self.learnt;
            let Some((entry, charged)) = self.queue.pop(now, |entry| learnt.cost(entry.need)) else { return };
            self.start(now, &entry, charged);
            events.push_back(Event::Granted(entry.ticket));
        }
    }

    /// Predicts for all that wait, and sends to Bedrock who would be late here.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        ready: Ready,
        desk: &mut Desk,
        newcomer: &mut Option<Newcomer>,
        events: &mut VecDeque<Event>,
    ) {
        plan(self, now, ready, desk, newcomer);
        let own = newcomer.map(|newcomer| newcomer.ticket);
        for (ticket, reason) in desk.leaving.drain(..) {
            if Some(ticket) != own && self.queue.remove(ticket).is_some() {
                events.push_back(Event::Overflow(ticket, reason));
            }
        }
    }

    /// Resolves all that wait: nothing can be served here.
    pub(crate) fn flush(&mut self, reason: OverflowReason, retry_after: Duration, events: &mut VecDeque<Event>) {
        let all: Vec<(Ticket, bool)> = self.queue.iter().map(|entry| (entry.ticket, entry.overflow)).collect();
        for (ticket, overflow) in all {
            self.queue.remove(ticket);
            events.push_back(if overflow {
                Event::Overflow(ticket, reason)
            } else {
                Event::Refused(ticket, refusal(RefusalCode::LocalUnavailable, retry_after))
            });
        }
    }

    /// What a refused caller is told of a predicted wait.
    pub(crate) fn retry_after(&self, wait: Duration) -> Duration {
        if self.learnt.enough() { wait } else { wait.max(UNKNOWN_RETRY) }
    }

    /// A wedged model is back after an unload and a load.
    pub(crate) fn healed_after(&self) -> Duration {
        duration(self.learnt.load_ms())
    }

    /// Probes a suspect model with nothing in flight, and unloads a wedged one.
    pub(crate) fn watch(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        let idle = self.running.is_empty() && self.residency == Residency::Resident;
        let check = self.watchdog.handle_timeout(now).or_else(|| if idle { self.watchdog.idle(now) } else { None });
        match check {
            Some(Check::Probe) => events.push_back(Event::Probe(self.id)),
            Some(Check::Unload) => {
                events.push_back(Event::Unload(self.id));
                self.flush(OverflowReason::LocalDown, self.healed_after(), events);
            }
            None => {}
        }
    }

    /// The next time at which something changes without a report; it may have passed since this model
    /// was last decided about, for a report may come before the timer.
    pub(crate) fn next(&self) -> Option<Instant> {
        let resident = self.residency == Residency::Resident;
        let running = self.running.iter().flat_map(|running| {
            let late = running.deadline.filter(|_| resident || !running.overflow);
            [running.releasing, late, running.suspicious_at()]
        });
        let waiting = self.queue.iter().flat_map(|entry| {
            let decide_by = entry.decide_by.filter(|at| *at > self.planned);
            [decide_by, entry.due]
        });
        running.chain(waiting).chain([self.watchdog.poll_timeout()]).flatten().min()
    }

    /// The forecast of a waiting request, brought up to `now`.
    pub(crate) fn forecast(&self, now: Instant, ticket: Ticket) -> Option<Forecast> {
        let entry = self.queue.iter().find(|entry| entry.ticket == ticket)?;
        Some(entry.outlook.forecast(millis(now.saturating_duration_since(self.planned))))
    }

    fn take(&mut self, now: Instant, ticket: Ticket, cut: bool) -> Option<Running> {
        let place = self.running.iter().position(|running| running.ticket == ticket)?;
        self.count_busy(now);
        let ended = self.running.remove(place);
        if cut && ended.first.is_none() {
            // A release that was over is perhaps noticed only now.
            let until = ended.releasing.map_or(now, |until| until.min(now));
            let passed = until.saturating_duration_since(ended.granted.max(self.mute_at));
            self.watchdog.mute(passed, Watchdog::patience(duration(ended.head)));
            self.mute_at = self.mute_at.max(until);
        }
        // The list is in the order of grants: those behind came later.
        for later in self.running.iter_mut().skip(place).filter(|later| later.first.is_none()) {
            later.saw_cut |= cut;
            later.saw_end |= !cut;
        }
        self.last_used = Some(now);
        Some(ended)
    }

    fn count_busy(&mut self, now: Instant) {
        let passed = millis(now.saturating_duration_since(self.busy_at));
        self.busy += passed * self.running.len() as f64;
        self.busy_at = self.busy_at.max(now);
    }
}

/// Streams that have given a token and still hold their slot.
fn speaking(running: &[Running]) -> u32 {
    u32::try_from(running.iter().filter(|running| running.first.is_some()).count()).unwrap_or(u32::MAX)
}
