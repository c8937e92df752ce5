//! How a picture is to be turned so that it is shown upright: the orientation of EXIF, tag 274.
//!
//! Guarantees: a value outside 1 to 8, or EXIF that cannot be read, turns nothing. No pixel is changed or lost.

use super::ifd::Ifd;
use crate::capture::frame::{Channels, Picture, Samples};

pub(super) const TAG: u16 = 274;

/// A value of 1 to 8; see [`upright`] for what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orientation(u8);

impl Orientation {
    pub(super) const AS_STORED: Self = Self(1);

    pub(super) fn from_number(number: Option<u64>) -> Self {
        match number {
            Some(value @ 1..=8) => Self(value as u8),
            _ => Self::AS_STORED,
        }
    }

    /// Of a block of EXIF: a directory of tags, as in a TIFF file. The thumbnail has a directory of its own, which does not count.
    pub(super) fn of_exif(block: &[u8]) -> Self {
        Self::from_number(Ifd::first(block).and_then(|tags| tags.number(TAG)))
    }
}

/// The picture as it is to be shown.
pub(super) fn upright(picture: Picture, orientation: Orientation) -> Picture {
    if orientation == Orientation::AS_STORED {
        return picture;
    }
    let Picture { width, height, channels, samples } = picture;
    let size = (width as usize, height as usize);
    let samples = match (samples, channels) {
        (Samples::Eight(values), Channels::Grey) => Samples::Eight(turn::<u8, 1>(values, orientation, size)),
        (Samples::Eight(values), Channels::Rgb) => Samples::Eight(turn::<u8, 3>(values, orientation, size)),
        (Samples::Sixteen(values), Channels::Grey) => {
            Samples::Sixteen(turn::<u16, 1>(values, orientation, size))
        }
        (Samples::Sixteen(values), Channels::Rgb) => {
            Samples::Sixteen(turn::<u16, 3>(values, orientation, size))
        }
    };
    let (width, height) = if orientation.0 >= 5 { (height, width) } else { (width, height) };
    Picture { width, height, channels, samples }
}

fn turn<T: Copy, const CHANNELS: usize>(
    mut values: Vec<T>,
    orientation: Orientation,
    (width, height): (usize, usize),
) -> Vec<T> {
    let pixels = values.as_chunks_mut::<CHANNELS>().0;
    match orientation.0 {
        // Mirrored.
        2 => pixels.chunks_mut(width).for_each(<[_]>::reverse),
        // Half a turn.
        3 => pixels.reverse(),
        // Upside down.
        4 => {
            let (above, below) = pixels.split_at_mut(height / 2 * width);
            for (upper, lower) in above.chunks_mut(width).zip(below.chunks_mut(width).rev()) {
                upper.swap_with_slice(lower);
            }
        }
        // A row of the result is a column of what is stored. Some rows at a time, which the processor's cache holds.
        turned => {
            let mut out = values.clone();
            let (pixels, turned_pixels) =
                (values.as_chunks::<CHANNELS>().0, out.as_chunks_mut::<CHANNELS>().0);
            for first in (0..height).step_by(64) {
                for x in 0..width {
                    let row = if matches!(turned, 5 | 6) { x } else { width - 1 - x };
                    for y in first..height.min(first + 64) {
                        let column = if matches!(turned, 5 | 8) { y } else { height - 1 - y };
                        turned_pixels[row * height + column] = pixels[y * width + x];
                    }
                }
            }
            return out;
        }
    }
    values
}
