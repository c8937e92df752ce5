//! From one frame to one inspection: preprocess, draw until certified, decide.
//!
//! Guarantees: every frame gives exactly one [`Inspected`]; every fault on the way (bad picture, model
//! error, values that are not numbers, deadline) becomes `Verdict::Abstain` with its reason, never
//! `normal`; all draws that were made count, in issue order, none is dropped or repeated.
//! Reads the monotonic clock, for the deadline and for latencies; does no other IO.
//! Costs: one model call per batch of draws; everything else is below a millisecond at 64x64.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ndarray::Array2;

use crate::bundle::{Bundle, BundleError};
use crate::capture::Frame;
use crate::detector::{Detector, PRECISION, call_size};
use crate::diffusion::onnx::ProviderReport;
use crate::inspection::{FrameSeed, Inspection, Latency, Parameters};
use crate::machine;
use crate::preprocess::{Input, Preprocessor, Region};
use crate::pulse::Pulse;
use crate::smoothing::{Certificate, Prior, RuleError, SequentialRule, SequentialRun, Settings, State};
use crate::verdict::{Reason, Verdict};

/// What a station fixes before it sees a frame; everything else is the bundle's.
#[derive(Debug, Clone)]
pub struct InspectorSettings {
    /// Part of the camera frame to look at; `None` for all of it.
    pub region: Option<Region>,
    /// Failure probability of one verdict.
    pub alpha: f64,
    /// Radius (model input, \[0,1\] units) at which drawing stops.
    pub target_radius: f64,
    /// Radius that a `normal` must reach for `pass_certified`.
    pub required_radius: f64,
    pub max_draws: u32,
    /// Counted from the capture of the frame.
    pub deadline_ms: Option<u64>,
    pub prior: Prior,
    pub recipe: Option<String>,
    /// Compute the paper's score too.
    pub report_empirical: bool,
}

/// Why a bundle and settings make no inspector.
#[derive(Debug, thiserror::Error)]
pub enum InspectorError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// Inspects the frames of one station.
pub struct Inspector {
    preprocessor: Preprocessor,
    detector: Detector,
    rule: SequentialRule,
    parameters: Arc<Parameters>,
    deadline: Option<Duration>,
    report_empirical: bool,
    pulse: Pulse,
}

/// An inspection with the pictures that evidence is made of.
#[derive(Debug)]
pub struct Inspected {
    pub inspection: Inspection,
    /// The clean model input; `None` for a bad frame.
    pub input: Option<Input>,
    /// Heat map at the size of the model input, in training standard deviations.
    pub heat: Option<Array2<f32>>,
}

/// How the draws of one frame ended.
struct Drawn {
    certificate: Certificate,
    scores: Vec<f32>,
    batches: Vec<u32>,
    /// Why no verdict could be had, should the certificate hold none.
    otherwise: Reason,
    fault: Option<String>,
    heat: Option<Array2<f32>>,
    empirical: Option<f32>,
}

impl Inspector {
    /// The inspector of a calibrated bundle whose detector is open.
    pub fn new(
        bundle: &Bundle,
        detector: Detector,
        provider: &ProviderReport,
        settings: InspectorSettings,
    ) -> Result<Self, InspectorError> {
        let threshold = bundle.calibrated()?.threshold;
        let parameters = Parameters {
            model: bundle.label(),
            model_sha256: bundle.manifest.model.sha256.clone(),
            input: bundle.manifest.input_shape(),
            k: bundle.level.k().0,
            sigma: bundle.level.sigma(),
            threshold,
            alpha: settings.alpha,
            target_radius: settings.target_radius,
            required_radius: settings.required_radius,
            max_draws: settings.max_draws,
            deadline_ms: settings.deadline_ms,
            prior: settings.prior.components().to_vec(),
            provider: provider.active.word().to_owned(),
            precision: PRECISION.to_owned(),
            onnxruntime: provider.onnxruntime.clone(),
            recipe: settings.recipe,
            bundle_sha256: bundle.sha256.clone(),
            batch: detector.batch(),
            threads: provider.threads,
            cpu: machine::cpu_name(),
            region: settings.region,
        };
        let rule = SequentialRule::new(Settings {
            alpha: settings.alpha,
            threshold,
            sigma: bundle.level.sigma(),
            target_radius: settings.target_radius,
            max_draws: settings.max_draws,
            prior: settings.prior,
        })?;
        let preprocessor = Preprocessor::new(bundle.input_shape(), settings.region);
        Ok(Self::from_parts(preprocessor, detector, rule, parameters, settings.report_empirical))
    }

    /// An inspector of given parts: the seam for the analytic denoiser.
    pub fn from_parts(
        preprocessor: Preprocessor,
        detector: Detector,
        rule: SequentialRule,
        parameters: Parameters,
        report_empirical: bool,
    ) -> Self {
        let deadline = parameters.deadline_ms.map(Duration::from_millis);
        let (parameters, pulse) = (Arc::new(parameters), Pulse::default());
        Self { preprocessor, detector, rule, parameters, deadline, report_empirical, pulse }
    }

    /// Draws that reach the target radius when all agree.
    pub fn reachable_draws(&self) -> u32 {
        self.rule.reachable_draws()
    }

    /// Beaten at every model call: shows whoever watches that one does not return.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    pub fn parameters(&self) -> &Arc<Parameters> {
        &self.parameters
    }

    /// Inspects one frame with the noise of `seed`; `queued` is when it was handed on for inspection.
    pub fn inspect(&mut self, frame: &Frame, seed: FrameSeed, queued: Instant) -> Inspected {
        let taken = Instant::now();
        let prepared = match &frame.picture {
            Ok(picture) => self.preprocessor.apply(picture).map_err(|e| e.to_string()),
            Err(bad) => Err(bad.to_string()),
        };
        let mut inspection = Inspection::abstained(frame, seed, Reason::BadFrame, &self.parameters);
        let (mut input, mut heat) = (None, None);
        match prepared {
            Err(fault) => inspection.fault = Some(fault),
            Ok(prepared) => {
                let drawn = self.draw(&prepared.input, seed, frame.captured_at.monotonic);
                let certificate = drawn.certificate;
                inspection.verdict = Verdict::from_certificate(&certificate, drawn.otherwise);
                inspection.frame_radius = certificate.side.map(|_| certificate.radius / prepared.norm);
                inspection.certificate = Some(certificate);
                inspection.scores = drawn.scores;
                inspection.batches = drawn.batches;
                inspection.fault = drawn.fault;
                inspection.empirical_score = drawn.empirical;
                heat = drawn.heat;
                input = Some(prepared.input);
            }
        }
        inspection.latency = Latency::until_now(frame, queued, taken);
        Inspected { inspection, input, heat }
    }

    /// Draws until the certificate is settled, hopeless or out of draws or time.
    fn draw(&mut self, input: &Input, seed: FrameSeed, captured: Instant) -> Drawn {
        let mut run = SequentialRun::new(&self.rule);
        let max_draws = self.rule.settings().max_draws;
        let (mut pairs, mut scores, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        let (mut otherwise, mut fault) = (Reason::Undecided, None);
        while run.state() == State::Continue && fault.is_none() {
            if self.deadline.is_some_and(|deadline| captured.elapsed() >= deadline) {
                otherwise = Reason::Deadline;
                break;
            }
            let start = run.draws();
            let end = start + call_size(self.detector.batch(), max_draws - start);
            self.pulse.at_work();
            match self.detector.reconstruct(input, seed, start..end) {
                Ok(batch) => {
                    for pair in &batch {
                        let score = self.detector.certified(pair);
                        run.push(score);
                        scores.push(score.value());
                    }
                    batches.push(end - start);
                    pairs.extend(batch);
                    if scores.iter().any(|score| score.is_nan()) {
                        fault = Some("model: scores that are not numbers".to_owned());
                    }
                }
                Err(error) => fault = Some(error.to_string()),
            }
        }
        let mut certificate = run.certificate();
        if fault.is_some() {
            // What was claimed before the fault may be sound, but a model that fails is not to be built upon.
            otherwise = Reason::ModelFault;
            certificate.withdraw();
        }
        let empirical = (self.report_empirical && !pairs.is_empty())
            .then(|| self.detector.empirical(input, &pairs).value());
        Drawn { certificate, scores, batches, otherwise, fault, heat: self.detector.heat(&pairs), empirical }
    }
}
