//! The relay as one process: listeners, HTTP, SQLite, configuration, command line.
//!
//! `app` is the composition root: it alone spawns tasks and owns them. Every decision about a
//! request is [`crate::core`]'s.

mod answer;
mod app;
mod attempt;
mod body;
mod books;
mod callers;
mod callers_tls;
mod cli;
mod config;
mod converse;
mod edges;
pub(crate) mod files;
mod grants;
mod handshakes;
mod init;
mod keys;
mod log;
mod metadata;
mod own;
mod own_call;
mod parts;
mod pool;
mod proxy;
mod registry;
mod relay;
mod running;
mod service;
mod socket;
mod stand_in;
mod store;
mod toml_read;

pub use cli::main;
