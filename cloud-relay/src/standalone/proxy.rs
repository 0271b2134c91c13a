//! The proxy for clients that cannot send a key: a loopback port whose requests go to the relay with
//! the key added, and whose answers come back as they are.
//!
//! Invariants: only this machine's programs are served, no web page: the `Host` must be loopback's
//! and an `Origin` too (a page could otherwise use the key through its visitor's browser); a client's
//! own credential never travels; a client that leaves cancels its request. Absent: any judgement of
//! a request, which is the relay's.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use causeway_dialect::error;
use causeway_dialect::route::{Dialect, Target, classify};
use causeway_wire::Code;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::core::limits::{CONNECTION_BUFFER, DRAIN_TIME, IDLE_TIME};

/// Clients at once, count: programs of one machine.
const MAX_CLIENTS: usize = 256;

/// Time to reach the relay.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// A connection to the relay that rests so long is not used again: below the relay's own limit.
const POOL_TIME: Duration = Duration::from_secs(90);

/// A connection that hears nothing is asked whether it lives: this machine may have slept.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// After a failed accept (no file descriptors left) nothing is tried for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Headers that belong to one connection (RFC 9110, 7.6.1), and those that the proxy sets itself.
const OWN: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
];

/// What the proxy is told at its start.
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    /// The `Authorization` of every request.
    pub(crate) key: HeaderValue,
    pub(crate) tls: rustls::ClientConfig,
}

/// What all requests share.
struct Proxy {
    scheme: Scheme,
    authority: Authority,
    key: HeaderValue,
    client: Client<HttpsConnector<HttpConnector>, Incoming>,
}

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Serves until a signal, then lets run what runs; a second signal forces.
///
/// # Errors
///
/// The port is taken, or signals cannot be listened to.
pub(crate) async fn serve(settings: Settings) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        anyhow::anyhow!("--listen {}: {error}; end what listens there, or choose another port", settings.listen)
    })?;
    let address = listener.local_addr()?;
    let line = format!("listening on http://{address} for {}://{}\n", settings.scheme, settings.authority);
    tokio::io::stdout().write_all(line.as_bytes()).await?;
    let proxy = Arc::new(Proxy::new(settings));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopping) = watch::channel(false);
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(_) = clients.join_next() => {}
            accepted = listener.accept(), if clients.len() < MAX_CLIENTS => match accepted {
                Ok((socket, _)) => { clients.spawn(client(Arc::clone(&proxy), socket, stopping.clone())); }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // Nobody listens any more only if every client has gone.
    let _ = stop.send(true);
    let all_gone = async { while clients.join_next().await.is_some() {} };
    tokio::select! {
        () = all_gone => Ok(ExitCode::SUCCESS),
        () = tokio::time::sleep(DRAIN_TIME) => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// Serves one client's connection until it closes, or, once `stop` says so, until its request ends.
async fn client(proxy: Arc<Proxy>, socket: TcpStream, mut stop: watch::Receiver<bool>) {
    // A socket that is gone already shows at its first read.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, Infallible>(proxy.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    // It also runs while a connection rests, and clients keep theirs for a while.
    builder.max_buf_size(CONNECTION_BUFFER).timer(TokioTimer::new()).header_read_timeout(IDLE_TIME);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    tokio::select! {
        // What went wrong on a client's connection is told to it or is its own affair.
        _ = connection.as_mut() => return,
        // An error means that the process is ending anyway.
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

impl Proxy {
    fn new(settings: Settings) -> Self {
        let Settings { scheme, authority, key, tls, .. } = settings;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIME));
        tcp.set_keepalive(Some(KEEPALIVE));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let mut pool = Client::builder(TokioExecutor::new());
        pool.pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_TIME);
        Self { scheme, authority, key, client: pool.build(connector) }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let dialect = dialect(request.method().as_str(), &target);
        if request.uri().authority().is_some() || request.method() == http::Method::CONNECT {
            let message = "this is no proxy for other addresses: send the path alone";
            return own(dialect, StatusCode::BAD_REQUEST, Code::InvalidRequest, message);
        }
        if !is_local(request.headers()) {
            let message = "only programs of this machine are served: the Host or Origin of the request is another's";
            return own(dialect, StatusCode::FORBIDDEN, Code::RouteNotAllowed, message);
        }
        let (mut parts, body) = request.into_parts();
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(target);
        let Ok(uri) = uri.build() else {
            return own(dialect, StatusCode::BAD_REQUEST, Code::InvalidRequest, "the path cannot be passed on");
        };
        parts.uri = uri;
        strip(&mut parts.headers);
        parts.headers.insert(header::AUTHORIZATION, self.key.clone());
        match self.client.request(Request::from_parts(parts, body)).await {
            Ok(mut answer) => {
                strip(answer.headers_mut());
                answer.map(Either::Left)
            }
            Err(error) => {
                let message = format!(
                    "the relay {}://{} cannot be reached: {}; check --relay, --ca-file and the network",
                    self.scheme,
                    self.authority,
                    innermost(&error)
                );
                own(dialect, StatusCode::BAD_GATEWAY, Code::LinkLost, &message)
            }
        }
    }
}

/// The dialect in which a client of this path reads errors.
fn dialect(method: &str, target: &str) -> Dialect {
    match classify(method, target) {
        Target::Upstream(route) => route.dialect(),
        Target::Forbidden(dialect) | Target::WrongMethod(dialect, _) | Target::Unknown(dialect) => dialect,
        Target::Root | Target::Causeway => Dialect::Ollama,
    }
}

fn own(dialect: Dialect, status: StatusCode, code: Code, message: &str) -> Answer {
    let body = Full::from(error::body(dialect, code, message));
    let mut answer = Response::new(Either::Right(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Takes away what belongs to one connection, also what `Connection` itself names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OWN) {
        headers.remove(name);
    }
}

/// Whether a program of this machine sends it.
fn is_local(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let host = headers.get_all(header::HOST).iter().count() == 1 && text(header::HOST).is_some_and(is_loopback_host);
    // Pages load pictures and scripts without an Origin; browsers name their site here.
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let other_site = site.is_some_and(|site| !matches!(site, "none" | "same-origin"));
    let origin = text(header::ORIGIN)
        .is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| is_loopback_host(host)));
    host && origin && !other_site
}

fn is_loopback_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::headers::lines as headers;

    #[test]
    fn programs_of_this_machine_are_served_and_web_pages_are_not() {
        for lines in [
            &[("host", "127.0.0.1:11435")][..],
            &[("host", "LOCALHOST:11435"), ("origin", "http://localhost:3000")],
            &[("host", "[::1]:11435")],
        ] {
            assert!(is_local(&headers(lines)), "{lines:?}");
        }
        for lines in [
            &[][..],
            &[("host", "127.0.0.1:1"), ("host", "127.0.0.1:1")],
            &[("host", "127.0.0.1:1"), ("sec-fetch-site", "cross-site")],
            &[("host", "evil.example:11435")],
            &[("host", "127.0.0.1.evil.example")],
            &[("host", "127.0.0.1:1"), ("origin", "https://evil.example")],
            &[("host", "127.0.0.1:1"), ("origin", "null")],
            &[("host", "192.0.2.1")],
        ] {
            assert!(!is_local(&headers(lines)), "{lines:?}");
        }
    }

    #[test]
    fn a_clients_credential_and_what_belongs_to_its_connection_stay_behind() {
        let mut map = headers(&[
            ("authorization", "Bearer ollama"),
            ("x-api-key", "dummy"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("host", "127.0.0.1"),
            ("content-type", "application/json"),
            ("x-request-id", "mine"),
        ]);
        strip(&mut map);
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-type", "x-request-id"]);
    }
}
