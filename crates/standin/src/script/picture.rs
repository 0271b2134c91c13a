//! Pictures: base64 as Go reads it, and what a model that sees says of them.

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine};

/// The bytes, or Go's words for what is wrong.
pub(crate) fn decode(base64: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(base64).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => at,
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => base64.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}

/// `2 pictures: png of 70 bytes, jpeg of 12 bytes.`
#[must_use]
pub fn describe(pictures: &[Vec<u8>]) -> String {
    let each: Vec<String> = pictures.iter().map(|bytes| format!("{} of {} bytes", kind(bytes), bytes.len())).collect();
    let plural = if pictures.len() == 1 { "picture" } else { "pictures" };
    format!("{} {plural}: {}.", pictures.len(), each.join(", "))
}

fn kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpeg",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_counted_typed_and_measured() {
        let png = decode("iVBORw0KGgo=").unwrap();
        assert_eq!(describe(&[png.clone(), b"x".to_vec()]), "2 pictures: png of 8 bytes, unknown of 1 bytes.");
        assert_eq!(describe(&[png]), "1 picture: png of 8 bytes.");
    }

    #[test]
    fn bad_base64_has_gos_words() {
        assert_eq!(decode("%%%").unwrap_err(), "illegal base64 data at input byte 0");
    }
}
