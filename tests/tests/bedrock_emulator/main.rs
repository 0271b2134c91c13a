//! The Bedrock emulator itself: what it refuses, and that the service's own clients, Rust's here
//! and Python's through `tests/bedrock/boto3_reads.py`, read what it writes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test by panicking"
)]

mod client;
mod emulator;
mod python;
mod requests;
mod rules;
mod streams;
