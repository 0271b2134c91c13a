//! The simulated Ollama against what is known of the real one.

use crate::arrivals::SECOND;
use crate::ollama::{Happened, Job, Ollama, Reports, Speed};

const ANSWER: u64 = 100 * 400 + 99 * 15_000;

fn ollama(models: usize, real: usize) -> Ollama {
    Ollama::new(models, 1, real, Speed::default(), Reports::Honest)
}

fn job(id: u64, model: usize) -> Job {
    Job { id, model, prompt: 100, answer: 100, prefix: id, shared: 0 }
}

/// Everything that happens until nothing more does, with its time.
fn all(ollama: &mut Ollama) -> Vec<(u64, Happened)> {
    let mut seen: Vec<(u64, Happened)> = ollama.happened().into_iter().map(|happened| (0, happened)).collect();
    while let Some(at) = ollama.next() {
        ollama.advance(at);
        seen.extend(ollama.happened().into_iter().map(|happened| (at, happened)));
    }
    seen
}

fn ends(seen: &[(u64, Happened)]) -> Vec<(u64, u64)> {
    let ended = seen.iter().filter_map(|(at, happened)| match happened {
        Happened::Ended(id, _) => Some((*id, *at)),
        Happened::First(_) | Happened::Worked(..) | Happened::Loaded(..) => None,
    });
    ended.collect()
}

#[test]
fn a_full_model_serves_the_others_in_their_order_and_reports_no_wait() {
    let mut ollama = ollama(1, 1);
    (1..=3).for_each(|id| ollama.send(job(id, 0)));
    let seen = all(&mut ollama);
    assert_eq!(ends(&seen), [(1, ANSWER), (2, 2 * ANSWER), (3, 3 * ANSWER)]);
    let last = seen.iter().rev().find_map(|(_, happened)| match happened {
        Happened::Ended(_, measured) => Some(*measured),
        Happened::First(_) | Happened::Worked(..) | Happened::Loaded(..) => None,
    });
    let last = last.unwrap();
    let told = last.load_duration.unwrap() + last.prompt_eval_duration.unwrap() + last.eval_duration.unwrap();
    assert!(last.total_duration.unwrap() > 2 * told);
}

#[test]
fn streams_beside_each_other_slow_each_other_down() {
    let mut ollama = ollama(1, 2);
    (1..=2).for_each(|id| ollama.send(job(id, 0)));
    let seen = ends(&all(&mut ollama));
    assert!(seen.iter().all(|(_, at)| *at > ANSWER * 5 / 4 && *at < ANSWER * 3 / 2), "{seen:?}");
}

#[test]
fn a_load_waits_for_the_victims_answers_and_is_aborted_when_its_client_leaves() {
    let mut ollama = ollama(2, 1);
    ollama.send(job(1, 0));
    ollama.send(job(2, 1));
    assert_eq!(ollama.next(), Some(100 * 400));
    while ollama.running() > 0 {
        let next = ollama.next().unwrap();
        ollama.advance(next);
    }
    assert!(ollama.is_loading());
    assert_eq!(ollama.next(), Some(ANSWER + 6 * SECOND));
    ollama.advance(ANSWER + 3 * SECOND);
    ollama.cancel(2);
    assert_eq!((ollama.aborted, ollama.next(), ollama.loaded().count()), (1, None, 0));
}

#[test]
fn a_detached_load_is_nobodys_to_abort() {
    let mut ollama = ollama(2, 1);
    ollama.preload(1);
    ollama.send(job(1, 1));
    ollama.cancel(1);
    let seen = all(&mut ollama);
    assert!(matches!(seen[..], [(at, Happened::Loaded(1, took))] if at == took && took == 6 * SECOND), "{seen:?}");
}

#[test]
fn a_client_that_leaves_frees_its_slot_at_the_end_of_the_batch_or_token() {
    let mut ollama = ollama(1, 1);
    ollama.send(Job { prompt: 2_000, ..job(1, 0) });
    ollama.advance(100 * 400);
    ollama.cancel(1);
    // 1900 tokens were left to read, 364 of them in the batch that had begun.
    assert_eq!(ollama.next(), Some(464 * 400));
    ollama.send(job(2, 0));
    assert_eq!(ends(&all(&mut ollama)), [(2, 464 * 400 + ANSWER)]);
}

#[test]
fn a_conversation_that_goes_on_reads_only_what_is_new() {
    let mut ollama = ollama(1, 1);
    ollama.send(job(1, 0));
    ollama.send(Job { prefix: 1, shared: 70, ..job(2, 0) });
    assert_eq!(ends(&all(&mut ollama)), [(1, ANSWER), (2, 2 * ANSWER - 70 * 400)]);
}
