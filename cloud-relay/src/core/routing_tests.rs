//! Routing over several edges.

use causeway_wire::{Backend, ModelLoad};

use super::*;

const FIRST: InstanceId = InstanceId::new(1);

fn model(name: &str) -> ModelName {
    ModelName::parse(name).unwrap()
}

fn info(name: &str, slots: u32) -> ModelInfo {
    ModelInfo { name: name.to_owned(), slots, ..ModelInfo::default() }
}

fn busy(name: &str, in_flight: u32, answer_ms: u64) -> Load {
    let entry = ModelLoad { model: name.to_owned(), in_flight, answer_ms, ..ModelLoad::default() };
    Load { models: vec![entry] }
}

/// Edges `a` and `b`, both with `m`.
fn two_edges() -> Directory<u8> {
    let mut directory = Directory::default();
    for (handle, edge) in ["a", "b"].into_iter().enumerate() {
        directory.up(edge, FIRST, u8::try_from(handle).unwrap());
        directory.catalog(edge, FIRST, &[info("m", 1)]);
    }
    directory
}

fn choose(directory: &mut Directory<u8>, name: &str, random: u64) -> Result<String, Code> {
    let wanted =
        Wanted { model: &model(name), scope: &[], pin: None, tried: &[], session: None, allowed: Allowed::ANY };
    directory.choose(wanted, random).map(|choice| choice.edge).map_err(|refusal| refusal.code)
}

#[test]
fn the_edge_with_the_shorter_predicted_wait_takes_the_request() {
    let mut directory = two_edges();
    directory.load("a", FIRST, &busy("M:latest", 3, 1000));
    for random in 0..16 {
        assert_eq!(choose(&mut directory, "m", random), Ok("b".to_owned()));
        directory.ended("b", FIRST, &model("m"));
    }
}

#[test]
fn a_session_stays_at_its_edge_unless_that_keeps_it_waiting() {
    let mut directory = two_edges();
    let m = model("m");
    let taken = |directory: &mut Directory<u8>, session: u32, random: u64| {
        let session = Some(Session::new("key", &session.to_string()));
        let choice = directory
            .choose(Wanted { model: &m, scope: &[], pin: None, tried: &[], session, allowed: Allowed::ANY }, random);
        let edge = choice.unwrap().edge;
        directory.ended(&edge, FIRST, &m);
        edge
    };
    let homes: Vec<String> = (0..64).map(|session| taken(&mut directory, session, 0)).collect();
    for (session, home) in (0..).zip(&homes) {
        assert!((0..8).all(|random| taken(&mut directory, session, random) == *home));
    }
    let at_a = homes.iter().filter(|home| *home == "a").count();
    assert!((16..48).contains(&at_a), "{at_a} of 64 sessions at one of two edges");
    directory.load("a", FIRST, &busy("m", 9, 1_000));
    assert!((0..64).all(|session| taken(&mut directory, session, 0) == "b"));
}

#[test]
fn own_requests_since_the_last_load_count_until_they_end() {
    let mut directory = two_edges();
    directory.load("a", FIRST, &busy("m", 0, 1000));
    directory.load("b", FIRST, &busy("m", 0, 1000));
    let first = choose(&mut directory, "m", 0).unwrap();
    let second = choose(&mut directory, "m", 0).unwrap();
    assert_ne!(first, second, "the busy one is not taken twice");
    directory.ended(&first, FIRST, &model("m"));
    assert_eq!(choose(&mut directory, "m", 1), Ok(first));
}

#[test]
fn a_load_report_replaces_what_was_counted_before_it() {
    let mut directory = two_edges();
    directory.load("a", FIRST, &busy("m", 5, 1000));
    assert_eq!(choose(&mut directory, "m", 0), Ok("b".to_owned()));
    // The report that follows already counts our request at `b`.
    directory.load("b", FIRST, &busy("m", 1, 1000));
    directory.load("a", FIRST, &busy("m", 1, 1000));
    directory.ended("b", FIRST, &model("m"));
    assert_eq!(choose(&mut directory, "m", 0), Ok("b".to_owned()));
}

#[test]
fn what_no_edge_has_is_not_found_and_what_an_absent_edge_has_is_offline() {
    let mut directory = two_edges();
    assert_eq!(choose(&mut directory, "other", 0), Err(Code::ModelNotFound));
    directory.catalog("b", FIRST, &[info("other", 1)]);
    assert_eq!(choose(&mut directory, "other", 0), Ok("b".to_owned()));
    directory.ended("b", FIRST, &model("other"));
    directory.down("b", FIRST);
    assert_eq!(choose(&mut directory, "other", 0), Err(Code::EdgeOffline));
    assert_eq!(choose(&mut directory, "m", 0), Ok("a".to_owned()));
    directory.down("a", FIRST);
    assert_eq!(choose(&mut directory, "m", 0), Err(Code::EdgeOffline));
    assert_eq!(choose(&mut Directory::default(), "m", 0), Err(Code::EdgeOffline));
}

#[test]
fn an_edge_without_a_catalog_yet_is_tried_rather_than_denied() {
    let mut directory = Directory::default();
    directory.up("a", FIRST, 0);
    assert_eq!(choose(&mut directory, "m", 0), Ok("a".to_owned()));
    directory.catalog("a", FIRST, &[]);
    assert_eq!(choose(&mut directory, "m", 0), Err(Code::ModelNotFound));
}

#[test]
fn scope_pin_and_tried_edges_narrow_the_choice() {
    let mut directory = two_edges();
    let m = model("m");
    let scope = ["b".to_owned()];
    let wanted = Wanted { model: &m, scope: &scope, pin: None, tried: &[], session: None, allowed: Allowed::ANY };
    assert_eq!(directory.choose(wanted, 0).unwrap().edge, "b");
    let outside = Wanted { pin: Some("a"), ..wanted };
    assert_eq!(directory.choose(outside, 0).unwrap_err().code, Code::RouteConflict);
    let pinned = Wanted { model: &m, scope: &[], pin: Some("a"), tried: &[], session: None, allowed: Allowed::ANY };
    assert_eq!(directory.choose(pinned, 0).unwrap().edge, "a");
    let absent = Wanted { pin: Some("z"), ..pinned };
    assert_eq!(directory.choose(absent, 0).unwrap_err().code, Code::EdgeOffline);
    let tried = ["a".to_owned(), "b".to_owned()];
    let exhausted = Wanted { pin: None, tried: &tried, ..pinned };
    assert!(directory.choose(exhausted, 0).is_err());
}

#[test]
fn a_question_to_all_edges_keeps_to_scope_and_pin_as_a_request_does() {
    let directory = two_edges();
    let asked = |scope: &[&str], pin| {
        let scope: Vec<String> = scope.iter().map(|name| (*name).to_owned()).collect();
        let names = |choices: Vec<Choice<u8>>| choices.into_iter().map(|choice| choice.edge).collect::<Vec<_>>();
        directory.asked(&scope, pin).map(names).map_err(|refusal| refusal.code)
    };
    assert_eq!(asked(&[], None).unwrap(), ["a", "b"]);
    assert_eq!(asked(&["b"], None).unwrap(), ["b"]);
    assert_eq!(asked(&[], Some("a")).unwrap(), ["a"]);
    assert_eq!(asked(&["b"], Some("a")), Err(Code::RouteConflict));
    assert_eq!(asked(&[], Some("z")), Err(Code::EdgeOffline));
    assert_eq!(Directory::<u8>::default().asked(&[], None), Ok(Vec::new()), "no edge is no fault of a list");
}

#[test]
fn the_wait_that_is_told_is_the_shortest_among_the_edges_that_may_take_it() {
    let mut directory = two_edges();
    directory.load("a", FIRST, &busy("m", 9, 2_000));
    directory.load("b", FIRST, &busy("m", 3, 2_000));
    let (m, other) = (model("m"), model("other"));
    let (only_a, only_b) = (["a".to_owned()], ["b".to_owned()]);
    let all = Wanted { model: &m, scope: &[], pin: None, tried: &only_b, session: None, allowed: Allowed::ANY };
    let seconds = |wanted: Wanted<'_>| directory.wait(wanted).map(|wait| wait.as_secs());
    assert_eq!(seconds(all), Some(6));
    assert_eq!(seconds(Wanted { pin: Some("a"), ..all }), Some(18));
    assert_eq!(seconds(Wanted { scope: &only_a, ..all }), Some(18));
    assert_eq!(seconds(Wanted { model: &other, ..all }), None);
}

#[test]
fn another_run_of_an_edge_starts_anew_and_late_news_of_the_old_one_is_ignored() {
    let mut directory = two_edges();
    let second = InstanceId::new(2);
    directory.down("b", FIRST);
    directory.up("a", second, 9);
    directory.down("a", FIRST);
    directory.catalog("a", FIRST, &[]);
    directory.ended("a", FIRST, &model("m"));
    assert_eq!(choose(&mut directory, "m", 0), Ok("a".to_owned()));
    assert_eq!(directory.linked(&[]).len(), 1);
}

#[test]
fn two_choices_are_different_and_cover_all_pairs() {
    for count in 2..6 {
        let mut seen = std::collections::HashSet::new();
        for random in 0..4096_u64 {
            let (first, second) = two_of(count, (random / 64) << 32 | (random % 64));
            assert!(first != second && first < count && second < count);
            seen.insert((first, second));
        }
        assert_eq!(seen.len(), count * (count - 1));
    }
}

#[test]
fn an_edge_that_has_not_answered_yet_does_not_take_everything() {
    let mut directory = two_edges();
    directory.load("b", FIRST, &busy("m", 1, 10_000));
    let chosen: Vec<String> = (0..40).map(|random| choose(&mut directory, "m", random).unwrap()).collect();
    let at_b = chosen.iter().filter(|edge| *edge == "b").count();
    assert!((10..30).contains(&at_b), "{at_b} of 40 went to the edge whose answer time is known");
}

#[test]
fn names_that_no_catalog_has_are_forgotten_with_their_requests() {
    let mut directory: Directory<u8> = Directory::default();
    directory.up("a", FIRST, 0);
    for number in 0..100 {
        let name = format!("invented-{number}");
        assert_eq!(choose(&mut directory, &name, 0), Ok("a".to_owned()));
        directory.ended("a", FIRST, &model(&name));
    }
    assert!(directory.edges["a"].models.is_empty());
}

/// Every ceiling that an edge can announce.
const CEILINGS: [&[Backend]; 4] = [&[], &[Backend::Local], &[Backend::Bedrock], &[Backend::Local, Backend::Bedrock]];

fn under(name: &str, ceiling: &[Backend]) -> ModelInfo {
    let slots = u32::from(ceiling.contains(&Backend::Local));
    ModelInfo { ceiling: ceiling.to_vec(), ..info(name, slots) }
}

fn ask(directory: &mut Directory<u8>, allowed: Allowed) -> Result<Choice<u8>, Refusal> {
    let m = model("m");
    directory.choose(Wanted { model: &m, scope: &[], pin: None, tried: &[], session: None, allowed }, 0)
}

#[test]
fn a_request_runs_only_where_key_header_and_owner_all_allow_it() {
    use crate::core::headers::Asked;
    use crate::core::intake::Call;
    use crate::core::terms::Terms;
    use causeway_dialect::route::Upstream;

    let mut cases = 0;
    for local_only in [false, true] {
        for header in ["auto", "local-only", "cloud-only"] {
            for (route, path) in [(Upstream::OllamaChat, "/api/chat"), (Upstream::OllamaEmbed, "/api/embed")] {
                for (a, b) in CEILINGS.into_iter().flat_map(|a| CEILINGS.map(|b| (a, b))) {
                    cases += 1;
                    let key = Terms { local_only, ..Terms::default() };
                    let asked = Asked { allowed: Allowed::named(header).unwrap(), ..Asked::default() };
                    let call = Call::from_body(route, path, b"{\"model\":\"m\"}").unwrap();
                    let allowed = key.narrow(asked).and_then(|asked| call.allowed(&asked));
                    let mut directory = two_edges();
                    for (edge, ceiling) in [("a", a), ("b", b)] {
                        directory.catalog(edge, FIRST, &[under("m", ceiling)]);
                    }
                    let outcome = allowed.and_then(|allowed| ask(&mut directory, allowed));
                    let named = |backend: &Backend| match backend {
                        Backend::Local => header != "cloud-only",
                        Backend::Bedrock => !local_only && header != "local-only" && path == "/api/chat",
                        Backend::OllamaCloud => false,
                    };
                    let owner = |ceiling: &[Backend], backend: &Backend| {
                        ceiling.contains(backend) || (ceiling.is_empty() && *backend == Backend::Local)
                    };
                    let left = |ceiling| {
                        let both = [Backend::Local, Backend::Bedrock];
                        let left: Vec<Backend> =
                            both.into_iter().filter(|one| named(one) && owner(ceiling, one)).collect();
                        left
                    };
                    match outcome {
                        Ok(choice) => {
                            let ceiling = if choice.edge == "a" { a } else { b };
                            assert_eq!(
                                choice.allowed.backends(),
                                left(ceiling),
                                "{local_only} {header} {path} {a:?} {b:?}"
                            );
                            assert!(!choice.allowed.is_empty());
                        }
                        Err(refusal) => {
                            assert_eq!((refusal.code, refusal.status), (Code::RouteConflict, 403), "{refusal:?}");
                            assert!(
                                left(a).is_empty() && left(b).is_empty(),
                                "{local_only} {header} {path} {a:?} {b:?}"
                            );
                        }
                    }
                }
            }
        }
    }
    assert_eq!(cases, 2 * 3 * 2 * 16);
}

#[test]
fn a_model_that_only_bedrock_has_is_routed_for_auto_and_cloud_and_refused_for_local() {
    let mut directory = Directory::default();
    directory.up("a", FIRST, 0);
    directory.catalog("a", FIRST, &[under("m", &[Backend::Bedrock])]);
    directory.load("a", FIRST, &busy("m", 50, 9_000));
    for allowed in [Allowed::ANY, Allowed::CLOUD] {
        assert_eq!(ask(&mut directory, allowed).unwrap().allowed, Allowed::CLOUD);
    }
    let refusal = ask(&mut directory, Allowed::LOCAL).unwrap_err();
    assert!(refusal.code == Code::RouteConflict && refusal.message.contains("Bedrock alone"), "{refusal:?}");
    assert_eq!(directory.models_of("a"), ["m:latest"], "it is a model like others");
    let m = model("m");
    let wanted = Wanted { model: &m, scope: &[], pin: None, tried: &[], session: None, allowed: Allowed::ANY };
    assert_eq!(directory.wait(wanted), Some(Duration::ZERO), "nothing waits for a slot there");
    assert_eq!(directory.wait(Wanted { allowed: Allowed::LOCAL, ..wanted }), None);
}

#[test]
fn a_machine_that_has_the_model_is_asked_before_one_that_only_has_it_at_bedrock() {
    let mut directory = two_edges();
    directory.catalog("b", FIRST, &[under("m", &[Backend::Bedrock])]);
    directory.load("a", FIRST, &busy("m", 9, 9_000));
    assert_eq!(ask(&mut directory, Allowed::ANY).unwrap().edge, "a");
    assert_eq!(ask(&mut directory, Allowed::CLOUD).unwrap().edge, "b");
    let (m, tried) = (model("m"), ["a".to_owned()]);
    let again = Wanted { model: &m, scope: &[], pin: None, tried: &tried, session: None, allowed: Allowed::ANY };
    assert_eq!(directory.choose(again, 0).unwrap().edge, "b");
}

#[test]
fn an_owner_who_would_allow_it_but_is_not_linked_makes_it_offline_and_no_conflict() {
    let mut directory = two_edges();
    directory.catalog("b", FIRST, &[under("m", &[Backend::Bedrock])]);
    directory.down("b", FIRST);
    assert_eq!(ask(&mut directory, Allowed::CLOUD).unwrap_err().code, Code::EdgeOffline);
    directory.catalog("b", FIRST, &[]);
    assert_eq!(ask(&mut directory, Allowed::CLOUD).unwrap_err().code, Code::RouteConflict);
}

#[test]
fn only_another_run_of_an_edge_shows_that_the_first_is_gone() {
    let mut directory = two_edges();
    directory.down("a", FIRST);
    assert!(!directory.is_gone("a", FIRST), "it may come back");
    directory.up("a", InstanceId::new(2), 0);
    assert!(directory.is_gone("a", FIRST) && !directory.is_gone("b", FIRST));
}

#[test]
fn another_edge_is_one_that_is_linked_untried_and_allowed() {
    let mut directory = two_edges();
    let (m, tried) = (model("m"), ["a".to_owned()]);
    let (pin, only_a) = (Some("a"), ["a".to_owned()]);
    let wanted = Wanted { model: &m, scope: &[], pin: None, tried: &tried, session: None, allowed: Allowed::LOCAL };
    assert!(directory.has_another(wanted));
    assert!(
        !directory.has_another(Wanted { pin, ..wanted }) && !directory.has_another(Wanted { scope: &only_a, ..wanted })
    );
    assert!(!directory.has_another(Wanted { allowed: Allowed::CLOUD, ..wanted }));
    assert!(directory.is_linked("b", FIRST) && !directory.is_linked("b", InstanceId::new(2)));
    directory.down("b", FIRST);
    assert!(!directory.has_another(wanted) && !directory.is_linked("b", FIRST));
}
