//! How far apart a stored and a recomputed score may lie.

use super::report::Finding;
use crate::bundle::self_test::difference;

/// The allowed difference, and its unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Yardstick {
    /// Standard deviation of normal scores.
    pub(super) spread: f64,
    /// As a share of the spread (of the score, where larger).
    pub(super) tolerance: f64,
}

impl Yardstick {
    /// For scores that were not computed again.
    pub(super) const BITS: Self = Self { spread: 1.0, tolerance: 0.0 };

    /// The difference as such a share; 0 for equal bits and for two values that are no numbers, NaN for one of them.
    pub(super) fn difference(self, score: f32, stored: f32) -> f64 {
        let equal = score.to_bits() == stored.to_bits() || (score.is_nan() && stored.is_nan());
        if equal { 0.0 } else { difference(score, stored, self.spread) }
    }

    pub(super) fn allows(self, difference: f64) -> bool {
        difference <= self.tolerance
    }

    pub(super) fn finding(self, worst: f64) -> Finding {
        if worst == 0.0 { Finding::Equal } else { Finding::Within { worst, tolerance: self.tolerance } }
    }
}
