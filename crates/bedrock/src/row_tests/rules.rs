//! Whatever is asked: what meets the needs is mapped, and keeps the rules that the service refuses by.

use causeway_dialect::chat::{CacheTime, Document, DocumentBody, DocumentFormat, ToolChoice as Choice};

use super::*;

/// Any request that parsers can make, about.
fn any_request() -> impl proptest::strategy::Strategy<Value = Request> {
    use causeway_dialect::chat::{Effort, Format, Think};
    use proptest::prelude::*;

    let words = prop_oneof![Just(String::new()), Just(" \n".to_owned()), "[a-z ]{0,12}"];
    let id = prop_oneof![Just(String::new()), Just("1".to_owned()), Just("i".repeat(90)), "[a-z#]{1,4}"];
    let name = prop_oneof![Just("weather".to_owned()), "[a-zé ]{0,6}", Just("n".repeat(200))];
    let picture = Just(Part::Image(causeway_dialect::image::read(PNG, "x").unwrap()));
    let paper = (name.clone(), words.clone(), any::<bool>()).prop_map(|(name, words, is_text)| {
        let (format, body) = match is_text {
            true => (DocumentFormat::Md, DocumentBody::Text(words)),
            false => (DocumentFormat::Pdf, DocumentBody::Base64("JVBERi0xLjcK".to_owned())),
        };
        Part::Document(Box::new(Document { name: Some(name), context: None, format, body }))
    });
    let time = prop_oneof![Just(CacheTime::FiveMinutes), Just(CacheTime::Hour)];
    let mark = proptest::option::of(time.clone());
    let seal = proptest::option::of("[a-z]{1,3}");
    let part = prop_oneof![
        4 => words.clone().prop_map(Part::Text),
        1 => picture,
        1 => paper,
        2 => time.prop_map(Part::CachePoint),
        1 => (words.clone(), seal).prop_map(|(text, signature)| Part::Thinking { text, signature }),
        2 => (id.clone(), name.clone()).prop_map(|(id, name)| call(&id, &name)),
        2 => (proptest::option::of(id), proptest::option::of(name.clone()), words)
            .prop_map(|(id, name, words)| result(id.as_deref(), name.as_deref(), &words)),
    ];
    let role = prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant), Just(Role::Tool)];
    let message = (role, proptest::collection::vec(part, 0..4)).prop_map(|(role, parts)| said(role, parts));
    let choice = prop_oneof![
        Just(Choice::Auto),
        Just(Choice::None),
        Just(Choice::Required),
        Just(Choice::Named("weather".to_owned()))
    ];
    let think = prop_oneof![Just(Think::Unset), Just(Think::Off), Just(Think::On), Just(Think::Effort(Effort::Max))];
    let format = prop_oneof![
        3 => Just(Format::Text),
        1 => Just(Format::Json),
        1 => Just(Format::Schema { name: Some("a b".to_owned()), schema: json!({ "type": "object" }) })
    ];
    let names = proptest::collection::vec((name, mark), 0..3);
    let messages = proptest::collection::vec(message, 0..8);
    (messages, names, choice, think, format).prop_map(|(messages, names, tool_choice, think, format)| Request {
        input: Input::Chat(messages),
        tools: names.iter().map(|(name, cache)| Tool { cache: *cache, ..tool(name) }).collect(),
        tool_choice,
        think,
        format,
        ..chat(json!({}))
    })
}

/// The rules that the service refuses a conversation by.
fn keeps_the_rules(call: &crate::request::Call) -> Result<(), String> {
    let messages = &call.messages;
    let mut open: Vec<String> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let is_user = message.role().as_str() == "user";
        if is_user != (place % 2 == 0) || message.content().is_empty() {
            return Err(format!("turn {place}"));
        }
        let mut results: Vec<String> = Vec::new();
        for block in message.content() {
            match block {
                ContentBlock::Text(text) if text.trim().is_empty() => return Err("blank".to_owned()),
                ContentBlock::ToolResult(result) => results.push(result.tool_use_id().to_owned()),
                ContentBlock::ToolUse(_) if call.tools.is_none() => return Err("no toolConfig".to_owned()),
                _ => {}
            }
        }
        if is_user && results != open {
            return Err(format!("{results:?} for {open:?}"));
        }
        let calls = message.content().iter().filter_map(|block| block.as_tool_use().ok());
        open = calls.map(|call| call.tool_use_id().to_owned()).collect();
    }
    keeps_the_rules_of_papers(messages)?;
    if open.is_empty() { Ok(()) } else { Err("unanswered".to_owned()) }
}

fn keeps_the_rules_of_papers(messages: &[Message]) -> Result<(), String> {
    let (mut names, mut points) = (Vec::new(), 0);
    for message in messages {
        let blocks = message.content();
        let papers: Vec<_> = blocks.iter().filter_map(|block| block.as_document().ok()).collect();
        if !papers.is_empty() && !blocks.iter().any(ContentBlock::is_text) {
            return Err("a document without words".to_owned());
        }
        for paper in papers {
            if names.contains(&paper.name()) {
                return Err(format!("two are called {}", paper.name()));
            }
            names.push(paper.name());
        }
        let doubled = blocks.windows(2).any(|pair| pair.iter().all(ContentBlock::is_cache_point));
        if doubled || blocks.first().is_some_and(ContentBlock::is_cache_point) {
            return Err("a point with nothing before it".to_owned());
        }
        points += blocks.iter().filter(|block| block.is_cache_point()).count();
    }
    if names.len() > 5 || points > 4 { Err(format!("{} documents, {points} points", names.len())) } else { Ok(()) }
}

proptest::proptest! {
    #[test]
    fn what_meets_the_needs_is_mapped_and_keeps_the_services_rules(request in any_request(), model in 0_usize..6) {
        let models = [CLAUDE, NOVA, OSS, "us.deepseek.r1-v1:0", "mistral.mistral-7b-instruct-v0:2", "us.anthropic.claude-opus-4-6-v1"];
        let target = target(models[model]);
        if needs(&request, &target, 100).is_ok() {
            let mapped = map(&request, &target, &[]).map_err(|error| error.to_string());
            let kept = mapped.and_then(|mapped| keeps_the_rules(&mapped.call));
            proptest::prop_assert_eq!(kept, Ok(()), "{:?}", request);
        }
    }
}
