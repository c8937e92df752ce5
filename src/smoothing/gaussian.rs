//! The standard normal distribution, in the two forms a certificate needs: a probability and its logarithm.
//!
//! A reach is a radius in units of sigma; the probability that a reach stands for is Phi(reach) (Cohen et
//! al. 2019, Theorem 1). Guarantees: 1 - Phi(u) is written Phi(-u), never as a difference, and the two add up
//! to 1, so a claim about a probability is exact; only the reach that belongs to it carries the error of erfc.

use statrs::function::erf::erfc;

/// No number of draws that is allowed reaches this far: 1 - Phi(8) is 6e-16.
pub(super) const MAX_REACH: f64 = 8.0;

/// What a reach may be off by, since statrs' erfc is exact to 1e-10 of itself only.
const ERFC_ERROR: f64 = 1e-9;

/// Phi(u).
pub(super) fn cdf(u: f64) -> f64 {
    if u > 0.0 { 1.0 - cdf(-u) } else { 0.5 * erfc(-u * std::f64::consts::FRAC_1_SQRT_2) }
}

/// ln Phi(u).
pub(super) fn ln_cdf(u: f64) -> f64 {
    if u > 0.0 { (-cdf(-u)).ln_1p() } else { cdf(u).ln() }
}

/// The largest reach at which `holds`, but at least `from`, rounded down so that the error of Phi is covered.
/// `holds(from)` must be true, and `holds` must turn false once and for all on the way to `MAX_REACH`.
pub(super) fn largest_reach(from: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut held, mut failed) = (from, MAX_REACH);
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
        let found = largest_reach(0.0, |u| u < edge);
        assert!(found < edge && edge - found < 1.1e-9);
        assert_eq!(largest_reach(edge, |u| u <= edge), edge);
    }
}
