//! Admit, queue, overflow, refuse: which request gets which, and when it is decided again.

use std::time::Duration;

use causeway_policy::{
    Ask, Deadline, Event, Forecast, Late, Ledger, Limits, Loaded, Measured, OverflowReason, Refusal, RefusalCode,
    Verdict,
};

use crate::world::{
    ANSWER, PER_TOKEN, PREFILL, TOKENS, World, close, ms, overflow, refusal, saturated, settings, start,
};

#[test]
fn a_free_slot_admits_and_the_next_request_is_told_its_place_and_time() {
    let mut world = World::learnt(1);
    world.admitted();
    let ask = world.ask();
    let (first, verdict) = world.submit(&ask);
    let Verdict::Queue(forecast) = verdict else { panic!("{verdict:?}") };
    assert_eq!(forecast.place, 0);
    close(forecast.slot, ANSWER, 10);
    close(forecast.first_token, ANSWER + PREFILL, 10);
    assert!(forecast.p90 >= forecast.first_token);
    let second = world.queued(&ask);
    let told = world.ledger.forecast(world.now, second).unwrap();
    assert_eq!(told.place, 1);
    close(told.slot, ANSWER * 2, 20);
    assert!(world.ledger.forecast(world.now, first).unwrap().slot < told.slot);
}

#[test]
fn with_under_three_answers_a_taken_slot_means_overflow_where_it_is_allowed_and_else_the_queue() {
    let mut world = World::new(1);
    world.admitted();
    let ask = world.soft(4_000);
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::NotLearnt));
    let ask = world.hard(1_000);
    world.queued(&ask);
}

#[test]
fn a_soft_deadline_that_waiting_would_miss_overflows_and_one_that_it_meets_queues() {
    let mut world = World::learnt(1);
    world.admitted();
    let ask = world.soft(1_000);
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::PredictedWait));
    let ask = world.soft(1_500);
    world.queued(&ask);
}

#[test]
fn a_soft_deadline_never_moves_or_refuses_what_cannot_overflow() {
    let mut world = World::learnt(1);
    world.admitted();
    let ask = Ask { overflow: false, ..world.soft(1) };
    let ticket = world.queued(&ask);
    assert_eq!(world.pass(Duration::from_secs(100)), []);
    assert!(world.ledger.forecast(world.now, ticket).is_some());
}

#[test]
fn a_deadline_that_an_idle_machine_would_miss_is_counted_as_the_callers() {
    let mut world = World::learnt(1);
    let long = Ask { prompt_bytes: 8_000, ..world.soft(500) };
    assert_eq!(world.submit(&long).1, overflow(OverflowReason::CallerDeadline));
    world.admitted();
    assert_eq!(world.submit(&long).1, overflow(OverflowReason::CallerDeadline));
}

#[test]
fn nobody_goes_to_bedrock_where_the_idle_machine_is_predicted_earlier() {
    let mut world = World::learnt(1);
    let ask = world.soft(10);
    assert_eq!(world.submit(&ask).1, Verdict::Admit);
}

#[test]
fn a_hard_deadline_is_refused_up_front_with_the_time_of_the_next_free_slot() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let ask = world.hard(1_000);
    close(saturated(world.submit(&ask).1), ANSWER, 10);
    world.pass(ms(100));
    world.ledger.first_token(world.now, running);
    world.pass(ms(400));
    world.ledger.progress(world.now, running, 20);
    let ask = world.hard(1_000);
    world.queued(&ask);
}

#[test]
fn a_request_that_waits_past_its_hard_deadline_gets_504_at_that_moment() {
    let mut world = World::new(1);
    world.admitted();
    let ask = world.hard(700);
    let ticket = world.queued(&ask);
    assert_eq!(world.pass(ms(699)), []);
    let [Event::Refused(which, Refusal { code: RefusalCode::DeadlineExceeded, .. })] = world.pass(ms(1))[..] else {
        panic!("not refused")
    };
    assert_eq!(which, ticket);
}

#[test]
fn nobody_is_refused_for_prefill_alone() {
    let mut world = World::learnt(1);
    let ask = Ask { prompt_bytes: 40_000, truncate: true, ..world.hard(10) };
    assert_eq!(world.submit(&ask).1, Verdict::Admit);
}

#[test]
fn a_queued_request_moves_at_the_last_time_at_which_bedrock_would_still_be_in_time() {
    let mut world = World::learnt(1);
    world.admitted();
    let ask = world.soft(3_000);
    let ticket = world.queued(&ask);
    // The running answer gives no token: each look predicts the same rest, later each time.
    assert_eq!(world.pass(ms(2_149)), []);
    assert_eq!(world.pass(ms(1)), [Event::Overflow(ticket, OverflowReason::PredictedWait)]);
}

#[test]
fn a_report_that_comes_before_the_timer_does_not_lose_that_last_time() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let ask = world.soft(3_000);
    let ticket = world.queued(&ask);
    world.now += ms(2_151);
    world.ledger.progress(world.now, running, 1);
    assert!(world.ledger.poll_timeout().is_some_and(|due| due <= world.now), "it is due at once");
    assert_eq!(world.pass(ms(0)), [Event::Overflow(ticket, OverflowReason::PredictedWait)]);
}

/// Answers of which half are short and half long: 0.1 s and 3.9 s, in turn.
fn uneven() -> World {
    let mut world = World::new(1);
    for number in 0..20 {
        let ticket = world.admitted();
        world.now += PREFILL;
        world.ledger.first_token(world.now, ticket);
        world.finish_with(ticket, if number % 2 == 0 { 5 } else { 195 });
    }
    world
}

#[test]
fn while_leaving_later_costs_no_deadline_some_hope_of_a_slot_is_enough_to_stay() {
    let mut world = uneven();
    let running = world.admitted();
    let ask = world.soft(1_500);
    let ticket = world.queued(&ask);
    let expected = world.ledger.forecast(world.now, ticket).unwrap().first_token;
    assert!(expected > ms(1_500), "{expected:?}: on average it is late");
    world.pass(PREFILL);
    world.ledger.first_token(world.now, running);
    world.finish_with(running, 5);
    assert_eq!(world.events(), [Event::Granted(ticket)]);
}

#[test]
fn hope_ends_at_the_last_moment_to_leave_and_where_too_many_are_ahead() {
    let mut world = uneven();
    world.admitted();
    let ask = world.soft(1_500);
    let ticket = world.queued(&ask);
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::PredictedWait), "behind two there is no hope");
    // Bedrock's 800 ms and 50 ms before the deadline.
    assert_eq!(world.pass(ms(649)), []);
    assert_eq!(world.pass(ms(1)), [Event::Overflow(ticket, OverflowReason::PredictedWait)]);
}

#[test]
fn behind_an_answer_longer_than_every_known_one_a_guess_is_no_hope() {
    for (tokens, stays) in [(200, true), (400, false)] {
        let mut world = uneven();
        let running = world.admitted();
        world.pass(PREFILL);
        world.ledger.first_token(world.now, running);
        world.pass(PER_TOKEN * tokens);
        world.ledger.progress(world.now, running, tokens);
        // A quarter of it is guessed to be still to come: 1 s, or 2 s.
        let ask = world.soft(1_500);
        let verdict = world.submit(&ask).1;
        assert_eq!(matches!(verdict, Verdict::Queue(_)), stays, "{tokens} tokens: {verdict:?}");
        assert!(stays || verdict == overflow(OverflowReason::PredictedWait), "{verdict:?}");
    }
}

#[test]
fn a_request_that_is_predicted_in_time_stays_until_its_deadline_and_then_moves() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let ask = world.soft(1_300);
    let ticket = world.queued(&ask);
    for (time, tokens) in [(100, 1), (340, 17), (640, 49)] {
        assert_eq!(world.pass(ms(time)), []);
        world.ledger.first_token(world.now, running);
        world.ledger.progress(world.now, running, tokens);
    }
    assert_eq!(world.pass(ms(219)), []);
    assert_eq!(world.pass(ms(1)), [Event::Overflow(ticket, OverflowReason::Deadline)]);
}

#[test]
fn at_decide_by_a_prediction_past_the_deadline_moves_the_request() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let ask = world.soft(1_400);
    let ticket = world.queued(&ask);
    world.pass(ms(500));
    // The first token comes 400 ms late: what is left now ends past the deadline.
    world.ledger.first_token(world.now, running);
    assert_eq!(world.events(), [Event::Overflow(ticket, OverflowReason::PredictedWait)]);
}

#[test]
fn a_full_queue_refuses_with_the_whole_drain_and_overflows_what_can() {
    let (mut ledger, now) = (Ledger::new(Limits { queue: 2 }), start());
    let model = ledger.model(now, "m", settings(1)).unwrap();
    let mut world = World::learnt(1);
    (world.ledger, world.model) = (ledger, model);
    let resident = [causeway_policy::Resident { model, context: None }];
    world.ledger.resident(world.now, &resident);
    for _ in 0..3 {
        let ticket = world.admitted();
        world.answer(ticket);
    }
    world.admitted();
    let ask = world.ask();
    world.queued(&ask);
    world.queued(&ask);
    close(saturated(world.submit(&ask).1), ANSWER * 3, 30);
    let ask = world.soft(60_000);
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::QueueFull));
}

#[test]
fn who_will_have_a_slot_once_the_model_is_loaded_takes_no_place_from_those_who_wait_behind() {
    let mut world = World::new(1);
    world.ledger = Ledger::new(Limits { queue: 3 });
    world.model = world.ledger.model(world.now, "m", settings(200)).unwrap();
    let ask = world.ask();
    for _ in 0..203 {
        world.queued(&ask);
    }
    assert_eq!(refusal(world.submit(&ask).1).code, RefusalCode::Saturated);
    assert_eq!(world.events(), [Event::Preload(world.model)]);
    world.ledger.loaded(world.now, world.model, Loaded::Ready(None));
    assert_eq!(world.events().len(), 200, "each slot is granted");
}

#[test]
fn the_queue_timeout_refuses_and_while_nothing_is_known_a_retry_is_a_second_away() {
    let mut world = World::new(1);
    world.admitted();
    let ask = Ask { queue_timeout: ms(2_000), ..world.ask() };
    let ticket = world.queued(&ask);
    let refusal = Refusal { code: RefusalCode::Saturated, retry_after: ms(1_000) };
    assert_eq!(world.pass(ms(2_000)), [Event::Refused(ticket, refusal)]);
}

#[test]
fn a_wait_that_is_predicted_to_outlast_the_queue_timeout_is_refused_at_once() {
    let mut world = World::learnt(1);
    world.admitted();
    let ask = Ask { queue_timeout: ms(500), ..world.ask() };
    close(saturated(world.submit(&ask).1), ANSWER, 10);
}

#[test]
fn an_admitted_request_that_is_silent_at_its_deadline_is_named_once() {
    let mut world = World::learnt(3);
    let (soft, hard) = (world.soft(500), world.hard(500));
    let (moves, _) = world.submit(&soft);
    let (expires, _) = world.submit(&hard);
    let unmoved = Ask { overflow: false, ..soft };
    assert_eq!(world.submit(&unmoved).1, Verdict::Admit);
    let late = [Event::Late(moves, Late::Overflow), Event::Late(expires, Late::Expired)];
    assert_eq!(world.pass(ms(500)), late);
    assert_eq!(world.pass(ms(5_000)), []);
    assert_eq!(world.status().in_flight, 3);
}

#[test]
fn an_admitted_request_that_spoke_in_time_is_never_late() {
    let mut world = World::learnt(1);
    let ask = world.hard(500);
    let (ticket, _) = world.submit(&ask);
    world.pass(ms(400));
    world.ledger.first_token(world.now, ticket);
    assert_eq!(world.pass(ms(5_000)), []);
}

#[test]
fn bedrocks_own_first_tokens_decide_whether_it_would_be_earlier() {
    let mut world = World::learnt(1);
    (0..20).for_each(|_| world.ledger.overflowed(world.model, ms(9_000)));
    world.admitted();
    let ask = world.soft(1_000);
    world.queued(&ask);
}

#[test]
fn deadlines_of_zero_and_of_a_trillion_milliseconds_are_decided_like_any_other() {
    let mut world = World::learnt(1);
    let ask = world.hard(0);
    let (ticket, verdict) = world.submit(&ask);
    assert_eq!(verdict, Verdict::Admit);
    assert_eq!(world.pass(ms(0)), [Event::Late(ticket, Late::Expired)]);
    let ask = world.soft(0);
    assert_eq!(world.submit(&ask).1, overflow(OverflowReason::CallerDeadline));
    let ask = world.hard(1_000_000_000_000);
    world.queued(&ask);
    let endless = Deadline { after: Duration::MAX, hard: true };
    let ask = Ask { deadline: Some(endless), queue_timeout: Duration::MAX, overflow: true, ..world.ask() };
    let ticket = world.queued(&ask);
    let events = world.pass(Duration::from_secs(3_600));
    assert!(events.contains(&Event::Overflow(ticket, OverflowReason::QueueTimeout)), "{events:?}");
}

#[test]
fn what_does_not_fit_the_context_goes_where_it_fits_or_is_told_both_numbers() {
    let mut world = World::learnt(1);
    let ask = Ask { prompt_bytes: 16_000, max_tokens: Some(1_000), ..world.ask() };
    let told = refusal(world.submit(&ask).1);
    let RefusalCode::ContextExceeded { needs, has: 4_096 } = told.code else { panic!("{told:?}") };
    assert!((4_990..=5_010).contains(&needs), "{needs}");
    assert_eq!(told.retry_after, Duration::ZERO);
    let movable = Ask { overflow: true, ..ask.clone() };
    assert_eq!(world.submit(&movable).1, overflow(OverflowReason::Context));
    let cut = Ask { truncate: true, ..ask };
    assert_eq!(world.submit(&cut).1, Verdict::Admit);
}

#[test]
fn short_chats_make_no_longer_prompt_look_too_long() {
    let mut world = World::learnt(1);
    for _ in 0..20 {
        let ask = Ask { prompt_bytes: 20, ..world.ask() };
        let (ticket, verdict) = world.submit(&ask);
        assert_eq!(verdict, Verdict::Admit);
        world.ledger.first_token(world.now, ticket);
        // The template and a system text count as tokens and not as bytes.
        let measured = Measured { prompt_eval_count: Some(300), ..crate::world::honest(TOKENS) };
        world.ledger.finished(world.now, ticket, measured);
        world.events();
    }
    let ask = Ask { prompt_bytes: 12_000, max_tokens: Some(500), ..world.ask() };
    assert_eq!(world.submit(&ask).1, Verdict::Admit);
}

#[test]
fn an_id_that_names_no_model_is_refused() {
    let mut world = World::new(1);
    let mut other = Ledger::new(Limits::default());
    other.model(world.now, "a", settings(1)).unwrap();
    let stranger = other.model(world.now, "b", settings(1)).unwrap();
    let ask = Ask { model: stranger, ..world.ask() };
    let (ticket, verdict) = world.submit(&ask);
    assert_eq!(refusal(verdict).code, RefusalCode::ModelNotFound);
    world.ledger.finished(world.now, ticket, crate::world::honest(TOKENS));
    assert_eq!(world.ledger.forecast(world.now, ticket), None::<Forecast>);
}

#[test]
fn a_slot_that_was_not_tried_for_long_is_tried_before_its_old_figures_are_believed() {
    let mut world = World::learnt(1);
    let long = Ask { prompt_bytes: 8_000, ..world.soft(500) };
    assert_eq!(world.submit(&long).1, overflow(OverflowReason::CallerDeadline));
    world.pass(Duration::from_secs(301));
    assert_eq!(world.submit(&long).1, Verdict::Admit);
}

/// A full queue of one behind a running request, and what the next is told.
fn told_behind(mut world: World, ahead: &Ask) -> Duration {
    world.ledger = Ledger::new(Limits { queue: 1 });
    world.model = world.ledger.model(world.now, "m", settings(1)).unwrap();
    world.ledger.resident(world.now, &[causeway_policy::Resident { model: world.model, context: None }]);
    for _ in 0..3 {
        let ticket = world.admitted();
        world.ledger.finished(world.now, ticket, causeway_policy::Measured::default());
    }
    let ahead = Ask { model: world.model, ..ahead.clone() };
    let _ = world.submit(&ahead);
    world.queued(&ahead);
    let ask = world.ask();
    saturated(world.submit(&ask).1)
}

#[test]
fn a_prediction_of_nothing_is_no_reason_to_come_again_at_once() {
    let mut world = World::new(1);
    let ask = world.ask();
    assert_eq!(told_behind(world, &ask), ms(1_000));
}

#[test]
fn nobody_is_told_to_stay_away_for_longer_than_the_longest_wait() {
    let mut world = World::learnt(1);
    let ask = Ask { prompt_bytes: u64::MAX, truncate: true, ..world.ask() };
    assert_eq!(world.submit(&ask).1, Verdict::Admit);
    let ask = world.hard(1_000);
    assert_eq!(saturated(world.submit(&ask).1), Duration::from_secs(3_600));
}

#[test]
fn a_pause_of_nothing_or_of_eternity_is_told_within_the_bounds() {
    for (pause, told) in [(Duration::ZERO, ms(1_000)), (Duration::MAX, Duration::from_secs(3_600))] {
        let mut world = World::learnt(1);
        world.admitted();
        let ask = world.ask();
        let ticket = world.queued(&ask);
        world.ledger.down(world.now, pause);
        let refusal = Refusal { code: RefusalCode::LocalUnavailable, retry_after: told };
        assert_eq!(world.events(), [Event::Refused(ticket, refusal)]);
    }
}

#[test]
fn who_waited_in_vain_is_told_the_time_that_is_left_now_and_not_what_is_left_of_an_old_forecast() {
    let mut world = World::learnt(1);
    world.admitted();
    let ask = Ask { queue_timeout: ms(5_000), ..world.ask() };
    let ticket = world.queued(&ask);
    // The stream ahead gives no token: its answer is still to come.
    let events = world.pass(ms(5_000));
    let [Event::Refused(which, Refusal { code: RefusalCode::Saturated, retry_after })] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(which, ticket);
    close(retry_after, ANSWER - PREFILL, 10);
}
