//! How long the delivery of verdicts takes: from the exposure of a frame until the broker's PUBACK for its verdict.
//!
//! Guarantees: the figures cover the newest [`NEWEST`] verdicts that were delivered live. The backlog of an outage and
//! refused verdicts do not count. Recording a time waits for nothing but a reader of these figures.
//! Leaves out: the time between the broker and its subscribers; and a correction for clock jumps. If the clock jumps forward
//! in between, the jump counts as delivery time; if it jumps back, that verdict is not counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::percentiles::Percentiles;
use crate::status::DeliveryTime;
use crate::sync::lock;

/// How many verdicts the figures cover.
const NEWEST: usize = 1000;

/// The delivery times of one station. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct DeliveryTimes(Arc<Mutex<VecDeque<Duration>>>);

impl DeliveryTimes {
    /// Records that the broker has acknowledged, at `now`, the verdict on the frame captured at `captured_at`.
    pub(super) fn acknowledged(&self, captured_at: Timestamp, now: Timestamp) {
        let Ok(took) = Duration::try_from(now.duration_since(captured_at)) else { return };
        let mut times = lock(&self.0);
        if times.len() == NEWEST {
            times.pop_front();
        }
        times.push_back(took);
    }

    /// The figures; `None` before the first live verdict is acknowledged.
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
    fn only_the_newest_are_counted() {
        let times = DeliveryTimes::default();
        times.acknowledged(at(0), at(90_000));
        for took in 1..=1000 {
            times.clone().acknowledged(at(7), at(7 + took));
        }
        assert_eq!(times.figures(), Some(DeliveryTime { verdicts: 1000, p50_ms: 500.0, p99_ms: 990.0 }));
    }

    #[test]
    fn a_time_that_is_negative_is_not_counted() {
        let times = DeliveryTimes::default();
        times.acknowledged(at(5), at(4));
        assert_eq!(times.figures(), None);
    }
}
