//! Decodes the bytes of a file to a [`Picture`].
//!
//! Guarantees: the content decides the format, never the name. The size in the header is checked before memory of that
//! size is allocated. 16 bits stay 16 bits. A file that was cut off is a [`BadFrame::Truncated`] (see `end_markers`).
//! Never a panic.
//! Leaves out: colour profiles, gamma and the EXIF orientation; the samples stay as the camera stored them. Alpha is
//! dropped, a palette becomes RGB. A JPEG that lost bytes in its middle but kept its end may decode to wrong pixels,
//! because the format has no checksum.

use std::io::{Cursor, ErrorKind};

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::end_markers::{jpeg_ends, png_ends};
use super::{BadFrame, Channels, Picture, Samples};

/// The accepted width and height, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 8..=16_384;
const MAX_PIXELS: u64 = 100_000_000;
/// The largest picture in 16-bit RGBA, and room for the decoder.
const MAX_ALLOCATION: u64 = MAX_PIXELS * 8 + (64 << 20);

/// Decodes a PNG, JPEG or BMP picture; `name` is what errors call it.
pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Picture, BadFrame> {
    let undecodable = |why: &str| BadFrame::Undecodable { name: name.into(), why: why.into() };
    if bytes.is_empty() {
        return Err(BadFrame::Empty(name.into()));
    }
    let whole = match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => png_ends(bytes),
        Ok(ImageFormat::Jpeg) => jpeg_ends(bytes),
        // BMP has no end marker; the decoder notices missing rows.
        Ok(ImageFormat::Bmp) => true,
        _ => return Err(undecodable("its content is of no known picture format")),
    };
    if !whole {
        return Err(BadFrame::Truncated(name.into()));
    }
    let bad = |error: ImageError| match error {
        ImageError::IoError(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
            BadFrame::Truncated(name.into())
        }
        other => undecodable(&other.to_string()),
    };
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().expect("a slice can be sought");
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOCATION);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(bad)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if !SIDES.contains(&width) || !SIDES.contains(&height) || pixels > MAX_PIXELS {
        return Err(BadFrame::Size { name: name.into(), width, height });
    }
    let image = DynamicImage::from_decoder(decoder).map_err(bad)?;
    let (channels, samples) = match image {
        DynamicImage::ImageLuma8(grey) => (Channels::Grey, Samples::Eight(grey.into_raw())),
        DynamicImage::ImageLumaA8(_) => (Channels::Grey, Samples::Eight(image.into_luma8().into_raw())),
        DynamicImage::ImageLuma16(grey) => (Channels::Grey, Samples::Sixteen(grey.into_raw())),
        DynamicImage::ImageLumaA16(_) => (Channels::Grey, Samples::Sixteen(image.into_luma16().into_raw())),
        DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_) => {
            (Channels::Rgb, Samples::Sixteen(image.into_rgb16().into_raw()))
        }
        _ => (Channels::Rgb, Samples::Eight(image.into_rgb8().into_raw())),
    };
    Ok(Picture { width, height, channels, samples })
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, GrayImage, RgbImage, codecs::jpeg::JpegEncoder};
    use proptest::prelude::*;

    use super::*;

    const FORMATS: [ImageFormat; 3] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp];

    fn rgb() -> RgbImage {
        RgbImage::from_fn(40, 24, |x, y| [(x * 6) as u8, (y * 10) as u8, ((x * y) % 251) as u8].into())
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn sample(format: ImageFormat) -> Vec<u8> {
        encoded(&rgb().into(), format)
    }

    #[test]
    fn lossless_formats_give_back_the_very_samples() {
        for format in [ImageFormat::Png, ImageFormat::Bmp] {
            let picture = decode("part", &sample(format)).unwrap();
            assert_eq!((picture.width, picture.height, picture.channels), (40, 24, Channels::Rgb));
            assert_eq!(picture.samples, Samples::Eight(rgb().into_raw()), "{format:?}");
        }
    }

    #[test]
    fn sixteen_bits_are_kept_and_alpha_is_dropped() {
        let values = |channels: u16| -> Vec<u16> { (0..16 * 8 * channels).map(|v| v * 127 + 5).collect() };
        let grey = image::ImageBuffer::from_raw(16, 8, values(1)).unwrap();
        let picture = decode("part", &encoded(&DynamicImage::ImageLuma16(grey), ImageFormat::Png)).unwrap();
        assert_eq!(picture.samples, Samples::Sixteen(values(1)));

        let rgba = image::ImageBuffer::from_raw(16, 8, values(4)).unwrap();
        let picture = decode("part", &encoded(&DynamicImage::ImageRgba16(rgba), ImageFormat::Png)).unwrap();
        let without: Vec<u16> = values(4).chunks(4).flat_map(|pixel| pixel[..3].to_vec()).collect();
        assert_eq!((picture.channels, picture.samples), (Channels::Rgb, Samples::Sixteen(without)));

        let grey_alpha: Vec<u8> = (0..=255).collect();
        let image = image::ImageBuffer::from_raw(16, 8, grey_alpha.clone()).unwrap();
        let picture = decode("part", &encoded(&DynamicImage::ImageLumaA8(image), ImageFormat::Png)).unwrap();
        let grey = grey_alpha.into_iter().step_by(2).collect();
        assert_eq!((picture.channels, picture.samples), (Channels::Grey, Samples::Eight(grey)));
    }

    #[test]
    fn a_grey_jpeg_stays_grey() {
        let grey = GrayImage::from_fn(32, 32, |x, y| [(x * 4 + y) as u8].into());
        let picture = decode("part", &encoded(&grey.into(), ImageFormat::Jpeg)).unwrap();
        assert_eq!(picture.channels, Channels::Grey);
    }

    #[test]
    fn the_name_has_no_say() {
        assert!(decode("photo.jpg", &sample(ImageFormat::Png)).is_ok());
        let error = decode("notes.png", b"Bolts, washers, a list of things to buy.").unwrap_err();
        assert!(matches!(error, BadFrame::Undecodable { .. }), "{error}");
        let error = decode("page.bmp", b"BM is how this text begins, and it is long enough to be a header.");
        assert!(matches!(error, Err(BadFrame::Undecodable { .. } | BadFrame::Truncated(_))), "{error:?}");
        let gif = [b"GIF89a".as_slice(), &[0; 64]].concat();
        assert!(matches!(decode("a.png", &gif), Err(BadFrame::Undecodable { .. })));
    }

    #[test]
    fn an_empty_file_is_called_empty() {
        assert_eq!(decode("part.png", &[]), Err(BadFrame::Empty("part.png".into())));
    }

    #[test]
    fn a_picture_cut_off_anywhere_is_refused() {
        for format in FORMATS {
            let whole = sample(format);
            for length in 1..whole.len() {
                let error = decode("part", &whole[..length]).expect_err("cut off");
                if length > 64 {
                    assert_eq!(error, BadFrame::Truncated("part".into()), "{format:?} cut to {length}");
                }
            }
        }
    }

    #[test]
    fn the_end_marker_of_a_thumbnail_is_not_the_pictures() {
        let mut jpeg = Vec::new();
        let thumbnail = sample(ImageFormat::Jpeg);
        JpegEncoder::new(&mut jpeg).encode(&rgb(), 40, 24, ExtendedColorType::Rgb8).unwrap();
        // An APP1 segment with a whole JPEG in it, right after the start marker.
        let length = (thumbnail.len() as u16 + 2).to_be_bytes();
        let segment = [&[0xFF, 0xE1], length.as_slice(), &thumbnail].concat();
        let whole = [&jpeg[..2], &segment, &jpeg[2..]].concat();
        assert!(decode("part", &whole).is_ok());
        assert_eq!(decode("part", &whole[..whole.len() - 2]), Err(BadFrame::Truncated("part".into())));
        let with_trailer = [whole.as_slice(), b"camera trailer"].concat();
        assert!(decode("part", &with_trailer).is_ok(), "bytes after the end are the camera's business");
    }

    /// A PNG whose header claims a size that its data does not have.
    fn png_claiming(width: u32, height: u32) -> Vec<u8> {
        let mut png = sample(ImageFormat::Png);
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc32(&png[12..29]).to_be_bytes();
        png[29..33].copy_from_slice(&checksum);
        png
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc: u32, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_with_its_size() {
        assert!(decode("part", &png_claiming(40, 24)).is_ok(), "the forged header's checksum must be right");
        for (width, height) in [(60_000, 60_000), (16_384, 16_384), (16_385, 8), (7, 40), (40, 2)] {
            let name = "bomb.png".to_string();
            let error = decode("bomb.png", &png_claiming(width, height)).unwrap_err();
            assert_eq!(error, BadFrame::Size { name, width, height });
        }
        for (width, height) in [(0, 24), (40, 0), (0x7FFF_FFFF, 0x7FFF_FFFF), (u32::MAX, 1)] {
            assert!(decode("bomb.png", &png_claiming(width, height)).is_err(), "{width}x{height}");
        }
        let mut bmp = sample(ImageFormat::Bmp);
        bmp[18..22].copy_from_slice(&60_000_i32.to_le_bytes());
        bmp[22..26].copy_from_slice(&60_000_i32.to_le_bytes());
        let error = decode("bomb.bmp", &bmp).unwrap_err();
        assert!(matches!(error, BadFrame::Size { width: 60_000, height: 60_000, .. }), "{error}");
    }

    fn is_consistent(picture: &Picture) -> bool {
        let channels = match picture.channels {
            Channels::Grey => 1,
            Channels::Rgb => 3,
        };
        let samples = match &picture.samples {
            Samples::Eight(values) => values.len(),
            Samples::Sixteen(values) => values.len(),
        };
        samples == picture.width as usize * picture.height as usize * channels
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), format in 0..3_usize) {
            prop_assert!(decode("noise", &bytes).is_err());
            let header = &sample(FORMATS[format])[..40];
            let result = decode("noise", &[header, &bytes].concat());
            prop_assert!(result.is_err() || is_consistent(&result.unwrap()));
        }

        #[test]
        fn flipped_and_cut_pictures_never_panic(
            format in 0..3_usize,
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut bytes = sample(FORMATS[format]);
            for (at, with) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            if let Ok(picture) = decode("flipped", &bytes) {
                prop_assert!(is_consistent(&picture));
            }
            bytes.truncate(keep.index(bytes.len()));
            if let Ok(picture) = decode("cut", &bytes) {
                prop_assert!(is_consistent(&picture));
            }
        }
    }
}
