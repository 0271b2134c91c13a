//! Both ports' TLS, and who is refused at the handshake.

use std::sync::Arc;

use causeway_relay::ca::Ca;
use causeway_transport::tls as link_tls;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
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

/// An edge's certificate that is valid between these two years, by this CA or by nobody.
fn dated(relay: &Relay, by_ca: bool, from: i32, until: i32) -> Identity {
    let read = |name| std::fs::read_to_string(relay.directory.path().join("ca").join(name)).unwrap();
    let ca_key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("causeway://edge/gpu-1".try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = if by_ca { params.signed_by(&key, &issuer) } else { params.self_signed(&key) }.unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    Some((vec![certificate.der().clone()], key))
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

const HTTP: &str = "GET / HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n";

/// A handshake without the subprotocol: who is let through TLS is told so, with 400.
const WEBSOCKET: &str = "GET /edge HTTP/1.1\r\nhost: relay\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn dial(
    address: std::net::SocketAddr,
    config: Arc<ClientConfig>,
    request: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut socket = patiently(TlsConnector::from(config).connect(name, socket)).await?;
    // In TLS 1.3 the server's refusal of a client comes after the client's handshake is done.
    socket.write_all(request.as_bytes()).await?;
    Ok(socket)
}

#[tokio::test]
async fn callers_negotiate_the_hybrid_group_and_may_use_tls_1_2() {
    let relay = Relay::with(true, "");
    let ca = Ca::load(&relay.directory.path().join("ca")).unwrap();
    let mut socket = dial(relay.callers, client(&ca, rustls::ALL_VERSIONS, None), HTTP).await.unwrap();
    let group = socket.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(patiently(Answer::read(&mut socket)).await.status, 200);
    let mut old = dial(relay.callers, client(&ca, &[&rustls::version::TLS12], None), HTTP).await.unwrap();
    assert_eq!(patiently(Answer::read(&mut old)).await.status, 200);
    // Plain HTTP to a TLS port ends; it is not answered.
    assert_eq!(relay.raw("GET / HTTP/1.1\r\n\r\n").await.status, 0);
}

#[tokio::test]
async fn the_edges_port_takes_edges_of_its_own_ca_over_tls_1_3_alone() {
    let relay = Relay::start();
    let ca = Ca::load(&relay.directory.path().join("ca")).unwrap();
    let good = client(&ca, rustls::ALL_VERSIONS, signed(&ca, Some("gpu-1")));
    let mut socket = dial(relay.edges, good, WEBSOCKET).await.unwrap();
    let group = socket.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(patiently(Answer::read(&mut socket)).await.status, 400);

    let within = client(&ca, rustls::ALL_VERSIONS, dated(&relay, true, 2020, 2999));
    let mut socket = dial(relay.edges, within, WEBSOCKET).await.unwrap();
    assert_eq!(patiently(Answer::read(&mut socket)).await.status, 400, "the helper makes no valid certificate");
    let stranger = Ca::create("stranger").unwrap();
    for (what, config) in [
        ("TLS 1.2", client(&ca, &[&rustls::version::TLS12], signed(&ca, Some("gpu-1")))),
        ("no certificate", client(&ca, rustls::ALL_VERSIONS, None)),
        ("another CA", client(&ca, rustls::ALL_VERSIONS, signed(&stranger, Some("gpu-1")))),
        ("an expired certificate", client(&ca, rustls::ALL_VERSIONS, dated(&relay, true, 2020, 2021))),
        ("a certificate of the future", client(&ca, rustls::ALL_VERSIONS, dated(&relay, true, 2998, 2999))),
        ("a certificate signed by itself", client(&ca, rustls::ALL_VERSIONS, dated(&relay, false, 2020, 2999))),
        ("a server's certificate", client(&ca, rustls::ALL_VERSIONS, signed(&ca, None))),
    ] {
        let refused = match dial(relay.edges, config, WEBSOCKET).await {
            Err(_) => true,
            Ok(mut socket) => patiently(socket.read(&mut [0; 64])).await.is_err(),
        };
        assert!(refused, "{what} was let in");
    }
}
