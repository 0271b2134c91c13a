//! The ways a request can end.

use proptest::prelude::*;

use super::*;

fn exchange() -> Exchange {
    Exchange::new(Dialect::Ollama, Shape::Ndjson)
}

fn head(status: u16) -> Event {
    Event::Head(Head { status, headers: Vec::new() })
}

fn opened(edge: &str) -> Event {
    Event::Opened(edge.to_owned())
}

fn streaming() -> Exchange {
    let mut exchange = exchange();
    assert_eq!(exchange.on(opened("a")), Command::Wait);
    assert!(matches!(exchange.on(head(200)), Command::Respond(StatusCode::OK, _)));
    exchange
}

fn draining() -> Event {
    Event::Failed(Failure::new(Code::Draining, "the edge drains").retryable())
}

#[test]
fn an_answer_is_copied_and_its_outcome_kept() {
    let mut exchange = streaming();
    let bytes = Bytes::from_static(b"{\"a\":1}\n");
    assert_eq!(exchange.on(Event::Data(bytes.clone())), Command::Forward(bytes));
    let outcome = Outcome { output_tokens: Some(7), ..Outcome::default() };
    assert_eq!(exchange.on(Event::End(Some(outcome))), Command::Finish);
    assert_eq!(exchange.outcome().unwrap().output_tokens, Some(7));
    assert_eq!(exchange.code(), None);
}

#[test]
fn a_retryable_failure_before_the_head_is_tried_once_on_another_edge() {
    let mut exchange = exchange();
    exchange.on(opened("a"));
    assert_eq!(exchange.on(draining()), Command::Open);
    assert_eq!(exchange.tried(), ["a"]);
    exchange.on(opened("b"));
    let Command::Refuse(refusal) = exchange.on(draining()) else { panic!("tried a third time") };
    assert_eq!(refusal.code, Code::Draining);
}

#[test]
fn without_another_edge_the_callers_error_is_the_first_edges() {
    let mut exchange = exchange();
    exchange.on(opened("a"));
    exchange.on(draining());
    let nowhere = Refusal::new(Code::ModelNotFound, "nowhere else");
    let Command::Refuse(refusal) = exchange.on(Event::NoEdge(nowhere)) else { panic!("no refusal") };
    assert_eq!(refusal.code, Code::Draining);
}

#[test]
fn a_failure_that_may_have_run_is_not_tried_again() {
    let mut exchange = exchange();
    exchange.on(opened("a"));
    let failed = Event::Failed(Failure::new(Code::LinkLost, "lost"));
    assert!(matches!(exchange.on(failed), Command::Refuse(refusal) if refusal.status == 502));
}

#[test]
fn a_lost_request_goes_elsewhere_only_if_that_cannot_cost_money_twice() {
    for (fate, elsewhere) in [(Fate::MayCost, false), (Fate::Free, true), (Fate::Gone, true)] {
        let mut exchange = exchange();
        exchange.on(opened("a"));
        let command = exchange.on(Event::Lost(Failure::new(Code::LinkLost, "lost"), fate));
        let refused = matches!(&command, Command::Refuse(refusal) if refusal.code == Code::LinkLost);
        assert_eq!((command == Command::Open, refused), (elsewhere, !elsewhere), "{fate:?}");
        // A run of `a` that is gone says nothing of its next.
        assert_eq!(exchange.tried().is_empty(), fate == Fate::Gone);
    }
    let mut begun = streaming();
    let lost = Event::Lost(Failure::new(Code::LinkLost, "lost"), Fate::Gone);
    assert!(matches!(begun.on(lost), Command::FinishWith(_)), "its head has gone to the caller");
}

#[test]
fn a_request_is_sent_to_two_edges_at_most_whatever_is_lost() {
    let mut exchange = exchange();
    let lost = || Event::Lost(Failure::new(Code::LinkLost, "lost"), Fate::Gone);
    exchange.on(opened("a"));
    assert_eq!(exchange.on(lost()), Command::Open);
    exchange.on(opened("a"));
    assert!(matches!(exchange.on(lost()), Command::Refuse(refusal) if refusal.code == Code::LinkLost));
}

#[test]
fn a_link_that_takes_no_stream_is_left_for_another_but_a_request_too_large_is_not() {
    let mut first = exchange();
    // None of these has seen the request: the one retry is still to come.
    for edge in ["a", "b", "c"] {
        assert_eq!(first.on(Event::OpenRefused(edge.to_owned(), OpenRefused::Full)), Command::Open);
    }
    for (edge, asked_again) in [("d", true), ("e", false)] {
        first.on(Event::Opened(edge.to_owned()));
        let draining = Failure::new(Code::Draining, "did not run").retryable();
        assert_eq!(first.on(Event::Failed(draining)) == Command::Open, asked_again, "{edge}");
    }
    let mut second = exchange();
    let refused = Event::OpenRefused("a".to_owned(), OpenRefused::HeadersTooLong);
    assert!(matches!(second.on(refused), Command::Refuse(refusal) if refusal.status == 431));
}

#[test]
fn a_broken_stream_ends_with_the_dialects_own_error() {
    let mut exchange = streaming();
    exchange.on(Event::Data(Bytes::from_static(b"{\"message\":{\"content\":\"hal")));
    let Command::FinishWith(bytes) = exchange.on(Event::Failed(Failure::new(Code::LinkLost, "lost"))) else {
        panic!("not completed")
    };
    assert_eq!(&bytes[..], b"\"},\"error\":\"lost\"}\n{\"error\":\"lost\"}\n");
    assert_eq!(exchange.code(), Some(Code::LinkLost));
    assert_eq!(exchange.on(Event::End(None)), Command::Wait, "nothing follows the end");
}

#[test]
fn a_broken_whole_body_and_a_broken_error_body_are_cut() {
    let mut whole = Exchange::new(Dialect::OpenAi, Shape::Whole);
    whole.on(opened("a"));
    whole.on(head(200));
    assert_eq!(whole.on(Event::Data(Bytes::from_static(b" {"))), Command::Forward(Bytes::from_static(b" {")));
    assert_eq!(whole.on(Event::Failed(Failure::new(Code::LinkLost, "lost"))), Command::Cut);
    let mut error = exchange();
    error.on(opened("a"));
    assert!(matches!(error.on(head(404)), Command::Respond(StatusCode::NOT_FOUND, _)));
    error.on(Event::Data(Bytes::from_static(b"{")));
    assert_eq!(error.on(Event::Failed(Failure::new(Code::LinkLost, "lost"))), Command::Cut);
}

#[test]
fn a_single_answer_that_was_only_kept_alive_ends_with_the_dialects_own_error() {
    let mut whole = Exchange::new(Dialect::OpenAi, Shape::Whole);
    whole.on(opened("a"));
    whole.on(head(200));
    whole.on(Event::Data(Bytes::from_static(b" ")));
    let Command::FinishWith(bytes) = whole.on(Event::Failed(Failure::new(Code::LinkLost, "lost"))) else {
        panic!("not completed")
    };
    let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(body["error"]["code"], "link_lost");
}

#[test]
fn an_answer_that_says_itself_that_it_broke_is_booked_so() {
    let mut exchange = streaming();
    let outcome = Outcome { broke: Some(Code::UpstreamIncomplete), ..Outcome::default() };
    assert_eq!(exchange.on(Event::End(Some(outcome))), Command::Finish);
    assert_eq!(exchange.code(), Some(Code::UpstreamIncomplete));
}

#[test]
fn a_deadline_counts_before_the_head_only() {
    let mut waiting = exchange();
    waiting.on(opened("a"));
    assert!(matches!(waiting.on(Event::Deadline), Command::Refuse(refusal) if refusal.status == 504));
    assert_eq!(streaming().on(Event::Deadline), Command::Wait);
}

#[test]
fn a_cancelled_request_ends_in_either_phase() {
    let mut waiting = exchange();
    waiting.on(opened("a"));
    assert!(matches!(waiting.on(Event::Cancelled), Command::Refuse(refusal) if refusal.code == Code::Cancelled));
    assert!(matches!(streaming().on(Event::Cancelled), Command::FinishWith(_)));
}

#[test]
fn a_status_that_the_contract_does_not_pass_is_an_error() {
    let mut exchange = exchange();
    exchange.on(opened("a"));
    assert!(matches!(exchange.on(head(302)), Command::Refuse(refusal) if refusal.status == 502));
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(opened("a")),
        Just(Event::NoEdge(Refusal::invalid("m"))),
        Just(Event::OpenRefused("a".to_owned(), OpenRefused::Offline)),
        prop_oneof![Just(200_u16), Just(302), Just(500)].prop_map(head),
        Just(Event::Data(Bytes::from_static(b"{"))),
        Just(Event::End(None)),
        Just(draining()),
        Just(Event::Lost(Failure::new(Code::LinkLost, "lost"), Fate::Gone)),
        Just(Event::Deadline),
        Just(Event::Cancelled),
    ]
}

proptest! {
    #[test]
    fn any_events_give_one_terminal_command_and_nothing_after_it(
        events in prop::collection::vec(any_event(), 0..20),
    ) {
        let mut exchange = exchange();
        let mut ended = false;
        let mut responded = false;
        for event in events {
            let command = exchange.on(event);
            match &command {
                Command::Respond(..) => prop_assert!(!std::mem::replace(&mut responded, true)),
                Command::Refuse(_) => prop_assert!(!responded),
                Command::Forward(_) | Command::Finish | Command::FinishWith(_) | Command::Cut => prop_assert!(responded),
                Command::Open | Command::Wait => {}
            }
            let terminal = matches!(
                command,
                Command::Refuse(_) | Command::Finish | Command::FinishWith(_) | Command::Cut
            );
            prop_assert!(!(ended && command != Command::Wait));
            ended |= terminal;
        }
    }
}

#[test]
fn what_the_relay_answers_itself_is_the_last_try() {
    let mut first = exchange();
    assert_eq!(first.on(Event::OpenedHere), Command::Wait);
    assert!(first.tried().is_empty());
    let Command::Refuse(refusal) = first.on(draining()) else { panic!("tried again") };
    assert_eq!(refusal.code, Code::Draining);
    let mut streaming = exchange();
    streaming.on(Event::OpenedHere);
    assert!(matches!(streaming.on(head(200)), Command::Respond(StatusCode::OK, _)));
    assert_eq!(streaming.on(Event::End(None)), Command::Finish);
}

#[test]
fn an_edge_that_is_gone_has_declined_nothing_and_one_that_is_full_or_fails_has() {
    let failed = |code| Event::Failed(Failure::new(code, "m").retryable());
    for (event, nobody) in [
        (failed(Code::Draining), true),
        (failed(Code::WrongInstance), true),
        (failed(Code::LinkLost), true),
        (Event::Lost(Failure::new(Code::LinkLost, "lost"), Fate::Free), true),
        (failed(Code::Saturated), false),
        (failed(Code::LocalUnavailable), false),
        (failed(Code::ModelNotFound), false),
    ] {
        let mut exchange = exchange();
        exchange.on(opened("a"));
        assert_eq!(exchange.on(event.clone()), Command::Open, "{event:?}");
        assert_eq!(exchange.nobody_declined(), nobody, "{event:?}");
    }
    for (refused, nobody) in [(OpenRefused::Offline, true), (OpenRefused::Full, false)] {
        let mut exchange = exchange();
        exchange.on(Event::OpenRefused("a".to_owned(), refused));
        assert_eq!(exchange.nobody_declined(), nobody);
    }
}
