//! Documents in requests: what they are is told by their first bytes, then by what the caller says.
//!
//! Invariant: a document of a text format is UTF-8 and held as a text; any other is checked base64.
//! Absent: which model reads what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::chat::{BadRequest, Document, DocumentBody, DocumentFormat};
use crate::image::{is_base64, unwrapped};

/// Largest document, bytes before base64: a fraction of the largest body (32 MiB).
pub const MAX_DOCUMENT: usize = 20 * 1024 * 1024;

/// Characters of base64 that hold enough bytes to tell a format, a multiple of four.
const HEAD: usize = 16;

/// What the caller says of a document.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// Its name; an ending tells its format where nothing else does.
    pub name: Option<&'a str>,
    /// Its media type.
    pub media_type: Option<&'a str>,
    /// What it is about.
    pub context: Option<&'a str>,
}

impl Said<'_> {
    fn document(self, format: DocumentFormat, body: DocumentBody) -> Document {
        let note = |text: Option<&str>| text.filter(|text| !text.trim().is_empty()).map(str::to_owned);
        Document { name: note(self.name), context: note(self.context), format, body }
    }

    /// Its type's or its name's last word, in small letters.
    fn words(self) -> [String; 2] {
        let media_type = self.media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let ending = self.name.and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending).unwrap_or_default();
        [media_type.to_ascii_lowercase(), ending.to_ascii_lowercase()]
    }
}

/// A document that came as a text.
#[must_use]
pub fn of_text(text: String, said: Said<'_>) -> Document {
    let body = DocumentBody::Text(text);
    said.document(text_format(said), body)
}

/// Checks a document in base64. `place` names it for the caller.
///
/// # Errors
///
/// Not base64, too large, or of no format that any model reads; never shows the data.
pub fn read(base64: &str, said: Said<'_>, place: &str) -> Result<Document, BadRequest> {
    let bad = |what: &str| BadRequest(format!("{place}: {what}"));
    let base64 = unwrapped(base64);
    if base64.len() / 4 * 3 > MAX_DOCUMENT {
        return Err(bad("the document is larger than 20 MiB; send a part of it"));
    }
    if base64.is_empty() || !is_base64(&base64) {
        return Err(bad("the document is not standard base64"));
    }
    let unknown = || bad("the document is neither PDF, Word, Excel nor a text in UTF-8");
    let head = base64.get(..HEAD.min(base64.len())).and_then(|head| STANDARD.decode(head).ok());
    let format = match head.as_deref().unwrap_or_default() {
        [b'%', b'P', b'D', b'F', b'-', ..] => Some(DocumentFormat::Pdf),
        [b'P', b'K', 3, 4, ..] => Some(office(said, true).ok_or_else(unknown)?),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => Some(office(said, false).ok_or_else(unknown)?),
        _ => None,
    };
    if let Some(format) = format {
        return Ok(said.document(format, DocumentBody::Base64(base64.into_owned())));
    }
    let text = STANDARD.decode(base64.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match text.filter(|text| !text.contains('\0')) {
        Some(text) => Ok(of_text(text, said)),
        None => Err(unknown()),
    }
}

/// Checks a document as OpenAI's clients send it: in a `data:` URL, or as bare base64.
///
/// # Errors
///
/// As [`read`], and any other URL: an edge fetches nothing for a caller.
pub fn read_url(url: &str, name: Option<&str>, place: &str) -> Result<Document, BadRequest> {
    match url.strip_prefix("data:").map(|rest| rest.split_once(";base64,")) {
        Some(Some((media_type, base64))) => {
            read(base64, Said { name, media_type: Some(media_type), context: None }, place)
        }
        None if !url.contains("://") => read(url, Said { name, ..Said::default() }, place),
        Some(None) | None => Err(BadRequest(format!(
            "{place}: files are taken as data:…;base64,… only; an edge fetches no addresses for a caller"
        ))),
    }
}

/// Which of Office's two it is; both look alike from outside.
fn office(said: Said<'_>, zipped: bool) -> Option<DocumentFormat> {
    let word = said.words().into_iter().find_map(|word| match word.as_str() {
        "doc" | "docx" | "application/msword" => Some(true),
        "xls" | "xlsx" | "application/vnd.ms-excel" => Some(false),
        long if long.ends_with("wordprocessingml.document") => Some(true),
        long if long.ends_with("spreadsheetml.sheet") => Some(false),
        _ => None,
    })?;
    Some(match (word, zipped) {
        (true, true) => DocumentFormat::Docx,
        (true, false) => DocumentFormat::Doc,
        (false, true) => DocumentFormat::Xlsx,
        (false, false) => DocumentFormat::Xls,
    })
}

fn text_format(said: Said<'_>) -> DocumentFormat {
    let known = said.words().into_iter().find_map(|word| match word.as_str() {
        "csv" | "text/csv" => Some(DocumentFormat::Csv),
        "htm" | "html" | "text/html" => Some(DocumentFormat::Html),
        "md" | "markdown" | "text/markdown" => Some(DocumentFormat::Md),
        _ => None,
    });
    known.unwrap_or(DocumentFormat::Txt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(name: &'a str, media_type: &'a str) -> Said<'a> {
        Said { name: Some(name), media_type: Some(media_type), context: None }
    }

    #[test]
    fn what_has_a_head_is_told_by_it_and_a_text_by_what_is_said() {
        let zip = STANDARD.encode(b"PK\x03\x04 and what follows");
        let old = STANDARD.encode(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and so on");
        let word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        let sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
        for (base64, said, format) in [
            (STANDARD.encode(b"%PDF-1.7 and so on"), named("a.docx", "text/plain"), DocumentFormat::Pdf),
            (zip.clone(), named("a", word), DocumentFormat::Docx),
            (zip.clone(), named("a.XLSX", ""), DocumentFormat::Xlsx),
            (zip, named("a", sheet), DocumentFormat::Xlsx),
            (old.clone(), named("a.doc", ""), DocumentFormat::Doc),
            (old, named("a", "application/vnd.ms-excel"), DocumentFormat::Xls),
            (STANDARD.encode("a;b"), named("a", "text/csv; charset=utf-8"), DocumentFormat::Csv),
            (STANDARD.encode("<p>"), named("a.htm", ""), DocumentFormat::Html),
            (STANDARD.encode("# a"), named("a.md", "application/octet-stream"), DocumentFormat::Md),
            (STANDARD.encode("grüezi"), Said::default(), DocumentFormat::Txt),
        ] {
            let read = read(&base64, said, "x").unwrap();
            assert_eq!(read.format, format, "{said:?}");
            let is_text = matches!(read.body, DocumentBody::Text(_));
            assert_eq!(is_text, read.as_text().is_some());
        }
        assert_eq!(read_url("data:text/plain;base64,YQ==", Some(" "), "x").unwrap().name, None);
        assert_eq!(read_url("YQ==", Some("a.csv"), "x").unwrap().format, DocumentFormat::Csv);
    }

    #[test]
    fn what_no_model_reads_is_refused_with_its_place_and_without_its_data() {
        let zip = STANDARD.encode(b"PK\x03\x04 and what follows");
        for base64 in ["", "####", "aGVsbG8", "AAAA", "//////8=", &zip] {
            let error = read(base64, Said::default(), "messages[0].content[1]").unwrap_err().to_string();
            assert!(error.starts_with("messages[0].content[1]: the document is n"), "{error}");
        }
        for url in ["https://example.com/a.pdf", "data:application/pdf,abc"] {
            assert!(read_url(url, None, "x").unwrap_err().to_string().contains("fetches no addresses"), "{url}");
        }
        let large = "A".repeat(MAX_DOCUMENT / 3 * 4 + 8);
        assert!(read(&large, Said::default(), "x").unwrap_err().to_string().contains("20 MiB"));
    }
}
