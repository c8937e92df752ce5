//! BMP, by the `image` crate.
//!
//! Guarantees: a palette whose entries are all grey gives a grey picture. Missing rows are noticed.
//! Leaves out: a BMP has no checksum. An index beyond the palette gives black.

use std::io::{Cursor, ErrorKind};

use image::codecs::bmp::BmpDecoder;
use image::{ColorType, ImageDecoder, ImageError};

use super::fault::Fault;
use super::limits::DecodeLimits;
use crate::capture::frame::{Channels, Picture, Samples};

pub(super) fn decode(bytes: &[u8], limits: DecodeLimits) -> Result<Picture, Fault> {
    let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(fault)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    let per_pixel = match decoder.color_type() {
        ColorType::Rgb8 => 3,
        ColorType::Rgba8 => 4,
        other => return Err(Fault::undecodable(format!("its pixels are {other:?}"))),
    };
    // Entries that the file does not have are black there, which is a grey.
    let is_grey = decoder
        .get_palette()
        .is_some_and(|palette| palette.iter().all(|[red, green, blue]| red == green && green == blue));
    let mut values = vec![0; width as usize * height as usize * per_pixel];
    decoder.read_image(&mut values).map_err(fault)?;
    let channels = if is_grey { Channels::Grey } else { Channels::Rgb };
    let kept = if is_grey { 1 } else { 3 };
    if kept < per_pixel {
        let pixels = values.len() / per_pixel;
        for pixel in 0..pixels {
            values.copy_within(pixel * per_pixel..pixel * per_pixel + kept, pixel * kept);
        }
        values.truncate(pixels * kept);
        values.shrink_to_fit();
    }
    Ok(Picture { width, height, channels, samples: Samples::Eight(values) })
}

fn fault(error: ImageError) -> Fault {
    match error {
        ImageError::IoError(cause) if cause.kind() == ErrorKind::UnexpectedEof => Fault::Truncated,
        other => Fault::undecodable(other.to_string()),
    }
}
