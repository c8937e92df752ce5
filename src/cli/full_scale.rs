//! The value of white in 16-bit pictures: cameras of 10, 12 or 14 bits often fill only a part of them.

/// What a camera of 8, 10, 12 or 14 bits calls white.
const WHITES: [u16; 4] = [255, 1023, 4095, 16_383];
/// The same for people.
pub(super) const FULL_SCALES: &str = "255 for 8 bits, 1023 for 10, 4095 for 12, 16383 for 14";

/// The least value of white that fits a largest sample; `None` if the sample needs all 16 bits.
pub(super) fn fitting(largest: u16) -> Option<u16> {
    WHITES.into_iter().find(|white| largest <= *white)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_sixteen_bits_has_a_white_of_its_own() {
        let cases =
            [(0, 255), (255, 255), (256, 1023), (1023, 1023), (1024, 4095), (4095, 4095), (16_383, 16_383)];
        for (largest, white) in cases {
            assert_eq!(fitting(largest), Some(white), "{largest}");
        }
        assert_eq!([fitting(16_384), fitting(u16::MAX)], [None, None]);
    }
}
