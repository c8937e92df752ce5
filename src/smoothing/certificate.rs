//! The certificate of one frame: which side of the threshold is certified, and at which radius.
//!
//! Leaves out: how the side and the radius are computed (`fixed`, `stopping`, `radius`).

/// The side of the threshold that is certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Normal,
    Anomalous,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Normal, Self::Anomalous];
}

/// What the draws made so far prove about one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// The certified side; `None` if neither is (then `radius` is 0).
    pub side: Option<Side>,
    /// l2 radius at the model input, \[0,1\] units: the side holds for every change strictly smaller.
    pub radius: f64,
    /// Draws that were counted, in issue order.
    pub draws: u32,
    /// How many of them scored above the threshold. A NaN is not among them: it is counted in `not_a_number`.
    pub above: u32,
    /// How many of them scored NaN; each counts against both sides.
    pub not_a_number: u32,
    /// Median of the scores that are numbers; `None` if there are none.
    pub score: Option<f32>,
    /// Bounds of the median score, which fail with probability alpha at most. Like the certificate, they hold at a
    /// fixed number of draws or at any time. They are a second statement: the probability that they are wrong adds to
    /// that of the side. `None` where so few draws give no bound.
    pub score_lower: Option<f32>,
    pub score_upper: Option<f32>,
}

impl Certificate {
    /// Removes the certified side and radius, and keeps the counts.
    pub fn withdraw(&mut self) {
        self.side = None;
        self.radius = 0.0;
    }

    /// The certified l2 radius at the decoded frame, \[0,1\] units. `norm` is that of the linear map from the frame to
    /// the model input. `None` without a certified side.
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
