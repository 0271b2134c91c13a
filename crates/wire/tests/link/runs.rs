//! One edge between two runs of a relay: the new run has welcomed it, the old one is not gone yet.

use bytes::Bytes;
use causeway_wire::{Code, ConnId, Frame, Head, InstanceId, ModelInfo, Scope, SendRefused};

use crate::hand::{Hand, open_for};
use crate::world::{ms, stream_id};

const OLD_REQUEST: u64 = 0;
const NEW_REQUEST: u64 = 1;

/// An edge with one live connection to each run, a request of the old run open.
fn between_two_runs() -> (Hand, ConnId, ConnId) {
    let mut hand = Hand::edge();
    let old = hand.up();
    let request = open_for(&hand, stream_id(OLD_REQUEST));
    hand.message(old, &request);
    hand.out(old);
    hand.link.rotate(hand.now);
    let new = hand.connect();
    let mut welcome = hand.welcome(1);
    welcome.instance = InstanceId::new(3);
    hand.message(new, &Frame::Welcome(welcome));
    (hand, old, new)
}

fn answer(hand: &mut Hand, call: u64) {
    let id = stream_id(call);
    hand.link.send_head(hand.now, id, Head { status: 200, headers: Vec::new() });
    hand.link.send(hand.now, id, Bytes::from_static(b"{}")).unwrap();
    hand.link.finish(hand.now, id, None);
}

fn heads(frames: &[Frame]) -> Vec<u64> {
    let heads = frames.iter().filter_map(|frame| {
        let Frame::Head { stream, .. } = frame else { return None };
        (0..2).find(|call| stream_id(*call) == *stream)
    });
    heads.collect()
}

#[test]
fn each_run_gets_the_answers_to_its_own_requests_on_its_own_connection() {
    let (mut hand, old, new) = between_two_runs();
    let request = open_for(&hand, stream_id(NEW_REQUEST));
    hand.message(new, &request);
    answer(&mut hand, OLD_REQUEST);
    answer(&mut hand, NEW_REQUEST);
    assert_eq!(heads(&hand.out(old)), [OLD_REQUEST]);
    assert_eq!(heads(&hand.out(new)), [NEW_REQUEST]);
}

#[test]
fn the_old_run_keeps_its_connection_for_as_long_as_a_request_of_it_runs() {
    let (mut hand, old, new) = between_two_runs();
    let frames = hand.out(old);
    assert!(!frames.iter().any(|frame| matches!(frame, Frame::Goodbye { scope: Scope::Connection })), "{frames:?}");
    hand.run_for(ms(60_000), old, |_, _| {});
    assert!(hand.closes.iter().all(|(conn, ..)| *conn != old), "{:?}", hand.closes);
    answer(&mut hand, OLD_REQUEST);
    assert_eq!(heads(&hand.out(old)), [OLD_REQUEST]);
    let ack = Frame::Ack { stream: stream_id(OLD_REQUEST), next: 2, limit: 262_144, miss: Vec::new(), reply: None };
    hand.message(old, &ack);
    hand.run_for(ms(60_000), new, |_, _| {});
    assert!(hand.closes.iter().any(|(conn, ..)| *conn == old), "the connection to the old run stayed open");
    assert_eq!(hand.failed, []);
}

#[test]
fn a_request_of_the_old_run_never_moves_to_the_new_one_and_ends_with_its_connection() {
    let (mut hand, old, new) = between_two_runs();
    let request = open_for(&hand, stream_id(NEW_REQUEST));
    hand.message(new, &request);
    hand.closed(old);
    assert_eq!(hand.cancelled, [stream_id(OLD_REQUEST)]);
    let late = hand.link.send(hand.now, stream_id(OLD_REQUEST), Bytes::from_static(b"{}"));
    assert_eq!(late, Err(SendRefused::Ended));
    answer(&mut hand, NEW_REQUEST);
    assert_eq!(heads(&hand.out(new)), [NEW_REQUEST]);
}

#[test]
fn frames_for_a_request_of_the_old_run_are_not_run_again_when_the_new_run_sends_them() {
    let (mut hand, old, new) = between_two_runs();
    hand.closed(old);
    let incoming = hand.incoming;
    let copy = open_for(&hand, stream_id(OLD_REQUEST));
    hand.message(new, &copy);
    assert_eq!(hand.incoming, incoming);
    let out = hand.out(new);
    assert!(
        out.iter().any(|frame| matches!(frame, Frame::Fail { failure, .. } if failure.code == Code::LinkLost)),
        "{out:?}"
    );
}

#[test]
fn a_request_of_the_old_run_moves_to_the_other_connection_of_that_run() {
    let mut hand = Hand::edge();
    let first = hand.connect();
    hand.message(first, &Frame::Welcome(hand.welcome(2)));
    let second = hand.connect();
    hand.message(second, &Frame::Welcome(hand.welcome(2)));
    let request = open_for(&hand, stream_id(OLD_REQUEST));
    hand.message(first, &request);
    // The second is busier than the new run's connection: only the run decides.
    let other = open_for(&hand, stream_id(NEW_REQUEST));
    hand.message(second, &other);
    hand.link.rotate(hand.now);
    let new = hand.connect();
    let mut welcome = hand.welcome(1);
    welcome.instance = InstanceId::new(3);
    hand.message(new, &Frame::Welcome(welcome));
    hand.closed(first);
    answer(&mut hand, OLD_REQUEST);
    assert!(heads(&hand.out(new)).is_empty());
    assert_eq!(heads(&hand.out(second)), [OLD_REQUEST]);
}

#[test]
fn a_new_catalog_goes_to_the_new_run() {
    let (mut hand, old, new) = between_two_runs();
    hand.out(new);
    hand.link.set_catalog(hand.now, vec![ModelInfo { name: "m".to_owned(), ..ModelInfo::default() }]);
    let catalogs = |frames: Vec<Frame>| frames.iter().filter(|frame| matches!(frame, Frame::Catalog { .. })).count();
    assert_eq!((catalogs(hand.out(old)), catalogs(hand.out(new))), (0, 1));
}

/// An edge with two live connections to the old run, told to rotate; the dials under way.
fn rotating() -> (Hand, [ConnId; 2]) {
    let mut hand = Hand::edge();
    for _ in 0..2 {
        let conn = hand.connect();
        let welcome = Frame::Welcome(hand.welcome(2));
        hand.message(conn, &welcome);
    }
    hand.link.rotate(hand.now);
    let dials = [hand.connect(), hand.connect()];
    (hand, dials)
}

fn welcome_of(hand: &Hand, run: u128) -> Frame {
    let mut welcome = hand.welcome(2);
    welcome.instance = InstanceId::new(run);
    Frame::Welcome(welcome)
}

#[test]
fn a_rotation_onto_a_new_run_ends_with_as_many_connections_as_it_wants() {
    let (mut hand, dials) = rotating();
    for conn in dials {
        let welcome = welcome_of(&hand, 3);
        hand.message(conn, &welcome);
    }
    hand.idle_for(ms(60_000), &dials);
    assert_eq!((hand.link.status().connections, hand.dials.len()), (2, 0));
}

#[test]
fn a_rotation_that_meets_both_runs_ends_with_as_many_connections_as_the_last_one_wants() {
    let (mut hand, [first, second]) = rotating();
    let new = welcome_of(&hand, 3);
    hand.message(first, &new);
    hand.closed(first);
    // The second one's welcome is of the run that the edge had left, on the way there and back.
    let missing = hand.connect();
    let old = welcome_of(&hand, 2);
    hand.message(second, &old);
    hand.message(missing, &old);
    hand.idle_for(ms(60_000), &[ConnId(0), ConnId(1), second, missing]);
    assert_eq!((hand.link.status().connections, hand.dials.len()), (2, 0));
}

#[test]
fn a_connection_that_was_being_made_when_the_certificate_changed_is_replaced_too() {
    let mut hand = Hand::edge();
    let first = hand.connect();
    let welcome = Frame::Welcome(hand.welcome(2));
    hand.message(first, &welcome);
    let second = hand.connect();
    hand.link.rotate(hand.now);
    hand.message(second, &welcome);
    let replacements = [hand.connect(), hand.connect()];
    for conn in replacements {
        hand.message(conn, &welcome);
    }
    hand.idle_for(ms(20_000), &[first, second, replacements[0], replacements[1]]);
    for old in [first, second] {
        assert!(hand.closes.contains(&(old, 1000, "replaced")), "{old:?} {:?}", hand.closes);
    }
    assert_eq!((hand.link.status().connections, hand.dials.len()), (2, 0));
}

#[test]
fn rotate_leaves_the_connections_of_the_old_run_alone() {
    let (mut hand, old, new) = between_two_runs();
    hand.link.rotate(hand.now);
    let replacement = hand.connect();
    assert!(hand.dials.is_empty(), "only the new run's connection is replaced");
    let mut welcome = hand.welcome(1);
    welcome.instance = InstanceId::new(3);
    hand.message(replacement, &Frame::Welcome(welcome));
    hand.idle_for(ms(20_000), &[old, new, replacement]);
    assert!(hand.closes.contains(&(new, 1000, "replaced")));
    assert_eq!(hand.link.status().connections, 2, "the old run's, which has a request, and one of the new run");
}

#[test]
fn a_welcome_that_wants_fewer_connections_retires_the_oldest() {
    let mut hand = Hand::edge();
    let first = hand.connect();
    hand.message(first, &Frame::Welcome(hand.welcome(2)));
    let second = hand.connect();
    hand.message(second, &Frame::Welcome(hand.welcome(1)));
    assert!(hand.out(first).contains(&Frame::Goodbye { scope: Scope::Connection }));
    hand.run_for(ms(20_000), second, |_, _| {});
    assert_eq!(hand.link.status().connections, 1);
}
