//! The threshold: on which side of it the score of one draw lies.
//!
//! The only place where a certified score is compared with the threshold of a verdict.

use super::certificate::Side;

/// The side of `score`. A score at the threshold is `normal`; a score that is not a number lies on neither side.
pub(super) fn side_of(score: f32, threshold: f32) -> Option<Side> {
    if score > threshold {
        Some(Side::Anomalous)
    } else if score <= threshold {
        Some(Side::Normal)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_at_the_threshold_is_normal_and_nan_is_neither() {
        assert_eq!(side_of(1.0_f32.next_up(), 1.0), Some(Side::Anomalous));
        assert_eq!(side_of(1.0, 1.0), Some(Side::Normal));
        assert_eq!(side_of(f32::NEG_INFINITY, 1.0), Some(Side::Normal));
        assert_eq!(side_of(f32::NAN, 1.0), None);
    }
}
