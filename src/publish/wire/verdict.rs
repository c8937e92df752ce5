//! The `verdict` message; the `last` message has the same content.
//!
//! Guarantees: a message that is sent late differs from one that is sent live in `historical` only.

use serde::Serialize;
use uuid::Uuid;

use super::encoding::{V, json, milliseconds, rounded_down, time};
use crate::inspection::Inspection;
use crate::verdict::Verdict;

#[derive(Serialize)]
struct VerdictMessage<'a> {
    v: u8,
    boot_id: String,
    seq: u64,
    result_id: String,
    part_id: Option<&'a str>,
    meas_id: Option<&'a str>,
    recipe: Option<&'a str>,
    captured_at: String,
    verdict: &'static str,
    reason: Option<&'static str>,
    pass: u8,
    pass_certified: bool,
    score: Option<f32>,
    score_lower: Option<f32>,
    score_upper: Option<f32>,
    empirical_score: Option<f32>,
    threshold: f32,
    radius: Option<f64>,
    frame_radius: Option<f64>,
    radius_grey: Option<f64>,
    sigma: f64,
    alpha: f64,
    k: usize,
    draws: u32,
    input: [usize; 3],
    model: &'a str,
    provider: &'a str,
    precision: &'a str,
    latency_ms: LatencyMessage,
}

#[derive(Serialize)]
struct LatencyMessage {
    capture: f64,
    queue: f64,
    infer: f64,
    total: f64,
}

/// The `verdict` message of an inspection as far as it is known at the commit: without its last key, `historical`, and the
/// closing brace. [`verdict_message`] adds them.
pub(in crate::publish) fn verdict_body(boot_id: Uuid, seq: u64, inspection: &Inspection) -> String {
    let parameters = &*inspection.parameters;
    let certificate = inspection.certificate.as_ref();
    let certified = certificate.filter(|certificate| certificate.side.is_some());
    let reached = certified.is_some_and(|certificate| certificate.radius >= parameters.required_radius);
    let mut body = json(&VerdictMessage {
        v: V,
        boot_id: boot_id.to_string(),
        seq,
        result_id: format!("{boot_id}-{seq}"),
        part_id: inspection.part_id.as_deref(),
        meas_id: inspection.meas_id.as_deref(),
        recipe: parameters.recipe.as_deref(),
        captured_at: time(inspection.captured_at),
        verdict: inspection.verdict.word(),
        reason: inspection.verdict.reason().map(|reason| reason.word()),
        pass: match inspection.verdict {
            Verdict::Anomalous => 0,
            Verdict::Normal => 1,
            Verdict::Abstain(_) => 2,
        },
        pass_certified: inspection.verdict == Verdict::Normal && reached,
        score: certificate.and_then(|certificate| certificate.score),
        score_lower: certificate.and_then(|certificate| certificate.score_lower),
        score_upper: certificate.and_then(|certificate| certificate.score_upper),
        empirical_score: inspection.empirical_score,
        threshold: parameters.threshold,
        radius: certified.map(|certificate| rounded_down(certificate.radius)),
        frame_radius: inspection.frame_radius.map(rounded_down),
        radius_grey: inspection.radius_grey().map(rounded_down),
        sigma: parameters.sigma,
        alpha: parameters.rule.alpha,
        k: parameters.k,
        draws: certificate.map_or(0, |certificate| certificate.draws),
        input: parameters.input,
        model: &parameters.model,
        provider: &parameters.computation.provider,
        precision: &parameters.computation.precision,
        latency_ms: LatencyMessage {
            capture: milliseconds(inspection.latency.capture_ms),
            queue: milliseconds(inspection.latency.queue_ms),
            infer: milliseconds(inspection.latency.infer_ms),
            total: milliseconds(inspection.latency.total_ms),
        },
    });
    body.pop(); // the closing brace
    body
}

/// The whole `verdict` message. `historical` is true if the inspection was committed before the connection was up, if its
/// message was refused before, or if it is exported from the log.
pub(in crate::publish) fn verdict_message(body: Vec<u8>, historical: bool) -> Vec<u8> {
    let last_key: &[u8] = if historical { br#","historical":true}"# } else { br#","historical":false}"# };
    let mut message = body;
    message.extend_from_slice(last_key);
    message
}
