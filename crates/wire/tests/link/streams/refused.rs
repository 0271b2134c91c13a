//! The rules of one stream: what a refusal promises, and when it is not believed.

use bytes::Bytes;
use causeway_wire::limits::EDGE_WINDOW;
use causeway_wire::{Code, Failure, Frame, Head, Stream, StreamEvent};

use super::{ack, events, id, relay, sent};
use crate::world::epoch;

/// What edges say of requests that are not theirs, with the promise that they did not run.
const DISOWNED: [Code; 2] = [Code::UnknownStream, Code::WrongInstance];

fn refusal(code: Code) -> Frame {
    Frame::Fail { stream: id(), seq: 0, failure: Box::new(Failure::new(code, "did not run").retryable()), reply: None }
}

/// How the stream ended: code, and whether it may be tried again.
fn end(stream: &mut Stream) -> Vec<(Code, bool)> {
    let ends = events(stream).into_iter().filter_map(|event| {
        let StreamEvent::Failed(failure) = event else { return None };
        Some((failure.code, failure.retryable))
    });
    ends.collect()
}

#[test]
fn a_refusal_of_a_request_that_nobody_acknowledged_is_believed() {
    let now = epoch();
    for code in DISOWNED {
        let mut stream = relay(now, "{}", true);
        sent(&mut stream, now);
        stream.handle_input(now, refusal(code));
        assert_eq!(end(&mut stream), [(code, true)]);
    }
}

#[test]
fn an_edge_that_does_not_know_a_request_that_it_acknowledged_has_lost_it_and_may_have_run_it() {
    let now = epoch();
    for code in DISOWNED {
        let mut stream = relay(now, "{}", true);
        sent(&mut stream, now);
        stream.handle_input(now, ack(1, EDGE_WINDOW));
        stream.handle_input(now, refusal(code));
        assert_eq!(end(&mut stream), [(Code::LinkLost, false)]);
        assert!(stream.gone().is_some());
    }
}

#[test]
fn an_edge_that_does_not_know_a_request_that_it_began_to_answer_has_lost_it_and_may_have_run_it() {
    let now = epoch();
    for code in DISOWNED {
        let mut stream = relay(now, "{}", true);
        sent(&mut stream, now);
        let head = Head { status: 200, headers: Vec::new() };
        stream.handle_input(now, Frame::Head { stream: id(), head, body: Bytes::new(), reply: None });
        stream.handle_input(now, refusal(code));
        assert_eq!(end(&mut stream), [(Code::LinkLost, false)]);
        assert!(stream.gone().is_some());
    }
}

#[test]
fn a_refusal_by_an_edge_that_took_the_request_first_stands() {
    let now = epoch();
    for code in [Code::Draining, Code::Saturated] {
        let mut stream = relay(now, "{}", true);
        sent(&mut stream, now);
        stream.handle_input(now, ack(1, EDGE_WINDOW));
        stream.handle_input(now, refusal(code));
        assert_eq!(end(&mut stream), [(code, true)]);
    }
}
