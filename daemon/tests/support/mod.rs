//! The real program between a relay's hub in this process and the stand-in, over real mTLS.
#![expect(clippy::unwrap_used, reason = "a test helper fails the test by panicking")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use causeway_standin::Running;
use causeway_transport::{Hub, HubEvents, Received, RelayLink, RequestStream, tls};
use causeway_wire::{Head, InstanceId, Limits, Load, ModelInfo, Open, Policy, RelayConfig, StreamId};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// Generous: only a hang takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) catalog: Mutex<Vec<ModelInfo>>,
    pub(crate) load: Mutex<Load>,
    /// The daemon's certificate at each connection, in their order.
    pub(crate) certificates: Mutex<Vec<CertificateDer<'static>>>,
}

impl HubEvents for Seen {
    fn up(&self, _: &RelayLink) {}
    fn down(&self, _: &RelayLink) {}
    fn catalog(&self, _: &RelayLink, models: Vec<ModelInfo>) {
        *self.catalog.lock().unwrap() = models;
    }
    fn load(&self, _: &RelayLink, load: Load) {
        *self.load.lock().unwrap() = load;
    }
}

pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) seen: Arc<Seen>,
    pub(crate) daemon: Child,
    pub(crate) status: String,
    pub(crate) directory: tempfile::TempDir,
    standin: Option<Running>,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl World {
    /// Everything started, the link up and the models announced.
    pub(crate) async fn start(config: causeway_standin::Config) -> Self {
        let standin = causeway_standin::Standin::spawn(config).await.unwrap();
        let mut world = Self::launch(&standin.url()).await;
        world.standin = Some(standin);
        world.announced().await;
        world
    }

    /// The same without an Ollama at this address: only the link is up.
    pub(crate) async fn launch(ollama: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let seen = Arc::new(Seen::default());
        let (hub, port) = relay(&ca, Arc::clone(&seen)).await;
        let directory = tempfile::tempdir().unwrap();
        write_identity(directory.path(), &ca, "gpu-1");
        std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
        let text = format!(
            "[relay]\nurl = \"wss://localhost:{port}/edge\"\nca-file = \"{0}/ca.pem\"\n[identity]\ndirectory = \"{0}\"\n\
             [ollama]\nurl = \"{1}\"\n[status]\nlisten = \"127.0.0.1:0\"\n",
            directory.path().display(),
            ollama,
        );
        std::fs::write(directory.path().join("causewayd.toml"), text).unwrap();
        let (daemon, status) = run(directory.path()).await;
        let world = Self { hub, seen, daemon, status, directory, standin: None, ca };
        patiently(async {
            while world.hub.links().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        world
    }

    /// Waits until the relay knows the models.
    pub(crate) async fn announced(&self) {
        patiently(async {
            while self.seen.catalog.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub(crate) fn standin(&self) -> &Running {
        self.standin.as_ref().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.daemon.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        patiently(self.daemon.wait()).await.unwrap().code()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("causewayd.toml")
    }

    /// Replaces the identity's files.
    pub(crate) fn rename_edge(&self, name: &str) {
        write_identity(self.directory.path(), &self.ca, name);
    }

    pub(crate) fn post(&self, path: &str, body: &'static str) -> RequestStream {
        let link = self.hub.links().into_iter().next().unwrap();
        let open = Open {
            edge_instance: link.edge_instance(),
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            model: Some("standin:latest".to_owned()),
            stream: None,
            policy: Policy::local(),
            key: "k".to_owned(),
            traceparent: None,
            reply: None,
        };
        let id = StreamId::new(1, rand::random());
        link.open(id, open, Bytes::from_static(body.as_bytes()), true).unwrap()
    }

    /// The status port's answer as text.
    pub(crate) async fn get(&self, path: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(format!("{}{path}", self.status)).send().await.unwrap().text().await.unwrap()
    }
}

/// Starts the program and waits for its status port.
pub(crate) async fn run(directory: &Path) -> (Child, String) {
    let ready = directory.join("ready.json");
    let daemon = Command::new(env!("CARGO_BIN_EXE_causewayd"))
        .args(["run", "--config"])
        .arg(directory.join("causewayd.toml"))
        .arg("--ready-file")
        .arg(&ready)
        // Nothing goes through a proxy, whatever the machine says.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("ALL_PROXY", "http://127.0.0.1:9")
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let text = patiently(async {
        loop {
            if let Ok(text) = std::fs::read(&ready) {
                return text;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let file: serde_json::Value = serde_json::from_slice(&text).unwrap();
    (daemon, file["status_url"].as_str().unwrap().to_owned())
}

fn write_identity(directory: &Path, ca: &CertifiedIssuer<'_, KeyPair>, name: &str) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let uri = format!("causeway://edge/{name}");
    params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    let certificate = params.signed_by(&key, ca).unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(directory.join("chain.pem"), certificate.pem()).unwrap();
}

async fn relay(ca: &CertifiedIssuer<'_, KeyPair>, seen: Arc<Seen>) -> (Hub, u16) {
    let config = RelayConfig {
        instance: InstanceId::new(rand::random()),
        software: "test".to_owned(),
        limits: Limits::STANDALONE,
        max_connections: 2,
    };
    let (hub, timers) = Hub::new(config, Arc::clone(&seen) as Arc<dyn HubEvents>);
    tokio::spawn(timers);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = tls::edge_server(vec![certificate.der().clone()], key, &[ca.der().clone()]).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(server);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = hub.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, hub, seen) = (acceptor.clone(), serving.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(socket).await {
                    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
                    seen.certificates.lock().unwrap().push(shown);
                    hub.serve_connection(stream, "gpu-1".to_owned()).await;
                }
            });
        }
    });
    (hub, port)
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// Head and body up to the terminal event, and that.
pub(crate) async fn answer(stream: &mut RequestStream) -> (Option<Head>, Vec<u8>, Received) {
    patiently(async {
        let (mut head, mut body) = (None, Vec::new());
        loop {
            match stream.recv().await {
                Received::Head(received) => head = Some(received),
                Received::Data(bytes) => body.extend_from_slice(&bytes),
                end @ (Received::End(_) | Received::Failed(_) | Received::Cancelled(_)) => return (head, body, end),
            }
        }
    })
    .await
}
