//! The route table and the spellings that try to get round it.

use proptest::prelude::*;

use super::*;

#[test]
fn every_route_of_the_table_is_found_by_its_exact_path_and_method() {
    for route in Upstream::ALL {
        let id = if route == Upstream::OpenAiModel { "qwen3:8b" } else { "" };
        let path = format!("{}{id}", route.path());
        assert_eq!(classify(route.method(), &path), Target::Upstream(route), "{path}");
        assert_eq!(classify(route.method(), &format!("{path}?a=/api/pull")), Target::Upstream(route));
        assert_eq!(classify("PUT", &path), Target::WrongMethod(route.dialect(), route.method()), "{path}");
    }
}

#[test]
fn root_and_causeways_own_paths_are_the_relays() {
    assert_eq!(classify("GET", "/"), Target::Root);
    assert_eq!(classify("HEAD", "/"), Target::Root);
    assert_eq!(classify("POST", "/"), Target::WrongMethod(Dialect::Ollama, "GET, HEAD"));
    for path in ["/healthz", "/readyz", "/causeway/v1/requests/01ABC"] {
        assert_eq!(classify("GET", path), Target::Causeway);
    }
}

#[test]
fn every_spelling_of_a_management_route_is_forbidden() {
    for path in [
        "/api/pull",
        "/api/push",
        "/api/create",
        "/api/copy",
        "/api/delete",
        "/api/blobs/sha256:00",
        "/api/me",
        "/api/signout",
        "/api/user/keys/1",
        "/api/experimental/web_search",
        "/debug/pprof/heap",
        "/debug",
        "//api/pull",
        "/api//pull",
        "/api/../api/delete",
        "/api/./delete",
        "/api/chat/../pull",
        "/api%2fpull",
        "/api%2Fpull",
        "%2fapi/pull",
        "/api/%2e%2e/api/delete",
        "/api/%70ull",
        "/api/%2570ull",
        "/api/pull%00",
        "/API/PULL",
        "/Api/Delete",
        "/api/pull/",
        "/api/pull?x=1",
        "/api/pull;x",
        "/api\\pull",
        "/api/chat%5c..%5cpull",
        "/causeway/../api/pull",
        "http://127.0.0.1:11434/api/pull",
        "http://127.0.0.1:11434/api/chat",
        "HTTPS://relay/api/chat",
        "127.0.0.1:11434",
        "*",
        "",
        "/api/%zz",
        "/api/%f",
        "/v1/models/a%2fb",
    ] {
        for method in ["GET", "POST", "DELETE", "HEAD"] {
            let target = classify(method, path);
            assert!(matches!(target, Target::Forbidden(_)), "{method} {path}: {target:?}");
        }
    }
}

#[test]
fn what_is_neither_served_nor_management_is_unknown() {
    for (path, dialect) in [
        ("/API/chat", Dialect::Ollama),
        ("/api/chat/", Dialect::Ollama),
        ("/api/status", Dialect::Ollama),
        ("/api/medium", Dialect::Ollama),
        ("/metrics", Dialect::Ollama),
        ("/v1/audio/transcriptions", Dialect::OpenAi),
        ("/v1/models/", Dialect::OpenAi),
        ("/v1/models/a/b", Dialect::OpenAi),
        ("/v1/messages/batches", Dialect::Anthropic),
    ] {
        assert_eq!(classify("POST", path), Target::Unknown(dialect), "{path}");
    }
}

#[test]
fn an_escaped_letter_means_the_letter() {
    assert_eq!(classify("POST", "/api/ch%61t"), Target::Upstream(Upstream::OllamaChat));
    assert_eq!(model_in_path("/v1/models/qwen3%3A8b?x").as_deref(), Some("qwen3:8b"));
    assert_eq!(model_in_path("/v1/models"), None);
}

#[test]
fn an_answer_streams_when_its_dialect_would() {
    assert_eq!(Shape::Ndjson.of_answer(None), Shape::Ndjson);
    assert_eq!(Shape::Ndjson.of_answer(Some(false)), Shape::Whole);
    assert_eq!(Shape::Sse.of_answer(None), Shape::Whole);
    assert_eq!(Shape::Sse.of_answer(Some(true)), Shape::Sse);
    assert_eq!(Shape::Whole.of_answer(Some(true)), Shape::Whole);
}

proptest! {
    #[test]
    fn whatever_is_served_decodes_to_an_exact_path(target in "[/apivchtmodels.%2f5c;~A-Z]{0,24}") {
        if let Target::Upstream(route) = classify("POST", &target) {
            let decoded = decode(path_of(&target)).unwrap();
            prop_assert!(decoded == route.path());
        }
    }

    #[test]
    fn any_text_gives_an_answer(method in ".{0,8}", target in ".{0,64}") {
        let _ = classify(&method, &target);
        let _ = model_in_path(&target);
    }
}
