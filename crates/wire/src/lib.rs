//! The link protocol `causeway.v1` between causewayd (the edge) and the relay, without I/O.
//!
//! Two types do the work. A [`Stream`] is one request: sequence numbers, acknowledgements,
//! resends, window and terminal state. A [`Link`] is an edge's presence at a relay: connections,
//! hello and welcome, rotation, liveness, catalog, load, and the table of its streams. Both are
//! driven by the same five verbs, always in this order:
//!
//! 1. `handle_input` or `handle_timeout` (or an application verb such as [`Link::send`]),
//! 2. `poll_event` until it returns `None`,
//! 3. `poll_transmit` whenever a socket can take a message,
//! 4. `poll_timeout` to learn when to call `handle_timeout` next.
//!
//! The one rule: after any mutation, drain `poll_event` before the next mutation.
//! Time (`now`) and randomness are arguments; nothing here reads a clock, a file or a socket.
//! Absent on purpose: sockets, TLS, tasks (see `crates/transport`) and what a request means
//! (see the two programs). `docs/protocol.md` is the specification for people.

mod code;
mod frame;
mod ids;
pub mod limits;
mod link;
mod stream;

pub use code::Code;
pub use frame::*;
pub use ids::{ConnId, InstanceId, ParseIdError, StreamId};
pub use limits::Limits;
pub use link::{DialFailure, Down, EdgeConfig, Event, Input, Link, OpenRefused, RelayConfig, Status};
pub use stream::{Gone, SendRefused, Stream, StreamEvent, Windows};
