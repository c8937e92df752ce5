//! The report of a calibration: the scores of its parts, for people and for programs.
//!
//! The guarantee comes from the way the threshold is made. The counts here are measured on the same parts that made the
//! threshold, so they look slightly better than new parts would.
//! Leaves out: writing the bundle.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::CalibrateArgs;
use super::measure::ScoredPart;
use crate::bundle::Bundle;
use crate::calibration::conformal::Threshold;
use crate::cli::output::print_line;
use crate::cli::rounded_down;
use crate::plot::{Marker, Sample, histogram};
use crate::smoothing::{RuleSettings, Side};

/// Failure probability of a certificate: the default of a station.
const ALPHA: f64 = RuleSettings::USUAL_ALPHA;
/// How many of the highest parts are named: a defect that slipped in is likely to be among them.
const NAMED: usize = 5;

/// A finished calibration.
pub(super) struct CalibrationReport<'a> {
    pub(super) args: &'a CalibrateArgs,
    pub(super) bundle: &'a Bundle,
    pub(super) threshold: Threshold,
    /// The highest bound first.
    pub(super) parts: &'a [ScoredPart],
    pub(super) radius: f64,
    /// The sizes of the pictures, where the user allowed several.
    pub(super) mixed_sizes: Option<String>,
    /// Why the threshold is not to be believed.
    pub(super) doubts: &'a [String],
    /// The scores of good parts into which a gross change was drawn.
    pub(super) planted: &'a [f32],
}

impl CalibrationReport<'_> {
    /// A chart of the smoothed scores and of the bounds that the threshold was made from, with the threshold.
    pub(super) fn picture(&self) -> String {
        let smoothed: Vec<f32> = self.parts.iter().map(ScoredPart::smoothed).collect();
        let bounds: Vec<f32> = self.parts.iter().map(|part| part.bound).collect();
        let bounds_are = format!("upper bounds at radius {:.4}", rounded_down(self.radius));
        let samples = [
            Sample { name: "smoothed scores", values: &smoothed },
            Sample { name: &bounds_are, values: &bounds },
        ];
        let threshold = Marker { at: f64::from(self.threshold.value), name: "threshold" };
        histogram("score of normal parts", "parts", &samples, Some(threshold))
    }

    /// The scores behind the picture. A score that is not a number is null.
    pub(super) fn json(&self) -> Value {
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|part| {
                json!({
                    "picture": part.name,
                    "score": part.smoothed(),
                    "bound": part.bound,
                    "empirical_score": part.empirical,
                    "verdict": self.verdict(part),
                })
            })
            .collect();
        json!({
            "threshold": self.threshold.value,
            "threshold_is_bound_of": self.deciding().name,
            "radius": self.radius,
            "sigma": self.bundle.level.sigma(),
            "draws": self.bundle.manifest.detector.draws,
            "alpha": ALPHA,
            "seed": self.args.seed,
            "doubts": self.doubts,
            "planted_scores": self.planted,
            "parts": parts,
        })
    }

    pub(super) fn print(&self, parts: &str, took: Duration) {
        let Threshold { value, frames, rank, realised: [low, high] } = self.threshold;
        let sigma = self.bundle.level.sigma();
        print_line!("{parts}");
        if let Some(sizes) = &self.mixed_sizes {
            print_line!("--mixed-sizes: {sizes}; the bundle checks the size of no frame");
        }
        for doubt in self.doubts {
            print_line!("NOT BELIEVABLE: {doubt}");
        }
        print_line!(
            "threshold {value:.4} from {frames} parts, the bound of {} ({} above it)",
            self.deciding().name,
            frames - rank
        );
        print_line!(
            "of good parts at most {:.2} % are called anomalous, over calibrations like this one; this one may have {:.2} % to {:.2} % above its threshold (90 %)",
            100.0 * (self.args.false_alarm_rate + self.args.beta + ALPHA),
            100.0 * low,
            100.0 * high
        );
        let count = |verdict| self.parts.iter().filter(|part| self.verdict(part) == verdict).count();
        let (normal, abstain, anomalous) = (count(NORMAL), count(ABSTAIN), count(ANOMALOUS));
        print_line!(
            "at radius {:.4} (sigma {sigma:.4}) {normal} of these parts are certified normal, {anomalous} anomalous, {abstain} abstain: {:.1} % abstain, measured at {} draws and alpha {ALPHA}",
            rounded_down(self.radius),
            100.0 * abstain as f64 / frames as f64,
            self.bundle.manifest.detector.draws
        );
        print_line!("highest scores; look at these parts: a defect among them makes the threshold too high");
        for part in &self.parts[..frames.min(NAMED)] {
            print_line!(
                "  {:<40} score {:>8.4}  bound {:>8.4}  {}",
                part.name,
                part.smoothed(),
                part.bound,
                self.verdict(part)
            );
        }
        print_line!("took {:.0} s", took.as_secs_f64());
    }

    /// The part whose bound is the threshold.
    fn deciding(&self) -> &ScoredPart {
        &self.parts[self.threshold.frames - self.threshold.rank]
    }

    /// The verdict of a station that asks for this radius and makes as many draws.
    fn verdict(&self, part: &ScoredPart) -> &'static str {
        let certificate = part.run.certificate(self.threshold.value);
        match certificate.side {
            Some(side) if certificate.radius >= self.radius => match side {
                Side::Normal => NORMAL,
                Side::Anomalous => ANOMALOUS,
            },
            _ => ABSTAIN,
        }
    }
}

const NORMAL: &str = "normal";
const ANOMALOUS: &str = "anomalous";
const ABSTAIN: &str = "abstain";
