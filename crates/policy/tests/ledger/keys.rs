//! Bounded waiting with far more keys than the ledger remembers.

use std::collections::HashMap;
use std::time::Duration;

use causeway_policy::{Ask, Class, Event, Key, Ledger, Limits, Resident, Ticket, Verdict};
use proptest::prelude::*;

use crate::world::{World, settings};

/// More than a class of a model remembers by several times.
const KEYS: u64 = 1_000;
/// The longest that the ledger lets anybody wait: who is refused meanwhile was not served in time.
const HOUR: Duration = Duration::from_secs(3_600);

/// A learnt world with one slot, and room for `queue` to wait.
fn crowd(queue: usize) -> World {
    let mut world = World::learnt(1);
    world.ledger = Ledger::new(Limits { queue });
    world.model = world.ledger.model(world.now, "m", settings(1)).unwrap();
    world.ledger.resident(world.now, &[Resident { model: world.model, context: None }]);
    for _ in 0..20 {
        let ticket = world.admitted();
        world.answer(ticket);
    }
    world
}

/// One slot in a crowd: who waits, and for how many grants.
struct Crowd {
    world: World,
    running: (Ticket, u64),
    waiting: HashMap<Ticket, (u64, u32)>,
    longest: u32,
}

impl Crowd {
    fn new(queue: usize) -> Crowd {
        let mut world = crowd(queue);
        let running = (world.admitted(), 0);
        Crowd { world, running, waiting: HashMap::new(), longest: 0 }
    }

    fn waits(&self, key: u64) -> bool {
        self.waiting.values().any(|(other, _)| *other == key)
    }

    /// A request of a key that has none waiting.
    fn ask(&mut self, key: u64, prompt_bytes: u64, class: Class) {
        if self.waits(key) {
            return;
        }
        let ask = Ask { key: Key(key), prompt_bytes, class, queue_timeout: HOUR, ..self.world.ask() };
        let (ticket, verdict) = self.world.submit(&ask);
        match verdict {
            Verdict::Queue(_) => drop(self.waiting.insert(ticket, (key, 0))),
            Verdict::Refuse(_) => {}
            Verdict::Admit | Verdict::Overflow(_) => panic!("{verdict:?}"),
        }
    }

    /// Ends the running request; the key that is served next.
    fn serve(&mut self) -> Option<u64> {
        self.world.answer(self.running.0);
        let events = self.world.events();
        let [Event::Granted(ticket)] = events[..] else { panic!("{events:?}") };
        let (key, waited) = self.waiting.remove(&ticket)?;
        self.longest = self.longest.max(waited);
        self.waiting.values_mut().for_each(|(_, waited)| *waited += 1);
        self.running = (ticket, key);
        Some(key)
    }
}

#[test]
fn a_key_that_always_waits_is_served_however_many_others_come_and_go() {
    let mut crowd = Crowd::new(64);
    let (mut served, mut next) = (0, 1);
    for _ in 0..3_000 {
        crowd.ask(0, 400, Class::Interactive);
        for _ in 0..2 {
            crowd.ask(next, 400, Class::Interactive);
            next = next % KEYS + 1;
        }
        served += u32::from(crowd.serve() == Some(0));
    }
    // A thousandth of the grants would be three.
    assert!(served >= 3, "{served}");
}

#[test]
fn a_key_whose_prompt_was_said_to_be_endless_is_served_again() {
    let mut crowd = Crowd::new(64);
    crowd.ask(7, u64::MAX, Class::Interactive);
    while crowd.serve() != Some(7) {}
    crowd.world.ledger.failed(crowd.world.now, crowd.running.0);
    crowd.running.0 = crowd.world.admitted();
    let mut served = false;
    for round in 0..4_000 {
        crowd.ask(7, 400, Class::Interactive);
        (1..=3).for_each(|key| crowd.ask(key, 40_000, Class::Interactive));
        served |= crowd.serve() == Some(7);
        if served {
            return;
        }
        assert!(round < 3_999, "never served again");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every request waits for a number of grants that depends on how many others there are and how
    /// their sizes differ, and not on who comes after it.
    #[test]
    fn every_one_of_a_thousand_keys_that_keeps_asking_is_served_within_a_bound(
        queue in 16_usize..40, stayers in 1_u64..6, arrivals in 1_u64..3, seed in 1_u64..
    ) {
        let mut crowd = Crowd::new(queue);
        let (mut state, mut next) = (seed, 0);
        for _ in 0..1_500 {
            (KEYS..KEYS + stayers).for_each(|key| crowd.ask(key, 400, Class::Interactive));
            for _ in 0..arrivals {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let chance = state >> 33;
                let class = if chance.is_multiple_of(16) { Class::Batch } else { Class::Interactive };
                // Each comes again when all others have: the ledger has forgotten it by then.
                next = (next + 7) % KEYS;
                crowd.ask(next, 100 + chance % 900, class);
            }
            crowd.serve();
            let waited = crowd.waiting.values().map(|(_, waited)| *waited).max().unwrap_or_default();
            // Of as many keys as are remembered or wait each is twice ahead at most, for none costs
            // less than half of a stayer; and batch work that has grown old alternates.
            prop_assert!(waited <= 2 * 2 * (256 + 40), "{waited}");
        }
    }
}
