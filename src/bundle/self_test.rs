//! The self-test of a model: does it give the golden vectors the scores that it gave when it was exported?
//!
//! Guarantees: every stored score is recomputed by the functions that inspection uses. A NaN, a model with other
//! weights, maps of another bundle, and a runtime that computes something else are refused.

use ndarray::Array2;

use super::error::BundleError;
use super::folder::Bundle;
use super::golden::{GoldenScores, GoldenVectors};
use crate::diffusion::denoiser::{Denoiser, DenoiserError};
use crate::diffusion::noise::NoisyDraw;
use crate::diffusion::reconstruct::{Reconstruction, reconstruct};
use crate::preprocess::Input;
use crate::score::{self, ScoreParameters, TrainingMaps};

/// The largest difference found, as a share of the spread of normal scores, or of the score where that is larger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfTest {
    pub worst: f64,
    pub tolerance: f64,
}

/// The golden inputs with the reconstructions of their draws.
pub struct GoldenRun(Vec<(Input, Vec<Reconstruction>)>);

/// Runs the golden draws through the model.
pub(crate) fn run(bundle: &Bundle, denoiser: &mut dyn Denoiser) -> Result<GoldenRun, DenoiserError> {
    let GoldenVectors { input, noise, inner_noise, .. } = &bundle.golden;
    let noises = noise.outer_iter().zip(inner_noise.outer_iter());
    let reconstructed = input.outer_iter().zip(noises).map(|(values, (noise, inner_noise))| {
        let input = Input::from_unit_range(values.mapv(|v| v.clamp(0.0, 1.0)))
            .expect("golden inputs were found finite when they were read");
        let draws = noise
            .outer_iter()
            .zip(inner_noise.outer_iter())
            .map(|(noise, inner)| {
                NoisyDraw::with_noise(&input, bundle.level, noise.to_owned(), inner.to_owned())
            })
            .collect();
        let pairs = reconstruct(denoiser, draws)?;
        Ok((input, pairs))
    });
    reconstructed.collect::<Result<_, _>>().map(GoldenRun)
}

impl GoldenRun {
    /// The scores with these maps, by the functions that inspection uses.
    pub fn scores(
        &self,
        parameters: &ScoreParameters,
        maps: &TrainingMaps,
        empirical_maps: &TrainingMaps,
    ) -> GoldenScores {
        let draws = self.0.first().map_or(0, |(_, pairs)| pairs.len());
        let certified = self
            .0
            .iter()
            .flat_map(|(_, pairs)| pairs.iter().map(|pair| score::certified(pair, parameters, maps).value()));
        let certified = Array2::from_shape_vec((self.0.len(), draws), certified.collect())
            .expect("every input has the same number of draws");
        let empirical = self
            .0
            .iter()
            .map(|(input, pairs)| score::empirical(input, pairs, parameters, empirical_maps).value())
            .collect();
        GoldenScores { certified, empirical }
    }
}

/// Recomputes the golden vectors, and refuses a model that does not give the scores that it gave at export.
///
/// `precision` is that of the computation (`fp32`, …); the manifest has a tolerance for each.
pub(crate) fn self_test(
    bundle: &Bundle,
    denoiser: &mut dyn Denoiser,
    precision: &str,
) -> Result<SelfTest, BundleError> {
    let refused = |what: String| BundleError::Golden { name: bundle.label(), what };
    let tolerance = *bundle
        .manifest
        .golden
        .tolerance
        .get(precision)
        .ok_or_else(|| refused(format!("bundle.toml has no tolerance for precision {precision}")))?;
    let [_, height, width] = bundle.manifest.input_shape();
    let identity = TrainingMaps::identity(height, width);
    let run = run(bundle, denoiser).map_err(|error| refused(error.to_string()))?;
    let raw = run.scores(&bundle.score, &identity, &identity);
    let spread = bundle.manifest.golden.raw_spread;
    let mut differences = vec![
        ("raw score", worst_difference(&raw.certified, &bundle.golden.raw.certified, spread)),
        ("raw empirical score", worst_difference(&raw.empirical, &bundle.golden.raw.empirical, spread)),
    ];
    if let (Some(calibrated), Some(calibration)) = (&bundle.calibrated, &bundle.manifest.calibration) {
        let stored = bundle
            .golden
            .calibrated
            .as_ref()
            .ok_or_else(|| refused("the calibrated scores are missing; calibrate again".to_owned()))?;
        let scores = run.scores(&bundle.score, &calibrated.maps, &calibrated.empirical_maps);
        let (certified, empirical) = (calibration.score_spread, calibration.empirical_spread);
        differences.extend([
            ("score", worst_difference(&scores.certified, &stored.certified, certified)),
            ("empirical score", worst_difference(&scores.empirical, &stored.empirical, empirical)),
        ]);
    }
    let refusable = |difference: f64| difference.is_nan() || difference > tolerance;
    if let Some((what, worst)) = differences.iter().find(|(_, worst)| refusable(*worst)) {
        return Err(refused(format!(
            "the {what} differs by {worst:.2e} of the spread of normal scores, or of the score where that is larger; {tolerance:.0e} is allowed"
        )));
    }
    Ok(SelfTest { worst: differences.iter().fold(0.0, |worst, (_, d)| worst.max(*d)), tolerance })
}

/// The largest difference; NaN if any value is NaN.
fn worst_difference<D: ndarray::Dimension>(
    scores: &ndarray::Array<f32, D>,
    stored: &ndarray::Array<f32, D>,
    spread: f64,
) -> f64 {
    scores.iter().zip(stored).fold(0.0, |worst, (&score, &stored)| {
        let difference = difference(score, stored, spread);
        if difference.is_nan() || difference > worst { difference } else { worst }
    })
}

/// Difference as a share of the spread, or of the stored score where that is larger. Golden inputs and defects may be
/// far from normal, and for a score of 200 spreads 24 bits of precision are 1e-5 spreads. NaN if a score is NaN.
pub(crate) fn difference(score: f32, stored: f32, spread: f64) -> f64 {
    f64::from((score - stored).abs()) / spread.max(f64::from(stored.abs()))
}
