//! The machine alone: time is made up, nothing is read or sent.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const TOKEN: &[u8] = b"{\"done\":false}\n";
const DONE: &[u8] = b"{\"done\":true,\"prompt_eval_count\":3,\"eval_count\":2}\n";

fn chat(now: Instant) -> Session {
    Session::new(now, Upstream::OllamaChat, Shape::Ndjson, None)
}

fn head(status: u16) -> Head {
    let content_type = if status == 200 { "application/x-ndjson" } else { "application/json" };
    Head { status, headers: vec![("content-type".to_owned(), content_type.to_owned())] }
}

fn start() -> Instant {
    Instant::now()
}

fn asked(now: Instant) -> Session {
    let mut session = chat(now);
    assert_eq!(session.handle(now, Event::BodyEnd), Command::Ask);
    session
}

fn answering(now: Instant) -> Session {
    let mut session = asked(now);
    assert_eq!(session.handle(now, Event::Answer(head(200))), Command::Wait);
    assert_eq!(session.handle(now + SECOND, Event::Chunk(TOKEN)), Command::Forward(Some(head(200))));
    session
}

fn code_of(command: &Command) -> Code {
    let Command::Fail(failure) = command else { panic!("expected a failure, got {command:?}") };
    failure.code
}

#[test]
fn an_answer_is_forwarded_with_its_head_at_the_first_byte_and_accounted_as_served() {
    let now = start();
    let mut session = answering(now);
    assert_eq!(session.handle(now + SECOND, Event::Chunk(DONE)), Command::Forward(None));
    let Command::Finish(None, outcome) = session.handle(now + 2 * SECOND, Event::Eof) else { panic!() };
    assert_eq!((outcome.input_tokens, outcome.output_tokens), (Some(3), Some(2)));
    assert_eq!((outcome.first_token_ms, outcome.total_ms), (Some(1_000), Some(2_000)));
    assert_eq!(session.ending(), Some(Ending::Served(200)));
}

#[test]
fn nothing_follows_an_ending() {
    let now = start();
    let mut session = answering(now);
    assert_eq!(code_of(&session.handle(now, Event::Cancelled)), Code::Cancelled);
    for event in [Event::Chunk(TOKEN), Event::Eof, Event::Cancelled, Event::Tick, Event::LinkFailed(Code::LinkLost)] {
        assert_eq!(session.handle(now, event), Command::Stop);
    }
    assert_eq!(session.ending(), Some(Ending::Cancelled));
}

#[test]
fn a_cancel_says_what_was_used_so_far() {
    let now = start();
    let Command::Fail(failure) = answering(now).handle(now + SECOND, Event::Cancelled) else { panic!() };
    assert_eq!(failure.outcome.output_tokens, Some(1));
    assert_eq!(failure.outcome.served_by, Some(Backend::Local));
}

#[test]
fn an_end_without_done_is_incomplete() {
    let now = start();
    let mut session = answering(now);
    assert_eq!(code_of(&session.handle(now, Event::Eof)), Code::UpstreamIncomplete);
    assert_eq!(session.ending(), Some(Ending::Failed(Code::UpstreamIncomplete)));
}

#[test]
fn ollamas_own_errors_pass_through() {
    let now = start();
    let mut session = asked(now);
    session.handle(now, Event::Answer(head(404)));
    let forwarded = session.handle(now, Event::Chunk(b"{\"error\":\"model 'x' not found\"}"));
    assert_eq!(forwarded, Command::Forward(Some(head(404))));
    assert!(matches!(session.handle(now, Event::Eof), Command::Finish(None, _)));
    assert_eq!(session.ending(), Some(Ending::Served(404)));
}

#[test]
fn an_empty_403_is_explained_instead_of_passed_on() {
    let now = start();
    let mut session = asked(now);
    session.handle(now, Event::Answer(head(403)));
    let Command::Fail(failure) = session.handle(now, Event::Eof) else { panic!() };
    assert_eq!(failure.code, Code::LocalUnavailable);
    assert!(failure.message.contains("OLLAMA_ORIGINS") && failure.message.contains("Host"));
}

#[test]
fn a_redirect_is_never_followed_or_passed_on() {
    let now = start();
    let failed = asked(now).handle(now, Event::Answer(head(302)));
    assert_eq!(code_of(&failed), Code::LocalUnavailable);
}

#[test]
fn an_answer_without_a_body_still_has_its_head() {
    let now = start();
    let mut session = asked(now);
    session.handle(now, Event::Answer(head(500)));
    assert!(matches!(session.handle(now, Event::Eof), Command::Finish(Some(_), _)));
}

#[test]
fn the_deadline_ends_what_has_no_first_byte_and_nothing_else() {
    let now = start();
    let mut silent = Session::new(now, Upstream::OllamaChat, Shape::Ndjson, Some(SECOND));
    silent.handle(now, Event::BodyEnd);
    assert_eq!(silent.timeout(), now + SECOND);
    assert_eq!(silent.handle(now + SECOND / 2, Event::Tick), Command::Wait);
    let Command::Fail(failure) = silent.handle(now + SECOND, Event::Tick) else { panic!() };
    assert_eq!(failure.code, Code::DeadlineExceeded);
    assert!(failure.message.contains("x-causeway-first-token-ms"));

    let mut speaking = Session::new(now, Upstream::OllamaChat, Shape::Ndjson, Some(SECOND));
    speaking.handle(now, Event::BodyEnd);
    speaking.handle(now, Event::Answer(head(200)));
    speaking.handle(now, Event::Chunk(TOKEN));
    assert_eq!(speaking.handle(now + 2 * SECOND, Event::Tick), Command::Wait);
}

#[test]
fn silence_is_bounded_in_every_phase() {
    let now = start();
    assert_eq!(code_of(&chat(now).handle(now + BODY_IDLE, Event::Tick)), Code::InvalidRequest);
    assert_eq!(code_of(&asked(now).handle(now + FIRST_TOKEN, Event::Tick)), Code::LocalUnavailable);
    // A single answer says nothing until it is whole: only the longest life bounds it.
    let mut single = Session::new(now, Upstream::OllamaChat, Shape::Whole, None);
    single.handle(now, Event::BodyEnd);
    assert_eq!(single.handle(now + FIRST_TOKEN, Event::Tick), Command::Wait);
    assert_eq!(code_of(&single.handle(now + STREAM_MAX, Event::Tick)), Code::UpstreamIncomplete);
    let late = now + SECOND + SILENCE;
    assert_eq!(code_of(&answering(now).handle(late, Event::Tick)), Code::UpstreamIncomplete);
}

#[test]
fn a_stream_ends_after_its_longest_life_even_while_bytes_flow() {
    let now = start();
    let mut session = answering(now);
    session.handle(now + STREAM_MAX - SECOND, Event::Chunk(TOKEN));
    assert_eq!(session.timeout(), now + STREAM_MAX);
    assert_eq!(code_of(&session.handle(now + STREAM_MAX, Event::Tick)), Code::UpstreamIncomplete);
}

#[test]
fn a_body_over_its_limit_is_refused_before_ollama_hears_of_it() {
    let now = start();
    let mut session = chat(now);
    assert_eq!(session.handle(now, Event::Body(MAX_BODY)), Command::Wait);
    assert_eq!(code_of(&session.handle(now, Event::Body(1))), Code::TooLarge);
    assert_eq!(session.ending(), Some(Ending::Refused(Code::TooLarge)));
}

#[test]
fn a_down_ollama_may_be_tried_elsewhere_and_a_broken_answer_may_not() {
    let now = start();
    let Command::Fail(down) = asked(now).handle(now, Event::Broken(Trouble::Down("refused".to_owned()))) else {
        panic!()
    };
    assert_eq!((down.code, down.retryable), (Code::LocalUnavailable, true));
    let Command::Fail(cut) = answering(now).handle(now, Event::Broken(Trouble::Cut("reset".to_owned()))) else {
        panic!()
    };
    assert_eq!((cut.code, cut.retryable), (Code::UpstreamIncomplete, false));
}

#[test]
fn a_stream_that_the_link_ended_is_dropped_without_another_word() {
    let now = start();
    let mut session = answering(now);
    assert_eq!(session.handle(now, Event::LinkFailed(Code::SlowReader)), Command::Stop);
    assert_eq!(session.ending(), Some(Ending::Failed(Code::SlowReader)));
}
