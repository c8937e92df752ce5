//! The anomaly score: how far a picture is from its reconstruction, how sure the model is of a defect, and how far its
//! features are from normal ones, compared with what is normal.
//!
//! The score is made of up to three maps.
//! * The residual map: the difference between picture and reconstruction is averaged over blocks, squared, averaged
//!   over channels, and put back at full size. This is done for each block size in `scales`, and the results are
//!   averaged (AdvRAD's multiscale error).
//! * The defect map: the log odds of the defect head.
//! * The feature map: the distance of frozen network features to a bank of normal ones.
//!
//! Each passes a mean filter. Then each pixel becomes its distance from the training mean in training standard
//! deviations; the residual counts both ways, the other maps upwards only. The score map is their mean, weighted by
//! `head_weight`, `feature_weight` and, for the residual, what these leave of 1. The score is the mean of its largest
//! values.
//!
//! Guarantees: the two scores are two types, made by two functions. Of a frame [`certified`] sees one
//! [`Reconstruction`] only (a noisy draw, its x0_hat and the maps made from it), so it cannot see the clean input. [`empirical`]
//! compares with the clean input, carries no certificate, and cannot be converted into the other. Pure. Equal to the
//! Python definition within 1e-4 of the spread of normal scores (golden vectors).

use ndarray::{Array2, ArrayView2, ArrayView3, Axis, Zip};

use crate::diffusion::reconstruct::Reconstruction;
use crate::preprocess::Input;

/// The score of one noisy draw; certificates are built from this score only. Only [`score_draw`] makes one, from the
/// reconstruction of a noisy draw, so nothing that saw the clean frame can become part of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct CertifiedScore(f32);

impl CertifiedScore {
    pub fn value(self) -> f32 {
        self.0
    }

    /// A score that was stored earlier. Used by [`crate::verification`], which computes a stored verdict again, by
    /// `certiscope evaluate`, which reads back its own scores, and by tests. No verdict is made from it.
    pub(crate) fn stored(score: f32) -> Self {
        Self(score)
    }
}

/// The paper's score, against the clean input. No certificate can be built from it.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct EmpiricalScore(f32);

impl EmpiricalScore {
    pub fn value(self) -> f32 {
        self.0
    }
}

/// The settings of the score, which the bundle fixes.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreParameters {
    /// Block sizes of the residual in pixels; each divides height and width.
    pub scales: Vec<usize>,
    /// Side of the mean filter in pixels, odd.
    pub filter_px: usize,
    /// The score is the mean of this many largest pixels; 1 is the maximum.
    pub top_pixels: usize,
    /// Share of the defect map in the score map, 0 to 1.
    pub head_weight: f32,
    /// Share of the feature map in the score map, 0 to 1. With both shares 0 the score is the paper's residual alone.
    pub feature_weight: f32,
}

impl ScoreParameters {
    /// What the other two maps leave of 1. Their sum is taken first: it is rounded to 1 where the weights add up to 1.
    fn residual_weight(&self) -> f32 {
        1.0 - (self.head_weight + self.feature_weight)
    }
}

/// The maps of one draw, or of one frame over its draws; HW, mean-filtered.
#[derive(Debug, Clone, PartialEq)]
pub struct AnomalyMaps {
    /// Multiscale squared difference between picture and reconstruction.
    pub residual: Array2<f32>,
    /// Log odds of a defect; `None` from a model without a defect head.
    pub defect: Option<Array2<f32>>,
    /// Distance of the features to normal ones; `None` from a model without a bank of features.
    pub feature: Option<Array2<f32>>,
}

/// Per-pixel mean and standard deviation of a map over normal inputs, HW.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelStatistics {
    pub mean: Array2<f32>,
    /// Above 0 everywhere.
    pub std: Array2<f32>,
}

impl PixelStatistics {
    fn identity(height: usize, width: usize) -> Self {
        Self { mean: Array2::zeros((height, width)), std: Array2::ones((height, width)) }
    }
}

/// Statistics of the maps over normal inputs, under the same noise.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingMaps {
    pub residual: PixelStatistics,
    /// `None` for a model without a defect head.
    pub defect: Option<PixelStatistics>,
    /// `None` for a model without a bank of features.
    pub feature: Option<PixelStatistics>,
}

impl TrainingMaps {
    /// Maps that change nothing: the raw score, before calibration.
    pub fn identity(height: usize, width: usize) -> Self {
        let identity = PixelStatistics::identity(height, width);
        Self { residual: identity.clone(), defect: Some(identity.clone()), feature: Some(identity) }
    }
}

/// The maps of one noisy draw against its own reconstruction.
pub(crate) fn certified_maps(pair: &Reconstruction, parameters: &ScoreParameters) -> AnomalyMaps {
    let filtered = |map: ArrayView2<'_, f32>| mean_filter(&map.to_owned(), parameters.filter_px);
    AnomalyMaps {
        residual: residual_map(pair.z(), pair.x0_hat(), parameters),
        defect: pair.defect_logit().map(filtered),
        feature: pair.feature_distance().map(filtered),
    }
}

/// Score A(z) of one noisy draw. It takes only the draw and its reconstruction; passing the clean input does not compile.
/// Of these two examples only the first compiles, so it is not for a wrong name that the second does not:
/// ```
/// use certiscope::testing::{diffusion::reconstruct::Reconstruction, score};
/// fn score(x: &Reconstruction, p: &score::ScoreParameters, m: &score::TrainingMaps) -> score::CertifiedScore {
///     score::certified(x, p, m)
/// }
/// ```
/// ```compile_fail
/// use certiscope::testing::{preprocess::Input, score};
/// fn leak(x: &Input, p: &score::ScoreParameters, m: &score::TrainingMaps) -> score::CertifiedScore {
///     score::certified(x, p, m)
/// }
/// ```
pub fn certified(
    pair: &Reconstruction,
    parameters: &ScoreParameters,
    training: &TrainingMaps,
) -> CertifiedScore {
    score_draw(pair, parameters, training).score
}

/// The score of one noisy draw, and the map that it was pooled from (HW, in training standard deviations).
#[derive(Debug, Clone)]
pub struct ScoredDraw {
    pub score: CertifiedScore,
    pub map: Array2<f32>,
}

/// The score of [`certified`], with its map.
pub(crate) fn score_draw(
    pair: &Reconstruction,
    parameters: &ScoreParameters,
    training: &TrainingMaps,
) -> ScoredDraw {
    let map = score_map(&certified_maps(pair, parameters), training, parameters);
    ScoredDraw { score: CertifiedScore(pool(&map, parameters.top_pixels)), map }
}

/// The maps of the clean input: its difference from the mean reconstruction of its draws, their mean defect map, and
/// their mean feature map.
pub(crate) fn empirical_maps(
    input: &Input,
    pairs: &[Reconstruction],
    parameters: &ScoreParameters,
) -> AnomalyMaps {
    let mut x0_hat = ndarray::Array3::<f32>::zeros(input.view().raw_dim());
    for pair in pairs {
        x0_hat += &pair.x0_hat();
    }
    x0_hat /= pairs.len() as f32;
    let mean_of = |map: fn(&Reconstruction) -> Option<ArrayView2<'_, f32>>| {
        let maps = pairs.iter().map(map).collect::<Option<Vec<_>>>();
        maps.filter(|maps| !maps.is_empty()).map(|maps| {
            let first = maps[0].to_owned();
            let sum = maps[1..].iter().fold(first, |sum, map| sum + map);
            mean_filter(&(sum / maps.len() as f32), parameters.filter_px)
        })
    };
    AnomalyMaps {
        residual: residual_map(input.view(), x0_hat.view(), parameters),
        defect: mean_of(Reconstruction::defect_logit),
        feature: mean_of(Reconstruction::feature_distance),
    }
}

/// The score of one clean input over its draws: the paper's, mixed with the other maps by their weights.
pub fn empirical(
    input: &Input,
    pairs: &[Reconstruction],
    parameters: &ScoreParameters,
    training: &TrainingMaps,
) -> EmpiricalScore {
    let map = score_map(&empirical_maps(input, pairs, parameters), training, parameters);
    EmpiricalScore(pool(&map, parameters.top_pixels))
}

/// The maps in training standard deviations, mixed by their weights, HW. A map of weight 0 is left out. A map that is
/// missing but has a weight makes every pixel NaN: no score is better than a wrong one.
pub(crate) fn score_map(
    maps: &AnomalyMaps,
    training: &TrainingMaps,
    parameters: &ScoreParameters,
) -> Array2<f32> {
    let residual_weight = parameters.residual_weight();
    let mut mixed = Array2::zeros(maps.residual.raw_dim());
    if residual_weight > 0.0 {
        let PixelStatistics { mean, std } = &training.residual;
        Zip::from(&mut mixed).and(&maps.residual).and(mean).and(std).for_each(
            |mixed, &value, &mean, &std| {
                *mixed = residual_weight * (value - mean).abs() / std;
            },
        );
    }
    for (weight, map, training) in [
        (parameters.head_weight, &maps.defect, &training.defect),
        (parameters.feature_weight, &maps.feature, &training.feature),
    ] {
        if weight > 0.0 {
            add_upwards(&mut mixed, weight, map.as_ref(), training.as_ref());
        }
    }
    mixed
}

/// Adds how far the map lies above what is normal.
fn add_upwards(
    mixed: &mut Array2<f32>,
    weight: f32,
    map: Option<&Array2<f32>>,
    training: Option<&PixelStatistics>,
) {
    let (Some(map), Some(PixelStatistics { mean, std })) = (map, training) else {
        mixed.fill(f32::NAN);
        return;
    };
    Zip::from(mixed).and(map).and(mean).and(std).for_each(|mixed, &value, &mean, &std| {
        *mixed += weight * (value - mean) / std;
    });
}

/// Multiscale squared error of `a` against `b` (both CHW), HW, mean-filtered.
fn residual_map(a: ArrayView3<'_, f32>, b: ArrayView3<'_, f32>, parameters: &ScoreParameters) -> Array2<f32> {
    let (_, height, width) = a.dim();
    let difference = &a - &b;
    let mut sum = Array2::zeros((height, width));
    for &block_px in &parameters.scales {
        add_block_error(difference.view(), block_px, &mut sum);
    }
    sum /= parameters.scales.len() as f32;
    mean_filter(&sum, parameters.filter_px)
}

/// Adds, to every pixel of `sum`, the squared block mean of its block, averaged over channels.
fn add_block_error(difference: ArrayView3<'_, f32>, block_px: usize, sum: &mut Array2<f32>) {
    let channels = difference.len_of(Axis(0)) as f32;
    for channel in difference.outer_iter() {
        if block_px == 1 {
            // Each pixel is its own block: the same numbers, without a view for each of them.
            Zip::from(&mut *sum).and(channel).for_each(|out, &pixel| *out += pixel * pixel / channels);
            continue;
        }
        let blocks = channel.exact_chunks((block_px, block_px));
        Zip::from(sum.exact_chunks_mut((block_px, block_px))).and(blocks).for_each(|mut out, block| {
            let mean = block.sum() / (block_px * block_px) as f32;
            out += mean * mean / channels;
        });
    }
}

/// Mean over the part of the `side` x `side` window that lies inside the map. That part is a rectangle, so the mean of
/// the means of its rows is its mean.
fn mean_filter(map: &Array2<f32>, side: usize) -> Array2<f32> {
    let half = side / 2;
    let along_rows = window_means(&transposed(map), half);
    window_means(&transposed(&along_rows), half)
}

fn transposed(map: &Array2<f32>) -> Array2<f32> {
    map.t().as_standard_layout().into_owned()
}

/// Mean down each column over `half` pixels to either side, over fewer at the edges. Whole rows are added, because a
/// processor adds many pixels of a row at once.
fn window_means(map: &Array2<f32>, half: usize) -> Array2<f32> {
    let height = map.nrows();
    let mut out = Array2::zeros(map.raw_dim());
    for (y, mut out) in out.rows_mut().into_iter().enumerate() {
        let window = y.saturating_sub(half)..(y + half + 1).min(height);
        for near in window.clone() {
            out += &map.row(near);
        }
        out /= window.len() as f32;
    }
    out
}

/// Mean of the `top` largest values. NaN if any value is NaN or minus infinity, so that no fault gives a low score.
fn pool(map: &Array2<f32>, top: usize) -> f32 {
    if map.iter().any(|&value| value.is_nan() || value == f32::NEG_INFINITY) {
        return f32::NAN;
    }
    if top == 1 {
        return map.fold(f32::NEG_INFINITY, |best, &value| best.max(value));
    }
    let mut values: Vec<f32> = map.iter().copied().collect();
    let top = top.min(values.len());
    values.select_nth_unstable_by(top - 1, |a, b| b.total_cmp(a));
    (values[..top].iter().map(|&v| f64::from(v)).sum::<f64>() / top as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn parameters(scales: &[usize], filter_px: usize, top_pixels: usize) -> ScoreParameters {
        ScoreParameters {
            scales: scales.to_vec(),
            filter_px,
            top_pixels,
            head_weight: 0.0,
            feature_weight: 0.0,
        }
    }

    /// One pixel of 8x8 differs by 0.8. By hand: block sizes 1, 2, 4, 8 give squares of 0.8, 0.2, 0.05,
    /// 0.0125 at that pixel; the average of the four squares is what an unfiltered map holds there.
    #[test]
    fn one_wrong_pixel_by_hand() {
        let a = Array3::zeros((1, 8, 8));
        let mut b = a.clone();
        b[[0, 2, 3]] = 0.8;
        let map = residual_map(a.view(), b.view(), &parameters(&[1, 2, 4, 8], 1, 1));
        let expected = (0.64 + 0.04 + 0.0025 + 0.00015625) / 4.0;
        assert!((map[[2, 3]] - expected).abs() < 1e-7, "{}", map[[2, 3]]);
        // The opposite corner shares only the 8x8 block with it.
        assert!((map[[7, 7]] - 0.00015625 / 4.0).abs() < 1e-9);
        assert_eq!(pool(&map, 1), map[[2, 3]]);
    }

    #[test]
    fn channels_are_averaged() {
        let a = Array3::zeros((3, 8, 8));
        let mut b = a.clone();
        b.index_axis_mut(Axis(0), 1).fill(0.3);
        let map = residual_map(a.view(), b.view(), &parameters(&[1], 1, 1));
        assert!(map.iter().all(|v| (v - 0.03).abs() < 1e-7));
    }

    #[test]
    fn the_filter_counts_only_pixels_inside() {
        let mut map = Array2::zeros((5, 5));
        map[[0, 0]] = 1.0;
        let filtered = mean_filter(&map, 3);
        assert!((filtered[[0, 0]] - 1.0 / 4.0).abs() < 1e-7);
        assert!((filtered[[1, 0]] - 1.0 / 6.0).abs() < 1e-7);
        assert!((filtered[[1, 1]] - 1.0 / 9.0).abs() < 1e-7);
        assert_eq!(filtered[[2, 2]], 0.0);
    }

    #[test]
    fn the_maps_are_mixed_in_training_standard_deviations() {
        let statistics = |mean, std| PixelStatistics {
            mean: Array2::from_elem((1, 2), mean),
            std: Array2::from_elem((1, 2), std),
        };
        let training = TrainingMaps {
            residual: statistics(1.0, 0.5),
            defect: Some(statistics(-4.0, 2.0)),
            feature: Some(statistics(8.0, 4.0)),
        };
        let maps = AnomalyMaps {
            residual: ndarray::array![[0.5, 2.0]],
            defect: Some(ndarray::array![[-6.0, 0.0]]),
            feature: Some(ndarray::array![[20.0, 4.0]]),
        };
        let mixed = |head_weight, feature_weight| {
            let weights = ScoreParameters { head_weight, feature_weight, ..parameters(&[1], 1, 1) };
            score_map(&maps, &training, &weights)
        };
        // The residual counts both ways (1 and 2 deviations), the others upwards only (-1 and 2, 3 and -1).
        assert_eq!(mixed(0.0, 0.0), ndarray::array![[1.0, 2.0]]);
        assert_eq!(mixed(1.0, 0.0), ndarray::array![[-1.0, 2.0]]);
        assert_eq!(mixed(0.75, 0.0), ndarray::array![[-0.5, 2.0]]);
        assert_eq!(mixed(0.0, 1.0), ndarray::array![[3.0, -1.0]]);
        assert_eq!(mixed(0.0, 0.5), ndarray::array![[2.0, 0.5]]);
        assert_eq!(mixed(0.25, 0.5), ndarray::array![[1.5, 0.5]]);
        assert_eq!(mixed(0.5, 0.5), ndarray::array![[1.0, 0.5]]);
    }

    /// Weights that add up to 1 leave nothing to the residual, although 1 - 0.8 - 0.2 is below 0 in f32.
    #[test]
    fn a_residual_of_weight_0_is_left_out_whatever_the_rounding() {
        for (head_weight, feature_weight) in [(0.8, 0.2), (0.7, 0.3), (0.9, 0.1), (0.35, 0.65), (0.0, 1.0)] {
            let weights = ScoreParameters { head_weight, feature_weight, ..parameters(&[1], 1, 1) };
            assert_eq!(weights.residual_weight(), 0.0, "{head_weight} {feature_weight}");
            let broken = AnomalyMaps {
                residual: ndarray::array![[f32::NAN]],
                defect: Some(ndarray::array![[1.0]]),
                feature: Some(ndarray::array![[1.0]]),
            };
            let map = score_map(&broken, &TrainingMaps::identity(1, 1), &weights);
            assert!((map[[0, 0]] - 1.0).abs() < 1e-6, "{map}");
        }
    }

    #[test]
    fn a_missing_map_gives_no_score_but_none_is_needed_for_the_residual_alone() {
        let score = |maps: &AnomalyMaps, training: &TrainingMaps, head_weight, feature_weight| {
            let weights = ScoreParameters { head_weight, feature_weight, ..parameters(&[1], 1, 1) };
            pool(&score_map(maps, training, &weights), 1)
        };
        let identity = TrainingMaps::identity(1, 1);
        let residual_alone = AnomalyMaps { residual: ndarray::array![[0.5]], defect: None, feature: None };
        assert_eq!(score(&residual_alone, &identity, 0.0, 0.0), 0.5);
        assert!(score(&residual_alone, &identity, 0.5, 0.0).is_nan());
        assert!(score(&residual_alone, &identity, 0.0, 0.5).is_nan());
        // A map that was not there when the bundle was calibrated.
        let all = AnomalyMaps {
            defect: Some(ndarray::array![[0.5]]),
            feature: Some(ndarray::array![[0.5]]),
            ..residual_alone
        };
        let of_residual = TrainingMaps { defect: None, feature: None, ..identity.clone() };
        assert_eq!(score(&all, &identity, 0.5, 0.5), 0.5);
        assert!(score(&all, &of_residual, 0.5, 0.0).is_nan());
        assert!(score(&all, &of_residual, 0.0, 0.5).is_nan());
    }

    #[test]
    fn a_feature_distance_that_is_no_number_gives_no_score() {
        let mut feature = Array2::ones((4, 4));
        feature[[2, 1]] = f32::NAN;
        let maps = AnomalyMaps { residual: Array2::ones((4, 4)), defect: None, feature: Some(feature) };
        let training = TrainingMaps::identity(4, 4);
        for top in [1, 3] {
            let weights = ScoreParameters { feature_weight: 0.1, ..parameters(&[1], 1, top) };
            assert!(pool(&score_map(&maps, &training, &weights), top).is_nan());
        }
    }

    #[test]
    fn pooling_is_the_mean_of_the_largest() {
        let map = Array2::from_shape_vec((2, 2), vec![1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(pool(&map, 1), 4.0);
        assert_eq!(pool(&map, 2), 3.5);
        assert_eq!(pool(&map, 99), 2.5);
    }

    #[test]
    fn one_bad_pixel_makes_the_score_not_a_number() {
        let mut map = Array2::zeros((4, 4));
        map[[1, 1]] = f32::NAN;
        assert!(pool(&map, 1).is_nan() && pool(&map, 3).is_nan());
        // A defect head that overflows downwards must not make a part look better than any good one.
        map[[1, 1]] = f32::NEG_INFINITY;
        assert!(pool(&map, 1).is_nan() && pool(&map, 3).is_nan());
    }
}
