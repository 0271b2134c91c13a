//! An Ollama in virtual time, as far as admission can feel it.
//!
//! Each model has a semaphore of `real` places with an unbounded queue behind it: a saturated model
//! hangs and never says so. Models that do not fit together push each other out: one load at a time,
//! only once the victim has nothing left to do, and aborted when its client leaves. Time is given in
//! microseconds; work in tokens. Absent: who sends (`systems.rs`), who waits (`world.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use causeway_policy::Measured;

use crate::arrivals::{MILLISECOND, SECOND};

/// Speeds of an 8-billion-parameter model in 4 bits on a consumer GPU, assumed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    /// Microseconds to read one token of the prompt, when no other prompt is read.
    pub(crate) prefill: f64,
    /// Microseconds to write one token, alone.
    pub(crate) decode: f64,
    /// Each stream beside it makes a token so much slower.
    pub(crate) beside: f64,
    /// Microseconds of a load.
    pub(crate) load: u64,
}

impl Default for Speed {
    fn default() -> Speed {
        Speed { prefill: 400.0, decode: 15_000.0, beside: 0.3, load: 6 * SECOND }
    }
}

impl Speed {
    /// Seconds that an answer of these means takes among `streams`.
    pub(crate) fn seconds(&self, streams: usize, prompt: f64, answer: f64) -> f64 {
        let token = self.decode * (1.0 + self.beside * (streams as f64 - 1.0));
        (prompt * self.prefill + answer * token) / SECOND as f64
    }
}

/// What Ollama says of an answer at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reports {
    Honest,
    /// Counts, but no durations.
    None,
    /// Durations of a tenth.
    Lies,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) model: usize,
    pub(crate) prompt: u32,
    pub(crate) answer: u32,
    pub(crate) prefix: u64,
    pub(crate) shared: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Happened {
    First(u64),
    Ended(u64, Measured),
    /// A slot was held so long for this one, ended or cut off.
    Worked(u64, u64),
    /// A detached load.
    Loaded(usize, u64),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    Prefill,
    Decode,
    /// Its client has left: it goes on until the next batch or token.
    Stopping,
}

#[derive(Clone, Debug)]
struct Active {
    job: Job,
    phase: Phase,
    /// Tokens of the phase.
    left: f64,
    sent: u64,
    /// From sent to loaded, start to first token, first token to end.
    load: u64,
    began: u64,
    first: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    job: Job,
    sent: u64,
    load: u64,
}

#[derive(Clone, Debug, Default)]
struct Model {
    loaded: bool,
    used: u64,
    active: Vec<Active>,
    waiting: VecDeque<Waiting>,
    /// Conversations whose beginning is still in memory, one a slot.
    cache: VecDeque<u64>,
}

/// A request for a model that is not loaded, or a detached load.
#[derive(Clone, Debug)]
struct Pending {
    model: usize,
    since: u64,
    job: Option<Job>,
}

#[derive(Clone, Debug)]
pub(crate) struct Ollama {
    real: usize,
    room: usize,
    speed: Speed,
    reports: Reports,
    now: u64,
    models: Vec<Model>,
    pending: VecDeque<Pending>,
    /// The load of the head of `pending` ends then.
    loading: Option<u64>,
    happened: Vec<Happened>,
    pub(crate) loads: u32,
    pub(crate) aborted: u32,
}

/// Tokens of a prompt that llama.cpp reads before it looks whether anybody still waits.
const BATCH: f64 = 512.0;
/// Tokens left that are taken for none: what rounding leaves.
const NOTHING: f64 = 1e-6;

impl Ollama {
    /// The first models are loaded, as many as there is room for.
    pub(crate) fn new(models: usize, room: usize, real: usize, speed: Speed, reports: Reports) -> Ollama {
        let models = (0..models).map(|index| Model { loaded: index < room, ..Model::default() }).collect();
        Ollama {
            real,
            room,
            speed,
            reports,
            now: 0,
            models,
            pending: VecDeque::new(),
            loading: None,
            happened: Vec::new(),
            loads: 0,
            aborted: 0,
        }
    }

    pub(crate) fn send(&mut self, job: Job) {
        let model = &mut self.models[job.model];
        if model.loaded {
            model.waiting.push_back(Waiting { job, sent: self.now, load: MILLISECOND });
        } else {
            self.pending.push_back(Pending { model: job.model, since: self.now, job: Some(job) });
        }
        self.settle();
    }

    /// Loads a model for nobody in particular.
    pub(crate) fn preload(&mut self, model: usize) {
        self.pending.push_back(Pending { model, since: self.now, job: None });
        self.settle();
    }

    /// The client has gone.
    pub(crate) fn cancel(&mut self, id: u64) {
        let of = |pending: &Pending| pending.job.is_some_and(|job| job.id == id);
        if let Some(place) = self.pending.iter().position(of) {
            self.pending.remove(place);
            if place == 0 && self.loading.take().is_some() {
                self.aborted += 1;
            }
        }
        for model in &mut self.models {
            model.waiting.retain(|waiting| waiting.job.id != id);
            for active in model.active.iter_mut().filter(|active| active.job.id == id) {
                active.left = match active.phase {
                    Phase::Prefill => active.left % BATCH,
                    Phase::Decode => active.left.fract(),
                    Phase::Stopping => active.left,
                };
                // What is left of a token counts as so much of a prompt.
                active.left *= if active.phase == Phase::Decode { self.speed.decode / self.speed.prefill } else { 1.0 };
                active.phase = Phase::Stopping;
            }
        }
        self.settle();
    }

    /// Tokens of the answer so far.
    pub(crate) fn progress(&self, id: u64) -> Option<u32> {
        let active = self.models.iter().flat_map(|model| &model.active).find(|active| active.job.id == id)?;
        (active.phase == Phase::Decode).then(|| active.job.answer - active.left.ceil() as u32)
    }

    /// Requests that hold a slot and run.
    pub(crate) fn running(&self) -> usize {
        self.models.iter().map(|model| model.active.len()).sum()
    }

    pub(crate) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// What `/api/ps` lists.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = usize> {
        self.models.iter().enumerate().filter(|(_, model)| model.loaded).map(|(index, _)| index)
    }

    /// When something happens next by itself.
    pub(crate) fn next(&self) -> Option<u64> {
        let (reading, writing) = self.paces();
        let active = self.models.iter().flat_map(|model| &model.active);
        let ends = active.map(|active| self.now + (active.left * pace(active.phase, reading, writing)).ceil() as u64);
        ends.chain(self.loading).min()
    }

    /// Lets time pass up to `now`, which is not beyond [`Ollama::next`].
    pub(crate) fn advance(&mut self, now: u64) {
        let (reading, writing) = self.paces();
        let passed = (now - self.now) as f64;
        self.now = now;
        for active in self.models.iter_mut().flat_map(|model| &mut model.active) {
            active.left -= passed / pace(active.phase, reading, writing);
        }
        self.settle();
    }

    /// What happened since the last call.
    pub(crate) fn happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    /// Microseconds a token: of a prompt, of an answer.
    fn paces(&self) -> (f64, f64) {
        let phases = self.models.iter().flat_map(|model| &model.active).map(|active| active.phase);
        let (mut readers, mut streams) = (0.0, 0.0);
        for phase in phases {
            streams += 1.0;
            readers += if phase == Phase::Decode { 0.0 } else { 1.0 };
        }
        (self.speed.prefill * f64::max(readers, 1.0), self.speed.decode * (1.0 + self.speed.beside * (streams - 1.0)))
    }

    fn settle(&mut self) {
        for index in 0..self.models.len() {
            self.move_on(index);
        }
        self.load();
        for index in 0..self.models.len() {
            self.begin(index);
        }
    }

    /// Takes what has come to the end of its phase further.
    fn move_on(&mut self, index: usize) {
        let (now, reports) = (self.now, self.reports);
        let model = &mut self.models[index];
        for active in model.active.iter_mut().filter(|active| active.left <= NOTHING) {
            if active.phase == Phase::Prefill {
                active.phase = Phase::Decode;
                active.left = f64::from(active.job.answer) - 1.0;
                active.first = now;
                self.happened.push(Happened::First(active.job.id));
            }
        }
        let over = |active: &mut Active| active.left <= NOTHING;
        for ended in model.active.extract_if(.., over) {
            if ended.phase == Phase::Decode {
                self.happened.push(Happened::Ended(ended.job.id, ended.measured(now, reports)));
            }
            self.happened.push(Happened::Worked(ended.job.id, now - ended.began));
            model.used = now;
        }
    }

    /// Serves the head of the pending requests: a load when it needs one.
    fn load(&mut self) {
        while let Some(head) = self.pending.front() {
            let (model, since) = (head.model, head.since);
            if self.loading.is_some_and(|until| until <= self.now) {
                self.loading = None;
                self.models[model].loaded = true;
                self.models[model].used = self.now;
            }
            if self.models[model].loaded {
                let Some(head) = self.pending.pop_front() else { return };
                let load = self.now - since;
                match head.job {
                    Some(job) => self.models[model].waiting.push_back(Waiting { job, sent: since, load }),
                    None => self.happened.push(Happened::Loaded(model, load)),
                }
                continue;
            }
            if self.loading.is_none() && self.make_room() {
                self.loads += 1;
                self.loading = Some(self.now + self.speed.load);
            }
            return;
        }
    }

    /// Whether one more model fits, now that the longest unused one has left if it could.
    fn make_room(&mut self) -> bool {
        if self.loaded().count() < self.room {
            return true;
        }
        let oldest = self.models.iter_mut().filter(|model| model.loaded).min_by_key(|model| model.used);
        match oldest {
            Some(victim) if victim.active.is_empty() && victim.waiting.is_empty() => {
                *victim = Model { used: victim.used, ..Model::default() };
                true
            }
            Some(_) | None => false,
        }
    }

    /// Gives free places of a semaphore to those behind it.
    fn begin(&mut self, index: usize) {
        let model = &mut self.models[index];
        while model.active.len() < self.real {
            let Some(Waiting { job, sent, load }) = model.waiting.pop_front() else { return };
            let cached = if model.cache.contains(&job.prefix) { job.shared } else { 0 };
            model.cache.retain(|prefix| *prefix != job.prefix);
            model.cache.push_back(job.prefix);
            if model.cache.len() > self.real {
                model.cache.pop_front();
            }
            let left = f64::from(job.prompt - cached);
            let began = self.now;
            model.active.push(Active { job, phase: Phase::Prefill, left, sent, load, began, first: 0 });
        }
    }
}

impl Active {
    fn measured(&self, now: u64, reports: Reports) -> Measured {
        let time = |from: u64, to: u64| {
            let micros = Duration::from_micros(to - from);
            match reports {
                Reports::Honest => Some(micros),
                Reports::None => None,
                Reports::Lies => Some(micros / 10),
            }
        };
        Measured {
            // With those from the cache, whose number today's Ollama does not tell.
            prompt_eval_count: Some(u64::from(self.job.prompt)),
            cached: None,
            prompt_eval_duration: time(self.began, self.first),
            eval_count: Some(u64::from(self.job.answer)),
            eval_duration: time(self.first, now),
            load_duration: time(0, self.load),
            total_duration: time(self.sent, now),
        }
    }
}

fn pace(phase: Phase, reading: f64, writing: f64) -> f64 {
    match phase {
        Phase::Prefill | Phase::Stopping => reading,
        Phase::Decode => writing,
    }
}
