//! Decisions about load, pure: time comes in as an argument, nothing reads a clock.
//!
//! For now the predicted wait alone; the slot ledger, fairness, breaker and budget follow.

mod wait;

pub use wait::{AnswerTime, predicted_wait};
