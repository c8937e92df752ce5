//! Rows of samples as PNG and TIFF store them, made into the samples of a [`Picture`]: packed bits, palettes, alpha.
//!
//! Guarantees: 1, 2 and 4 bits become 8, and white stays white. 16 bits stay 16. The memory is that of the result and one row.

use super::fault::Fault;
use crate::capture::frame::{Channels, Picture, Samples};

/// The colours of a palette; grey if all of them are grey, whatever the pixels are.
#[derive(Debug)]
pub(super) struct Palette {
    colours: Vec<[u8; 3]>,
    is_grey: bool,
}

impl Palette {
    pub(super) fn new(colours: Vec<[u8; 3]>) -> Self {
        let is_grey = colours.iter().all(|[r, g, b]| r == g && g == b);
        Self { colours, is_grey }
    }

    pub(super) fn into_colours(self) -> Vec<[u8; 3]> {
        self.colours
    }

    fn colour(&self, index: u8) -> Result<&[u8; 3], Fault> {
        self.colours.get(usize::from(index)).ok_or_else(|| {
            Fault::Damaged(format!("a pixel has colour {index} of a palette of {}", self.colours.len()))
        })
    }
}

/// What the samples of a row are.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Grey or RGB, then as many samples that are dropped.
    Colour {
        channels: Channels,
        dropped: usize,
    },
    /// Grey, white is zero.
    Inverted {
        dropped: usize,
    },
    Indices(Palette),
}

/// The picture that is being filled with rows.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    form: SampleForm,
    meaning: Meaning,
    channels: Channels,
    samples: Samples,
}

/// How the samples of a row are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleForm {
    /// 1, 2, 4, 8 or 16.
    pub(super) bits: usize,
    /// Of 16 bits.
    pub(super) big_endian: bool,
}

/// Where a row goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) x: usize,
    pub(super) y: usize,
    /// From one pixel of the row to the next.
    pub(super) step: usize,
    /// Pixels of the row. Those that are beyond the picture are left out.
    pub(super) pixels: usize,
    /// The row has this sample of each pixel only.
    pub(super) plane: Option<usize>,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32, form: SampleForm, meaning: Meaning) -> Self {
        let channels = match &meaning {
            Meaning::Colour { channels, .. } => *channels,
            Meaning::Inverted { .. } => Channels::Grey,
            Meaning::Indices(palette) if palette.is_grey => Channels::Grey,
            Meaning::Indices(_) => Channels::Rgb,
        };
        let (width, height) = (width as usize, height as usize);
        let count = width * height * channels_of(channels);
        let samples =
            if form.bits == 16 { Samples::Sixteen(vec![0; count]) } else { Samples::Eight(vec![0; count]) };
        Self { width, height, form, meaning, channels, samples }
    }

    pub(super) fn into_picture(self) -> Picture {
        Picture {
            width: self.width as u32,
            height: self.height as u32,
            channels: self.channels,
            samples: self.samples,
        }
    }

    /// Takes one row.
    pub(super) fn row(&mut self, row: &[u8], place: Place) -> Result<(), Fault> {
        let all = channels_of(self.channels);
        let (per_pixel, channels) = match (place.plane, &self.meaning) {
            (None, Meaning::Indices(_)) => (1, 0..all),
            (None, Meaning::Colour { dropped, .. } | Meaning::Inverted { dropped }) => {
                (all + dropped, 0..all)
            }
            (Some(plane), _) if plane < all => (1, plane..plane + 1),
            (Some(_), _) => return Ok(()),
        };
        let pixels = place.pixels.min(self.width.saturating_sub(place.x).div_ceil(place.step));
        let first = (place.y * self.width + place.x) * all + channels.start;
        let step = place.step * all;
        let taken = channels.len();
        match &mut self.samples {
            Samples::Sixteen(out) => {
                let from_bytes = if self.form.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
                let inverted = if matches!(self.meaning, Meaning::Inverted { .. }) { u16::MAX } else { 0 };
                let pairs = row.as_chunks().0;
                for pixel in 0..pixels {
                    for channel in 0..taken {
                        out[first + pixel * step + channel] =
                            from_bytes(pairs[pixel * per_pixel + channel]) ^ inverted;
                    }
                }
            }
            Samples::Eight(out) => {
                let bits = self.form.bits;
                let top = ((1_u16 << bits) - 1) as u8;
                // 1, 3 and 15 become 255.
                let scale = 255 / top;
                let sample = |index: usize| {
                    let at = index * bits;
                    (row[at / 8] >> (8 - bits - at % 8)) & top
                };
                match &self.meaning {
                    Meaning::Colour { .. } if bits == 8 && place.step == 1 && per_pixel == all => {
                        out[first..first + pixels * all].copy_from_slice(&row[..pixels * all]);
                    }
                    Meaning::Colour { .. } => {
                        for pixel in 0..pixels {
                            for channel in 0..taken {
                                out[first + pixel * step + channel] =
                                    sample(pixel * per_pixel + channel) * scale;
                            }
                        }
                    }
                    Meaning::Inverted { .. } => {
                        for pixel in 0..pixels {
                            out[first + pixel * step] = 255 - sample(pixel * per_pixel) * scale;
                        }
                    }
                    Meaning::Indices(palette) => {
                        for pixel in 0..pixels {
                            let colour = palette.colour(sample(pixel))?;
                            let at = first + pixel * step;
                            out[at..at + all].copy_from_slice(&colour[..all]);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn channels_of(channels: Channels) -> usize {
    match channels {
        Channels::Grey => 1,
        Channels::Rgb => 3,
    }
}
