//! The detector: a bundle whose model is open, self-tested, and ready to score draws.
//!
//! Noise, model and score come together here only, so inspection, calibration, evaluation and verification compute
//! the same.
//!
//! Guarantees: [`Detector::open`] gives only a model that reproduces its golden vectors. Draws come back in issue
//! order and none is left out, whatever the batch size.
//! Leaves out: when to stop drawing (`certify`).

use crate::bundle::self_test::{self, SelfTest};
use crate::bundle::{Bundle, BundleError, Calibrated};
use crate::computation::PRECISION;
use crate::diffusion::denoiser::{Denoiser, DenoiserError};
use crate::diffusion::noise::NoisyDraw;
use crate::diffusion::onnx::{OnnxDenoiser, OnnxError, ProviderReport, Runtime, SessionSettings};
use crate::diffusion::reconstruct::{Reconstruction, reconstruct};
use crate::diffusion::schedule::NoiseLevel;
use crate::diffusion::seed::FrameSeed;
use crate::preprocess::Input;
use crate::score::{
    self, AnomalyMaps, CertifiedScore, EmpiricalScore, ScoreParameters, ScoredDraw, TrainingMaps,
};

/// How many draws the next model call makes: `batch` while that many are allowed, then the largest power of two that
/// is allowed. So there are few sizes, and a recomputation can repeat them: ONNX Runtime promises equal bits for equal
/// shapes only.
pub(crate) fn call_size(batch: u32, allowed: u32) -> u32 {
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

/// What was found when a detector was opened.
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
        bundle.check_outputs(denoiser.has_head(), denoiser.has_features())?;
        let self_test = self_test::self_test(bundle, &mut denoiser, PRECISION)?;
        let opened = Opened { provider: denoiser.provider().clone(), self_test };
        Ok((Self::new(Box::new(denoiser), bundle, batch), opened))
    }

    fn new(denoiser: Box<dyn Denoiser>, bundle: &Bundle, batch: u32) -> Self {
        let [_, height, width] = bundle.manifest.input_shape();
        let (maps, empirical_maps) = match &bundle.calibrated {
            Some(Calibrated { maps, empirical_maps, .. }) => (maps.clone(), empirical_maps.clone()),
            None => (TrainingMaps::identity(height, width), TrainingMaps::identity(height, width)),
        };
        Self::from_denoiser(denoiser, bundle.level, bundle.score.clone(), maps, empirical_maps, batch)
    }

    fn from_denoiser(
        denoiser: Box<dyn Denoiser>,
        level: NoiseLevel,
        parameters: ScoreParameters,
        maps: TrainingMaps,
        empirical_maps: TrainingMaps,
        batch: u32,
    ) -> Self {
        Self { denoiser, level, parameters, maps, empirical_maps, batch: batch.max(1) }
    }

    /// For tests only: a detector around any denoiser, without a bundle and a self-test.
    #[doc(hidden)]
    pub fn for_testing(
        denoiser: Box<dyn Denoiser>,
        level: NoiseLevel,
        parameters: ScoreParameters,
        maps: TrainingMaps,
        empirical_maps: TrainingMaps,
        batch: u32,
    ) -> Self {
        Self::from_denoiser(denoiser, level, parameters, maps, empirical_maps, batch)
    }

    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// Replaces the training maps (calibration makes them with this very detector).
    pub fn set_maps(&mut self, maps: TrainingMaps, empirical_maps: TrainingMaps) {
        self.maps = maps;
        self.empirical_maps = empirical_maps;
    }

    /// The draws of `input` with the noise of `seed`, from the first on.
    pub fn draws<'a>(&'a mut self, input: &'a Input, seed: FrameSeed) -> Draws<'a> {
        Draws { detector: self, input, seed, made: 0 }
    }

    /// Computes the golden draws of `bundle`, for calibration, which stores their new scores.
    pub fn golden_run(&mut self, bundle: &Bundle) -> Result<self_test::GoldenRun, DenoiserError> {
        self_test::run(bundle, self.denoiser.as_mut())
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

    /// The certified score with the map it was pooled from.
    pub fn score(&self, pair: &Reconstruction) -> ScoredDraw {
        score::score_draw(pair, &self.parameters, &self.maps)
    }

    pub fn empirical(&self, input: &Input, pairs: &[Reconstruction]) -> EmpiricalScore {
        score::empirical(input, pairs, &self.parameters, &self.empirical_maps)
    }
}

/// The draws of one input, made call by call.
pub struct Draws<'a> {
    detector: &'a mut Detector,
    input: &'a Input,
    seed: FrameSeed,
    made: u32,
}

impl Draws<'_> {
    /// The next `count` draws in issue order, in model calls of at most the detector's batch.
    pub fn next(&mut self, count: u32) -> Result<Vec<Reconstruction>, DenoiserError> {
        let Detector { denoiser, level, batch, .. } = &mut *self.detector;
        let end = self.made.saturating_add(count);
        let mut reconstructions = Vec::with_capacity(count as usize);
        while self.made < end {
            let call = self.made..end.min(self.made.saturating_add(*batch));
            let draws =
                call.clone().map(|index| NoisyDraw::of(self.input, *level, self.seed, index)).collect();
            reconstructions.extend(reconstruct(denoiser.as_mut(), draws)?);
            self.made = call.end;
        }
        Ok(reconstructions)
    }

    /// The detector that makes these draws, to score them.
    pub fn detector(&self) -> &Detector {
        self.detector
    }
}
