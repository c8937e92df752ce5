//! The detector: a bundle whose model is open, self-tested, and ready to score draws.
//!
//! One place where noise, model and score come together, so that inspection, calibration and
//! evaluation cannot differ. Guarantees: [`Detector::open`] hands out only a model that reproduces its
//! golden vectors; draws come back in issue order, whatever the batch size, none left out.

use std::ops::Range;

use ndarray::Array2;

use crate::bundle::golden::{self, SelfTest};
use crate::bundle::{Bundle, BundleError, Calibrated};
use crate::diffusion::denoiser::{Denoiser, DenoiserError};
use crate::diffusion::noise::NoisyDraw;
use crate::diffusion::onnx::{OnnxDenoiser, OnnxError, ProviderReport, Runtime, SessionSettings};
use crate::diffusion::reconstruct::{Reconstruction, reconstruct};
use crate::diffusion::schedule::NoiseLevel;
use crate::inspection::FrameSeed;
use crate::preprocess::Input;
use crate::score::{self, AnomalyMaps, CertifiedScore, EmpiricalScore, ScoreParameters, TrainingMaps};

/// The precision of the computation on every provider as `onnx` sets it up.
pub const PRECISION: &str = "fp32";

/// Draws of the next model call: `batch` while that many are allowed, then the largest power of two that is.
/// So few sizes occur, and a recomputation can repeat them: ONNX Runtime promises equal bits for equal shapes only.
pub fn call_size(batch: u32, allowed: u32) -> u32 {
    if allowed >= batch { batch } else { 1 << allowed.ilog2() }
}

/// Why a detector cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Onnx(#[from] OnnxError),
}

/// An open, self-tested model with the parameters of its scores.
pub struct Detector {
    denoiser: Box<dyn Denoiser>,
    level: NoiseLevel,
    parameters: ScoreParameters,
    maps: TrainingMaps,
    empirical_maps: TrainingMaps,
    /// Draws per model call.
    batch: u32,
}

/// What opening a detector showed.
#[derive(Debug, Clone)]
pub struct Opened {
    pub provider: ProviderReport,
    pub self_test: SelfTest,
}

impl Detector {
    /// Opens the bundle's model and refuses it unless it reproduces its golden vectors.
    ///
    /// A bundle that is not calibrated yet scores with identity maps (raw scores).
    pub fn open(
        bundle: &Bundle,
        runtime: &Runtime,
        settings: &SessionSettings,
        batch: u32,
    ) -> Result<(Self, Opened), DetectorError> {
        let input = bundle.manifest.input_shape();
        let mut denoiser = OnnxDenoiser::open(runtime, &bundle.model_file(), input, settings)?;
        bundle.check_head(denoiser.has_head())?;
        let self_test = golden::self_test(bundle, &mut denoiser, PRECISION)?;
        let opened = Opened { provider: denoiser.provider().clone(), self_test };
        Ok((Self::new(Box::new(denoiser), bundle, batch), opened))
    }

    fn new(denoiser: Box<dyn Denoiser>, bundle: &Bundle, batch: u32) -> Self {
        let [_, height, width] = bundle.manifest.input_shape();
        let (maps, empirical_maps) = match &bundle.calibrated {
            Some(Calibrated { maps, empirical_maps, .. }) => (maps.clone(), empirical_maps.clone()),
            None => (TrainingMaps::identity(height, width), TrainingMaps::identity(height, width)),
        };
        Self::with_denoiser(denoiser, bundle.level, bundle.score.clone(), maps, empirical_maps, batch)
    }

    /// A detector around any denoiser: the seam for the analytic one.
    pub fn with_denoiser(
        denoiser: Box<dyn Denoiser>,
        level: NoiseLevel,
        parameters: ScoreParameters,
        maps: TrainingMaps,
        empirical_maps: TrainingMaps,
        batch: u32,
    ) -> Self {
        Self { denoiser, level, parameters, maps, empirical_maps, batch: batch.max(1) }
    }

    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// Replaces the training maps (calibration makes them with this very detector).
    pub fn set_maps(&mut self, maps: TrainingMaps, empirical_maps: TrainingMaps) {
        self.maps = maps;
        self.empirical_maps = empirical_maps;
    }

    /// Reconstructions of the draws `indices` of the frame with this seed, in order.
    pub fn reconstruct(
        &mut self,
        input: &Input,
        seed: FrameSeed,
        indices: Range<u32>,
    ) -> Result<Vec<Reconstruction>, DenoiserError> {
        let mut pairs = Vec::with_capacity(indices.len());
        for start in indices.clone().step_by(self.batch as usize) {
            let batch = start..indices.end.min(start + self.batch);
            let draws = batch.map(|index| NoisyDraw::of(input, self.level, seed, index)).collect();
            pairs.extend(reconstruct(self.denoiser.as_mut(), draws)?);
        }
        Ok(pairs)
    }

    /// Runs the golden draws of `bundle` (calibration stores their new scores).
    pub fn golden_run(&mut self, bundle: &Bundle) -> Result<golden::GoldenRun, DenoiserError> {
        golden::run(bundle, self.denoiser.as_mut())
    }

    pub fn certified_maps(&self, pair: &Reconstruction) -> AnomalyMaps {
        score::certified_maps(pair, &self.parameters)
    }

    pub fn empirical_maps(&self, input: &Input, pairs: &[Reconstruction]) -> AnomalyMaps {
        score::empirical_maps(input, pairs, &self.parameters)
    }

    pub fn certified(&self, pair: &Reconstruction) -> CertifiedScore {
        score::certified(pair, &self.parameters, &self.maps)
    }

    pub fn empirical(&self, input: &Input, pairs: &[Reconstruction]) -> EmpiricalScore {
        score::empirical(input, pairs, &self.parameters, &self.empirical_maps)
    }

    /// Where the draws look anomalous, in training standard deviations, HW: the mean of their score maps. For
    /// people and pixel metrics; no verdict depends on it.
    pub fn heat(&self, pairs: &[Reconstruction]) -> Option<Array2<f32>> {
        let mut maps = pairs
            .iter()
            .map(|pair| score::score_map(&self.certified_maps(pair), &self.maps, &self.parameters));
        let first = maps.next()?;
        Some(maps.fold(first, |sum, map| sum + map) / pairs.len() as f32)
    }
}
