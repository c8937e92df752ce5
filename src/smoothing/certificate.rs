//! The certificate of one frame: which side of the threshold is certified, and for which radius.

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
    /// draws, or at any time). They are a second statement: their errors add to those of the side.
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

    /// The certified l2 radius on the decoded camera frame, \[0,1\] units, where a linear map of this `norm` made the
    /// model input from it; `None` without a certified side.
    pub fn frame_radius(&self, norm: f64) -> Option<f64> {
        self.side.map(|_| self.radius / norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_radius_at_the_frame_is_that_at_the_input_over_the_norm() {
        let mut certificate = Certificate {
            side: Some(Side::Normal),
            radius: 0.25,
            draws: 0,
            above: 0,
            not_a_number: 0,
            score: None,
            score_lower: None,
            score_upper: None,
        };
        assert_eq!(certificate.frame_radius(0.5), Some(0.5));
        certificate.withdraw();
        assert_eq!((certificate.frame_radius(0.5), certificate.radius), (None, 0.0));
    }
}
