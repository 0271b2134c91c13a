//! The relay's decisions. Sockets, clocks, randomness and stores are the shell's: what is needed
//! of them comes in as arguments, what is to be done goes out as values, so that another shell
//! (API Gateway and Lambda) can use the same rules unchanged.

pub mod account;
pub mod auth;
pub mod ceilings;
pub mod errors;
pub mod exchange;
pub mod framing;
pub mod headers;
pub mod intake;
pub mod limits;
pub mod merge;
pub mod metadata;
pub mod own;
pub mod quota;
pub mod readiness;
pub mod route;
pub mod routing;
pub mod spend;
pub mod terms;
