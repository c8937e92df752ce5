//! Randomized smoothing: from the scores of noisy draws to a certificate.
//!
//! A draw scores one noisy copy z = x + N(0, sigma^2 I) of the model input. With p the probability that a
//! draw scores above the threshold, the frame is, for every change of its input with l2 norm < r,
//! ```text
//! anomalous, certified at r   iff   p   >  Phi(r/sigma)
//! normal,    certified at r   iff   1-p >= Phi(r/sigma)
//! ```
//! (Cohen et al. 2019, Theorem 1; Chiang et al. 2020 for the quantile form). Since p is only known through
//! draws, a certificate is a confidence statement: [`fixed`] makes it after a number of draws that was set
//! beforehand, [`sequential`] at any time one cares to stop.
//!
//! Guarantees: both sides and all radii share one failure probability alpha for a frame; radii are rounded
//! down; a score that is not a number counts against both sides and stays counted.
//! Leaves out: where scores come from (`score`), deadlines (the inspector's), several frames of one part.

pub mod fixed;
mod gaussian;
mod prior;
mod ranked;
mod rule;
pub mod sequential;
#[cfg(test)]
mod soundness;

pub use fixed::{FixedDesign, FixedError, FixedRun};
pub use prior::{Prior, PriorError};
pub(crate) use ranked::Ranked;
pub use rule::{RuleError, SequentialRule, Settings};
pub use sequential::{SequentialRun, State};

/// The score of one noisy draw. Only `score` can make one from a reconstruction of a noisy draw,
/// so nothing that saw the clean frame can become part of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct CertifiedScore(pub(crate) f32);

impl CertifiedScore {
    pub fn value(self) -> f32 {
        self.0
    }

    /// What a draw scored before. For [`crate::verification`], which follows a decision that was made on these
    /// scores, and for `certiscope evaluate`, which takes up its own; nothing is decided by it.
    pub(crate) fn stored(score: f32) -> Self {
        Self(score)
    }
}

/// The side of the threshold that is certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Normal,
    Anomalous,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Normal, Self::Anomalous];
}

/// What may be claimed about one frame after the draws that were made.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// The certified side; `None` if neither is (then `radius` is 0).
    pub side: Option<Side>,
    /// l2 radius at the model input, \[0,1\] units: the side holds for every change strictly smaller.
    pub radius: f64,
    /// Draws that were counted, in issue order.
    pub draws: u32,
    /// How many of them scored above the threshold (a NaN counts against both sides).
    pub above: u32,
    pub not_a_number: u32,
    /// Median of the scores of the draws made (NaN ones left out); `None` without any.
    pub score: Option<f32>,
    /// Bounds of the median score at level alpha, as valid as the certificate itself (at a fixed number of
    /// draws, or at any time); a statement of its own, whose errors add to those of the side.
    /// `None` where no rank exists.
    pub score_lower: Option<f32>,
    pub score_upper: Option<f32>,
}

impl Certificate {
    /// Takes the claim back and keeps the counts: nothing is certified any more.
    pub fn withdraw(&mut self) {
        self.side = None;
        self.radius = 0.0;
    }
}
