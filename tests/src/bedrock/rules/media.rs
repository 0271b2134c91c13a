//! Images and documents: where they stand, how many, how large, and that they are what they claim.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Feature, Request, blocks, ensure, list, role};

/// Of a request.
const IMAGES_MAX: usize = 20;
/// Of one image: 3.75 MB.
const IMAGE_BYTES_MAX: usize = 3_932_160;
/// Pixels of either side.
const IMAGE_SIDE_MAX: u32 = 8000;
/// Of a request.
const DOCUMENTS_MAX: usize = 5;
/// Of one document: 4.5 MB.
const DOCUMENT_BYTES_MAX: usize = 4_718_592;

pub(super) fn check(request: &Request<'_>) -> Result<(), String> {
    let mut images = 0;
    let mut names = BTreeSet::new();
    let mut documents = 0;
    for (index, message) in request.messages().iter().enumerate() {
        for (path, block) in media(index, message) {
            if let Some(image) = block.get("image") {
                images += 1;
                allowed(request, Feature::Images, "image", message)?;
                picture(&path, image)?;
            }
            if let Some(document) = block.get("document") {
                documents += 1;
                allowed(request, Feature::Documents, "document", message)?;
                paper(&path, document)?;
                let name = document["name"].as_str().unwrap_or_default();
                ensure(names.insert(name), || format!("Messages contain duplicate document names: {name}"))?;
            }
        }
        let documents_here = blocks(message).any(|(_, block)| block.get("document").is_some());
        let text_here = blocks(message).any(|(_, block)| block.get("text").is_some());
        ensure(!documents_here || text_here, || {
            format!("A text block must stand beside the document block in messages.{index}.content.")
        })?;
    }
    ensure(images <= IMAGES_MAX, || {
        format!("too many images and documents: {images} + {documents} > {IMAGES_MAX} images")
    })?;
    ensure(documents <= DOCUMENTS_MAX, || {
        format!("The number of documents exceeds the limit of {DOCUMENTS_MAX}. Found {documents} documents.")
    })
}

/// Blocks of a message and of the tool results in it, with their paths.
fn media(index: usize, message: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (at, block) in blocks(message) {
        let path = format!("messages.{index}.content.{at}");
        for (part, inner) in list(&block["toolResult"]["content"]).iter().enumerate() {
            found.push((format!("{path}.toolResult.content.{part}"), inner));
        }
        found.push((path, block));
    }
    found
}

fn allowed(request: &Request<'_>, feature: Feature, kind: &str, message: &Value) -> Result<(), String> {
    let role = role(message);
    ensure(role == "user" && request.family.has(feature), || {
        format!(
            "This model doesn't support the {kind} content block for the {role} role. Remove the content block and \
             try again."
        )
    })
}

fn picture(path: &str, image: &Value) -> Result<(), String> {
    let Some(bytes) = bytes(image) else { return Ok(()) };
    let size = bytes.len();
    ensure(size <= IMAGE_BYTES_MAX, || {
        format!("The image at {path} exceeds the maximum size: {size} bytes > {IMAGE_BYTES_MAX} bytes")
    })?;
    let format = image["format"].as_str().unwrap_or_default();
    ensure(format_of(&bytes) == Some(format), || {
        format!("The image at {path} was specified using the {format} format, but it does not appear to be one.")
    })?;
    let (width, height) = sides(&bytes).unwrap_or((0, 0));
    ensure(width.max(height) <= IMAGE_SIDE_MAX, || {
        format!("The image at {path} is {width} x {height} pixels; at most {IMAGE_SIDE_MAX} are allowed on a side.")
    })
}

fn bytes(media: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(media["source"]["bytes"].as_str()?).ok()
}

fn format_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("webp"),
        _ => None,
    }
}

/// Width and height as the head of the file says them; none where it is cut short.
fn sides(bytes: &[u8]) -> Option<(u32, u32)> {
    let big = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let small = |at: usize| Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    match format_of(bytes)? {
        "png" => Some((big(16)?, big(20)?)),
        "gif" => Some((small(6)?, small(8)?)),
        "jpeg" => jpeg_sides(bytes),
        _ => match bytes.get(12..16)? {
            // Both less one, in 24 bits each.
            b"VP8X" => Some((1 + (small(24)? | (small(26)? & 0xff) << 16), 1 + (small(27)? | (small(28)? >> 8) << 16))),
            // Both less one, in 14 bits each.
            b"VP8L" => {
                let bits = small(21)? | small(23)? << 16;
                Some((1 + (bits & 0x3fff), 1 + ((bits >> 14) & 0x3fff)))
            }
            b"VP8 " => Some((small(26)? & 0x3fff, small(28)? & 0x3fff)),
            _ => None,
        },
    }
}

/// From the first segment that starts a frame.
fn jpeg_sides(bytes: &[u8]) -> Option<(u32, u32)> {
    let big = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let mut at = 2;
    loop {
        let marker = big(at)?;
        // C4, C8 and CC stand among the frames and are none.
        if (0xffc0..=0xffcf).contains(&marker) && !matches!(marker, 0xffc4 | 0xffc8 | 0xffcc) {
            return Some((big(at + 7)?.into(), big(at + 5)?.into()));
        }
        at += 2 + usize::from(big(at + 2)?);
    }
}

fn paper(path: &str, document: &Value) -> Result<(), String> {
    let size = bytes(document).map_or(0, |bytes| bytes.len());
    ensure(size <= DOCUMENT_BYTES_MAX, || {
        format!("The document at {path} exceeds the maximum size: {size} bytes > {DOCUMENT_BYTES_MAX} bytes")
    })?;
    let name = document["name"].as_str().unwrap_or_default();
    let plain = |c: char| c.is_alphanumeric() || c.is_whitespace() || "-()[]".contains(c);
    let mut pairs = name.chars().zip(name.chars().skip(1));
    ensure(name.chars().all(plain) && !pairs.any(|(a, b)| a.is_whitespace() && b.is_whitespace()), || {
        "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, \
         parentheses, and square brackets. The name can't contain more than one consecutive whitespace character."
            .to_owned()
    })
}
