//! The pulse of a stage: whether its loop still runs, whether it is at work, and what failed last.
//!
//! Guarantees: reading a pulse never waits for the stage. A stage updates its pulse also while it only waits, so if a pulse
//! does not change, its stage hangs.
//! Costs: an uncontended lock for each update.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::sync::lock;

/// The pulse of a stage. Shared by the stage, which updates it, and the threads that watch it.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Mutex<Beat>>);

#[derive(Debug)]
struct Beat {
    turns: u64,
    last: Instant,
    at_work: bool,
    failure: Option<StageFailure>,
}

/// The last failure of a stage. It is kept after the stage has recovered.
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
    /// Call this when the stage begins a piece of work, or has made progress with it.
    pub fn at_work(&self) {
        self.beat(true);
    }

    /// Call this when the stage has finished its work, or has found nothing to do.
    pub fn idle(&self) {
        self.beat(false);
    }

    fn beat(&self, at_work: bool) {
        let mut beat = self.lock();
        beat.turns += 1;
        beat.last = Instant::now();
        beat.at_work = at_work;
    }

    /// Records a failure.
    pub fn failed(&self, error: impl ToString) {
        self.lock().failure = Some(StageFailure { at: Timestamp::now(), error: error.to_string() });
    }

    /// How often the loop of the stage has run.
    pub fn turns(&self) -> u64 {
        self.lock().turns
    }

    /// How long ago the pulse was last updated.
    pub fn still_for(&self) -> Duration {
        self.lock().last.elapsed()
    }

    /// How long the stage has been at its present piece of work; `None` for an idle stage.
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
