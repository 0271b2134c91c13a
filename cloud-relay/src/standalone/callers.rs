//! The callers' port: accepts, does TLS, and runs each connection's HTTP.

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::core::limits::{CONNECTION_BUFFER, HANDSHAKE_TIME};
use crate::standalone::relay::Relay;
use crate::standalone::service::{Caller, serve};
use crate::standalone::socket::{CallerSocket, Traffic};

/// Serves one caller's connection until it closes, or, once `stop` says so, until its request ends.
pub(crate) async fn serve_connection(
    relay: Arc<Relay>,
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) {
    // A socket that is gone already shows at its first read.
    let _ = socket.set_nodelay(true);
    let outcome = match tls {
        None => serve_http(relay, socket, peer, stop).await,
        Some(tls) => match timeout(HANDSHAKE_TIME, tls.accept(socket)).await {
            Ok(Ok(socket)) => serve_http(relay, socket, peer, stop).await,
            Ok(Err(error)) => Err(format!("TLS: {error}")),
            Err(_) => Err("TLS: no handshake within 10 s".to_owned()),
        },
    };
    if let Err(why) = outcome {
        tracing::debug!(%peer, why, "caller's connection ended");
    }
}

async fn serve_http<S>(
    relay: Arc<Relay>,
    socket: S,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let traffic = Traffic::new();
    let caller = Arc::new(Caller { relay, address: peer.ip(), traffic: Arc::clone(&traffic) });
    let service = service_fn(move |request| serve(Arc::clone(&caller), request));
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(CONNECTION_BUFFER)
        // `CallerSocket` watches the time of heads with one timer a connection.
        .header_read_timeout(None::<Duration>);
    let connection = builder.serve_connection(TokioIo::new(CallerSocket::new(socket, traffic)), service);
    let mut connection = pin!(connection);
    let mut stopped = pin!(async move {
        // An error means that the process is ending anyway.
        let _ = stop.wait_for(|stop| *stop).await;
    });
    let mut stopping = false;
    std::future::poll_fn(|cx| {
        if !stopping && stopped.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await
    .map_err(|error| error.to_string())
}
