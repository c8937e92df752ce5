//! The status of a station, put together from what its stages report, what retention reports, and what is measured of the machine.
//!
//! Guarantees: reading never waits for a disk; a call to the disk that does not return is the state `stuck`. What is worse is said: a
//! disk that is low on space is no state while the store refuses writes.
//! Leaves out: publishing the status (see `supervisor`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::handover::Handover;
use super::probe::Probe;
use super::record_queue::QueueLength;
use super::reports::{CaptureReport, RecordReport};
use super::wall_clock::WallClock;
use crate::capture::trigger::Triggers;
use crate::machine;
use crate::publish::DeliveryTimes;
use crate::pulse::Pulse;
use crate::retention::{Bounds, LOOKS, RetentionLimits, RetentionReport};
use crate::status::{
    BundleState, ClockStatus, Condition, DropCounts, EvidenceState, MachineStatus, ModelStatus, QueueLengths,
    Stage, StageStatus, Status, StoreState,
};
use crate::store::StoreHandle;

/// A call to the disk that takes longer is reported as store state `stuck`.
const STUCK: Duration = Duration::from_secs(8);

/// What exists once in the process, as the supervisor sees it.
pub(super) struct ProcessView {
    pub store: StoreHandle,
    pub retention: Pulse,
    /// Free space on the disk of the state folder.
    pub disk: Probe<Option<u64>>,
    /// The same of the disk of the evidence, if that is another one.
    pub evidence_disk: Option<Probe<Option<u64>>>,
    pub clock: WallClock,
    /// What retention reports.
    pub deletion: watch::Receiver<RetentionReport>,
}

/// The state of the process at one time, the same for all stations.
pub(super) struct ProcessReading {
    machine: MachineStatus,
    clock: ClockStatus,
    store: StageStatus,
    retention: StageStatus,
    store_queue: u64,
    /// The disk call that has been running the longest, with its duration; `None` if none is running.
    hanging: Option<(&'static str, Duration)>,
    deletion: RetentionReport,
    /// Free space on the disk of the evidence.
    evidence_free_bytes: Option<u64>,
}

impl ProcessView {
    pub(super) fn read(&self) -> ProcessReading {
        let hanging = [
            ("log: a write has not returned", self.store.pulse().working_for()),
            ("disk: reading its free space has not returned", self.disk.open_for()),
            (
                "disk of the evidence: reading its free space has not returned",
                self.evidence_disk.as_ref().and_then(Probe::open_for),
            ),
        ];
        ProcessReading {
            machine: MachineStatus {
                disk_free_bytes: self.disk.newest(),
                memory_bytes: machine::resident_bytes(),
            },
            clock: self.clock.look().status,
            store: StageStatus::of(Stage::Store, self.store.pulse()),
            retention: StageStatus::of(Stage::Retention, &self.retention),
            store_queue: self.store.queued() as u64,
            hanging: longest(hanging),
            deletion: self.deletion.borrow().clone(),
            evidence_free_bytes: self.evidence_disk.as_ref().unwrap_or(&self.disk).newest(),
        }
    }
}

/// The call that has been running the longest.
fn longest(
    calls: impl IntoIterator<Item = (&'static str, Option<Duration>)>,
) -> Option<(&'static str, Duration)> {
    calls.into_iter().filter_map(|(what, time)| Some((what, time?))).max_by_key(|(_, time)| *time)
}

/// The pulses of the stages of a station.
#[derive(Debug, Clone, Default)]
pub(super) struct StationPulses {
    pub capture: Pulse,
    pub inference: Pulse,
    pub record: Pulse,
    pub publish: Pulse,
}

/// A station, as the supervisor sees it.
pub(super) struct StationView {
    pub name: Arc<str>,
    pub model: ModelStatus,
    pub deadline_ms: Option<u64>,
    pub call_limit: Duration,
    pub limits: RetentionLimits,
    pub capture: watch::Receiver<CaptureReport>,
    pub record: watch::Receiver<RecordReport>,
    pub bundle: Probe<Condition<BundleState>>,
    pub handover: Arc<Handover>,
    pub to_record: QueueLength,
    pub triggers: Option<Triggers>,
    pub delivery: DeliveryTimes,
    pub pulses: StationPulses,
}

impl StationView {
    /// The status of the station now.
    pub(super) fn status(&self, process: &ProcessReading) -> Status {
        let capture = self.capture.borrow().clone();
        let record = self.record.borrow().clone();
        let pulses = &self.pulses;
        Status {
            model: self.model.clone(),
            bundle: self.bundle.newest(),
            source: capture.source,
            store: store_condition(
                with_room(record.store, process, &self.limits.rows),
                pulses.record.working_for(),
                process.hanging,
            ),
            evidence: evidence_condition(record.evidence, process, &self.limits.evidence),
            clock: process.clock,
            machine: process.machine,
            deadline_ms: self.deadline_ms,
            verdicts: record.verdicts,
            drops: DropCounts {
                newer_frame: self.handover.dropped(),
                source: capture.drops,
                evidence: record.evidence_lost,
            },
            delivery: self.delivery.figures(),
            triggers: self.triggers.as_ref().map(Triggers::counts),
            queues: QueueLengths {
                frames: self.handover.waiting() as u64,
                record: self.to_record.read(),
                store: process.store_queue,
            },
            stages: [
                StageStatus::of(Stage::Capture, &pulses.capture),
                StageStatus::of(Stage::Inference, &pulses.inference),
                StageStatus::of(Stage::Record, &pulses.record),
                process.store.clone(),
                StageStatus::of(Stage::Publish, &pulses.publish),
                process.retention.clone(),
            ],
            deleted: process.deletion.deleted,
        }
    }
}

/// The store's condition: `stuck` while a disk call does not return, else what the record stage has reported.
fn store_condition(
    reported: Condition<StoreState>,
    record: Option<Duration>,
    process: Option<(&'static str, Duration)>,
) -> Condition<StoreState> {
    let record = ("evidence or commit: a write has not returned", record);
    let process = process.map(|(what, time)| (what, Some(time)));
    match longest(process.into_iter().chain([record])) {
        Some((what, time)) if time > STUCK => Condition::bad(
            StoreState::Stuck,
            format!("{what} for {} s; look at the disk, or at the network it is on", time.as_secs()),
        ),
        _ => reported,
    }
}

/// What the record stage has reported of the store, or else that the disk is low on space, or that the log is too large.
fn with_room(
    reported: Condition<StoreState>,
    process: &ProcessReading,
    bounds: &Bounds,
) -> Condition<StoreState> {
    if !reported.is_ok() {
        reported
    } else if let Some(low) =
        process.low("store", process.machine.disk_free_bytes, &process.deletion.low_for_rows, bounds)
    {
        Condition::bad(StoreState::LowDisk, low)
    } else if let Some(over) = &process.deletion.rows_over {
        Condition::bad(StoreState::OverLimit, over)
    } else {
        reported
    }
}

/// The condition of evidence: `paused` while the disk is low on space, else what the record stage has reported, or that there is
/// too much.
fn evidence_condition(
    reported: Condition<EvidenceState>,
    process: &ProcessReading,
    bounds: &Bounds,
) -> Condition<EvidenceState> {
    if let Some(low) =
        process.low("evidence", process.evidence_free_bytes, &process.deletion.low_for_evidence, bounds)
    {
        let reason = format!("{low}; no evidence is kept until there is room");
        Condition::bad(EvidenceState::Paused, reason)
    } else if let (true, Some(over)) = (reported.is_ok(), &process.deletion.evidence_over) {
        Condition::bad(EvidenceState::OverLimit, over)
    } else {
        reported
    }
}

impl ProcessReading {
    /// While the disk has less room than `min_free_mb` of this section: that, and what retention does about it (`done`).
    fn low(
        &self,
        section: &str,
        free: Option<u64>,
        done: &Option<(u64, String)>,
        bounds: &Bounds,
    ) -> Option<String> {
        let free = free.filter(|free| *free < bounds.min_free_bytes)?;
        // Retention's number stays for some seconds, so that `status` is not sent for each megabyte. It has none yet when the
        // limit has just been missed.
        let (free, why) = done.as_ref().map_or((free, LOOKS), |(free, why)| (*free, why));
        let mb = |bytes: u64| bytes / 1_000_000;
        let limit = mb(bounds.min_free_bytes);
        Some(format!("disk low: {} MB are free, {section}.min_free_mb = {limit}: {why}", mb(free)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Cause;

    const LONG: Option<Duration> = Some(Duration::from_secs(9));
    const SHORT: Option<Duration> = Some(Duration::from_secs(8));

    #[test]
    fn a_call_to_the_disk_that_does_not_return_is_stuck_until_it_does() {
        let reported = || Condition::bad(StoreState::Refuses(Cause::Full), "full");
        assert_eq!(store_condition(reported(), None, None), reported());
        assert_eq!(store_condition(reported(), SHORT, None), reported());
        let stuck = store_condition(reported(), LONG, None);
        assert_eq!(stuck.state, StoreState::Stuck);
        assert!(stuck.reason.unwrap().contains("evidence or commit: a write has not returned for 9 s"));
        let disk =
            store_condition(Condition::ok(), SHORT, Some(("disk: no answer", Duration::from_secs(10))));
        assert!(disk.reason.unwrap().starts_with("disk: no answer for 10 s"), "the longest one is named");
    }

    /// A process with this free space, and what retention does about it.
    fn low(free: Option<u64>, why: &str) -> ProcessReading {
        let low = free.map(|free| (free, why.to_owned()));
        ProcessReading {
            machine: MachineStatus { disk_free_bytes: free, memory_bytes: None },
            clock: ClockStatus::default(),
            store: StageStatus::of(Stage::Store, &Pulse::default()),
            retention: StageStatus::of(Stage::Retention, &Pulse::default()),
            store_queue: 0,
            hanging: None,
            deletion: RetentionReport {
                low_for_evidence: low.clone(),
                low_for_rows: low,
                ..RetentionReport::default()
            },
            evidence_free_bytes: free,
        }
    }

    #[test]
    fn a_low_disk_pauses_evidence_and_is_a_state_of_the_store() {
        let bounds = Bounds { days: 1, bytes: 1, min_free_bytes: 10_000_000 };
        let (evidence, store) = (Condition::<EvidenceState>::ok, Condition::<StoreState>::ok);
        let disk = low(Some(9_000_000), "make room");
        let paused = evidence_condition(evidence(), &disk, &bounds);
        assert_eq!(paused.state, EvidenceState::Paused);
        let reason = paused.reason.unwrap();
        assert!(
            reason.starts_with("disk low: 9 MB are free, evidence.min_free_mb = 10: make room"),
            "{reason}"
        );
        assert_eq!(with_room(store(), &disk, &bounds).state, StoreState::LowDisk);
        let full = || Condition::bad(StoreState::Refuses(Cause::Full), "full");
        assert_eq!(with_room(full(), &disk, &bounds), full(), "what is worse is said");
        for free in [Some(10_000_000), None] {
            let disk = low(free, "");
            assert!(evidence_condition(evidence(), &disk, &bounds).is_ok(), "kept again when there is room");
            assert!(with_room(store(), &disk, &bounds).is_ok());
        }
        let failing = || Condition::bad(EvidenceState::Failing, "no rights");
        assert_eq!(evidence_condition(failing(), &low(None, ""), &bounds), failing());
    }

    #[test]
    fn more_than_there_may_be_is_a_state() {
        let bounds = Bounds { days: 1, bytes: 1, min_free_bytes: 0 };
        let over = || Some("waits for the broker".to_owned());
        let mut process = low(None, "");
        process.deletion = RetentionReport { evidence_over: over(), rows_over: over(), ..Default::default() };
        assert_eq!(with_room(Condition::ok(), &process, &bounds).state, StoreState::OverLimit);
        let evidence = evidence_condition(Condition::ok(), &process, &bounds);
        assert_eq!((evidence.state, evidence.reason), (EvidenceState::OverLimit, over()));
    }
}
