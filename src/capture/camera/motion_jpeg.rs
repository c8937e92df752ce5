//! Decodes one frame of a Motion JPEG stream to a picture.
//!
//! Guarantees: a frame that is cut off, lost data, cannot be decoded or has another size than negotiated is an error, never a picture.
//! Bytes after the end of the JPEG do no harm. Many cameras leave out the Huffman tables, because Motion JPEG always uses those of the
//! standard's annex K; the decoder puts them in.

use crate::capture::Picture;
use crate::capture::decode::{DecodeLimits, decode};

/// The picture, or why there is none.
pub(super) fn picture(bytes: &[u8], width: u32, height: u32) -> Result<Picture, String> {
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return Err("does not begin like a JPEG".to_owned());
    }
    // What was negotiated may be larger than what a file may be.
    let negotiated = u64::from(width) * u64::from(height);
    let limits = DecodeLimits { pixels: DecodeLimits::default().pixels.max(negotiated) };
    let picture = decode("camera", bytes, limits).map_err(|error| error.to_string())?;
    if (picture.width, picture.height) != (width, height) {
        let (w, h) = (picture.width, picture.height);
        return Err(format!("wrong size: {w}x{h} came, {width}x{height} was negotiated"));
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use turbojpeg::{Image, PixelFormat, Subsamp};

    use super::*;

    fn sample() -> Vec<u8> {
        let pixels: Vec<u8> = (0..32).flat_map(|y| (0..48).flat_map(move |x| [x * 5, y * 7, 90])).collect();
        let image =
            Image { pixels: &pixels[..], width: 48, pitch: 3 * 48, height: 32, format: PixelFormat::RGB };
        turbojpeg::compress(image, 90, Subsamp::Sub2x1).unwrap().to_vec()
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
        assert!(without_tables().len() + 400 < sample().len());
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
