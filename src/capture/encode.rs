//! Encodes a [`Picture`] as the bytes of a PNG.
//!
//! Guarantees: without loss. Depth and channels are kept, and decoding gives the same samples again.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, RgbImage};

use super::{Channels, Picture, Samples};

/// Puts the samples into an image. `None` if their number does not fit the size of the picture.
pub(crate) fn to_image(picture: &Picture) -> Option<DynamicImage> {
    let (w, h) = (picture.width, picture.height);
    Some(match (&picture.samples, picture.channels) {
        (Samples::Eight(v), Channels::Grey) => GrayImage::from_raw(w, h, v.clone())?.into(),
        (Samples::Eight(v), Channels::Rgb) => RgbImage::from_raw(w, h, v.clone())?.into(),
        (Samples::Sixteen(v), Channels::Grey) => {
            DynamicImage::ImageLuma16(ImageBuffer::from_raw(w, h, v.clone())?)
        }
        (Samples::Sixteen(v), Channels::Rgb) => {
            DynamicImage::ImageRgb16(ImageBuffer::from_raw(w, h, v.clone())?)
        }
    })
}

pub(crate) fn png(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("memory takes any PNG");
    bytes.into_inner()
}
