//! How well scores tell anomalous parts from normal ones. Statistics only.
//!
//! Guarantees: ties count half. A score that is not a number counts against the detector: as the lowest score of an
//! anomalous part, as the highest of a normal one. Bootstrap intervals draw whole parts within each class, and the same
//! seed gives the same interval.
//! Leaves out: running the detector, tables. Pixel metrics are in [`au_pro`]; [`layout`] finds the pictures,
//! and [`mask_file`] reads masks.
//! Costs: one sort for each figure; for a bootstrap one sort for each replicate.

pub(crate) mod au_pro;
pub(crate) mod layout;
pub(crate) mod mask_file;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A point estimate with its percentile bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
}

/// How an interval is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bootstrap {
    pub replicates: usize,
    /// Share of the replicates inside the interval, for instance 0.95.
    pub confidence: f64,
    pub seed: u64,
}

/// Area under the ROC curve: P(an anomalous score exceeds a normal one), ties half. `None` without both classes.
pub fn auroc(normal: &[f32], anomalous: &[f32]) -> Option<f64> {
    let normal = normal.iter().map(|&score| if score.is_nan() { f32::INFINITY } else { score });
    let anomalous = anomalous.iter().map(|&score| if score.is_nan() { f32::NEG_INFINITY } else { score });
    let wins = wins(normal, anomalous)?;
    Some(wins.above + 0.5 * wins.tied)
}

/// Average precision, scikit-learn's area under the precision-recall curve: sum of precision times the step of recall.
/// `None` without both classes.
pub(crate) fn average_precision(normal: &[f32], anomalous: &[f32]) -> Option<f64> {
    let steps = steps(normal, anomalous)?;
    let mut before = 0;
    Some(
        steps
            .iter()
            .map(|step| {
                let precision = step.caught as f64 / (step.caught + step.passed) as f64;
                let gained = (step.caught - before) as f64 / anomalous.len() as f64;
                before = step.caught;
                gained * precision
            })
            .sum(),
    )
}

/// The best F1 over all thresholds, and the lowest threshold that reaches it. Parts at or above the threshold count as
/// anomalous. It is chosen after the scores were seen, so it is an upper bound of what a fixed threshold can do.
pub(crate) fn f1_max(normal: &[f32], anomalous: &[f32]) -> Option<(f64, f32)> {
    let steps = steps(normal, anomalous)?;
    let f1 = |step: &ThresholdStep| {
        2.0 * step.caught as f64 / (step.caught + step.passed + anomalous.len()) as f64
    };
    steps
        .iter()
        .map(|step| (f1(step), step.threshold))
        .reduce(|best, next| if next.0 >= best.0 { next } else { best })
}

/// The ROC curve, (false-positive rate, true-positive rate) from (0, 0) to (1, 1).
pub(crate) fn roc(normal: &[f32], anomalous: &[f32]) -> Vec<(f64, f64)> {
    let of = |step: ThresholdStep| {
        (step.passed as f64 / normal.len() as f64, step.caught as f64 / anomalous.len() as f64)
    };
    let steps = steps(normal, anomalous).unwrap_or_default();
    std::iter::once((0.0, 0.0)).chain(steps.into_iter().map(of)).collect()
}

/// How many of each class reach a threshold.
struct ThresholdStep {
    threshold: f32,
    passed: usize,
    caught: usize,
}

/// A step for each distinct score, from the highest down. `None` without both classes.
fn steps(normal: &[f32], anomalous: &[f32]) -> Option<Vec<ThresholdStep>> {
    if normal.is_empty() || anomalous.is_empty() {
        return None;
    }
    let normal = normal.iter().map(|&score| (if score.is_nan() { f32::INFINITY } else { score }, false));
    let anomalous =
        anomalous.iter().map(|&score| (if score.is_nan() { f32::NEG_INFINITY } else { score }, true));
    let mut all: Vec<(f32, bool)> = normal.chain(anomalous).collect();
    all.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
    let (mut passed, mut caught) = (0, 0);
    let steps = all.chunk_by(|(a, _), (b, _)| a == b).map(|tied| {
        let defective = tied.iter().filter(|(_, defective)| *defective).count();
        caught += defective;
        passed += tied.len() - defective;
        ThresholdStep { threshold: tied[0].0, passed, caught }
    });
    Some(steps.collect())
}

/// Certified AUC(r) = P( L_r(anomalous) > U_r(normal) ), where ties do not count. It is a lower bound of the worst AUC
/// of the smoothed score when every picture of both classes is attacked within r. A lower bound that does not exist counts as
/// minus infinity, an upper one as plus infinity. It holds at a fixed n; report n and alpha beside the figure.
pub(crate) fn certified_auc(normal_upper: &[Option<f32>], anomalous_lower: &[Option<f32>]) -> Option<f64> {
    let normal = normal_upper.iter().map(|bound| bound.unwrap_or(f32::INFINITY));
    let anomalous = anomalous_lower.iter().map(|bound| bound.unwrap_or(f32::NEG_INFINITY));
    Some(wins(normal, anomalous)?.above)
}

/// Shares of all pairs in which the anomalous score is above the normal one, or equal to it.
struct Wins {
    above: f64,
    tied: f64,
}

fn wins(normal: impl Iterator<Item = f32>, anomalous: impl Iterator<Item = f32>) -> Option<Wins> {
    let mut normal: Vec<f32> = normal.collect();
    normal.sort_unstable_by(f32::total_cmp);
    let (mut above, mut tied, mut count) = (0, 0, 0);
    for score in anomalous {
        let lower = normal.partition_point(|&other| other < score);
        above += lower;
        tied += normal[lower..].partition_point(|&other| other <= score);
        count += 1;
    }
    let pairs = (count * normal.len()) as f64;
    (pairs > 0.0).then(|| Wins { above: above as f64 / pairs, tied: tied as f64 / pairs })
}

impl Bootstrap {
    /// `statistic(normal, anomalous)` over all pictures, and its interval. For the interval, parts are drawn with
    /// replacement within each class; an inner list holds the pictures of one part. `None` if the statistic has no value.
    pub(crate) fn estimate<T: Copy>(
        &self,
        normal: &[Vec<T>],
        anomalous: &[Vec<T>],
        statistic: impl Fn(&[T], &[T]) -> Option<f64>,
    ) -> Option<Estimate> {
        let value = statistic(&normal.concat(), &anomalous.concat())?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut replicates: Vec<f64> = (0..self.replicates)
            .filter_map(|_| {
                let normal = resample(normal, &mut rng);
                let anomalous = resample(anomalous, &mut rng);
                statistic(&normal, &anomalous)
            })
            .collect();
        replicates.sort_unstable_by(f64::total_cmp);
        let outside = 0.5 * (1.0 - self.confidence);
        Some(Estimate {
            value,
            lower: percentile(&replicates, outside)?,
            upper: percentile(&replicates, 1.0 - outside)?,
        })
    }
}

/// Draws parts with replacement, as many as there are, each with all its pictures.
fn resample<T: Copy>(parts: &[Vec<T>], rng: &mut ChaCha8Rng) -> Vec<T> {
    (0..parts.len()).flat_map(|_| parts[rng.random_range(0..parts.len())].iter().copied()).collect()
}

/// Linear between the two neighbouring order statistics (numpy's default).
fn percentile(ascending: &[f64], share: f64) -> Option<f64> {
    let place = share * ascending.len().checked_sub(1)? as f64;
    let (lower, upper) = (ascending[place.floor() as usize], ascending[place.ceil() as usize]);
    Some(lower + place.fract() * (upper - lower))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct ScoreVectors {
        auroc: Vec<ScoreCase>,
        bootstrap: Interval,
    }

    #[derive(Deserialize)]
    struct ScoreCase {
        normal: Vec<f32>,
        anomalous: Vec<f32>,
        auroc: f64,
        average_precision: f64,
        f1_max: f64,
        f1_threshold: f32,
    }

    #[derive(Deserialize)]
    struct Interval {
        normal: Vec<Vec<f32>>,
        anomalous: Vec<Vec<f32>>,
        auroc: f64,
        interval: [f64; 2],
    }

    fn golden() -> ScoreVectors {
        serde_json::from_str(include_str!("../../tests/golden/evaluation.json")).unwrap()
    }

    const BOOTSTRAP: Bootstrap = Bootstrap { replicates: 4000, confidence: 0.95, seed: 5 };

    #[test]
    fn figures_of_pictures_are_scikit_learn_s() {
        for case in golden().auroc {
            let found = auroc(&case.normal, &case.anomalous).unwrap();
            assert!((found - case.auroc).abs() < 1e-9, "{found} instead of {}", case.auroc);
            let found = average_precision(&case.normal, &case.anomalous).unwrap();
            assert!((found - case.average_precision).abs() < 1e-9, "{found}, {}", case.average_precision);
            let (found, threshold) = f1_max(&case.normal, &case.anomalous).unwrap();
            assert!((found - case.f1_max).abs() < 1e-9, "{found} instead of {}", case.f1_max);
            assert_eq!(threshold, case.f1_threshold);
        }
    }

    #[test]
    fn of_two_thresholds_as_good_as_each_other_the_lower_one_is_told() {
        assert_eq!(f1_max(&[2.0, 3.0], &[4.0, 1.0]), Some((2.0 / 3.0, 1.0)));
    }

    #[test]
    fn the_roc_curve_has_the_area_of_the_auroc() {
        for case in golden().auroc {
            let curve = roc(&case.normal, &case.anomalous);
            let area: f64 = curve.windows(2).map(|w| (w[1].0 - w[0].0) * 0.5 * (w[0].1 + w[1].1)).sum();
            assert!((area - case.auroc).abs() < 1e-9, "{area} instead of {}", case.auroc);
            assert_eq!((curve[0], curve[curve.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
        }
        assert_eq!(roc(&[], &[1.0]), [(0.0, 0.0)]);
    }

    #[test]
    fn a_score_that_is_no_number_counts_against_the_detector() {
        assert_eq!(auroc(&[0.0, f32::NAN], &[1.0]), Some(0.5));
        assert_eq!(auroc(&[0.0], &[1.0, f32::NAN]), Some(0.5));
        assert_eq!(auroc(&[], &[1.0]), None);
        assert_eq!(auroc(&[1.0], &[]), None);
    }

    #[test]
    fn certified_auc_loses_ties_and_bounds_that_do_not_exist() {
        let normal = [Some(1.0), Some(2.0)];
        assert_eq!(certified_auc(&normal, &[Some(2.0)]), Some(0.5));
        assert_eq!(certified_auc(&normal, &[Some(3.0), None]), Some(0.5));
        assert_eq!(certified_auc(&[Some(1.0), None], &[Some(3.0)]), Some(0.5));
        assert_eq!(certified_auc(&[None], &[None]), Some(0.0));
        assert_eq!(certified_auc(&[], &[Some(1.0)]), None);
    }

    #[test]
    fn the_interval_over_parts_is_numpy_s_and_wider_than_over_pictures() {
        let golden = golden().bootstrap;
        let found = BOOTSTRAP.estimate(&golden.normal, &golden.anomalous, auroc).unwrap();
        assert!((found.value - golden.auroc).abs() < 1e-9);
        // the noise of 4,000 replicates in a 2.5 % point of this spread
        assert!((found.lower - golden.interval[0]).abs() < 0.012, "{found:?}");
        assert!((found.upper - golden.interval[1]).abs() < 0.012, "{found:?}");

        let pictures = |parts: &[Vec<f32>]| parts.concat().into_iter().map(|s| vec![s]).collect::<Vec<_>>();
        let narrow =
            BOOTSTRAP.estimate(&pictures(&golden.normal), &pictures(&golden.anomalous), auroc).unwrap();
        assert!(narrow.upper - narrow.lower < 0.8 * (found.upper - found.lower), "{narrow:?}");
    }

    #[test]
    fn an_interval_repeats_with_its_seed_and_has_no_width_without_variation() {
        let Interval { normal, anomalous, .. } = golden().bootstrap;
        let at = |seed| Bootstrap { replicates: 50, seed, ..BOOTSTRAP }.estimate(&normal, &anomalous, auroc);
        assert_eq!(at(1), at(1));
        assert_ne!(at(1), at(2));
        let flat = BOOTSTRAP.estimate(&[vec![0.0_f32]], &[vec![1.0]], auroc).unwrap();
        assert_eq!((flat.lower, flat.value, flat.upper), (1.0, 1.0, 1.0));
        assert_eq!(BOOTSTRAP.estimate(&[], &[vec![1.0_f32]], auroc), None);
    }
}
