//! The wall clock, compared with the monotonic clock to notice jumps.
//!
//! Guarantees: the first look at the clock after a jump notices it, so no decision is based on a time that has just jumped. A
//! jump is logged once. No lock is held during a system call or while the journal is written.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use crate::machine;
use crate::status::ClockStatus;
use crate::sync::lock;

/// If the wall clock and the monotonic clock differ by more than this between two looks, the wall clock has jumped. NTP slews
/// the clock far more slowly.
const LARGEST_SLEW: SignedDuration = SignedDuration::from_millis(500);

/// The wall clock. Clones share what they have noticed.
#[derive(Debug, Clone)]
pub(super) struct WallClock(Arc<Mutex<Watched>>);

#[derive(Debug)]
struct Watched {
    clocks: ClockPair,
    status: ClockStatus,
}

/// The result of a look at the clock.
pub(super) struct Look {
    pub now: Timestamp,
    /// Whether ages can be trusted. False after a jump, unless the clock follows a reference.
    pub ages_count: bool,
    pub status: ClockStatus,
}

impl WallClock {
    pub(super) fn new() -> Self {
        let status = ClockStatus { synchronised: machine::clock_synchronised(), ..ClockStatus::default() };
        let clocks = ClockPair { wall: Timestamp::now(), monotonic: Instant::now() };
        Self(Arc::new(Mutex::new(Watched { clocks, status })))
    }

    /// The time, and whether the clock has jumped since the last look.
    pub(super) fn look(&self) -> Look {
        let synchronised = machine::clock_synchronised();
        let (now, monotonic) = (Timestamp::now(), Instant::now());
        let (step, status) = {
            let mut watched = lock(&self.0);
            let step = watched.clocks.step(now, monotonic);
            if let Some(step) = step {
                watched.status.steps += 1;
                watched.status.last_step_ms = Some(step.as_millis() as i64);
            }
            watched.status.synchronised = synchronised;
            (step, watched.status)
        };
        if let Some(step) = step {
            tracing::warn!("clock: jumped by {step:#}; times before and after the jump cannot be compared");
        }
        Look { now, ages_count: status.steps == 0 || synchronised == Some(true), status }
    }
}

/// Both clocks, read at the same time.
#[derive(Debug)]
struct ClockPair {
    wall: Timestamp,
    monotonic: Instant,
}

impl ClockPair {
    /// How far the wall clock has jumped since the last call.
    fn step(&mut self, wall: Timestamp, monotonic: Instant) -> Option<SignedDuration> {
        let passed =
            SignedDuration::try_from(monotonic.duration_since(self.monotonic)).unwrap_or(SignedDuration::MAX);
        let step = wall.duration_since(self.wall) - passed;
        *self = Self { wall, monotonic };
        (step.abs() > LARGEST_SLEW).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_jump_is_noticed_once_and_slewing_is_none() {
        let (wall, monotonic) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut clocks = ClockPair { wall, monotonic };
        let mut at = |wall_ms: i64, monotonic_ms: u64| {
            let step = clocks.step(
                wall + SignedDuration::from_millis(wall_ms),
                monotonic + Duration::from_millis(monotonic_ms),
            );
            step.map(|step| step.as_millis())
        };
        assert_eq!(at(1_001, 1_000), None);
        assert_eq!(at(3_602_001, 2_000), Some(3_600_000));
        assert_eq!(at(3_603_001, 3_000), None);
        assert_eq!(at(4_000, 4_000), Some(-3_600_001));
    }
}
