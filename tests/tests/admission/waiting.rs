//! Who runs, who waits, who is refused, who leaves.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn eight_callers_on_one_slot_are_served_one_after_the_other() {
    let way = Way::open(vec![Model::named("m").paced(8, Duration::ZERO, Duration::from_millis(2))]).await;
    way.ollama().clear();
    let callers = (0..8).map(|number| {
        let way = &way;
        async move {
            let prompt = format!("caller {number}");
            let answer = way.post("/api/chat", &chat("m", &prompt)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let said: String =
                answer.lines().iter().map(|line| line["message"]["content"].as_str().unwrap().to_owned()).collect();
            assert_eq!(said, text::answer(text::seed(&prompt), 8));
        }
    });
    join_all(callers).await;
    let runs = way.ollama().runs();
    assert_eq!((runs.len(), way.ollama().served(), way.ollama().max_in_flight()), (8, 8, 1));
    assert!(runs.windows(2).all(|pair| pair[0].ended <= pair[1].came), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_deadline_that_cannot_be_met_is_refused_before_ollama_hears_of_it() {
    let way = Way::open(vec![slow("m")]).await;
    way.teach("m").await;
    let held = way.hold("m").await;
    let waiting: Vec<_> =
        (0..4).map(|n| tokio::spawn(way.request("/api/chat", &chat("m", &n.to_string())).send())).collect();
    way.until_waiting(4).await;
    let before = way.seen("/api/chat").len();
    // As batch work it is behind the four, of whom each takes 0.2 s; with its deadline it would else be first.
    let late = way.request("/api/chat", &chat("m", "late")).header("x-causeway-priority", "batch");
    let late = late.header("x-causeway-first-token-ms", "300");
    let refused = whole(late.send().await.unwrap()).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(header(&refused, "x-causeway-reason"), Some("saturated"));
    let ms: u64 = header(&refused, "retry-after-ms").unwrap().parse().unwrap();
    let seconds: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!(ms > 300 && seconds == ms.div_ceil(1_000), "{ms} ms, {seconds} s");
    assert!(refused.json()["error"].is_string(), "{}", refused.text());
    assert_eq!(way.seen("/api/chat").len(), before);
    drop(held);
    for answer in waiting {
        assert_eq!(whole(answer.await.unwrap().unwrap()).await.status, 200);
    }
    assert!(!way.ollama().runs().iter().any(|run| run.seed == text::seed("late")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_caller_who_leaves_never_reaches_ollama() {
    let way = Way::open(vec![slow("m")]).await;
    let held = way.hold("m").await;
    let leaver = tokio::spawn(way.request("/api/chat", &chat("m", "leaver")).send());
    way.until_waiting(1).await;
    leaver.abort();
    way.until_waiting(0).await;
    drop(held);
    let after = way.post("/api/chat", &chat("m", "after")).await;
    assert_eq!(after.status, 200, "{}", after.text());
    let left = way.seen("/api/chat").into_iter().any(|seen| String::from_utf8_lossy(&seen.body).contains("leaver"));
    assert!(!left, "a request whose caller had left reached Ollama");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_the_next_and_serves_those_who_wait() {
    let way = Way::with(vec![slow("m")], "[admission]\nqueue-limit = 1").await;
    let held = way.hold("m").await;
    let waiting = tokio::spawn(way.request("/api/chat", &chat("m", "waits")).send());
    way.until_waiting(1).await;
    let refused = way.post("/v1/chat/completions", &chat("m", "too many")).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(header(&refused, "x-causeway-reason"), Some("saturated"));
    assert_eq!(refused.json()["error"]["code"], "saturated");
    assert!(header(&refused, "retry-after-ms").unwrap().parse::<u64>().unwrap() > 0);
    drop(held);
    assert_eq!(whole(waiting.await.unwrap().unwrap()).await.status, 200);
    assert!(!way.ollama().runs().iter().any(|run| run.seed == text::seed("too many")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_model_is_loaded_once_for_all_who_wait_and_not_aborted_by_one_who_leaves() {
    let way = Way::open(vec![Model::named("cold")]).await;
    way.ollama().hold_loads(true);
    let ask = |prompt: &str| tokio::spawn(way.request("/api/chat", &chat("cold", prompt)).send());
    let (first, second, leaver) = (ask("first"), ask("second"), ask("leaver"));
    way.until_waiting(3).await;
    let loads = || {
        let empty = |seen: &Seen| !String::from_utf8_lossy(&seen.body).contains("\"prompt\"");
        way.seen("/api/generate").iter().filter(|seen| empty(seen)).count()
    };
    poll_until("the load has begun", PATIENCE, async || Ok((loads() == 1).then_some(()))).await.unwrap();
    leaver.abort();
    way.until_waiting(2).await;
    assert!(way.seen("/api/chat").is_empty(), "a request was sent to a model that is not loaded");
    way.ollama().hold_loads(false);
    for answer in [first, second] {
        assert_eq!(whole(answer.await.unwrap().unwrap()).await.status, 200);
    }
    assert_eq!((loads(), way.ollama().served(), way.ollama().cancels().len()), (1, 2, 0));
}
