//! Median and 99th percentile of times.
//!
//! Guarantees: nearest rank, so each figure is a time that occurred; the newest [`Window::ROOM`] times count, so a
//! station that runs for a year answers for the present.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// In milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
}

impl Percentiles {
    /// `None` of no times.
    pub fn of<'a>(times: impl IntoIterator<Item = &'a Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = times.into_iter().copied().collect();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted[(percent * sorted.len()).div_ceil(100) - 1].as_secs_f64() * 1e3;
        (!sorted.is_empty()).then(|| Self { p50: rank(50), p99: rank(99) })
    }
}

/// The newest times of a stream of them.
#[derive(Debug, Clone, Default)]
pub struct Window {
    times: VecDeque<Duration>,
}

impl Window {
    pub const ROOM: usize = 4096;

    pub fn add(&mut self, time: Duration) {
        if self.times.len() == Self::ROOM {
            self.times.pop_front();
        }
        self.times.push_back(time);
    }

    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub fn percentiles(&self) -> Option<Percentiles> {
        Percentiles::of(&self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(times: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        times.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn they_are_times_that_occurred() {
        assert_eq!(Percentiles::of(&ms((1..=200).rev())), Some(Percentiles { p50: 100.0, p99: 198.0 }));
        assert_eq!(Percentiles::of(&ms(1..=3)), Some(Percentiles { p50: 2.0, p99: 3.0 }));
        assert_eq!(Percentiles::of(&ms([1])), Some(Percentiles { p50: 1.0, p99: 1.0 }));
        assert_eq!(Percentiles::of(&[]), None);
    }

    #[test]
    fn old_times_give_way() {
        let mut window = Window::default();
        assert!(window.is_empty() && window.percentiles().is_none());
        ms([9000; 10]).into_iter().for_each(|time| window.add(time));
        ms([5; Window::ROOM]).into_iter().for_each(|time| window.add(time));
        assert_eq!(window.len(), Window::ROOM);
        assert_eq!(window.percentiles(), Some(Percentiles { p50: 5.0, p99: 5.0 }));
    }
}
