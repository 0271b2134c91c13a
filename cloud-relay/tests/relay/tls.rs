//! Both ports' TLS, and who is refused at the handshake.

use std::sync::Arc;

use causeway_relay::ca::Ca;
use causeway_transport::tls as link_tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, NamedGroup, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Answer, Relay, patiently};

type Identity = Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>;

fn signed(ca: &Ca, edge: Option<&str>) -> Identity {
    let signed = match edge {
        Some(name) => ca.sign_edge(name).unwrap(),
        None => ca.sign_server(&["127.0.0.1"]).unwrap(),
    };
    let chain = vec![CertificateDer::from_pem_slice(signed.chain_pem.as_bytes()).unwrap()];
    Some((chain, PrivateKeyDer::from_pem_slice(signed.key_pem.as_bytes()).unwrap()))
}

fn client(ca: &Ca, versions: &[&'static rustls::SupportedProtocolVersion], identity: Identity) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.cert_der().unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(link_tls::provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

async fn dial(address: std::net::SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut socket = patiently(TlsConnector::from(config).connect(name, socket)).await?;
    // In TLS 1.3 the server's refusal of a client comes after the client's handshake is done.
    socket.write_all(b"GET / HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n").await?;
    Ok(socket)
}

#[tokio::test]
async fn callers_negotiate_the_hybrid_group_and_may_use_tls_1_2() {
    let relay = Relay::with(true, "");
    let ca = Ca::load(&relay.directory.path().join("ca")).unwrap();
    let mut socket = dial(relay.callers, client(&ca, rustls::ALL_VERSIONS, None)).await.unwrap();
    let group = socket.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(patiently(Answer::read(&mut socket)).await.status, 200);
    let mut old = dial(relay.callers, client(&ca, &[&rustls::version::TLS12], None)).await.unwrap();
    assert_eq!(patiently(Answer::read(&mut old)).await.status, 200);
    // Plain HTTP to a TLS port ends; it is not answered.
    assert_eq!(relay.raw("GET / HTTP/1.1\r\n\r\n").await.status, 0);
}

#[tokio::test]
async fn the_edges_port_takes_edges_of_its_own_ca_over_tls_1_3_alone() {
    let relay = Relay::start();
    let ca = Ca::load(&relay.directory.path().join("ca")).unwrap();
    let good = client(&ca, rustls::ALL_VERSIONS, signed(&ca, Some("gpu-1")));
    let mut socket = dial(relay.edges, good).await.unwrap();
    let group = socket.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    // Let through TLS, it is told that this is no WebSocket handshake.
    assert!(patiently(Answer::read(&mut socket)).await.status != 101);

    let stranger = Ca::create("stranger").unwrap();
    for (what, config) in [
        ("TLS 1.2", client(&ca, &[&rustls::version::TLS12], signed(&ca, Some("gpu-1")))),
        ("no certificate", client(&ca, rustls::ALL_VERSIONS, None)),
        ("another CA", client(&ca, rustls::ALL_VERSIONS, signed(&stranger, Some("gpu-1")))),
        ("a server's certificate", client(&ca, rustls::ALL_VERSIONS, signed(&ca, None))),
    ] {
        let refused = match dial(relay.edges, config).await {
            Err(_) => true,
            Ok(mut socket) => patiently(socket.read(&mut [0; 64])).await.is_err(),
        };
        assert!(refused, "{what} was let in");
    }
}
