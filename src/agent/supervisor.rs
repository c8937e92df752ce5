//! The supervisor thread: measures the machine, publishes the status of each station, notifies the service manager, and
//! notices faults that no stage can report itself.
//!
//! Guarantees: each of these is noticed within seconds: a task that has ended, a disk that does not answer, a bundle that was
//! replaced on the disk, a clock that jumped. If a task has ended before it was asked to, its station ends with this as the
//! reason. Every call that may hang runs on a separate thread ([`Probe`]). No lock is held during a system call or while
//! the journal is written.
//! Leaves out: ending a thread that hangs. Only the end of the process does that.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::watch;

use super::error::{AgentError, FirstFault};
use super::handover::Handover;
use super::probe::Probe;
use super::record_queue::QueueLength;
use super::reports::{CaptureReport, RecordReport};
use super::service_manager::{ServiceManager, StationInSentence};
use super::timing::WAIT;
use super::wall_clock::WallClock;
use super::watchdog::{Watchdog, WatchedStage};
use crate::capture::trigger::Triggers;
use crate::machine;
use crate::publish::{Connection, DeliveryTimes};
use crate::pulse::Pulse;
use crate::retention::{Bounds, RetentionLimits, RetentionReport};
use crate::status::{
    BundleState, ClockStatus, Condition, DropCounts, EvidenceState, MachineStatus, ModelStatus, QueueLengths,
    Stage, StageStatus, Status, StoreState,
};
use crate::stop::Stop;
use crate::store::{Backlog, StoreHandle};

/// How often the status is sent to the broker if only counters changed.
const REFRESH: Duration = Duration::from_secs(10);
/// How often the store's thread is made to run its loop, so that its pulse shows whether it still works.
const PING: Duration = Duration::from_secs(1);
/// A call to the disk that takes longer is reported as store state `stuck`.
const STUCK: Duration = Duration::from_secs(8);

/// Returns whether a thread or task has ended.
pub(super) type HasEnded = Box<dyn Fn() -> bool + Send>;

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
    } else if let Some(low) = process.low("store", process.machine.disk_free_bytes, bounds) {
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
    if let Some(low) = process.low("evidence", process.evidence_free_bytes, bounds) {
        let reason = format!("{low}; no evidence is kept until there is room");
        Condition::bad(EvidenceState::Paused, reason)
    } else if let (true, Some(over)) = (reported.is_ok(), &process.deletion.evidence_over) {
        Condition::bad(EvidenceState::OverLimit, over)
    } else {
        reported
    }
}

impl ProcessReading {
    /// While the disk has less room than `min_free_mb` of this section: that, and what retention does about it.
    fn low(&self, section: &str, free: Option<u64>, bounds: &Bounds) -> Option<String> {
        let mb = |bytes: u64| bytes / 1_000_000;
        let limit = mb(bounds.min_free_bytes);
        free.filter(|free| *free < bounds.min_free_bytes)?;
        Some(match &self.deletion.low {
            // Its number stays for some seconds, so that `status` is not sent for each megabyte.
            Some((free, why)) => {
                format!("disk low: {} MB are free, {section}.min_free_mb = {limit}: {why}", mb(*free))
            }
            None => format!("disk low: less is free than {section}.min_free_mb = {limit}"),
        })
    }
}

/// A station, with the channels through which its status is published.
pub(super) struct SupervisedStation {
    pub view: StationView,
    /// The newest status, for the metrics.
    pub current: watch::Sender<Arc<Status>>,
    /// The status for the broker, which is sent when it changes.
    pub announced: watch::Sender<Arc<Status>>,
    pub connection: watch::Receiver<Connection>,
    pub outbox: watch::Receiver<Backlog>,
    pub stop: Stop,
    /// Tasks that must not end before they are asked to.
    pub tasks: Vec<(&'static str, HasEnded)>,
    pub refreshed: Instant,
}

/// The supervisor, with what it watches.
pub(super) struct Supervisor {
    pub process: ProcessView,
    pub stations: Vec<SupervisedStation>,
    pub stop: Stop,
    pub fault: FirstFault,
    /// Tasks of the process that must not end at all.
    pub tasks: Vec<(&'static str, HasEnded)>,
}

impl Supervisor {
    /// Runs until the sender of `done` is dropped; then publishes the last status.
    pub(super) fn run(mut self, done: &Receiver<()>) {
        let mut manager = ServiceManager::ready();
        let mut watchdog = Watchdog::new();
        let mut pinged = Instant::now();
        loop {
            let is_done = done.recv_timeout(WAIT) != Err(RecvTimeoutError::Timeout);
            self.watch_tasks();
            if pinged.elapsed() >= PING {
                pinged = Instant::now();
                self.process.store.ping();
            }
            let reading = self.process.read();
            for station in &mut self.stations {
                station.publish(station.view.status(&reading), is_done);
            }
            if is_done || self.stop.requested() {
                manager.stopping();
            }
            if is_done {
                return;
            }
            self.report(&mut manager);
            watchdog.feed(&self.watched(), &manager);
        }
    }

    fn watch_tasks(&self) {
        watch_tasks(&self.tasks, &self.stop, &self.fault);
        for station in &self.stations {
            watch_tasks(&station.tasks, &station.stop, &self.fault);
        }
    }

    fn report(&self, manager: &mut ServiceManager) {
        let seen: Vec<_> = self
            .stations
            .iter()
            .map(|station| {
                let (current, connection) =
                    (station.current.borrow().clone(), station.connection.borrow().clone());
                (&*station.view.name, current, connection, station.outbox.borrow().depth)
            })
            .collect();
        let stations: Vec<_> = seen
            .iter()
            .map(|(name, status, connection, outbox)| StationInSentence {
                name,
                status,
                connection,
                outbox: *outbox,
            })
            .collect();
        manager.report(&stations);
    }

    fn watched(&self) -> Vec<WatchedStage> {
        let several = self.stations.len() > 1;
        let of_process =
            [(Stage::Store, self.process.store.pulse()), (Stage::Retention, &self.process.retention)];
        let mut watched: Vec<_> = of_process
            .into_iter()
            .map(|(stage, pulse)| {
                WatchedStage::new(stage.word().to_owned(), stage, pulse.still_for(), Duration::ZERO)
            })
            .collect();
        for StationView { name, pulses, call_limit, .. } in self.stations.iter().map(|station| &station.view)
        {
            let of_station = [
                (Stage::Capture, &pulses.capture),
                (Stage::Inference, &pulses.inference),
                (Stage::Record, &pulses.record),
                (Stage::Publish, &pulses.publish),
            ];
            watched.extend(of_station.into_iter().map(|(stage, pulse)| {
                let name = if several { format!("{name}/{}", stage.word()) } else { stage.word().to_owned() };
                WatchedStage::new(name, stage, pulse.still_for(), *call_limit)
            }));
        }
        watched
    }
}

/// Reports a fault and requests `stop` if one of `tasks` has ended before it was asked to.
fn watch_tasks(tasks: &[(&'static str, HasEnded)], stop: &Stop, fault: &FirstFault) {
    for (name, _) in tasks.iter().filter(|(_, has_ended)| has_ended()) {
        if !stop.requested() {
            fault.report(AgentError::Stopped(anyhow!("{name} has ended before it was asked to")));
            stop.request();
        }
    }
}

impl SupervisedStation {
    fn publish(&mut self, status: Status, is_last: bool) {
        let status = Arc::new(status);
        let before = self.current.send_replace(Arc::clone(&status));
        log_changes_that_no_stage_reports(&before, &status);
        if is_last
            || self.refreshed.elapsed() >= REFRESH
            || status.conditions_differ(&self.announced.borrow())
        {
            self.refreshed = Instant::now();
            self.announced.send_replace(status);
        }
    }
}

/// Logs changes that the supervisor alone notices. The stages log the changes that they report.
fn log_changes_that_no_stage_reports(before: &Status, now: &Status) {
    now.bundle.log_change("bundle", before.bundle.state);
    let own = |state| matches!(state, StoreState::Stuck | StoreState::LowDisk | StoreState::OverLimit);
    if own(now.store.state) || (own(before.store.state) && now.store.is_ok()) {
        now.store.log_change("store", before.store.state);
    }
    let own = |state| matches!(state, EvidenceState::Paused | EvidenceState::OverLimit);
    if own(now.evidence.state) || (own(before.evidence.state) && now.evidence.is_ok()) {
        now.evidence.log_change("evidence", before.evidence.state);
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
            deletion: RetentionReport { low, ..RetentionReport::default() },
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

    #[test]
    fn a_task_that_ends_unasked_stops_what_it_belongs_to_and_nothing_else() {
        let (process, fault) = (Stop::default(), FirstFault::default());
        let (first, second) = (process.child(), process.child());
        let tasks = |has_ended: bool| -> Vec<(&'static str, HasEnded)> {
            vec![("publish", Box::new(move || has_ended))]
        };
        watch_tasks(&tasks(false), &first, &fault);
        assert!(!first.requested() && fault.take().is_none());
        watch_tasks(&tasks(true), &first, &fault);
        assert!(first.requested() && !second.requested() && !process.requested());
        let Some(AgentError::Stopped(reason)) = fault.take() else { panic!("no fault, or one that stays") };
        assert_eq!(reason.to_string(), "publish has ended before it was asked to");
        second.request();
        watch_tasks(&tasks(true), &second, &fault);
        assert!(fault.take().is_none(), "it was asked to");
    }
}
