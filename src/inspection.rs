//! What is known about one part once it was inspected: the record that is stored, published and shown.
//!
//! Guarantees: it holds everything a later recomputation needs (seed, every parameter, the score of every
//! draw in issue order, batch sizes) and nothing that touches a file, a clock or the network.
//! Leaves out: the words of the wire and of the database (see `publish::wire`, `store`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::Frame;
use crate::preprocess::Region;
use crate::smoothing::Certificate;
use crate::verdict::{Reason, Verdict};

/// The entropy of one frame's noise: fresh from the operating system, kept with the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSeed(pub [u8; 32]);

impl FrameSeed {
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

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
    /// Model input, channels, height, width.
    pub input: [usize; 3],
    pub k: usize,
    pub sigma: f64,
    pub threshold: f32,
    pub alpha: f64,
    pub target_radius: f64,
    /// The radius a `normal` must reach for `pass_certified`.
    pub required_radius: f64,
    pub max_draws: u32,
    pub deadline_ms: Option<u64>,
    /// The mixture prior over p, `weight * Beta(u, v)` each.
    pub prior: Vec<[f64; 3]>,
    pub provider: String,
    pub precision: String,
    pub onnxruntime: String,
    pub recipe: Option<String>,
    /// Of `bundle.toml`, which vouches for every other file of the bundle.
    pub bundle_sha256: String,
    /// Draws of a whole model call; see [`crate::detector::call_size`] for the calls at the end of a run.
    pub batch: u32,
    /// Threads of one model call.
    pub threads: usize,
    /// The processor by its own name.
    pub cpu: String,
    /// The part of the camera frame that was looked at; `None` for all of it.
    pub region: Option<Region>,
}

impl Inspection {
    /// What is known of a frame before any draw: an abstain, until something better is certified.
    pub fn abstained(frame: &Frame, seed: FrameSeed, reason: Reason, parameters: &Arc<Parameters>) -> Self {
        Self {
            captured_at: frame.captured_at.wall,
            source_seq: frame.source_seq,
            part_id: frame.part_id.clone(),
            meas_id: frame.meas_id.clone(),
            verdict: Verdict::Abstain(reason),
            certificate: None,
            empirical_score: None,
            frame_radius: None,
            fault: None,
            seed,
            scores: Vec::new(),
            batches: Vec::new(),
            frame_px: frame.picture.as_ref().ok().map(|picture| [picture.width, picture.height]),
            latency: Latency::default(),
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
