//! The `status` message, field by field: a [`Status`] as JSON.
//!
//! Leaves out: where the values come from (see `crate::status`), and when the message is sent (see `session`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::encoding::{V, json, time};
use crate::capture::CameraInfo;
use crate::retention::Deleted;
use crate::status::{Condition, ConditionState, DeliveryTime, SourceStatus, StageStatus, Status};
use crate::store::Backlog;

/// Whether the agent runs; the key `state` of the `status` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AgentState {
    Online,
    /// It ended in order.
    Stopped,
    /// Sent by the broker (Last Will) when the connection broke.
    Offline,
}

#[derive(Serialize)]
struct StatusMessage<'a> {
    v: u8,
    state: AgentState,
    boot_id: String,
    since: Option<String>,
    version: &'static str,
    model: &'a str,
    model_sha256: &'a str,
    provider: ProviderMessage<'a>,
    bundle: ConditionMessage<'a>,
    source: SourceMessage<'a>,
    store: ConditionMessage<'a>,
    evidence: ConditionMessage<'a>,
    clock_synchronised: Option<bool>,
    clock: ClockMessage,
    disk_free_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    deadline_ms: Option<u64>,
    verdicts: BTreeMap<&'static str, u64>,
    drops: BTreeMap<&'static str, u64>,
    delivery: Option<DeliveryMessage>,
    triggers: Option<&'a BTreeMap<&'static str, u64>>,
    queues: BTreeMap<&'static str, u64>,
    stages: BTreeMap<&'static str, StageMessage<'a>>,
    outbox: OutboxMessage<'a>,
    deleted: DeletedMessage,
}

#[derive(Serialize)]
struct ProviderMessage<'a> {
    requested: &'static str,
    active: &'a str,
    fallback: Option<&'a str>,
}

#[derive(Serialize)]
struct ConditionMessage<'a> {
    state: &'static str,
    reason: Option<&'a str>,
}

impl<'a, S: ConditionState> From<&'a Condition<S>> for ConditionMessage<'a> {
    fn from(condition: &'a Condition<S>) -> Self {
        Self { state: condition.state.word(), reason: condition.reason.as_deref() }
    }
}

#[derive(Serialize)]
struct SourceMessage<'a> {
    state: &'static str,
    reason: Option<&'a str>,
    last_frame_at: Option<String>,
    camera: Option<CameraMessage<'a>>,
}

impl<'a> From<&'a SourceStatus> for SourceMessage<'a> {
    fn from(source: &'a SourceStatus) -> Self {
        Self {
            state: source.state.word(),
            reason: source.reason.as_deref(),
            last_frame_at: source.last_frame_at.map(time),
            camera: source.camera.as_deref().map(CameraMessage::from),
        }
    }
}

#[derive(Serialize)]
struct CameraMessage<'a> {
    device: &'a str,
    path: &'a str,
    driver: &'a str,
    format: &'a str,
    width_px: u32,
    height_px: u32,
    frames_per_second: f64,
    controls_drifted: &'a [String],
}

impl<'a> From<&'a CameraInfo> for CameraMessage<'a> {
    fn from(camera: &'a CameraInfo) -> Self {
        Self {
            device: &camera.device,
            path: &camera.path,
            driver: &camera.driver,
            format: &camera.format,
            width_px: camera.width,
            height_px: camera.height,
            frames_per_second: camera.frames_per_second,
            controls_drifted: &camera.controls_drifted,
        }
    }
}

#[derive(Serialize)]
struct ClockMessage {
    steps: u64,
    last_step_ms: Option<i64>,
}

#[derive(Serialize)]
struct DeliveryMessage {
    verdicts: usize,
    p50_ms: f64,
    p99_ms: f64,
}

impl From<DeliveryTime> for DeliveryMessage {
    fn from(DeliveryTime { verdicts, p50_ms, p99_ms }: DeliveryTime) -> Self {
        Self { verdicts, p50_ms, p99_ms }
    }
}

#[derive(Serialize)]
struct StageMessage<'a> {
    turns: u64,
    working_ms: Option<u64>,
    last_error: Option<&'a str>,
    last_error_at: Option<String>,
}

impl<'a> From<&'a StageStatus> for StageMessage<'a> {
    fn from(stage: &'a StageStatus) -> Self {
        let failure = stage.last_failure.as_ref();
        Self {
            turns: stage.turns,
            working_ms: stage.working.map(|time| time.as_millis() as u64),
            last_error: failure.map(|failure| failure.error.as_str()),
            last_error_at: failure.map(|failure| time(failure.at)),
        }
    }
}

#[derive(Serialize)]
struct OutboxMessage<'a> {
    depth: u64,
    oldest_captured_at: Option<String>,
    age_secs: Option<u64>,
    refused: u64,
    refusal: Option<&'a str>,
}

#[derive(Serialize)]
struct DeletedMessage {
    evidence: BTreeMap<&'static str, u64>,
    rows: BTreeMap<&'static str, u64>,
}

impl From<&Deleted> for DeletedMessage {
    fn from(deleted: &Deleted) -> Self {
        Self { evidence: deleted.evidence_by_word(), rows: deleted.rows_by_word() }
    }
}

/// The `status` message. `since` is `None` in the Last Will: when it will be sent is not known beforehand.
pub(crate) fn status(
    boot_id: Uuid,
    state: AgentState,
    since: Option<Timestamp>,
    now: Timestamp,
    status: &Status,
    backlog: &Backlog,
) -> String {
    json(&StatusMessage {
        v: V,
        state,
        boot_id: boot_id.to_string(),
        since: since.map(time),
        version: env!("CARGO_PKG_VERSION"),
        model: &status.model.label,
        model_sha256: &status.model.sha256,
        provider: ProviderMessage {
            requested: status.model.requested.word(),
            active: &status.model.computation.provider,
            fallback: status.model.fallback.as_deref(),
        },
        bundle: (&status.bundle).into(),
        source: (&status.source).into(),
        store: (&status.store).into(),
        evidence: (&status.evidence).into(),
        clock_synchronised: status.clock.synchronised,
        clock: ClockMessage { steps: status.clock.steps, last_step_ms: status.clock.last_step_ms },
        disk_free_bytes: status.machine.disk_free_bytes,
        memory_bytes: status.machine.memory_bytes,
        deadline_ms: status.deadline_ms,
        verdicts: status.verdicts.by_word(),
        drops: status.drops.by_word(),
        delivery: status.delivery.map(DeliveryMessage::from),
        triggers: status.triggers.as_ref(),
        queues: status.queues.by_word(),
        stages: status.stages.iter().map(|stage| (stage.stage.word(), stage.into())).collect(),
        outbox: OutboxMessage {
            depth: backlog.depth,
            oldest_captured_at: backlog.oldest.map(time),
            age_secs: backlog.oldest.map(|oldest| now.duration_since(oldest).as_secs().max(0) as u64),
            refused: backlog.refused,
            refusal: backlog.refusal.as_deref(),
        },
        deleted: (&status.deleted).into(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;
    use crate::capture::{Drops, TroubleKind};
    use crate::diffusion::onnx::Provider;
    use crate::pulse::StageFailure;
    use crate::status::testing::processor;
    use crate::status::{
        BundleState, ClockStatus, DropCounts, EvidenceState, MachineStatus, ModelStatus, QueueLengths,
        SourceState, Stage, StoreState, VerdictCounts,
    };
    use crate::store::Cause;

    /// The message of an earlier version for the same status: readers must see no difference.
    const FULL: &str = r#"{"v":1,"state":"online","boot_id":"00000000-0000-0000-0000-000000000000","since":"2026-11-28T06:07:08.123456Z","version":"0.1.0","model":"demo-line@3","model_sha256":"ab12","provider":{"requested":"cuda","active":"cpu","fallback":"no device"},"bundle":{"state":"changed","reason":"sha256 is cd"},"source":{"state":"frozen","reason":"30 equal frames","last_frame_at":"2026-11-28T06:07:08.123456Z","camera":{"device":"/dev/v4l/by-id/x","path":"/dev/video0","driver":"uvcvideo","format":"MJPG","width_px":640,"height_px":480,"frames_per_second":29.97,"controls_drifted":["gain is 3, not 2"]}},"store":{"state":"read_only","reason":"why"},"evidence":{"state":"paused","reason":"low"},"clock_synchronised":false,"clock":{"steps":2,"last_step_ms":-5},"disk_free_bytes":7,"memory_bytes":8,"deadline_ms":900,"verdicts":{"abstain":3,"anomalous":2,"normal":1},"drops":{"broken":3,"driver":2,"evidence":5,"newer_frame":1,"stale":4},"delivery":{"verdicts":5,"p50_ms":1.5,"p99_ms":2.25},"triggers":{"accepted":1,"busy":2,"missed":3,"refused":4},"queues":{"frames":1,"record":2,"store":3},"stages":{"capture":{"turns":9,"working_ms":null,"last_error":null,"last_error_at":null},"inference":{"turns":9,"working_ms":null,"last_error":null,"last_error_at":null},"publish":{"turns":9,"working_ms":null,"last_error":"no broker","last_error_at":"2026-11-28T06:07:08.123456Z"},"record":{"turns":9,"working_ms":4,"last_error":null,"last_error_at":null},"retention":{"turns":9,"working_ms":null,"last_error":null,"last_error_at":null},"store":{"turns":9,"working_ms":null,"last_error":null,"last_error_at":null}},"outbox":{"depth":4,"oldest_captured_at":"2026-11-28T06:07:08.123456Z","age_secs":61,"refused":1,"refusal":"not authorized"},"deleted":{"evidence":{"age":0,"disk_space":0,"size":0},"rows":{"age":0,"disk_space":0,"size":0}}}"#;
    const BARE: &str = r#"{"v":1,"state":"offline","boot_id":"00000000-0000-0000-0000-000000000000","since":null,"version":"0.1.0","model":"demo-line@3","model_sha256":"ab12","provider":{"requested":"cpu","active":"cpu","fallback":null},"bundle":{"state":"ok","reason":null},"source":{"state":"ok","reason":null,"last_frame_at":null,"camera":null},"store":{"state":"ok","reason":null},"evidence":{"state":"ok","reason":null},"clock_synchronised":null,"clock":{"steps":0,"last_step_ms":null},"disk_free_bytes":null,"memory_bytes":null,"deadline_ms":null,"verdicts":{"abstain":3,"anomalous":2,"normal":1},"drops":{"broken":3,"driver":2,"evidence":5,"newer_frame":1,"stale":4},"delivery":null,"triggers":null,"queues":{"frames":1,"record":2,"store":3},"stages":{"capture":{"turns":9,"working_ms":null,"last_error":null,"last_error_at":null},"inference":{"turns":9,"working_ms":null,"last_error":null,"last_error_at":null},"publish":{"turns":9,"working_ms":null,"last_error":"no broker","last_error_at":"2026-11-28T06:07:08.123456Z"},"record":{"turns":9,"working_ms":4,"last_error":null,"last_error_at":null},"retention":{"turns":9,"working_ms":null,"last_error":null,"last_error_at":null},"store":{"turns":9,"working_ms":null,"last_error":null,"last_error_at":null}},"outbox":{"depth":0,"oldest_captured_at":null,"age_secs":null,"refused":0,"refusal":null},"deleted":{"evidence":{"age":0,"disk_space":0,"size":0},"rows":{"age":0,"disk_space":0,"size":0}}}"#;

    fn at() -> Timestamp {
        "2026-11-28T06:07:08.123456Z".parse().unwrap()
    }

    fn full() -> Status {
        let stage = |stage| StageStatus {
            stage,
            turns: 9,
            working: (stage == Stage::Record).then_some(Duration::from_millis(4)),
            last_failure: (stage == Stage::Publish)
                .then(|| StageFailure { at: at(), error: "no broker".to_owned() }),
        };
        Status {
            model: ModelStatus {
                label: "demo-line@3".to_owned(),
                sha256: "ab12".to_owned(),
                requested: Provider::Cuda,
                computation: processor(),
                fallback: Some("no device".to_owned()),
            },
            bundle: Condition::bad(BundleState::Changed, "sha256 is cd"),
            source: SourceStatus {
                state: SourceState::Troubled(TroubleKind::Frozen),
                reason: Some("30 equal frames".to_owned()),
                last_frame_at: Some(at()),
                camera: Some(Arc::new(CameraInfo {
                    device: "/dev/v4l/by-id/x".to_owned(),
                    path: "/dev/video0".to_owned(),
                    driver: "uvcvideo".to_owned(),
                    format: "MJPG".to_owned(),
                    width: 640,
                    height: 480,
                    frames_per_second: 29.97,
                    controls_drifted: vec!["gain is 3, not 2".to_owned()],
                })),
            },
            store: Condition::bad(StoreState::Refuses(Cause::ReadOnly), "why"),
            evidence: Condition::bad(EvidenceState::Paused, "low"),
            clock: ClockStatus { synchronised: Some(false), steps: 2, last_step_ms: Some(-5) },
            machine: MachineStatus { disk_free_bytes: Some(7), memory_bytes: Some(8) },
            deadline_ms: Some(900),
            verdicts: VerdictCounts { normal: 1, anomalous: 2, abstain: 3 },
            drops: DropCounts {
                newer_frame: 1,
                source: Drops { driver: 2, broken: 3, stale: 4 },
                evidence: 5,
            },
            delivery: Some(DeliveryTime { verdicts: 5, p50_ms: 1.5, p99_ms: 2.25 }),
            triggers: Some([("accepted", 1), ("busy", 2), ("missed", 3), ("refused", 4)].into()),
            queues: QueueLengths { frames: 1, record: 2, store: 3 },
            stages: Stage::ALL.map(stage),
            deleted: Deleted::default(),
        }
    }

    #[test]
    fn every_field_is_written_as_before() {
        let backlog =
            Backlog { depth: 4, oldest: Some(at()), refused: 1, refusal: Some("not authorized".to_owned()) };
        let now = at() + SignedDuration::from_secs(61);
        assert_eq!(status(Uuid::nil(), AgentState::Online, Some(at()), now, &full(), &backlog), FULL);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let bare = Status {
            model: ModelStatus { requested: Provider::Cpu, fallback: None, ..full().model },
            bundle: Condition::ok(),
            source: SourceStatus { state: SourceState::Ok, reason: None, last_frame_at: None, camera: None },
            store: Condition::ok(),
            evidence: Condition::ok(),
            clock: ClockStatus::default(),
            machine: MachineStatus::default(),
            deadline_ms: None,
            delivery: None,
            triggers: None,
            ..full()
        };
        assert_eq!(status(Uuid::nil(), AgentState::Offline, None, at(), &bare, &Backlog::default()), BARE);
    }
}
