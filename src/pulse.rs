//! The pulse of a stage: does its loop still run, is it at work, what failed last.
//!
//! Guarantees: reading a pulse never waits for the stage. A stage that only waits beats too, so a pulse that does not
//! change belongs to a stage that hangs. Costs: an uncontended lock for each beat.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::sync::lock;

/// Shared by a stage, which beats, and by those who watch it.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Mutex<Beat>>);

#[derive(Debug)]
struct Beat {
    turns: u64,
    last: Instant,
    at_work: bool,
    failure: Option<StageFailure>,
}

/// What failed last. It stays to be read after the stage has recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageFailure {
    pub at: Timestamp,
    pub error: String,
}

impl Default for Pulse {
    fn default() -> Self {
        let beat = Beat { turns: 0, last: Instant::now(), at_work: false, failure: None };
        Self(Arc::new(Mutex::new(beat)))
    }
}

impl Pulse {
    /// The stage has found something to do.
    pub fn at_work(&self) {
        self.beat(true);
    }

    /// The stage is done with it, or found nothing to do.
    pub fn idle(&self) {
        self.beat(false);
    }

    fn beat(&self, at_work: bool) {
        let mut beat = self.lock();
        beat.turns += 1;
        beat.last = Instant::now();
        beat.at_work = at_work;
    }

    pub fn failed(&self, error: impl ToString) {
        self.lock().failure = Some(StageFailure { at: Timestamp::now(), error: error.to_string() });
    }

    pub fn turns(&self) -> u64 {
        self.lock().turns
    }

    /// How long ago the last beat was.
    pub fn still_for(&self) -> Duration {
        self.lock().last.elapsed()
    }

    /// How long the present piece of work has taken; `None` for an idle stage.
    pub fn working_for(&self) -> Option<Duration> {
        let beat = self.lock();
        beat.at_work.then(|| beat.last.elapsed())
    }

    pub fn failure(&self) -> Option<StageFailure> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Beat> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_turns_count_and_work_is_timed() {
        let pulse = Pulse::default();
        pulse.idle();
        assert_eq!((pulse.turns(), pulse.working_for()), (1, None));
        pulse.at_work();
        assert_eq!(pulse.turns(), 2);
        assert!(pulse.working_for().is_some());
        pulse.failed("the lamp is out");
        pulse.idle();
        assert_eq!(pulse.working_for(), None);
        assert_eq!(pulse.failure().unwrap().error, "the lamp is out", "kept after the recovery");
    }
}
