//! Pictures and sounds in requests: base64 that is checked, a format told by the first bytes.
//!
//! What Ollama's runners read passes, from any place (`model/model.go`, `mtmd-helper.cpp`); what they
//! would end the answer for is refused before it costs a turn on the GPU.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr2;

use crate::chat::{BadRequest, Image, ImageKind};

/// Largest picture, bytes before base64: above what any local vision model reads, and a fraction of
/// the largest body (32 MiB).
pub const MAX_IMAGE: usize = 20 * 1024 * 1024;

/// Characters of base64 that hold enough bytes to tell a format (12), a multiple of four.
const HEAD: usize = 16;

/// Checks a picture or a sound, whose base64 may be wrapped into lines as Go takes it. `place` names it for the caller (`messages[0].images[1]`).
///
/// # Errors
///
/// Not base64, too large, or no format that models read; never shows the data.
pub fn read(base64: &str, place: &str) -> Result<Image, BadRequest> {
    let bad = |what: &str| BadRequest(format!("{place}: {what}"));
    let base64 = unwrapped(base64);
    if base64.len() / 4 * 3 > MAX_IMAGE {
        return Err(bad("the picture is larger than 20 MiB; scale it down"));
    }
    let head = base64.get(..HEAD).and_then(|head| STANDARD.decode(head).ok());
    let kind = head.as_deref().and_then(sniff);
    if !is_base64(&base64) {
        return Err(bad("the picture is not standard base64"));
    }
    let Some(kind) = kind else {
        return Err(bad("the picture is neither PNG, JPEG, GIF, WebP, BMP nor TIFF, nor a sound as WAV, MP3 or FLAC"));
    };
    Ok(Image { base64: base64.into_owned(), kind })
}

/// Checks the picture of a `data:` URL, as OpenAI's clients send it.
///
/// # Errors
///
/// As [`read`], and any other URL: an edge fetches nothing for a caller.
pub fn read_url(url: &str, place: &str) -> Result<Image, BadRequest> {
    let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match data {
        Some((_, base64)) => read(base64, place),
        None => Err(BadRequest(format!(
            "{place}: pictures are taken as data:image/…;base64,… only; an edge fetches no addresses for a caller"
        ))),
    }
}

/// Without the line ends that `base64` and mail programs put in.
pub(crate) fn unwrapped(base64: &str) -> Cow<'_, str> {
    match memchr2(b'\r', b'\n', base64.as_bytes()) {
        Some(_) => Cow::Owned(base64.replace(['\r', '\n'], "")),
        None => Cow::Borrowed(base64),
    }
}

/// By the first bytes, as browsers do (WHATWG MIME Sniffing) and Ollama's runners.
fn sniff(head: &[u8]) -> Option<ImageKind> {
    match head {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(ImageKind::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageKind::Jpeg),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageKind::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(ImageKind::Webp),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(ImageKind::Wav),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Some(ImageKind::Tiff),
        [b'B', b'M', ..] => Some(ImageKind::Bmp),
        [b'f', b'L', b'a', b'C', ..] => Some(ImageKind::Flac),
        // A tag, or the first frame.
        [b'I', b'D', b'3', ..] | [0xff, 0xe0..=0xff, ..] => Some(ImageKind::Mp3),
        _ => None,
    }
}

/// Whole and padded, without decoding megabytes.
pub(crate) fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(head: &[u8]) -> String {
        let mut bytes = head.to_vec();
        bytes.resize(40, 7);
        STANDARD.encode(bytes)
    }

    #[test]
    fn a_format_is_told_by_the_first_bytes_whatever_the_caller_calls_it() {
        for (head, kind) in [
            (&b"\x89PNG\r\n\x1a\n"[..], ImageKind::Png),
            (b"\xff\xd8\xff\xe0", ImageKind::Jpeg),
            (b"GIF89a", ImageKind::Gif),
            (b"RIFF\0\0\0\0WEBP", ImageKind::Webp),
            (b"BM", ImageKind::Bmp),
            (b"II*\0", ImageKind::Tiff),
            (b"MM\0*", ImageKind::Tiff),
            (b"RIFF\0\0\0\0WAVE", ImageKind::Wav),
            (b"ID3\x04", ImageKind::Mp3),
            (b"\xff\xfb\x90", ImageKind::Mp3),
            (b"fLaC", ImageKind::Flac),
        ] {
            for kind_said in ["image/bmp", "image/png", ""] {
                let url = format!("data:{kind_said};base64,{}", encoded(head));
                assert_eq!(read_url(&url, "here").unwrap().kind, kind);
            }
            assert_eq!(read(&encoded(head), "here").unwrap().kind, kind);
        }
        assert!(ImageKind::Wav.is_audio() && !ImageKind::Png.is_audio());
    }

    #[test]
    fn base64_wrapped_into_lines_is_read_as_go_reads_it_and_passed_on_in_one() {
        let whole = encoded(b"\x89PNG\r\n\x1a\n");
        for end in ["\n", "\r\n"] {
            let lines: Vec<&str> = whole.as_bytes().chunks(7).map(|line| std::str::from_utf8(line).unwrap()).collect();
            assert_eq!(read(&(lines.join(end) + end), "x").unwrap().base64, whole);
        }
        let blank = format!("{} {}", &whole[..20], &whole[21..]);
        assert!(read(&blank, "x").is_err(), "Go takes no blanks");
    }

    #[test]
    fn what_is_no_picture_is_refused_with_its_place_and_without_its_data() {
        for text in ["", "####", "SGVsbG8gd29ybGQhISEhISEh", "aGVsbG8"] {
            let error = read(text, "messages[0].images[1]").unwrap_err().to_string();
            assert!(error.starts_with("messages[0].images[1]: the picture is"), "{error}");
        }
        let broken = format!("{}=", encoded(b"\xff\xd8\xff"));
        assert!(read(&broken, "x").is_err());
    }

    #[test]
    fn addresses_are_not_fetched() {
        for url in ["https://example.com/a.png", "file:///etc/passwd", "data:image/png,abc"] {
            assert!(read_url(url, "x").unwrap_err().to_string().contains("fetches no addresses"), "{url}");
        }
    }

    #[test]
    fn a_picture_over_the_limit_is_refused() {
        let large = "A".repeat(MAX_IMAGE / 3 * 4 + 8);
        assert!(read(&large, "x").unwrap_err().to_string().contains("20 MiB"));
    }
}
