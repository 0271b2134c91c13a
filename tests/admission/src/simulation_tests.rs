//! What holds in every run, what the issue asks of Causeway, and that the document tells the truth.

use std::fs;

use crate::arrivals::{Arrivals, HOUR, SECOND};
use crate::draw::Draw;
use crate::figures::Figures;
use crate::lengths::Kind;
use crate::overflow::{self, Outcome};
use crate::report;
use crate::scenario::{Loop, Retry, Scenario};
use crate::spill::Rule;
use crate::systems::{COMPARED, Which};
use crate::world::{How, Run, play};

const BASELINES: [Which; 3] = [Which::Alone, Which::Limit(2), Which::Fifo(10)];

fn scenario(name: &str) -> Scenario {
    Scenario::all().into_iter().find(|scenario| scenario.name == name).unwrap()
}

fn short(name: &str, length: u64) -> Scenario {
    Scenario { length, ..scenario(name) }
}

/// Eight callers of one key on one slot; every answer takes two seconds, 0.12 of it before the first
/// token.
fn eight_callers() -> Scenario {
    Scenario {
        closed: Some(Loop { callers: 8, think: SECOND / 10 }),
        keys: &[1.0],
        exact: Some((300, 126)),
        retry: Retry { most: 0, fresh: false },
        length: HOUR / 2,
        ..scenario("closed loop")
    }
}

fn figures(scenario: &Scenario, which: Which) -> Figures {
    Figures::of(scenario, &play(scenario, which, 1))
}

fn count(run: &Run, how: How) -> usize {
    run.ends.iter().filter(|end| end.how == how).count()
}

#[test]
fn every_call_ends_exactly_once_under_every_system() {
    for scenario in Scenario::all() {
        let scenario = Scenario { length: HOUR / 6, ..scenario };
        for which in COMPARED {
            let run = play(&scenario, which, 7);
            assert!(run.calls > 50, "{}: {} calls", scenario.name, run.calls);
            assert_eq!(run.ends.len(), run.calls, "{} under {which:?}", scenario.name);
            assert!(run.busy <= run.wanted, "{} under {which:?}", scenario.name);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_figures_and_another_seed_others() {
    let scenario = short("bursty", HOUR / 6);
    let run = |seed| format!("{:?}", play(&scenario, Which::Overflow, seed));
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn every_system_gets_the_same_calls() {
    let scenario = short("overload", HOUR / 6);
    let asked = COMPARED.map(|which| {
        let run = play(&scenario, which, 3);
        (run.calls, run.ends.iter().map(|end| u64::from(end.tokens)).sum::<u64>())
    });
    assert!(asked.windows(2).all(|pair| pair[0] == pair[1]), "{asked:?}");
}

#[test]
fn ollama_alone_says_nothing_when_it_is_full_until_its_callers_leave() {
    let scenario = short("overload", HOUR / 2);
    let run = play(&scenario, Which::Alone, 1);
    assert_eq!(count(&run, How::Refused), 0);
    assert!(count(&run, How::Left) > run.calls / 4);
    assert_eq!(run.longest_silence, 30 * SECOND);
    let figures = Figures::of(&scenario, &run);
    assert!(figures.p50 > 10.0 && figures.goodput < scenario.capacity() * 3_600.0 * 0.25, "{figures:?}");
}

#[test]
fn one_slot_never_idles_while_eight_callers_with_soft_deadlines_want_it() {
    let scenario = Scenario { stated: false, patience: 100.0, ..eight_callers() };
    let figures = figures(&scenario, Which::Causeway);
    assert!(figures.occupied >= 0.99, "{}", figures.occupied);
}

#[test]
fn callers_with_one_second_are_refused_at_once_and_told_the_real_wait() {
    let scenario = Scenario { deadline: Some(SECOND), ..eight_callers() };
    let run = play(&scenario, Which::Causeway, 1);
    assert!(run.refusals.len() > 1_000, "{}", run.refusals.len());
    // In the first seconds three answers are not known yet, and nothing can be predicted.
    let learnt = run.refusals.iter().filter(|(at, _)| *at > 10 * SECOND);
    let late = learnt.filter(|(_, took)| *took > 0).count();
    assert_eq!(late, 0, "of {}", run.refusals.len());
    let figures = Figures::of(&scenario, &run);
    assert!(figures.retry_error <= 0.15, "{}", figures.retry_error);
}

/// With answers as uneven as these some overlaps tell nothing: a short answer behind a short one.
#[test]
fn a_parallel_that_is_too_high_is_mostly_learnt_within_ten_overlaps_and_always_within_twelve() {
    let learnt = |seed| play(&short("wrong parallel", HOUR / 2), Which::Causeway, seed).notes.learnt.unwrap().0;
    let mut overlaps: Vec<_> = (1..=5).map(learnt).collect();
    overlaps.sort_unstable();
    assert!(overlaps[2] <= 10 && overlaps[4] <= 12, "{overlaps:?}");
}

#[test]
fn small_keys_are_served_more_often_than_the_one_that_asks_ten_times_as_much() {
    let scenario = short("ten to one", HOUR);
    let (own, fifo) = (figures(&scenario, Which::Causeway), figures(&scenario, Which::Fifo(10)));
    assert!(own.small > own.large + 0.1, "{} against {}", own.small, own.large);
    assert!(own.jain > fifo.jain, "{} against {}", own.jain, fifo.jain);
}

#[test]
fn no_load_is_aborted_by_a_caller_that_leaves() {
    let scenario = short("two models", HOUR);
    assert_eq!(play(&scenario, Which::Causeway, 1).aborted, 0);
    assert!(play(&scenario, Which::Alone, 1).aborted > 0);
}

#[test]
fn hardly_any_gpu_time_goes_to_answers_that_nobody_waits_for() {
    for name in ["bursty", "overload", "two models", "wrong parallel"] {
        let wasted = figures(&short(name, HOUR), Which::Causeway).wasted;
        assert!(wasted < 0.03, "{name}: {wasted}");
    }
}

/// What Causeway serves in time over what the best baseline does.
fn against_the_best(name: &str) -> f64 {
    let scenario = short(name, HOUR);
    let best = BASELINES.map(|baseline| figures(&scenario, baseline).goodput).into_iter().fold(0.0, f64::max);
    figures(&scenario, Which::Causeway).goodput / best
}

#[test]
fn where_models_swap_slots_are_fewer_than_said_or_callers_come_back_it_serves_more_than_any() {
    for name in ["two models", "wrong parallel", "asks again"] {
        let share = against_the_best(name);
        assert!(share >= 1.0, "{name}: {share}");
    }
}

/// It refuses on the mean of a wait whose median is shorter, and so a few too many: the document
/// tells how many.
#[test]
fn elsewhere_it_serves_at_most_a_sixth_less_than_a_queue_whose_timeout_is_everyones_deadline() {
    for name in ["steady", "bursty", "diurnal", "overload", "one slot", "ten to one", "closed loop", "leaves at once"] {
        let share = against_the_best(name);
        assert!(share >= 5.0 / 6.0, "{name}: {share}");
    }
}

#[test]
fn with_bedrock_nobody_is_refused_and_nobody_waits_past_the_deadline_for_long() {
    let scenario = short("overload", HOUR / 2);
    let run = play(&scenario, Which::Overflow, 1);
    assert_eq!(count(&run, How::Refused) + count(&run, How::Expired) + count(&run, How::Left), 0);
    let late = run.ends.iter().filter(|end| !end.in_time).count();
    assert!(late * 100 <= run.calls, "{late} of {}", run.calls);
}

/// In every traffic of the table.
fn compared(rival: Rule) -> Vec<(&'static str, Outcome, Outcome)> {
    let of = |scenario: &Scenario, which| overflow::outcome(&Scenario { length: HOUR / 2, ..scenario.clone() }, which);
    let all = overflow::scenarios();
    let pair = |it: &Scenario| (it.name, of(it, Which::Overflow), of(it, Which::Spill(rival)));
    all.iter().map(pair).collect()
}

#[test]
fn hardly_anybody_is_late_for_far_less_money_than_when_whatever_finds_the_slots_taken_goes_to_bedrock() {
    for (name, own, rival) in compared(Rule::InFlight(1)) {
        assert!(own.late <= 0.012 && own.spend <= rival.spend * 0.9, "{name}: {own:?} against {rival:?}");
    }
}

#[test]
fn a_timeout_of_two_seconds_pays_more_for_the_same() {
    for (name, own, rival) in compared(Rule::Silence(2 * SECOND)) {
        assert!(own.spend <= rival.spend * 0.95, "{name}: {own:?} against {rival:?}");
    }
}

#[test]
fn who_lets_more_wait_in_front_of_ollama_has_more_of_them_late_for_the_same_money() {
    for most in 2..=4 {
        for (name, own, rival) in compared(Rule::InFlight(most)) {
            let dearer = rival.spend >= own.spend;
            assert!(dearer || rival.late >= own.late * 3.0, "{name}, {most}: {own:?} against {rival:?}");
        }
    }
}

#[test]
fn arrivals_come_as_often_as_asked() {
    for arrivals in [Arrivals::Poisson, Arrivals::Bursty, Arrivals::Diurnal] {
        let times = arrivals.times(&mut Draw::new(1, 1), 0.5, 20 * HOUR);
        let rate = times.len() as f64 / (20.0 * 3_600.0);
        assert!((0.45..0.55).contains(&rate), "{arrivals:?}: {rate}");
        assert!(times.is_sorted());
    }
}

#[test]
fn lengths_have_the_means_that_capacity_is_reckoned_from() {
    let mut draw = Draw::new(1, 1);
    for kind in [Kind::Chat, Kind::Tool, Kind::Long] {
        let drawn: Vec<(u32, u32)> = (0..20_000).map(|_| kind.lengths(&mut draw)).collect();
        let mean = |of: fn(&(u32, u32)) -> u32| drawn.iter().map(|pair| f64::from(of(pair))).sum::<f64>() / 20_000.0;
        let (prompt, answer) = kind.means();
        assert!((mean(|pair| pair.0) / prompt - 1.0).abs() < 0.05, "{kind:?}");
        assert!((mean(|pair| pair.1) / answer - 1.0).abs() < 0.05, "{kind:?}");
    }
}

/// If this fails, the ledger decides otherwise than when the document was written:
/// `cargo run --release -p causeway-admission-sim -- report docs/`.
#[test]
fn the_document_shows_what_a_run_gives() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.md")).unwrap();
    let witness = report::witness();
    assert!(page.contains(&witness), "docs/performance.md does not have these rows:\n{witness}");
}
