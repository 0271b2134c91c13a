//! Rules: what the edge offers and how busy it is.

use bytes::Bytes;
use causeway_wire::{Frame, Load, ModelInfo, ModelLoad};

use super::{edge_link, said, up};
use crate::hand::Hand;
use crate::net::Way;
use crate::world::ms;

#[test]
fn a_catalog_of_many_parts_arrives_whole_and_only_when_it_changed() {
    let mut world = up(40);
    let model = |number: usize| ModelInfo { name: format!("model-{number}"), slots: 1, ..ModelInfo::default() };
    let models: Vec<ModelInfo> = (0..2_000).map(model).collect();
    let now = world.net.now;
    world.record = true;
    edge_link(&mut world).set_catalog(now, models.clone());
    world.drain();
    world.run_for(ms(100));
    let parts = said(&mut world, Way::ToRelay);
    assert!(
        parts.len() > 1
            && parts.iter().all(|frame| matches!(frame, Frame::Catalog { body, .. } if body.len() <= 24 * 1024))
    );
    let now = world.net.now;
    edge_link(&mut world).set_catalog(now, models.clone());
    world.drain();
    world.run_for(ms(100));
    assert_eq!(said(&mut world, Way::ToRelay), []);
    let mut hand = Hand::relay();
    let conn = hand.up();
    for part in parts.iter().rev().chain(&parts) {
        hand.message(conn, part);
    }
    assert_eq!(hand.catalogs.len(), 1);
    let mut names: Vec<String> = hand.catalogs[0].iter().map(|model| model.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), models.len());
    let older = Frame::Catalog { rev: 0, part: 0, of: 1, body: Bytes::from_static(b"[]") };
    hand.message(conn, &older);
    assert_eq!(hand.catalogs.len(), 1);
    hand.message(conn, &Frame::Catalog { rev: 99, part: 0, of: u32::MAX, body: Bytes::from_static(b"[]") });
    assert_eq!(hand.closes.len(), 1);
}

#[test]
fn load_is_said_on_a_change_of_a_fifth_and_at_most_every_quarter_second() {
    let mut hand = Hand::edge();
    let conn = hand.up();
    let load = |wait_ms| Load { models: vec![ModelLoad { model: "m".to_owned(), wait_ms, ..ModelLoad::default() }] };
    let (start, mut said) = (hand.now, Vec::new());
    let mut note = |at, frame: Frame| {
        if let Frame::Load { rev, load } = frame {
            said.push((at - start, rev, load.models[0].wait_ms));
        }
    };
    hand.link.set_load(hand.now, load(1_000));
    hand.run_for(ms(10), conn, &mut note);
    hand.link.set_load(hand.now, load(1_100));
    hand.run_for(ms(500), conn, &mut note);
    hand.link.set_load(hand.now, load(2_000));
    hand.run_for(ms(10), conn, &mut note);
    hand.link.set_load(hand.now, load(4_000));
    hand.run_for(ms(500), conn, &mut note);
    assert_eq!(said, [(ms(0), 1, 1_000), (ms(510), 2, 2_000), (ms(760), 3, 4_000)]);
}

#[test]
fn a_load_that_is_not_newer_than_the_last_one_is_not_reported() {
    let mut hand = Hand::relay();
    let conn = hand.up();
    for rev in [2, 1, 2, 3] {
        let models = vec![ModelLoad { model: "m".to_owned(), wait_ms: rev, ..ModelLoad::default() }];
        hand.message(conn, &Frame::Load { rev, load: Load { models } });
    }
    let waits: Vec<u64> = hand.loads.iter().map(|load| load.models[0].wait_ms).collect();
    assert_eq!(waits, [2, 3]);
}
