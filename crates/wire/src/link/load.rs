//! When the edge says how busy it is: on a change of 20 %, at most every `load_ms`.
//!
//! Invariant: `rev` grows with every frame, so a late one never overrides a newer one.

use std::time::{Duration, Instant};

use crate::{Frame, Load, ModelLoad};

/// Models one `load` tells of, count: some 150 bytes each, so that it fits the smallest message.
const MOST_MODELS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct LoadOut {
    current: Option<Load>,
    said: Option<(Instant, Load)>,
    rev: u64,
}

impl LoadOut {
    pub(super) fn set(&mut self, mut load: Load) {
        load.models.truncate(MOST_MODELS);
        self.current = Some(load);
    }

    /// When the current load is to be said, if it is worth saying.
    pub(super) fn due(&self, now: Instant, interval: Duration) -> Option<Instant> {
        let current = self.current.as_ref()?;
        match &self.said {
            None => Some(now),
            Some((at, said)) => differs(said, current).then(|| *at + interval),
        }
    }

    /// The frame; counts as said now.
    pub(super) fn frame(&mut self, now: Instant) -> Option<Frame> {
        let load = self.current.clone()?;
        self.rev += 1;
        self.said = Some((now, load.clone()));
        Some(Frame::Load { rev: self.rev, load })
    }
}

fn differs(said: &Load, current: &Load) -> bool {
    said.models.len() != current.models.len()
        || said.models.iter().zip(&current.models).any(|(said, current)| model_differs(said, current))
}

fn model_differs(said: &ModelLoad, current: &ModelLoad) -> bool {
    said.model != current.model
        || far(f64::from(said.in_flight), f64::from(current.in_flight))
        || far(f64::from(said.queued), f64::from(current.queued))
        || far(ms(said.wait_ms), ms(current.wait_ms))
        || far(ms(said.answer_ms), ms(current.answer_ms))
        || far(said.tokens_per_s, current.tokens_per_s)
}

/// Whether two figures are a fifth of the larger one apart.
fn far(said: f64, current: f64) -> bool {
    let difference = (said - current).abs();
    difference > 0.0 && difference >= 0.2 * said.abs().max(current.abs())
}

fn ms(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}
