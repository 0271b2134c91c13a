//! Who is served first: class, then key, then deadline.

use std::time::Duration;

use causeway_policy::{Ask, Class, Deadline, Event, Key, Ticket};

use crate::gpu::Gpu;
use crate::world::{TOKENS, World, ms};

/// Serves all that wait, one after the other, and tells the order.
fn served(world: &mut World, mut running: Ticket) -> Vec<Ticket> {
    let mut order = Vec::new();
    loop {
        world.answer(running);
        let events = world.events();
        let ticket = match events[..] {
            [Event::Granted(ticket)] => ticket,
            [] => return order,
            [..] => panic!("{events:?}"),
        };
        order.push(ticket);
        running = ticket;
    }
}

fn with(world: &mut World, key: u64, class: Class) -> Ticket {
    let ask = Ask { key: Key(key), class, ..world.ask() };
    world.queued(&ask)
}

#[test]
fn keys_take_turns_however_many_requests_each_has() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let flood: Vec<Ticket> = (0..5).map(|_| with(&mut world, 2, Class::Interactive)).collect();
    let small: Vec<Ticket> = (0..2).map(|_| with(&mut world, 3, Class::Interactive)).collect();
    let order = served(&mut world, running);
    assert_eq!(order, [flood[0], small[0], flood[1], small[1], flood[2], flood[3], flood[4]]);
}

#[test]
fn a_key_that_got_more_tokens_than_estimated_pays_for_them_with_its_next_turns() {
    let mut world = World::learnt(1);
    let ask = Ask { key: Key(2), ..world.ask() };
    let (long, _) = world.submit(&ask);
    let greedy: Vec<Ticket> = (0..2).map(|_| with(&mut world, 2, Class::Interactive)).collect();
    let modest: Vec<Ticket> = (0..4).map(|_| with(&mut world, 3, Class::Interactive)).collect();
    world.now += ms(100);
    world.ledger.first_token(world.now, long);
    // Three times the estimated tokens: 350 beyond the prompt's 100.
    world.now += ms(7_000);
    world.ledger.progress(world.now, long, 350);
    world.ledger.finished(world.now, long, causeway_policy::Measured::default());
    let Some(Event::Granted(first)) = world.ledger.poll_event() else { panic!("nobody was granted") };
    assert_eq!(first, modest[0]);
    let order = served(&mut world, first);
    assert_eq!(order[..2], [modest[1], modest[2]]);
    assert!(order.contains(&greedy[1]));
}

#[test]
fn within_a_key_the_earliest_deadline_is_first() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let by = |seconds| Some(Deadline { after: Duration::from_secs(seconds), hard: true });
    let late = Ask { deadline: by(90), ..world.ask() };
    let early = Ask { deadline: by(60), ..world.ask() };
    let none = world.ask();
    let (none, late, early) = (world.queued(&none), world.queued(&late), world.queued(&early));
    assert_eq!(served(&mut world, running), [early, late, none]);
}

#[test]
fn interactive_requests_go_before_batch_work_but_every_tenth_grant_is_a_batch_one() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let batch = with(&mut world, 9, Class::Batch);
    let (first, second): (Vec<_>, Vec<_>) =
        (0..24).map(|_| with(&mut world, 1, Class::Interactive)).partition(|_| true);
    assert!(second.is_empty());
    let order = served(&mut world, running);
    let place = order.iter().position(|ticket| *ticket == batch).unwrap();
    assert!(place < 10, "{place}");
    assert_eq!(order.iter().filter(|ticket| **ticket != batch).collect::<Vec<_>>(), first.iter().collect::<Vec<_>>());
}

#[test]
fn batch_work_that_waited_a_minute_alternates_with_the_callers() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let old: Vec<Ticket> = (0..3).map(|_| with(&mut world, 9, Class::Batch)).collect();
    world.now += Duration::from_secs(61);
    let new: Vec<Ticket> = (0..3).map(|_| with(&mut world, 1, Class::Interactive)).collect();
    let order = served(&mut world, running);
    assert_eq!(order, [old[0], new[0], old[1], new[1], old[2], new[2]]);
}

#[test]
fn the_told_places_are_the_order_of_service() {
    let mut world = World::learnt(1);
    let running = world.admitted();
    let mut all = Vec::new();
    for index in 0..30_u64 {
        let class = if index % 5 == 0 { Class::Batch } else { Class::Interactive };
        let ask = Ask { key: Key(index % 4), class, ..world.ask() };
        all.push(world.queued(&ask));
    }
    let told: Vec<(u32, Ticket)> =
        all.iter().map(|ticket| (world.ledger.forecast(world.now, *ticket).unwrap().place, *ticket)).collect();
    let mut expected = told.clone();
    expected.sort();
    let order = served(&mut world, running);
    let places: Vec<Ticket> = expected.into_iter().map(|(_, ticket)| ticket).collect();
    assert_eq!(order, places);
}

#[test]
fn a_key_that_sends_a_tenth_of_the_load_gets_half_of_the_tokens_when_it_asks() {
    let (mut world, mut gpu) = (World::learnt(1), Gpu::new(1));
    let (mut small, mut flood) = (0_u64, 0_u64);
    for _ in 0..600 {
        for (key, callers, tokens) in [(1, 10, TOKENS), (2, 1, 3 * TOKENS)] {
            while gpu.of(Key(key)) < callers {
                let ask = Ask { key: Key(key), ..world.ask() };
                gpu.submit(&mut world, &ask, tokens);
            }
        }
        for done in gpu.step(&mut world) {
            let tokens = u64::from(done.tokens) + 100;
            if done.key == Key(2) { small += tokens } else { flood += tokens }
        }
    }
    let share = small as f64 / (small + flood) as f64;
    assert!((0.46..=0.54).contains(&share), "{share}");
}
