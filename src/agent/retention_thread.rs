//! The retention thread: checks the log once, deletes what a crash left behind, then keeps log and evidence within their
//! limits until a stop.
//!
//! Guarantees: nothing is deleted by age right after the clock has jumped. A verdict waits at most for one small step of
//! retention. What is deleted for another reason than its age is logged, at most one line a minute for each reason.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::{AgentError, FirstFault};
use super::probe::DiskProbe;
use super::record_stage::short_boot;
use super::wall_clock::WallClock;
use crate::machine;
use crate::pulse::Pulse;
use crate::retention::{
    Deleted, DeletedAmount, DiskRoom, DiskRooms, Moment, Retention, RetentionReport, Why, sweep,
};
use crate::stop::Stop;
use crate::store::{self, Origin, StoreErrorKind};

/// The pause between two steps. A twentieth of it while there is more to delete.
const PAUSE: Duration = Duration::from_secs(1);
/// How often deletions are logged at most.
const LOG: Duration = Duration::from_secs(60);

/// The retention thread, with what it needs.
pub(super) struct RetentionThread {
    pub retention: Retention,
    pub database: PathBuf,
    pub state_folder: PathBuf,
    /// The evidence folder, if it is on another disk than the state folder.
    pub evidence_disk: Option<PathBuf>,
    /// This start of every station.
    pub origins: Vec<Origin>,
    pub disk: DiskProbe,
    pub clock: WallClock,
    pub pulse: Pulse,
    pub report: watch::Sender<RetentionReport>,
    pub stop: Stop,
    pub fault: FirstFault,
}

impl RetentionThread {
    pub(super) fn run(mut self) {
        let (pulse, stop) = (self.pulse.clone(), self.stop.clone());
        let go_on = move || {
            pulse.at_work();
            !stop.requested()
        };
        match store::check(&self.database, go_on.clone()) {
            Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                return self.fault.report(AgentError::while_running(error.into()));
            }
            Err(error) => self.pulse.failed(error),
            Ok(()) => {}
        }
        for origin in &self.origins {
            let Retention { store, evidence_folder, .. } = &self.retention;
            match sweep(store, evidence_folder, &origin.station, &short_boot(origin), &go_on) {
                Ok(0) => {}
                Ok(swept) => {
                    tracing::info!(
                        "evidence: deleted {swept} folders that have no row in the log; a crash left them behind"
                    );
                }
                Err(error) => self.pulse.failed(error),
            }
        }
        for problem in self.retention.limits.never_kept_on(&self.look_at_disks()) {
            tracing::error!("disk: {problem}");
        }
        let mut journal = Journal::default();
        let mut pause = Duration::ZERO;
        while !self.stop.wait(pause) {
            self.pulse.at_work();
            let look = self.clock.look();
            // Measured again before each step: with an old number, more would be deleted than is needed.
            let disks = self.look_at_disks();
            let moment = Moment { now: look.now, at: Instant::now(), days_count: look.ages_count, disks };
            pause = match self.retention.step(&moment) {
                Ok(step) if step.did_something() => PAUSE / 20,
                Ok(_) => PAUSE,
                Err(error) => {
                    self.pulse.failed(error);
                    PAUSE
                }
            };
            self.report.send_if_modified(|report| {
                let changed = report != self.retention.report();
                report.clone_from(self.retention.report());
                changed
            });
            journal.write(&self.retention.report().deleted, moment.at);
            self.pulse.idle();
        }
        journal.write_all(&self.retention.report().deleted);
    }
}

impl RetentionThread {
    fn look_at_disks(&self) -> DiskRooms {
        let look = |folder: &Path| DiskRoom {
            free_bytes: (self.disk)(folder),
            disk_bytes: machine::disk_bytes(folder),
        };
        DiskRooms { state: look(&self.state_folder), evidence: self.evidence_disk.as_deref().map(look) }
    }
}

/// What of the deletions is in the journal already.
#[derive(Default)]
struct Journal {
    written: Deleted,
    last: Option<Instant>,
}

impl Journal {
    fn write(&mut self, deleted: &Deleted, at: Instant) {
        let is_due = self.last.is_none_or(|last| at.duration_since(last) >= LOG);
        if is_due && self.write_all(deleted) {
            self.last = Some(at);
        }
    }

    /// Returns whether there was anything to write. What was deleted by age is as it was asked for, and is not written.
    fn write_all(&mut self, deleted: &Deleted) -> bool {
        let new = deleted.since(&self.written);
        self.written = *deleted;
        let mut wrote = false;
        for (why, words) in
            [(Why::Size, "for more than max_mb"), (Why::DiskSpace, "for less than min_free_mb on the disk")]
        {
            let tally = new.of(why);
            if tally != DeletedAmount::default() {
                tracing::warn!("retention: deleted {words}: {tally}");
                wrote = true;
            }
        }
        wrote
    }
}
