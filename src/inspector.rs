//! From one frame to one inspection: preprocess, draw until certified, decide.
//!
//! Guarantees: every frame gives exactly one [`Inspected`]. A bad picture, a model error or scores that are not numbers give
//! `Verdict::Abstain` with its reason, never `normal`; so does a deadline that passes before a side is certified. A frame that
//! is not like the calibration pictures of the bundle is a bad picture, and no draw is made of it. A heat map is made only if it is wanted for the verdict. The only IO is reading the monotonic clock, for the deadline and latencies.
//! Costs: those of `certify`; preprocessing is below a millisecond at 64x64.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ndarray::Array2;

use crate::bundle::{Bundle, BundleError};
use crate::capture::{Frame, Picture};
use crate::certify::certify;
use crate::computation::Computation;
use crate::detector::Detector;
use crate::diffusion::onnx::ProviderReport;
use crate::diffusion::seed::FrameSeed;
use crate::heat_map::HeatMapSum;
use crate::inspection::{FrameOutcome, Inspection, InspectorSettings, Latency, Parameters};
use crate::picture_range::{NotInspected, PictureRange, prepare};
use crate::preprocess::{Input, Prepared, Preprocessor};
use crate::pulse::Pulse;
use crate::smoothing::{RuleError, SequentialRule};
use crate::verdict::{Reason, Verdict};

/// Why no inspector can be made of a bundle and settings.
#[derive(Debug, thiserror::Error)]
pub enum InspectorError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// Decides whether a heat map is wanted for a frame with this verdict and seed.
pub type HeatMapWanted = Box<dyn Fn(Verdict, FrameSeed) -> bool + Send + Sync>;

/// Inspects the frames of one station. The caller passes the detector, which must be of the same bundle. The inspector itself
/// never changes, so threads can share it.
pub struct Inspector {
    preprocessor: Preprocessor,
    /// `None` for a bundle that knows no range.
    range: Option<PictureRange>,
    rule: SequentialRule,
    parameters: Arc<Parameters>,
    report_empirical: bool,
    heat_map_wanted: HeatMapWanted,
}

/// An inspection with the pictures that evidence is made of.
#[derive(Debug)]
pub struct Inspected {
    pub inspection: Inspection,
    /// The clean model input; `None` for a bad frame.
    pub input: Option<Input>,
    /// Heat map at the size of the model input, in training standard deviations; `None` if none is wanted.
    pub heat_map: Option<Array2<f32>>,
}

impl Inspector {
    /// Makes the inspector of a calibrated bundle. The number of draws of a model call is that of `detector`.
    pub fn new(
        bundle: &Bundle,
        detector: &Detector,
        provider: &ProviderReport,
        settings: &InspectorSettings,
        heat_map_wanted: impl Fn(Verdict, FrameSeed) -> bool + Send + Sync + 'static,
    ) -> Result<Self, InspectorError> {
        let parameters = Parameters::new(bundle, settings, detector.batch(), Computation::here(provider))?;
        let rule = SequentialRule::new(&parameters.rule, parameters.threshold, parameters.sigma)?;
        Ok(Self {
            preprocessor: bundle.preprocessor(settings.region),
            range: bundle.picture_range(),
            rule,
            parameters: Arc::new(parameters),
            report_empirical: settings.report_empirical,
            heat_map_wanted: Box::new(heat_map_wanted),
        })
    }

    /// For tests only: an inspector without a bundle.
    #[doc(hidden)]
    pub fn for_testing(
        preprocessor: Preprocessor,
        parameters: Parameters,
        heat_map_wanted: HeatMapWanted,
    ) -> Result<Self, RuleError> {
        Ok(Self {
            preprocessor,
            range: None,
            rule: SequentialRule::new(&parameters.rule, parameters.threshold, parameters.sigma)?,
            parameters: Arc::new(parameters),
            report_empirical: false,
            heat_map_wanted,
        })
    }

    pub fn rule(&self) -> &SequentialRule {
        &self.rule
    }

    pub fn parameters(&self) -> &Arc<Parameters> {
        &self.parameters
    }

    /// Inspects one frame with the noise of `seed`; `queued` is when the frame was handed over. `pulse` is set to work before
    /// each model call, so that a call that does not return is noticed.
    pub fn inspect(
        &self,
        detector: &mut Detector,
        pulse: &Pulse,
        frame: &Frame,
        seed: FrameSeed,
        queued: Instant,
    ) -> Inspected {
        let taken = Instant::now();
        let prepared = match &frame.picture {
            Ok(picture) => self.prepare(picture).map_err(|error| error.to_string()),
            Err(bad) => Err(bad.to_string()),
        };
        let (outcome, input, heat_map) = match prepared {
            Err(fault) => {
                let outcome = FrameOutcome::NotDrawn { reason: Reason::BadFrame, fault };
                (outcome, None, None)
            }
            Ok(prepared) => {
                let (outcome, heat_map) =
                    self.draw(detector, pulse, &prepared, seed, frame.captured_at.monotonic);
                (outcome, Some(prepared.input), heat_map)
            }
        };
        let latency = Latency::until_now(frame, queued, taken);
        let inspection = Inspection::of(frame, seed, outcome, latency, &self.parameters);
        Inspected { inspection, input, heat_map }
    }

    /// The model input of a picture, or why the picture is not inspected.
    pub fn prepare(&self, picture: &Picture) -> Result<Prepared, NotInspected> {
        prepare(picture, &self.preprocessor, self.range.as_ref())
    }

    fn draw(
        &self,
        detector: &mut Detector,
        pulse: &Pulse,
        prepared: &Prepared,
        seed: FrameSeed,
        captured: Instant,
    ) -> (FrameOutcome, Option<Array2<f32>>) {
        let deadline = self.parameters.deadline_ms.map(Duration::from_millis);
        let mut heat = HeatMapSum::default();
        let mut reconstructions = Vec::new();
        let draws = certify(
            detector,
            &self.rule,
            &prepared.input,
            seed,
            || {
                if deadline.is_some_and(|deadline| captured.elapsed() >= deadline) {
                    return Err(Reason::Deadline);
                }
                pulse.at_work();
                Ok(())
            },
            |reconstruction, scored| {
                heat.add(scored.map);
                if self.report_empirical {
                    reconstructions.push(reconstruction);
                }
            },
        );
        let empirical_score = (!reconstructions.is_empty())
            .then(|| detector.empirical(&prepared.input, &reconstructions).value());
        let wanted = (self.heat_map_wanted)(draws.verdict(), seed);
        let heat_map = if wanted { heat.heat_map() } else { None };
        (FrameOutcome::Drawn { draws, norm: prepared.norm, empirical_score }, heat_map)
    }
}
