//! The listener: connections, Ollama's `Host` and `Origin` checks, and the handle for those outside.
//!
//! Invariants: `TCP_NODELAY` everywhere; a client's end of stream drops its request at once, even
//! while it waits for a slot; ending the stand-in ends its connections.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use http::header::{HOST, ORIGIN, SERVER};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::api::{self, Reply};
use crate::config::{Config, Fault, Model};
use crate::observe::{Cancel, Observations, Ran, Seen, lock};
use crate::slots::Slots;

/// A bound stand-in that nobody runs yet.
pub struct Standin {
    listener: TcpListener,
    handle: Handle,
}

/// What tests and tools see and turn while a stand-in runs.
#[derive(Clone)]
pub struct Handle {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// A stand-in running in a task of its own; dropping this ends it.
pub struct Running {
    handle: Handle,
    task: AbortHandle,
}

/// What all connections share.
pub(crate) struct Shared {
    config: Config,
    models: RwLock<Arc<Vec<Arc<Slots>>>>,
    held: watch::Sender<bool>,
    fault: Mutex<Option<(Fault, usize)>>,
    pub(crate) observations: Arc<Observations>,
}

impl Standin {
    /// Binds the listener of `config`.
    pub async fn bind(config: Config) -> io::Result<Self> {
        let listener = listen(config.listen)?;
        let held = watch::Sender::new(false);
        let slots = |model: &Model| Arc::new(Slots::new(model.clone(), &config, held.subscribe()));
        let models = config.models.iter().map(slots).collect();
        let shared = Shared {
            observations: Arc::new(Observations::new(&config)),
            models: RwLock::new(Arc::new(models)),
            held,
            fault: Mutex::new(None),
            config,
        };
        let handle = Handle { addr: listener.local_addr()?, shared: Arc::new(shared) };
        Ok(Self { listener, handle })
    }

    /// Binds and runs in a task of the present runtime.
    pub async fn spawn(config: Config) -> io::Result<Running> {
        let standin = Self::bind(config).await?;
        let handle = standin.handle();
        let task = tokio::spawn(standin.run()).abort_handle();
        Ok(Running { handle, task })
    }

    /// Knobs and observations.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until dropped.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        loop {
            if let Ok((stream, _)) = self.listener.accept().await {
                connections.spawn(connection(stream, Arc::clone(&self.handle.shared)));
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

impl Handle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL to give to a client.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Replaces the models on offer; answers already running go on.
    pub fn set_models(&self, models: &[Model]) {
        let Shared { config, held, .. } = &*self.shared;
        let slots = models.iter().map(|model| Arc::new(Slots::new(model.clone(), config, held.subscribe()))).collect();
        *self.shared.models.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(slots);
    }

    /// Lets the next `count` inference requests, whatever their model, meet this fault.
    pub fn fail_next(&self, count: usize, fault: Fault) {
        *lock(&self.shared.fault) = Some((fault, count));
    }

    /// While held, a model that is not resident is being loaded and does not become so.
    pub fn hold_loads(&self, held: bool) {
        self.shared.held.send_replace(held);
    }

    /// Clients that left early, oldest first.
    #[must_use]
    pub fn cancels(&self) -> Vec<Cancel> {
        self.shared.observations.cancels()
    }

    /// The cancel of the answer to this seed, once.
    #[must_use]
    pub fn take_cancel(&self, seed: u64) -> Option<Cancel> {
        self.shared.observations.take_cancel(seed)
    }

    /// The last requests, oldest first; empty unless [`Config::record`] is set.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.observations.requests()
    }

    /// The digest ([`crate::text::digest`]) of the whole body last sent for this seed, once.
    #[must_use]
    pub fn take_digest(&self, seed: u64) -> Option<u64> {
        self.shared.observations.take_digest(seed)
    }

    /// Answers that have ended, in that order; empty unless [`Config::log_runs`] is set.
    #[must_use]
    pub fn runs(&self) -> Vec<Ran> {
        self.shared.observations.runs()
    }

    /// Inference requests here now, waiting ones included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.observations.in_flight()
    }

    /// The most that were ever here at once.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.shared.observations.max_in_flight()
    }

    /// Answers that ended without a cancel.
    #[must_use]
    pub fn served(&self) -> usize {
        self.shared.observations.served()
    }

    /// Slots in use of one model.
    #[must_use]
    pub fn slots_in_use(&self, model: &str) -> usize {
        self.shared.model(model).map_or(0, |slots| slots.in_use())
    }

    /// Waits until this holds; it is looked at again whenever a request has begun or ended.
    pub async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        let mut changes = self.shared.observations.changes();
        while !holds(self) {
            // The sender lives as long as `self`.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Forgets cancels, requests, digests and runs.
    pub fn clear(&self) {
        self.shared.observations.clear();
    }
}

impl Running {
    /// Ends it at once, as dropping does: its connections break off.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Deref for Running {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    pub(crate) fn models(&self) -> Arc<Vec<Arc<Slots>>> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// By the name as sent: any case, `:latest` implied, `:local` ignored.
    pub(crate) fn model(&self, name: &str) -> Option<Arc<Slots>> {
        let name = name.strip_suffix(":local").unwrap_or(name);
        let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        let models = self.models();
        let found = models.iter().find(|slots| {
            let own = slots.model.name.as_str();
            own.eq_ignore_ascii_case(name)
                || own.strip_suffix(":latest").is_some_and(|short| short.eq_ignore_ascii_case(name))
        });
        found.map(Arc::clone)
    }

    /// The fault that the next request must meet, counted down.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let mut pending = lock(&self.fault);
        let (fault, left) = pending.take()?;
        if left > 1 {
            *pending = Some((fault.clone(), left - 1));
        }
        (left > 0).then_some(fault)
    }
}

/// The library's own backlog of 128 drops the rest of a burst, and a dropped SYN costs a second.
const BACKLOG: u32 = 1_024;

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(serve(&shared, request).await) }
    });
    // An error here is a client that left or spoke no HTTP; both are its own affair.
    let _ = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service).await;
}

async fn serve(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return api::text(StatusCode::BAD_REQUEST, "text/plain", "");
    };
    let body = body.to_bytes();
    if shared.observations.records() {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        shared.observations.request(Seen {
            at: Instant::now(),
            method: head.method.to_string(),
            target: head.uri.to_string(),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: body.clone(),
        });
    }
    let allowed = !shared.config.check_host || (host_allowed(&head.headers) && origin_allowed(&head.headers));
    let mut reply = if !allowed {
        api::text(StatusCode::FORBIDDEN, "text/plain", "")
    } else if head.method == Method::OPTIONS {
        api::text(StatusCode::NO_CONTENT, "text/plain", "")
    } else {
        api::dispatch(shared, &head.method, head.uri.path(), body).await
    };
    reply.headers_mut().insert(SERVER, HeaderValue::from_static("causeway-standin"));
    reply
}

/// Ollama on loopback: no host, `localhost`, private names and addresses.
fn host_allowed(headers: &http::HeaderMap) -> bool {
    let Some(value) = headers.get(HOST) else { return true };
    let Ok(value) = value.to_str() else { return false };
    if value.is_empty() {
        return true;
    }
    let host = match value.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => value,
    };
    if let Ok(addr) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return match addr {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_unspecified(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unspecified(),
        };
    }
    let host = host.to_ascii_lowercase();
    host == "localhost" || [".localhost", ".local", ".internal"].iter().any(|suffix| host.ends_with(suffix))
}

/// Ollama's default origins: local pages and local apps.
fn origin_allowed(headers: &http::HeaderMap) -> bool {
    let Some(value) = headers.get(ORIGIN) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let Some((scheme, rest)) = value.split_once("://") else { return false };
    if matches!(scheme, "app" | "file" | "tauri" | "vscode-webview" | "vscode-file") {
        return true;
    }
    let host = rest.split(':').next().unwrap_or_default();
    matches!(scheme, "http" | "https") && matches!(host, "localhost" | "127.0.0.1" | "0.0.0.0")
}
