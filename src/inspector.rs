//! From one frame to one inspection: preprocess, draw until certified, decide.
//!
//! Guarantees: every frame gives exactly one [`Inspected`]; every fault on the way (bad picture, model
//! error, values that are not numbers, deadline) becomes `Verdict::Abstain` with its reason, never `normal`. A heat map
//! is made only of frames for which one is wanted, and only once their verdict is known.
//! Reads the monotonic clock, for the deadline and for latencies; does no other IO.
//! Costs: those of `certify`; preprocessing is below a millisecond at 64x64.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ndarray::Array2;

use crate::bundle::{Bundle, BundleError};
use crate::capture::Frame;
use crate::certify::certify;
use crate::computation::Computation;
use crate::detector::Detector;
use crate::diffusion::onnx::ProviderReport;
use crate::diffusion::seed::FrameSeed;
use crate::heat_map::HeatMapSum;
use crate::inspection::{FrameOutcome, Inspection, InspectorSettings, Latency, Parameters};
use crate::preprocess::{Input, Prepared, Preprocessor};
use crate::pulse::Pulse;
use crate::smoothing::{RuleError, SequentialRule};
use crate::verdict::{Reason, Verdict};

/// Why a bundle and settings make no inspector.
#[derive(Debug, thiserror::Error)]
pub enum InspectorError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// Whether a heat map is wanted of a frame with this verdict and seed.
pub type HeatMapWanted = Box<dyn Fn(Verdict, FrameSeed) -> bool + Send + Sync>;

/// Inspects the frames of one station, with whatever detector of its bundle it is lent: it changes nothing and can be
/// shared by threads.
pub struct Inspector {
    preprocessor: Preprocessor,
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
    /// Heat map at the size of the model input, in training standard deviations, where one is wanted.
    pub heat_map: Option<Array2<f32>>,
}

impl Inspector {
    /// The inspector of a calibrated bundle whose detector is open, with that detector's draws per model call.
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
            preprocessor: Preprocessor::new(bundle.input_shape(), settings.region),
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

    /// Inspects one frame with the noise of `seed`; `queued` is when it was handed on for inspection. `pulse` is at work
    /// from each model call on, so that a call which does not return is seen.
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
            Ok(picture) => self.preprocessor.apply(picture).map_err(|error| error.to_string()),
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
