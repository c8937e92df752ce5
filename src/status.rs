//! How a station is, as one value: what `status`, the metrics and the service manager report.
//!
//! Guarantees: every state and every stage is an enum whose word is part of the contract; a [`Status`] is a plain value
//! that holds no lock and reads nothing.
//! Leaves out: who finds out (`agent::supervisor`), and the JSON (`publish::wire`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::capture::{CameraInfo, Drops, TroubleKind};
use crate::diffusion::onnx::Provider;
use crate::pulse::{Pulse, StageFailure};
use crate::store::Cause;
use crate::verdict::Verdict;

/// A station at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub model: ModelStatus,
    pub bundle: Condition<BundleState>,
    pub source: SourceStatus,
    pub store: Condition<StoreState>,
    pub evidence: Condition<EvidenceState>,
    pub clock: ClockStatus,
    pub machine: MachineStatus,
    /// How long a reader waits before a missing verdict counts as reject.
    pub deadline_ms: Option<u64>,
    /// Since the start, as are all counts here.
    pub verdicts: VerdictCounts,
    pub drops: DropCounts,
    /// `None` until the broker has acknowledged a verdict that was sent live.
    pub delivery: Option<DeliveryTime>,
    /// Answers to the line's triggers by their word; `None` where the line triggers nothing.
    pub triggers: Option<BTreeMap<&'static str, u64>>,
    pub queues: QueueLengths,
    pub stages: [StageStatus; Stage::ALL.len()],
}

/// What computes the scores; does not change while the station runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStatus {
    /// Bundle name and version, for people: `demo-line@2`.
    pub label: String,
    pub sha256: String,
    pub requested: Provider,
    pub active: Provider,
    /// Why the two differ; `None` when they do not.
    pub fallback: Option<String>,
}

/// A state, and for a person why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition<S> {
    pub state: S,
    /// `None` while all is well.
    pub reason: Option<String>,
}

/// A state of a condition.
pub trait ConditionState: Copy + Eq {
    /// All is well.
    const OK: Self;

    /// As it is written in `status`.
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

    /// Logs that the state of `what` is another than `before`. Call it without holding a lock: the journal may block.
    pub fn log_change(&self, what: &str, before: S) {
        if self.state != before {
            match &self.reason {
                None => tracing::info!("{what}: {} again", self.state.word()),
                Some(reason) => tracing::error!("{what}: {}: {reason}", self.state.word()),
            }
        }
    }
}

/// Is the bundle's folder what was loaded? What was loaded is used until the next start.
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

/// Can inspections be committed?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreState {
    Ok,
    /// The disk takes nothing, and why.
    Refuses(Cause),
    /// A call to the disk has not returned.
    Stuck,
}

impl ConditionState for StoreState {
    const OK: Self = Self::Ok;

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refuses(cause) => cause.word(),
            Self::Stuck => "stuck",
        }
    }
}

/// Is evidence kept? Verdicts do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceState {
    Ok,
    /// The disk is low.
    Paused,
    /// It could not be written.
    Failing,
}

impl ConditionState for EvidenceState {
    const OK: Self = Self::Ok;

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Paused => "paused",
            Self::Failing => "failing",
        }
    }
}

/// The station's frame source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStatus {
    pub state: SourceState,
    pub reason: Option<String>,
    pub last_frame_at: Option<Timestamp>,
    /// `None` for folders and simulators, and for a camera that was never opened.
    pub camera: Option<Arc<CameraInfo>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    Ok,
    /// It gives no frames that may be inspected.
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

/// The wall clock. Times in messages can be trusted as far as this goes; no verdict depends on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockStatus {
    /// Does it follow a reference (NTP, PTP)? `None` where the system does not say.
    pub synchronised: Option<bool>,
    /// Jumps since the agent started, and how far the last one went.
    pub steps: u64,
    pub last_step_ms: Option<i64>,
}

/// `None` where the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineStatus {
    /// Room on the disk of the state folder, as it was measured last.
    pub disk_free_bytes: Option<u64>,
    /// Resident memory of the agent.
    pub memory_bytes: Option<u64>,
}

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

/// What was not done for a frame, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DropCounts {
    /// Frames that gave way to newer ones before inspection.
    pub newer_frame: u64,
    pub source: Drops,
    /// Evidence that was wanted and could not be kept.
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

/// From the exposure of a frame until the broker's PUBACK for its verdict, over the newest `verdicts` of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeliveryTime {
    pub verdicts: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// What waits between two stages.
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

/// The stages that a frame and its verdict pass, and `Retention` beside them.
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

/// The pulse of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageStatus {
    pub stage: Stage,
    /// Passes of its loop, idle ones too: a number that does not grow is a stage that hangs.
    pub turns: u64,
    /// How long the present piece of work has taken; `None` for an idle stage.
    pub working: Option<Duration>,
    pub last_failure: Option<StageFailure>,
}

impl StageStatus {
    pub fn of(stage: Stage, pulse: &Pulse) -> Self {
        Self { stage, turns: pulse.turns(), working: pulse.working_for(), last_failure: pulse.failure() }
    }
}

impl Status {
    /// Has something changed that a reader must hear of at once? Counters have not, nor has a reason, which may hold a
    /// number that grows with every look.
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

    /// A station that is well and has done nothing yet.
    pub fn idle_station() -> Status {
        Status {
            model: ModelStatus {
                label: "made-up@3".to_owned(),
                sha256: "ab".repeat(32),
                requested: Provider::Cuda,
                active: Provider::Cpu,
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
        }
    }
}
