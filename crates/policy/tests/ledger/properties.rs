//! Any course of events, watched by a reference; and who waits for how long.

use causeway_policy::{Ask, Class, Event, Key, Ticket};
use proptest::prelude::*;

use crate::judge::Judge;
use crate::steps::steps;

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_course_of_events_keeps_slots_loads_deadlines_work_and_tickets(
        slots in 1_u32..5, models in 1_usize..4, steps in prop::collection::vec(steps(), 1..120)
    ) {
        let mut judge = Judge::new(models, slots);
        for step in &steps {
            judge.apply(step);
        }
        judge.finish();
    }

    #[test]
    fn any_course_of_events_of_one_model_alone_does(
        slots in 1_u32..5, steps in prop::collection::vec(steps(), 1..120)
    ) {
        let mut judge = Judge::new(1, slots);
        for step in &steps {
            judge.apply(step);
        }
        judge.finish();
    }

    /// All requests alike: between the coming of a key's only request and its grant, each other
    /// key of its class is served at most twice, and batch work waits for at most ten grants a turn.
    #[test]
    fn every_key_of_every_class_is_served_within_a_bound(
        arrivals in prop::collection::vec((0_u64..4, prop::bool::weighted(0.3), 0_usize..3), 1..80)
    ) {
        let mut world = crate::world::World::learnt(1);
        let mut running = world.admitted();
        let mut waiting: Vec<(Ticket, u64, bool, Vec<u64>)> = Vec::new();
        for (key, batch, answers) in arrivals {
            let class = if batch { Class::Batch } else { Class::Interactive };
            let flood = key == 0;
            if (flood || !waiting.iter().any(|(_, other, lane, _)| (*other, *lane) == (key, batch))) && waiting.len() < 60 {
                let ask = Ask { key: Key(key), class, ..world.ask() };
                waiting.push((world.queued(&ask), key, batch, Vec::new()));
            }
            for _ in 0..answers {
                if waiting.is_empty() {
                    break;
                }
                world.answer(running);
                let events = world.events();
                let [Event::Granted(ticket)] = events[..] else { panic!("{events:?}") };
                let place = waiting.iter().position(|(other, ..)| *other == ticket).unwrap();
                let (_, key, lane, seen) = waiting.remove(place);
                prop_assert!(key == 0 || seen.len() <= if lane { 90 } else { 12 }, "{seen:?}");
                for other in 1..4 {
                    let times = seen.iter().filter(|served| **served == other).count();
                    prop_assert!(key == 0 || lane || times <= 2, "{seen:?}");
                }
                let of_its_lane = waiting.iter_mut().filter(|(_, _, other, _)| lane || !other || *other);
                of_its_lane.for_each(|(.., seen)| seen.push(if lane { 9 } else { key }));
                running = ticket;
            }
        }
    }
}
