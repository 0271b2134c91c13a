//! What fails, and who answers then.

use causeway_standin::Fault;
use causeway_tests::bedrock::{ErrorName, Refusal};
use futures_util::future::join_all;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_that_breaks_before_its_first_token_is_stood_in_for() {
    let way = Way::open().await;
    way.standin.fail_next(4, Fault::DieAfter(0));
    let answers = join_all((0..4).map(|number| {
        let way = &way;
        async move { way.post("/api/chat", &chat(&format!("broken {number}"))).await }
    }))
    .await;
    for answer in answers {
        assert_eq!((answer.status, said(&answer).as_str()), (200, "from bedrock"), "{}", answer.text());
    }
    assert_eq!(way.calls().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_call_is_made_again_and_then_served_here() {
    let way = Way::open().await;
    way.bedrock.script(Script::refuse(Refusal::too_many_tokens()));
    let again = way.cloud_only("/api/chat", &chat("again")).await;
    assert_eq!((again.status, said(&again).as_str()), (200, "from bedrock"), "{}", again.text());
    assert_eq!(way.calls().len(), 2);
    way.bedrock.default_script(Script::refuse(Refusal::too_many_tokens()));
    let refused = way.cloud_only("/api/chat", &chat("never")).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(way.calls().len(), 5, "three calls at most");
    way.teach().await;
    let held = way.hold().await;
    let patient = way.request("/api/chat", &chat("patient")).send();
    let patient = tokio::spawn(patient);
    way.bedrock.wait_for_calls(6).await;
    drop(held);
    let answer = whole(patient.await.unwrap().unwrap()).await;
    assert_eq!((answer.status, header(&answer, "x-causeway-served-by")), (200, Some("local")), "{}", answer.text());
    let spent = way.status().await["overflow"]["budget"]["spent_usd"].as_f64().unwrap();
    assert!(spent < 0.01, "a throttle costs nothing: {spent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_retry_can_cure_is_said_once_in_the_answer_and_on_the_status_page() {
    let way = Way::open().await;
    for (refusal, expected) in [
        (Refusal::on_demand_not_supported(BEDROCK_ID), "inference profile"),
        (Refusal::new(ErrorName::AccessDenied, "You don't have access to the model"), "denies access"),
        (Refusal::new(ErrorName::ResourceNotFound, "no such model"), "does not know the mapped model"),
    ] {
        let before = way.calls().len();
        way.bedrock.script(Script::refuse(refusal));
        let answer = way.cloud_only("/v1/chat/completions", &chat("denied")).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains(expected), "{}", answer.text());
        assert_eq!(way.calls().len(), before + 1, "it is not tried again");
        assert!(way.status().await["faults"].to_string().contains(expected), "{expected}");
    }
    assert_eq!(way.cloud_only("/api/chat", &chat("mended")).await.status, 200);
    assert!(!way.status().await["faults"].to_string().contains("mapped model"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_after_its_first_token_ends_in_the_dialects_own_error() {
    let way = Way::open().await;
    let texts = || Script::new().say(["one ", "two ", "three "]);
    for script in [
        texts().throw_after(3, Refusal::new(ErrorName::InternalServer, "sorry")),
        texts().truncate_after(3),
        texts().close_after(3),
        texts().corrupt_after(3),
        texts().reset_after(3),
    ] {
        way.bedrock.script(script);
        let answer = way.cloud_only("/api/chat", &chat("break")).await;
        let last = answer.lines().pop().unwrap();
        assert!(said(&answer).starts_with("one ") && last["error"].is_string(), "{}", answer.text());
    }
    assert_eq!(way.calls().len(), 5, "nothing that was seen is asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardrail_that_intervenes_midway_ends_the_answer_as_a_filter_does() {
    let way = Way::open().await;
    way.bedrock.default_script(Script::new().say(["one ", "two "]).guardrail_after(2, "blocked"));
    let mut body = chat("guarded");
    body["stream"] = json!(false);
    let answer = way.cloud_only("/v1/chat/completions", &body).await;
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "content_filter", "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_budget_leaves_only_this_machine() {
    let way = Way::with("m", "0.02", "").await;
    // A call may cost 1,000 tokens of 15 dollars a million; what it really cost is given back.
    way.bedrock.default_script(Script::text("dear").used(1_000, 400));
    let mut served = 0;
    let refused = loop {
        let answer = way.cloud_only("/api/chat", &chat("spend")).await;
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert!(served < 5, "the budget holds");
    };
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.text().contains("budget"), "{}", refused.text());
    assert_eq!(header(&refused, "x-causeway-reason"), Some("budget_exhausted"));
    let here = way.post("/api/chat", &chat("here")).await;
    assert_eq!(header(&here, "x-causeway-served-by"), Some("local"));
    let budget = way.status().await["overflow"]["budget"].clone();
    assert!(budget["spent_usd"].as_f64().unwrap() <= 0.02, "{budget}");
    assert_eq!(way.calls().len(), served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_ends_the_call_and_what_was_seen_of_it_is_paid() {
    let way = Way::open().await;
    way.bedrock.default_script(Script::tokens(500).token_every(Duration::from_millis(20)));
    let request = way.request("/api/chat", &chat("leave")).header("x-causeway-route", "cloud-only");
    let mut stream = Box::pin(request.send().await.unwrap().bytes_stream());
    stream.next().await.unwrap().unwrap();
    drop(stream);
    way.bedrock.wait_for_ended(1).await;
    let spent = poll_until("the call is settled", PATIENCE, async || {
        let budget = way.status().await["overflow"]["budget"].clone();
        let open = budget["reserved_usd"].as_f64().unwrap() > 0.0;
        Ok((!open).then(|| budget["spent_usd"].as_f64().unwrap()))
    })
    .await
    .unwrap();
    assert!(spent > 0.0 && spent < 0.0151, "{spent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_that_breaks_under_a_hedge_leaves_the_answer_to_bedrock() {
    let way = Way::hedged(50).await;
    way.teach().await;
    way.bedrock.default_script(Script::text("from bedrock").first_token_after(Duration::from_millis(300)));
    way.standin.fail_next(1, Fault::SilentAfter(0));
    let asked = tokio::spawn(way.request("/api/chat", &chat("broken midway")).send());
    way.bedrock.wait_for_calls(1).await;
    let Way { standin, bedrock, stack: _stack, edge: _edge, cable: _cable, .. } = way;
    drop(standin);
    let answer = whole(asked.await.unwrap().unwrap()).await;
    assert_eq!((answer.status, said(&answer).as_str()), (200, "from bedrock"), "{}", answer.text());
    assert_eq!(bedrock.calls().len(), 1, "one call, which goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_killed_with_twenty_streams_before_their_first_token_is_stood_in_for_all_of_them() {
    let way = Way::open().await;
    way.teach().await;
    way.standin.fail_next(1, Fault::SilentAfter(0));
    let asked: Vec<_> = (0..20)
        .map(|number| tokio::spawn(way.request("/api/chat", &chat(&format!("killed {number}"))).send()))
        .collect();
    poll_until("one runs and the others wait or have left", PATIENCE, async || {
        let live = way.status().await["live"].as_array().map_or(0, Vec::len);
        Ok((live + way.bedrock.calls().len() >= 20).then_some(()))
    })
    .await
    .unwrap();
    let Way { standin, bedrock, stack: _stack, edge: _edge, cable: _cable, .. } = way;
    drop(standin);
    for answer in asked {
        let answer = whole(answer.await.unwrap().unwrap()).await;
        assert_eq!((answer.status, said(&answer).as_str()), (200, "from bedrock"), "{}", answer.text());
    }
    assert_eq!(bedrock.calls().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_damaged_turns_overflow_off_and_nothing_else() {
    let way = Way::open().await;
    assert_eq!(way.cloud_only("/api/chat", &chat("before")).await.status, 200);
    way.teach().await;
    let way = way.with_damaged_ledger().await;
    assert_eq!(header(&way.post("/api/chat", &chat("here")).await, "x-causeway-served-by"), Some("local"));
    assert_eq!(way.cloud_only("/api/chat", &chat("there")).await.status, 403);
    assert!(way.status().await["faults"].to_string().contains("budget.sqlite"), "{}", way.status().await["faults"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bedrock_that_is_not_reached_costs_nothing_and_one_that_hangs_up_may_have_answered() {
    let way = Way::open().await;
    way.bedrock.default_script(Script::hang_up());
    let answer = way.cloud_only("/api/chat", &chat("hang up")).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    let spent = |status: &Value| status["overflow"]["budget"]["spent_usd"].as_f64().unwrap();
    let paid = spent(&way.status().await);
    assert!(paid > 0.0, "what was sent may have been answered");
    let Way { bedrock, stack: _stack, edge, standin: _standin, api, cable: _cable } = way;
    drop(bedrock);
    let gone = api.request("POST", "/api/chat", Some(&chat("gone"))).header("x-causeway-edge", edge::NAME);
    let gone = whole(gone.header("x-causeway-route", "cloud-only").send().await.unwrap()).await;
    assert_eq!(gone.status, 503, "{}", gone.text());
    let after = spent(&edge.status.get("/api/status").await.unwrap().json());
    assert!((after - paid).abs() < 1e-12, "{paid} {after}");
}
