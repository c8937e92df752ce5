//! Randomized smoothing: from the scores of noisy draws to a certificate.
//! Skeleton: the types are final, the rest is written in its own branch.

/// The score of one noisy draw. Only `score` can make one from a reconstruction of a noisy draw,
/// so nothing that saw the clean frame can become part of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct CertifiedScore(pub(crate) f32);

impl CertifiedScore {
    pub fn value(self) -> f32 {
        self.0
    }
}

/// The side of the threshold that is certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Normal,
    Anomalous,
}

/// What may be claimed about one frame after the draws that were made.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// The certified side; `None` if neither is (then `radius` is 0).
    pub side: Option<Side>,
    /// l2 radius at the model input, [0,1] units.
    pub radius: f64,
    /// Draws that were counted, in issue order.
    pub draws: u32,
    /// How many of them scored above the threshold (a NaN counts against both sides).
    pub above: u32,
    pub not_a_number: u32,
    /// Median of the scores of the draws made (NaN ones left out); `None` without any.
    pub score: Option<f32>,
    /// Anytime-valid bounds of the median score at level alpha; `None` where no rank exists.
    pub score_lower: Option<f32>,
    pub score_upper: Option<f32>,
}
