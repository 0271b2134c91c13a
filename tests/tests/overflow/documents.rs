//! Documents and cache marks: who reads them, and what is said where nobody can.

use causeway_tests::bedrock::{Tokens, Usage};

use super::*;

const PDF: &str = "JVBERi0xLjcKJeLjz9M=";

/// A question about a document, as each dialect brings it.
fn asked(dialect: &str, media_type: &str, data: &str) -> Value {
    let url = format!("data:{media_type};base64,{data}");
    match dialect {
        "/v1/messages" => json!({"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": [
            {"type": "document", "title": "May.pdf", "source": {"type": "base64", "media_type": media_type, "data": data}},
            {"type": "text", "text": "?"}]}]}),
        "/v1/responses" => json!({"model": "m", "input": [{"role": "user", "content": [
            {"type": "input_file", "filename": "May.pdf", "file_data": url}, {"type": "input_text", "text": "?"}]}]}),
        _ => json!({"model": "m", "messages": [{"role": "user", "content": [
            {"type": "file", "file": {"filename": "May.pdf", "file_data": url}}, {"type": "text", "text": "?"}]}]}),
    }
}

const DIALECTS: [&str; 3] = ["/v1/messages", "/v1/chat/completions", "/v1/responses"];

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_no_local_model_reads_goes_to_bedrock_though_this_machine_is_free() {
    let way = Way::open().await;
    way.teach().await;
    for path in DIALECTS {
        let answer = way.post(path, &asked(path, "application/pdf", PDF)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(header(&answer, "x-causeway-served-by"), Some("bedrock"), "{path}");
        assert_eq!(header(&answer, "x-causeway-reason"), Some("document"), "{path}");
        let call = way.calls().pop().unwrap();
        let content = &call.body["messages"][0]["content"];
        assert_eq!(content[0]["document"]["name"], "May pdf", "{content}");
        assert_eq!(
            (&content[0]["document"]["format"], &content[0]["document"]["source"]["bytes"]),
            (&json!("pdf"), &json!(PDF))
        );
        assert_eq!(call.body["requestMetadata"]["causeway-edge"], edge::NAME);
    }
    assert_eq!(way.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_nobody_may_or_can_read_is_refused_by_name() {
    let way = Way::with("secret", "5.0", "").await;
    for path in DIALECTS {
        let answer = way.post(path, &asked(path, "application/pdf", PDF)).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(answer.text().contains("no model on this machine reads PDF documents"), "{path}: {}", answer.text());
    }
    let mut mapped = asked("/v1/messages", "application/pdf", PDF);
    mapped["model"] = json!("secret");
    let local = way.request("/v1/messages", &mapped).header("x-causeway-route", "local-only");
    let local = whole(local.send().await.unwrap()).await;
    assert_eq!(local.status, 400, "{}", local.text());
    let six = vec![mapped["messages"][0]["content"][0].clone(); 6];
    mapped["messages"][0]["content"] = six.into();
    let six = way.post("/v1/messages", &mapped).await;
    assert_eq!(six.status, 400, "{}", six.text());
    assert!(six.text().contains("at most 5 documents"), "{}", six.text());
    assert!(way.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_text_is_read_here() {
    let way = Way::open().await;
    way.teach().await;
    for path in DIALECTS {
        let answer = way.post(path, &asked(path, "text/plain", "YSBsaXR0bGUgdGV4dA==")).await;
        assert_eq!(header(&answer, "x-causeway-served-by"), Some("local"), "{path}: {}", answer.text());
        assert_eq!(header(&answer, "x-causeway-dropped"), None, "{path}");
    }
    assert!(way.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_mark_becomes_a_cache_point_and_cached_tokens_count_as_prompt() {
    let way = Way::open().await;
    way.teach().await;
    let tokens = Tokens { input: 10, output: 5, cache_read: Some(100), cache_write: Some(1_000), total: None };
    way.bedrock.default_script(Script::text("from bedrock").usage(Usage::Exact(tokens)));
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let mut body = json!({"model": "m", "max_tokens": 16,
        "system": [{"type": "text", "text": "s", "cache_control": mark}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": mark}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "?", "cache_control": {"type": "ephemeral"}}]}]});
    let answer = way.cloud_only("/v1/messages", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(header(&answer, "x-causeway-dropped"), None);
    let sent = way.calls().pop().unwrap().body;
    let hour = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    assert_eq!((&sent["toolConfig"]["tools"][1], &sent["system"][1]), (&hour, &hour));
    assert_eq!(sent["messages"][0]["content"][1], json!({"cachePoint": {"type": "default"}}));
    let spent = way.status().await["overflow"]["budget"]["spent_usd"].as_f64().unwrap();
    // What is written for an hour costs twice.
    assert!((spent - (2_110.0 * 3e-6 + 5.0 * 15e-6)).abs() < 1e-8, "{spent}");
    // The stand-in's model calls no functions.
    body.as_object_mut().unwrap().remove("tools");
    let here = way.post("/v1/messages", &body).await;
    assert_eq!((here.status, header(&here, "x-causeway-served-by")), (200, Some("local")), "{}", here.text());
    assert_eq!(header(&here, "x-causeway-dropped"), Some("cache_control"), "as before");
}
