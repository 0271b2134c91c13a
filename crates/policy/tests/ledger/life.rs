//! From grant to release: cancels, failures, clocks, a model that hangs, a learnt slot count.

use std::time::Duration;

use causeway_policy::{
    Ask, Event, Ledger, Limits, Loaded, OverflowReason, ParallelFault, RefusalCode, Ticket, Verdict,
};

use crate::gpu::Gpu;
use crate::world::{ANSWER, TOKENS, World, close, honest, ms, overflow, refusal, settings};

#[test]
fn a_stream_cancelled_while_decoding_holds_its_slot_for_a_tenth_of_a_second() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let ask = world.ask();
    let waiting = world.queued(&ask);
    world.pass(ms(100));
    world.ledger.first_token(world.now, running);
    world.ledger.cancelled(world.now, running);
    assert_eq!((world.status().in_flight, world.status().releasing), (0, 1));
    assert_eq!(world.pass(ms(99)), []);
    assert_eq!(world.pass(ms(1)), [Event::Granted(waiting)]);
}

#[test]
fn one_cancelled_in_its_prefill_holds_its_slot_to_the_estimated_end_of_it() {
    let mut world = World::learnt(1);
    let ask = Ask { prompt_bytes: 4_000, ..world.ask() };
    let (running, _) = world.submit(&ask);
    let ask = world.ask();
    let waiting = world.queued(&ask);
    world.pass(ms(400));
    world.ledger.cancelled(world.now, running);
    assert_eq!(world.pass(ms(590)), []);
    assert_eq!(world.pass(ms(20)), [Event::Granted(waiting)]);
}

#[test]
fn no_release_takes_more_than_thirty_seconds() {
    let mut world = World::learnt(1);
    let ask = Ask { prompt_bytes: u64::MAX, truncate: true, ..world.ask() };
    let (running, _) = world.submit(&ask);
    world.ledger.cancelled(world.now, running);
    world.pass(ms(29_999));
    assert_eq!(world.status().releasing, 1);
    world.pass(ms(1));
    assert_eq!(world.status().releasing, 0);
}

#[test]
fn a_second_cancel_does_not_lengthen_the_release_and_a_reported_stop_ends_it() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    world.pass(ms(100));
    world.ledger.first_token(world.now, running);
    world.ledger.cancelled(world.now, running);
    world.pass(ms(60));
    world.ledger.cancelled(world.now, running);
    world.pass(ms(40));
    assert_eq!(world.status().releasing, 0);
    let running = world.admitted();
    world.ledger.cancelled(world.now, running);
    world.ledger.released(world.now, running);
    assert_eq!(world.status().releasing, 0);
}

#[test]
fn a_failure_frees_the_slot_at_once_and_a_waiting_caller_that_leaves_leaves_no_trace() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let ask = world.ask();
    let (leaving, staying) = (world.queued(&ask), world.queued(&ask));
    world.ledger.cancelled(world.now, leaving);
    assert_eq!(world.status().queued, 1);
    world.ledger.failed(world.now, running);
    assert_eq!(world.events(), [Event::Granted(staying)]);
}

#[test]
fn reports_about_a_ticket_that_is_done_change_nothing() {
    let mut world = World::learnt(1);
    let ticket = world.admitted();
    world.answer(ticket);
    let before = world.status();
    assert_eq!(world.ledger.first_token(world.now, ticket), None);
    world.ledger.progress(world.now, ticket, 9);
    world.ledger.finished(world.now, ticket, honest(TOKENS));
    world.ledger.cancelled(world.now, ticket);
    world.ledger.failed(world.now, ticket);
    assert_eq!(world.status(), before);
    assert_eq!(world.events(), []);
}

#[test]
fn what_was_cut_off_teaches_nothing_even_where_ollama_reports_its_end() {
    let mut world = World::learnt(1);
    for _ in 0..200 {
        let ticket = world.admitted();
        world.now += ms(100);
        world.ledger.first_token(world.now, ticket);
        world.ledger.cancelled(world.now, ticket);
        world.ledger.finished(world.now, ticket, honest(TOKENS));
        assert_eq!((world.status().in_flight, world.status().releasing), (0, 0));
    }
    assert_eq!(world.status().answer, ANSWER);
    world.admitted();
    let ask = world.ask();
    let (_, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    close(forecast.slot, ANSWER, 10);
}

#[test]
fn a_clock_that_steps_back_stands_and_one_that_leaps_ahead_resolves_all_that_is_due() {
    let mut world = World::learnt(1);
    world.admitted();
    let ask = world.hard(5_000);
    let ticket = world.queued(&ask);
    world.ledger.handle_timeout(world.now - Duration::from_secs(10));
    assert!(world.ledger.poll_timeout().unwrap() > world.now);
    world.ledger.handle_timeout(world.now + Duration::from_secs(1_000_000));
    let events = world.events();
    assert!(matches!(events[..], [Event::Refused(which, _)] if which == ticket), "{events:?}");
}

#[test]
fn four_slots_where_ollama_serves_one_are_unlearnt_within_six_overlaps_and_named() {
    let mut world = World::new(4);
    let mut gpu = Gpu::new(1);
    let mut answers = 0;
    while world.status().slots > 1 {
        gpu.fill(&mut world, 6);
        answers += gpu.step(&mut world).len();
        // The first answer overlaps with none before it.
        assert!(answers <= 7, "{answers} answers, {} slots", world.status().slots);
    }
    let fault = world.status().fault.unwrap();
    assert_eq!((fault.configured, fault.learnt, ParallelFault::KEY), (4, 1, "ollama.parallel"));
}

#[test]
fn four_slots_that_ollama_really_has_stay_four() {
    let mut world = World::new(4);
    let mut gpu = Gpu::new(4);
    for _ in 0..400 {
        gpu.fill(&mut world, 8);
        gpu.step(&mut world);
    }
    assert_eq!((world.status().slots, world.status().fault), (4, None));
}

#[test]
fn waiting_behind_strangers_adds_to_the_prediction_and_takes_no_slot() {
    let mut world = World::learnt(2);
    for _ in 0..8 {
        let ticket = world.admitted();
        world.now += ms(2_000);
        world.answer(ticket);
    }
    assert_eq!((world.status().slots, world.status().fault), (2, None));
    let _both = [world.admitted(), world.admitted()];
    let ask = world.ask();
    let (_, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    let foreign = forecast.first_token - forecast.slot - ms(100);
    assert!(foreign > ms(1_000) && foreign < ms(2_000), "{foreign:?}");
}

#[test]
fn a_prompt_that_runs_twice_waits_twice_and_is_no_strike() {
    let mut world = World::learnt(2);
    for _ in 0..10 {
        let ask = Ask { runs_twice: true, ..world.ask() };
        let (earlier, later) = (world.submit(&ask).0, world.submit(&ask).0);
        world.answer(earlier);
        world.answer(later);
    }
    assert_eq!((world.status().slots, world.status().fault), (2, None));
}

#[test]
fn a_silent_stream_leads_to_a_probe_and_a_probe_that_hangs_to_an_unload() {
    let mut world = World::learnt(1);
    let stuck = world.admitted();
    assert_eq!(world.pass(Duration::from_secs(60)), []);
    world.ledger.cancelled(world.now, stuck);
    let id = world.model;
    assert_eq!(world.pass(ms(100)), [Event::Probe(id)]);
    let ask = world.ask();
    let waiting = world.queued(&ask);
    let events = world.pass(Duration::from_secs(20));
    assert!(matches!(events[..], [Event::Unload(_), Event::Refused(which, _)] if which == waiting), "{events:?}");
    assert!(world.status().wedged);
    assert_eq!(refusal(world.submit(&ask).1).code, RefusalCode::LocalUnavailable);
    let movable = Ask { overflow: true, ..ask.clone() };
    assert_eq!(world.submit(&movable).1, overflow(OverflowReason::LocalDown));
    world.ledger.unloaded(world.now, id);
    let waiting = world.queued(&ask);
    assert_eq!(world.events(), [Event::Preload(id)]);
    world.ledger.loaded(world.now, id, Loaded::Ready(None));
    assert_eq!(world.events(), [Event::Granted(waiting)]);
}

/// Two slots that have been silent for a minute, of which one was given back, and who waits for it.
fn silent() -> (World, Ticket, Ticket) {
    let mut world = World::learnt(2);
    let (first, second) = (world.admitted(), world.admitted());
    let ask = world.ask();
    let waiting = world.queued(&ask);
    world.pass(Duration::from_secs(60));
    world.ledger.failed(world.now, first);
    assert!(world.status().suspect);
    assert_eq!(world.events(), [], "what has hung for a minute gets nothing new");
    (world, second, waiting)
}

#[test]
fn a_hanging_model_is_probed_although_others_wait_for_its_slot() {
    let (mut world, second, waiting) = silent();
    world.ledger.failed(world.now, second);
    assert_eq!(world.events(), [Event::Probe(world.model)]);
    world.ledger.probed(world.now, world.model);
    assert_eq!(world.events(), [Event::Granted(waiting)]);
}

#[test]
fn a_suspect_model_that_says_something_goes_on() {
    let (mut world, second, waiting) = silent();
    world.ledger.first_token(world.now, second);
    assert!(!world.status().suspect);
    assert_eq!(world.events(), [Event::Granted(waiting)]);
}

#[test]
fn callers_who_never_wait_for_long_find_a_hanging_model_out_together() {
    let mut world = World::learnt(1);
    for _ in 0..20 {
        let stuck = world.admitted();
        world.pass(Duration::from_secs(4));
        world.ledger.failed(world.now, stuck);
        if world.events().contains(&Event::Probe(world.model)) {
            return;
        }
    }
    panic!("eighty seconds of silence were not noticed");
}

#[test]
fn a_probe_that_is_answered_lets_the_waiting_on() {
    let mut world = World::learnt(1);
    let stuck = world.admitted();
    world.pass(Duration::from_secs(60));
    world.ledger.failed(world.now, stuck);
    assert_eq!(world.events(), [Event::Probe(world.model)]);
    let ask = world.ask();
    let waiting = world.queued(&ask);
    world.ledger.probed(world.now, world.model);
    assert_eq!(world.events(), [Event::Granted(waiting)]);
}

#[test]
fn an_ollama_that_is_down_resolves_all_that_wait() {
    let mut world = World::learnt(1);
    world.admitted();
    let (stays, moves) = (world.ask(), world.soft(60_000));
    let (stays, moves) = (world.queued(&stays), world.queued(&moves));
    world.ledger.down(world.now, ms(2_000));
    let events = world.events();
    assert!(events.contains(&Event::Overflow(moves, OverflowReason::LocalDown)), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Refused(which, _) if *which == stays)));
}

#[test]
fn the_number_of_models_is_bounded_and_a_place_that_nobody_uses_is_given_on() {
    let mut world = World::new(1);
    world.ledger = Ledger::new(Limits::default());
    let first = world.ledger.model(world.now, "0", settings(1)).unwrap();
    for name in 1..300 {
        assert!(world.ledger.model(world.now, &name.to_string(), settings(1)).is_some());
    }
    assert!(world.ledger.snapshot(world.now).len() <= 128);
    let ask = Ask { model: first, ..world.ask() };
    assert_eq!(refusal(world.submit(&ask).1).code, RefusalCode::ModelNotFound);
}
