//! From bodies to what goes out, and what is said to be lost.

use causeway_policy::Class;
use causeway_wire::{Backend, Policy};
use serde_json::{Value, json};

use super::*;
use crate::{fixtures, gate};

fn read_as(path: &str, body: &Value, strict: bool) -> Result<Job, Failure> {
    let mut open = fixtures::open("POST", path, Some("smol:latest"));
    open.policy = Policy { allow: vec![Backend::Local], batch: true, ..Policy::local() };
    if strict {
        open.headers.push(("x-causeway-strict".to_owned(), "true".to_owned()));
    }
    let plan = gate::judge(&open, &["*".to_owned()], &fixtures::routes_of(""), |_| false).unwrap();
    let bounds = Bounds { num_ctx: Some(4_096), ..Bounds::default() };
    read(About { plan: &plan, id: "01ID", created: 1, bounds: &bounds, target: None }, body.to_string().as_bytes())
}

fn sent(part: &Outgoing) -> Value {
    serde_json::from_slice(&part.body).unwrap()
}

#[test]
fn every_route_goes_out_natively_under_the_authorised_name_and_the_one_context_length() {
    let chat = json!([{"role": "user", "content": "hi"}]);
    for (path, body, route) in [
        ("/api/chat", json!({"model": "evil", "messages": chat}), Upstream::OllamaChat),
        ("/api/generate", json!({"model": "evil", "prompt": "x"}), Upstream::OllamaGenerate),
        ("/v1/chat/completions", json!({"model": "evil", "messages": chat}), Upstream::OllamaChat),
        ("/v1/completions", json!({"model": "evil", "prompt": "x"}), Upstream::OllamaGenerate),
        ("/v1/responses", json!({"model": "evil", "input": "x"}), Upstream::OllamaChat),
        ("/v1/messages", json!({"model": "evil", "max_tokens": 5, "messages": chat}), Upstream::OllamaChat),
        ("/api/embed", json!({"model": "evil", "input": "x"}), Upstream::OllamaEmbed),
        ("/api/embeddings", json!({"model": "evil", "prompt": "x"}), Upstream::OllamaEmbeddings),
        ("/v1/embeddings", json!({"model": "evil", "input": "x"}), Upstream::OllamaEmbed),
    ] {
        let job = read_as(path, &body, false).unwrap_or_else(|failure| panic!("{path}: {failure:?}"));
        let [part] = &job.parts[..] else { panic!("{path}") };
        assert_eq!(job.route, route, "{path}");
        assert_eq!(sent(part)["model"], "smol:latest", "{path}");
        assert_eq!(sent(part)["options"]["num_ctx"], 4_096, "{path}");
        if !matches!(job.kind, Kind::Vectors(_)) {
            assert_eq!(sent(part)["stream"], true, "{path}");
        }
    }
}

#[test]
fn many_texts_are_split_and_all_of_them_are_batch() {
    let texts: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let job = read_as("/api/embed", &json!({"model": "smol", "input": texts}), false).unwrap();
    let counts: Vec<usize> = job.parts.iter().map(|part| sent(part)["input"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [16, 16, 8]);
    let (admission, _chores) = crate::admission::Admission::new(causeway_policy::Limits::default());
    let now = std::time::Instant::now();
    let settings = causeway_policy::ModelSettings { parallel: 1, forced_one: true };
    let wanted = crate::admission::Wanted { id: "01ID", model: "smol", settings, overflow: false };
    let terms = Terms { key: Key(1), deadline: None, queue_timeout: Duration::from_secs(1), overflow: false };
    let (_verdict, _place) = admission.submit(now, wanted, |model| {
        let ask = job.parts[0].need.ask(model, terms);
        assert_eq!((ask.class, ask.max_tokens), (Class::Batch, Some(0)));
        ask
    });
}

#[test]
fn what_is_lost_is_named_and_a_strict_caller_is_refused_for_what_was_meant() {
    let body = json!({"model": "m", "n": 2, "store": true, "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(read_as("/v1/chat/completions", &body, false).unwrap().dropped, "store, n");
    let Err(refused) = read_as("/v1/chat/completions", &body, true) else { panic!("not refused") };
    assert_eq!(refused.code, Code::UnsupportedParameter);
    assert!(refused.message.contains(": n;"), "{}", refused.message);
    let hint = json!({"model": "m", "store": true, "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(read_as("/v1/chat/completions", &hint, true).unwrap().dropped, "store");
}

#[test]
fn a_caller_cannot_unload_a_shared_model() {
    let Err(refused) = read_as("/api/generate", &json!({"model": "m", "keep_alive": 0}), false) else {
        panic!("not refused")
    };
    assert_eq!(refused.code, Code::RouteNotAllowed);
}

#[test]
fn prompts_that_begin_alike_have_the_same_prefix_and_others_do_not() {
    let prefix = |content: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": content}]});
        read_as("/api/chat", &body, false).unwrap().parts[0].need.prefix
    };
    let long = "w".repeat(PREFIX);
    assert_eq!(prefix(&format!("{long}a")), prefix(&format!("{long}b")));
    assert_ne!(prefix("a"), prefix("b"));
}

#[test]
fn no_body_makes_it_panic() {
    let bodies: [&[u8]; 8] =
        [b"", b"\xff\xfe", b"{", b"[]", b"null", b"{\"model\":1}", b"{\"model\":\"m\",\"messages\":7}", b"{}"];
    for path in ["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/embed"] {
        for body in bodies {
            let open = fixtures::open("POST", path, Some("m"));
            let plan = gate::judge(&open, &["*".to_owned()], &fixtures::routes_of(""), |_| false).unwrap();
            let bounds = Bounds::default();
            let read = read(About { plan: &plan, id: "01ID", created: 1, bounds: &bounds, target: None }, body);
            if let Err(failure) = read {
                assert_eq!(failure.code, Code::InvalidRequest, "{path} {body:?}");
            }
        }
    }
}
