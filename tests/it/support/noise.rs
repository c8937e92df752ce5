//! Pictures of made-up parts: middle grey with a fine structure that differs from part to part.

use image::{GrayImage, Luma};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Side of the pictures: four times that of the faulty bundle's input.
const SIDE: u32 = 64;

/// The picture of a part by its number; the faulty bundle calls all of them normal.
pub(crate) fn part(number: u64) -> GrayImage {
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    GrayImage::from_fn(SIDE, SIDE, |_, _| Luma([rng.random_range(78..=178)]))
}

/// The same part in another light, with sensor noise.
pub(crate) fn again(number: u64) -> GrayImage {
    let (mut picture, mut rng) = (part(number), ChaCha8Rng::seed_from_u64(number + 1_000_000));
    for Luma([value]) in picture.pixels_mut() {
        *value = *value - 20 + rng.random_range(0..=4);
    }
    picture
}

/// A part that is nearly black: the faulty bundle's model gives values for it that are not numbers.
pub(crate) fn black(number: u64) -> GrayImage {
    let mut rng = ChaCha8Rng::seed_from_u64(number + 2_000_000);
    GrayImage::from_fn(SIDE, SIDE, |_, _| Luma([rng.random_range(0..=2)]))
}
