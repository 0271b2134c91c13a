//! How near the predictions come, and which measurements they are not built on.

use std::time::Duration;

use causeway_policy::{Ask, Key, Measured, Promise, Verdict};

use crate::gpu::Gpu;
use crate::world::{ANSWER, PREFILL, TOKENS, World, close, honest, ms, overflow};

/// Promises of requests that waited, from a closed loop of 8 callers on one slot.
fn promises(lengths: impl Iterator<Item = u32>) -> Vec<Promise> {
    let (mut world, mut gpu) = (World::new(1), Gpu::new(1));
    let (mut lengths, mut kept, mut answers) = (lengths.peekable(), Vec::new(), 0);
    while lengths.peek().is_some() {
        while gpu.of(Key(1)) < 8 {
            let ask = world.ask();
            gpu.submit(&mut world, &ask, lengths.next().unwrap_or(TOKENS));
        }
        for done in gpu.step(&mut world) {
            answers += 1;
            if answers > 40 && done.promise.queued >= ms(100) {
                kept.push(done.promise);
            }
        }
    }
    assert!(kept.len() > 200, "{}", kept.len());
    kept
}

#[test]
fn answers_of_one_length_are_predicted_within_a_tenth() {
    let mut errors: Vec<f64> = promises(std::iter::repeat_n(TOKENS, 400))
        .iter()
        .map(|promise| {
            let (predicted, actual) = (promise.predicted.unwrap().as_secs_f64(), promise.actual.as_secs_f64());
            (predicted - actual).abs() / actual
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    assert!(errors[errors.len() / 2] <= 0.1, "{}", errors[errors.len() / 2]);
}

#[test]
fn for_answers_of_very_different_lengths_the_p90_forecast_covers_about_nine_of_ten() {
    // A sum of logarithms makes a long-tailed mix of 5 to some 2,000 tokens; the seed is fixed.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut chance = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let lengths = std::iter::from_fn(move || {
        let normal: f64 = (0..12).map(|_| chance()).sum::<f64>() - 6.0;
        Some((normal.mul_add(0.9, 5.0).exp() as u32).clamp(5, 4_000))
    });
    let kept = promises(lengths.take(1_500));
    let covered = kept.iter().filter(|promise| promise.actual <= promise.p90.unwrap()).count();
    let share = covered as f64 / kept.len() as f64;
    assert!((0.80..=0.97).contains(&share), "{share}");
}

#[test]
fn a_first_token_comes_back_with_what_was_promised_for_it_and_only_once() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let ask = world.ask();
    let waiting = world.queued(&ask);
    world.answer(running);
    world.now += PREFILL;
    let promise = world.ledger.first_token(world.now, waiting).unwrap();
    close(promise.predicted.unwrap(), ANSWER + PREFILL, 10);
    assert_eq!((promise.actual, promise.queued), (ANSWER + PREFILL, ANSWER));
    assert_eq!(world.ledger.first_token(world.now, waiting), None);
}

#[test]
fn a_stream_half_done_leaves_half_of_the_wait() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    world.now += PREFILL;
    world.ledger.first_token(world.now, running);
    world.now += ms(500);
    world.ledger.progress(world.now, running, 25);
    let ask = world.ask();
    let (_, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    close(forecast.slot, ms(500), 10);
}

#[test]
fn the_limit_of_an_answer_bounds_what_is_expected_of_it() {
    let mut world = World::learnt(1);
    let ask = Ask { max_tokens: Some(10), ..world.ask() };
    assert_eq!(world.submit(&ask).1, Verdict::Admit);
    let ask = world.ask();
    let (_, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    close(forecast.slot, PREFILL + ms(200), 10);
}

/// Twenty standard answers of which Ollama says `measured`, then the predicted wait behind one.
fn told(measured: Measured) -> Duration {
    let mut world = World::new(1);
    for _ in 0..20 {
        let ticket = world.admitted();
        world.now += PREFILL;
        world.ledger.first_token(world.now, ticket);
        world.now += ANSWER - PREFILL;
        world.ledger.progress(world.now, ticket, TOKENS);
        world.ledger.finished(world.now, ticket, measured);
    }
    world.admitted();
    let ask = world.ask();
    let (_, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    forecast.first_token
}

#[test]
fn durations_and_counts_that_cannot_be_true_are_replaced_by_the_own_clock() {
    let zero = Some(Duration::ZERO);
    let with = |prefill, decode| Measured { prompt_eval_duration: prefill, eval_duration: decode, ..honest(TOKENS) };
    let lies = [
        ("nothing told", Measured::default()),
        ("zero durations", with(zero, zero)),
        ("no prefill", with(None, honest(TOKENS).eval_duration)),
        ("a hundredth of the time", with(Some(ms(1)), Some(ms(10)))),
        ("huge durations", with(Some(Duration::MAX), Some(Duration::MAX))),
        ("a huge load", Measured { load_duration: Some(Duration::MAX), ..honest(TOKENS) }),
        ("a huge count", Measured { eval_count: Some(u64::MAX), prompt_eval_count: Some(u64::MAX), ..honest(TOKENS) }),
        ("no tokens", Measured { eval_count: Some(0), prompt_eval_count: Some(0), ..honest(TOKENS) }),
        ("no duration of the answer", Measured { eval_duration: None, cached: Some(0), ..honest(TOKENS) }),
        ("more cached than there is", Measured { cached: Some(u64::MAX), ..honest(TOKENS) }),
    ];
    for (lie, measured) in lies {
        let wait = told(measured);
        let off = wait.abs_diff(ANSWER + PREFILL);
        assert!(off <= ms(60), "{lie}: {wait:?}");
    }
}

#[test]
fn a_prompt_that_was_cached_whole_does_not_make_a_token_slow() {
    let slow = told(Measured { cached: honest(TOKENS).prompt_eval_count, ..honest(TOKENS) });
    assert!(slow <= ANSWER + PREFILL + ms(60), "{slow:?}");
}

#[test]
fn a_prompt_that_the_cache_may_have_shortened_teaches_nothing_of_prefill() {
    let mut world = World::learnt(1);
    for _ in 0..20 {
        // Always the same beginning: Ollama counts the whole prompt and works on a tenth of it.
        let ask = Ask { prefix: 7, ..world.ask() };
        let (ticket, _) = world.submit(&ask);
        world.now += ms(10);
        world.ledger.first_token(world.now, ticket);
        world.now += ms(1_000);
        world.ledger.progress(world.now, ticket, TOKENS);
        world.ledger.finished(world.now, ticket, Measured { prompt_eval_duration: Some(ms(10)), ..honest(TOKENS) });
    }
    let long = Ask { prompt_bytes: 8_000, ..world.soft(1_000) };
    assert_eq!(world.submit(&long).1, overflow(causeway_policy::OverflowReason::CallerDeadline));
}

#[test]
fn cached_tokens_that_are_told_are_taken_off() {
    let mut world = World::learnt(1);
    for _ in 0..20 {
        let ask = Ask { prefix: 7, ..world.ask() };
        let (ticket, _) = world.submit(&ask);
        world.now += ms(50);
        world.ledger.first_token(world.now, ticket);
        world.now += ms(1_000);
        world.ledger.progress(world.now, ticket, TOKENS);
        let measured = Measured { cached: Some(90), prompt_eval_duration: Some(ms(50)), ..honest(TOKENS) };
        world.ledger.finished(world.now, ticket, measured);
    }
    // Fifty milliseconds for ten tokens: five a token, so 100 of them are half a second.
    world.admitted();
    let ask = world.ask();
    let (_, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    close(forecast.first_token - forecast.slot, ms(500), 50);
}

#[test]
fn streams_at_once_are_predicted_at_the_speed_of_streams_at_once() {
    let mut world = World::learnt(2);
    for _ in 0..10 {
        // Two together: each takes twice as long to a token.
        let both = [world.admitted(), world.admitted()];
        world.now += PREFILL;
        let spoke = both.map(|ticket| world.ledger.first_token(world.now, ticket));
        assert!(spoke.iter().all(Option::is_some));
        world.now += ms(2_000);
        for ticket in both {
            world.ledger.progress(world.now, ticket, TOKENS);
            world.ledger.finished(world.now, ticket, Measured { eval_duration: Some(ms(2_000)), ..honest(TOKENS) });
        }
    }
    let _both = [world.admitted(), world.admitted()];
    let ask = world.ask();
    let (_, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    close(forecast.slot, ms(2_100), 20);
}

#[test]
fn answers_of_no_token_one_token_and_a_hundred_thousand_are_learnt_from_without_harm() {
    let mut world = World::new(1);
    for tokens in [0, 1, 100_000, 0, 1, 100_000] {
        let ticket = world.admitted();
        world.now += PREFILL;
        if tokens > 0 {
            world.ledger.first_token(world.now, ticket);
        }
        world.now += ms(u64::from(tokens));
        world.ledger.progress(world.now, ticket, tokens);
        world.ledger.finished(
            world.now,
            ticket,
            Measured { eval_count: Some(u64::from(tokens)), ..Measured::default() },
        );
    }
    world.admitted();
    let ask = world.ask();
    let (_, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    assert!((ms(20_000)..ms(50_000)).contains(&forecast.slot), "{forecast:?}");
}
