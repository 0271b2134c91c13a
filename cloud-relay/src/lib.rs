//! The relay: callers on one side, edges on the other.
//!
//! [`core`] decides (who may, where to, what comes back) and knows no socket, clock or store;
//! `standalone` is the shell around it that runs as one process. Absent: what the edges' links
//! look like on the wire (`causeway-transport`), what dialects look like (`causeway-dialect`).

pub mod ca;
pub mod core;
mod standalone;

pub use standalone::main;
