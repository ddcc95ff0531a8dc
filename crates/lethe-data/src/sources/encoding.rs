//! How an image is stored.

use std::io::Cursor;

use image::{ImageFormat, ImageReader};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// `jpeg`, `png`, `webp`, `bmp`; `pixels` of images that no file compresses.
    pub format: String,
    /// In pixels.
    pub width: u32,
    pub height: u32,
    /// 1 to 100, on the scale of libjpeg; of a JPEG alone.
    pub jpeg_quality: Option<u8>,
}

impl Encoding {
    /// Of the file that `bytes` are, by its head; none where that is not an image's.
    pub fn of_file(bytes: &[u8]) -> Option<Self> {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
        let format = reader.format()?;
        let (width, height) = reader.into_dimensions().ok()?;
        let jpeg_quality = if format == ImageFormat::Jpeg { jpeg_quality(bytes) } else { None };
        let format = format!("{format:?}").to_lowercase();
        Some(Self { format, width, height, jpeg_quality })
    }
}

/// The luminance table of the JPEG standard (ITU-T T.81, K.1), which libjpeg scales by its quality. The order does not
/// matter here.
#[rustfmt::skip]
const LUMINANCE: [u16; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87,
    80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92,
    95, 98, 112, 100, 103, 99,
];

/// The quality whose luminance table has the sum nearest to that of the file's.
fn jpeg_quality(jpeg: &[u8]) -> Option<u8> {
    let found: u32 = luminance_table(jpeg)?.map(u32::from).iter().sum();
    let sum = |quality: u8| -> u32 {
        let quality = u32::from(quality);
        let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
        LUMINANCE.iter().map(|&step| ((u32::from(step) * scale + 50) / 100).clamp(1, 255)).sum()
    };
    (1..=100).min_by_key(|&quality| sum(quality).abs_diff(found))
}

/// Quantisation table 0, of the first segment that holds it.
fn luminance_table(jpeg: &[u8]) -> Option<[u16; 64]> {
    const TABLES: u8 = 0xDB;
    const START_OF_SCAN: u8 = 0xDA;
    let mut place = 2;
    loop {
        match *jpeg.get(place..place + 4)? {
            [0xFF, START_OF_SCAN, ..] => return None,
            [0xFF, kind, high, low] if !matches!(kind, 0x01 | 0xD0..=0xD9 | 0xFF) => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let mut tables = jpeg.get(place + 4..place + 2 + length)?;
                while kind == TABLES
                    && let Some((&head, rest)) = tables.split_first()
                {
                    let wide = head >> 4 != 0;
                    let (table, rest) = rest.split_at_checked(if wide { 128 } else { 64 })?;
                    if head & 15 == 0 {
                        let step = |i: usize| match wide {
                            true => u16::from_be_bytes([table[2 * i], table[2 * i + 1]]),
                            false => u16::from(table[i]),
                        };
                        return Some(std::array::from_fn(step));
                    }
                    tables = rest;
                }
                place += 2 + length;
            }
            [0xFF, 0x01 | 0xD0..=0xD9, ..] => place += 2,
            _ => place += 1, // padding
        }
    }
}
