//! Models that are not in memory: who loads when, and who has to leave.

use std::time::Duration;

use causeway_policy::{Ask, Event, Loaded, ModelId, OverflowReason, Resident, Verdict};

use crate::world::{World, ms, overflow, settings};

/// The standard world with a second model that is not resident.
fn with_cold() -> (World, ModelId) {
    let mut world = World::learnt(1);
    let cold = world.ledger.model(world.now, "cold", settings(1)).unwrap();
    (world, cold)
}

fn row(model: ModelId) -> Resident {
    Resident { model, context: None }
}

/// Two models of which enough is known and that were wanted 20 times each; only the world's own is
/// in memory. They were never seen there together.
fn two_learnt() -> (World, ModelId) {
    let mut world = World::learnt(1);
    let first = world.model;
    let other = world.ledger.model(world.now, "other", settings(1)).unwrap();
    world.ledger.resident(world.now, &[row(other)]);
    world.model = other;
    for _ in 0..20 {
        let ticket = world.admitted();
        world.answer(ticket);
    }
    world.model = first;
    world.ledger.resident(world.now, &[row(first)]);
    (world, other)
}

/// The same with the world's own model being loaded for a request that waits.
fn one_loading() -> (World, ModelId) {
    let (mut world, other) = two_learnt();
    world.ledger.resident(world.now, &[]);
    let ask = world.ask();
    world.queued(&ask);
    assert_eq!(world.events(), [Event::Preload(world.model)]);
    (world, other)
}

/// Can overflow and has no deadline: only its queue timeout would end its waiting.
fn patient(world: &mut World, model: ModelId) -> Ask {
    Ask { model, overflow: true, ..world.ask() }
}

fn idle_for(world: &mut World, seconds: u64) {
    world.pass(Duration::from_secs(seconds));
}

#[test]
fn a_cold_model_is_loaded_by_a_preload_and_its_request_waits_for_the_end_of_it() {
    let (mut world, cold) = with_cold();
    idle_for(&mut world, 121);
    let ask = Ask { model: cold, ..world.ask() };
    let waiting = world.queued(&ask);
    assert_eq!(world.events(), [Event::Preload(cold)]);
    assert_eq!(world.pass(Duration::from_secs(20)), []);
    world.ledger.loaded(world.now, cold, Loaded::Ready(Some(ms(9_000))));
    assert_eq!(world.events(), [Event::Granted(waiting)]);
}

#[test]
fn a_listing_of_a_model_that_still_loads_is_not_the_end_of_its_load() {
    let (mut world, cold) = with_cold();
    idle_for(&mut world, 121);
    let ask = Ask { model: cold, ..world.ask() };
    world.queued(&ask);
    world.events();
    world.ledger.resident(world.now, &[row(cold)]);
    assert_eq!(world.events(), []);
}

#[test]
fn a_request_that_finds_a_preload_long_failed_is_resolved_once() {
    let (mut world, cold) = with_cold();
    idle_for(&mut world, 121);
    let ask = Ask { model: cold, ..world.ask() };
    world.queued(&ask);
    world.events();
    // No report, and nobody looked at the timer.
    world.now += Duration::from_secs(601);
    let ask = Ask { model: cold, overflow: true, ..world.ask() };
    let (late, verdict) = world.submit(&ask);
    let named =
        |event: &Event| matches!(event, Event::Overflow(ticket, _) | Event::Refused(ticket, _) if *ticket == late);
    let told = world.events().iter().filter(|event| named(event)).count();
    assert_eq!(told + usize::from(!matches!(verdict, Verdict::Queue(_))), 1, "{verdict:?}");
}

#[test]
fn a_newcomer_that_goes_elsewhere_leaves_no_victim_behind() {
    let mut world = World::learnt(2);
    let cold = world.ledger.model(world.now, "cold", settings(1)).unwrap();
    world.admitted();
    // Enough demand that the model in use may be pushed out, none of which can wait.
    for _ in 0..30 {
        let ask = Ask { model: cold, ..world.soft(60_000) };
        let _ = world.submit(&ask);
    }
    let ask = world.ask();
    let (_, verdict) = world.submit(&ask);
    assert_eq!(verdict, Verdict::Admit, "the second slot is free");
}

#[test]
fn nothing_is_granted_to_the_victim_and_its_streams_end_before_the_load() {
    let (mut world, cold) = with_cold();
    let running = world.admitted();
    let ask = Ask { model: cold, ..world.ask() };
    let waits = world.queued(&ask);
    assert_eq!(world.events(), []);
    let ask = world.ask();
    let behind = world.queued(&ask);
    world.answer(running);
    assert_eq!(world.events(), [Event::Preload(cold)]);
    world.ledger.loaded(world.now, cold, Loaded::Ready(None));
    assert_eq!(world.events(), [Event::Granted(waits)]);
    // The victim is gone; its own request brings it back once the other had its turn.
    world.answer(waits);
    world.ledger.resident(world.now, &[row(cold)]);
    let model = world.model;
    let mut events = world.events();
    events.extend(world.pass(Duration::from_secs(60)));
    assert_eq!(events, [Event::Preload(model)]);
    world.ledger.loaded(world.now, model, Loaded::Ready(None));
    assert_eq!(world.events(), [Event::Granted(behind)]);
}

#[test]
fn models_seen_in_memory_together_do_not_push_each_other_out() {
    let (mut world, cold) = with_cold();
    let model = world.model;
    world.ledger.resident(world.now, &[row(model), row(cold)]);
    world.ledger.resident(world.now, &[row(model)]);
    world.admitted();
    let ask = Ask { model: cold, ..world.ask() };
    world.queued(&ask);
    assert_eq!(world.events(), [Event::Preload(cold)]);
}

#[test]
fn a_model_in_use_is_not_pushed_out_for_a_request_that_can_overflow() {
    let (mut world, cold) = with_cold();
    let ask = Ask { model: cold, ..world.soft(60_000) };
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::ColdModel));
    assert_eq!(world.events(), []);
    assert!(world.status().resident);
}

#[test]
fn unless_the_cold_model_was_wanted_more_often_in_the_last_five_minutes() {
    let (mut world, cold) = with_cold();
    let ask = Ask { model: cold, ..world.soft(60_000) };
    let mut preload = Vec::new();
    for _ in 0..21 {
        let _ = world.submit(&ask);
        preload.append(&mut world.events());
    }
    assert_eq!(preload, [Event::Preload(cold)]);
}

#[test]
fn only_one_load_runs_at_a_time_and_the_next_follows_it() {
    let (mut world, cold) = with_cold();
    let third = world.ledger.model(world.now, "third", settings(1)).unwrap();
    idle_for(&mut world, 121);
    world.ledger.resident(world.now, &[]);
    let (first, second) = (Ask { model: cold, ..world.ask() }, Ask { model: third, ..world.ask() });
    let first = world.queued(&first);
    world.queued(&second);
    assert_eq!(world.events(), [Event::Preload(cold)]);
    world.ledger.loaded(world.now, cold, Loaded::Ready(None));
    assert_eq!(world.events(), [Event::Granted(first)]);
    world.answer(first);
    let mut events = world.events();
    events.extend(world.pass(Duration::from_secs(60)));
    assert_eq!(events, [Event::Preload(third)]);
}

#[test]
fn a_load_that_fails_resolves_who_waited_for_it_and_is_not_tried_again_at_once() {
    let (mut world, cold) = with_cold();
    idle_for(&mut world, 121);
    let ask = Ask { model: cold, ..world.ask() };
    let waiting = world.queued(&ask);
    world.events();
    world.ledger.loaded(world.now, cold, Loaded::Failed);
    let events = world.events();
    assert!(matches!(events[..], [Event::Refused(which, _)] if which == waiting), "{events:?}");
    let again = world.queued(&ask);
    assert_eq!(world.events(), []);
    assert_eq!(world.pass(Duration::from_secs(5)), [Event::Preload(cold)]);
    world.ledger.loaded(world.now, cold, Loaded::Ready(None));
    assert_eq!(world.events(), [Event::Granted(again)]);
}

#[test]
fn a_load_without_any_report_is_given_up_in_the_end() {
    let (mut world, cold) = with_cold();
    idle_for(&mut world, 121);
    let ask = Ask { model: cold, queue_timeout: Duration::from_secs(3_000), ..world.ask() };
    let waiting = world.queued(&ask);
    world.events();
    let events = world.pass(Duration::from_secs(600));
    assert!(matches!(events[..], [Event::Refused(which, _)] if which == waiting), "{events:?}");
}

#[test]
fn a_load_that_nobody_waits_for_any_more_is_not_begun_and_the_victim_goes_on() {
    let (mut world, cold) = with_cold();
    let running = world.admitted();
    let ask = Ask { model: cold, ..world.ask() };
    let leaves = world.queued(&ask);
    let ask = world.ask();
    let behind = world.queued(&ask);
    world.ledger.cancelled(world.now, leaves);
    world.answer(running);
    assert_eq!(world.events(), [Event::Granted(behind)]);
}

#[test]
fn a_request_whose_model_left_memory_is_not_moved_while_it_loads() {
    let mut world = World::learnt(1);
    let ask = world.soft(500);
    let (ticket, verdict) = world.submit(&ask);
    assert_eq!(verdict, Verdict::Admit);
    world.ledger.resident(world.now, &[]);
    assert_eq!(world.pass(ms(5_000)), []);
    let model = world.model;
    world.ledger.resident(world.now, &[row(model)]);
    assert_eq!(world.events(), [Event::Late(ticket, causeway_policy::Late::Overflow)]);
}

#[test]
fn a_hard_deadline_passes_also_while_the_model_loads_but_the_load_is_let_be() {
    let mut world = World::learnt(1);
    let ask = world.hard(500);
    let (ticket, _) = world.submit(&ask);
    world.ledger.resident(world.now, &[]);
    assert_eq!(world.pass(ms(500)), [Event::Late(ticket, causeway_policy::Late::ExpiredWhileLoading)]);
}

#[test]
fn nobody_who_can_overflow_waits_behind_a_load_whose_model_would_then_be_in_use() {
    let (mut world, other) = one_loading();
    let ask = patient(&mut world, other);
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::ColdModel));
}

#[test]
fn who_waits_behind_another_load_is_judged_again_when_that_model_is_wanted_more() {
    let (mut world, other) = one_loading();
    let ask = patient(&mut world, other);
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::ColdModel));
    // Now the cold model is the one that is wanted more: its turn will come.
    let waits = world.queued(&ask);
    assert_eq!(world.events(), []);
    let ask = world.ask();
    let mut events = Vec::new();
    for _ in 0..3 {
        world.queued(&ask);
        events.append(&mut world.events());
    }
    assert_eq!(events, [Event::Overflow(waits, OverflowReason::ColdModel)]);
}

#[test]
fn who_waits_beside_a_request_that_forces_a_load_goes_elsewhere_when_that_request_leaves() {
    let (mut world, other) = one_loading();
    let ask = world.ask();
    let _wanted = [world.queued(&ask), world.queued(&ask)];
    let (forcing, movable) = (Ask { model: other, ..world.ask() }, patient(&mut world, other));
    let (forcing, movable) = (world.queued(&forcing), world.queued(&movable));
    assert_eq!(world.events(), []);
    world.ledger.cancelled(world.now, forcing);
    assert_eq!(world.events(), [Event::Overflow(movable, OverflowReason::ColdModel)]);
}

#[test]
fn a_model_that_may_not_be_loaded_yet_is_predicted_with_the_time_until_it_may() {
    let (mut world, other) = one_loading();
    world.ledger.loaded(world.now, world.model, Loaded::Ready(Some(ms(4_000))));
    let ask = Ask { model: other, ..world.ask() };
    let (_, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    // The turn of the other model, and the load.
    assert!(forecast.slot >= Duration::from_secs(34), "{forecast:?}");
    let ask = Ask { model: other, ..world.soft(20_000) };
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::PredictedWait));
}

#[test]
fn after_a_failed_load_who_can_overflow_does_not_wait_for_the_next() {
    let (mut world, other) = two_learnt();
    idle_for(&mut world, 121);
    let ask = Ask { model: other, ..world.ask() };
    world.queued(&ask);
    assert_eq!(world.events(), [Event::Preload(other)]);
    world.ledger.loaded(world.now, other, Loaded::Failed);
    world.events();
    let ask = patient(&mut world, other);
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::ColdModel));
}

#[test]
fn a_model_that_turns_up_before_the_load_begins_has_to_leave_as_well() {
    let (mut world, cold) = with_cold();
    let third = world.ledger.model(world.now, "third", settings(1)).unwrap();
    let running = world.admitted();
    let ask = Ask { model: cold, ..world.ask() };
    let waits = world.queued(&ask);
    assert_eq!(world.events(), []);
    // A stranger loads a third one while the stream ends. Nothing of ours may run on it either.
    let model = world.model;
    world.ledger.resident(world.now, &[row(model), row(third)]);
    let ask = Ask { model: third, ..world.ask() };
    world.queued(&ask);
    world.answer(running);
    assert_eq!(world.events(), [Event::Preload(cold)]);
    world.ledger.loaded(world.now, cold, Loaded::Ready(None));
    assert_eq!(world.events(), [Event::Granted(waits)]);
}

#[test]
fn nothing_is_loaded_beside_a_request_whose_model_the_list_has_missed() {
    let (mut world, cold) = with_cold();
    let running = world.admitted();
    // Listed before Ollama had loaded it for that very request.
    world.ledger.resident(world.now, &[]);
    let ask = Ask { model: cold, ..world.ask() };
    world.queued(&ask);
    assert_eq!(world.events(), []);
    world.answer(running);
    assert_eq!(world.events(), [Event::Preload(cold)]);
}

#[test]
fn a_victim_is_let_be_when_the_request_that_forced_the_load_has_left() {
    let (mut world, other) = two_learnt();
    world.ledger.model(world.now, "m", settings(2));
    let _running = world.admitted();
    let (forcing, movable) = (Ask { model: other, ..world.ask() }, patient(&mut world, other));
    let (forcing, movable) = (world.queued(&forcing), world.queued(&movable));
    let ask = world.ask();
    let behind = [world.queued(&ask), world.queued(&ask), world.queued(&ask)];
    assert_eq!(world.events(), []);
    world.ledger.cancelled(world.now, forcing);
    let events = world.events();
    assert!(events.contains(&Event::Overflow(movable, OverflowReason::ColdModel)), "{events:?}");
    assert!(events.contains(&Event::Granted(behind[0])), "{events:?}");
}

#[test]
fn nothing_is_sent_to_a_model_that_turns_up_while_another_loads() {
    let (mut world, cold) = with_cold();
    let third = world.ledger.model(world.now, "third", settings(1)).unwrap();
    idle_for(&mut world, 121);
    let ask = Ask { model: cold, ..world.ask() };
    let waits = world.queued(&ask);
    assert_eq!(world.events(), [Event::Preload(cold)]);
    world.ledger.resident(world.now, &[row(third), row(cold)]);
    let ask = Ask { model: third, ..world.ask() };
    world.queued(&ask);
    world.ledger.loaded(world.now, cold, Loaded::Ready(None));
    assert_eq!(world.events(), [Event::Granted(waits)]);
}

#[test]
fn a_victim_serves_on_at_once_when_all_who_waited_for_the_load_have_gone_elsewhere() {
    let (mut world, other) = two_learnt();
    world.ledger.model(world.now, "m", settings(2));
    // Wanted more than the model in memory, by requests that can overflow until a certain time.
    let _running = world.admitted();
    let mut waits = Vec::new();
    while waits.is_empty() {
        let ask = Ask { model: other, ..world.soft(20_000) };
        let (ticket, verdict) = world.submit(&ask);
        waits.extend(matches!(verdict, Verdict::Queue(_)).then_some(ticket));
    }
    let ask = world.ask();
    let behind = world.queued(&ask);
    assert_eq!(world.events(), []);
    let events = world.pass(ms(19_150));
    let moved = Event::Overflow(waits[0], OverflowReason::PredictedWait);
    assert_eq!(events, [moved, Event::Granted(behind)]);
}
