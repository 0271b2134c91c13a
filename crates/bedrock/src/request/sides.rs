//! How large a picture is, by its first bytes; nothing of it is decoded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use causeway_dialect::chat::{Image, ImageKind};

/// Characters of base64 in which a JPEG's frame is looked for, a multiple of four: before it stand notes
/// of cameras and profiles of colours, each of 64 KiB at most.
const HEAD: usize = 512 * 1024;
/// Characters in which the other formats say it.
const SHORT_HEAD: usize = 64;

/// Width and height, pixels; none where the head is cut short or of another format.
pub(super) fn sides(image: &Image) -> Option<(u32, u32)> {
    let head = if image.kind == ImageKind::Jpeg { HEAD } else { SHORT_HEAD };
    let head = image.base64.get(..head).unwrap_or(&image.base64);
    let bytes = STANDARD.decode(head).ok()?;
    match image.kind {
        ImageKind::Png => Some((large_end(&bytes, 16, 4)?, large_end(&bytes, 20, 4)?)),
        ImageKind::Gif => Some((small_end(&bytes, 6, 2)?, small_end(&bytes, 8, 2)?)),
        ImageKind::Jpeg => jpeg(&bytes),
        ImageKind::Webp => webp(&bytes),
        ImageKind::Bmp | ImageKind::Tiff | ImageKind::Wav | ImageKind::Mp3 | ImageKind::Flac => None,
    }
}

fn large_end(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(count)?)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn small_end(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(count)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// Of the first frame (ITU T.81, B.2.2): height, then width.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let marker = large_end(bytes, at, 2)?;
        match marker {
            // Filling before a marker.
            0xffff => at += 1,
            // These stand among the frames' markers and are tables.
            0xffc4 | 0xffc8 | 0xffcc => at += 2 + large_end(bytes, at + 2, 2)? as usize,
            0xffc0..=0xffcf => return Some((large_end(bytes, at + 7, 2)?, large_end(bytes, at + 5, 2)?)),
            0xff01..=0xfffe => at += 2 + large_end(bytes, at + 2, 2)? as usize,
            _ => return None,
        }
    }
}

/// By the first chunk (https://developers.google.com/speed/webp/docs/riff_container).
fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8X" => Some((1 + small_end(bytes, 24, 3)?, 1 + small_end(bytes, 27, 3)?)),
        // 14 bits each.
        b"VP8L" => {
            let bits = small_end(bytes, 21, 4)?;
            Some((1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)))
        }
        b"VP8 " => Some((small_end(bytes, 26, 2)? & 0x3fff, small_end(bytes, 28, 2)? & 0x3fff)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &[u8]) -> Option<(u32, u32)> {
        let mut bytes = head.to_vec();
        bytes.resize(48, 0);
        sides(&causeway_dialect::image::read(&STANDARD.encode(bytes), "x").unwrap())
    }

    #[test]
    fn each_format_says_its_sides_in_its_head() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x1f\x41\0\0\0\x02";
        assert_eq!(of(png), Some((8_001, 2)));
        assert_eq!(of(b"GIF89a\x41\x1f\x02\0"), Some((8_001, 2)));
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc4\0\x02\xff\xc2\0\x11\x08\x1f\x41\0\x02";
        assert_eq!(of(jpeg), Some((2, 8_001)));
        assert_eq!(of(b"RIFF....WEBPVP8X\x0a\0\0\0....\x40\x1f\0\x01\0\0"), Some((8_001, 2)));
        assert_eq!(of(b"RIFF....WEBPVP8L....\x2f\x40\x5f\0\0"), Some((8_001, 2)));
        assert_eq!(of(b"RIFF....WEBPVP8 ....\0\0\0\x9d\x01\x2a\x41\x1f\x02\0"), Some((8_001, 2)));
    }

    #[test]
    fn what_does_not_say_it_has_no_sides() {
        assert_eq!(of(b"RIFF....WEBPALPH"), None);
        assert_eq!(of(b"\xff\xd8\xff\xe0\xff\xff"), None);
        assert_eq!(of(b"\xff\xd8\xff\xe0\0\x04ab12"), None);
        assert_eq!(of(b"BM"), None);
    }
}
