//! The status port: loopback, read-only, GET only, Host checked, no CORS.
//!
//! Invariants: nothing here changes state, shows a prompt, an answer or a key, or is reachable
//! through the tunnel (the route table has none of its paths). A foreign `Host` is refused, so
//! that no web page can read it by rebinding a name. Absent: collecting the facts (`view.rs`).

mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use serde::Serialize;
use tokio::net::TcpListener;

pub(crate) use view::{Certificate, View};

/// The first page: self-contained, no foreign asset.
const PAGE: &str = include_str!("status/page.html");

/// Only the page's own style and script run, and they talk to this port alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, view: Arc<View>) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|socket| {
        // Refused only where the socket is already gone.
        let _set = socket.set_nodelay(true);
    });
    axum::serve(listener, router(view, address)).await
}

fn router(view: Arc<View>, address: SocketAddr) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/requests", get(requests))
        .with_state(view)
        .layer(middleware::from_fn_with_state(address, guard))
}

/// Refuses other methods than GET and other hosts than loopback's names with this port.
async fn guard(State(address): State<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| is_own(host, address.port())) {
        let message = "misdirected: this port answers only to loopback names\n";
        return (StatusCode::MISDIRECTED_REQUEST, message).into_response();
    }
    if request.method() != Method::GET {
        return (StatusCode::METHOD_NOT_ALLOWED, [("allow", "GET")], "this port only answers GET\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn is_own(host: &str, port: u16) -> bool {
    let (name, said) = match host.rsplit_once(':') {
        Some((name, digits)) if !digits.ends_with(']') => (name, digits.parse().ok()),
        _ => (host, Some(80)),
    };
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    is_loopback && said == Some(port)
}

async fn page() -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

async fn status(State(view): State<Arc<View>>) -> Response {
    json(StatusCode::OK, &view.snapshot())
}

async fn readiness(State(view): State<Arc<View>>) -> Response {
    let readiness = view.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &readiness)
}

async fn requests(State(view): State<Arc<View>>) -> Response {
    json(StatusCode::OK, &view.requests())
}

async fn metrics(State(view): State<Arc<View>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], view.metrics()).into_response()
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
