//! What callers' dialects look like: routes, model names, the body's top level, errors. Pure.
//!
//! Both programs judge by the same functions, so that what the relay authorises is what the
//! daemon runs. Absent: sockets, clocks, and (until the next step) the dialects' messages.

pub mod envelope;
pub mod error;
pub mod model;
pub mod route;
mod tail;
