//! The heat map of one frame: where its draws look anomalous. It is for people and for pixel metrics.
//!
//! It is the mean of the score maps of the draws ([`HeatMapSum`]), and is drawn beside the frame
//! ([`heat_beside_frame`]).
//! Guarantees: no verdict depends on it.
//! Costs: one addition per pixel for each draw, since the score maps exist already, and the memory of one map for each
//! frame. It is summed for every frame, because only the verdict decides whether it is wanted. Keeping reconstructions
//! until then, or making the draws again from the seed, would cost a hundred times as much.

use image::{Rgb, RgbImage};
use ndarray::Array2;

use crate::capture::Picture;
use crate::capture::encode::to_image;

/// The score maps of the draws so far, added up.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeatMapSum {
    sum: Option<Array2<f32>>,
    draws: usize,
}

impl HeatMapSum {
    /// Adds the score map of the next draw, in issue order.
    pub(crate) fn add(&mut self, map: Array2<f32>) {
        self.draws += 1;
        match &mut self.sum {
            None => self.sum = Some(map),
            Some(sum) => *sum += &map,
        }
    }

    /// The heat map, in training standard deviations, HW at the size of the model input; `None` without a draw.
    pub(crate) fn heat_map(self) -> Option<Array2<f32>> {
        Some(self.sum? / self.draws as f32)
    }
}

/// The longer side of each of the two pictures, in pixels: small frames are enlarged, so that people can see them.
const SHOWN_PX: u32 = 384;
const GAP_PX: u32 = 8;

/// The frame, and beside it the frame coloured by its heat map. `heat` is HW at the size of the model input, in training
/// standard deviations. Colour begins at a quarter of the threshold and is full red at the threshold.
pub(crate) fn heat_beside_frame(picture: &Picture, heat: &Array2<f32>, threshold: f32) -> RgbImage {
    let frame = to_image(picture).map(|image| image.to_rgb8()).unwrap_or_default();
    let scale = f64::from(SHOWN_PX) / f64::from(frame.width().max(frame.height()).max(1));
    let shown = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    let (width, height) = (shown(frame.width()), shown(frame.height()));
    let frame = image::imageops::resize(&frame, width, height, image::imageops::FilterType::Triangle);
    let mut sheet = RgbImage::from_pixel(2 * width + GAP_PX, height, Rgb([255; 3]));
    for (x, y, &pixel) in frame.enumerate_pixels() {
        sheet.put_pixel(x, y, pixel);
        let value =
            sample(heat, (f64::from(x) + 0.5) / f64::from(width), (f64::from(y) + 0.5) / f64::from(height));
        sheet.put_pixel(x + width + GAP_PX, y, coloured(pixel, value / threshold));
    }
    sheet
}

/// Bilinear value of the map at relative coordinates in \[0, 1\].
fn sample(map: &Array2<f32>, x: f64, y: f64) -> f32 {
    let at = |relative: f64, len: usize| {
        let position = (relative * len as f64 - 0.5).clamp(0.0, (len - 1) as f64);
        let low = position.floor() as usize;
        (low, (low + 1).min(len - 1), (position - low as f64) as f32)
    };
    let (rows, columns) = map.dim();
    let (top, bottom, down) = at(y, rows);
    let (left, right, across) = at(x, columns);
    let row = |y: usize| map[[y, left]] * (1.0 - across) + map[[y, right]] * across;
    row(top) * (1.0 - down) + row(bottom) * down
}

/// The colour of a frame pixel: unchanged without heat, then through yellow to red at the threshold and above.
fn coloured(Rgb([r, g, b]): Rgb<u8>, heat: f32) -> Rgb<u8> {
    let warmth = ((heat - 0.25) / 0.75).clamp(0.0, 1.0);
    let opacity = 0.55 * warmth.sqrt();
    let flame = [255.0, 220.0 * (1.0 - warmth), 0.0];
    let mix = |frame: u8, flame: f32| (f32::from(frame) * (1.0 - opacity) + flame * opacity).round() as u8;
    Rgb([mix(r, flame[0]), mix(g, flame[1]), mix(b, flame[2])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Channels, Samples};

    #[test]
    fn the_heat_map_reddens_the_hot_place_and_leaves_the_cold_ones() {
        let picture = Picture {
            width: 32,
            height: 16,
            channels: Channels::Grey,
            samples: Samples::Eight(vec![100; 512]),
        };
        let mut heat = Array2::zeros((8, 8));
        heat[[2, 6]] = 9.0;
        let sheet = heat_beside_frame(&picture, &heat, 3.0);
        assert_eq!(sheet.dimensions(), (2 * SHOWN_PX + GAP_PX, SHOWN_PX / 2));
        let right = |x: f64, y: f64| {
            *sheet.get_pixel(
                SHOWN_PX + GAP_PX + (x * f64::from(SHOWN_PX)) as u32,
                (y * f64::from(SHOWN_PX / 2)) as u32,
            )
        };
        let Rgb([red, green, _]) = right(6.5 / 8.0, 2.5 / 8.0);
        assert!(red > 180 && green < 60, "{red} {green}");
        assert_eq!(right(1.5 / 8.0, 6.5 / 8.0), Rgb([100; 3]));
    }
}
