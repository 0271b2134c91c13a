//! The relay's side: all edges' links of one process.
//!
//! A connection belongs to the link of (edge, edge instance); a hello from another instance of an
//! edge makes a new link and supersedes the old one. Absent: who may connect (TLS and the relay
//! decide before), routing.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use causeway_wire::limits::{SUBPROTOCOL, WELCOME_TIMEOUT};
use causeway_wire::{
    ConnId, Frame, Hello, InstanceId, Link, Load, ModelInfo, Open, OpenRefused, RelayConfig, Status, StreamId, decode,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use rand::SeedableRng;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::pump;
use crate::shared::{Notice, Notices, Shared, Slot, now};
use crate::stream::RequestStream;

/// New links waiting for the hub's timer task, count: it takes them at once.
const NEW_LINKS: usize = 64;

/// Told of what changes at the links; called without any lock held, in order for each link.
pub trait HubEvents: Send + Sync + 'static {
    /// A link came up (again).
    fn up(&self, link: &RelayLink);
    /// A link has no connection left, or was superseded.
    fn down(&self, link: &RelayLink);
    /// A new catalog arrived.
    fn catalog(&self, link: &RelayLink, models: Vec<ModelInfo>);
    /// Newer load arrived.
    fn load(&self, link: &RelayLink, load: Load);
}

/// One edge's link.
#[derive(Clone)]
pub struct RelayLink {
    inner: Arc<LinkInner>,
}

struct LinkInner {
    edge: String,
    instance: InstanceId,
    software: String,
    shared: Arc<Shared>,
    up: AtomicBool,
}

impl RelayLink {
    /// The edge's name, from its certificate.
    #[must_use]
    pub fn edge(&self) -> &str {
        &self.inner.edge
    }

    /// The edge's run, to put into `Open::edge_instance`.
    #[must_use]
    pub fn edge_instance(&self) -> InstanceId {
        self.inner.instance
    }

    /// The edge's software version.
    #[must_use]
    pub fn software(&self) -> &str {
        &self.inner.software
    }

    /// Opens a stream; with `fin` the body is whole.
    ///
    /// # Errors
    /// [`OpenRefused`]: nothing was sent.
    pub fn open(&self, id: StreamId, open: Open, body: Bytes, fin: bool) -> Result<RequestStream, OpenRefused> {
        self.inner.shared.with(|core, now| {
            core.link.open(now, id, open, body, fin)?;
            core.slots.insert(id, Slot::default());
            Ok(())
        })?;
        Ok(RequestStream::new(id, Arc::clone(&self.inner.shared)))
    }

    /// The present state.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.shared.peek(|core| core.link.status())
    }
}

/// All links.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<HubInner>,
}

struct HubInner {
    config: RelayConfig,
    events: Arc<dyn HubEvents>,
    /// The present link of each edge; superseded ones live on in the timer task until they are dead.
    links: Mutex<HashMap<String, RelayLink>>,
    next_conn: AtomicU64,
    fresh: mpsc::Sender<RelayLink>,
    draining: AtomicBool,
    stopping: AtomicBool,
    stop: Notify,
}

/// A link's notices, passed on with the link they are about.
struct LinkNotices {
    link: Mutex<Weak<LinkInner>>,
    events: Arc<dyn HubEvents>,
}

impl Notices for Arc<LinkNotices> {
    fn notice(&self, notice: Notice) {
        let Some(inner) = lock(&self.link).upgrade() else {
            return;
        };
        let link = RelayLink { inner };
        match notice {
            Notice::Up { .. } => {
                link.inner.up.store(true, Ordering::Release);
                self.events.up(&link);
            }
            Notice::Down(_) => {
                link.inner.up.store(false, Ordering::Release);
                self.events.down(&link);
            }
            Notice::Catalog(models) => self.events.catalog(&link, models),
            Notice::Load(load) => self.events.load(&link, load),
            Notice::Fault(text) => tracing::warn!(edge = link.edge(), fault = %text, "link fault"),
            Notice::Superseded => {}
        }
    }
}

impl Hub {
    /// The hub and the future that runs its links' timers until [`Self::shutdown`] (spawn it once).
    pub fn new(config: RelayConfig, events: Arc<dyn HubEvents>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (fresh, links) = mpsc::channel(NEW_LINKS);
        let inner = Arc::new(HubInner {
            config,
            events,
            links: Mutex::default(),
            next_conn: AtomicU64::new(1),
            fresh,
            draining: AtomicBool::default(),
            stopping: AtomicBool::default(),
            stop: Notify::new(),
        });
        let hub = Self { inner };
        (hub.clone(), run_links(hub, links))
    }

    /// Serves one edge connection from the WebSocket handshake to its end. `edge` is the name in
    /// the verified client certificate. Bad handshakes and hellos are answered and logged here.
    pub async fn serve_connection<S>(&self, io: S, edge: String)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = async {
            let mut socket =
                tokio_tungstenite::accept_hdr_async_with_config(io, check_upgrade, Some(pump::websocket_config()))
                    .await
                    .map_err(|error| format!("no WebSocket: {error}"))?;
            let (hello, text) = first_hello(&mut socket).await?;
            if hello.edge != edge {
                let reason = format!("hello says `{}`, the certificate says `{edge}`", hello.edge);
                let policy = CloseFrame { code: CloseCode::Policy, reason: "edge name".into() };
                // It learns the reason if it still listens; the log has it in any case.
                let _ = socket.close(Some(policy)).await;
                return Err(reason);
            }
            Ok::<_, String>((socket, hello, text))
        };
        let (socket, hello, text) = match tokio::time::timeout(WELCOME_TIMEOUT, accepted).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(why)) => {
                tracing::warn!(edge, why, "edge connection refused");
                return;
            }
            Err(_) => {
                tracing::warn!(edge, "edge connection said no hello within 10 s");
                return;
            }
        };
        if self.inner.stopping.load(Ordering::Acquire) {
            return;
        }
        let id = ConnId(self.inner.next_conn.fetch_add(1, Ordering::Relaxed));
        let link = self.link_for(&edge, &hello).await;
        pump::run_after(&link.inner.shared, id, socket, Some(text)).await;
    }

    /// Links with a live connection that take streams.
    #[must_use]
    pub fn links(&self) -> Vec<RelayLink> {
        let links = lock(&self.inner.links);
        links.values().filter(|link| link.inner.up.load(Ordering::Acquire)).cloned().collect()
    }

    /// goaway to all; running streams live on.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
        let links: Vec<RelayLink> = lock(&self.inner.links).values().cloned().collect();
        for link in links {
            link.inner.shared.with(|core, now| core.link.drain(now));
        }
    }

    /// Closes all connections and ends the hub's future.
    pub fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        let links: Vec<RelayLink> = lock(&self.inner.links).values().cloned().collect();
        for link in links {
            link.inner.shared.with(|core, _| {
                for (id, conn) in &mut core.conns {
                    core.link.release_last_acks(*id);
                    conn.close = Some((1001, "the relay shuts down"));
                }
            });
        }
        self.inner.stop.notify_one();
    }

    /// The link this hello belongs to: the present one of that instance, or a new one in its place.
    async fn link_for(&self, edge: &str, hello: &Hello) -> RelayLink {
        let (link, old) = {
            let mut links = lock(&self.inner.links);
            match links.get(edge) {
                Some(link) if link.inner.instance == hello.instance => return link.clone(),
                Some(_) | None => {}
            }
            let link = self.new_link(edge, hello);
            let old = links.insert(edge.to_owned(), link.clone());
            (link, old)
        };
        if let Some(old) = old {
            tracing::info!(edge, "another instance of this edge said hello; the old one is superseded");
            old.inner.shared.with(|core, now| core.link.supersede(now));
        }
        // The receiver lives as long as the hub's future; after that no timer matters any more.
        let _ = self.inner.fresh.send(link.clone()).await;
        link
    }

    fn new_link(&self, edge: &str, hello: &Hello) -> RelayLink {
        let rng = rand::rngs::StdRng::from_rng(&mut rand::rng());
        let wire = Link::relay(self.inner.config.clone(), hello, rng, now());
        let notices = Arc::new(LinkNotices { link: Mutex::default(), events: Arc::clone(&self.inner.events) });
        let shared = Shared::new(wire, None, |_| Box::new(Arc::clone(&notices)));
        if self.inner.draining.load(Ordering::Acquire) {
            shared.with(|core, now| core.link.drain(now));
        }
        let inner = Arc::new(LinkInner {
            edge: edge.to_owned(),
            instance: hello.instance,
            software: hello.software.clone(),
            shared,
            up: AtomicBool::new(false),
        });
        *lock(&notices.link) = Arc::downgrade(&inner);
        RelayLink { inner }
    }

    /// Forgets a link of which nothing can come any more.
    fn forget(&self, dead: &RelayLink) {
        let mut links = lock(&self.inner.links);
        if links.get(dead.edge()).is_some_and(|link| Arc::ptr_eq(&link.inner, &dead.inner)) {
            links.remove(dead.edge());
        }
    }
}

/// Runs every link's timers; a link that is dead is forgotten.
async fn run_links(hub: Hub, mut fresh: mpsc::Receiver<RelayLink>) {
    let mut timers = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = hub.inner.stop.notified() => return,
            Some(link) = fresh.recv() => timers.push(async move {
                link.inner.shared.run_timers(|core, now| core.link.is_dead(now)).await;
                link
            }),
            Some(dead) = timers.next(), if !timers.is_empty() => hub.forget(&dead),
        }
    }
}

/// The edge must ask for `/edge` and offer exactly our protocol.
fn check_upgrade(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    if offered.map(str::trim) != Some(SUBPROTOCOL) {
        return Err(refuse(StatusCode::BAD_REQUEST, "the client must offer exactly the subprotocol causeway.v1\n"));
    }
    if request.uri().path() != "/edge" {
        return Err(refuse(StatusCode::NOT_FOUND, "edges connect to /edge\n"));
    }
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, http::HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

fn refuse(status: StatusCode, text: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(text.to_owned()));
    *response.status_mut() = status;
    response
}

/// The first message, which must be a hello; also as text, for the link to read.
async fn first_hello<S>(socket: &mut WebSocketStream<S>) -> Result<(Hello, String), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return match decode(&text) {
                    Ok(Frame::Hello(hello)) => Ok((hello, text.to_string())),
                    Ok(_) => Err("the first message was not hello".to_owned()),
                    Err(error) => Err(format!("the first message was no frame: {error}")),
                };
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                return Err("the first message was binary".to_owned());
            }
            Some(Ok(Message::Close(_))) | None => return Err("closed before hello".to_owned()),
            Some(Err(error)) => return Err(format!("failed before hello: {error}")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
