//! The rate of a source that has no clock of its own: when its next frame is due.
//!
//! Guarantees: frame `n` is due at `start + n / rate`, from the first time it was asked for, so the rate
//! does not drift; a source that fell behind catches up.

use std::time::{Duration, Instant};

/// A steady rate, or none: then every frame is due at once.
pub(super) struct Pace {
    per_second: Option<f64>,
    start: Option<Instant>,
    frames: u64,
}

impl Pace {
    /// The rates a source accepts, frames a second.
    pub(super) const ALLOWED: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

    /// `per_second` is checked against [`Self::ALLOWED`] by the caller, who knows what it is called.
    pub(super) fn new(per_second: Option<f64>) -> Self {
        Self { per_second, start: None, frames: 0 }
    }

    /// Sleeps until the next frame is due, but not longer than `wait`; says whether it is due.
    pub(super) fn sleep(&mut self, wait: Duration) -> bool {
        let missing = self.missing(Instant::now());
        std::thread::sleep(missing.min(wait));
        let due = missing <= wait;
        if due {
            self.frames += 1;
        }
        due
    }

    fn missing(&mut self, now: Instant) -> Duration {
        let start = *self.start.get_or_insert(now);
        match self.per_second {
            None => Duration::ZERO,
            Some(rate) => {
                let due = Duration::from_secs_f64(self.frames as f64 / rate);
                (start + due).saturating_duration_since(now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_does_not_drift_whatever_the_consumer_does() {
        let mut pace = Pace::new(Some(30.0));
        let start = Instant::now();
        pace.missing(start);
        pace.frames = 3_000_000;
        let exactly = Duration::from_secs(100_000);
        let missing = pace.missing(start + exactly - Duration::from_millis(5));
        assert!(missing.abs_diff(Duration::from_millis(5)) < Duration::from_micros(1));
        assert_eq!(pace.missing(start + exactly + Duration::from_millis(5)), Duration::ZERO);
    }

    #[test]
    fn a_wait_shorter_than_the_interval_ends_before_the_frame_is_due() {
        let mut pace = Pace::new(Some(0.01));
        assert!(pace.sleep(Duration::ZERO), "the first frame is due at once");
        assert!(!pace.sleep(Duration::from_millis(1)), "the second one in 100 s");
        assert_eq!(pace.frames, 1);
    }

    #[test]
    fn without_a_rate_every_frame_is_due() {
        let mut pace = Pace::new(None);
        assert!((0..1000).all(|_| pace.sleep(Duration::ZERO)));
    }
}
