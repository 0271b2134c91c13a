//! Canonical chat to Amazon Bedrock Converse and back.
//!
//! [`map`] makes a request Bedrock's own or says why it cannot be; [`Reader`] makes the answer canonical
//! again; what a model can do is a row of [`Family`]; what went wrong is a [`Fault`]; [`Client`] carries
//! it there through the official SDK. Invariant: no retry happens here, for who calls has the deadline
//! and the budget. Absent: whether a request may go to Bedrock, what it may cost, and when it goes.

mod answer;
mod client;
mod document;
mod family;
mod fault;
mod names;
mod request;
#[cfg(test)]
mod row_tests;

pub use answer::{Reader, Times};
pub use client::{Brought, Client, Conversation, Credentials, Settings, SetupError};
pub use family::{Caching, Family, Overrides, Sampling, Thinking, Tools, TopK};
pub use fault::{Fault, Kind};
pub use request::{Mapped, Target, Unmapped, map, needs};
