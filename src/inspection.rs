//! The inspection of one part: the record that is stored, published and shown.
//!
//! Guarantees: it contains everything that is needed to compute the verdict again: seed, all parameters, the score of every
//! draw in the order they were made, and the batch sizes. It uses no file and no network, and a clock only for latencies.
//! Leaves out: the format of messages and of the database (see `publish::wire`, `store`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bundle::{Bundle, BundleError};
use crate::capture::Frame;
use crate::certify::CertifiedDraws;
use crate::computation::Computation;
use crate::diffusion::seed::FrameSeed;
use crate::preprocess::Region;
use crate::smoothing::{Certificate, RuleSettings};
use crate::verdict::{Reason, Verdict};

/// One inspected part.
#[derive(Debug, Clone)]
pub struct Inspection {
    pub captured_at: jiff::Timestamp,
    pub source_seq: u64,
    pub part_id: Option<String>,
    pub meas_id: Option<String>,
    pub verdict: Verdict,
    /// `None` if no draw could be made (a bad frame, or a model fault before the first draw).
    pub certificate: Option<Certificate>,
    /// The paper's score against the clean picture. Computed only if configured; no verdict depends on it.
    pub empirical_score: Option<f32>,
    /// Certified l2 radius on the decoded camera frame, \[0,1\] units; `None` without a certified side.
    pub frame_radius: Option<f64>,
    /// What went wrong, for people; `None` if nothing did.
    pub fault: Option<String>,
    pub seed: FrameSeed,
    /// The score of every draw, in the order they were made. NaN if the model gave NaN.
    pub scores: Vec<f32>,
    /// The number of draws of each model call, in the order of the calls. The sum is `scores.len()`.
    pub batches: Vec<u32>,
    /// Size of the decoded picture in pixels, `[width, height]`; `None` for a bad frame.
    pub frame_px: Option<[u32; 2]>,
    pub latency: Latency,
    pub evidence: Option<Evidence>,
    pub parameters: Arc<Parameters>,
}

/// The evidence that is kept of an inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Relative to the station's evidence folder.
    pub folder: String,
    /// The size of all its files.
    pub bytes: u64,
}

/// How long the parts of an inspection took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// From exposure (or opening the file) until the frame was handed over.
    pub capture_ms: f64,
    /// Waiting to be inspected.
    pub queue_ms: f64,
    /// Preprocessing, draws, scores, certificate.
    pub infer_ms: f64,
    /// From exposure (or opening the file) until the verdict is ready to be stored.
    pub total_ms: f64,
}

impl Latency {
    /// The latency of a frame that was handed over at `queued`, taken to be inspected at `taken`, and is inspected now.
    pub fn until_now(frame: &Frame, queued: Instant, taken: Instant) -> Self {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let captured = frame.captured_at.monotonic;
        Self {
            capture_ms: ms(queued.saturating_duration_since(captured)),
            queue_ms: ms(taken.saturating_duration_since(queued)),
            infer_ms: ms(taken.elapsed()),
            total_ms: ms(captured.elapsed()),
        }
    }
}

/// Everything that was fixed before the frame was captured. Shared by all inspections of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// Bundle name and version, for people: `demo-line@2`.
    pub model: String,
    pub model_sha256: String,
    /// The sha256 of `bundle.toml`, which contains the sha256 of every other file of the bundle.
    pub bundle_sha256: String,
    /// The shape of the model input: channels, height, width.
    pub input: [usize; 3],
    pub k: usize,
    pub sigma: f64,
    pub threshold: f32,
    pub rule: RuleSettings,
    /// The radius that a `normal` must have for `pass_certified`.
    pub required_radius: f64,
    pub deadline_ms: Option<u64>,
    pub recipe: Option<String>,
    /// The number of draws of a full model call. The last calls may be smaller, see [`crate::detector::call_size`].
    pub batch: u32,
    pub computation: Computation,
    /// The part of the camera frame that was inspected; `None` for all of it.
    pub region: Option<Region>,
}

/// The settings for inspecting that come from the configuration. Everything else comes from the bundle.
#[derive(Debug, Clone)]
pub struct InspectorSettings {
    /// The part of the camera frame to inspect; `None` for all of it.
    pub region: Option<Region>,
    pub rule: RuleSettings,
    /// The radius that a `normal` must have for `pass_certified`.
    pub required_radius: f64,
    /// The time from the capture of the frame after which no new model call begins; `None` for no limit.
    pub deadline_ms: Option<u64>,
    pub recipe: Option<String>,
    /// Whether to compute the paper's score too.
    pub report_empirical: bool,
}

impl Parameters {
    /// Combines the settings of a station with a calibrated bundle.
    pub fn new(
        bundle: &Bundle,
        settings: &InspectorSettings,
        batch: u32,
        computation: Computation,
    ) -> Result<Self, BundleError> {
        Ok(Self {
            model: bundle.label(),
            model_sha256: bundle.manifest.model.sha256.clone(),
            bundle_sha256: bundle.sha256.clone(),
            input: bundle.manifest.input_shape(),
            k: bundle.level.k().0,
            sigma: bundle.level.sigma(),
            threshold: bundle.calibrated()?.threshold,
            rule: settings.rule.clone(),
            required_radius: settings.required_radius,
            deadline_ms: settings.deadline_ms,
            recipe: settings.recipe.clone(),
            batch,
            computation,
            region: settings.region,
        })
    }
}

/// The result of inspecting one frame.
#[derive(Debug, Clone)]
pub enum FrameOutcome {
    /// No draw could be made: the verdict is abstain.
    NotDrawn { reason: Reason, fault: String },
    Drawn {
        draws: CertifiedDraws,
        /// The norm of the linear map that made the model input from the frame.
        norm: f64,
        empirical_score: Option<f32>,
    },
}

impl Inspection {
    /// The inspection of a frame with this outcome.
    pub fn of(
        frame: &Frame,
        seed: FrameSeed,
        outcome: FrameOutcome,
        latency: Latency,
        parameters: &Arc<Parameters>,
    ) -> Self {
        let (verdict, fault, certificate, frame_radius, empirical_score, scores, batches) = match outcome {
            FrameOutcome::NotDrawn { reason, fault } => {
                (Verdict::Abstain(reason), Some(fault), None, None, None, Vec::new(), Vec::new())
            }
            FrameOutcome::Drawn { draws, norm, empirical_score } => {
                let (verdict, radius) = (draws.verdict(), draws.certificate.frame_radius(norm));
                let CertifiedDraws { certificate, scores, batches, fault, .. } = draws;
                (verdict, fault, Some(certificate), radius, empirical_score, scores, batches)
            }
        };
        Self {
            captured_at: frame.captured_at.wall,
            source_seq: frame.source_seq,
            part_id: frame.part_id.clone(),
            meas_id: frame.meas_id.clone(),
            verdict,
            certificate,
            empirical_score,
            frame_radius,
            fault,
            seed,
            scores,
            batches,
            frame_px: frame.picture.as_ref().ok().map(|picture| [picture.width, picture.height]),
            latency,
            evidence: None,
            parameters: Arc::clone(parameters),
        }
    }

    /// The radius as RMS per input value, in grey levels of 255: radius / sqrt(C H W) * 255. Unlike the l2 radius, it can be
    /// compared between input sizes.
    pub fn radius_grey(&self) -> Option<f64> {
        let certificate = self.certificate.as_ref()?;
        certificate.side?;
        // As f64: the axes of a damaged log may be of any size.
        let values: f64 = self.parameters.input.iter().map(|axis| *axis as f64).product();
        Some(certificate.radius / values.sqrt() * 255.0)
    }
}
