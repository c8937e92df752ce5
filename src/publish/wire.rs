//! The words of the wire: what `verdict`, `status` and `heartbeat` say, field by field.
//!
//! Guarantees: field names, order and types are those of the contract (`verdict.schema.json`, `status.schema.json`,
//! checked against every message in the tests); a key never changes its type, absent values are `null`; radii are
//! rounded down to six digits, so that what is claimed on the wire is never more than what
//! was certified; no number is NaN or infinite.
//! Leaves out: topics and delivery (see `topics`, `pump`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::capture::trigger::Answer;
use crate::capture::{self, TroubleKind};
use crate::health::Pulse;
use crate::inspection::Inspection;
use crate::store::Backlog;
use crate::verdict::Verdict;

/// The JSON Schema (2020-12) of a `verdict` and a `last` message.
pub const VERDICT_SCHEMA: &str = include_str!("verdict.schema.json");

/// The JSON Schema (2020-12) of a `status` message.
pub const STATUS_SCHEMA: &str = include_str!("status.schema.json");

/// The JSON Schema (2020-12) of a `cmd/trigger` message, which the line sends.
pub const TRIGGER_SCHEMA: &str = include_str!("trigger.schema.json");

/// The JSON Schema (2020-12) of its answer, `cmd/trigger/ack`.
pub const TRIGGER_ACK_SCHEMA: &str = include_str!("trigger_ack.schema.json");

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
        alpha: parameters.alpha,
        k: parameters.k,
        draws: certificate.map_or(0, |certificate| certificate.draws),
        input: parameters.input,
        model: &parameters.model,
        provider: &parameters.provider,
        precision: &parameters.precision,
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

/// What the agent says of itself between verdicts: everything in `status` that is not about delivery.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    pub model: String,
    pub model_sha256: String,
    pub provider: Provider,
    /// `ok`; `changed` or `unreadable`: its folder is no longer what was loaded, and what was loaded goes on.
    pub bundle: Condition,
    pub source: Source,
    /// `ok`, or why nothing can be committed: the words of [`crate::store::Cause`], or `stuck`.
    pub store: Condition,
    /// `ok`; `paused`: the disk is low; `failing`: it could not be written. Verdicts go on without it.
    pub evidence: Condition,
    /// Does the clock follow a reference (NTP, PTP)? `None` where the system does not tell. Times in the messages
    /// can be trusted so far; no verdict depends on them.
    pub clock_synchronised: Option<bool>,
    pub clock: Clock,
    /// Room on the disk of the store; `None` where the system does not tell, as of memory.
    pub disk_free_bytes: Option<u64>,
    pub memory_bytes: Option<u64>,
    /// How long a reader waits before a missing verdict counts as reject.
    pub deadline_ms: Option<u64>,
    /// Since the start.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// What was not done for a frame, counted by cause.
    pub drops: BTreeMap<&'static str, u64>,
    /// `None` until the broker has a verdict that was sent as it came.
    pub delivery: Option<Delivery>,
    /// Answers to the line's triggers; `None` where it triggers nothing.
    pub triggers: Option<BTreeMap<&'static str, u64>>,
    /// What waits between two stages.
    pub queues: BTreeMap<&'static str, u64>,
    pub stages: BTreeMap<&'static str, Stage>,
}

/// A state with a name, and for a person why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    pub state: &'static str,
    pub reason: Option<String>,
}

impl Condition {
    pub fn ok() -> Self {
        Self { state: "ok", reason: None }
    }
}

/// Jumps of the wall clock since the agent started, and how far the last one went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Clock {
    pub steps: u64,
    pub last_step_ms: Option<i64>,
}

/// From the exposure of a frame to the broker's word that it has the verdict, over the newest `verdicts` of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Delivery {
    pub verdicts: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// The pulse of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Of its loop, idle ones too: a number that stands still is a stage that hangs.
    pub turns: u64,
    /// How long the present piece of work has taken; `None` for an idle stage.
    pub working_ms: Option<u64>,
    pub last_error: Option<String>,
    #[serde(serialize_with = "optional_time")]
    pub last_error_at: Option<Timestamp>,
}

impl From<&Pulse> for Stage {
    fn from(pulse: &Pulse) -> Self {
        let (last_error_at, last_error) = pulse.failure().map(|failure| (failure.at, failure.error)).unzip();
        let working_ms = pulse.working_for().map(|time| time.as_millis() as u64);
        Self { turns: pulse.turns(), working_ms, last_error, last_error_at }
    }
}

/// Which execution provider was asked for, and which one computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provider {
    pub requested: String,
    pub active: String,
    /// Why they differ; `None` when they do not.
    pub fallback: Option<String>,
}

/// The state of the station's frame source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    pub state: SourceState,
    pub reason: Option<String>,
    #[serde(serialize_with = "optional_time")]
    pub last_frame_at: Option<Timestamp>,
    /// `None` for folders and simulators, and for a camera that was never opened.
    pub camera: Option<Camera>,
}

/// The camera as it was negotiated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Camera {
    pub device: String,
    pub path: String,
    pub driver: String,
    pub format: String,
    pub width_px: u32,
    pub height_px: u32,
    pub frames_per_second: f64,
    pub controls_drifted: Vec<String>,
}

impl From<&capture::Camera> for Camera {
    fn from(camera: &capture::Camera) -> Self {
        let camera = camera.clone();
        Self {
            device: camera.device,
            path: camera.path,
            driver: camera.driver,
            format: camera.format,
            width_px: camera.width,
            height_px: camera.height,
            frames_per_second: camera.frames_per_second,
            controls_drifted: camera.controls_drifted,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    Ok,
    /// It gives no frames that may be inspected; `reason` says why.
    Troubled(TroubleKind),
    /// A folder that was read once, to its end.
    Ended,
}

impl SourceState {
    /// Every word there is.
    pub const WORDS: [&str; 9] =
        ["ok", "lost", "stalled", "frozen", "dark", "saturated", "broken", "refused", "ended"];

    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Troubled(TroubleKind::Lost) => "lost",
            Self::Troubled(TroubleKind::Stalled) => "stalled",
            Self::Troubled(TroubleKind::Frozen) => "frozen",
            Self::Troubled(TroubleKind::Dark) => "dark",
            Self::Troubled(TroubleKind::Saturated) => "saturated",
            Self::Troubled(TroubleKind::Broken) => "broken",
            Self::Troubled(TroubleKind::Refused) => "refused",
            Self::Ended => "ended",
        }
    }
}

impl Serialize for SourceState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.word().serialize(serializer)
    }
}

/// What a station is doing, as far as the broker can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    Online,
    /// Ended as asked.
    Stopped,
    /// Said by the broker in the agent's place (Last Will): the connection broke.
    Offline,
}

#[derive(Serialize)]
struct StatusMessage<'a> {
    v: u8,
    state: AgentState,
    boot_id: String,
    since: Option<String>,
    version: &'static str,
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    outbox: OutboxMessage<'a>,
}

#[derive(Serialize)]
struct OutboxMessage<'a> {
    depth: u64,
    oldest_captured_at: Option<String>,
    age_secs: Option<u64>,
    refused: u64,
    refusal: Option<&'a str>,
}

/// The `status` message. `since` is `None` in the Last Will: nobody can know beforehand when it is sent.
pub fn status(
    boot_id: Uuid,
    state: AgentState,
    since: Option<Timestamp>,
    now: Timestamp,
    snapshot: &Snapshot,
    backlog: &Backlog,
) -> String {
    json(&StatusMessage {
        v: V,
        state,
        boot_id: boot_id.to_string(),
        since: since.map(time),
        version: env!("CARGO_PKG_VERSION"),
        snapshot,
        outbox: OutboxMessage {
            depth: backlog.depth,
            oldest_captured_at: backlog.oldest.map(time),
            age_secs: backlog.oldest.map(|oldest| now.duration_since(oldest).as_secs().max(0) as u64),
            refused: backlog.refused,
            refusal: backlog.refusal.as_deref(),
        },
    })
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

fn optional_time<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(time).serialize(serializer)
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
