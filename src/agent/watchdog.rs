//! Sends signs of life to the service manager's watchdog while no stage hangs, and has the limits that decide this.
//!
//! Guarantees: `WATCHDOG=1` is sent only while the pulse of every stage of every station changes. A stage whose pulse has not
//! changed for longer than its limit is named in the journal, once. A stage that only waits counts as alive, so a missing
//! camera, trigger or broker, or a full disk, never stops the signs of life.
//! Leaves out: the time after a stop was requested. Then the limits of the stop and those of the service manager apply.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::service_manager::ServiceManager;
use crate::status::Stage;

/// How long the pulse of a stage may stay unchanged. Longer than anything a stage does on a slow machine, such as a write to a
/// slow disk or the opening of a camera.
const SLOWEST: Duration = Duration::from_secs(20);
/// The same for a step of retention, which deletes file by file.
const SLOWEST_RETENTION: Duration = Duration::from_secs(60);

/// How long the pulse of a stage may stay unchanged, if a model call may take `call_limit`.
fn limit(stage: Stage, call_limit: Duration) -> Duration {
    match stage {
        // The stage itself ends the station if a call takes longer than `call_limit`. This is for when the stage hangs too.
        Stage::Inference => call_limit + SLOWEST,
        Stage::Retention => SLOWEST_RETENTION,
        Stage::Capture | Stage::Record | Stage::Store | Stage::Publish => SLOWEST,
    }
}

/// A stage as the watchdog sees it.
pub(super) struct WatchedStage {
    /// The name of the stage, with its station if there are several.
    pub name: String,
    since_beat: Duration,
    limit: Duration,
}

impl WatchedStage {
    /// `since_beat` is how long the pulse has not changed.
    pub(super) fn new(name: String, stage: Stage, since_beat: Duration, call_limit: Duration) -> Self {
        Self { name, since_beat, limit: limit(stage, call_limit) }
    }

    fn hangs(&self) -> bool {
        self.since_beat > self.limit
    }
}

/// Watches all stages of the process.
pub(super) struct Watchdog {
    /// The time between two signs of life; `None` if the service manager expects none.
    period: Option<Duration>,
    fed: Option<Instant>,
    hanging: BTreeSet<String>,
}

impl Watchdog {
    /// Uses the period that the service manager expects.
    pub(super) fn new() -> Self {
        Self { period: ServiceManager::watchdog_period(), fed: None, hanging: BTreeSet::new() }
    }

    /// Sends a sign of life when one is due, but not while a stage hangs.
    pub(super) fn feed(&mut self, stages: &[WatchedStage], manager: &ServiceManager) {
        if manager.is_stopping() {
            return; // stages end now, one after another
        }
        for stage in stages {
            let was_hanging = self.hanging.contains(&stage.name);
            match (was_hanging, stage.hangs()) {
                (false, true) => {
                    let secs = stage.since_beat.as_secs();
                    tracing::error!(
                        "watchdog: stage {} has hung for {secs} s: no more signs of life",
                        stage.name
                    );
                    self.hanging.insert(stage.name.clone());
                }
                (true, false) => {
                    tracing::info!("watchdog: stage {} works again", stage.name);
                    self.hanging.remove(&stage.name);
                }
                _ => {}
            }
        }
        let due = self.period.is_some_and(|period| self.fed.is_none_or(|fed| fed.elapsed() >= period));
        if due && self.hanging.is_empty() {
            self.fed = Some(Instant::now());
            manager.sign_of_life();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed_now(watchdog: &mut Watchdog, stage: Stage, secs: u64) -> bool {
        let before = watchdog.fed;
        let stage = WatchedStage::new("s".to_owned(), stage, Duration::from_secs(secs), Duration::ZERO);
        watchdog.feed(&[stage], &ServiceManager::silent());
        watchdog.fed != before
    }

    #[test]
    fn there_are_signs_of_life_only_while_every_stage_beats() {
        let mut watchdog = Watchdog { period: Some(Duration::ZERO), fed: None, hanging: BTreeSet::new() };
        assert!(fed_now(&mut watchdog, Stage::Record, 0));
        assert!(fed_now(&mut watchdog, Stage::Record, 19), "slow is not hanging");
        assert!(!fed_now(&mut watchdog, Stage::Record, 21));
        assert_eq!(watchdog.hanging, ["s".to_owned()].into());
        assert!(fed_now(&mut watchdog, Stage::Record, 0), "it goes on");
        watchdog.period = Some(Duration::from_secs(60));
        assert!(!fed_now(&mut watchdog, Stage::Record, 0), "not due");
        watchdog.period = None;
        assert!(!fed_now(&mut watchdog, Stage::Record, 0), "nobody waits for it");
    }

    #[test]
    fn a_stage_that_may_take_long_does_not_hang() {
        let call = Duration::from_secs(600);
        assert_eq!(limit(Stage::Inference, call), Duration::from_secs(620));
        assert_eq!(limit(Stage::Retention, call), Duration::from_secs(60));
        for stage in [Stage::Capture, Stage::Record, Stage::Store, Stage::Publish] {
            assert_eq!(limit(stage, call), Duration::from_secs(20), "{stage:?}");
        }
    }
}
