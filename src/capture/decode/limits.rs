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
    /// Room for 8K (33 megapixels).
    fn default() -> Self {
        Self { pixels: 40_000_000 }
    }
}

/// Room for pictures that are a little too large, so that they are refused by their size and not by this limit.
const LEAST_PIXELS: u64 = 4_000_000;
/// How many times the size of the expected pictures is accepted.
const TIMES: u64 = 4;

impl DecodeLimits {
    /// For a station whose pictures have this width and height: a file that claims much more takes no memory for it.
    pub(crate) fn for_pictures_of([width, height]: [u32; 2]) -> Self {
        let expected = u64::from(width) * u64::from(height);
        let roomy = (TIMES * expected).max(LEAST_PIXELS);
        // Never less than what is expected, and otherwise never more than by default.
        Self { pixels: roomy.min(Self::default().pixels).max(expected) }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_the_size_of_the_stations_pictures() {
        let pixels = |size| DecodeLimits::for_pictures_of(size).pixels;
        assert_eq!(pixels([64, 64]), LEAST_PIXELS);
        assert_eq!(pixels([1920, 1080]), 4 * 1920 * 1080);
        assert_eq!(pixels([7680, 4320]), DecodeLimits::default().pixels);
        assert_eq!(pixels([10_000, 8_000]), 80_000_000);
    }
}
