//! What a station says of itself, field by field: `status`, and the [`Snapshot`] that it and the metrics are made of.
//!
//! Leaves out: what is true of a station now (`agent::live` knows), and when it is said (`session`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{V, json, time};
use crate::capture::{self, TroubleKind};
use crate::health::Pulse;
use crate::store::Backlog;

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

impl From<&capture::CameraInfo> for Camera {
    fn from(camera: &capture::CameraInfo) -> Self {
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

fn optional_time<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(time).serialize(serializer)
}
