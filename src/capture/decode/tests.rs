//! Tests of [`decode`] on the golden pictures, and on what is made of them: cut off, flipped, claiming too much.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::capture::frame::{Channels, Samples};

/// A picture of tests/golden/pictures.json, which the tests of the trainer read too.
#[derive(serde::Deserialize)]
struct Golden {
    name: String,
    file: String,
    refused: Option<String>,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    #[serde(default)]
    channels: u32,
    #[serde(default)]
    bits: u32,
    #[serde(default)]
    samples: String,
}

impl Golden {
    fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.file).unwrap()
    }

    fn picture(&self) -> Picture {
        let values = STANDARD.decode(&self.samples).unwrap();
        Picture {
            width: self.width,
            height: self.height,
            channels: if self.channels == 1 { Channels::Grey } else { Channels::Rgb },
            samples: if self.bits == 8 {
                Samples::Eight(values)
            } else {
                Samples::Sixteen(values.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect())
            },
        }
    }
}

static GOLDEN: LazyLock<Vec<Golden>> = LazyLock::new(|| {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pictures.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
});

fn golden(name: &str) -> Vec<u8> {
    GOLDEN.iter().find(|golden| golden.name == name).unwrap_or_else(|| panic!("no {name}")).bytes()
}

fn decode_at_default(bytes: &[u8]) -> Result<Picture, BadFrame> {
    decode("part", bytes, DecodeLimits::default())
}

#[test]
fn every_golden_picture_gives_its_samples_or_is_refused_by_its_word() {
    assert!(GOLDEN.len() > 150);
    let mut wrong = Vec::new();
    for case in GOLDEN.iter() {
        let decoded = decode_at_default(&case.bytes());
        match (&case.refused, decoded) {
            (None, Ok(picture)) if picture == case.picture() => {}
            (Some(word), Err(error)) if error.to_string().contains(word) => {}
            (_, Ok(Picture { width, height, channels, samples })) => {
                let deep = matches!(samples, Samples::Sixteen(_));
                wrong.push(format!("{}: {width}x{height} {channels:?} deep {deep}", case.name));
            }
            (_, Err(error)) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_picture_cut_off_anywhere_is_refused() {
    for name in [
        "png: RGB, 8 bits",
        "png: orientation 5 after the pixels",
        "png: interlaced RGBA, 16 bits",
        "jpeg: grey",
        "jpeg: progressive",
        "jpeg: arithmetic coding",
        "bmp: 24 bits",
        "bmp: 4 bits, palette",
        "tiff: RGB, 8 bits, little-endian",
        "tiff: grey, LZW",
    ] {
        let whole = golden(name);
        // The last byte of a TIFF may fill up a word.
        for length in 1..whole.len() - 1 {
            let error = decode_at_default(&whole[..length]).expect_err("cut off");
            // The tags of a TIFF lie anywhere: what is cut off may be one that says what the rest is.
            let is_told = matches!(error, BadFrame::Truncated(_))
                || name.starts_with("tiff") && matches!(error, BadFrame::Damaged { .. });
            assert!(is_told || length <= 64, "{name} cut to {length}: {error}");
        }
    }
}

#[test]
fn the_name_has_no_say() {
    let limits = DecodeLimits::default();
    assert!(decode("photo.jpg", &golden("png: grey, 8 bits"), limits).is_ok());
    let error =
        decode("page.bmp", b"BM is how this text begins, and it is long enough to be a header.", limits);
    assert!(matches!(error, Err(BadFrame::Undecodable { .. } | BadFrame::Truncated(_))), "{error:?}");
}

#[test]
fn the_end_marker_of_a_thumbnail_is_not_the_pictures() {
    let jpeg = golden("jpeg: grey");
    // An APP1 segment with a whole JPEG in it, right after the start marker.
    let thumbnail = golden("jpeg: sampling 2x2");
    let length = (thumbnail.len() as u16 + 2).to_be_bytes();
    let segment = [&[0xFF, 0xE1], length.as_slice(), &thumbnail].concat();
    let whole = [&jpeg[..2], &segment, &jpeg[2..]].concat();
    assert_eq!(decode_at_default(&whole), decode_at_default(&jpeg));
    assert_eq!(decode_at_default(&whole[..whole.len() - 2]), Err(BadFrame::Truncated("part".into())));
}

/// A PNG whose header claims a size that its data does not have.
fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = golden("png: grey, 8 bits");
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&checksum);
    bytes
}

/// The CRC-32 of PNG.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

#[test]
fn the_size_in_the_header_is_checked_before_anything_is_allocated() {
    let limits = DecodeLimits { pixels: 1_000_000 };
    for (width, height) in [(7, 24), (40, 7), (16_385, 24), (1001, 1000), (16_000, 16_000)] {
        let name = "bomb.png".to_owned();
        let error = decode(&name, &png_claiming(width, height), limits).unwrap_err();
        assert!(error.to_string().contains("at most 1 megapixels"), "{error}");
        assert_eq!(error, BadFrame::Size { name, width, height, pixels: limits.pixels });
    }
    for (width, height) in [(0, 24), (40, 0), (0x7FFF_FFFF, 0x7FFF_FFFF), (u32::MAX, 1)] {
        assert!(decode("bomb.png", &png_claiming(width, height), limits).is_err(), "{width}x{height}");
    }
    let mut bmp = golden("bmp: 24 bits");
    bmp[18..22].copy_from_slice(&60_000_i32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000_i32.to_le_bytes());
    let error = decode("bomb.bmp", &bmp, limits).unwrap_err();
    assert!(matches!(error, BadFrame::Size { width: 60_000, height: 60_000, .. }), "{error}");
    let mut jpeg = golden("jpeg: grey");
    let header = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[header + 5..header + 9].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
    let error = decode("bomb.jpg", &jpeg, limits).unwrap_err();
    assert!(matches!(error, BadFrame::Size { width: 10_000, height: 10_000, .. }), "{error}");
}

#[test]
fn pictures_of_8k_are_within_the_default() {
    let limits = DecodeLimits::default();
    assert!(limits.pixels >= 7680 * 4320 && limits.file_bytes() >= 7680 * 4320 * 6);
}

/// A JPEG may have thousands of scans that cost time and change nothing.
#[test]
fn a_jpeg_of_thousands_of_scans_is_refused() {
    let jpeg = golden("jpeg: progressive grey");
    let last = jpeg.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
    let scan = &jpeg[last..jpeg.len() - 2];
    let many = [&jpeg[..last], &scan.repeat(5000), &[0xFF, 0xD9]].concat();
    let error = decode_at_default(&many).unwrap_err();
    assert!(error.to_string().contains("more than 100 scans"), "{error}");
}

#[test]
fn every_golden_name_is_given_once() {
    let names: BTreeSet<&str> = GOLDEN.iter().map(|golden| golden.name.as_str()).collect();
    assert_eq!(names.len(), GOLDEN.len());
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
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), case in 0..GOLDEN.len()) {
        prop_assert!(decode_at_default(&bytes).is_err());
        let file = GOLDEN[case].bytes();
        let header = &file[..file.len().min(40)];
        let result = decode_at_default(&[header, &bytes].concat());
        prop_assert!(result.is_err() || is_consistent(&result.unwrap()));
    }

    #[test]
    fn flipped_and_cut_pictures_never_panic(
        case in 0..GOLDEN.len(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = GOLDEN[case].bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        if let Ok(picture) = decode_at_default(&bytes) {
            prop_assert!(is_consistent(&picture));
        }
        bytes.truncate(keep.index(bytes.len()));
        if let Ok(picture) = decode_at_default(&bytes) {
            prop_assert!(is_consistent(&picture));
        }
    }
}
