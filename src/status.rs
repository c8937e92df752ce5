//! The status of a station as one value, which the `status` message, the metrics and the service manager report.
//!
//! Guarantees: every state and every stage is an enum, and the word of each value never changes, since messages and metrics
//! contain it. A [`Status`] is a plain value without locks and without IO.
//! Leaves out: measuring (see `agent::supervisor`), and the JSON (see `publish::wire`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::capture::{CameraInfo, Drops, TroubleKind};
use crate::computation::Computation;
use crate::diffusion::onnx::Provider;
use crate::pulse::{Pulse, StageFailure};
use crate::retention::Deleted;
use crate::store::Cause;
use crate::verdict::Verdict;

/// The status of a station at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub model: ModelStatus,
    pub bundle: Condition<BundleState>,
    pub source: SourceStatus,
    pub store: Condition<StoreState>,
    pub evidence: Condition<EvidenceState>,
    pub clock: ClockStatus,
    pub machine: MachineStatus,
    /// The deadline of a verdict: a reader that has no verdict by then should reject the part. `None` without a deadline.
    pub deadline_ms: Option<u64>,
    /// Counted since the start, like all counts here.
    pub verdicts: VerdictCounts,
    pub drops: DropCounts,
    /// `None` until the broker has acknowledged a verdict that was sent live.
    pub delivery: Option<DeliveryTime>,
    /// How many triggers were answered with which word; `None` if the line gives no triggers.
    pub triggers: Option<BTreeMap<&'static str, u64>>,
    pub queues: QueueLengths,
    pub stages: [StageStatus; Stage::ALL.len()],
    /// What retention has deleted, of all stations together.
    pub deleted: Deleted,
}

/// The model that computes the scores, and its provider. Does not change while the station runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStatus {
    /// Bundle name and version, for people: `demo-line@2`.
    pub label: String,
    pub sha256: String,
    pub requested: Provider,
    /// What computes, among it the provider that runs.
    pub computation: Computation,
    /// Why another provider than the requested one runs; `None` if the requested one does.
    pub fallback: Option<String>,
}

/// A state, and for people the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition<S> {
    pub state: S,
    /// `None` while the state is ok.
    pub reason: Option<String>,
}

/// The state of a condition.
pub trait ConditionState: Copy + Eq {
    /// The state without any trouble.
    const OK: Self;

    /// The word for it in the `status` message.
    fn word(self) -> &'static str;
}

impl<S: ConditionState> Condition<S> {
    pub fn ok() -> Self {
        Self { state: S::OK, reason: None }
    }

    pub fn bad(state: S, reason: impl ToString) -> Self {
        Self { state, reason: Some(reason.to_string()) }
    }

    pub fn is_ok(&self) -> bool {
        self.state == S::OK
    }

    /// Logs the state of `what` if it is not `before`. Do not call it while a lock is held, since writing the journal may block.
    pub fn log_change(&self, what: &str, before: S) {
        if self.state != before {
            match &self.reason {
                None => tracing::info!("{what}: {} again", self.state.word()),
                Some(reason) => tracing::error!("{what}: {}: {reason}", self.state.word()),
            }
        }
    }
}

/// Whether the bundle on the disk is still the one that was loaded. The loaded one is used until the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleState {
    Ok,
    Changed,
    Unreadable,
}

impl ConditionState for BundleState {
    const OK: Self = Self::Ok;

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Changed => "changed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Whether inspections can be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreState {
    Ok,
    /// Nothing can be written, and why.
    Refuses(Cause),
    /// A call to the disk has not returned.
    Stuck,
    /// The disk is low on space. Inspections are still committed.
    LowDisk,
    /// The log is larger than it may be, and nothing of it may be deleted. Inspections are still committed.
    OverLimit,
}

impl ConditionState for StoreState {
    const OK: Self = Self::Ok;

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refuses(cause) => cause.word(),
            Self::Stuck => "stuck",
            Self::LowDisk => "low_disk",
            Self::OverLimit => "over_limit",
        }
    }
}

/// Whether evidence is kept. Verdicts do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceState {
    Ok,
    /// The disk is low on space.
    Paused,
    /// It could not be written.
    Failing,
    /// There is more than there may be, and nothing of it may be deleted. It is still kept.
    OverLimit,
}

impl ConditionState for EvidenceState {
    const OK: Self = Self::Ok;

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Paused => "paused",
            Self::Failing => "failing",
            Self::OverLimit => "over_limit",
        }
    }
}

/// The status of the station's source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStatus {
    pub state: SourceState,
    pub reason: Option<String>,
    pub last_frame_at: Option<Timestamp>,
    /// `None` for folders and simulators, and for a camera that was never opened.
    pub camera: Option<Arc<CameraInfo>>,
}

/// The state of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    Ok,
    /// It delivers no frames, or none that may be inspected.
    Troubled(TroubleKind),
    /// It will deliver no more frames: a folder was read once, to its end.
    Ended,
}

impl SourceState {
    /// The words of all states.
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

/// The status of the wall clock: how far the times in messages can be trusted. No verdict depends on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockStatus {
    /// Whether it follows a reference (NTP, PTP). `None` if the system does not know.
    pub synchronised: Option<bool>,
    /// Jumps since the agent started, and how far the last one went.
    pub steps: u64,
    pub last_step_ms: Option<i64>,
}

/// The status of the machine. `None` stands for a number that the system does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineStatus {
    /// Free space on the disk of the state folder when it was last measured.
    pub disk_free_bytes: Option<u64>,
    /// Resident memory of the agent.
    pub memory_bytes: Option<u64>,
}

/// How many verdicts there were of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    pub normal: u64,
    pub anomalous: u64,
    pub abstain: u64,
}

impl VerdictCounts {
    pub fn count(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Normal => &mut self.normal,
            Verdict::Anomalous => &mut self.anomalous,
            Verdict::Abstain(_) => &mut self.abstain,
        } += 1;
    }

    pub fn by_word(&self) -> BTreeMap<&'static str, u64> {
        [("normal", self.normal), ("anomalous", self.anomalous), ("abstain", self.abstain)].into()
    }
}

/// How many frames were dropped and how often evidence was lost, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DropCounts {
    /// Frames that were replaced by newer ones before they were inspected.
    pub newer_frame: u64,
    pub source: Drops,
    /// Inspections whose evidence should be kept but could not.
    pub evidence: u64,
}

impl DropCounts {
    pub fn by_word(&self) -> BTreeMap<&'static str, u64> {
        [
            ("newer_frame", self.newer_frame),
            ("driver", self.source.driver),
            ("broken", self.source.broken),
            ("stale", self.source.stale),
            ("evidence", self.evidence),
        ]
        .into()
    }
}

/// The time from the exposure of a frame until the broker's PUBACK for its verdict, over the newest `verdicts` of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeliveryTime {
    pub verdicts: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// How many items wait between the stages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueLengths {
    pub frames: u64,
    pub record: u64,
    pub store: u64,
}

impl QueueLengths {
    pub fn by_word(&self) -> BTreeMap<&'static str, u64> {
        [("frames", self.frames), ("record", self.record), ("store", self.store)].into()
    }
}

/// The stages of the agent: those that a frame and its verdict pass through, in this order, and `Retention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Capture,
    Inference,
    Record,
    Store,
    Publish,
    Retention,
}

impl Stage {
    pub const ALL: [Self; 6] =
        [Self::Capture, Self::Inference, Self::Record, Self::Store, Self::Publish, Self::Retention];

    pub fn word(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Inference => "inference",
            Self::Record => "record",
            Self::Store => "store",
            Self::Publish => "publish",
            Self::Retention => "retention",
        }
    }
}

/// The status of one stage, read from its pulse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageStatus {
    pub stage: Stage,
    /// How often its loop has run, also when it was idle. If the number does not grow, the stage hangs.
    pub turns: u64,
    /// How long the stage has been at its present piece of work; `None` for an idle stage.
    pub working: Option<Duration>,
    pub last_failure: Option<StageFailure>,
}

impl StageStatus {
    pub fn of(stage: Stage, pulse: &Pulse) -> Self {
        Self { stage, turns: pulse.turns(), working: pulse.working_for(), last_failure: pulse.failure() }
    }
}

impl Status {
    /// Whether something has changed that readers must know at once. Counters do not count.
    pub fn conditions_differ(&self, other: &Self) -> bool {
        let of = |status: &Self| {
            let Self { bundle, source, store, evidence, clock, .. } = status;
            ((source.state, source.camera.clone()), (bundle.clone(), store.clone(), evidence.clone()), *clock)
        };
        of(self) != of(other)
    }
}

/// For tests only.
#[doc(hidden)]
pub(crate) mod testing {
    use super::*;

    /// One thread of a processor.
    pub(crate) fn processor() -> Computation {
        Computation {
            provider: "cpu".to_owned(),
            precision: "fp32".to_owned(),
            onnxruntime: String::new(),
            threads: 1,
            cpu: String::new(),
        }
    }

    /// The status of a station without troubles that has done nothing yet.
    pub fn idle_station() -> Status {
        Status {
            model: ModelStatus {
                label: "made-up@3".to_owned(),
                sha256: "ab".repeat(32),
                requested: Provider::Cuda,
                computation: processor(),
                fallback: Some("no GPU".to_owned()),
            },
            source: SourceStatus { state: SourceState::Ok, reason: None, last_frame_at: None, camera: None },
            bundle: Condition::ok(),
            store: Condition::ok(),
            evidence: Condition::ok(),
            clock: ClockStatus::default(),
            machine: MachineStatus { disk_free_bytes: Some(1 << 30), memory_bytes: None },
            deadline_ms: Some(250),
            verdicts: VerdictCounts::default(),
            drops: DropCounts::default(),
            delivery: None,
            triggers: None,
            queues: QueueLengths::default(),
            stages: Stage::ALL.map(|stage| StageStatus::of(stage, &Pulse::default())),
            deleted: Deleted::default(),
        }
    }
}
