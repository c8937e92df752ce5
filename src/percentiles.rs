//! Median and 99th percentile of times.
//!
//! Guarantees: each figure is one of the times (nearest rank), not a value between two of them.

use std::time::Duration;

/// Median and 99th percentile, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Percentiles {
    pub p50: f64,
    pub p99: f64,
}

impl Percentiles {
    /// The percentiles of `times`; `None` if there are none.
    pub(crate) fn of<'a>(times: impl IntoIterator<Item = &'a Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = times.into_iter().copied().collect();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted[(percent * sorted.len()).div_ceil(100) - 1].as_secs_f64() * 1e3;
        (!sorted.is_empty()).then(|| Self { p50: rank(50), p99: rank(99) })
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
}
