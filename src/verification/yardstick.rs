//! How much a stored and a recomputed score may differ.

use super::report::Finding;
use crate::bundle::self_test::difference;

/// The allowed difference, and its unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Yardstick {
    /// The standard deviation of normal scores.
    pub(super) spread: f64,
    /// The allowed difference, as a share of the spread, or of the score if that is larger.
    pub(super) tolerance: f64,
}

impl Yardstick {
    /// Allows no difference. For scores that were not computed again.
    pub(super) const BITS: Self = Self { spread: 1.0, tolerance: 0.0 };

    /// The difference as a share, like `tolerance`. 0 if the bits are equal or both are NaN; NaN if one of them is.
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
