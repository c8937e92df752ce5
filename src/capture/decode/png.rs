//! PNG, by the `png` crate, row by row.
//!
//! Guarantees: every checksum that is there is compared: those of the chunks (CRC), without which none is read, and that of the
//! pixels (Adler-32). Text, profiles and gamma are not read, so they cost no memory. The memory is that of the result and a few rows, interlaced or not. An animation is refused.
//! Leaves out: a file that has all pixels and whose chunks are right, but lacks the checksum of the pixels, is read: the `png` crate
//! does not notice. The trainer refuses it.

use std::io::{Cursor, ErrorKind};

use png::{ColorType, DecodeOptions, Decoder, DecodingError, Transformations};

use super::fault::Fault;
use super::limits::DecodeLimits;
use super::orientation::{Orientation, upright};
use super::samples::{Canvas, Meaning, Palette, Place, SampleForm};
use crate::capture::frame::{Channels, Picture};

/// The seven passes of an interlaced PNG: the first column and row, and the steps.
const PASSES: [[usize; 4]; 7] =
    [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

pub(super) fn decode(bytes: &[u8], limits: DecodeLimits) -> Result<Picture, Fault> {
    let mut options = DecodeOptions::default();
    options.set_ignore_adler32(false);
    options.set_skip_ancillary_crc_failures(false);
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_transformations(Transformations::IDENTITY);
    let header = decoder.read_header_info().map_err(|error| match fault(error) {
        Fault::Damaged(why) => Fault::Undecodable(why),
        other => other,
    })?;
    limits.check(header.width, header.height)?;
    let mut reader = decoder.read_info().map_err(fault)?;

    let info = reader.info();
    if let Some(animation) = info.animation_control {
        let frames = animation.num_frames;
        return Err(Fault::undecodable(format!(
            "is an animated PNG of {frames} frames, and one picture is needed"
        )));
    }
    let (width, height, interlaced) = (info.width, info.height, info.interlaced);
    let colour = |channels, dropped| Meaning::Colour { channels, dropped };
    let meaning = match info.color_type {
        ColorType::Grayscale => colour(Channels::Grey, 0),
        ColorType::GrayscaleAlpha => colour(Channels::Grey, 1),
        ColorType::Rgb => colour(Channels::Rgb, 0),
        ColorType::Rgba => colour(Channels::Rgb, 1),
        ColorType::Indexed => {
            let palette = info.palette.as_deref().unwrap_or_default();
            Meaning::Indices(Palette::new(palette.as_chunks().0.to_vec()))
        }
    };
    let form = SampleForm { bits: info.bit_depth as usize, big_endian: true };
    let mut canvas = Canvas::new(width, height, form, meaning);
    let (width, height) = (width as usize, height as usize);
    let passes = if interlaced { &PASSES[..] } else { &[[0, 0, 1, 1]] };
    for &[x, y, step, down] in passes {
        // A pass without columns has no rows in the file.
        if x >= width {
            continue;
        }
        for y in (y..height).step_by(down) {
            let row = reader.next_row().map_err(fault)?;
            let row = row.ok_or_else(|| Fault::damaged("fewer rows than its height"))?;
            canvas.row(row.data(), Place { x, y, step, pixels: width, plane: None })?;
        }
    }
    // The checksum of the pixels, and all chunks after them.
    if reader.next_row().map_err(fault)?.is_some() {
        return Err(Fault::damaged("more rows than its height"));
    }
    reader.finish().map_err(fault)?;
    let exif = reader.info().exif_metadata.as_deref();
    let orientation = exif.map_or(Orientation::AS_STORED, Orientation::of_exif);
    Ok(upright(canvas.into_picture(), orientation))
}

fn fault(error: DecodingError) -> Fault {
    match error {
        DecodingError::IoError(cause) if cause.kind() == ErrorKind::UnexpectedEof => Fault::Truncated,
        DecodingError::Format(why) => Fault::damaged(why.to_string()),
        other => Fault::undecodable(other.to_string()),
    }
}
