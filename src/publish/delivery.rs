//! How long verdicts take to the line: from the exposure of a frame until the broker's PUBACK of its verdict.
//!
//! Guarantees: only verdicts that were delivered live count, not the backlog of an outage and not those that a broker
//! refused; the newest [`NEWEST`] of them. Recording one waits for nothing but a reader of these figures.
//! Leaves out: what happens behind the broker; and a jump of the clock between the two ends, which counts as time if
//! it goes forward and is not counted if it goes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::percentiles::Percentiles;
use crate::status::DeliveryTime;
use crate::sync::lock;

/// How many verdicts the figures cover.
const NEWEST: usize = 1000;

/// Of one station; clones share it.
#[derive(Debug, Clone, Default)]
pub struct DeliveryTimes(Arc<Mutex<VecDeque<Duration>>>);

impl DeliveryTimes {
    /// The broker has acknowledged the verdict on the frame of that time.
    pub(super) fn acknowledged(&self, captured_at: Timestamp, now: Timestamp) {
        let Ok(took) = Duration::try_from(now.duration_since(captured_at)) else { return };
        let mut times = lock(&self.0);
        if times.len() == NEWEST {
            times.pop_front();
        }
        times.push_back(took);
    }

    /// `None` before the first.
    pub fn figures(&self) -> Option<DeliveryTime> {
        let times = lock(&self.0);
        let Percentiles { p50, p99 } = Percentiles::of(times.iter())?;
        Some(DeliveryTime { verdicts: times.len(), p50_ms: p50, p99_ms: p99 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
    }

    #[test]
    fn there_are_no_figures_before_the_first() {
        assert_eq!(DeliveryTimes::default().figures(), None);
    }

    #[test]
    fn they_are_of_the_newest() {
        let times = DeliveryTimes::default();
        times.acknowledged(at(0), at(90_000));
        for took in 1..=1000 {
            times.clone().acknowledged(at(7), at(7 + took));
        }
        assert_eq!(times.figures(), Some(DeliveryTime { verdicts: 1000, p50_ms: 500.0, p99_ms: 990.0 }));
    }

    #[test]
    fn a_clock_that_went_back_says_nothing() {
        let times = DeliveryTimes::default();
        times.acknowledged(at(5), at(4));
        assert_eq!(times.figures(), None);
    }
}
