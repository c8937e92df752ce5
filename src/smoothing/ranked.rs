//! The sorted scores of one frame, with the one rule for scores that are not a number.
//!
//! Guarantees: a NaN counts against both sides. For an upper bound it is above every score, for a lower bound below
//! every score, and it is never dropped. Ranks are 1-based, as in the papers. A rank that does not exist or belongs to
//! a NaN gives `None`, never the nearest score.
//! Costs: one sort.

use super::certificate::Side;

/// The scores that are numbers, ascending, and how many were not.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    ascending: Vec<f32>,
    not_a_number: usize,
}

impl Ranked {
    pub(crate) fn new(scores: impl IntoIterator<Item = f32>) -> Self {
        let (mut ascending, nan): (Vec<f32>, Vec<f32>) = scores.into_iter().partition(|s| !s.is_nan());
        ascending.sort_unstable_by(f32::total_cmp);
        Self { ascending, not_a_number: nan.len() }
    }

    /// Draws whose score lies on `side` of the threshold; a NaN lies on neither.
    pub(super) fn agreeing(&self, side: Side, threshold: f32) -> usize {
        let below = self.ascending.partition_point(|&score| score <= threshold);
        match side {
            Side::Normal => below,
            Side::Anomalous => self.ascending.len() - below,
        }
    }

    pub(super) fn not_a_number(&self) -> usize {
        self.not_a_number
    }

    /// The smallest value that at least `count` draws do not exceed: X_(count).
    pub(crate) fn upper(&self, count: usize) -> Option<f32> {
        self.ascending.get(count.checked_sub(1)?).copied()
    }

    /// The largest value that at least `count` draws reach: X_(n - count + 1).
    pub(super) fn lower(&self, count: usize) -> Option<f32> {
        self.ascending.iter().rev().nth(count.checked_sub(1)?).copied()
    }

    /// The middle score, or the mean of the two middle ones; NaN scores are left out.
    pub(crate) fn median(&self) -> Option<f32> {
        let half = self.ascending.len().div_ceil(2);
        Some(0.5 * self.upper(half)? + 0.5 * self.lower(half)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_counted_from_one() {
        let ranked = Ranked::new([3.0, 1.0, 2.0, 5.0, 4.0]);
        assert_eq!(ranked.upper(1), Some(1.0));
        assert_eq!(ranked.upper(5), Some(5.0));
        assert_eq!(ranked.lower(1), Some(5.0));
        assert_eq!(ranked.lower(5), Some(1.0));
        assert_eq!([ranked.upper(0), ranked.upper(6), ranked.lower(0), ranked.lower(6)], [None; 4]);
    }

    #[test]
    fn a_nan_counts_against_both_sides() {
        let ranked = Ranked::new([1.0, f32::NAN, 3.0]);
        assert_eq!(ranked.upper(3), None, "as an upper bound a NaN is above everything");
        assert_eq!(ranked.lower(3), None, "as a lower bound a NaN is below everything");
        assert_eq!(ranked.upper(2), Some(3.0));
        assert_eq!(ranked.lower(2), Some(1.0));
        assert_eq!((ranked.agreeing(Side::Normal, 2.0), ranked.agreeing(Side::Anomalous, 2.0)), (1, 1));
        assert_eq!(ranked.not_a_number(), 1);
    }

    #[test]
    fn a_score_on_the_threshold_is_normal() {
        assert_eq!(Ranked::new([2.0]).agreeing(Side::Normal, 2.0), 1);
        assert_eq!(Ranked::new([2.0]).agreeing(Side::Anomalous, 2.0), 0);
    }

    #[test]
    fn the_median_leaves_nan_out() {
        assert_eq!(Ranked::new([4.0, f32::NAN, 1.0]).median(), Some(2.5));
        assert_eq!(Ranked::new([4.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(Ranked::new([f32::NAN]).median(), None);
    }
}
