//! Training maps: per pixel, mean and standard deviation of the error over normal inputs.
//!
//! Guarantees: the standard deviation is above 0 everywhere (floored), so that no pixel that happened to
//! be still can dominate the score. Welford's recurrence in f64: one pass, no cancellation. Pure.

use ndarray::{Array2, Zip};

use crate::score::TrainingMaps;

/// Pixels are never trusted to vary less than this part of the average pixel.
const FLOOR: f64 = 0.2;

/// Collects error maps, all HW of one size.
#[derive(Debug, Clone)]
pub struct MapAccumulator {
    count: u64,
    mean: Array2<f64>,
    /// Sum of squared deviations from the mean.
    squares: Array2<f64>,
}

impl MapAccumulator {
    pub fn new(height: usize, width: usize) -> Self {
        Self { count: 0, mean: Array2::zeros((height, width)), squares: Array2::zeros((height, width)) }
    }

    pub fn add(&mut self, error: &Array2<f32>) {
        self.count += 1;
        let count = self.count as f64;
        Zip::from(&mut self.mean).and(&mut self.squares).and(error).for_each(|mean, squares, &error| {
            let before = f64::from(error) - *mean;
            *mean += before / count;
            *squares += before * (f64::from(error) - *mean);
        });
    }

    /// The maps; `None` with fewer than two errors or where none varies.
    pub fn maps(&self) -> Option<TrainingMaps> {
        if self.count < 2 {
            return None;
        }
        let std = self.squares.mapv(|squares| (squares / (self.count - 1) as f64).sqrt());
        let floor = FLOOR * std.mean()?;
        if !(floor.is_finite() && floor > 0.0) {
            return None;
        }
        Some(TrainingMaps {
            mean: self.mean.mapv(|mean| mean as f32),
            std: std.mapv(|std| std.max(floor) as f32),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_of_three_by_hand() {
        let mut accumulator = MapAccumulator::new(1, 2);
        for (left, right) in [(1.0, 5.0), (2.0, 5.0), (6.0, 5.0)] {
            accumulator.add(&ndarray::array![[left, right]]);
        }
        let maps = accumulator.maps().unwrap();
        assert_eq!(maps.mean, ndarray::array![[3.0, 5.0]]);
        let deviation = 7.0_f32.sqrt();
        assert!((maps.std[[0, 0]] - deviation).abs() < 1e-6);
        // The still pixel gets the floor: a fifth of the average of sqrt(7) and 0.
        assert!((maps.std[[0, 1]] - 0.2 * deviation / 2.0).abs() < 1e-6);
    }

    #[test]
    fn too_few_or_unvarying_errors_make_no_maps() {
        let mut accumulator = MapAccumulator::new(2, 2);
        accumulator.add(&Array2::ones((2, 2)));
        assert!(accumulator.maps().is_none());
        accumulator.add(&Array2::ones((2, 2)));
        assert!(accumulator.maps().is_none());
    }
}
