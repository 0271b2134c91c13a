//! What callers' dialects look like: routes, model names, the body's top level, errors. Pure.
//!
//! Both programs judge by the same functions, so that what the relay authorises is what the
//! daemon runs. One canonical request ([`chat`]) and one canonical answer ([`event`]): each dialect
//! is a parser and an encoder of them, and no dialect knows a backend. Absent: sockets, clocks.

pub mod anthropic;
pub mod chat;
pub mod document;
pub mod embed;
pub mod encode;
pub mod envelope;
pub mod error;
pub mod event;
mod fields;
pub mod hints;
pub mod image;
pub mod model;
pub mod native;
pub mod ollama;
pub mod openai;
pub mod route;
mod tail;
pub mod time;
mod weigh;
mod write;

#[cfg(test)]
#[path = "input_tests.rs"]
mod input;
#[cfg(test)]
mod testing;
#[cfg(test)]
#[path = "trap_tests.rs"]
mod traps;
