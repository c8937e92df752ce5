//! The rate of a folder or a simulator, which says when the next frame is due.
//!
//! Guarantees: frame `n` is due at `start + n / rate`, counted from the first time that a frame was asked for. So the rate
//! does not drift, and a source that fell behind catches up.

use std::time::{Duration, Instant};

/// The rates that a source accepts, frames a second.
pub(crate) const ALLOWED_RATES: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

pub(crate) fn allowed_rates_in_words() -> String {
    format!("{} to {}", ALLOWED_RATES.start(), ALLOWED_RATES.end())
}

/// A steady rate, or none. Without a rate every frame is due at once.
pub(super) struct FrameRate {
    per_second: Option<f64>,
    start: Option<Instant>,
    frames: u64,
}

impl FrameRate {
    /// The caller checks `per_second` against [`ALLOWED_RATES`], because it knows the name of the setting.
    pub(super) fn new(per_second: Option<f64>) -> Self {
        Self { per_second, start: None, frames: 0 }
    }

    /// Sleeps until the next frame is due, but not longer than `wait`. Returns whether it is due.
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
        let mut rate = FrameRate::new(Some(30.0));
        let start = Instant::now();
        rate.missing(start);
        rate.frames = 3_000_000;
        let exactly = Duration::from_secs(100_000);
        let missing = rate.missing(start + exactly - Duration::from_millis(5));
        assert!(missing.abs_diff(Duration::from_millis(5)) < Duration::from_micros(1));
        assert_eq!(rate.missing(start + exactly + Duration::from_millis(5)), Duration::ZERO);
    }

    #[test]
    fn a_wait_shorter_than_the_interval_ends_before_the_frame_is_due() {
        let mut rate = FrameRate::new(Some(0.01));
        assert!(rate.sleep(Duration::ZERO), "the first frame is due at once");
        assert!(!rate.sleep(Duration::from_millis(1)), "the second one in 100 s");
        assert_eq!(rate.frames, 1);
    }

    #[test]
    fn without_a_rate_every_frame_is_due() {
        let mut rate = FrameRate::new(None);
        assert!((0..1000).all(|_| rate.sleep(Duration::ZERO)));
    }
}
