//! Documents as Converse takes them.
//!
//! Invariants: no more than the service takes, none too large, each with a name of its own; a text that
//! cannot go as a document goes as a text. Absent: whether those that are no texts fit (`needs.rs`).

use std::collections::HashSet;

use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{DocumentBlock, DocumentFormat as Format, DocumentSource};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use causeway_dialect::chat::{Document, DocumentBody, DocumentFormat, Input, Message, Part, Request, Role};

use super::{Unmapped, impossible};
use crate::family::Family;

/// Most documents of one request
/// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html).
pub(super) const MOST: usize = 5;

/// Largest document, bytes: 4.5 MB, same place.
pub(super) const LARGEST: usize = 4_500_000;

/// Longest name, characters; same place.
const LONGEST_NAME: usize = 200;

/// How one without a name is called. Neutral, for a model reads it.
const UNNAMED: &str = "document";

/// Said beside documents whose caller says nothing: they must not stand alone.
pub(super) const BESIDE: &str = "Here is what was attached.";

/// How one is told.
pub(super) enum Paper {
    Document(Box<DocumentBlock>),
    Text(String),
}

/// How the documents of a request are told.
#[derive(Debug)]
pub(super) struct Papers {
    /// Texts are told as documents too.
    texts_too: bool,
    names: HashSet<String>,
}

impl Papers {
    pub(super) fn of(request: &Request, family: &Family) -> Self {
        Self { texts_too: family.documents && all(request).count() <= MOST, names: HashSet::new() }
    }

    pub(super) fn tell(&mut self, document: &Document) -> Result<Paper, Unmapped> {
        let bytes = match &document.body {
            DocumentBody::Text(text) if self.texts_too && document.size() <= LARGEST => text.clone().into_bytes(),
            DocumentBody::Text(_) => return Ok(Paper::Text(document.as_text().unwrap_or_default())),
            DocumentBody::Base64(base64) => STANDARD.decode(base64).map_err(impossible)?,
        };
        let block = DocumentBlock::builder()
            .format(format(document.format))
            .name(self.name(document.name.as_deref().unwrap_or_default()))
            .source(DocumentSource::Bytes(Blob::new(bytes)))
            .set_context(document.context.clone())
            .build()
            .map_err(impossible)?;
        Ok(Paper::Document(Box::new(block)))
    }

    /// A name of the signs that the service takes; of equal ones the later get a number.
    fn name(&mut self, said: &str) -> String {
        let clean = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
        let cleaned: String = said.chars().map(clean).collect();
        let words: Vec<&str> = cleaned.split_ascii_whitespace().collect();
        let mut name = words.join(" ");
        if name.is_empty() {
            UNNAMED.clone_into(&mut name);
        }
        // Ones of a byte each are left.
        name.truncate(LONGEST_NAME);
        let mut own = name.clone();
        let mut number = 1;
        while !self.names.insert(own.clone()) {
            number += 1;
            let ending = format!(" ({number})");
            let room = LONGEST_NAME - ending.len();
            own = format!("{}{ending}", name.get(..room).unwrap_or(&name).trim_end());
        }
        own
    }
}

/// The documents that are told: those of users and of results.
pub(super) fn all(request: &Request) -> impl Iterator<Item = &Document> {
    let messages: &[Message] = match &request.input {
        Input::Chat(messages) => messages,
        Input::Prompt(_) => &[],
    };
    let parts = messages.iter().filter(|message| message.role != Role::Assistant).flat_map(|message| &message.parts);
    parts
        .flat_map(|part| match part {
            Part::ToolResult(result) => result.parts.as_slice(),
            Part::Text(_)
            | Part::Image(_)
            | Part::Document(_)
            | Part::CachePoint(_)
            | Part::Thinking { .. }
            | Part::ToolCall(_) => std::slice::from_ref(part),
        })
        .filter_map(|part| match part {
            Part::Document(document) => Some(&**document),
            Part::Text(_)
            | Part::Image(_)
            | Part::CachePoint(_)
            | Part::Thinking { .. }
            | Part::ToolCall(_)
            | Part::ToolResult(_) => None,
        })
}

fn format(format: DocumentFormat) -> Format {
    match format {
        DocumentFormat::Pdf => Format::Pdf,
        DocumentFormat::Doc => Format::Doc,
        DocumentFormat::Docx => Format::Docx,
        DocumentFormat::Xls => Format::Xls,
        DocumentFormat::Xlsx => Format::Xlsx,
        DocumentFormat::Csv => Format::Csv,
        DocumentFormat::Html => Format::Html,
        DocumentFormat::Md => Format::Md,
        DocumentFormat::Txt => Format::Txt,
    }
}
