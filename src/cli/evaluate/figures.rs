//! Computes the figures of the report from the scores. Field names are those of `report.json`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::Failure;
use super::json;
use super::measure::{MeasuredCategory, ScoredPicture};
use crate::bundle::Bundle;
use crate::evaluation::au_pro::PixelFigures;
use crate::evaluation::layout::LeftOut;
use crate::evaluation::{Bootstrap, Estimate, auroc, average_precision, certified_auc, f1_max};
use crate::score::CertifiedScore;
use crate::smoothing::fixed::draws_for_rank;
use crate::smoothing::{FixedDesign, FixedRun, Side};

pub(super) const BOOTSTRAP: Bootstrap = Bootstrap { replicates: 2000, confidence: 0.95, seed: 1 };
/// The row of all defects together.
pub(super) const ALL: &str = "all";
/// How many radii the curve has, including 0 and the largest that can be certified.
const RADII: usize = 25;

/// All figures of one category.
#[derive(Serialize)]
pub(super) struct CategoryReport {
    pub(super) category: String,
    pub(super) bundle: BundleFacts,
    pub(super) draws: u32,
    pub(super) alpha: f64,
    pub(super) seed: u64,
    pub(super) normal: usize,
    pub(super) defective: usize,
    pub(super) normal_parts: usize,
    pub(super) defective_parts: usize,
    /// By kind of defect, and for [`ALL`].
    pub(super) image: BTreeMap<String, KindFigures>,
    pub(super) pixel: Option<PixelReport>,
    /// Why there are no pixel figures, where there are none.
    pub(super) no_pixel_figures: Option<String>,
    /// The radius whose RMS is that of the paper's 0.2 at 256x256x3.
    pub(super) reference_radius: f64,
    pub(super) certified_auc: Vec<AtRadius>,
    pub(super) verdicts: Option<VerdictShares>,
    /// Time in the detector for each picture; `None` if all scores were reused.
    pub(super) ms_per_picture: Option<f64>,
    pub(super) resumed: usize,
    #[serde(serialize_with = "json::left_out")]
    pub(super) left_out: Vec<LeftOut>,
    /// How many of those left out are not of the kind of the calibration pictures: a station abstains.
    pub(super) outside_range: usize,
    pub(super) pictures: Vec<PictureFacts>,
}

/// What was measured.
#[derive(Serialize)]
pub(super) struct BundleFacts {
    pub(super) label: String,
    pub(super) sha256: String,
    pub(super) model_sha256: String,
    pub(super) input: [usize; 3],
    pub(super) k: usize,
    pub(super) sigma: f64,
    pub(super) threshold: Option<f32>,
    /// The radius at which the threshold was calibrated.
    pub(super) calibrated_radius: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct KindFigures {
    pub(super) pictures: usize,
    pub(super) certified: ScoreFigures,
    pub(super) empirical: ScoreFigures,
}

#[derive(Serialize)]
pub(super) struct ScoreFigures {
    #[serde(serialize_with = "json::estimate")]
    pub(super) auroc: Option<Estimate>,
    #[serde(serialize_with = "json::estimate")]
    pub(super) aupr: Option<Estimate>,
    #[serde(serialize_with = "json::estimate")]
    pub(super) f1_max: Option<Estimate>,
    pub(super) f1_threshold: Option<f32>,
}

#[derive(Serialize)]
pub(super) struct PixelReport {
    #[serde(flatten, serialize_with = "json::pixel_figures")]
    pub(super) figures: PixelFigures,
    /// Height and width at which maps and masks were compared: the model input's.
    pub(super) resolution: [usize; 2],
    /// Defective pictures whose masks took part.
    pub(super) masks: usize,
    /// Defective pictures that have no mask, or one that cannot be used. Each is in `left_out`.
    pub(super) masks_unusable: usize,
}

#[derive(Serialize)]
pub(super) struct AtRadius {
    pub(super) radius: f64,
    /// Root mean square per value of a change of that norm.
    pub(super) rms_grey_levels: f64,
    /// With fewer draws there is no bound at this radius, and the certified AUC is 0.
    pub(super) draws_needed: Option<u32>,
    #[serde(flatten, serialize_with = "json::estimate")]
    pub(super) auc: Option<Estimate>,
}

/// Shares of verdicts by the certificates at the bundle's threshold and radius 0, with a fixed number of draws.
#[derive(Serialize)]
pub(super) struct VerdictShares {
    pub(super) false_alarms: f64,
    pub(super) normal_abstained: f64,
    pub(super) misses: f64,
    pub(super) defective_abstained: f64,
    /// Share of normal parts that are certified as normal at the radius of the calibration.
    pub(super) normal_certified_at_calibrated_radius: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct PictureFacts {
    picture: String,
    sha256: String,
    kind: String,
    part: usize,
    certified: Option<f32>,
    empirical: Option<f32>,
    /// Certified at the bundle's threshold: `normal`, `anomalous` or `abstain`.
    verdict: Option<&'static str>,
}

/// The root mean square of a change of this norm over `values` values, in grey levels.
pub(super) fn grey_levels(radius: f64, values: usize) -> f64 {
    255.0 * radius / (values as f64).sqrt()
}

/// Figures of one category. It has normal and defective pictures.
pub(super) fn figures(
    measured: &MeasuredCategory,
    bundle: &Bundle,
    draws: u32,
    alpha: f64,
    seed: u64,
) -> Result<CategoryReport, Failure> {
    let design = FixedDesign::new(draws, alpha, bundle.level.sigma()).map_err(Failure::refused)?;
    let input = bundle.manifest.input_shape();
    let values: usize = input.iter().product();
    let runs = runs(measured, design)?;
    let threshold = bundle.calibrated.as_ref().map(|calibrated| calibrated.threshold);
    let calibrated_radius = bundle.manifest.calibration.as_ref().map(|calibration| calibration.radius);
    let sides: Option<Vec<Option<Side>>> =
        threshold.map(|threshold| runs.iter().map(|run| run.certificate(threshold).side).collect());
    let reference_radius = 0.2 / 196_608_f64.sqrt() * (values as f64).sqrt();
    let fresh = measured.pictures.len() - measured.resumed;
    let (normal, defective): (Vec<&ScoredPicture>, Vec<&ScoredPicture>) =
        measured.pictures.iter().partition(|scored| scored.is_normal());
    Ok(CategoryReport {
        category: measured.name.clone(),
        bundle: BundleFacts {
            label: bundle.label(),
            sha256: bundle.sha256.clone(),
            model_sha256: bundle.manifest.model.sha256.clone(),
            input,
            k: bundle.level.k().0,
            sigma: bundle.level.sigma(),
            threshold,
            calibrated_radius,
        },
        draws,
        alpha,
        seed,
        normal: normal.len(),
        defective: defective.len(),
        normal_parts: by_part(&normal, |scored| scored.certified).len(),
        defective_parts: by_part(&defective, |scored| scored.certified).len(),
        image: image(&normal, &defective),
        pixel: measured.pixel.zip(measured.masks).map(|(figures, masks)| PixelReport {
            figures,
            resolution: [input[1], input[2]],
            masks: masks.used,
            masks_unusable: masks.unusable,
        }),
        no_pixel_figures: match (measured.pixel, measured.masks) {
            (Some(_), _) => None,
            (None, None) => {
                Some("the data set has no masks, such as those in a folder ground_truth".to_owned())
            }
            (None, Some(masks)) => Some(format!(
                "{} of {} defective pictures have a mask that can be used; the others are named as left out",
                masks.used,
                masks.used + masks.unusable
            )),
        },
        reference_radius,
        certified_auc: radii(design, reference_radius)
            .into_iter()
            .map(|radius| AtRadius {
                radius,
                rms_grey_levels: grey_levels(radius, values),
                draws_needed: draws_for_rank(radius / bundle.level.sigma(), alpha / 2.0),
                auc: certified_at(measured, &runs, radius),
            })
            .collect(),
        verdicts: threshold
            .zip(sides.as_ref())
            .map(|(threshold, sides)| verdicts(measured, &runs, sides, threshold, calibrated_radius)),
        ms_per_picture: (fresh > 0).then(|| 1e3 * measured.spent.as_secs_f64() / fresh as f64),
        resumed: measured.resumed,
        left_out: measured.left_out.clone(),
        outside_range: measured.outside_range,
        pictures: facts(measured, sides.as_deref()),
    })
}

fn runs(measured: &MeasuredCategory, design: FixedDesign) -> Result<Vec<FixedRun>, Failure> {
    let run = |scored: &ScoredPicture| {
        let scores: Vec<_> = scored.draws.iter().map(|&score| CertifiedScore::stored(score)).collect();
        design.observe(&scores).map_err(Failure::stopped)
    };
    measured.pictures.iter().map(run).collect()
}

/// Radii at even steps from 0 to a little more than can be certified, and the reference radius.
fn radii(design: FixedDesign, reference: f64) -> Vec<f64> {
    let reach = design.radius(design.draws()).unwrap_or(0.0).max(1.25 * reference);
    let mut radii: Vec<f64> = (0..RADII).map(|step| reach * step as f64 / (RADII - 1) as f64).collect();
    radii.push(reference);
    radii.sort_unstable_by(f64::total_cmp);
    radii
}

fn image(normal: &[&ScoredPicture], defective: &[&ScoredPicture]) -> BTreeMap<String, KindFigures> {
    let mut kinds: BTreeMap<String, Vec<&ScoredPicture>> = BTreeMap::new();
    for scored in defective {
        kinds.entry(scored.listed.kind.clone()).or_default().push(scored);
    }
    kinds.insert(ALL.to_owned(), defective.to_vec());
    let of = |kind: &[&ScoredPicture], score: fn(&ScoredPicture) -> f32| {
        let (normal, kind) = (by_part(normal, score), by_part(kind, score));
        let estimate =
            |statistic: fn(&[f32], &[f32]) -> Option<f64>| BOOTSTRAP.estimate(&normal, &kind, statistic);
        ScoreFigures {
            auroc: estimate(auroc),
            aupr: estimate(average_precision),
            f1_max: estimate(|normal, kind| Some(f1_max(normal, kind)?.0)),
            f1_threshold: f1_max(&normal.concat(), &kind.concat()).map(|(_, threshold)| threshold),
        }
    };
    let figures = |kind: Vec<&ScoredPicture>| KindFigures {
        pictures: kind.len(),
        certified: of(&kind, |scored| scored.certified),
        empirical: of(&kind, |scored| scored.empirical),
    };
    kinds.into_iter().map(|(name, kind)| (name, figures(kind))).collect()
}

/// A value of each picture, grouped by part.
fn by_part<T>(pictures: &[&ScoredPicture], value: impl Fn(&ScoredPicture) -> T) -> Vec<Vec<T>> {
    let mut parts: BTreeMap<usize, Vec<T>> = BTreeMap::new();
    for picture in pictures {
        parts.entry(picture.part).or_default().push(value(picture));
    }
    parts.into_values().collect()
}

fn certified_at(measured: &MeasuredCategory, runs: &[FixedRun], radius: f64) -> Option<Estimate> {
    let mut sides: [BTreeMap<usize, Vec<Option<f32>>>; 2] = Default::default();
    for (picture, run) in measured.pictures.iter().zip(runs) {
        let (side, bound) = if picture.is_normal() { (0, run.upper(radius)) } else { (1, run.lower(radius)) };
        sides[side].entry(picture.part).or_default().push(bound);
    }
    let [normal, defective] = sides.map(|parts| parts.into_values().collect::<Vec<_>>());
    BOOTSTRAP.estimate(&normal, &defective, certified_auc)
}

fn verdicts(
    measured: &MeasuredCategory,
    runs: &[FixedRun],
    sides: &[Option<Side>],
    threshold: f32,
    calibrated_radius: Option<f64>,
) -> VerdictShares {
    let share = |normal: bool, holds: &dyn Fn(usize) -> bool| {
        let of: Vec<usize> =
            (0..runs.len()).filter(|&index| measured.pictures[index].is_normal() == normal).collect();
        of.iter().filter(|&&index| holds(index)).count() as f64 / of.len() as f64
    };
    VerdictShares {
        false_alarms: share(true, &|index| sides[index] == Some(Side::Anomalous)),
        normal_abstained: share(true, &|index| sides[index].is_none()),
        misses: share(false, &|index| sides[index] == Some(Side::Normal)),
        defective_abstained: share(false, &|index| sides[index].is_none()),
        normal_certified_at_calibrated_radius: calibrated_radius.map(|radius| {
            share(true, &|index| runs[index].upper(radius).is_some_and(|upper| upper <= threshold))
        }),
    }
}

fn facts(measured: &MeasuredCategory, sides: Option<&[Option<Side>]>) -> Vec<PictureFacts> {
    let number = |score: f32| Some(score).filter(|score| score.is_finite());
    let word = |side: Option<Side>| match side {
        Some(Side::Normal) => "normal",
        Some(Side::Anomalous) => "anomalous",
        None => "abstain",
    };
    let fact = |(index, scored): (usize, &ScoredPicture)| PictureFacts {
        picture: scored.listed.name.clone(),
        sha256: scored.key.picture.clone(),
        kind: scored.listed.kind.clone(),
        part: scored.part,
        certified: number(scored.certified),
        empirical: number(scored.empirical),
        verdict: sides.map(|sides| word(sides[index])),
    };
    measured.pictures.iter().enumerate().map(fact).collect()
}

/// The figures of a category that are averaged over categories.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CategoryRow {
    pub(super) category: String,
    pub(super) certified_auroc: Option<f64>,
    pub(super) empirical_auroc: Option<f64>,
    pub(super) certified_aupr: Option<f64>,
    pub(super) certified_f1_max: Option<f64>,
    pub(super) pixel_auroc: Option<f64>,
    pub(super) au_pro: Option<f64>,
    /// At the reference radius.
    pub(super) certified_auc: Option<f64>,
}

/// The row of each category, and their mean.
pub(super) fn rows(categories: &[CategoryReport]) -> Vec<CategoryRow> {
    let value = |estimate: Option<Estimate>| estimate.map(|estimate| estimate.value);
    let row = |category: &CategoryReport| {
        let KindFigures { certified, empirical, .. } = &category.image[ALL];
        let reference = category.certified_auc.iter().find(|at| at.radius == category.reference_radius);
        CategoryRow {
            category: category.category.clone(),
            certified_auroc: value(certified.auroc),
            empirical_auroc: value(empirical.auroc),
            certified_aupr: value(certified.aupr),
            certified_f1_max: value(certified.f1_max),
            pixel_auroc: category.pixel.as_ref().map(|pixel| pixel.figures.auroc),
            au_pro: category.pixel.as_ref().map(|pixel| pixel.figures.au_pro),
            certified_auc: reference.and_then(|at| value(at.auc)),
        }
    };
    let mut rows: Vec<CategoryRow> = categories.iter().map(row).collect();
    let mean = |of: fn(&CategoryRow) -> Option<f64>| {
        let values: Vec<f64> = rows.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let mean = CategoryRow {
        category: "mean".to_owned(),
        certified_auroc: mean(|row| row.certified_auroc),
        empirical_auroc: mean(|row| row.empirical_auroc),
        certified_aupr: mean(|row| row.certified_aupr),
        certified_f1_max: mean(|row| row.certified_f1_max),
        pixel_auroc: mean(|row| row.pixel_auroc),
        au_pro: mean(|row| row.au_pro),
        certified_auc: mean(|row| row.certified_auc),
    };
    rows.push(mean);
    rows
}
