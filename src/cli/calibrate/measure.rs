//! The scores of normal parts: those that make the training maps, and those that make the threshold.

use anyhow::{Context, anyhow};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use super::super::{Failure, progress_bar};
use super::parts::NormalPart;
use crate::calibration::conformal::ThresholdRule;
use crate::calibration::maps::MapAccumulator;
use crate::detector::Detector;
use crate::diffusion::seed::FrameSeed;
use crate::preprocess::Input;
use crate::score::TrainingMaps;
use crate::smoothing::{FixedDesign, FixedRun};

/// How many draws of each picture go into the maps. A few are enough, because the maps average over the pictures.
const MAP_DRAWS: u32 = 8;
/// The maps of the certified and of the empirical score, of each kind that the model gives.
pub(super) fn make_maps(
    detector: &mut Detector,
    inputs: &[Input],
    rng: &mut ChaCha20Rng,
) -> Result<(TrainingMaps, TrainingMaps), Failure> {
    let (mut certified, mut empirical) = (MapAccumulator::default(), MapAccumulator::default());
    let bar = progress_bar(inputs.len() as u64, "training maps");
    for input in inputs {
        let seed = FrameSeed(rng.random());
        let pairs = detector.draws(input, seed).next(MAP_DRAWS).map_err(Failure::stopped)?;
        for pair in &pairs {
            certified.add(&detector.certified_maps(pair));
        }
        empirical.add(&detector.empirical_maps(input, &pairs));
        bar.inc(1);
    }
    bar.finish();
    certified.maps().zip(empirical.maps()).ok_or_else(|| {
        Failure::refused(anyhow!("training maps: one of the maps does not vary over the normal pictures, or is not a number; pictures of different parts and a sound model are needed"))
    })
}

/// A part that is used for the threshold, with its scores.
pub(super) struct ScoredPart {
    pub(super) name: String,
    pub(super) bound: f32,
    pub(super) empirical: f32,
    pub(super) run: FixedRun,
}

impl ScoredPart {
    /// The median over the draws; NaN where no draw gave a number.
    pub(super) fn smoothed(&self) -> f32 {
        self.run.median().unwrap_or(f32::NAN)
    }
}

/// Scores the parts and sorts them, the highest bound first.
pub(super) fn score_parts(
    detector: &mut Detector,
    parts: &[NormalPart],
    design: FixedDesign,
    rule: &ThresholdRule,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<ScoredPart>, Failure> {
    let mut scored = Vec::with_capacity(parts.len());
    let bar = progress_bar(parts.len() as u64, "threshold");
    for NormalPart { name, input } in parts {
        let seed = FrameSeed(rng.random());
        let pairs = detector
            .draws(input, seed)
            .next(design.draws())
            .with_context(|| name.clone())
            .map_err(Failure::Stopped)?;
        let scores: Vec<_> = pairs.iter().map(|pair| detector.certified(pair)).collect();
        let lost = scores.iter().filter(|score| score.value().is_nan()).count();
        if lost > 0 {
            bar.suspend(|| {
                tracing::warn!("{name}: {lost} draws gave no number and count as infinitely anomalous");
            });
        }
        scored.push(ScoredPart {
            name: name.clone(),
            bound: rule.bound(&scores).map_err(Failure::refused)?,
            empirical: detector.empirical(input, &pairs).value(),
            run: design.observe(&scores).map_err(Failure::refused)?,
        });
        bar.inc(1);
    }
    bar.finish();
    scored.sort_by(|one, other| other.bound.total_cmp(&one.bound));
    Ok(scored)
}

/// The standard deviation of the scores that are numbers. Refused if they do not vary, because then no threshold could
/// separate anything.
pub(super) fn deviation(parts: &[ScoredPart], score: impl Fn(&ScoredPart) -> f32) -> Result<f64, Failure> {
    let finite: Vec<f64> = parts.iter().map(score).filter(|v| v.is_finite()).map(f64::from).collect();
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    let deviation =
        (finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (finite.len() as f64 - 1.0)).sqrt();
    if deviation > 0.0 {
        return Ok(deviation);
    }
    Err(Failure::refused(anyhow!(
        "scores: those of the normal parts are all the same or not numbers; pictures of different parts and a sound model are needed"
    )))
}
