//! The slot ledger by its public verbs alone, in virtual time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod cold;
mod gpu;
mod judge;
mod keys;
mod life;
mod memory;
mod order;
mod prediction;
mod properties;
mod steps;
mod verdicts;
mod world;
