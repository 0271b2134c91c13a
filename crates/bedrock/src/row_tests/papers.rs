//! Rows of documents and cache marks.

use aws_sdk_bedrockruntime::types::{CacheTtl, DocumentBlock, SystemContentBlock, Tool as Told};
use causeway_dialect::chat::{CacheTime, Document, DocumentBody, DocumentFormat, Image, ImageKind};

use super::*;

fn paper(name: Option<&str>, format: DocumentFormat, body: DocumentBody) -> Part {
    Part::Document(Box::new(Document { name: name.map(str::to_owned), context: None, format, body }))
}

fn pdf(name: &str) -> Part {
    paper(Some(name), DocumentFormat::Pdf, DocumentBody::Base64("JVBERi0xLjcK".to_owned()))
}

fn txt(words: &str) -> Part {
    paper(None, DocumentFormat::Txt, DocumentBody::Text(words.to_owned()))
}

const FIVE: Part = Part::CachePoint(CacheTime::FiveMinutes);
const HOUR: Part = Part::CachePoint(CacheTime::Hour);

fn asks(parts: Vec<Part>) -> Request {
    conversation(vec![said(Role::User, parts)])
}

fn papers(mapped: &Mapped) -> Vec<&DocumentBlock> {
    let blocks = mapped.call.messages.iter().flat_map(Message::content);
    blocks.filter_map(|block| block.as_document().ok()).collect()
}

/// All points in the order in which the model reads, each as its place and time.
fn points(mapped: &Mapped) -> Vec<String> {
    let time = |ttl: Option<&CacheTtl>| ttl.map_or("5m", CacheTtl::as_str).to_owned();
    let mut points = Vec::new();
    for (at, tool) in mapped.call.tools.iter().flat_map(|config| config.tools()).enumerate() {
        if let Told::CachePoint(point) = tool {
            points.push(format!("tools {at} {}", time(point.ttl())));
        }
    }
    for (at, block) in mapped.call.system.iter().flatten().enumerate() {
        if let SystemContentBlock::CachePoint(point) = block {
            points.push(format!("system {at} {}", time(point.ttl())));
        }
    }
    for (turn, message) in mapped.call.messages.iter().enumerate() {
        for (at, block) in message.content().iter().enumerate() {
            if let ContentBlock::CachePoint(point) = block {
                points.push(format!("{turn} {at} {}", time(point.ttl())));
            }
        }
    }
    points
}

#[test]
fn row_38_documents_are_told_as_such_where_the_model_reads_them_and_texts_everywhere() {
    let request = asks(vec![pdf("a"), txt("b"), text("?")]);
    let claude = mapped(&request, CLAUDE);
    let formats: Vec<&str> = papers(&claude).iter().map(|paper| paper.format().as_str()).collect();
    assert_eq!(formats, ["pdf", "txt"]);
    let bytes = |at: usize| papers(&claude)[at].source().unwrap().as_bytes().unwrap().as_ref().to_vec();
    assert_eq!((bytes(0), bytes(1)), (b"%PDF-1.7\n".to_vec(), b"b".to_vec()));
    assert!(refused(&request, OSS).contains("reads no documents but texts"));
    assert_eq!(heard(OSS, &asks(vec![txt("b"), text("?")])), ["user: <document>\nb\n</document>\n | ?"]);
    for format in [DocumentFormat::Doc, DocumentFormat::Docx, DocumentFormat::Xls, DocumentFormat::Xlsx] {
        let request = asks(vec![paper(None, format, DocumentBody::Base64("AAAA".to_owned())), text("?")]);
        assert_eq!(papers(&mapped(&request, CLAUDE)).len(), 1, "{format:?}");
    }
    let result = Part::ToolResult(ToolResult { id: None, name: None, parts: vec![pdf("r")], failed: false });
    let asked = |parts| {
        vec![said(Role::User, vec![text("?")]), said(Role::Assistant, parts), said(Role::Tool, vec![result.clone()])]
    };
    let answered = mapped(&conversation(asked(vec![call("1", "weather")])), CLAUDE);
    let told = answered.call.messages[2].content()[0].as_tool_result().unwrap();
    assert_eq!(told.content()[0].as_document().unwrap().name(), "r");
    let loose = mapped(&conversation(asked(vec![text("I look")])), CLAUDE);
    assert_eq!(papers(&loose).len(), 1, "a result that nobody asked for brings its document too");
    let lost = mapped(
        &conversation(vec![
            said(Role::System, vec![pdf("s"), txt("told")]),
            said(Role::Assistant, vec![pdf("m")]),
            said(Role::User, vec![text("?")]),
        ]),
        CLAUDE,
    );
    assert_eq!((papers(&lost).len(), &lost.lost[..]), (0, &["messages.documents".to_owned()][..]));
    assert_eq!(lost.call.system.unwrap()[0].as_text().unwrap(), "<document>\ntold\n</document>\n");
}

#[test]
fn row_39_more_or_larger_documents_are_not_mapped_and_texts_become_text() {
    let many = |count: usize, paper: fn(&str) -> Part| {
        asks((0..count).map(|number| paper(&number.to_string())).chain([text("?")]).collect())
    };
    assert_eq!(papers(&mapped(&many(5, pdf), CLAUDE)).len(), 5);
    assert!(refused(&many(6, pdf), CLAUDE).contains("at most 5 documents"));
    assert_eq!(papers(&mapped(&many(5, txt), CLAUDE)).len(), 5);
    assert_eq!(papers(&mapped(&many(6, txt), CLAUDE)).len(), 0);
    let whole = format!("JVBERi0x{}", "A".repeat(6_000_000));
    let large = asks(vec![paper(None, DocumentFormat::Pdf, DocumentBody::Base64(whole)), text("?")]);
    assert!(refused(&large, CLAUDE).contains("4.5 MB"));
    let long = Request { max_tokens: Some(1), ..asks(vec![txt(&"a".repeat(4_500_001)), text("?")]) };
    let mut wide = target(CLAUDE);
    wide.family.context = u32::MAX;
    assert_eq!(papers(&map(&long, &wide, &[]).unwrap()).len(), 0);
}

#[test]
fn row_40_a_documents_name_has_the_signs_that_the_service_takes_and_is_its_own() {
    let long = "n".repeat(300);
    let names = ["a/b  (1).pdf", "a b (1) pdf", "", " ", &long];
    let request = asks(names.iter().map(|name| pdf(name)).chain([text("?")]).collect());
    let claude = mapped(&request, CLAUDE);
    let told: Vec<&str> = papers(&claude).iter().map(|paper| paper.name()).collect();
    assert_eq!(told[..4], ["a b (1) pdf", "a b (1) pdf (2)", "document", "document (2)"]);
    assert_eq!(told[4], "n".repeat(200));
    let twice = mapped(&asks(vec![pdf(&long), pdf(&long), text("?")]), CLAUDE);
    assert_eq!(papers(&twice)[1].name(), format!("{} (2)", "n".repeat(196)));
}

#[test]
fn row_41_documents_never_stand_without_words() {
    let told = |parts| {
        let mapped = mapped(&asks(parts), CLAUDE);
        let blocks = mapped.call.messages[0].content();
        blocks.iter().map(|block| block.as_text().map_or("-", String::as_str).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(vec![pdf("a"), pdf("b"), FIVE]), ["-", "-", "Here is what was attached.", "-"]);
    assert_eq!(told(vec![text("?"), pdf("a")]), ["?", "-"]);
}

#[test]
fn row_42_cache_marks_are_points_behind_what_they_mark_as_far_as_the_family_takes_them() {
    let mut cached = tool("cached");
    cached.cache = Some(CacheTime::Hour);
    let request = Request {
        tools: vec![cached, tool("b")],
        ..conversation(vec![
            said(Role::System, vec![FIVE, text("s"), HOUR, FIVE]),
            said(Role::User, vec![FIVE, text("a"), FIVE, FIVE, text("b")]),
        ])
    };
    let claude = mapped(&request, CLAUDE);
    assert_eq!(points(&claude), ["tools 1 1h", "system 1 1h", "0 1 5m"], "none stands first or behind another");
    assert!(claude.lost.is_empty());
    let older = mapped(&request, "us.anthropic.claude-sonnet-4-20250514-v1:0");
    assert_eq!(points(&older), ["tools 1 5m", "system 1 5m", "0 1 5m"], "an hour is not for all");
    let nova = mapped(&request, NOVA);
    assert_eq!(
        (points(&nova), &nova.lost[..]),
        (vec!["system 1 5m".to_owned(), "0 1 5m".to_owned()], &["cache_control".to_owned()][..])
    );
    for model in [OSS, "anthropic.claude-3-haiku-20240307-v1:0"] {
        let none = mapped(&request, model);
        assert_eq!((points(&none).len(), &none.lost[..]), (0, &["cache_control".to_owned()][..]), "{model}");
    }
    let results = conversation(vec![
        said(Role::User, vec![text("?")]),
        said(Role::Assistant, vec![call("1", "weather"), call("2", "weather")]),
        said(Role::Tool, vec![result(Some("2"), None, "b"), FIVE]),
        said(Role::Tool, vec![result(Some("1"), None, "a"), FIVE]),
        said(Role::User, vec![text("and?")]),
    ]);
    assert_eq!(points(&mapped(&results, CLAUDE)), ["2 2 5m"], "results come first, and one point holds both");
    let begun = conversation(vec![said(Role::User, vec![text("?")]), said(Role::Assistant, vec![text("So "), FIVE])]);
    let begun = mapped(&begun, CLAUDE);
    assert_eq!(
        (begun.call.messages[1].content()[0].as_text().unwrap().as_str(), points(&begun)),
        ("So", vec!["1 1 5m".to_owned()])
    );
}

#[test]
fn row_43_of_more_than_four_marks_the_last_are_kept_and_no_hour_stands_behind_five_minutes() {
    let mut cached = tool("cached");
    cached.cache = Some(CacheTime::Hour);
    let turns = || vec![text("a"), FIVE, text("b"), HOUR, text("c"), FIVE];
    let system = |parts| said(Role::System, parts);
    let request =
        Request { tools: vec![cached], ..conversation(vec![system(vec![text("s"), HOUR]), said(Role::User, turns())]) };
    let claude = mapped(&request, CLAUDE);
    assert_eq!(points(&claude), ["system 1 1h", "0 1 5m", "0 3 5m", "0 5 5m"]);
    assert_eq!(claude.lost, ["cache_control"]);
    let four = mapped(&Request { tools: Vec::new(), ..request }, CLAUDE);
    assert_eq!((points(&four).len(), four.lost.len()), (4, 0));
}

#[test]
fn row_44_pictures_of_too_many_pixels_are_not_mapped() {
    let picture = |width: u16| {
        let mut bytes = b"GIF89a".to_vec();
        bytes.extend(width.to_le_bytes());
        bytes.extend([1, 0, 0, 0, 0, 0]);
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        asks(vec![Part::Image(Image { base64, kind: ImageKind::Gif }), text("?")])
    };
    assert_eq!(heard(CLAUDE, &picture(8_000)), ["user: <gif> | ?"]);
    assert!(refused(&picture(8_001), CLAUDE).contains("8000 pixels a side, and one has 8001 x 1"));
}

#[test]
fn what_cannot_be_foreseen_is_reserved_at_the_most_it_can_cost() {
    let plain = mapped(&asks(vec![txt("b"), text("?")]), CLAUDE);
    assert_eq!((plain.input_most, plain.cache_surcharge), (plain.input_estimate * 2, 0));
    let unknown = mapped(&asks(vec![pdf("a"), text("?")]), CLAUDE);
    let room = u64::from(crate::Family::of(CLAUDE).context - unknown.max_tokens);
    assert_eq!((unknown.input_estimate, unknown.input_most), (room, room));
    let hour = mapped(&asks(vec![text("a"), HOUR, text("?")]), CLAUDE);
    let five = mapped(&asks(vec![text("a"), FIVE, text("?")]), CLAUDE);
    assert_eq!((hour.cache_surcharge, five.cache_surcharge), (100, 25));
    assert_eq!(hour.input_most, hour.input_estimate * 2);
    assert!(five.input_estimate < hour.input_estimate, "{} {}", five.input_estimate, hour.input_estimate);
}
