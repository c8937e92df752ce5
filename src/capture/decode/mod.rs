//! Decodes the bytes of a file to a [`Picture`]: PNG, JPEG, BMP or TIFF.
//!
//! Guarantees: the content decides the format, never the name. The size in the header is checked against [`DecodeLimits`] before memory
//! of that size is allocated. A file that was cut off is a [`BadFrame::Truncated`], and one that lost data in its middle a
//! [`BadFrame::Damaged`], as far as its format lets that be known. Never a panic.
//! The rule of what a file shows is the trainer's too; tests/golden/pictures.json holds both to it. The picture is turned as its
//! orientation says. Alpha is dropped. A palette whose entries are all grey gives a grey picture, any other palette gives RGB. 1, 2 and
//! 4 bits become 8, and 16 bits stay 16.
//! Leaves out: colour profiles and gamma.

mod bmp;
mod fault;
mod format;
mod ifd;
mod jpeg;
mod jpeg_scan;
mod jpeg_standard_codes;
mod jpeg_structure;
mod limits;
mod orientation;
mod png;
mod samples;
mod tiff;
mod tiff_streams;

pub(crate) use limits::DecodeLimits;

use super::frame::{BadFrame, Picture};
use fault::Fault;
use format::Format;

/// Decodes a picture; `name` is what errors call it.
pub(crate) fn decode(name: &str, bytes: &[u8], limits: DecodeLimits) -> Result<Picture, BadFrame> {
    if bytes.is_empty() {
        return Err(BadFrame::Empty(name.into()));
    }
    let decoded = match Format::of(bytes) {
        Format::Png => png::decode(bytes, limits),
        Format::Jpeg => jpeg::decode(bytes, limits),
        Format::Bmp => bmp::decode(bytes, limits),
        Format::Tiff => tiff::decode(bytes, limits),
        Format::Other(format) => Err(Fault::undecodable(format!("is {format}"))),
        Format::Unknown => Err(Fault::undecodable("its content is of no known picture format")),
    };
    let name = name.to_owned();
    decoded.map_err(|fault| match fault {
        Fault::Truncated => BadFrame::Truncated(name),
        Fault::Damaged(why) => BadFrame::Damaged { name, why },
        Fault::Undecodable(why) => BadFrame::Undecodable { name, why },
        Fault::Size { width, height } => BadFrame::Size { name, width, height, pixels: limits.pixels },
    })
}

/// Of a TIFF that [`decode`] reads: the numbers that its pixels have in its palette, and the colours. `None`: it is no TIFF, or has no
/// palette. Masks need the numbers.
pub(crate) fn tiff_numbers(bytes: &[u8], limits: DecodeLimits) -> Option<(Picture, Vec<[u8; 3]>)> {
    if Format::of(bytes) == Format::Tiff { tiff::numbers(bytes, limits).ok().flatten() } else { None }
}

/// Whether the bytes are a TIFF with transparency, which [`decode`] drops.
pub(crate) fn is_tiff_with_alpha(bytes: &[u8]) -> bool {
    Format::of(bytes) == Format::Tiff && tiff::has_alpha(bytes)
}

#[cfg(test)]
mod tests;
