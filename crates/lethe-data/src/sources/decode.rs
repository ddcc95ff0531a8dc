//! Bytes to pixels: contained, so that no file can end the program.

use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{ImageReader, Limits, RgbImage};

/// Pillow refuses images of more than 179 million pixels; with this side and memory limit so do we.
const MAX_SIDE: u32 = 30_000;
const MAX_MEMORY: u64 = 512 << 20;
const MAX_FILE: u64 = 256 << 20;

/// Reads and decodes a JPEG, PNG, WebP or BMP file. Grey becomes RGB; alpha is dropped and EXIF orientation is not
/// applied, as torchvision's `ImageFolder` does.
pub(super) fn read_image(path: &Path) -> Result<RgbImage, String> {
    decode(&read(path)?)
}

/// The bytes of a file that is not too large for an image.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("{size} bytes, more than the limit of {MAX_FILE}"));
    }
    let mut bytes = Vec::with_capacity(size as usize + 1);
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The image in `bytes`, whose format is told by content.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    if bytes.starts_with(&[0xFF, 0xD8]) && is_cut_off(bytes) {
        return Err("it is cut off: a JPEG without its end marker".into());
    }
    // Nothing outside the closure is left half-changed: it only reads `bytes`.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let mut reader =
            ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_MEMORY);
        reader.limits(limits);
        let image = reader.decode().map_err(|error| error.to_string())?;
        Ok(image.into_rgb8())
    }));
    let image = decoded
        .unwrap_or_else(|_| Err("the decoder failed on it".to_string()))
        .map_err(|reason| reason.split_whitespace().collect::<Vec<_>>().join(" "))?;
    if image.width() == 0 || image.height() == 0 {
        return Err("it has no pixels".into());
    }
    Ok(image)
}

/// Whether a JPEG ends before its end marker: the decoder would fill what is missing with grey, where Pillow refuses.
/// An embedded thumbnail has an end marker too, so only what follows the header counts.
fn is_cut_off(jpeg: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    let mut place = 2;
    while let Some(&[marker, kind, high, low]) = jpeg.get(place..place + 4) {
        place += match (marker, kind) {
            (0xFF, START_OF_SCAN) => return !jpeg[place..].windows(2).rev().any(|pair| pair == [0xFF, 0xD9]),
            (0xFF, 0xFF) | (0..0xFF, _) => 1, // padding
            (0xFF, 0x01 | 0xD0..=0xD9) => 2,
            _ => 2 + usize::from(u16::from_be_bytes([high, low])),
        };
    }
    true
}
