//! Bad and extreme input over all dialects: bodies, answers, figures, trailers.

use causeway_wire::Code;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::chat::{BadRequest, Request};
use crate::encode::Answer;
use crate::event::{Event, Finish};
use crate::testing::{Frames, NOW, encoders, objects, stamp, told, written};
use crate::{anthropic, embed, ollama, openai};

type Parse = fn(&[u8]) -> Result<Request, BadRequest>;

/// Every parser, with a body that it takes and that has a text of more than ASCII.
fn parsers() -> Vec<(&'static str, Parse, Value)> {
    let said = json!([{ "role": "user", "content": "é€😀" }]);
    vec![
        ("ollama chat", ollama::parse_chat, json!({ "model": "m", "messages": said })),
        ("ollama generate", ollama::parse_generate, json!({ "model": "m", "prompt": "é€😀" })),
        ("openai chat", openai::chat::parse, json!({ "model": "m", "messages": said })),
        ("openai completions", openai::completions::parse, json!({ "model": "m", "prompt": "é€😀" })),
        ("openai responses", openai::responses::parse, json!({ "model": "m", "input": "é€😀" })),
        ("anthropic", anthropic::parse, json!({ "model": "m", "max_tokens": 9, "messages": said })),
    ]
}

fn text(text: &str) -> Event {
    Event::Text { text: text.to_owned(), logprobs: None }
}

#[test]
fn a_body_that_is_not_utf_8_is_refused_with_the_place_of_its_first_wrong_byte() {
    for (dialect, parse, body) in parsers() {
        let mut body = body.to_string().into_bytes();
        assert!(parse(&body).is_ok(), "{dialect}");
        body.push(0xff);
        let fault = parse(&body).unwrap_err().0;
        assert_eq!(fault, format!("the body is not JSON: it is not UTF-8 at byte {}", body.len() - 1), "{dialect}");
    }
    for route in [embed::Route::Embed, embed::Route::Embeddings, embed::Route::OpenAi] {
        assert!(embed::parse(route, b"{\"model\":\"\xc3\x28\"}").unwrap_err().0.contains("not UTF-8"));
    }
}

#[test]
fn a_body_cut_anywhere_is_refused_in_every_dialect() {
    for (dialect, parse, body) in parsers() {
        let body = body.to_string().into_bytes();
        for cut in 0..body.len() {
            assert!(parse(&body[..cut]).is_err(), "{dialect} cut at {cut}");
        }
    }
}

#[test]
fn two_hundred_tools_are_taken_in_order_in_every_dialect_that_has_any() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string", "enum": ["x", "y"] } } });
    let nested =
        |n: usize| json!({ "type": "function", "function": { "name": format!("f{n}"), "parameters": schema } });
    let flat = |n: usize| json!({ "type": "function", "name": format!("f{n}"), "parameters": schema });
    let ours = |n: usize| json!({ "name": format!("f{n}"), "input_schema": schema });
    for (dialect, parse, mut body) in parsers() {
        body["tools"] = match dialect {
            "ollama chat" | "openai chat" => (0..200).map(nested).collect(),
            "openai responses" => (0..200).map(flat).collect(),
            "anthropic" => (0..200).map(ours).collect(),
            _ => continue,
        };
        let tools = parse(body.to_string().as_bytes()).unwrap().tools;
        let names: Vec<String> = tools.iter().map(|tool| tool.name.clone()).collect();
        assert_eq!(names, (0..200).map(|n| format!("f{n}")).collect::<Vec<_>>(), "{dialect}");
        assert!(tools.iter().all(|tool| tool.parameters == schema), "{dialect}");
    }
}

#[test]
fn answers_of_no_token_and_of_one_are_whole_streams() {
    for tokens in [0, 1] {
        let mut events = vec![text("x"); tokens];
        events.push(Event::Finish(Box::default()));
        for (dialect, frames, mut encoder) in encoders() {
            let stream = written(&mut *encoder, &events);
            let objects = objects(frames, &stream);
            match frames {
                Frames::Lines => assert_eq!(objects.last().unwrap()["done"], json!(true), "{dialect}"),
                Frames::Events(end) => assert!(stream.ends_with(end), "{dialect}: {stream}"),
            }
            let said = stream.matches("\"x\"").count();
            // A response repeats its text at each of its ends.
            assert_eq!(said > 0, tokens > 0, "{dialect}: {stream}");
            assert!(tokens == 0 || said == 1 || dialect == "openai responses", "{dialect}: {stream}");
        }
        let mut answer = Answer::default();
        events.into_iter().for_each(|event| answer.take(event));
        for whole in wholes(&answer, &Map::new()) {
            assert!(whole.is_object() && whole.get("error").is_none_or(Value::is_null), "{whole}");
        }
    }
}

#[test]
fn a_hundred_thousand_tokens_go_through_in_the_memory_of_one() {
    for (dialect, _, mut encoder) in encoders() {
        let (mut out, mut largest) = (Vec::new(), 0);
        encoder.event(NOW, text(" token"), &mut out);
        for _ in 1..100_000 {
            out.clear();
            encoder.event(NOW, text(" token"), &mut out);
            largest = largest.max(out.len());
        }
        assert!(largest < 512, "{dialect}: {largest} bytes for a token");
        out.clear();
        encoder.event(NOW, Event::Finish(Box::default()), &mut out);
        // Only a response says all of it again at its end, and counts what it holds for that.
        assert!(out.len() < 2_048 || dialect == "openai responses", "{dialect}: {}", out.len());
    }
    let mut answer = Answer::default();
    (0..100_000).for_each(|_| answer.take(text(" token")));
    assert_eq!(answer.size(), 600_000);
}

#[test]
fn figures_that_are_absent_zero_or_too_large_are_written_as_none() {
    for figure in
        [None, Some(json!(0)), Some(json!(u64::MAX)), Some(json!(i64::MAX)), Some(json!(1e300)), Some(json!(-1))]
    {
        let mut last = json!({ "response": "", "done": true });
        for name in ["total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count"] {
            if let Some(figure) = &figure {
                last[name] = figure.clone();
            }
        }
        let events = told(format!("{last}\n").as_bytes(), 9);
        assert!(matches!(events[..], [Event::Finish(_)]), "{figure:?}: {events:?}");
        for (dialect, frames, mut encoder) in encoders() {
            let stream = written(&mut *encoder, &events);
            let whole = objects(frames, &stream).pop().unwrap();
            let told = whole.get("total_duration").is_some();
            assert_eq!(told, frames == Frames::Lines && figure == Some(json!(i64::MAX)), "{dialect}: {whole}");
        }
    }
}

/// The single answer in every dialect.
fn wholes(answer: &Answer, trailer: &Map<String, Value>) -> Vec<Value> {
    let (stamp, echo) = (stamp(), openai::responses::Echo::default());
    let trailer = || trailer.clone();
    [
        ollama::whole(ollama::Route::Chat, answer, &stamp, NOW, trailer()),
        ollama::whole(ollama::Route::Generate, answer, &stamp, NOW, trailer()),
        openai::chat::whole(answer, &stamp, NOW, trailer()),
        openai::completions::whole(answer, &stamp, NOW, trailer()),
        openai::responses::whole(answer, &stamp, &echo, NOW, trailer()),
        anthropic::whole(answer, &stamp, NOW, trailer()),
    ]
    .iter()
    .map(|bytes| serde_json::from_slice(bytes).unwrap())
    .collect()
}

#[test]
fn what_is_known_at_the_end_stands_once_before_the_end_in_every_dialect() {
    let members = |json: Value| json.as_object().unwrap().clone();
    let failed = Event::Failed { code: Code::LinkLost, message: "gone".to_owned() };
    let known = json!({ "served_by": "bedrock", "dropped": ["n"], "reason": "saturated\n\n" });
    for end in [Event::Finish(Box::default()), failed] {
        for (dialect, frames, mut encoder) in encoders() {
            encoder.trailer(members(json!({ "served_by": "local", "dropped": ["n"] })));
            let mut stream = written(&mut *encoder, &[text("x")]);
            assert!(!stream.contains("x_causeway"), "{dialect}: {stream}");
            encoder.trailer(members(json!({ "served_by": "bedrock", "reason": "saturated\n\n" })));
            stream += &written(&mut *encoder, std::slice::from_ref(&end));
            encoder.trailer(members(json!({ "late": true })));
            stream += &written(&mut *encoder, &[text("late"), end.clone()]);
            assert_eq!(stream.matches("x_causeway").count(), 1, "{dialect}: {stream}");
            assert!(!stream.contains("late"), "{dialect}: {stream}");
            match frames {
                Frames::Lines => {
                    assert_eq!(objects(frames, &stream).pop().unwrap()["x_causeway"], known, "{dialect}");
                }
                Frames::Events(_) => {
                    let blocks: Vec<&str> = stream.split_terminator("\n\n").collect();
                    let comment = blocks[blocks.len() - 2].strip_prefix(": x_causeway ").expect(&stream);
                    assert_eq!(serde_json::from_str::<Value>(comment).unwrap(), known, "{dialect}");
                }
            }
        }
        let mut answer = Answer::default();
        answer.take(text("x"));
        answer.take(end);
        for whole in wholes(&answer, &members(known.clone())) {
            assert_eq!(whole["x_causeway"], known, "{whole}");
        }
    }
}

#[test]
fn nothing_known_at_the_end_is_nothing_written() {
    for (dialect, _, mut encoder) in encoders() {
        encoder.trailer(Map::new());
        let stream = written(&mut *encoder, &[Event::Finish(Box::<Finish>::default())]);
        assert!(!stream.contains("x_causeway"), "{dialect}: {stream}");
    }
    assert!(wholes(&Answer::default(), &Map::new()).iter().all(|whole| whole.get("x_causeway").is_none()));
}

proptest! {
    #[test]
    fn characters_cut_at_every_boundary_reach_every_dialect_whole(said in "[aé€😀\"\\\\\n]{1,12}", piece in 1_usize..5) {
        let line = json!({ "message": { "content": said }, "done": false });
        let answer = format!("{line}\n{{\"done\":true}}\n");
        let events = told(answer.as_bytes(), piece);
        let quoted = Value::from(said.as_str()).to_string();
        for (dialect, frames, mut encoder) in encoders() {
            let stream = written(&mut *encoder, &events);
            prop_assert!(stream.contains(&quoted), "{dialect}: {stream}");
            prop_assert!(!objects(frames, &stream).is_empty());
        }
    }
}
