//! `bundle.toml`: the description of a bundle.
//!
//! The Python exporter writes it; only `certiscope calibrate` writes [`CalibrationSection`].
//! Guarantees: a [`Manifest`] that was read has only known keys, and values in their ranges. All problems are reported
//! at once.
//! Leaves out: the other files of the bundle (`folder`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::BundleError;
use crate::picture_range::{Extremes, PictureRange};
use crate::score::ScoreParameters;

/// The format this program reads and writes.
pub(crate) const FORMAT: u32 = 1;

/// The least value of white in 16-bit pictures: that of 8 bits.
pub(crate) const LEAST_FULL_SCALE: u16 = 255;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub name: String,
    /// Counts calibrations: each writes a new bundle with the next version.
    pub version: u32,
    pub model: ModelSection,
    pub input: InputSection,
    pub schedule: ScheduleSection,
    pub detector: DetectorSection,
    pub score: ScoreSection,
    pub golden: GoldenSection,
    /// For people; no program reads it.
    pub provenance: toml::Table,
    pub calibration: Option<CalibrationSection>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    pub file: String,
    pub sha256: String,
    /// How the weights are stored; they are computed in fp32 either way.
    pub storage: Storage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    Fp32,
    Fp16,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSection {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// The range of the model input. This program knows \[0, 1\] only.
    pub range: [f32; 2],
    /// The value of white in 16-bit pictures; without it 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_scale: Option<u16>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSection {
    pub kind: ScheduleKind,
    pub steps: usize,
    pub beta_first: f64,
    pub beta_last: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    Linear,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorSection {
    pub k: usize,
    /// Certification noise, standard deviation in \[0,1\] units.
    pub sigma: f64,
    /// Draws per picture, n, in calibration and evaluation.
    pub draws: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreSection {
    pub scales: Vec<usize>,
    pub filter_px: usize,
    pub top_pixels: usize,
    /// Share of the defect map in the score; 0 in the bundles of models without a defect head.
    #[serde(default)]
    pub head_weight: f32,
    /// Share of the feature map in the score; 0 in the bundles of models without a bank of features. Not written where
    /// it is 0, so that older programs can read those bundles.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub feature_weight: f32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(weight: &f32) -> bool {
    *weight == 0.0
}

impl From<ScoreSection> for ScoreParameters {
    fn from(score: ScoreSection) -> Self {
        let ScoreSection { scales, filter_px, top_pixels, head_weight, feature_weight } = score;
        Self { scales, filter_px, top_pixels, head_weight, feature_weight }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenSection {
    pub file: String,
    pub sha256: String,
    /// Standard deviation of the raw certified score over held-back normal frames.
    pub raw_spread: f64,
    /// The allowed difference for each precision of the computation, as a share of the spread, or of the score where that
    /// is larger.
    pub tolerance: BTreeMap<String, f64>,
}

/// The results of `certiscope calibrate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationSection {
    pub maps: String,
    pub maps_sha256: String,
    /// Threshold on the certified score.
    pub threshold: f32,
    /// Radius (model input, \[0,1\] units) at which a normal frame shall be certifiable as normal; 0 bounds
    /// false alarms only.
    pub radius: f64,
    pub false_alarm_rate: f64,
    /// Failure probability of the order-statistic bound of one frame.
    pub beta: f64,
    /// Draws per frame, fixed beforehand.
    pub draws: u32,
    /// How many parts (groups of near-duplicate frames) the maps and the threshold were made from.
    pub maps_groups: usize,
    pub threshold_groups: usize,
    /// Central 90 % interval of the false-alarm rate that a calibration with so many parts really has.
    pub realised_rate: [f64; 2],
    /// Standard deviation of the smoothed scores of the threshold frames.
    pub score_spread: f64,
    /// The same standard deviation for the empirical score.
    pub empirical_spread: f64,
    pub calibrated_at: String,
    pub onnxruntime: String,
    /// Format and size of the threshold's pictures, if a camera took them. A station whose camera gives others is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraFormat>,
    /// The range of all pictures of the calibration. A frame outside of it is not inspected. Bundles of older programs have
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<PicturesSection>,
}

/// The lowest and the highest values of the calibration pictures, at the model input in \[0,1\] units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PicturesSection {
    /// Size of every picture; missing if there were several sizes and the user insisted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// 1 (grey) or 3 (RGB).
    pub channels: u32,
    /// 8 or 16 bits a sample.
    pub bits: u32,
    pub mean: [f64; 2],
    /// Standard deviation.
    pub contrast: [f64; 2],
    /// Root mean square of the differences of neighbouring pixels.
    pub sharpness: [f64; 2],
    /// Mean minus median, in standard deviations.
    pub asymmetry: [f64; 2],
}

impl From<PictureRange> for PicturesSection {
    fn from(range: PictureRange) -> Self {
        let PictureRange { size, channels, bits, mean, contrast, sharpness, asymmetry } = range;
        let pair = |Extremes { lowest, highest }| [lowest, highest];
        Self {
            width: size.map(|[width, _]| width),
            height: size.map(|[_, height]| height),
            channels,
            bits,
            mean: pair(mean),
            contrast: pair(contrast),
            sharpness: pair(sharpness),
            asymmetry: pair(asymmetry),
        }
    }
}

impl From<&PicturesSection> for PictureRange {
    fn from(section: &PicturesSection) -> Self {
        let extremes = |[lowest, highest]: [f64; 2]| Extremes { lowest, highest };
        Self {
            size: section.width.zip(section.height).map(|(width, height)| [width, height]),
            channels: section.channels,
            bits: section.bits,
            mean: extremes(section.mean),
            contrast: extremes(section.contrast),
            sharpness: extremes(section.sharpness),
            asymmetry: extremes(section.asymmetry),
        }
    }
}

impl PicturesSection {
    /// A message for each value that no picture has.
    fn problems(&self) -> Vec<String> {
        let Self { width, height, channels, bits, mean, contrast, sharpness, asymmetry } = self;
        let mut problems = Vec::new();
        if width.is_some() != height.is_some() || [width, height].into_iter().flatten().any(|side| *side == 0)
        {
            problems.push(
                "calibration.pictures: width and height above 0, or neither, are needed; calibrate again"
                    .to_owned(),
            );
        }
        if !matches!(channels, 1 | 3) {
            problems
                .push(format!("calibration.pictures.channels = {channels}: 1 (grey) or 3 (RGB) are allowed"));
        }
        if !matches!(bits, 8 | 16) {
            problems.push(format!("calibration.pictures.bits = {bits}: 8 or 16 are allowed"));
        }
        let ranges = [
            ("mean", mean, 0.0),
            ("contrast", contrast, 0.0),
            ("sharpness", sharpness, 0.0),
            ("asymmetry", asymmetry, -1.0),
        ];
        for (name, [lowest, highest], least) in ranges {
            // Written so that a value that is not a number is refused too.
            if !(least <= *lowest && lowest <= highest && *highest <= 1.0) {
                problems.push(format!(
                    "calibration.pictures.{name} = [{lowest}, {highest}]: the lowest and the highest value, within {least} to 1, are needed; calibrate again"
                ));
            }
        }
        problems
    }
}

/// The size and format of a camera's pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraFormat {
    /// The four characters of V4L2, such as `MJPG`.
    pub format: String,
    pub width: u32,
    pub height: u32,
}

impl fmt::Display for CameraFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{}", self.format, self.width, self.height)
    }
}

impl Manifest {
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| BundleError::File { path: path.to_path_buf(), why: e.to_string() })?;
        Self::parse(path, &text)
    }

    /// The manifest of a file with this text; `path` is what errors call it.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, BundleError> {
        let refused = |problem: String| BundleError::Manifest { path: path.to_path_buf(), problem };
        let manifest: Self = toml::from_str(text).map_err(|e| refused(e.to_string()))?;
        let problems = manifest.problems();
        if problems.is_empty() { Ok(manifest) } else { Err(refused(problems.join("\n"))) }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), BundleError> {
        std::fs::write(path, self.text())
            .map_err(|e| BundleError::Write { path: path.to_path_buf(), why: e.to_string() })
    }

    pub(super) fn text(&self) -> String {
        toml::to_string(self).expect("a manifest is plain tables and values")
    }

    /// \[C, H, W\].
    pub fn input_shape(&self) -> [usize; 3] {
        [self.input.channels, self.input.height, self.input.width]
    }

    /// A message for each value that is out of its range.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unless = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        unless(
            self.format == FORMAT,
            format!("format = {}: unknown to this version; {FORMAT} is allowed", self.format),
        );
        for file in
            [Some(&self.model.file), Some(&self.golden.file), self.calibration.as_ref().map(|c| &c.maps)]
                .into_iter()
                .flatten()
        {
            unless(
                Path::new(file).components().count() == 1 && !file.is_empty() && file != "..",
                format!("file = {file:?}: not a plain file name; a file beside bundle.toml is needed"),
            );
        }
        let InputSection { channels, height, width, range, full_scale } = self.input;
        unless(
            matches!(channels, 1 | 3),
            format!("input.channels = {channels}: 1 (grey) or 3 (RGB) are allowed"),
        );
        unless(
            [height, width].iter().all(|side| (8..=2048).contains(side)),
            format!("input: {width}x{height} pixels: 8 to 2048 a side are allowed"),
        );
        unless(range == [0.0, 1.0], format!("input.range = {range:?}: only [0.0, 1.0] is allowed"));
        unless(
            full_scale.is_none_or(|white| white >= LEAST_FULL_SCALE),
            format!(
                "input.full_scale = {}: the value of white in 16-bit pictures, {LEAST_FULL_SCALE} to 65535, is needed",
                full_scale.unwrap_or_default()
            ),
        );
        let steps = self.schedule.steps;
        unless((1..=100_000).contains(&steps), format!("schedule.steps = {steps}: 1 to 100000 are allowed"));
        unless(self.detector.draws > 0, "detector.draws = 0: at least 1 is needed".to_owned());
        unless(!self.score.scales.is_empty(), "score.scales = []: at least one is needed".to_owned());
        for &scale in &self.score.scales {
            unless(
                scale > 0 && height % scale == 0 && width % scale == 0,
                format!(
                    "score.scales: {scale} does not divide {width}x{height}; block sizes that divide both sides are needed"
                ),
            );
        }
        let (filter, top) = (self.score.filter_px, self.score.top_pixels);
        unless(
            filter % 2 == 1 && filter <= height.min(width),
            format!("score.filter_px = {filter}: an odd number up to the input's side is allowed"),
        );
        unless(
            (1..=height * width).contains(&top),
            format!("score.top_pixels = {top}: 1 to {} are allowed", height * width),
        );
        let head_weight = self.score.head_weight;
        unless(
            (0.0..=1.0).contains(&head_weight),
            format!(
                "score.head_weight = {head_weight}: 0 (residual alone) to 1 (defect map alone) are allowed"
            ),
        );
        let feature_weight = self.score.feature_weight;
        unless(
            (0.0..=1.0).contains(&feature_weight),
            format!("score.feature_weight = {feature_weight}: 0 (none) to 1 (feature map alone) are allowed"),
        );
        unless(
            // Each is refused above if it is not a number or too large alone.
            !(head_weight <= 1.0 && feature_weight <= 1.0 && head_weight + feature_weight > 1.0),
            format!(
                "score: head_weight = {head_weight} and feature_weight = {feature_weight}: more than the whole score; a sum of at most 1 is allowed"
            ),
        );
        unless(
            self.golden.raw_spread.is_finite() && self.golden.raw_spread > 0.0,
            format!("golden.raw_spread = {}: a positive number is needed", self.golden.raw_spread),
        );
        unless(
            self.golden.tolerance.get("fp32").is_some_and(|t| *t > 0.0 && *t <= 1.0),
            "golden.tolerance.fp32: a fraction of the spread in (0, 1] is needed".to_owned(),
        );
        if let Some(calibration) = &self.calibration {
            let CalibrationSection { threshold, score_spread, empirical_spread, .. } = calibration;
            unless(
                threshold.is_finite(),
                format!("calibration.threshold = {threshold}: a finite number is needed; calibrate again"),
            );
            unless(
                [score_spread, empirical_spread].iter().all(|s| s.is_finite() && **s > 0.0),
                "calibration: the spreads must be positive numbers; calibrate again".to_owned(),
            );
            problems.extend(calibration.pictures.iter().flat_map(PicturesSection::problems));
        }
        problems
    }
}
