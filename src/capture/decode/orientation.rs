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
    let turn = Turn { orientation: orientation.0, width: width as usize, height: height as usize };
    let samples = match (samples, channels) {
        (Samples::Eight(values), Channels::Grey) => Samples::Eight(turn.apply::<u8, 1>(values)),
        (Samples::Eight(values), Channels::Rgb) => Samples::Eight(turn.apply::<u8, 3>(values)),
        (Samples::Sixteen(values), Channels::Grey) => Samples::Sixteen(turn.apply::<u16, 1>(values)),
        (Samples::Sixteen(values), Channels::Rgb) => Samples::Sixteen(turn.apply::<u16, 3>(values)),
    };
    let (width, height) = if orientation.0 >= 5 { (height, width) } else { (width, height) };
    Picture { width, height, channels, samples }
}

struct Turn {
    orientation: u8,
    width: usize,
    height: usize,
}

impl Turn {
    fn apply<T: Copy, const CHANNELS: usize>(&self, mut values: Vec<T>) -> Vec<T> {
        let (width, height) = (self.width, self.height);
        let pixels = values.as_chunks_mut::<CHANNELS>().0;
        match self.orientation {
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
            // A row of the result is a column of what is stored.
            turned => {
                let mut out = Vec::with_capacity(values.len());
                let pixels = values.as_chunks::<CHANNELS>().0;
                for y in 0..width {
                    let x = if matches!(turned, 5 | 6) { y } else { width - 1 - y };
                    let column = pixels[x..].iter().step_by(width);
                    if matches!(turned, 5 | 8) {
                        out.extend(column.flatten());
                    } else {
                        out.extend(column.rev().flatten());
                    }
                }
                return out;
            }
        }
        values
    }
}
