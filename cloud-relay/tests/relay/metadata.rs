//! Lists of models over several edges, within scopes.

use causeway_wire::{Code, Failure};

use crate::support::Relay;

const SHOW: &str =
    r#"{"details":{"family":"llama"},"license":"l","modelfile":"f","system":"secret","messages":[],"tensors":[]}"#;

#[tokio::test]
async fn without_an_edge_lists_are_empty_and_the_version_is_unknown() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    assert_eq!(relay.get("/api/tags", &key).await.body, "{\"models\":[]}");
    assert_eq!(relay.get("/v1/models", &key).await.body, "{\"object\":\"list\",\"data\":[]}");
    assert_eq!(relay.get("/api/version", &key).await.status, 503);
    let ready = relay.get("/readyz", &key).await;
    assert_eq!((ready.status, ready.json()["ready"].as_bool()), (503, Some(false)));
}

#[tokio::test]
async fn one_edges_answer_is_its_own_bytes_and_several_are_united() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    let scoped = relay.key(&["--models", "b"]).await;
    let elsewhere = relay.key(&["--edges", "gpu-9"]).await;
    let mut first = relay.edge("gpu-1", &["a:latest"], &key).await;
    let bytes = "{ \"models\": [ {\"name\":\"a:latest\"} ] }";
    let (answer, _) = tokio::join!(relay.get("/api/tags", &key), first.answer(200, bytes));
    assert_eq!(answer.body, bytes);
    let (ready, hidden) = (relay.get("/readyz", &key).await, relay.get("/readyz", &elsewhere).await);
    assert_eq!(ready.status, 200);
    assert!(ready.body.contains("gpu-1") && !hidden.body.contains("gpu-1"));
    let models = |answer: crate::support::Answer| answer.json()["edges"][0]["models"].to_string();
    assert_eq!(models(ready), "[\"a:latest\"]");
    assert_eq!(models(relay.get("/readyz", &scoped).await), "[]", "models outside the key's scope");
    assert_eq!(relay.get("/api/tags", &elsewhere).await.body, "{\"models\":[]}");

    let mut second = relay.edge("gpu-2", &["b:latest"], &key).await;
    let more = "{\"models\":[{\"name\":\"b:latest\"},{\"name\":\"a\"}]}";
    for (key, expected) in [
        (&key, "{\"models\":[{\"name\":\"a:latest\"},{\"name\":\"b:latest\"}]}"),
        (&scoped, "{\"models\":[{\"name\":\"b:latest\"}]}"),
    ] {
        let (answer, ..) =
            tokio::join!(relay.get("/api/tags", key), first.answer(200, bytes), second.answer(200, more));
        assert_eq!(answer.body, expected);
    }
    let (answer, ..) = tokio::join!(
        relay.get("/api/version", &key),
        first.answer(200, "{\"version\":\"0.10.1\"}"),
        second.answer(200, "{\"version\":\"0.9.7\"}")
    );
    assert_eq!(answer.body, "{\"version\":\"0.9.7\"}");
}

#[tokio::test]
async fn show_loses_what_its_owner_wrote() {
    let relay = Relay::start();
    let key = relay.key(&["--admin"]).await;
    let mut edge = relay.edge("gpu-1", &["m:latest"], &key).await;
    let (answer, incoming) = tokio::join!(relay.post("/api/show", &key, r#"{"name":"m"}"#), edge.answer(200, SHOW));
    assert_eq!(answer.body, "{\"details\":{\"family\":\"llama\"}}");
    assert_eq!(incoming.open.model.as_deref(), Some("m:latest"));
    let edges = relay.get("/causeway/v1/edges", &key).await;
    assert_eq!(edges.json()["edges"][0]["edge"], "gpu-1");
    let plain = relay.key(&[]).await;
    assert_eq!(relay.get("/causeway/v1/edges", &plain).await.status, 403);
}

#[tokio::test]
async fn a_pinned_list_shows_that_edge_alone_and_a_pin_is_judged_as_for_inference() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    let elsewhere = relay.key(&["--edges", "gpu-1"]).await;
    let _first = relay.edge("gpu-1", &["a:latest"], &key).await;
    let mut second = relay.edge("gpu-2", &["b:latest"], &key).await;
    let list = |key: &str, pin: &str| {
        let request = format!(
            "GET /api/tags HTTP/1.1\r\nhost: relay\r\nx-api-key: {key}\r\nx-causeway-edge: {pin}\r\nconnection: close\r\n\r\n"
        );
        relay.raw(request)
    };
    let models = "{\"models\":[{\"name\":\"b:latest\"}]}";
    let (answer, _) = tokio::join!(list(&key, "gpu-2"), second.answer(200, models));
    assert_eq!((answer.body.as_str(), answer.header("x-causeway-edge")), (models, "gpu-2"));
    for (key, pin, status, code) in [(&elsewhere, "gpu-2", 403, "route_conflict"), (&key, "gpu-9", 503, "edge_offline")]
    {
        let list = list(key, pin).await;
        let inference =
            relay.post_with("/api/chat", key, r#"{"model":"b"}"#, &format!("x-causeway-edge: {pin}\r\n")).await;
        assert_eq!((list.status, list.header("x-causeway-reason")), (status, code));
        assert_eq!((list.status, list.body), (inference.status, inference.body));
    }
}

#[tokio::test]
async fn a_model_is_asked_about_at_two_edges_at_most() {
    let relay = Relay::start();
    let key = relay.key(&[]).await;
    let mut edges = Vec::new();
    for name in ["gpu-1", "gpu-2", "gpu-3"] {
        edges.push(relay.edge(name, &["m:latest"], &key).await);
    }
    let [first, second, third] = edges.as_mut_slice() else { panic!("three edges") };
    let failing = async {
        let mut asked = 0;
        loop {
            let (mut incoming, _) = tokio::select! {
                request = first.request() => request,
                request = second.request() => request,
                request = third.request() => request,
            };
            asked += 1;
            incoming.stream.fail(Failure::new(Code::LocalUnavailable, "Ollama is down"));
            if asked == 2 {
                return;
            }
        }
    };
    let (answer, ()) = tokio::join!(relay.post("/api/show", &key, r#"{"model":"m"}"#), failing);
    assert_eq!((answer.status, answer.header("x-causeway-reason")), (503, "local_unavailable"));
    assert!([first, second, third].iter().all(|edge| edge.incoming.is_empty()), "a third edge was asked");
}
