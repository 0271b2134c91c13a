//! Documents beside texts, and marks of what is worth keeping in a service's cache.

/// A document that a model is to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// What the caller calls it.
    pub name: Option<String>,
    /// What the caller says about it.
    pub context: Option<String>,
    /// What it is.
    pub format: DocumentFormat,
    /// What it holds.
    pub body: DocumentBody,
}

/// Formats of documents. Those of texts have a [`DocumentBody::Text`], the others base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the names of the formats")]
pub enum DocumentFormat {
    Pdf,
    Doc,
    Docx,
    Xls,
    Xlsx,
    Csv,
    Html,
    Md,
    Txt,
}

/// What a document holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DocumentBody {
    /// A text, which any model reads.
    Text(String),
    /// Bytes in standard base64, checked.
    Base64(String),
}

/// Up to here a service may keep what it has read, for this long.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CacheTime {
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
}

impl Document {
    /// It as a text, between tags that say where it begins, what it is called and where it ends; none
    /// where it holds bytes.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        let DocumentBody::Text(text) = &self.body else { return None };
        let line = |text: &Option<String>| text.as_ref().map(|text| format!("{text}\n")).unwrap_or_default();
        let name = self.name.as_ref().map(|name| format!(" name={name:?}")).unwrap_or_default();
        Some(format!("<document{name}>\n{}{text}\n</document>\n", line(&self.context)))
    }

    /// Bytes that it holds, about: base64 is not decoded.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.body {
            DocumentBody::Text(text) => text.len(),
            DocumentBody::Base64(base64) => base64.trim_end_matches('=').len() * 3 / 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_with_its_name_and_what_was_said_of_it_and_bytes_are_not() {
        let body = DocumentBody::Text("a,b".to_owned());
        let bare = Document { name: None, context: None, format: DocumentFormat::Csv, body };
        assert_eq!(bare.as_text().unwrap(), "<document>\na,b\n</document>\n");
        assert_eq!(bare.size(), 3);
        let told = Document { name: Some("a \"b\"".to_owned()), context: Some("of May".to_owned()), ..bare };
        assert_eq!(told.as_text().unwrap(), "<document name=\"a \\\"b\\\"\">\nof May\na,b\n</document>\n");
        let bytes = Document { body: DocumentBody::Base64("JVBERi0=".to_owned()), ..told };
        assert_eq!((bytes.as_text(), bytes.size()), (None, 5));
    }
}
