//! Questions about models, without an edge, a stream or a clock.

use super::*;

fn answer(edge: &str, status: u16, body: &str) -> Outcome {
    let mut arriving = Arriving::default();
    arriving.head(Head { status, headers: vec![("content-type".to_owned(), "application/json".to_owned())] });
    arriving.data(body.as_bytes()).unwrap();
    arriving.end(edge)
}

fn failed() -> Outcome {
    Outcome::Failed(Refusal::new(Code::LinkLost, "lost"))
}

fn full() -> Outcome {
    Outcome::NotTaken(Refusal::new(Code::Saturated, "full"))
}

fn tags(outcomes: Vec<Outcome>, models: &[&str]) -> Result<(u16, Option<String>, String), Code> {
    let answer = list(Upstream::OllamaTags, outcomes, &Key::for_test(models)).map_err(|refusal| refusal.code)?;
    Ok((answer.status.as_u16(), answer.edge, String::from_utf8(answer.body.to_vec()).unwrap()))
}

const A: &str = r#"{ "models":[{"name":"a:latest"}] }"#;
const B: &str = r#"{"models":[{"name":"b:latest"}]}"#;

#[test]
fn one_edges_list_keeps_its_bytes_and_several_are_united() {
    assert_eq!(tags(vec![answer("gpu-1", 200, A)], &[]), Ok((200, Some("gpu-1".to_owned()), A.to_owned())));
    let both = r#"{"models":[{"name":"a:latest"},{"name":"b:latest"}]}"#.to_owned();
    assert_eq!(tags(vec![answer("gpu-1", 200, A), answer("gpu-2", 200, B)], &[]), Ok((200, None, both)));
    assert_eq!(tags(vec![answer("gpu-1", 200, A)], &["b"]), Ok((200, None, "{\"models\":[]}".to_owned())));
    assert_eq!(tags(vec![], &[]), Ok((200, None, "{\"models\":[]}".to_owned())));
}

#[test]
fn what_failed_at_one_edge_is_told_only_if_no_other_did_better() {
    for worse in [failed(), full(), answer("gpu-1", 500, "{}")] {
        let (status, edge, body) = tags(vec![worse, answer("gpu-2", 200, B)], &[]).unwrap();
        assert_eq!((status, edge.as_deref(), body.as_str()), (200, Some("gpu-2"), B));
    }
    assert_eq!(tags(vec![failed(), answer("gpu-2", 500, "{}")], &[]).unwrap().0, 500);
    assert_eq!(tags(vec![failed(), full()], &[]), Err(Code::LinkLost));
}

#[test]
fn a_list_that_does_not_fit_is_saturated_rather_than_short() {
    assert_eq!(tags(vec![answer("gpu-1", 200, A), Outcome::NoRoom], &[]), Err(Code::Saturated));
}

#[test]
fn the_version_is_the_lowest_and_unknown_without_an_edge() {
    let version = |outcomes| list(Upstream::OllamaVersion, outcomes, &Key::for_test(&["scoped"]));
    let (newer, older) = (r#"{"version":"0.10.1"}"#, r#"{"version":"0.9.7"}"#);
    let lowest = version(vec![answer("gpu-1", 200, newer), answer("gpu-2", 200, older)]).unwrap();
    assert_eq!(lowest.body, older);
    assert_eq!(version(vec![]).unwrap_err().code, Code::EdgeOffline);
}

#[test]
fn an_answer_is_bounded_and_its_status_is_one_that_passes() {
    let mut arriving = Arriving::default();
    let half = vec![b' '; METADATA_BODY / 2];
    assert!(arriving.data(&half).is_ok() && arriving.data(&half).is_ok());
    assert_eq!(arriving.data(b" ").unwrap_err().code, Code::UpstreamIncomplete);
    assert!(matches!(answer("gpu-1", 302, ""), Outcome::Failed(_)));
    assert!(matches!(Arriving::default().end("gpu-1"), Outcome::Failed(_)), "an answer without a head");
}

#[test]
fn a_question_about_a_model_is_sent_to_two_edges_at_most() {
    let mut about = About::new(Upstream::OpenAiModel);
    assert_eq!(about.on("a", failed()), Next::Ask);
    assert_eq!(about.tried(), ["a"]);
    assert!(matches!(about.on("b", failed()), Next::Refuse(refusal) if refusal.code == Code::LinkLost));
}

#[test]
fn an_edge_that_took_no_question_does_not_count_as_asked() {
    let mut about = About::new(Upstream::OpenAiModel);
    assert_eq!(about.on("a", full()), Next::Ask);
    assert_eq!(about.on("b", full()), Next::Ask);
    assert_eq!(about.on("c", failed()), Next::Ask);
    let Next::Answer(answer) = about.on("d", answer("d", 404, "{}")) else { panic!("an answer is an answer") };
    assert_eq!((answer.status.as_u16(), answer.edge.as_deref()), (404, Some("d")));
}

#[test]
fn without_another_edge_the_first_ones_failure_is_told() {
    let offline = || Refusal::new(Code::EdgeOffline, "none");
    assert_eq!(About::new(Upstream::OllamaShow).no_edge(offline()).code, Code::EdgeOffline);
    let mut about = About::new(Upstream::OllamaShow);
    assert_eq!(about.on("a", failed()), Next::Ask);
    assert_eq!(about.no_edge(offline()).code, Code::LinkLost);
}

#[test]
fn show_is_filtered_and_what_is_no_object_or_does_not_fit_is_refused() {
    let about = |outcome| About::new(Upstream::OllamaShow).on("a", outcome);
    let Next::Answer(shown) = about(answer("a", 200, r#"{"system":"s","details":{}}"#)) else { panic!("refused") };
    assert_eq!(shown.body, "{\"details\":{}}");
    assert!(matches!(about(answer("a", 200, "[]")), Next::Refuse(refusal) if refusal.code == Code::UpstreamIncomplete));
    assert!(matches!(about(Outcome::NoRoom), Next::Refuse(refusal) if refusal.code == Code::Saturated));
}

#[test]
fn every_route_has_one_way_to_be_answered() {
    for route in Upstream::ALL {
        let expected = if route == Upstream::OllamaShow {
            Some(Kind::AboutBody)
        } else if route == Upstream::OpenAiModel {
            Some(Kind::AboutPath)
        } else {
            (route.method() == "GET").then_some(Kind::List)
        };
        assert_eq!(kind(route), expected, "{route:?}");
    }
}

#[test]
fn a_list_asks_for_its_bare_path_in_the_keys_name() {
    let open = question(Upstream::OllamaPs, InstanceId::new(1), Vec::new(), &Asked::default(), &Key::for_test(&[]));
    assert_eq!((open.method.as_str(), open.path.as_str(), open.key.as_str()), ("GET", "/api/ps", "id"));
    assert_eq!(open.model, None);
}
