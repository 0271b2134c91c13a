//! The link protocol on real sockets: `causeway-wire` driven over WebSocket, TLS and tokio.
//!
//! Both programs use it, so that neither writes the pump a second time. It spawns nothing by
//! itself: every long future is returned for the caller's composition root to own.
//! Absent: what requests mean, who may send them, HTTP.

mod dial;
mod edge;
mod hub;
mod pump;
mod shared;
mod stream;
pub mod tls;

pub use edge::{EdgeLink, EdgeLinkConfig, EdgeLinkStatus, RelayUrl, RelayUrlError};
pub use hub::{Hub, HubEvents, RelayLink};
pub use pump::set_link_options;
pub use stream::{Incoming, Received, RequestStream};
