//! The supervisor thread: publishes the status of each station (see `station_status`), notifies the service manager, and notices
//! faults that no stage can report itself.
//!
//! Guarantees: each of these is noticed within seconds: a task that has ended, a disk that does not answer, a bundle that was
//! replaced on the disk, a clock that jumped. If a task has ended before it was asked to, its station ends with this as the
//! reason. Every call that may hang runs on a separate thread (`probe`). No lock is held during a system call or while
//! the journal is written.
//! Leaves out: ending a thread that hangs. Only the end of the process does that.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::watch;

use super::error::{AgentError, FirstFault};
use super::service_manager::{ServiceManager, StationInSentence};
use super::station_status::{ProcessView, StationView};
use super::timing::WAIT;
use super::watchdog::{Watchdog, WatchedStage};
use crate::publish::Connection;
use crate::status::{EvidenceState, Stage, Status, StoreState};
use crate::stop::Stop;
use crate::store::Backlog;

/// How often the status is sent to the broker if only counters changed.
const REFRESH: Duration = Duration::from_secs(10);
/// How often the store's thread is made to run its loop, so that its pulse shows whether it still works.
const PING: Duration = Duration::from_secs(1);

/// Returns whether a thread or task has ended.
pub(super) type HasEnded = Box<dyn Fn() -> bool + Send>;

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
