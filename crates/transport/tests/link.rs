//! The link over real sockets and real mutual TLS.

mod support;

use bytes::Bytes;
use causeway_transport::{Received, tls};
use causeway_wire::{Code, Failure, Head, ModelInfo, Outcome};
use support::{Ca, Relay, cutting_proxy, drain, open_stream, patiently, recording_proxy};
use tokio::net::TcpStream;

fn ok() -> Head {
    Head { status: 200, headers: Vec::new() }
}

#[tokio::test]
async fn a_request_and_its_answer_cross_the_link() {
    let relay = Relay::start().await;
    let (_edge, mut incoming) = relay.edge(relay.address.port());
    let mut caller = open_stream(&relay.link().await, b"{\"model\":\"m\"}");

    let mut request = patiently(incoming.recv()).await.unwrap();
    let (body, end) = drain(&mut request.stream).await;
    assert_eq!(body, b"{\"model\":\"m\"}");
    assert_eq!(end, Received::End(None));
    request.stream.send_head_with(ok(), Bytes::from_static(b"Hello ")).unwrap();
    request.stream.send_now(Bytes::from_static("wörld".as_bytes())).unwrap();
    let outcome = Outcome { output_tokens: Some(2), ..Outcome::default() };
    request.stream.finish(Some(outcome.clone()));

    assert_eq!(patiently(caller.recv()).await, Received::Head(ok()));
    let (answer, end) = drain(&mut caller).await;
    assert_eq!(answer, "Hello wörld".as_bytes());
    assert_eq!(end, Received::End(Some(outcome)));
}

#[tokio::test]
async fn dropping_the_callers_end_cancels_the_edges() {
    let relay = Relay::start().await;
    let (_edge, mut incoming) = relay.edge(relay.address.port());
    let caller = open_stream(&relay.link().await, b"");
    let mut request = patiently(incoming.recv()).await.unwrap();
    drop(caller);
    let received = patiently(async {
        loop {
            match request.stream.recv().await {
                Received::Data(_) | Received::End(_) => tokio::task::yield_now().await,
                other @ (Received::Cancelled(_) | Received::Failed(_) | Received::Head(_)) => {
                    return other;
                }
            }
        }
    })
    .await;
    assert!(matches!(received, Received::Cancelled(_)), "{received:?}");
}

#[tokio::test]
async fn an_edge_that_drops_a_request_fails_it_for_the_caller() {
    let relay = Relay::start().await;
    let (_edge, mut incoming) = relay.edge(relay.address.port());
    let mut caller = open_stream(&relay.link().await, b"");
    drop(patiently(incoming.recv()).await.unwrap());
    let (_, end) = drain(&mut caller).await;
    assert!(matches!(end, Received::Failed(Failure { code: Code::Internal, .. })), "{end:?}");
}

#[tokio::test]
async fn an_answer_survives_the_death_of_both_connections_whole_and_in_order() {
    let relay = Relay::start().await;
    let (port, cut) = cutting_proxy(relay.address).await;
    let (_edge, mut incoming) = relay.edge(port);
    let mut caller = open_stream(&relay.link().await, b"");
    let mut request = patiently(incoming.recv()).await.unwrap();

    request.stream.send_head(ok());
    let mut expected = Vec::new();
    for round in 0..3 {
        for index in 0..200 {
            let line = format!("line {round}.{index}\n");
            expected.extend_from_slice(line.as_bytes());
            request.stream.send_now(Bytes::from(line)).unwrap();
            if index == 100 {
                cut.send(()).unwrap();
            }
            tokio::task::yield_now().await;
        }
        // The next round is on another connection.
        relay.link().await;
    }
    request.stream.finish(None);
    let (answer, end) = drain(&mut caller).await;
    assert_eq!(String::from_utf8(answer).unwrap(), String::from_utf8(expected).unwrap());
    assert_eq!(end, Received::End(None));
}

#[tokio::test]
async fn a_draining_edge_finishes_what_runs_and_takes_nothing_new() {
    let relay = Relay::start().await;
    let (edge, mut incoming) = relay.edge(relay.address.port());
    let mut caller = open_stream(&relay.link().await, b"");
    let mut request = patiently(incoming.recv()).await.unwrap();
    edge.drain();
    request.stream.send_whole(ok(), Bytes::from_static(b"done"), None).unwrap();
    assert_eq!(drain(&mut caller).await.0, b"done");
}

#[tokio::test]
async fn the_relay_learns_the_edges_models() {
    let relay = Relay::start().await;
    let (edge, _incoming) = relay.edge(relay.address.port());
    let model = ModelInfo { name: "m:latest".to_owned(), slots: 2, ..ModelInfo::default() };
    edge.set_catalog(vec![model.clone()]);
    patiently(async {
        while !relay.seen.catalogs.lock().unwrap().iter().any(|catalog| *catalog == [model.clone()]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_certificate_of_another_ca_is_refused_and_the_edge_says_so() {
    let relay = Relay::start().await;
    let stranger = Ca::new();
    let (edge, _incoming) = relay.edge_with(relay.address.port(), stranger.sign("gpu-1"), &[relay.ca.root()]);
    patiently(async {
        while edge.status().last_fault.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(relay.hub.links().is_empty());
}

#[tokio::test]
async fn the_link_negotiates_tls_1_3_with_the_hybrid_post_quantum_group() {
    let relay = Relay::start().await;
    let (chain, key) = relay.ca.sign("gpu-1");
    let config = tls::edge_client(chain, key, Some(&[relay.ca.root()])).unwrap();
    let tcp = TcpStream::connect(relay.address).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    let (_, connection) = stream.get_ref();
    assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(connection.negotiated_key_exchange_group().unwrap().name(), rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn the_edge_port_refuses_tls_1_2() {
    let relay = Relay::start().await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(relay.ca.root()).unwrap();
    let (chain, key) = relay.ca.sign("gpu-1");
    let config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let tcp = TcpStream::connect(relay.address).await.unwrap();
    let refused = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
        .connect("localhost".try_into().unwrap(), tcp)
        .await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn who_listens_between_daemon_and_relay_sees_no_byte_of_prompt_or_answer() {
    const CANARY: &[u8] = b"canary-in-the-prompt";
    let relay = Relay::start().await;
    let (port, _cut, tape) = recording_proxy(relay.address).await;
    let (_edge, mut incoming) = relay.edge(port);
    let mut caller = open_stream(&relay.link().await, CANARY);
    let mut request = patiently(incoming.recv()).await.unwrap();
    let (body, _) = drain(&mut request.stream).await;
    assert_eq!(body, CANARY);
    request.stream.send_whole(ok(), Bytes::from_static(CANARY), None).unwrap();
    assert_eq!(drain(&mut caller).await.0, CANARY);

    let tape = tape.lock().unwrap();
    assert!(tape.len() > 2 * CANARY.len(), "nothing went through the proxy");
    for secret in [CANARY, b"/api/chat", b"gpu-1"] {
        assert!(!tape.windows(secret.len()).any(|window| window == secret));
    }
}

#[tokio::test]
async fn a_second_process_with_the_same_certificate_takes_over_and_the_first_says_so() {
    let relay = Relay::start().await;
    let (first, _first_incoming) = relay.edge(relay.address.port());
    let old = relay.link().await;
    // A second connection of the first that came later would take the identity back.
    patiently(async {
        while first.status().connections < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut caller = open_stream(&old, b"");
    let (_second, mut incoming) = relay.edge(relay.address.port());
    let (_, end) = drain(&mut caller).await;
    assert!(matches!(end, Received::Failed(_)), "{end:?}");
    patiently(async {
        while !first.status().superseded {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let new = patiently(async {
        loop {
            let link = relay.link().await;
            if link.edge_instance() != old.edge_instance() {
                return link;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let _caller = open_stream(&new, b"");
    assert!(patiently(incoming.recv()).await.is_some());
}
