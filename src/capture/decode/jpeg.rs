//! JPEG, by libjpeg-turbo: baseline, progressive and arithmetic coding, any sampling, grey, YCbCr, RGB, CMYK and YCCK.
//!
//! Guarantees: the samples are those of libjpeg's defaults, bit for bit, so they are those of the trainer. Whatever libjpeg warns of
//! is a fault, and no picture: a scan that ended early, bytes too many, a wrong restart marker. So is what it does not warn of, scans
//! that are missing (`jpeg_structure`). A Motion JPEG frame without Huffman tables gets those of the standard.
//! Leaves out: a JPEG has no checksum. Bytes that changed and still decode to the end give wrong pixels.

use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};

use super::fault::Fault;
use super::jpeg_structure;
use super::limits::DecodeLimits;
use super::orientation::{Orientation, upright};
use crate::capture::frame::{Channels, Picture, Samples};

pub(super) fn decode(bytes: &[u8], limits: DecodeLimits) -> Result<Picture, Fault> {
    let structure = jpeg_structure::read(bytes, limits)?;
    let (width, height) = (structure.width as usize, structure.height as usize);

    let mut decoder = Decompressor::new().map_err(fault)?;
    let header = decoder.read_header(structure.whole).map_err(fault)?;
    let (format, channels) = match header.colorspace {
        Colorspace::Gray => (PixelFormat::GRAY, Channels::Grey),
        Colorspace::RGB | Colorspace::YCbCr => (PixelFormat::RGB, Channels::Rgb),
        Colorspace::CMYK | Colorspace::YCCK => (PixelFormat::CMYK, Channels::Rgb),
    };
    let mut values = vec![0; width * height * format.size()];
    let image = Image { pixels: &mut values[..], width, pitch: width * format.size(), height, format };
    decoder.decompress(structure.whole, image).map_err(fault)?;
    if format == PixelFormat::CMYK {
        to_rgb(&mut values);
    }
    let picture = Picture {
        width: structure.width,
        height: structure.height,
        channels,
        samples: Samples::Eight(values),
    };
    let orientation = structure.exif.map_or(Orientation::AS_STORED, Orientation::of_exif);
    Ok(upright(picture, orientation))
}

/// From inks to light, as Pillow does it: the inks are always taken to be inverted, as Adobe's programs store them.
fn to_rgb(values: &mut Vec<u8>) {
    let pixels = values.len() / 4;
    for pixel in 0..pixels {
        let ink = |index: usize| 255 - u32::from(values[pixel * 4 + index]);
        let white = 255 - ink(3);
        for (channel, ink) in [ink(0), ink(1), ink(2)].into_iter().enumerate() {
            // ink * white / 255, rounded
            let product = ink * white + 128;
            let dark = (product + (product >> 8)) >> 8;
            values[pixel * 3 + channel] = (white - dark) as u8;
        }
    }
    values.truncate(pixels * 3);
    values.shrink_to_fit();
}

fn fault(error: turbojpeg::Error) -> Fault {
    let why = match error {
        turbojpeg::Error::TurboJpegError(why) => why,
        other => other.to_string(),
    };
    // libjpeg's words for its warnings; what else it says is of files that it does not read at all.
    if ["Corrupt JPEG data", "Premature end", "Inconsistent progression"]
        .iter()
        .any(|words| why.starts_with(words))
    {
        Fault::Damaged(why)
    } else {
        Fault::Undecodable(why)
    }
}
