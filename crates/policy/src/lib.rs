//! Decisions about load, pure: time comes in as an argument, nothing reads a clock.
//!
//! [`Ledger`] decides about requests on the GPU machine: its slots, its queue, its models. Beside
//! it stand the types that its shell keeps in front of it: [`Breaker`] (is Ollama there at all),
//! [`one_more`] (how often a key may ask), and [`predicted_wait`], by which the relay chooses
//! among edges. [`Watchdog`] is the ledger's own look at a model that hangs. [`Budget`] is another
//! ledger, of money: what the machine's overflow may cost in a day.

mod breaker;
mod budget;
#[cfg(test)]
mod fixtures;
mod histogram;
mod ledger;
mod rate;
mod wait;
mod watchdog;

pub use breaker::{Breaker, Pass};
pub use budget::{
    Budget, BudgetSnapshot, Cap as BudgetCap, Day, DayBook, Exhausted, MAX_OPEN_RESERVATIONS, Price, ReservationId, Usd,
};
pub use ledger::{
    Ask, Class, Deadline, Event, Forecast, Key, Late, Ledger, Limits, Loaded, Measured, ModelId, ModelSettings,
    ModelStatus, OverflowReason, ParallelFault, Promise, Refusal, RefusalCode, Resident, Ticket, Verdict,
};
pub use rate::one_more;
pub use wait::{AnswerTime, predicted_wait};
pub use watchdog::{Check, Watchdog};
