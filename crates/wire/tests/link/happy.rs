//! The way of one request when nothing goes wrong.

use causeway_wire::Frame;

use crate::net::{Faults, Way};
use crate::script::Script;
use crate::world::{Verdict, World, ms};

pub(crate) fn quiet() -> Faults {
    Faults { delay: ms(5), ..Faults::default() }
}

#[test]
fn a_request_goes_there_and_its_answer_comes_back() {
    let mut world = World::new(1, quiet());
    world.run_for(ms(500));
    assert_eq!(world.edge.as_ref().unwrap().link.status().connections, 2);
    world.record = true;
    world.open(0, Script::plain(b"{\"model\":\"m\"}", 3_000, 100, 10));
    world.run_for(ms(2_000));
    assert_eq!(world.calls[&0].verdict, Some(Verdict::Whole));
    assert_eq!(world.calls[&0].received, 3_000);
    world.judge_rest();
    let answer =
        world.frames.iter().filter(|(_, way, frame)| *way == Way::ToRelay && !matches!(frame, Frame::Ack { .. }));
    let first = answer.map(|(_, _, frame)| frame).next().unwrap();
    assert!(matches!(first, Frame::Head { body, .. } if !body.is_empty()), "{first:?}");
}

#[test]
fn megabytes_go_both_ways_through_the_windows() {
    let mut world = World::new(2, Faults { bandwidth: 5_000_000, ..quiet() });
    world.run_for(ms(500));
    let mut script = Script::plain(&vec![b'b'; 5_000_000], 5_000_000, 60_000, 1);
    script.body_at_once = 1_000_000;
    world.open(0, script);
    world.run_for(ms(20_000));
    assert_eq!(world.calls[&0].verdict, Some(Verdict::Whole));
    world.judge_rest();
}
