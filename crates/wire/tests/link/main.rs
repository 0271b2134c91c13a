//! Two ends of a link over a simulated network, in virtual time, against a reference model.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, also in its helpers"
)]

mod net;
mod script;
mod world;

mod hand;
mod happy;
mod rules;
mod runs;
mod sim;
mod streams;
