//! One run: callers, one system, one Ollama, one clock.
//!
//! Every call ends exactly once, and the run goes on until the last has. Absent: what is made of the
//! ends (`figures.rs`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use crate::arrivals::{MILLISECOND, SECOND};
use crate::ollama::{Happened, Job, Ollama};
use crate::scenario::{Call, Scenario};
use crate::systems::{Attempt, Command, Notes, System, Which};

/// The daemon asks `/api/ps` this often.
const LOOK: u64 = 5 * SECOND;
/// The longest pause that an SDK takes from a header, and its own first and longest one.
const LONGEST_TOLD: Duration = Duration::from_secs(60);
const FIRST_PAUSE: f64 = 0.5;
const LONGEST_PAUSE: f64 = 8.0;
/// Steps at one moment after which the run is taken to hang.
const STUCK: u32 = 10_000;

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    Served,
    /// By Bedrock.
    Elsewhere,
    Refused,
    /// 504.
    Expired,
    /// The caller left without a token.
    Left,
}

/// One call at its end. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) how: How,
    pub(crate) key: usize,
    pub(crate) prompt: u32,
    pub(crate) tokens: u32,
    /// From the attempt or call whose deadline counts to the first token.
    pub(crate) first: Option<u64>,
    pub(crate) in_time: bool,
}

/// What one run showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) ends: Vec<End>,
    /// When each refusal or 504 was said, and how long that took.
    pub(crate) refusals: Vec<(u64, u64)>,
    /// Time of slots by what became of the answer.
    pub(crate) worked: Worked,
    /// Time in which somebody wanted an answer, by slots that could have been at work and that were.
    pub(crate) wanted: u64,
    pub(crate) busy: u64,
    pub(crate) loads: u32,
    pub(crate) aborted: u32,
    /// The longest time that a caller heard nothing at all, served or not.
    pub(crate) longest_silence: u64,
    pub(crate) notes: Notes,
    /// Calls that were made.
    pub(crate) calls: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worked {
    pub(crate) in_time: u64,
    pub(crate) late: u64,
    pub(crate) cut: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    Begins(usize),
    Leaves(u64),
    ElsewhereSpeaks(u64),
    Looks,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Asked,
    Elsewhere,
    Speaks,
    Pauses,
    Done,
}

struct Progress {
    call: Call,
    state: State,
    /// When the deadline that counts began.
    since: u64,
    /// The attempt that counts, and how many there were.
    attempt: u64,
    attempts: u32,
    /// The pause that was told with its refusal.
    told: u64,
    first: Option<u64>,
}

struct Try {
    call: usize,
    at: u64,
    /// Ollama gave its whole answer.
    whole: bool,
}

type Callers<'a> = Vec<Box<dyn FnMut(u64) -> Call + 'a>>;

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    system: Box<dyn System>,
    ollama: Ollama,
    now: u64,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    order: u64,
    calls: Vec<Progress>,
    callers: Callers<'a>,
    /// By the id of the attempt.
    tries: BTreeMap<u64, Try>,
    last_try: u64,
    /// Calls that are not made yet, that are open, and of these the ones that Bedrock has.
    to_come: usize,
    open: usize,
    away: usize,
    run: Run,
}

/// Plays a scenario through.
pub(crate) fn play(scenario: &Scenario, which: Which, seed: u64) -> Run {
    let Scenario { models, room, real, speed, reports, .. } = scenario;
    let mut world = World {
        scenario,
        system: which.build(scenario),
        ollama: Ollama::new(models.len(), *room, *real, *speed, *reports),
        now: 0,
        due: BinaryHeap::new(),
        order: 0,
        calls: Vec::new(),
        callers: Vec::new(),
        tries: BTreeMap::new(),
        last_try: 0,
        to_come: 0,
        open: 0,
        away: 0,
        run: Run::default(),
    };
    world.look();
    match scenario.closed {
        Some(closed) => {
            for index in 0..closed.callers {
                let mut caller = scenario.caller(seed, index);
                // Not all in one moment.
                world.join(caller(index as u64 * 100 * MILLISECOND));
                world.callers.push(Box::new(caller));
            }
        }
        None => scenario.calls(seed).into_iter().for_each(|call| world.join(call)),
    }
    world.play();
    world.run
}

impl World<'_> {
    fn play(&mut self) {
        let mut steps = 0;
        while self.to_come + self.open + self.ollama.running() > 0 {
            let due = self.due.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = [due, self.ollama.next(), self.system.next()].into_iter().flatten().min() else { break };
            steps = if next > self.now { 0 } else { steps + 1 };
            assert!(steps < STUCK, "{}: nothing moves at {} µs", self.scenario.name, self.now);
            self.pass(next.max(self.now));
            self.system.look(self.now, &self.ollama);
            self.hear();
            while let Some(Reverse((at, _, due))) = self.due.peek().copied().filter(|Reverse((at, ..))| *at <= next) {
                debug_assert!(at <= self.now);
                self.due.pop();
                self.fall_due(due);
                self.obey();
            }
            if self.system.next().is_some_and(|at| at <= self.now) {
                self.system.tick(self.now);
                self.obey();
            }
        }
        self.run.loads = self.ollama.loads;
        self.run.aborted = self.ollama.aborted;
        self.run.notes = self.system.notes();
        self.run.calls = self.calls.len();
    }

    fn pass(&mut self, next: u64) {
        let passed = next - self.now;
        let could = (self.open - self.away).min(self.scenario.real);
        let loading = usize::from(self.ollama.is_loading());
        self.run.wanted += passed * could as u64;
        self.run.busy += passed * (self.ollama.running() + loading).min(could) as u64;
        self.now = next;
        self.ollama.advance(next);
    }

    fn hear(&mut self) {
        loop {
            let happened = self.ollama.happened();
            if happened.is_empty() {
                return;
            }
            for one in happened {
                match one {
                    Happened::First(id) => {
                        self.spoke(id, State::Asked);
                        self.system.first(self.now, id);
                    }
                    Happened::Ended(id, measured) => {
                        self.tries.entry(id).and_modify(|attempt| attempt.whole = true);
                        self.finish(id, How::Served);
                        self.system.ended(self.now, id, measured);
                    }
                    Happened::Worked(id, time) => self.count_work(id, time),
                    Happened::Loaded(model, took) => {
                        self.system.loaded(self.now, model, took);
                        self.show();
                    }
                }
                self.obey();
            }
        }
    }

    fn fall_due(&mut self, due: Due) {
        match due {
            Due::Begins(call) => self.begin(call),
            Due::Leaves(id) => {
                if let Some(call) = self.call_of(id, State::Asked) {
                    self.end(call, How::Left);
                    self.system.left(self.now, id);
                } else if let Some(call) = self.call_of(id, State::Elsewhere) {
                    self.away -= 1;
                    self.end(call, How::Left);
                }
            }
            Due::ElsewhereSpeaks(id) => {
                if let Some(call) = self.call_of(id, State::Elsewhere) {
                    self.away -= 1;
                    let took = self.calls[call].call.elsewhere;
                    self.system.elsewhere(self.calls[call].call.model, took);
                    self.spoke(id, State::Elsewhere);
                    self.finish(id, How::Elsewhere);
                }
            }
            Due::Looks => self.look(),
        }
    }

    /// Carries out what the system says, and what follows from it.
    fn obey(&mut self) {
        while let Some(command) = self.system.command() {
            match command {
                Command::Send(id) => self.send(id),
                Command::Cancel(id) => self.ollama.cancel(id),
                Command::Preload(model) => self.ollama.preload(model),
                Command::Refuse(id, after) => self.turn_away(id, after, How::Refused),
                Command::Expire(id) => self.turn_away(id, None, How::Expired),
                Command::Overflow(id) => {
                    if let Some(call) = self.call_of(id, State::Asked) {
                        self.calls[call].state = State::Elsewhere;
                        self.away += 1;
                        self.plan(self.now + self.calls[call].call.elsewhere, Due::ElsewhereSpeaks(id));
                    }
                }
            }
        }
    }

    /// A call that will be made.
    fn join(&mut self, call: Call) {
        let at = call.at;
        self.calls.push(Progress {
            call,
            state: State::Pauses,
            since: at,
            attempt: 0,
            attempts: 0,
            told: 0,
            first: None,
        });
        self.to_come += 1;
        self.plan(at, Due::Begins(self.calls.len() - 1));
    }

    /// One attempt.
    fn begin(&mut self, index: usize) {
        let fresh = self.scenario.retry.fresh;
        self.last_try += 1;
        let (id, now) = (self.last_try, self.now);
        let progress = &mut self.calls[index];
        if progress.attempts == 0 {
            self.to_come -= 1;
            self.open += 1;
        }
        progress.attempt = id;
        progress.attempts += 1;
        progress.state = State::Asked;
        if fresh {
            progress.since = now;
        }
        let (since, patience, deadline) = (progress.since, progress.call.patience, progress.call.deadline);
        self.tries.insert(id, Try { call: index, at: now, whole: false });
        self.plan(since + patience, Due::Leaves(id));
        let attempt = Attempt { id, call: &self.calls[index].call, deadline: (since + deadline).saturating_sub(now) };
        self.system.ask(now, attempt);
    }

    fn send(&mut self, id: u64) {
        let Some(call) = self.tries.get(&id).map(|attempt| &self.calls[attempt.call].call) else { return };
        let Call { model, prompt, answer, prefix, shared, .. } = *call;
        self.ollama.send(Job { id, model, prompt, answer, prefix, shared });
    }

    fn spoke(&mut self, id: u64, from: State) {
        if let Some(call) = self.call_of(id, from) {
            let progress = &mut self.calls[call];
            progress.state = State::Speaks;
            progress.first = Some(self.now - progress.since);
            self.run.longest_silence = self.run.longest_silence.max(self.now - progress.since);
        }
    }

    fn finish(&mut self, id: u64, how: How) {
        if let Some(call) = self.call_of(id, State::Speaks) {
            self.end(call, how);
        }
    }

    /// A refusal: the caller tries again or gives up.
    fn turn_away(&mut self, id: u64, after: Option<Duration>, how: How) {
        let Some(index) = self.call_of(id, State::Asked) else { return };
        let retry = self.scenario.retry;
        let at = self.tries.get(&id).map_or(self.now, |attempt| attempt.at);
        self.run.refusals.push((self.now, self.now - at));
        let progress = &mut self.calls[index];
        let again = self.now + pause(progress, after);
        progress.told = after.map_or(0, |_| again - self.now);
        let in_vain = !retry.fresh && again >= progress.since + progress.call.deadline;
        if progress.attempts > retry.most || in_vain {
            self.end(index, how);
            return;
        }
        progress.state = State::Pauses;
        self.plan(again, Due::Begins(index));
    }

    fn end(&mut self, index: usize, how: How) {
        let progress = &mut self.calls[index];
        debug_assert!(progress.state != State::Done, "ended twice");
        progress.state = State::Done;
        let call = &progress.call;
        self.run.ends.push(End {
            how,
            key: call.key,
            prompt: call.prompt,
            tokens: call.answer,
            first: progress.first,
            in_time: progress.first.is_some_and(|first| first <= call.deadline),
        });
        if how == How::Left {
            self.run.longest_silence = self.run.longest_silence.max(self.now - progress.since);
        }
        self.open -= 1;
        self.next_of(index);
    }

    /// In a closed loop the caller asks anew, not before it was told to.
    fn next_of(&mut self, index: usize) {
        let Some(closed) = self.scenario.closed else { return };
        let caller = self.calls[index].call.caller;
        let at = self.now + closed.think.max(self.calls[index].told);
        if at < self.scenario.length {
            let call = (self.callers[caller])(at);
            self.join(call);
        }
    }

    fn count_work(&mut self, id: u64, time: u64) {
        let Some(attempt) = self.tries.get(&id) else { return };
        let progress = &self.calls[attempt.call];
        let worked = &mut self.run.worked;
        match progress.first.filter(|_| attempt.whole) {
            Some(first) if first <= progress.call.deadline => worked.in_time += time,
            Some(_) => worked.late += time,
            None => worked.cut += time,
        }
    }

    fn call_of(&self, id: u64, state: State) -> Option<usize> {
        let call = self.tries.get(&id)?.call;
        let progress = &self.calls[call];
        (progress.attempt == id && progress.state == state).then_some(call)
    }

    fn look(&mut self) {
        self.show();
        self.plan(self.now + LOOK, Due::Looks);
    }

    fn show(&mut self) {
        let loaded: Vec<usize> = self.ollama.loaded().collect();
        self.system.resident(self.now, &loaded);
    }

    fn plan(&mut self, at: u64, due: Due) {
        self.order += 1;
        self.due.push(Reverse((at, self.order, due)));
    }
}

/// Until the next attempt.
fn pause(progress: &Progress, told: Option<Duration>) -> u64 {
    if let Some(told) = told.filter(|told| *told <= LONGEST_TOLD) {
        return u64::try_from(told.as_micros()).unwrap_or(u64::MAX).max(1);
    }
    let doubled = FIRST_PAUSE * f64::from(1_u32 << (progress.attempts - 1).min(16));
    let seconds = doubled.min(LONGEST_PAUSE) * (1.0 - progress.call.jitter / 4.0);
    (seconds * SECOND as f64) as u64
}
