//! The machine alone: time is made up, nothing is read or sent.

use causeway_bedrock::Kind;
use causeway_policy::{Refusal, RefusalCode};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const STREAM: Terms = Terms { deadline: None, streams: true, heartbeat: Duration::from_secs(10) };
const SINGLE: Terms = Terms { streams: false, heartbeat: Duration::from_secs(50), ..STREAM };

const ALL: [Reached; 4] = [Reached::Receiving, Reached::Queued, Reached::Asked, Reached::Answering];

/// How far a session has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reached {
    Receiving,
    Queued,
    Asked,
    Answering,
}

fn start() -> Instant {
    Instant::now()
}

fn session(now: Instant, terms: Terms, reached: Reached) -> Session {
    let mut session = Session::new(now, terms);
    if reached == Reached::Receiving {
        return session;
    }
    assert_eq!(session.handle(now, Event::BodyEnd), Command::Prepare);
    assert_eq!(session.handle(now, Event::Ready(1)), Command::Submit);
    assert_eq!(session.handle(now, Event::Queued), Command::Wait);
    if reached == Reached::Queued {
        return session;
    }
    assert_eq!(session.handle(now, Event::Decided(Decision::Granted, None)), Command::Ask);
    assert_eq!(session.handle(now, Event::Status(200)), Command::Wait);
    if reached == Reached::Answering {
        assert_eq!(session.handle(now + SECOND, Event::Told(true)), Command::Pass);
        session.spoke(now + SECOND);
    }
    session
}

fn failed(command: Command) -> Failure {
    let (Command::Fail(failure, Upstream::Drop) | Command::Break(failure, Upstream::Drop)) = command else {
        panic!("expected a failure, got {command:?}")
    };
    failure
}

fn code_of(command: Command) -> Code {
    failed(command).code
}

#[test]
fn an_answer_is_passed_from_its_first_visible_token_and_accounted_as_served() {
    let now = start();
    let mut session = session(now, STREAM, Reached::Asked);
    assert_eq!(session.handle(now + SECOND, Event::Told(false)), Command::Wait, "nothing can be seen yet");
    assert_eq!(session.handle(now + 2 * SECOND, Event::Told(true)), Command::Pass);
    session.tokens = Tokens { input: Some(3), output: Some(2) };
    assert_eq!(session.handle(now + 3 * SECOND, Event::Whole), Command::Finish);
    let outcome = session.outcome(now + 3 * SECOND);
    assert_eq!((outcome.input_tokens, outcome.output_tokens), (Some(3), Some(2)));
    assert_eq!((outcome.first_token_ms, outcome.total_ms), (Some(1_000), Some(3_000)));
    assert_eq!(session.ending(), Some(Ending::Served(200)));
}

#[test]
fn a_request_of_several_parts_asks_for_a_slot_for_each() {
    let now = start();
    let mut session = Session::new(now, SINGLE);
    session.handle(now, Event::BodyEnd);
    let mut command = session.handle(now, Event::Ready(3));
    for _ in 0..3 {
        assert_eq!(command, Command::Submit);
        assert_eq!(session.handle(now, Event::Decided(Decision::Granted, None)), Command::Ask);
        command = session.handle(now, Event::Whole);
    }
    assert_eq!(command, Command::Finish);
}

#[test]
fn nothing_follows_an_ending() {
    let now = start();
    let mut session = session(now, STREAM, Reached::Answering);
    assert_eq!(code_of(session.handle(now, Event::Cancelled)), Code::Cancelled);
    for event in [Event::Told(true), Event::Whole, Event::Cancelled, Event::Tick, Event::LinkFailed(Code::LinkLost)] {
        assert_eq!(session.handle(now, event), Command::Stop);
    }
    assert_eq!(session.ending(), Some(Ending::Cancelled));
}

#[test]
fn a_caller_may_leave_in_every_state() {
    let now = start();
    for reached in ALL {
        let mut session = session(now, STREAM, reached);
        assert_eq!(code_of(session.handle(now + SECOND, Event::Cancelled)), Code::Cancelled, "{reached:?}");
        assert_eq!(session.ending(), Some(Ending::Cancelled));
    }
}

#[test]
fn a_refusal_before_the_headers_says_when_to_come_back_and_another_edge_may_take_it() {
    let now = start();
    let mut session = session(now, STREAM, Reached::Queued);
    let refusal = Refusal { code: RefusalCode::Saturated, retry_after: SECOND };
    let why = Some((Code::Saturated, "full".to_owned()));
    let Command::Fail(failure, Upstream::Drop) =
        session.handle(now + SECOND, Event::Decided(Decision::Refused(refusal), why))
    else {
        panic!()
    };
    assert_eq!((failure.code, failure.retry_after_ms, failure.retryable), (Code::Saturated, Some(1_000), true));
    assert_eq!(session.ending(), Some(Ending::Refused(Code::Saturated)));
}

#[test]
fn silence_is_broken_by_heartbeats_in_every_state_but_the_callers_own() {
    let now = start();
    for terms in [STREAM, SINGLE] {
        for reached in [Reached::Queued, Reached::Asked] {
            let mut session = session(now, terms, reached);
            assert_eq!(session.timeout(), now + terms.heartbeat);
            assert_eq!(session.handle(now + terms.heartbeat - SECOND, Event::Tick), Command::Wait);
            assert_eq!(session.handle(now + terms.heartbeat, Event::Tick), Command::Heartbeat);
            session.spoke(now + terms.heartbeat);
            assert_eq!(session.timeout(), now + 2 * terms.heartbeat, "{reached:?}");
        }
    }
    assert!(session(now, STREAM, Reached::Receiving).timeout() > now + STREAM.heartbeat);
    let never = Terms { heartbeat: Duration::ZERO, ..STREAM };
    assert_eq!(session(now, never, Reached::Queued).handle(now + 60 * SECOND, Event::Tick), Command::Wait);
}

#[test]
fn after_a_heartbeat_the_headers_are_out_and_an_error_is_the_dialects_own() {
    let now = start();
    let mut session = session(now, SINGLE, Reached::Queued);
    assert_eq!(session.handle(now + SINGLE.heartbeat, Event::Tick), Command::Heartbeat);
    let refusal = Refusal { code: RefusalCode::DeadlineExceeded, retry_after: SECOND };
    let why = Some((Code::DeadlineExceeded, "too late".to_owned()));
    let command = session.handle(now + SINGLE.heartbeat, Event::Decided(Decision::Refused(refusal), why));
    let Command::Break(failure, Upstream::Drop) = command else { panic!("{command:?}") };
    assert_eq!((failure.code, failure.retryable), (Code::DeadlineExceeded, false), "nobody else may begin it again");
}

#[test]
fn an_answer_that_breaks_before_anything_was_seen_is_asked_for_once_more() {
    let now = start();
    for broken in [
        || Event::Fault(Code::UpstreamIncomplete, "no end".to_owned()),
        || Event::Broken(Trouble::Cut("reset".to_owned())),
    ] {
        let mut session = session(now, STREAM, Reached::Asked);
        session.handle(now, Event::Told(false));
        assert_eq!(session.handle(now, broken()), Command::Ask);
        assert_eq!(code_of(session.handle(now, broken())), Code::UpstreamIncomplete);
    }
}

#[test]
fn an_answer_of_which_something_was_seen_never_runs_again() {
    let now = start();
    let mut session = session(now, STREAM, Reached::Answering);
    let fault = Event::Fault(Code::UpstreamIncomplete, "no end".to_owned());
    let Command::Break(failure, _) = session.handle(now, fault) else { panic!() };
    assert_eq!((failure.code, failure.retryable), (Code::UpstreamIncomplete, false));
}

#[test]
fn ollamas_own_errors_keep_their_code_and_words() {
    let now = start();
    let mut session = session(now, STREAM, Reached::Asked);
    let failure = failed(session.handle(now, Event::Fault(Code::ContextExceeded, "too long".to_owned())));
    assert_eq!((failure.code, failure.message.as_str()), (Code::ContextExceeded, "too long"));
}

#[test]
fn a_redirect_is_never_followed_or_passed_on() {
    let now = start();
    assert_eq!(code_of(session(now, STREAM, Reached::Asked).handle(now, Event::Status(302))), Code::LocalUnavailable);
}

#[test]
fn a_silent_answer_at_its_hard_deadline_is_504_and_one_that_loads_is_left_alone() {
    let now = start();
    for (late, upstream) in [(Late::Expired, Upstream::Drop), (Late::ExpiredWhileLoading, Upstream::Linger)] {
        let command =
            session(now, STREAM, Reached::Asked).handle(now + SECOND, Event::Decided(Decision::Late(late), None));
        let Command::Fail(failure, told) = command else { panic!("{command:?}") };
        assert_eq!((failure.code, told), (Code::DeadlineExceeded, upstream));
        assert!(failure.message.contains("x-causeway-first-token-ms"));
    }
}

#[test]
fn a_deadline_passes_while_the_body_still_comes() {
    let now = start();
    let mut slow = session(now, Terms { deadline: Some(SECOND), ..STREAM }, Reached::Receiving);
    assert_eq!(slow.timeout(), now + SECOND);
    assert_eq!(slow.handle(now + SECOND / 2, Event::Tick), Command::Wait);
    assert_eq!(code_of(slow.handle(now + SECOND, Event::Tick)), Code::DeadlineExceeded);
    // One without end is no deadline.
    let never = session(now, Terms { deadline: Some(Duration::MAX), ..STREAM }, Reached::Receiving);
    assert_eq!(never.timeout(), now + BODY_IDLE);
}

#[test]
fn silence_of_the_other_side_is_bounded_in_every_phase() {
    let now = start();
    let quiet = Terms { heartbeat: Duration::ZERO, ..STREAM };
    let at = |reached, after: Duration| code_of(session(now, quiet, reached).handle(now + after, Event::Tick));
    assert_eq!(at(Reached::Receiving, BODY_IDLE), Code::InvalidRequest);
    assert_eq!(at(Reached::Asked, FIRST_TOKEN), Code::LocalUnavailable);
    assert_eq!(at(Reached::Answering, SECOND + SILENCE), Code::UpstreamIncomplete);
    assert_eq!(at(Reached::Queued, STREAM_MAX), Code::UpstreamIncomplete);
}

#[test]
fn a_stream_ends_after_its_longest_life_even_while_bytes_flow() {
    let now = start();
    let mut session = session(now, STREAM, Reached::Answering);
    session.handle(now + STREAM_MAX - SECOND, Event::Told(true));
    session.spoke(now + STREAM_MAX - SECOND);
    assert_eq!(session.timeout(), now + STREAM_MAX);
    assert_eq!(code_of(session.handle(now + STREAM_MAX, Event::Tick)), Code::UpstreamIncomplete);
}

#[test]
fn a_body_over_its_limit_is_refused_before_ollama_hears_of_it() {
    let now = start();
    let mut session = session(now, STREAM, Reached::Receiving);
    assert_eq!(session.handle(now, Event::Body(MAX_BODY)), Command::Wait);
    assert_eq!(code_of(session.handle(now, Event::Body(1))), Code::TooLarge);
    assert_eq!(session.ending(), Some(Ending::Refused(Code::TooLarge)));
}

#[test]
fn a_down_ollama_may_be_tried_elsewhere() {
    let now = start();
    let trouble = Trouble::Down("refused".to_owned());
    let failure = failed(session(now, STREAM, Reached::Asked).handle(now, Event::Broken(trouble)));
    assert_eq!((failure.code, failure.retryable), (Code::LocalUnavailable, true));
}

#[test]
fn a_stream_that_the_link_ended_is_dropped_without_another_word() {
    let now = start();
    for reached in ALL {
        let mut session = session(now, STREAM, reached);
        assert_eq!(session.handle(now, Event::LinkFailed(Code::SlowReader)), Command::Stop);
        assert_eq!(session.ending(), Some(Ending::Failed(Code::SlowReader)));
    }
}

/// One that may go to Bedrock, and has come so far here.
fn movable(now: Instant, terms: Terms, reached: Reached) -> Session {
    let mut session = session(now, terms, reached);
    session.elsewhere = Elsewhere::May(Duration::ZERO);
    session
}

#[test]
fn a_request_leaves_when_the_ledger_says_so_and_is_accounted_as_bedrocks() {
    let now = start();
    let mut session = movable(now, STREAM, Reached::Queued);
    let leaves = Event::Decided(Decision::Overflow(OverflowReason::QueueFull), None);
    assert_eq!(session.handle(now, leaves), Command::Leave(Duration::ZERO));
    assert_eq!(session.handle(now + SECOND, Event::AwayTold(true)), Command::Pass);
    assert_eq!(session.handle(now + 2 * SECOND, Event::AwayWhole), Command::Finish);
    assert_eq!(session.outcome(now + 2 * SECOND).served_by, Some(Backend::Bedrock));
    assert_eq!(session.why, Some(Why::Ledger(OverflowReason::QueueFull)));
}

#[test]
fn an_ollama_that_breaks_is_left_before_the_first_visible_token_and_never_after() {
    for (reached, visible) in [(Reached::Asked, false), (Reached::Answering, true)] {
        for trouble in [Trouble::Down("gone".to_owned()), Trouble::Cut("gone".to_owned())] {
            let now = start();
            let mut session = movable(now, STREAM, reached);
            let command = session.handle(now + 2 * SECOND, Event::Broken(trouble));
            assert_eq!(matches!(command, Command::Leave(_)), !visible, "{command:?}");
        }
    }
    let now = start();
    let mut refused = movable(now, STREAM, Reached::Asked);
    let fault = Event::Fault(Code::InvalidRequest, "bad picture".to_owned());
    assert_eq!(code_of(refused.handle(now, fault)), Code::InvalidRequest, "Bedrock would refuse it, too");
}

#[test]
fn calls_that_may_pass_are_made_three_times_and_then_this_machine_serves() {
    let now = start();
    let mut session = movable(now, STREAM, Reached::Queued);
    session.handle(now, Event::Decided(Decision::Overflow(OverflowReason::QueueFull), None));
    let throttled = || Event::AwayBroken(Kind::Throttled, "slow down".to_owned());
    assert_eq!(session.handle(now, throttled()), Command::Leave(PAUSE));
    assert_eq!(session.handle(now, throttled()), Command::Leave(PAUSE * 2));
    assert_eq!(session.handle(now, throttled()), Command::Submit);
    assert!(!session.may_leave(), "once");
    assert_eq!(session.handle(now, Event::Decided(Decision::Granted, None)), Command::Ask);
}

#[test]
fn a_call_that_no_retry_cures_is_made_once_and_one_that_is_seen_is_never_made_again() {
    let now = start();
    let mut must = Session::new(now, STREAM);
    must.elsewhere = Elsewhere::Must(Why::Route);
    must.handle(now, Event::BodyEnd);
    assert_eq!(must.handle(now, Event::Ready(1)), Command::Leave(Duration::ZERO));
    let denied = Event::AwayBroken(Kind::Denied, "no access".to_owned());
    assert_eq!(code_of(must.handle(now, denied)), Code::LocalUnavailable);
    let mut seen = movable(now, STREAM, Reached::Queued);
    seen.handle(now, Event::Decided(Decision::Overflow(OverflowReason::Deadline), None));
    seen.handle(now, Event::AwayTold(true));
    let broken = Event::AwayBroken(Kind::Broken, "cut".to_owned());
    assert!(matches!(seen.handle(now, broken), Command::Break(..)));
}

#[test]
fn a_hard_deadline_holds_also_at_bedrock_and_no_call_is_repeated_past_it() {
    let now = start();
    let terms = Terms { deadline: Some(SECOND), ..STREAM };
    let mut session = movable(now, terms, Reached::Queued);
    session.handle(now, Event::Decided(Decision::Overflow(OverflowReason::PredictedWait), None));
    assert_eq!(session.timeout(), now + SECOND);
    let late = now + Duration::from_millis(900);
    let throttled = Event::AwayBroken(Kind::Throttled, "slow down".to_owned());
    assert_eq!(session.handle(late, throttled), Command::Submit, "a call after a pause would be too late");
    let mut silent = movable(now, terms, Reached::Queued);
    silent.handle(now, Event::Decided(Decision::Overflow(OverflowReason::PredictedWait), None));
    assert_eq!(code_of(silent.handle(now + SECOND, Event::Tick)), Code::DeadlineExceeded);
}

#[test]
fn who_is_first_after_the_hedge_answers_and_a_failed_hedge_changes_nothing() {
    let now = start();
    let hedged = || {
        let mut session = session(now, STREAM, Reached::Asked);
        session.elsewhere = Elsewhere::May(SECOND);
        assert_eq!(session.timeout(), now + SECOND);
        assert_eq!(session.handle(now + SECOND, Event::Tick), Command::Hedge);
        session
    };
    let mut local = hedged();
    assert_eq!(local.handle(now + 2 * SECOND, Event::Told(true)), Command::Pass);
    assert_eq!(local.backend(), Backend::Local);
    let mut away = hedged();
    assert_eq!(away.handle(now + 2 * SECOND, Event::AwayTold(true)), Command::Pass);
    assert_eq!(away.backend(), Backend::Bedrock);
    let mut failed = hedged();
    let denied = Event::AwayBroken(Kind::Denied, "no access".to_owned());
    assert_eq!(failed.handle(now + 2 * SECOND, denied), Command::Wait);
    assert_eq!(failed.handle(now + 3 * SECOND, Event::Told(true)), Command::Pass);
    assert_eq!((failed.backend(), failed.why), (Backend::Local, None));
}
