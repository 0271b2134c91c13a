//! The edges' port: mutual TLS 1.3, the edge's name from its verified certificate, then the hub.

use std::net::SocketAddr;
use std::sync::Arc;

use causeway_transport::Hub;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::ca::{self, Ca};
use crate::core::limits::HANDSHAKE_TIME;
use crate::standalone::handshakes::Handshakes;

/// Send buffer of a link's socket, bytes: what lies there can no longer be overtaken by a cancel.
const SEND_BUFFER: usize = 128 * 1024;

/// The acceptor of the edges' port, with a certificate for `name` signed by the own CA.
pub(crate) fn acceptor(ca: &Ca, name: &str, listen: SocketAddr) -> anyhow::Result<TlsAcceptor> {
    let mut names = vec![name];
    if listen.ip().is_loopback() {
        names.extend(["localhost", "127.0.0.1", "::1"].into_iter().filter(|other| *other != name));
    }
    let server = ca.sign_server(&names)?;
    let (chain, key) = parse(server.chain_pem.as_bytes(), server.key_pem.as_bytes())?;
    let config = causeway_transport::tls::edge_server(chain, key, &[ca.cert_der()?])?;
    Ok(TlsAcceptor::from(config))
}

/// Certificates and key from PEM.
pub(crate) fn parse(
    chain: &[u8],
    key: &[u8],
) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?;
    if chain.is_empty() {
        anyhow::bail!("no certificate in it");
    }
    Ok((chain, PrivateKeyDer::from_pem_slice(key)?))
}

/// Serves one edge's connection until it ends.
pub(crate) async fn serve_connection(
    hub: Hub,
    socket: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    handshakes: Arc<Handshakes>,
) {
    let Some(place) = handshakes.begin(peer.ip()) else {
        tracing::warn!(%peer, "too many sockets of edges are in their TLS handshake; this one is closed");
        return;
    };
    // Both only speed things up; a socket that is gone shows at its first read.
    let _ = socket.set_nodelay(true);
    let _ = socket2::SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER);
    let socket = match timeout(HANDSHAKE_TIME, tls.accept(socket)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => {
            tracing::warn!(%peer, %error, "edge refused at the TLS handshake");
            return;
        }
        Err(_) => {
            tracing::warn!(%peer, "edge's TLS handshake took over 10 s");
            return;
        }
    };
    drop(place);
    let certificate = socket.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(edge) = certificate.and_then(ca::edge_name) else {
        tracing::warn!(%peer, "edge refused: its certificate has no causeway://edge/NAME");
        return;
    };
    hub.serve_connection(socket, edge).await;
}
