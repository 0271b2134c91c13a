//! Lists of models over several edges, within scopes.

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
