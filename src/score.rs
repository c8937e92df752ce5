//! The anomaly score: how far a picture is from its reconstruction and how sure the model is of a defect, compared
//! with what is normal.
//!
//! The score is made of two maps.
//! * The residual map: the difference between picture and reconstruction is averaged over blocks, squared, averaged
//!   over channels, and put back at full size. This is done for each block size in `scales`, and the results are
//!   averaged (AdvRAD's multiscale error).
//! * The defect map: the log odds of the defect head.
//!
//! Both pass a mean filter. Then each pixel becomes its distance from the training mean in training standard
//! deviations; the residual counts both ways, the defect map upwards only. The score map is the mean of the two,
//! weighted by `head_weight`. The score is the mean of its largest values.
//!
//! Guarantees: the two scores are two types, made by two functions. Of a frame [`certified`] sees one
//! [`Reconstruction`] only (a noisy draw, its x0_hat and its defect map), so it cannot see the clean input. [`empirical`]
//! compares with the clean input, carries no certificate, and cannot be converted into the other. Pure. Equal to the
//! Python definition within 1e-4 of the spread of normal scores (golden vectors).

use ndarray::{Array2, ArrayView3, Axis, Zip};

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
    /// Share of the defect map in the score map, 0 to 1; 0 is the paper's residual alone.
    pub head_weight: f32,
}

/// The two maps of one draw, or of one frame over its draws; HW, mean-filtered.
#[derive(Debug, Clone, PartialEq)]
pub struct AnomalyMaps {
    /// Multiscale squared difference between picture and reconstruction.
    pub residual: Array2<f32>,
    /// Log odds of a defect; `None` from a model without a defect head.
    pub defect: Option<Array2<f32>>,
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

/// Statistics of both maps over normal inputs, under the same noise.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingMaps {
    pub residual: PixelStatistics,
    /// `None` for a model without a defect head.
    pub defect: Option<PixelStatistics>,
}

impl TrainingMaps {
    /// Maps that change nothing: the raw score, before calibration.
    pub fn identity(height: usize, width: usize) -> Self {
        let identity = PixelStatistics::identity(height, width);
        Self { residual: identity.clone(), defect: Some(identity) }
    }
}

/// The maps of one noisy draw against its own reconstruction.
pub(crate) fn certified_maps(pair: &Reconstruction, parameters: &ScoreParameters) -> AnomalyMaps {
    AnomalyMaps {
        residual: residual_map(pair.z(), pair.x0_hat(), parameters),
        defect: pair.defect_logit().map(|logit| mean_filter(&logit.to_owned(), parameters.filter_px)),
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

/// The maps of the clean input: its difference from the mean reconstruction of its draws, and their mean defect map.
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
    let logits = pairs.iter().map(Reconstruction::defect_logit).collect::<Option<Vec<_>>>();
    let defect = logits.filter(|logits| !logits.is_empty()).map(|logits| {
        let first = logits[0].to_owned();
        let sum = logits[1..].iter().fold(first, |sum, logit| sum + logit);
        mean_filter(&(sum / logits.len() as f32), parameters.filter_px)
    });
    AnomalyMaps { residual: residual_map(input.view(), x0_hat.view(), parameters), defect }
}

/// The score of one clean input over its draws: the paper's, mixed with the defect map by `head_weight`.
pub fn empirical(
    input: &Input,
    pairs: &[Reconstruction],
    parameters: &ScoreParameters,
    training: &TrainingMaps,
) -> EmpiricalScore {
    let map = score_map(&empirical_maps(input, pairs, parameters), training, parameters);
    EmpiricalScore(pool(&map, parameters.top_pixels))
}

/// Both maps in training standard deviations, mixed by `head_weight`, HW. A map of weight 0 is left out. A map that is
/// missing but has a weight makes every pixel NaN: no score is better than a wrong one.
pub(crate) fn score_map(
    maps: &AnomalyMaps,
    training: &TrainingMaps,
    parameters: &ScoreParameters,
) -> Array2<f32> {
    let head_weight = parameters.head_weight;
    let mut mixed = Array2::zeros(maps.residual.raw_dim());
    if head_weight < 1.0 {
        let PixelStatistics { mean, std } = &training.residual;
        Zip::from(&mut mixed).and(&maps.residual).and(mean).and(std).for_each(
            |mixed, &value, &mean, &std| {
                *mixed = (1.0 - head_weight) * (value - mean).abs() / std;
            },
        );
    }
    if head_weight > 0.0 {
        match (&maps.defect, &training.defect) {
            (Some(defect), Some(PixelStatistics { mean, std })) => {
                Zip::from(&mut mixed).and(defect).and(mean).and(std).for_each(
                    |mixed, &value, &mean, &std| {
                        *mixed += head_weight * (value - mean) / std;
                    },
                );
            }
            _ => mixed.fill(f32::NAN),
        }
    }
    mixed
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
        ScoreParameters { scales: scales.to_vec(), filter_px, top_pixels, head_weight: 0.0 }
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
    fn the_two_maps_are_mixed_in_training_standard_deviations() {
        let statistics = |mean, std| PixelStatistics {
            mean: Array2::from_elem((1, 2), mean),
            std: Array2::from_elem((1, 2), std),
        };
        let training = TrainingMaps { residual: statistics(1.0, 0.5), defect: Some(statistics(-4.0, 2.0)) };
        let maps =
            AnomalyMaps { residual: ndarray::array![[0.5, 2.0]], defect: Some(ndarray::array![[-6.0, 0.0]]) };
        let mixed = |head_weight| {
            score_map(&maps, &training, &ScoreParameters { head_weight, ..parameters(&[1], 1, 1) })
        };
        // The residual counts both ways (1 and 2 deviations), the defect map upwards only (-1 and 2).
        assert_eq!(mixed(0.0), ndarray::array![[1.0, 2.0]]);
        assert_eq!(mixed(1.0), ndarray::array![[-1.0, 2.0]]);
        assert_eq!(mixed(0.75), ndarray::array![[-0.5, 2.0]]);
    }

    #[test]
    fn a_missing_defect_map_gives_no_score_but_none_is_needed_for_the_residual_alone() {
        let training = TrainingMaps::identity(1, 1);
        let maps = AnomalyMaps { residual: ndarray::array![[0.5]], defect: None };
        let score = |head_weight| {
            let parameters = ScoreParameters { head_weight, ..parameters(&[1], 1, 1) };
            pool(&score_map(&maps, &training, &parameters), 1)
        };
        assert_eq!(score(0.0), 0.5);
        assert!(score(0.5).is_nan());
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
