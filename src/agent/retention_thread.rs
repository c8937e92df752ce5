//! The retention thread: checks the log once, deletes what a crash left behind, then keeps log and evidence within their
//! limits until a stop.
//!
//! Guarantees: nothing is deleted by age right after the clock has jumped. A verdict waits at most for one small step of
//! retention.

use std::path::PathBuf;
use std::time::Duration;

use super::error::{AgentError, FirstFault};
use super::probe::DiskProbe;
use super::record_stage::short_boot;
use super::wall_clock::WallClock;
use crate::pulse::Pulse;
use crate::retention::{Moment, Retention};
use crate::stop::Stop;
use crate::store::{self, Origin, StoreErrorKind};

/// The pause between two steps. A twentieth of it while there is more to delete.
const PAUSE: Duration = Duration::from_secs(1);

/// The retention thread, with what it needs.
pub(super) struct RetentionThread {
    pub retention: Retention,
    pub database: PathBuf,
    pub state_folder: PathBuf,
    /// This start of every station.
    pub origins: Vec<Origin>,
    pub disk: DiskProbe,
    pub clock: WallClock,
    pub pulse: Pulse,
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
            match self.retention.sweep(&origin.station, &short_boot(origin), &go_on) {
                Ok(0) => {}
                Ok(swept) => {
                    tracing::info!(
                        "evidence: deleted {swept} folders that have no row in the log; a crash left them behind"
                    );
                }
                Err(error) => self.pulse.failed(error),
            }
        }
        let mut pause = Duration::ZERO;
        while !self.stop.wait(pause) {
            self.pulse.at_work();
            let look = self.clock.look();
            // Measured again before each step: with an old number, more would be deleted than is needed.
            let free_bytes = (self.disk)(&self.state_folder);
            let moment = Moment { now: look.now, days_count: look.ages_count, free_bytes };
            pause = match self.retention.step(&moment) {
                Ok(step) if step.did_something() => PAUSE / 20,
                Ok(_) => PAUSE,
                Err(error) => {
                    self.pulse.failed(error);
                    PAUSE
                }
            };
            self.pulse.idle();
        }
    }
}
