//! Decodes one frame of a Motion JPEG stream to a picture.
//!
//! Guarantees: a frame that is cut off, cannot be decoded or has another size than negotiated is an error, never a picture.
//! Bytes after the end of the JPEG do no harm. Many cameras leave out the Huffman tables, because Motion JPEG always
//! uses those of the standard's annex K: such a frame gets the marker of Motion JPEG, by which the decoder adds them.

use std::borrow::Cow;

use crate::capture::Picture;
use crate::capture::decode::decode;

const MARK: &[u8] = &[0xFF, 0xE0, 0, 16, b'A', b'V', b'I', b'1', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The picture, or why there is none.
pub(super) fn picture(bytes: &[u8], width: u32, height: u32) -> Result<Picture, String> {
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return Err("does not begin like a JPEG".to_owned());
    }
    let picture = decode("camera", &with_tables(bytes)).map_err(|error| error.to_string())?;
    if (picture.width, picture.height) != (width, height) {
        let (w, h) = (picture.width, picture.height);
        return Err(format!("wrong size: {w}x{h} came, {width}x{height} was negotiated"));
    }
    Ok(picture)
}

fn with_tables(bytes: &[u8]) -> Cow<'_, [u8]> {
    if has_tables(bytes) {
        return Cow::Borrowed(bytes);
    }
    let (start, rest) = bytes.split_at(2);
    Cow::Owned([start, MARK, rest].concat())
}

/// Whether Huffman tables are defined before the first scan. Also `true` for broken segments, because the decoder gives
/// a better reason for those.
fn has_tables(bytes: &[u8]) -> bool {
    let mut rest = &bytes[2..];
    while let Some((&[0xFF, marker, l0, l1], _)) = rest.split_first_chunk() {
        match marker {
            0xC4 => return true,
            0xDA => return false,
            _ => {}
        }
        rest = rest.get(2 + usize::from(u16::from_be_bytes([l0, l1]))..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, RgbImage, codecs::jpeg::JpegEncoder};

    use super::*;

    fn sample() -> Vec<u8> {
        let pixels = RgbImage::from_fn(48, 32, |x, y| [(x * 5) as u8, (y * 7) as u8, 90].into());
        let mut jpeg = Vec::new();
        JpegEncoder::new(&mut jpeg).encode(&pixels, 48, 32, ExtendedColorType::Rgb8).unwrap();
        jpeg
    }

    /// A frame without Huffman tables, as many cameras send it.
    fn without_tables() -> Vec<u8> {
        let jpeg = sample();
        let (mut kept, mut rest) = (jpeg[..2].to_vec(), &jpeg[2..]);
        while rest[1] != 0xDA {
            let length = 2 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            if rest[1] != 0xC4 {
                kept.extend(&rest[..length]);
            }
            rest = &rest[length..];
        }
        kept.extend(rest);
        kept
    }

    #[test]
    fn tables_left_out_are_put_in() {
        assert!(has_tables(&sample()) && !has_tables(&without_tables()));
        assert!(decode("camera", &without_tables()).is_err(), "the decoder needs the marker");
        assert_eq!(picture(&without_tables(), 48, 32), picture(&sample(), 48, 32));
    }

    #[test]
    fn bytes_after_the_end_do_no_harm_and_missing_ones_do() {
        let padded = [sample(), vec![0; 5000]].concat();
        assert_eq!(picture(&padded, 48, 32), picture(&sample(), 48, 32));
        for cut in [sample(), without_tables()] {
            let error = picture(&cut[..cut.len() / 2], 48, 32).unwrap_err();
            assert!(error.contains("cut off"), "{error}");
        }
        for no_jpeg in [&[][..], &[0xFF], &[0; 4000]] {
            assert!(picture(no_jpeg, 48, 32).unwrap_err().contains("does not begin"));
        }
    }

    #[test]
    fn another_size_is_refused_with_both_sizes() {
        let error = picture(&sample(), 640, 480).unwrap_err();
        assert!(error.contains("48x32") && error.contains("640x480"), "{error}");
    }
}
