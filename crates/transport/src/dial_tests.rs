//! Each way a dial fails, over real sockets, and what its sentence tells the person to do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::tls;

struct Ca(CertifiedIssuer<'static, KeyPair>);

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
    }
}

fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2020, 2, 1);
}

fn future(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2090, 1, 1);
    params.not_after = date_time_ymd(2090, 2, 1);
}

fn as_it_is(_: &mut CertificateParams) {}

fn relay(host: &str, port: u16) -> RelayUrl {
    RelayUrl { host: host.to_owned(), port, path: "/edge".to_owned() }
}

fn client(ca: &Ca, (chain, key): Identity) -> Arc<rustls::ClientConfig> {
    tls::edge_client(chain, key, Some(&[ca.root()])).unwrap()
}

async fn sentence(url: &RelayUrl, client: Arc<rustls::ClientConfig>) -> String {
    dial(url, client).await.unwrap_err().sentence
}

/// A server with this certificate, that takes clients of `ca` and answers each with `answer`.
async fn server(ca: &Ca, (chain, key): Identity, answer: &'static [u8]) -> RelayUrl {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls::edge_server(chain, key, &[ca.root()]).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(socket).await else { return };
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    relay("localhost", port)
}

#[tokio::test]
async fn a_relay_whose_certificate_does_not_hold_is_told_by_what_is_wrong_with_it() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    for (identity, cure) in [
        (stranger.sign("localhost", as_it_is), "set relay.ca-file"),
        (ca.sign("localhost", expired), "the relay's certificate has expired"),
        (ca.sign("localhost", future), "set this machine's clock"),
        (ca.sign("relay.example.com", as_it_is), "for another name"),
    ] {
        let url = server(&ca, identity, b"").await;
        let said = sentence(&url, client(&ca, ca.sign("gpu-1", as_it_is))).await;
        assert!(said.contains(cure), "{cure}: {said}");
    }
}

#[tokio::test]
async fn an_edge_whose_certificate_is_refused_is_told_to_enrol_or_to_be_invited_again() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    for (identity, cure) in [
        (stranger.sign("gpu-1", as_it_is), "enrol this edge at this relay"),
        (ca.sign("gpu-1", expired), "this edge's certificate has expired"),
    ] {
        let url = server(&ca, ca.sign("localhost", as_it_is), b"").await;
        let said = sentence(&url, client(&ca, identity)).await;
        assert!(said.contains(cure), "{cure}: {said}");
    }
}

#[tokio::test]
async fn an_answer_that_opens_no_websocket_is_told_by_its_status() {
    let ca = Ca::new();
    for (answer, cure) in [
        (&b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"[..], "invite this edge again"),
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "tried again"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "the edges' port"),
        (b"", "the edges' port"),
    ] {
        let url = server(&ca, ca.sign("localhost", as_it_is), answer).await;
        let said = sentence(&url, client(&ca, ca.sign("gpu-1", as_it_is))).await;
        assert!(said.contains(cure), "{cure}: {said}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_no_relay() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = relay("localhost", listener.local_addr().unwrap().port());
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket
    });
    let ca = Ca::new();
    let said = sentence(&url, client(&ca, ca.sign("gpu-1", as_it_is))).await;
    assert!(said.contains("the edges' port of a causeway-relay"), "{said}");
    drop(served.await);
}

#[tokio::test]
async fn a_relay_that_does_not_run_is_to_be_started() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ca = Ca::new();
    let said = sentence(&relay("127.0.0.1", free.port()), client(&ca, ca.sign("gpu-1", as_it_is))).await;
    assert!(said.contains("start the relay"), "{said}");
}

#[tokio::test]
async fn a_metadata_or_link_local_address_is_never_dialled() {
    let ca = Ca::new();
    for host in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254"] {
        let said = sentence(&relay(host, 443), client(&ca, ca.sign("gpu-1", as_it_is))).await;
        assert!(said.contains("never contacted"), "{host}: {said}");
    }
}

#[test]
fn of_a_names_addresses_only_those_that_may_be_contacted_are_dialled() {
    let url = relay("relay.example.com", 443);
    let metadata = SocketAddr::from((Ipv4Addr::new(169, 254, 169, 254), 443));
    let own = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 443));
    let ips = |addresses: Vec<SocketAddr>| addresses.iter().map(SocketAddr::ip).collect::<Vec<IpAddr>>();
    assert_eq!(ips(permitted(&url, [metadata, own].into_iter()).unwrap()), [own.ip()]);
    let error = permitted(&url, [metadata].into_iter()).unwrap_err();
    assert!(error.sentence.contains("relay.example.com") && error.sentence.contains("169.254.169.254"), "{error:?}");
}
