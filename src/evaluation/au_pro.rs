//! How well score maps show where a defect is: pixel AUROC and AU-PRO.
//!
//! AU-PRO is computed as MVTec defined it and anomalib 2.7 computes it. The overlap, averaged over all connected regions
//! of all masks (8-connected, as OpenCV's default), is a curve over the false-positive rate of all other pixels. AU-PRO
//! is the area below the curve up to the limit, divided by the limit.
//!
//! Guarantees: pixels of equal value are one step. A value that is not a number counts against the detector.
//! Leaves out: making the maps and reading the masks.
//! Costs: 4 bytes for each pixel outside of defects (450 MB for 1,725 maps of 256x256), 8 for each inside; a sort.

use ndarray::Array2;

/// False-positive rate up to which AU-PRO is measured.
pub(crate) const FPR_LIMIT: f64 = 0.3;

/// The pixels of all pictures that have masks, normal ones included.
#[derive(Debug, Default)]
pub(crate) struct Pixels {
    background: Vec<f32>,
    /// Value and weight of each pixel; the weight is one over the size of the pixel's region.
    defective: Vec<(f32, f32)>,
    regions: usize,
}

/// The figures over all pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PixelFigures {
    pub auroc: f64,
    pub au_pro: f64,
}

impl Pixels {
    /// Adds a map with its mask, of the same shape.
    pub(crate) fn add(&mut self, map: &Array2<f32>, mask: &Array2<bool>) {
        let (regions, sizes) = regions(mask);
        self.regions += sizes.len();
        for (&value, &region) in map.iter().zip(&regions) {
            match region {
                0 => self.background.push(if value.is_nan() { f32::INFINITY } else { value }),
                region => {
                    let value = if value.is_nan() { f32::NEG_INFINITY } else { value };
                    self.defective.push((value, 1.0 / sizes[region - 1] as f32));
                }
            }
        }
    }

    /// The figures; `None` unless there are pixels inside and outside of defects.
    pub(crate) fn figures(mut self) -> Option<PixelFigures> {
        if self.background.is_empty() || self.defective.is_empty() {
            return None;
        }
        self.background.sort_unstable_by(|a, b| b.total_cmp(a));
        self.defective.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
        let (outside, inside) = (self.background.len() as f64, self.defective.len() as f64);
        let (mut passed, mut caught, mut overlap) = (0_usize, 0_usize, 0.0_f64);
        let (mut auroc, mut pro) = (0.0, Clipped::default());
        loop {
            // The next threshold, and all pixels that reach it.
            let highest = self.background.get(passed).copied().into_iter();
            let highest = highest.chain(self.defective.get(caught).map(|(value, _)| *value));
            let Some(threshold) = highest.reduce(f32::max) else { break };
            let (passed_before, caught_before, overlap_before) = (passed, caught, overlap);
            while self.background.get(passed).is_some_and(|&value| value >= threshold) {
                passed += 1;
            }
            while let Some((_, weight)) = self.defective.get(caught).filter(|(value, _)| *value >= threshold)
            {
                overlap += f64::from(*weight);
                caught += 1;
            }
            let step = (passed - passed_before) as f64 / outside;
            auroc += step * 0.5 * (caught_before + caught) as f64 / inside;
            let share = |overlap: f64| (overlap / self.regions as f64).min(1.0);
            pro.add(passed_before as f64 / outside, step, share(overlap_before), share(overlap));
        }
        Some(PixelFigures { auroc, au_pro: pro.area / FPR_LIMIT })
    }
}

/// The area below a piecewise linear curve, up to [`FPR_LIMIT`].
#[derive(Default)]
struct Clipped {
    area: f64,
}

impl Clipped {
    fn add(&mut self, from: f64, step: f64, low: f64, high: f64) {
        if step > 0.0 && from < FPR_LIMIT {
            let within = step.min(FPR_LIMIT - from);
            let end = low + (high - low) * within / step;
            self.area += within * 0.5 * (low + end);
        }
    }
}

/// The number of each pixel's 8-connected region in row order, 0 outside, and the sizes of regions 1, 2, ...
fn regions(mask: &Array2<bool>) -> (Vec<usize>, Vec<usize>) {
    let (height, width) = mask.dim();
    let mut region = vec![0; height * width];
    let mut sizes = Vec::new();
    let mut open = Vec::new();
    for start in 0..region.len() {
        if region[start] != 0 || !mask[[start / width, start % width]] {
            continue;
        }
        sizes.push(0);
        region[start] = sizes.len();
        open.push(start);
        while let Some(at) = open.pop() {
            sizes[region[start] - 1] += 1;
            let (y, x) = (at / width, at % width);
            for near_y in y.saturating_sub(1)..(y + 2).min(height) {
                for near_x in x.saturating_sub(1)..(x + 2).min(width) {
                    let near = near_y * width + near_x;
                    if region[near] == 0 && mask[[near_y, near_x]] {
                        region[near] = region[start];
                        open.push(near);
                    }
                }
            }
        }
    }
    (region, sizes)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct PixelVectors {
        pixel: Vec<PixelCase>,
    }

    #[derive(Deserialize)]
    struct PixelCase {
        side: usize,
        maps: Vec<Vec<f32>>,
        masks: Vec<Vec<u8>>,
        auroc: f64,
        au_pro: f64,
    }

    #[test]
    fn figures_are_those_of_scikit_learn_and_anomalib() {
        let golden: PixelVectors =
            serde_json::from_str(include_str!("../../tests/golden/evaluation.json")).unwrap();
        assert!(golden.pixel.len() >= 3);
        for case in golden.pixel {
            let shape = (case.side, case.side);
            let mut pixels = Pixels::default();
            for (map, mask) in case.maps.into_iter().zip(case.masks) {
                let mask = mask.into_iter().map(|marked| marked == 1).collect();
                pixels.add(
                    &Array2::from_shape_vec(shape, map).unwrap(),
                    &Array2::from_shape_vec(shape, mask).unwrap(),
                );
            }
            let found = pixels.figures().unwrap();
            assert!((found.auroc - case.auroc).abs() < 1e-6, "{found:?}, not {}", case.auroc);
            assert!((found.au_pro - case.au_pro).abs() < 1e-6, "{found:?}, not {}", case.au_pro);
        }
    }

    #[test]
    fn corners_touch_and_each_region_weighs_the_same() {
        let mask = ndarray::arr2(&[[true, false, false], [false, true, false], [false, false, false]]);
        assert_eq!(regions(&mask).1, [2]);
        let apart = ndarray::arr2(&[[true, false, true], [true, false, false], [false, false, false]]);
        assert_eq!(regions(&apart), (vec![1, 0, 2, 1, 0, 0, 0, 0, 0], vec![2, 1]));
    }

    #[test]
    fn what_is_no_number_counts_against_the_detector() {
        let mask = ndarray::arr2(&[[true, false]]);
        let figures = |map: [f32; 2]| {
            let mut pixels = Pixels::default();
            pixels.add(&ndarray::arr2(&[map]), &mask);
            pixels.figures().unwrap().auroc
        };
        assert_eq!(
            [figures([2.0, 1.0]), figures([f32::NAN, 1.0]), figures([2.0, f32::NAN])],
            [1.0, 0.0, 0.0]
        );
        assert_eq!(Pixels::default().figures(), None);
    }
}
