//! One inspection as other programs read it: the same names in CSV and in JSON.

use jiff::Timestamp;
use serde::Serialize;

use crate::store::{DeliveryState, EvidenceKept, Record};

/// Every column, in order. A missing value is an empty field in CSV and null in JSON.
#[derive(Serialize)]
pub(super) struct InspectionRow<'a> {
    boot_id: String,
    station: &'a str,
    seq: u64,
    result_id: String,
    /// RFC 3339, UTC.
    captured_at: Timestamp,
    part_id: Option<&'a str>,
    meas_id: Option<&'a str>,
    recipe: Option<&'a str>,
    verdict: &'static str,
    reason: Option<&'static str>,
    fault: Option<&'a str>,
    /// l2 at the model input, \[0,1\] units, as certified. Missing where no side is certified.
    radius: Option<f64>,
    frame_radius: Option<f64>,
    radius_grey: Option<f64>,
    score: Option<f32>,
    score_lower: Option<f32>,
    score_upper: Option<f32>,
    empirical_score: Option<f32>,
    threshold: f32,
    draws: Option<u32>,
    above: Option<u32>,
    not_a_number: Option<u32>,
    alpha: f64,
    sigma: f64,
    k: usize,
    target_radius: f64,
    required_radius: f64,
    max_draws: u32,
    deadline_ms: Option<u64>,
    model: &'a str,
    model_sha256: &'a str,
    bundle_sha256: &'a str,
    provider: &'a str,
    precision: &'a str,
    onnxruntime: &'a str,
    cpu: &'a str,
    threads: usize,
    version: &'a str,
    /// `x,y,width,height` in pixels of the frame; empty for the whole frame.
    region: Option<String>,
    frame_width: Option<u32>,
    frame_height: Option<u32>,
    /// Hexadecimal.
    seed: String,
    /// The scores of all draws in issue order, separated by spaces.
    scores: String,
    /// The number of draws of each model call, separated by spaces.
    batches: String,
    capture_ms: f64,
    queue_ms: f64,
    infer_ms: f64,
    total_ms: f64,
    /// `kept`, `never`, `removed`.
    evidence: &'static str,
    evidence_folder: Option<&'a str>,
    evidence_bytes: Option<u64>,
    /// `acknowledged`, `waiting`, `refused`.
    broker: &'static str,
    refusal: Option<&'a str>,
}

impl<'a> From<&'a Record> for InspectionRow<'a> {
    fn from(record: &'a Record) -> Self {
        let inspection = &record.inspection;
        let parameters = &*inspection.parameters;
        let certificate = inspection.certificate.as_ref();
        let kept = inspection.evidence.as_ref();
        let (broker, refusal) = match &record.delivery {
            DeliveryState::Acknowledged => ("acknowledged", None),
            DeliveryState::Waiting => ("waiting", None),
            DeliveryState::Refused { why, .. } => ("refused", Some(why.as_str())),
        };
        Self {
            boot_id: record.boot_id.to_string(),
            station: &record.station,
            seq: record.seq,
            result_id: record.result_id(),
            captured_at: inspection.captured_at,
            part_id: inspection.part_id.as_deref(),
            meas_id: inspection.meas_id.as_deref(),
            recipe: parameters.recipe.as_deref(),
            verdict: inspection.verdict.word(),
            reason: inspection.verdict.reason().map(|reason| reason.word()),
            fault: inspection.fault.as_deref(),
            radius: certificate.filter(|it| it.side.is_some()).map(|it| it.radius),
            frame_radius: inspection.frame_radius,
            radius_grey: inspection.radius_grey(),
            score: certificate.and_then(|it| it.score),
            score_lower: certificate.and_then(|it| it.score_lower),
            score_upper: certificate.and_then(|it| it.score_upper),
            empirical_score: inspection.empirical_score,
            threshold: parameters.threshold,
            draws: certificate.map(|it| it.draws),
            above: certificate.map(|it| it.above),
            not_a_number: certificate.map(|it| it.not_a_number),
            alpha: parameters.rule.alpha,
            sigma: parameters.sigma,
            k: parameters.k,
            target_radius: parameters.rule.target_radius,
            required_radius: parameters.required_radius,
            max_draws: parameters.rule.max_draws,
            deadline_ms: parameters.deadline_ms,
            model: &parameters.model,
            model_sha256: &parameters.model_sha256,
            bundle_sha256: &parameters.bundle_sha256,
            provider: &parameters.computation.provider,
            precision: &parameters.computation.precision,
            onnxruntime: &parameters.computation.onnxruntime,
            cpu: &parameters.computation.cpu,
            threads: parameters.computation.threads,
            version: &record.version,
            region: parameters.region.map(|region| region.to_string()),
            frame_width: inspection.frame_px.map(|[width, _]| width),
            frame_height: inspection.frame_px.map(|[_, height]| height),
            seed: inspection.seed.to_hex(),
            scores: in_a_row(&inspection.scores),
            batches: in_a_row(&inspection.batches),
            capture_ms: inspection.latency.capture_ms,
            queue_ms: inspection.latency.queue_ms,
            infer_ms: inspection.latency.infer_ms,
            total_ms: inspection.latency.total_ms,
            evidence: match record.evidence_state {
                EvidenceKept::Kept => "kept",
                EvidenceKept::Never => "never",
                EvidenceKept::Removed => "removed",
            },
            evidence_folder: kept.map(|kept| kept.folder.as_str()),
            evidence_bytes: kept.map(|kept| kept.bytes),
            broker,
            refusal,
        }
    }
}

fn in_a_row<T: ToString>(numbers: &[T]) -> String {
    numbers.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}
