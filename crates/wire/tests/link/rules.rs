//! The rules of a link: what the two ends say to each other beside their streams.

mod catalog;
mod connections;
mod dialling;
mod greeting;
mod memory;
mod refusals;
mod sending;
mod unknown;

use causeway_wire::{Frame, Link};

use crate::happy::quiet;
use crate::net::Way;
use crate::world::{World, ms};

fn up(seed: u64) -> World {
    let mut world = World::new(seed, quiet());
    world.run_for(ms(1_000));
    world
}

fn edge_link(world: &mut World) -> &mut Link {
    &mut world.edge.as_mut().unwrap().link
}

/// The frames of one way since the last call, without pings and pongs.
fn said(world: &mut World, way: Way) -> Vec<Frame> {
    let frames = std::mem::take(&mut world.frames);
    let frames = frames.into_iter().filter(|(_, of, _)| *of == way).map(|(_, _, frame)| frame);
    frames.filter(|frame| !matches!(frame, Frame::Ping { .. } | Frame::Pong { .. })).collect()
}
