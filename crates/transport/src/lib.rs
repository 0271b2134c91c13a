//! The link protocol on real sockets: `causeway-wire` driven over WebSocket, TLS and tokio.
//!
//! Both programs use it, so that neither writes the pump a second time. Every long future is
//! returned for the caller's composition root to own; only the edge's connections are tasks of
//! their own, in a set that the link's future owns.
//! Absent: what requests mean, who may send them, HTTP.

mod dial;
mod edge;
mod gather;
mod hub;
mod pump;
mod shared;
mod stream;
pub mod tls;

pub use dial::is_denied;
pub use edge::{EdgeLink, EdgeLinkConfig, EdgeLinkStatus, LinkFault, RelayUrl, RelayUrlError};
pub use hub::{Hub, HubEvents, RelayLink};
pub use pump::set_link_options;
pub use stream::{Incoming, Received, RequestStream};
