//! What happens to a machine: who asks for what, when, and what the machine is.
//!
//! A scenario and a seed give the same calls to every system, so that systems differ by what they
//! decide alone. Absent: the systems, and the machine's own behaviour (`ollama.rs`).

use crate::arrivals::{Arrivals, HOUR, MILLISECOND, SECOND, micros};
use crate::draw::Draw;
use crate::lengths::Kind;
use crate::ollama::{Reports, Speed};

/// One request as its caller means it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: u64,
    /// In a closed loop, whose turn it is.
    pub(crate) caller: usize,
    pub(crate) key: usize,
    pub(crate) model: usize,
    /// In tokens.
    pub(crate) prompt: u32,
    pub(crate) bytes: u64,
    pub(crate) answer: u32,
    pub(crate) max_tokens: Option<u32>,
    /// The conversation.
    pub(crate) prefix: u64,
    /// Tokens of the prompt that the conversation's previous turn had.
    pub(crate) shared: u32,
    /// First token wanted within so many microseconds; beyond it the answer counts for nothing.
    pub(crate) deadline: u64,
    /// Without a first token the caller leaves after so many.
    pub(crate) patience: u64,
    /// Bedrock's first token, should it serve this.
    pub(crate) elsewhere: u64,
    /// For the pauses before retries.
    pub(crate) jitter: f64,
}

/// Callers that each ask again once they were answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loop {
    pub(crate) callers: usize,
    pub(crate) think: u64,
}

/// What callers do after a refusal. Like the OpenAI SDK they wait as long as `retry-after-ms` says,
/// else half a second, doubled each time, less up to a quarter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Retry {
    pub(crate) most: u32,
    /// Each attempt begins a deadline of its own; else a caller retries only while its first one
    /// can still be met, and states what is left of it.
    pub(crate) fresh: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) arrivals: Arrivals,
    /// Share of what the machine can serve that is asked for.
    pub(crate) load: f64,
    /// Instead of arrivals.
    pub(crate) closed: Option<Loop>,
    /// How much each key asks for.
    pub(crate) keys: &'static [f64],
    /// How much each model is asked for.
    pub(crate) models: &'static [f64],
    /// Models that fit in memory together.
    pub(crate) room: usize,
    /// Requests that Ollama serves at once.
    pub(crate) real: usize,
    /// What the configuration says of it.
    pub(crate) configured: u32,
    pub(crate) speed: Speed,
    pub(crate) reports: Reports,
    pub(crate) mix: &'static [(Kind, f64)],
    /// All answers alike: prompt and answer in tokens.
    pub(crate) exact: Option<(u32, u32)>,
    /// One deadline for all, else each kind's own.
    pub(crate) deadline: Option<u64>,
    /// Callers tell Causeway their deadline; the baselines have no ear for it.
    pub(crate) stated: bool,
    /// Callers leave after so many deadlines.
    pub(crate) patience: f64,
    pub(crate) retry: Retry,
    pub(crate) length: u64,
}

/// Assumed: mostly conversations, a quarter agents' steps, few long generations.
const MIX: [(Kind, f64); 3] = [(Kind::Chat, 0.65), (Kind::Tool, 0.27), (Kind::Long, 0.08)];
/// Requests that go on with a conversation, and the share of their prompt that it had before.
const GOES_ON: f64 = 0.3;
const SHARED: f64 = 0.7;
/// Of every two requests one states a limit of its answer.
const STATES_LIMIT: f64 = 0.5;
const LIMIT: u32 = 4_096;
/// Bytes to a token, from one prompt to another.
const BYTES: (f64, f64) = (3.4, 4.6);
/// Bedrock's first token, log-normal: median and spread that make its p95 800 ms.
const ELSEWHERE_MEDIAN: f64 = 0.4;
const ELSEWHERE_SIGMA: f64 = 0.4214;

impl Default for Scenario {
    /// Two slots, known to be two, at 0.8 of what they can serve; four keys alike; everybody wants a
    /// first token within ten seconds, says so, and waits for half a minute all the same.
    fn default() -> Scenario {
        Scenario {
            name: "steady",
            arrivals: Arrivals::Poisson,
            load: 0.8,
            closed: None,
            keys: &[1.0; 4],
            models: &[1.0],
            room: 1,
            real: 2,
            configured: 2,
            speed: Speed::default(),
            reports: Reports::Honest,
            mix: &MIX,
            exact: None,
            deadline: Some(10 * SECOND),
            stated: true,
            patience: 3.0,
            retry: Retry { most: 2, fresh: false },
            length: 2 * HOUR,
        }
    }
}

impl Scenario {
    /// The scenarios of the report.
    pub(crate) fn all() -> Vec<Scenario> {
        let base = Scenario::default;
        let (bursty, overload) = (|| base().bursty(0.8), || Scenario { load: 1.5, ..base() });
        let chat: &[(Kind, f64)] = &[(Kind::Chat, 1.0)];
        let eight = Some(Loop { callers: 8, think: SECOND });
        vec![
            base(),
            bursty(),
            Scenario { name: "diurnal", arrivals: Arrivals::Diurnal, ..base() },
            Scenario { name: "overload", ..overload() },
            Scenario { name: "one slot", real: 1, configured: 1, load: 1.0, ..base() },
            Scenario { name: "ten to one", keys: &[10.0, 1.0, 1.0, 1.0], ..overload() },
            Scenario { name: "closed loop", closed: eight, real: 1, configured: 1, mix: chat, ..base() },
            Scenario { name: "two models", models: &[3.0, 1.0], load: 0.5, ..base() },
            Scenario { name: "wrong parallel", configured: 4, real: 1, load: 1.0, ..base() },
            Scenario { name: "no durations", reports: Reports::None, ..bursty() },
            Scenario { name: "false durations", reports: Reports::Lies, ..bursty() },
            Scenario { name: "own deadlines", deadline: None, ..overload() },
            Scenario { name: "leaves at once", patience: 1.0, ..overload() },
            Scenario { name: "asks again", retry: Retry { most: 3, fresh: true }, ..overload() },
            Scenario { name: "unstated", stated: false, ..overload() },
        ]
    }

    pub(crate) fn bursty(self, load: f64) -> Scenario {
        Scenario { name: "bursty", arrivals: Arrivals::Bursty, load, ..self }
    }

    /// Answers a second with all slots busy.
    pub(crate) fn capacity(&self) -> f64 {
        let (prompt, answer) = self.mix.iter().fold((0.0, 0.0), |sum, (kind, share)| {
            let (prompt, answer) = kind.means();
            (sum.0 + prompt * share, sum.1 + answer * share)
        });
        let fresh = prompt * (1.0 - GOES_ON * SHARED);
        self.real as f64 / self.speed.seconds(self.real, fresh, answer)
    }

    /// All calls of an open scenario, in the order of their arrival.
    pub(crate) fn calls(&self, seed: u64) -> Vec<Call> {
        let mut draw = Draw::new(seed, 1);
        let times = self.arrivals.times(&mut draw, self.load * self.capacity(), self.length);
        let mut talk = Talk::new(self.keys.len());
        let mut content = Draw::new(seed, 2);
        times.into_iter().map(|at| self.call(at, 0, &mut content, &mut talk)).collect()
    }

    /// One caller of a closed loop: what it asks, one after the other.
    pub(crate) fn caller(&self, seed: u64, caller: usize) -> impl FnMut(u64) -> Call {
        let (scenario, mut talk) = (self.clone(), Talk::new(self.keys.len()));
        let mut draw = Draw::new(seed, 100 + caller as u64);
        talk.last = caller as u64 * 1_000_000;
        move |at| scenario.call(at, caller, &mut draw, &mut talk)
    }

    fn call(&self, at: u64, caller: usize, draw: &mut Draw, talk: &mut Talk) -> Call {
        let kind = self.mix[draw.weighted(self.mix.iter().map(|(_, share)| *share))].0;
        let key = draw.weighted(self.keys.iter().copied());
        let model = draw.weighted(self.models.iter().copied());
        let (prompt, answer) = kind.lengths(draw);
        let (prompt, answer) = self.exact.unwrap_or((prompt, answer));
        let (prefix, goes_on) = talk.prefix(key, draw.unit() < GOES_ON);
        let deadline = self.deadline.unwrap_or(match kind {
            Kind::Chat => 10 * SECOND,
            Kind::Tool => 5 * SECOND,
            Kind::Long => 20 * SECOND,
        });
        Call {
            at,
            caller,
            key,
            model,
            prompt,
            bytes: (f64::from(prompt) * draw.between(BYTES.0, BYTES.1)).round() as u64,
            answer,
            max_tokens: (draw.unit() < STATES_LIMIT).then_some(LIMIT),
            prefix,
            shared: if goes_on { (f64::from(prompt) * SHARED) as u32 } else { 0 },
            deadline,
            patience: (deadline as f64 * self.patience) as u64,
            elsewhere: micros(draw.log_normal(ELSEWHERE_MEDIAN, ELSEWHERE_SIGMA)).max(MILLISECOND),
            jitter: draw.unit(),
        }
    }
}

/// The conversations of each key.
struct Talk {
    of: Vec<u64>,
    last: u64,
}

impl Talk {
    fn new(keys: usize) -> Talk {
        Talk { of: vec![0; keys], last: 0 }
    }

    /// The conversation of the key's next request, and whether it had one before.
    fn prefix(&mut self, key: usize, goes_on: bool) -> (u64, bool) {
        let known = self.of[key] > 0;
        if !(known && goes_on) {
            self.last += 1;
            self.of[key] = self.last;
        }
        (self.of[key], known && goes_on)
    }
}
