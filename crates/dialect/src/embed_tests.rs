//! Vectors: split, gathered in order, and written on three routes.

use base64::Engine as _;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Split for the model `M` as it was authorised.
fn split(request: &Request, bounds: &Bounds) -> Split {
    super::split(request, &ModelName::parse("M").unwrap(), bounds)
}

const ROUTES: [Route; 3] = [Route::Embed, Route::Embeddings, Route::OpenAi];

fn request(route: Route, body: &Value) -> Request {
    parse(route, body.to_string().as_bytes()).unwrap()
}

fn parts(route: Route, body: &Value) -> Vec<Part> {
    split(&request(route, body), &Bounds::default()).parts
}

fn sent(part: &Part) -> Value {
    serde_json::from_slice(&part.body).unwrap()
}

/// One answer a part: vector `n` of all holds `n`.
fn answered(route: Route, body: &Value) -> Gather {
    let request = request(route, body);
    let parts = split(&request, &Bounds::default()).parts;
    let mut gather = Gather::new(&request, &parts);
    let mut first = 0;
    let answers: Vec<Value> = parts
        .iter()
        .map(|part| {
            let vectors: Vec<[usize; 1]> = (first..first + part.texts).map(|number| [number]).collect();
            first += part.texts;
            json!({"model": "m", "embeddings": vectors, "total_duration": 10, "load_duration": 1, "prompt_eval_count": 3})
        })
        .collect();
    for (number, answer) in answers.iter().enumerate().rev() {
        assert!(!gather.is_complete());
        gather.take(number, answer.to_string().as_bytes()).unwrap();
    }
    assert!(gather.is_complete());
    gather
}

fn answer(gather: &Gather) -> Value {
    serde_json::from_slice(&gather.answer(&Map::new())).unwrap()
}

#[test]
fn a_long_list_is_split_and_put_together_in_order_with_its_figures_summed() {
    let texts: Vec<String> = (0..35).map(|number| format!("t{number}")).collect();
    let body = json!({"model": "M", "input": texts, "dimensions": 8, "truncate": false, "keep_alive": "5m", "options": {"num_ctx": 5, "seed": 1}});
    let split = split(&request(Route::Embed, &body), &Bounds { num_ctx: Some(512), ..Bounds::default() });
    assert_eq!(split.parts.iter().map(|part| part.texts).collect::<Vec<_>>(), [16, 16, 3]);
    assert_eq!(split.removed, ["options.num_ctx"]);
    let last = json!({
        "model": "m:latest", "input": ["t32", "t33", "t34"], "dimensions": 8, "truncate": false, "keep_alive": "5m",
        "options": {"num_ctx": 512, "seed": 1},
    });
    assert_eq!((split.parts[2].path, sent(&split.parts[2])), ("/api/embed", last));
    let gather = answered(Route::Embed, &body);
    let vectors: Vec<[usize; 1]> = (0..35).map(|number| [number]).collect();
    assert_eq!(
        answer(&gather),
        json!({"model": "M", "embeddings": vectors, "total_duration": 30, "load_duration": 3, "prompt_eval_count": 9})
    );
    assert_eq!(gather.tokens(), 9);
}

#[test]
fn openais_answer_has_numbers_or_base64_and_counts() {
    let gather = answered(Route::OpenAi, &json!({"model": "M", "input": ["a", "b"], "user": "u"}));
    assert_eq!(
        answer(&gather),
        json!({"object": "list", "model": "M", "usage": {"prompt_tokens": 3, "total_tokens": 3}, "data": [
            {"object": "embedding", "index": 0, "embedding": [0]}, {"object": "embedding", "index": 1, "embedding": [1]}]})
    );
    let gather = answered(Route::OpenAi, &json!({"model": "M", "input": ["a", "b"], "encoding_format": "BASE64"}));
    let text = &answer(&gather)["data"][1]["embedding"];
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap();
    assert_eq!(bytes, 1.0_f32.to_le_bytes());
}

/// The body that was sent, and what Ollama answered.
fn recorded(file: &'static str) -> (Value, Value) {
    let (head, answer) = file.split_once("\n\n").unwrap();
    let (_, body) = head.split_once(" -d ").unwrap();
    (serde_json::from_str(body).unwrap(), serde_json::from_str(answer).unwrap())
}

#[test]
fn what_is_made_of_ollamas_vectors_is_what_ollama_makes_of_them() {
    let (_, native) = recorded(include_str!("embed/recorded/embed.json"));
    let written = |route, body: &Value, native: &Value| {
        let request = request(route, body);
        let mut gather = Gather::new(&request, &split(&request, &Bounds::default()).parts);
        gather.take(0, native.to_string().as_bytes()).unwrap();
        answer(&gather)
    };
    let (body, theirs) = recorded(include_str!("embed/recorded/embed.json"));
    assert_eq!(written(Route::Embed, &body, &native), theirs);
    let (body, theirs) = recorded(include_str!("embed/recorded/openai.json"));
    assert_eq!(written(Route::OpenAi, &body, &native), theirs);
    let (body, theirs) = recorded(include_str!("embed/recorded/openai_base64.json"));
    let first = json!({"embeddings": [native["embeddings"][0]], "prompt_eval_count": 1});
    assert_eq!(written(Route::OpenAi, &body, &first), theirs);
}

#[test]
fn the_old_route_keeps_its_own_way_as_its_vectors_are_not_normalised() {
    let body = json!({"model": "M", "prompt": "p", "keep_alive": -1});
    let request = request(Route::Embeddings, &body);
    let split = split(&request, &Bounds::default());
    assert_eq!((split.parts.len(), split.parts[0].path), (1, "/api/embeddings"));
    assert_eq!(sent(&split.parts[0]), json!({"model": "m:latest", "prompt": "p", "keep_alive": 1800}));
    assert_eq!(split.removed, ["keep_alive"]);
    let mut gather = Gather::new(&request, &split.parts);
    gather.take(0, br#"{"embedding":[0.12345678955316544,2e-05]}"#).unwrap();
    let trailer = json!({"served_by": "local"}).as_object().unwrap().clone();
    assert_eq!(
        gather.answer(&trailer),
        br#"{"embedding":[0.12345678955316544,2e-05],"x_causeway":{"served_by":"local"}}"#
    );
}

#[test]
fn an_empty_request_loads_the_model_and_has_an_empty_answer() {
    for (route, body, native, expected) in [
        (
            Route::Embed,
            json!({"model": "M", "input": ""}),
            r#"{"model":"m","embeddings":[]}"#,
            json!({"model": "M", "embeddings": []}),
        ),
        (
            Route::Embed,
            json!({"model": "M"}),
            r#"{"model":"m","embeddings":[]}"#,
            json!({"model": "M", "embeddings": []}),
        ),
        (Route::Embeddings, json!({"model": "M"}), r#"{"embedding":[]}"#, json!({"embedding": []})),
    ] {
        let request = request(route, &body);
        let parts = split(&request, &Bounds::default()).parts;
        assert_eq!((parts.len(), parts[0].texts), (1, 0));
        let mut gather = Gather::new(&request, &parts);
        gather.take(0, native.as_bytes()).unwrap();
        assert_eq!(answer(&gather), expected);
    }
}

#[test]
fn one_empty_text_is_a_text_where_ollama_takes_it_for_one() {
    assert_eq!(sent(&parts(Route::OpenAi, &json!({"model": "M", "input": ""}))[0])["input"], json!([""]));
    assert_eq!(sent(&parts(Route::Embed, &json!({"model": "M", "input": [""]}))[0])["input"], json!([""]));
}

#[test]
fn bodies_that_cannot_be_taken_are_refused_with_their_place() {
    for (route, body, place) in [
        (Route::Embed, json!({"input": "x"}), "model: expected"),
        (Route::Embed, json!({"model": "m", "input": {}}), "input: expected a string or an array"),
        (Route::Embed, json!({"model": "m", "input": ["a", 1]}), "input[1]: expected a string (tokens"),
        (Route::Embed, json!({"model": "m", "input": vec!["x"; MAX_INPUTS + 1]}), "input: more than"),
        (Route::Embed, json!({"model": "m", "dimensions": 1e9}), "dimensions: expected"),
        (Route::Embed, json!({"model": "m", "dimensions": 65_537}), "dimensions: expected"),
        (Route::Embed, json!({"model": "m", "Input": "x"}), "Input: must be written `input`"),
        (Route::Embed, json!({"model": "m", "options": {"num_ctx": "x"}}), "options.num_ctx: expected"),
        (Route::Embeddings, json!({"model": "m", "prompt": ["x"]}), "prompt: expected a string"),
        (Route::Embeddings, json!({"model": "m", "keep_alive": "x"}), "keep_alive: expected"),
        (Route::OpenAi, json!({"model": "m"}), "input: expected"),
        (Route::OpenAi, json!({"model": "m", "input": []}), "input: expected"),
        (Route::OpenAi, json!({"model": "m", "input": [1, 2]}), "input[0]: expected a string (tokens"),
        (Route::OpenAi, json!({"model": "m", "input": "x", "encoding_format": "int8"}), "encoding_format: expected"),
    ] {
        let fault = parse(route, body.to_string().as_bytes()).unwrap_err().to_string();
        assert!(fault.starts_with(place), "{body}: {fault}");
    }
}

#[test]
fn what_has_no_effect_on_a_route_is_named_and_the_users_name_is_not() {
    let body = json!({"model": "m", "input": "x", "user": "u", "options": {}, "dimensions": -1});
    let request = request(Route::OpenAi, &body);
    assert_eq!((request.dropped.as_slice(), request.dimensions), (&["options".to_owned()][..], None));
}

#[test]
fn an_answer_that_does_not_fit_its_part_is_refused() {
    let request = request(Route::Embed, &json!({"model": "m", "input": ["a", "b"]}));
    let parts = split(&request, &Bounds::default()).parts;
    let good = br#"{"embeddings":[[1],[2]],"total_duration":-5,"prompt_eval_count":1e99}"#;
    for bad in [
        &b"no"[..],
        b"[]",
        br#"{"embeddings":[[1]]}"#,
        br#"{"embeddings":[[1],[2],[3]]}"#,
        br#"{"embeddings":[[1],[]]}"#,
        br#"{"embeddings":[[1],[null]]}"#,
        br#"{"embeddings":[[1],["2"]]}"#,
        br#"{"embeddings":[[1],[[2]]]}"#,
        br#"{"embeddings":[[1],[1e39]]}"#,
        br#"{"embeddings":null}"#,
        br#"{"error":"x"}"#,
    ] {
        let mut gather = Gather::new(&request, &parts);
        assert!(gather.take(0, bad).is_err(), "{}", String::from_utf8_lossy(bad));
        assert!(!gather.is_complete());
    }
    let mut gather = Gather::new(&request, &parts);
    assert!(gather.take(1, good).is_err());
    gather.take(0, good).unwrap();
    assert!(gather.take(0, good).is_err());
    assert_eq!(answer(&gather), json!({"model": "m", "embeddings": [[1], [2]]}));
}

#[test]
fn options_of_too_many_values_are_refused_and_half_surrogates_are_taken() {
    let many = vec![json!([]); crate::fields::MAX_VALUES];
    let body = json!({"model": "m", "input": "x", "options": {"x": many}}).to_string();
    let fault = parse(Route::Embed, body.as_bytes()).unwrap_err().0;
    assert!(fault.starts_with("options: ") && fault.contains(" values; "), "{fault}");
    let request = parse(Route::Embed, br#"{"model":"m","input":["\ud800"],"options":{"x":"\udfff"}}"#).unwrap();
    assert_eq!((request.input, &request.options["x"]), (vec!["\u{fffd}".to_owned()], &json!("\u{fffd}")));
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_a_fault_and_never_an_answer_by_chance(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        for route in ROUTES {
            let _ = parse(route, &bytes);
        }
        let request = request(Route::Embed, &json!({"model": "m", "input": "a"}));
        let parts = split(&request, &Bounds::default()).parts;
        prop_assert!(Gather::new(&request, &parts).take(0, &bytes).is_err());
    }

    #[test]
    fn every_text_is_sent_once_and_in_order(texts in proptest::collection::vec(".{0,5}", 1..70), open_ai in any::<bool>()) {
        let route = if open_ai { Route::OpenAi } else { Route::Embed };
        let parts = parts(route, &json!({"model": "m", "input": texts}));
        let mut all = Vec::new();
        for part in &parts {
            let input = sent(part)["input"].as_array().unwrap().clone();
            prop_assert!(input.len() == part.texts && (1..=PART).contains(&part.texts));
            all.extend(input);
        }
        prop_assert_eq!(Value::Array(all), json!(texts));
    }
}
