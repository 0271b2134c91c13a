//! The relay as its users meet it: the program itself, over real sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]

mod bad_input;
mod command_line;
mod exchange;
mod keys;
mod metadata;
mod proxy;
mod spend;
mod support;
mod tls;
