//! The words of the wire: what `verdict`, `heartbeat` and `cmd/trigger/ack` say, field by field; `status` has a file of
//! its own.
//!
//! Guarantees: field names, order and types are those of the contract (`verdict.schema.json`, `status.schema.json`,
//! checked against every message in the tests); a key never changes its type, absent values are `null`; radii are
//! rounded down to six digits, so that what is claimed on the wire is never more than what
//! was certified; no number is NaN or infinite.
//! Leaves out: topics and delivery (see `topics`, `pump`).

mod status;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::capture::trigger::Answer;
use crate::inspection::Inspection;
use crate::verdict::Verdict;
pub use status::{AgentState, status};

/// The JSON Schema (2020-12) of a `verdict` and a `last` message.
pub const VERDICT_SCHEMA: &str = include_str!("../verdict.schema.json");

/// The JSON Schema (2020-12) of a `status` message.
pub const STATUS_SCHEMA: &str = include_str!("../status.schema.json");

/// The JSON Schema (2020-12) of a `cmd/trigger` message, which the line sends.
pub const TRIGGER_SCHEMA: &str = include_str!("../trigger.schema.json");

/// The JSON Schema (2020-12) of its answer, `cmd/trigger/ack`.
pub const TRIGGER_ACK_SCHEMA: &str = include_str!("../trigger_ack.schema.json");

/// Decimal digits of a radius on the wire.
const RADIUS_DIGITS: i32 = 6;

/// Version of the contract.
const V: u8 = 1;

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
    historical: bool,
}

#[derive(Serialize)]
struct LatencyMessage {
    capture: f64,
    queue: f64,
    infer: f64,
    total: f64,
}

/// The `verdict` message of an inspection, as it is committed: `historical` is false.
pub fn verdict(boot_id: Uuid, seq: u64, inspection: &Inspection) -> String {
    let parameters = &*inspection.parameters;
    let certificate = inspection.certificate.as_ref();
    let certified = certificate.filter(|certificate| certificate.side.is_some());
    let reached = certified.is_some_and(|certificate| certificate.radius >= parameters.required_radius);
    json(&VerdictMessage {
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
        historical: false,
    })
}

/// The same verdict, sent late. Inside a JSON string a quote is escaped, so the key is found only as a key.
pub fn as_historical(verdict: &str) -> String {
    verdict.replacen(r#""historical":false}"#, r#""historical":true}"#, 1)
}

#[derive(Serialize)]
struct HeartbeatMessage {
    v: u8,
    boot_id: String,
    count: u64,
    sent_at: String,
}

/// The `heartbeat` message; `count` grows by one each second of the agent's life.
pub fn heartbeat(boot_id: Uuid, count: u64, sent_at: Timestamp) -> String {
    json(&HeartbeatMessage { v: V, boot_id: boot_id.to_string(), count, sent_at: time(sent_at) })
}

#[derive(Serialize)]
struct TriggerAckMessage<'a> {
    v: u8,
    boot_id: String,
    part_id: Option<&'a str>,
    meas_id: Option<&'a str>,
    ack: &'static str,
    reason: Option<&'a str>,
    received_at: String,
}

/// The `cmd/trigger/ack` message.
pub fn trigger_ack(boot_id: Uuid, answer: &Answer) -> String {
    json(&TriggerAckMessage {
        v: V,
        boot_id: boot_id.to_string(),
        part_id: answer.part_id.as_deref(),
        meas_id: answer.meas_id.as_deref(),
        ack: answer.ack.word(),
        reason: answer.reason.as_deref(),
        received_at: time(answer.received_at),
    })
}

fn json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("wire types have string keys and cannot fail to serialise")
}

/// RFC 3339, UTC, always six digits of a second: what the store keeps too.
fn time(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// To the microsecond.
fn milliseconds(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The largest decimal of [`RADIUS_DIGITS`] digits that is not above `radius`.
fn rounded_down(radius: f64) -> f64 {
    let scale = 10f64.powi(RADIUS_DIGITS);
    let nearest = (radius * scale).round();
    if nearest / scale <= radius { nearest / scale } else { (nearest - 1.0) / scale }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_radius_is_rounded_down_and_a_short_one_stays() {
        for exact in [0.0, 0.29, 0.3, 0.03125, 1.1, 255.0] {
            assert_eq!(rounded_down(exact), exact);
        }
        assert_eq!(rounded_down(0.1234569), 0.123456);
        assert_eq!(rounded_down(0.3f64.next_down()), 0.299999);
    }

    proptest! {
        #[test]
        fn a_radius_on_the_wire_never_claims_more(radius in 0.0..300.0f64) {
            let sent = rounded_down(radius);
            prop_assert!(sent <= radius && radius - sent < 1.000001e-6, "{radius} was sent as {sent}");
        }
    }

    #[test]
    fn only_the_key_is_flagged_historical() {
        let message = r#"{"part_id":"\"historical\":false}","historical":false}"#;
        assert_eq!(as_historical(message), r#"{"part_id":"\"historical\":false}","historical":true}"#);
    }

    #[test]
    fn a_time_keeps_its_digits() {
        let at: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        assert_eq!(time(at), "2026-11-22T10:00:00.000000Z");
    }
}
