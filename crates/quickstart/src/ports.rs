//! Ports on loopback.
//!
//! Invariant: a port that a person named and that is taken gives a message with the flag to change.
//! Absent: holding a port for a child. Between the look and the child's bind another program may
//! take it; the child then ends and the start is tried again where the system chose the port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, bail};

/// A port that is free now: the one asked for, or any for 0.
pub(crate) fn free(port: u16, flag: &str) -> anyhow::Result<u16> {
    match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
        Ok(listener) => Ok(listener.local_addr()?.port()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!("port {port} on 127.0.0.1 is taken: choose another with {flag} PORT ({flag} 0: any free one)")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on 127.0.0.1:{port} ({flag})")),
    }
}
