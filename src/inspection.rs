//! What is known about one part once it was inspected: the record that is stored, published and shown.
//!
//! Guarantees: it holds everything a later recomputation needs (seed, every parameter, the score of every
//! draw in issue order, batch sizes) and nothing that touches a file, a clock or the network.
//! Leaves out: the words of the wire and of the database (see `publish::wire`, `store`).

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
    /// `None` where no draw could be made (bad frame, model fault before the first draw).
    pub certificate: Option<Certificate>,
    /// The paper's score against the clean frame; only when asked for, never decides a verdict.
    pub empirical_score: Option<f32>,
    /// Certified l2 radius on the decoded camera frame, \[0,1\] units; `None` without a certified side.
    pub frame_radius: Option<f64>,
    /// For a person: what went wrong, when something did.
    pub fault: Option<String>,
    pub seed: FrameSeed,
    /// Score of every draw counted, in issue order (NaN where the model gave one).
    pub scores: Vec<f32>,
    /// Draws per model call, in issue order; sums to `scores.len()`.
    pub batches: Vec<u32>,
    /// Size of the decoded picture in pixels, `[width, height]`; `None` for a bad frame.
    pub frame_px: Option<[u32; 2]>,
    pub latency: Latency,
    pub evidence: Option<Evidence>,
    pub parameters: Arc<Parameters>,
}

/// What is kept on the disk of an inspection beside its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Relative to the station's evidence folder.
    pub folder: String,
    /// Of all its files together.
    pub bytes: u64,
}

/// Where the time of one inspection went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// From exposure (or opening the file) to the frame being handed on.
    pub capture_ms: f64,
    /// Waiting for the inference thread.
    pub queue_ms: f64,
    /// Preprocessing, draws, scores, certificate.
    pub infer_ms: f64,
    /// From capture to the verdict being ready to store.
    pub total_ms: f64,
}

impl Latency {
    /// Of a frame that was `queued`, then `taken` to be inspected, and is done now.
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

/// Everything that was fixed before the frame was seen. Shared by all inspections of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// Bundle name and version, for people: `demo-line@2`.
    pub model: String,
    pub model_sha256: String,
    /// Of `bundle.toml`, which vouches for every other file of the bundle.
    pub bundle_sha256: String,
    /// Model input, channels, height, width.
    pub input: [usize; 3],
    pub k: usize,
    pub sigma: f64,
    pub threshold: f32,
    pub rule: RuleSettings,
    /// The radius a `normal` must have for `pass_certified`.
    pub required_radius: f64,
    pub deadline_ms: Option<u64>,
    pub recipe: Option<String>,
    /// Draws of a whole model call; see [`crate::detector::call_size`] for the calls at the end of a run.
    pub batch: u32,
    pub computation: Computation,
    /// The part of the camera frame that was looked at; `None` for all of it.
    pub region: Option<Region>,
}

/// What a station fixes before it sees a frame; everything else is the bundle's.
#[derive(Debug, Clone)]
pub struct InspectorSettings {
    /// Part of the camera frame to look at; `None` for all of it.
    pub region: Option<Region>,
    pub rule: RuleSettings,
    /// Radius that a `normal` must have for `pass_certified`.
    pub required_radius: f64,
    /// Counted from the capture of the frame.
    pub deadline_ms: Option<u64>,
    pub recipe: Option<String>,
    /// Compute the paper's score too.
    pub report_empirical: bool,
}

impl Parameters {
    /// Those of a station's settings with a calibrated bundle.
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

/// What inspecting one frame came to.
#[derive(Debug, Clone)]
pub enum FrameOutcome {
    /// There are no draws to decide by: the frame abstains.
    NotDrawn { reason: Reason, fault: String },
    Drawn {
        draws: CertifiedDraws,
        /// Of the linear map that made the model input from the frame.
        norm: f64,
        empirical_score: Option<f32>,
    },
}

impl Inspection {
    /// The record of a frame, once it is known what became of it.
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

    /// RMS of the certified change per input value, in grey levels of 255: comparable between input
    /// sizes, as the l2 radius is not (method: radius / sqrt(C H W) * 255).
    pub fn radius_grey(&self) -> Option<f64> {
        let certificate = self.certificate.as_ref()?;
        certificate.side?;
        let values: usize = self.parameters.input.iter().product();
        Some(certificate.radius / (values as f64).sqrt() * 255.0)
    }
}
