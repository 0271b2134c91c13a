//! Pictures as Converse takes them.

use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{ImageBlock, ImageFormat, ImageSource};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use causeway_dialect::chat::{Image, ImageKind};

use super::{Unmapped, impossible};

/// Most pictures of one request (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ImageBlock.html).
pub(super) const MOST_IMAGES: usize = 20;

/// Largest picture, bytes: 3.75 MB, same place.
pub(super) const LARGEST: usize = 3_750_000;

/// Longest side of one, pixels; same place.
pub(super) const LONGEST_SIDE: u32 = 8_000;

/// Bytes of a picture, without decoding it.
pub(super) fn size(image: &Image) -> usize {
    image.base64.trim_end_matches('=').len() / 4 * 3
}

/// By its first bytes, whatever the caller called it: a wrong name is refused there.
pub(super) fn image(image: &Image) -> Result<ImageBlock, Unmapped> {
    let format = match image.kind {
        ImageKind::Png => ImageFormat::Png,
        ImageKind::Jpeg => ImageFormat::Jpeg,
        ImageKind::Gif => ImageFormat::Gif,
        ImageKind::Webp => ImageFormat::Webp,
        ImageKind::Bmp | ImageKind::Tiff | ImageKind::Wav | ImageKind::Mp3 | ImageKind::Flac => {
            let message = "Bedrock reads pictures as PNG, JPEG, GIF and WebP only, and no sounds (images)";
            return Err(Unmapped(message.to_owned()));
        }
    };
    let bytes = STANDARD.decode(&image.base64).map_err(impossible)?;
    ImageBlock::builder().format(format).source(ImageSource::Bytes(Blob::new(bytes))).build().map_err(impossible)
}
