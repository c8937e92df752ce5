//! How large a picture may be that is decoded.
//!
//! Guarantees: the size in the header is checked against [`DecodeLimits`] before memory of that size is allocated. At the default no
//! file takes more than a gibibyte.

use super::fault::Fault;

/// The accepted width and height, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 8..=16_384;
/// Room in a file for what is no pixels: profiles, thumbnails, text.
const OTHER_BYTES: u64 = 32 << 20;

/// What a picture may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecodeLimits {
    /// Width times height.
    pub pixels: u64,
}

impl Default for DecodeLimits {
    /// Room for 8K (33 megapixels). Far larger cameras exist; a station that has one sets this.
    fn default() -> Self {
        Self { pixels: 40_000_000 }
    }
}

impl DecodeLimits {
    pub(super) fn check(self, width: u32, height: u32) -> Result<(), Fault> {
        let pixels = u64::from(width) * u64::from(height);
        if SIDES.contains(&width) && SIDES.contains(&height) && pixels <= self.pixels {
            Ok(())
        } else {
            Err(Fault::Size { width, height })
        }
    }

    /// The largest file that can hold such a picture: 16-bit RGBA that is not compressed.
    pub(crate) fn file_bytes(self) -> u64 {
        self.pixels.saturating_mul(8).saturating_add(OTHER_BYTES)
    }
}
