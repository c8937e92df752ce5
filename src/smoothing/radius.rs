//! The certified radius: the largest one that the draws support.
//!
//! Inside this folder a radius is measured in units of sigma (`radius_in_sigmas`), because Phi(r/sigma) is the share
//! of draws that must agree for a claim at radius r (Cohen et al. 2019, Theorem 1). Callers outside the folder get it
//! multiplied by sigma.
//!
//! Guarantees: radii are rounded down, by more than the error of Phi.
//! Costs: some fifty evaluations of the claim for a radius, a microsecond each.

use super::gaussian::{cdf, ln_cdf};

/// More than any allowed number of draws can certify: 1 - Phi(8) is 6e-16.
pub(super) const MAX_RADIUS_IN_SIGMAS: f64 = 8.0;

/// The possible error of a radius in units of sigma, with a margin: the relative error of statrs' erfc is 1e-10.
const ERFC_ERROR: f64 = 1e-9;

/// What the draws show for one side of the threshold. On both sides Phi(r/sigma) is compared with the share of draws
/// that agree: for `normal` these are the draws that are not above, and q = Phi(-r/sigma) is for those above.
pub(super) struct DrawEvidence {
    /// ln of the integral in M_n (see `stopping`).
    pub(super) ln_marginal: f64,
    pub(super) agreeing: f64,
    pub(super) disagreeing: f64,
    /// The value that ln M_n must reach for a claim.
    pub(super) bar: f64,
}

impl DrawEvidence {
    /// Whether the draws support a claim at this radius.
    pub(super) fn holds(&self, radius_in_sigmas: f64) -> bool {
        let ln_likelihood =
            self.agreeing * ln_cdf(radius_in_sigmas) + self.disagreeing * ln_cdf(-radius_in_sigmas);
        self.agreeing > (self.agreeing + self.disagreeing) * cdf(radius_in_sigmas)
            && self.ln_marginal - ln_likelihood >= self.bar
    }

    /// The largest radius that the draws support; `None` if that is less than `at_least`.
    pub(super) fn radius_in_sigmas(&self, at_least: f64) -> Option<f64> {
        self.holds(at_least).then(|| largest_radius_in_sigmas(at_least, |radius| self.holds(radius)))
    }
}

/// The largest radius at which `holds` is true, rounded down so that the error of Phi is covered, but at least `from`.
/// `holds(from)` must be true. Between `from` and the maximum, `holds` must become false once and stay false.
pub(super) fn largest_radius_in_sigmas(from: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut held, mut failed) = (from, MAX_RADIUS_IN_SIGMAS);
    loop {
        let middle = 0.5 * (held + failed);
        if middle <= held || middle >= failed {
            return (held - ERFC_ERROR).max(from);
        }
        if holds(middle) {
            held = middle;
        } else {
            failed = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bisection_rounds_down_and_never_below_what_was_held() {
        let edge = 1.234_567_89;
        let found = largest_radius_in_sigmas(0.0, |u| u < edge);
        assert!(found < edge && edge - found < 1.1e-9);
        assert_eq!(largest_radius_in_sigmas(edge, |u| u <= edge), edge);
    }
}
