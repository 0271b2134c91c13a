//! Ways to overflow against each other: who is late, and what Bedrock is paid for it.
//!
//! One slot, lengths of a published trace, everybody wants a first token within five seconds and says
//! so. Each way has a knob; a way is better where it is late less often for the same money, or as
//! often for less. Absent: a budget that ends (each may always ask Bedrock).

use std::fmt::Write as _;

use crate::arrivals::{Arrivals, MILLISECOND, SECOND};
use crate::scenario::{Retry, Scenario};
use crate::spill::Rule;
use crate::systems::Which;
use crate::world::{How, play};

const SEEDS: u64 = 5;

/// US dollars for a million tokens, in and out: those of `openai.gpt-oss-20b-1:0`.
const PRICE: (f64, f64) = (0.07, 0.30);

/// The most that Ollama lets wait before it refuses (its default `OLLAMA_MAX_QUEUE`).
const OLLAMA_QUEUE: usize = 512;

/// The ways without a forecast, and the knobs' values.
const RIVALS: [Which; 11] = [
    Which::Alone,
    Which::Spill(Rule::InFlight(OLLAMA_QUEUE)),
    Which::Spill(Rule::InFlight(1)),
    Which::Spill(Rule::InFlight(2)),
    Which::Spill(Rule::InFlight(3)),
    Which::Spill(Rule::InFlight(4)),
    Which::Spill(Rule::Silence(SECOND)),
    Which::Spill(Rule::Silence(2 * SECOND)),
    Which::Spill(Rule::Silence(3 * SECOND)),
    Which::Spill(Rule::Silence(4 * SECOND)),
    Which::Spill(Rule::Silence(4_500 * MILLISECOND)),
];

/// What a way came to: shares of all calls, and money.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Outcome {
    /// No first token within the deadline.
    pub(crate) late: f64,
    pub(crate) elsewhere: f64,
    /// US dollars for a thousand calls.
    pub(crate) spend: f64,
}

/// The traffic that is compared.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let base = || Scenario {
        name: "one slot at 0.8",
        real: 1,
        configured: 1,
        load: 0.8,
        deadline: Some(5 * SECOND),
        retry: Retry { most: 0, fresh: false },
        ..Scenario::default()
    };
    vec![
        base(),
        Scenario { name: "one slot at 0.5", load: 0.5, ..base() },
        Scenario { name: "one slot at 1.2", load: 1.2, ..base() },
        Scenario { name: "bursts at 0.8", arrivals: Arrivals::Bursty, ..base() },
        Scenario { name: "two slots at 0.8", real: 2, configured: 2, ..base() },
    ]
}

/// Plays a way over the seeds 1 to 5.
pub(crate) fn outcome(scenario: &Scenario, which: Which) -> Outcome {
    let (mut calls, mut sum) = (0.0, Outcome::default());
    for end in (1..=SEEDS).flat_map(|seed| play(scenario, which, seed).ends) {
        calls += 1.0;
        sum.late += f64::from(u8::from(!end.in_time));
        if end.how == How::Elsewhere {
            sum.elsewhere += 1.0;
            sum.spend += (f64::from(end.prompt) * PRICE.0 + f64::from(end.tokens) * PRICE.1) / 1e3;
        }
    }
    Outcome { late: sum.late / calls, elsewhere: sum.elsewhere / calls, spend: sum.spend / calls }
}

/// The table of docs/performance.md.
pub(crate) fn table() -> String {
    let mut text = "Late answers, and what Bedrock is paid: one in so many calls goes there, dollars for a thousand \
                    calls ($0.07 and $0.30 a million tokens):\n\n| overflow |"
        .to_owned();
    let scenarios = scenarios();
    for scenario in &scenarios {
        let _ = write!(text, " {}: late, at Bedrock, $ |", scenario.name);
    }
    text.push_str(&format!("\n|---|{}\n", "---|".repeat(scenarios.len())));
    for which in RIVALS.into_iter().chain([Which::Overflow]) {
        let _ = write!(text, "| {} |", name(which));
        for scenario in &scenarios {
            let Outcome { late, elsewhere, spend } = outcome(scenario, which);
            let _ = write!(text, " {:.1} %, {:.1} %, {spend:.3} |", late * 100.0, elsewhere * 100.0);
        }
        text.push('\n');
    }
    text
}

fn name(which: Which) -> String {
    match which {
        Which::Alone => "never".to_owned(),
        Which::Spill(Rule::InFlight(OLLAMA_QUEUE)) => "on Ollama's error (its queue of 512 full)".to_owned(),
        Which::Spill(Rule::InFlight(most)) => format!("from {most} in flight on"),
        Which::Spill(Rule::Silence(most)) => format!("after {:.1} s without a token", most as f64 / SECOND as f64),
        Which::Overflow => "Causeway".to_owned(),
        Which::Limit(_) | Which::Fifo(_) | Which::Causeway => which.name(),
    }
}
