//! A relay's hub and an edge's link on loopback, over real TLS with certificates made here.
#![expect(clippy::unwrap_used, reason = "a test helper fails the test by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use causeway_transport::{
    EdgeLink, EdgeLinkConfig, Hub, HubEvents, Incoming, Received, RelayLink, RelayUrl, RequestStream, tls,
};
use causeway_wire::{Backend, EdgeConfig, InstanceId, Limits, Load, ModelInfo, Open, Policy, RelayConfig, StreamId};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Generous: only a hang takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub(crate) fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        (vec![certificate.der().clone()], key)
    }
}

/// What the hub told.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) catalogs: Mutex<Vec<Vec<ModelInfo>>>,
}

impl HubEvents for Seen {
    fn up(&self, _: &RelayLink) {}
    fn down(&self, _: &RelayLink) {}
    fn catalog(&self, _: &RelayLink, models: Vec<ModelInfo>) {
        self.catalogs.lock().unwrap().push(models);
    }
    fn load(&self, _: &RelayLink, _: Load) {}
}

/// The relay's side, running.
pub(crate) struct Relay {
    pub(crate) hub: Hub,
    pub(crate) seen: Arc<Seen>,
    pub(crate) address: SocketAddr,
    pub(crate) ca: Ca,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let ca = Ca::new();
        let seen = Arc::new(Seen::default());
        let (hub, timers) = Hub::new(relay_config(), Arc::clone(&seen) as Arc<dyn HubEvents>);
        tokio::spawn(timers);
        let (chain, key) = ca.sign("localhost");
        let acceptor = tokio_rustls::TlsAcceptor::from(tls::edge_server(chain, key, &[ca.root()]).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = hub.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                causeway_transport::set_link_options(&socket).unwrap();
                let (acceptor, hub) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        hub.serve_connection(stream, "gpu-1".to_owned()).await;
                    }
                });
            }
        });
        Self { hub, seen, address, ca }
    }

    /// An edge that dials `port`, with a certificate of this relay's CA.
    pub(crate) fn edge(&self, port: u16) -> (EdgeLink, mpsc::Receiver<Incoming>) {
        self.edge_with(port, self.ca.sign("gpu-1"), &[self.ca.root()])
    }

    pub(crate) fn edge_with(
        &self,
        port: u16,
        (chain, key): Identity,
        roots: &[CertificateDer<'static>],
    ) -> (EdgeLink, mpsc::Receiver<Incoming>) {
        let tls = tls::edge_client(chain, key, Some(roots)).unwrap();
        let (link, driver, incoming) = EdgeLink::new(EdgeLinkConfig {
            wire: edge_config(),
            url: RelayUrl { host: "localhost".to_owned(), port, path: "/edge".to_owned() },
            tls: Arc::new(ArcSwap::from(tls)),
        });
        tokio::spawn(driver);
        (link, incoming)
    }

    /// The one link, once it is up.
    pub(crate) async fn link(&self) -> RelayLink {
        patiently(async {
            loop {
                if let Some(link) = self.hub.links().into_iter().next() {
                    return link;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

pub(crate) fn relay_config() -> RelayConfig {
    RelayConfig {
        instance: InstanceId::new(rand::random()),
        software: "test".to_owned(),
        limits: Limits::STANDALONE,
        max_connections: 2,
    }
}

pub(crate) fn edge_config() -> EdgeConfig {
    EdgeConfig {
        edge: "gpu-1".to_owned(),
        instance: InstanceId::new(rand::random()),
        software: "test".to_owned(),
        connections: 2,
        max_streams: 256,
        ceiling: vec![Backend::Local],
    }
}

pub(crate) fn open_stream(link: &RelayLink, body: &'static [u8]) -> RequestStream {
    let open = Open {
        edge_instance: link.edge_instance(),
        method: "POST".to_owned(),
        path: "/api/chat".to_owned(),
        headers: Vec::new(),
        model: Some("m:latest".to_owned()),
        stream: None,
        policy: Policy::local(),
        key: "k".to_owned(),
        traceparent: None,
        reply: None,
    };
    link.open(StreamId::new(1, rand::random()), open, Bytes::from_static(body), true).unwrap()
}

/// Everything up to the terminal event.
pub(crate) async fn drain(stream: &mut RequestStream) -> (Vec<u8>, Received) {
    patiently(async {
        let mut body = Vec::new();
        loop {
            match stream.recv().await {
                Received::Head(_) => {}
                Received::Data(bytes) => body.extend_from_slice(&bytes),
                terminal @ (Received::End(_) | Received::Failed(_) | Received::Cancelled(_)) => {
                    return (body, terminal);
                }
            }
        }
    })
    .await
}

/// Forwards TCP to `target`; every connection ends when the returned sender fires.
pub(crate) async fn cutting_proxy(target: SocketAddr) -> (u16, tokio::sync::broadcast::Sender<()>) {
    let (port, cut, _) = recording_proxy(target).await;
    (port, cut)
}

/// The same; also keeps every byte it forwards, both ways.
pub(crate) async fn recording_proxy(
    target: SocketAddr,
) -> (u16, tokio::sync::broadcast::Sender<()>, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, _) = tokio::sync::broadcast::channel(1);
    let record = Arc::new(Mutex::new(Vec::new()));
    let (cuts, tape) = (cut.clone(), Arc::clone(&record));
    tokio::spawn(async move {
        loop {
            let (inbound, _) = listener.accept().await.unwrap();
            let (mut cut, tape) = (cuts.subscribe(), Arc::clone(&tape));
            tokio::spawn(async move {
                let outbound = TcpStream::connect(target).await.unwrap();
                let (from_edge, to_edge) = inbound.into_split();
                let (from_relay, to_relay) = outbound.into_split();
                tokio::select! {
                    () = forward(from_edge, to_relay, &tape) => {}
                    () = forward(from_relay, to_edge, &tape) => {}
                    _ = cut.recv() => {}
                }
            });
        }
    });
    (port, cut, record)
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, tape: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        tape.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
