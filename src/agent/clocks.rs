//! Has the wall clock jumped? Only the monotonic one can tell.
//!
//! Guarantees: reads no clock; a jump is told once, by the first look after it.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// A wall clock that leaves the monotonic one by more than this between two looks has jumped. NTP slews far more
/// slowly.
const LARGEST_SLEW: SignedDuration = SignedDuration::from_millis(500);

/// The wall clock against the monotonic one.
pub(super) struct Clocks {
    wall: Timestamp,
    monotonic: Instant,
}

impl Clocks {
    pub(super) fn new(wall: Timestamp, monotonic: Instant) -> Self {
        Self { wall, monotonic }
    }

    /// How far the wall clock has jumped since it was asked last.
    pub(super) fn step(&mut self, wall: Timestamp, monotonic: Instant) -> Option<SignedDuration> {
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
    fn a_jump_is_told_once_and_slewing_is_none() {
        let (wall, monotonic) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut clocks = Clocks::new(wall, monotonic);
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
