//! Training maps: per pixel, mean and standard deviation of the anomaly maps over normal inputs.
//!
//! Guarantees: the standard deviation is above 0 everywhere, because it has a floor. So a pixel that happened to vary
//! little cannot dominate the score. Computed by Welford's recurrence in f64: one pass, no cancellation. Pure.
//! Leaves out: making the anomaly maps (`score`), the threshold (`conformal`).

use ndarray::{Array2, Zip};

use crate::score::{AnomalyMaps, PixelStatistics, TrainingMaps};

/// The floor: no pixel counts as varying less than this share of the average pixel.
const FLOOR: f64 = 0.2;

/// Collects the anomaly maps of normal draws or frames, all HW of one size.
#[derive(Debug, Clone, Default)]
pub(crate) struct MapAccumulator {
    residual: Option<Moments>,
    defect: Option<Moments>,
    feature: Option<Moments>,
}

impl MapAccumulator {
    pub(crate) fn add(&mut self, maps: &AnomalyMaps) {
        let of_this = [
            (&mut self.residual, Some(&maps.residual)),
            (&mut self.defect, maps.defect.as_ref()),
            (&mut self.feature, maps.feature.as_ref()),
        ];
        for (moments, map) in of_this {
            if let Some(map) = map {
                moments.get_or_insert_with(|| Moments::new(map)).add(map);
            }
        }
    }

    /// The training maps; `None` with fewer than two inputs or if no pixel varies.
    pub(crate) fn maps(&self) -> Option<TrainingMaps> {
        // The outer `None` is a map that does not vary, the inner one a map that the model does not give.
        let optional = |moments: &Option<Moments>| match moments {
            Some(moments) => moments.statistics().map(Some),
            None => Some(None),
        };
        Some(TrainingMaps {
            residual: self.residual.as_ref()?.statistics()?,
            defect: optional(&self.defect)?,
            feature: optional(&self.feature)?,
        })
    }
}

/// Running mean and sum of squares of one kind of map.
#[derive(Debug, Clone)]
struct Moments {
    count: u64,
    mean: Array2<f64>,
    /// Sum of squared deviations from the mean.
    squares: Array2<f64>,
}

impl Moments {
    /// No maps counted yet; the size is that of `map`.
    fn new(map: &Array2<f32>) -> Self {
        Self { count: 0, mean: Array2::zeros(map.raw_dim()), squares: Array2::zeros(map.raw_dim()) }
    }

    fn add(&mut self, map: &Array2<f32>) {
        self.count += 1;
        let count = self.count as f64;
        Zip::from(&mut self.mean).and(&mut self.squares).and(map).for_each(|mean, squares, &value| {
            let before = f64::from(value) - *mean;
            *mean += before / count;
            *squares += before * (f64::from(value) - *mean);
        });
    }

    fn statistics(&self) -> Option<PixelStatistics> {
        if self.count < 2 {
            return None;
        }
        let std = self.squares.mapv(|squares| (squares / (self.count - 1) as f64).sqrt());
        let floor = FLOOR * std.mean()?;
        if !(floor.is_finite() && floor > 0.0) {
            return None;
        }
        Some(PixelStatistics {
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
        let mut accumulator = MapAccumulator::default();
        for (left, right) in [(1.0, 5.0), (2.0, 5.0), (6.0, 5.0)] {
            let defect = Some(ndarray::array![[-left, -right]]);
            let feature = Some(ndarray::array![[2.0 * left, 2.0 * right]]);
            accumulator.add(&AnomalyMaps { residual: ndarray::array![[left, right]], defect, feature });
        }
        let TrainingMaps { residual: maps, defect, feature } = accumulator.maps().unwrap();
        assert_eq!(defect.unwrap().mean, ndarray::array![[-3.0, -5.0]]);
        let feature = feature.unwrap();
        assert_eq!(feature.mean, ndarray::array![[6.0, 10.0]]);
        assert!((feature.std[[0, 0]] - 2.0 * 7.0_f32.sqrt()).abs() < 1e-6);
        assert_eq!(maps.mean, ndarray::array![[3.0, 5.0]]);
        let deviation = 7.0_f32.sqrt();
        assert!((maps.std[[0, 0]] - deviation).abs() < 1e-6);
        // The still pixel gets the floor: a fifth of the average of sqrt(7) and 0.
        assert!((maps.std[[0, 1]] - 0.2 * deviation / 2.0).abs() < 1e-6);
    }

    #[test]
    fn too_few_or_unvarying_errors_make_no_maps() {
        let mut accumulator = MapAccumulator::default();
        let still = AnomalyMaps { residual: Array2::ones((2, 2)), defect: None, feature: None };
        accumulator.add(&still);
        assert!(accumulator.maps().is_none());
        accumulator.add(&still);
        assert!(accumulator.maps().is_none());
    }

    #[test]
    fn a_feature_map_that_does_not_vary_makes_no_maps() {
        let mut accumulator = MapAccumulator::default();
        for value in [1.0, 2.0] {
            let residual = Array2::from_elem((2, 2), value);
            accumulator.add(&AnomalyMaps { residual, defect: None, feature: Some(Array2::ones((2, 2))) });
        }
        assert!(accumulator.maps().is_none());
    }
}
