//! Routes, grants and what is booked of them, with edges that say what they spend.

use causeway_transport::{Incoming, Received};
use causeway_wire::{Backend, Code, Failure, Outcome};
use serde_json::Value;

use crate::support::{Answer, Edge, Relay, head, patiently, post, run, text, until};

const CHAT: &str = "{\"model\":\"m\",\"messages\":[],\"stream\":false}";

const BOTH: &[Backend] = &[Backend::Local, Backend::Bedrock];

async fn linked(args: &[&str], ceiling: &[Backend]) -> (Relay, String, Edge) {
    let relay = Relay::start();
    let key = relay.key(args).await;
    let edge = relay.edge_under("gpu-1", &["m:latest"], ceiling, &key).await;
    (relay, key, edge)
}

fn report(relay: &Relay, args: &[&str]) -> String {
    let config = relay.config.to_str().unwrap();
    let printed = run(&[args, &["--config", config]].concat());
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    text(&printed.stdout)
}

fn usage(relay: &Relay, by: &str) -> Vec<Value> {
    serde_json::from_str(&report(relay, &["usage", "--by", by, "--json"])).unwrap()
}

fn used(usd: f64) -> Outcome {
    Outcome { usd: Some(usd), served_by: Some(Backend::Bedrock), output_tokens: Some(5), ..Outcome::default() }
}

fn overflowed(incoming: &mut Incoming, usd: f64) {
    let mut said = head(200, "application/json");
    said.headers[1].1 = "bedrock".to_owned();
    for (name, value) in [
        ("x-causeway-reason", "predicted_wait"),
        ("x-causeway-cost-usd", "0.004"),
        ("x-causeway-dropped", "seed"),
        ("x-causeway-model", "anthropic.claude"),
    ] {
        said.headers.push((name.to_owned(), value.to_owned()));
    }
    incoming.stream.send_whole(said, "{\"done\":true}".to_owned().into(), Some(used(usd))).unwrap();
}

/// One request that the edge answers from Bedrock, and what it was granted.
async fn spending(relay: &Relay, edge: &mut Edge, key: &str, usd: f64) -> (Answer, f64) {
    let serve = async {
        let (mut incoming, _) = edge.request().await;
        let granted = incoming.open.policy.spend_max_usd;
        overflowed(&mut incoming, usd);
        (granted, incoming)
    };
    let (answer, (granted, _incoming)) = tokio::join!(relay.post("/api/chat", key, CHAT), serve);
    assert_eq!(answer.status, 200, "{answer:?}");
    (answer, granted)
}

/// Sends a request and leaves its connection open.
async fn begun(relay: &Relay, key: &str, more: &str) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt as _;
    let mut socket = relay.connect().await;
    socket.write_all(post("/api/chat", key, CHAT, &format!("connection: close\r\n{more}")).as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn a_route_is_what_key_header_and_owner_leave() {
    let (relay, key, mut edge) = linked(&[], BOTH).await;
    for (route, allow, may_spend) in [
        ("auto", BOTH, true),
        ("local-only", &[Backend::Local][..], false),
        ("cloud-only", &[Backend::Bedrock][..], true),
    ] {
        let more = format!("x-causeway-route: {route}\r\n");
        let (answer, incoming) = tokio::join!(relay.post_with("/api/chat", &key, CHAT, &more), edge.answer(200, "{}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(incoming.open.policy.allow, allow, "{route}");
        assert_eq!(incoming.open.policy.spend_max_usd > 0.0, may_spend, "{route}");
    }
    let strict = relay.key(&["--route", "local-only"]).await;
    let refused = relay.post_with("/api/chat", &strict, CHAT, "x-causeway-route: cloud-only\r\n").await;
    assert_eq!((refused.status, refused.header("x-causeway-reason")), (403, "route_conflict"));
    assert_eq!(refused.header("x-should-retry"), "false");
    let vectors = relay
        .post_with("/api/embed", &key, "{\"model\":\"m\",\"input\":\"a\"}", "x-causeway-route: cloud-only\r\n")
        .await;
    assert_eq!((vectors.status, vectors.header("x-causeway-reason")), (403, "route_conflict"));
    let serve = edge.answer(200, "{}");
    let (_, incoming) = tokio::join!(relay.post("/v1/embeddings", &key, "{\"model\":\"m\",\"input\":\"a\"}"), serve);
    assert_eq!(
        (incoming.open.policy.allow.as_slice(), incoming.open.policy.spend_max_usd),
        (&[Backend::Local][..], 0.0)
    );
}

#[tokio::test]
async fn a_model_that_its_owner_keeps_at_home_is_never_sent_out() {
    let (relay, key, mut edge) = linked(&[], &[Backend::Local]).await;
    let refused = relay.post_with("/v1/chat/completions", &key, CHAT, "x-causeway-route: cloud-only\r\n").await;
    assert_eq!((refused.status, refused.header("x-causeway-reason")), (403, "route_conflict"));
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("no owner of `m"), "{refused:?}");
    let (_, incoming) = tokio::join!(relay.post("/api/chat", &key, CHAT), edge.answer(200, "{}"));
    assert_eq!(
        (incoming.open.policy.allow.as_slice(), incoming.open.policy.spend_max_usd),
        (&[Backend::Local][..], 0.0)
    );
}

#[tokio::test]
async fn an_answer_from_bedrock_says_so_everywhere_and_usage_equals_what_was_spent() {
    let (relay, key, mut edge) = linked(&["--daily-usd", "1"], BOTH).await;
    let free = relay.key(&[]).await;
    let (answer, granted) = spending(&relay, &mut edge, &key, 0.004).await;
    assert_eq!(granted, 0.05, "a twentieth");
    for (name, value) in [
        ("x-causeway-served-by", "bedrock"),
        ("x-causeway-reason", "predicted_wait"),
        ("x-causeway-cost-usd", "0.004"),
        ("x-causeway-dropped", "seed"),
        ("x-causeway-model", "anthropic.claude"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let (_, granted) = spending(&relay, &mut edge, &free, 0.25).await;
    assert_eq!(granted, 1_000.0);
    spending(&relay, &mut edge, &key, 0.001).await;
    let total = |by: &str| usage(&relay, by).iter().map(|sum| sum["usd"].as_f64().unwrap()).sum::<f64>();
    until(async || (total("key") - 0.255).abs() < 1e-12).await;
    for by in ["model", "edge", "day"] {
        assert!((total(by) - 0.255).abs() < 1e-12, "{by}");
    }
    let mine = key.split('_').nth(1).unwrap().to_owned();
    let of_mine = usage(&relay, "key").into_iter().find(|sum| sum["of"] == mine.as_str()).unwrap();
    assert_eq!((of_mine["requests"].as_u64(), of_mine["usd"].as_f64()), (Some(2), Some(0.005)), "{of_mine}");
    assert!(report(&relay, &["usage"]).contains("0.005000"));
    let id = answer.header("x-causeway-request-id");
    let told = relay.get(&format!("/causeway/v1/requests/{id}"), &key).await.json();
    assert_eq!((told["cost_usd"].as_f64(), told["served_by"].as_str()), (Some(0.004), Some("bedrock")), "{told}");
    assert_eq!(told["reason"], "predicted_wait");
    let row = format!(
        "overflow     {id} ok key {mine} model anthropic.claude edge gpu-1 reason predicted_wait usd 0.004000000"
    );
    let row = row.replace("anthropic.claude", told["model"].as_str().unwrap());
    until(async || report(&relay, &["audit"]).contains(&row)).await;
    assert!(report(&relay, &["keys", "list"]).contains("daily-usd=1.00"));
}

#[tokio::test]
async fn a_key_that_has_spent_its_day_is_answered_locally_and_cloud_only_is_refused_until_tomorrow() {
    let (relay, key, mut edge) = linked(&["--daily-usd", "0.01"], BOTH).await;
    let (_, granted) = spending(&relay, &mut edge, &key, 0.01).await;
    assert_eq!(granted, 0.01);
    let (answer, incoming) = tokio::join!(relay.post("/api/chat", &key, CHAT), edge.answer(200, "{}"));
    assert_eq!(answer.status, 200);
    assert_eq!(
        (incoming.open.policy.allow.as_slice(), incoming.open.policy.spend_max_usd),
        (&[Backend::Local][..], 0.0)
    );
    let refused = relay.post_with("/v1/messages", &key, CHAT, "x-causeway-route: cloud-only\r\n").await;
    assert_eq!((refused.status, refused.header("x-causeway-reason")), (429, "budget_exhausted"));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    let never = relay.key(&["--daily-usd", "0"]).await;
    let refused = relay.post_with("/api/chat", &never, CHAT, "x-causeway-route: cloud-only\r\n").await;
    assert_eq!(refused.status, 429, "a cap of nothing is a cap");
}

#[tokio::test]
async fn a_relay_that_is_killed_finds_its_grants_spent() {
    let (mut relay, key, mut edge) = linked(&["--daily-usd", "0.02"], BOTH).await;
    let _socket = begun(&relay, &key, "").await;
    let (incoming, _) = edge.request().await;
    assert_eq!(incoming.open.policy.spend_max_usd, 0.01);
    relay.restart();
    assert_eq!(usage(&relay, "key")[0]["usd"], 0.01);
    let mut edge = relay.edge_under("gpu-1", &["m:latest"], BOTH, &key).await;
    let (_, granted) = spending(&relay, &mut edge, &key, 0.0).await;
    assert_eq!(granted, 0.01, "what is left");
    let (_, granted) = spending(&relay, &mut edge, &key, 0.01).await;
    assert_eq!(granted, 0.01, "it was told that nothing of it was spent");
    let refused = relay.post_with("/api/chat", &key, CHAT, "x-causeway-route: cloud-only\r\n").await;
    assert_eq!(refused.status, 429);
    assert!(report(&relay, &["audit"]).contains("grant_lost"));
}

#[tokio::test]
async fn a_caller_who_leaves_pays_what_the_edge_then_says_and_no_more() {
    let (relay, key, mut edge) = linked(&["--daily-usd", "1"], BOTH).await;
    for (answered, usd) in [(false, Some(0.002)), (true, Some(0.003)), (false, None)] {
        let socket = begun(&relay, &key, "").await;
        let (mut incoming, _) = edge.request().await;
        if answered {
            let mut said = head(200, "application/x-ndjson");
            said.headers[1].1 = "bedrock".to_owned();
            incoming.stream.send_head_with(said, "{}\n".into()).unwrap();
            let mut byte = [0; 1];
            socket.readable().await.unwrap();
            let _ = socket.try_read(&mut byte);
        }
        drop(socket);
        while !matches!(patiently(incoming.stream.recv()).await, Received::Cancelled(_)) {}
        let outcome = Outcome { usd, ..Outcome::default() };
        incoming.stream.fail(Failure { outcome, ..Failure::new(Code::Cancelled, "cancelled") });
        // Its last word must be delivered before the stream is let go.
        let (_, _) = spending(&relay, &mut edge, &key, 0.0).await;
    }
    until(async || usage(&relay, "key").iter().any(|sum| sum["usd"] == 0.005)).await;
}

#[tokio::test]
async fn what_an_edge_spends_beyond_its_grant_is_booked_and_audited() {
    let (relay, key, mut edge) = linked(&["--daily-usd", "0.10"], BOTH).await;
    spending(&relay, &mut edge, &key, 3.5).await;
    until(async || usage(&relay, "key").iter().any(|sum| sum["usd"] == 3.5)).await;
    assert!(report(&relay, &["audit"]).contains("it spent more than it was granted, 3.50 USD"));
    let refused = relay.post_with("/api/chat", &key, CHAT, "x-causeway-route: cloud-only\r\n").await;
    assert_eq!(refused.status, 429);
}

#[tokio::test]
async fn a_second_edge_gets_what_the_first_has_left_of_the_grant() {
    let (relay, key, mut first) = linked(&["--daily-usd", "1"], BOTH).await;
    let mut second = relay.edge_under("gpu-2", &["m:latest"], BOTH, &key).await;
    for (spent, left) in [(None, 0.05), (Some(0.02), 0.03)] {
        let serve = async {
            let ((mut incoming, _), took) = tokio::select! {
                request = first.request() => (request, 1),
                request = second.request() => (request, 2),
            };
            assert_eq!(incoming.open.policy.spend_max_usd, 0.05);
            let outcome = Outcome { usd: spent, ..Outcome::default() };
            incoming.stream.fail(Failure { outcome, ..Failure::new(Code::Draining, "drains").retryable() });
            let other = if took == 1 { &mut second } else { &mut first };
            let (mut again, _) = other.request().await;
            let granted = again.open.policy.spend_max_usd;
            overflowed(&mut again, 0.01);
            (granted, incoming, again)
        };
        let (answer, (granted, ..)) = tokio::join!(relay.post("/api/chat", &key, CHAT), serve);
        assert_eq!((answer.status, granted), (200, left), "{answer:?}");
    }
    until(async || usage(&relay, "key").iter().any(|sum| sum["usd"] == 0.04)).await;
}

#[tokio::test]
async fn a_request_whose_edge_is_replaced_runs_on_its_next_run_without_money() {
    let (relay, key, mut edge) = linked(&["--daily-usd", "1"], BOTH).await;
    let mut socket = begun(&relay, &key, "").await;
    let (_incoming, _) = edge.request().await;
    // Another run says hello: the first one's streams are lost, and nobody knows what it spent.
    let mut next = Edge::dial(&relay, "gpu-1", &["m:latest"], BOTH);
    let (mut incoming, _) = next.request().await;
    assert_eq!(
        (incoming.open.policy.allow.as_slice(), incoming.open.policy.spend_max_usd),
        (&[Backend::Local][..], 0.0)
    );
    incoming.stream.send_whole(head(200, "application/json"), "{}".into(), None).unwrap();
    assert_eq!(patiently(Answer::read(&mut socket)).await.status, 200);
    until(async || usage(&relay, "key").iter().any(|sum| sum["usd"] == 0.05)).await;
    assert!(report(&relay, &["audit"]).contains("no word came of what it spent; its grant counts"));
}

#[tokio::test]
async fn a_lost_request_goes_to_another_edge_only_if_it_could_not_spend() {
    for (ceiling, elsewhere) in [(&[Backend::Local][..], true), (BOTH, false)] {
        let (relay, key, mut first) = linked(&["--daily-usd", "1"], ceiling).await;
        let mut second = relay.edge_under("gpu-2", &["m:latest"], ceiling, &key).await;
        let serve = async {
            let ((mut incoming, _), took) = tokio::select! {
                request = first.request() => (request, 1),
                request = second.request() => (request, 2),
            };
            incoming.stream.fail(Failure::new(Code::LinkLost, "given up"));
            let other = if took == 1 { &mut second } else { &mut first };
            if elsewhere {
                other.answer(200, "{}").await;
            }
            incoming
        };
        let (answer, _incoming) = tokio::join!(relay.post("/api/chat", &key, CHAT), serve);
        assert_eq!(answer.status, if elsewhere { 200 } else { 502 }, "{answer:?}");
        assert!(first.incoming.try_recv().is_err() && second.incoming.try_recv().is_err(), "it ran no third time");
        if !elsewhere {
            assert_eq!(answer.header("x-causeway-reason"), "link_lost");
            until(async || usage(&relay, "key").iter().any(|sum| sum["usd"] == 0.05)).await;
        }
    }
}

#[tokio::test]
async fn a_request_that_could_not_spend_leaves_an_edge_whose_link_stays_away() {
    let (relay, key, mut first) = linked(&[], &[Backend::Local]).await;
    let mut socket = begun(&relay, &key, "x-causeway-edge: gpu-1\r\n").await;
    let (_pinned, _) = first.request().await;
    let mut free = begun(&relay, &key, "").await;
    let (_incoming, _) = first.request().await;
    let mut second = relay.edge_under("gpu-2", &["m:latest"], &[Backend::Local], &key).await;
    drop(first);
    second.answer(200, "{\"n\":2}").await;
    let answer = patiently(Answer::read(&mut free)).await;
    assert_eq!((answer.status, answer.header("x-causeway-edge")), (200, "gpu-2"), "{answer:?}");
    // Who wants that one edge waits for it.
    assert!(socket.try_read(&mut [0; 1]).is_err(), "it waits for its edge to come back");
    assert!(second.incoming.try_recv().is_err());
    tokio::io::AsyncWriteExt::shutdown(&mut socket).await.unwrap();
}

#[tokio::test]
async fn a_cap_that_is_no_amount_is_refused_with_what_was_expected() {
    let relay = Relay::start();
    let config = relay.config.to_str().unwrap();
    for cap in ["-1", "NaN", "inf", "five", "1e9"] {
        let refused = run(&["keys", "create", "--config", config, "--name", "x", "--daily-usd", cap]);
        assert_eq!(refused.status.code(), Some(64), "{cap}");
        assert!(text(&refused.stderr).contains("from 0 to 1000000"), "{cap}: {}", text(&refused.stderr));
    }
}

#[tokio::test]
async fn many_at_once_never_get_more_than_the_cap_together() {
    let (relay, key, mut edge) = linked(&["--daily-usd", "0.20"], BOTH).await;
    let mut sockets = Vec::new();
    for _ in 0..64 {
        sockets.push(begun(&relay, &key, "").await);
    }
    let mut requests = Vec::new();
    for _ in 0..64 {
        requests.push(edge.request().await.0);
    }
    let granted: f64 = requests.iter().map(|incoming| incoming.open.policy.spend_max_usd).sum();
    assert!((granted - 0.20).abs() < 1e-9, "{granted}");
    for incoming in &mut requests {
        let most = incoming.open.policy.spend_max_usd;
        overflowed(incoming, most);
    }
    for socket in &mut sockets {
        assert_eq!(patiently(Answer::read(socket)).await.status, 200);
    }
    until(async || usage(&relay, "key").iter().any(|sum| sum["usd"] == 0.2)).await;
}
