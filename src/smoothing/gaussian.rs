//! The standard normal distribution, in the two forms a certificate needs: a probability and its logarithm.
//!
//! A reach is a radius in units of sigma; the probability that a reach stands for is Phi(reach) (Cohen et
//! al. 2019, Theorem 1). Both tails stay exact: 1 - Phi(u) is written Phi(-u), never as a difference.

use statrs::function::erf::{erfc, erfc_inv};

/// No number of draws that is allowed reaches this far: 1 - Phi(8) is 6e-16.
pub(super) const MAX_REACH: f64 = 8.0;

/// Phi(u).
pub fn cdf(u: f64) -> f64 {
    0.5 * erfc(-u * std::f64::consts::FRAC_1_SQRT_2)
}

/// ln Phi(u).
pub fn ln_cdf(u: f64) -> f64 {
    if u > 0.0 { (-cdf(-u)).ln_1p() } else { cdf(u).ln() }
}

/// Phi^-1(p).
pub fn quantile(p: f64) -> f64 {
    -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p)
}

/// The largest reach at which `holds`, rounded down: the value returned was itself seen to hold.
/// `holds(from)` must be true, and `holds` must turn false once and for all on the way to `MAX_REACH`.
pub(super) fn largest_reach(from: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut held, mut failed) = (from, MAX_REACH);
    loop {
        let middle = 0.5 * (held + failed);
        if middle <= held || middle >= failed {
            return held;
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
    fn both_tails_keep_their_relative_accuracy() {
        // scipy.stats.norm.logcdf
        for (u, ln) in [
            (-6.0, -20.736_768_949_974_01),
            (-1.0, -1.841_021_645_009_263_6),
            (0.0, -0.693_147_180_559_945_3),
            (3.0, -0.001_350_809_964_748_199_6),
            (7.0, -1.279_812_543_886_653_7e-12),
        ] {
            assert!((ln_cdf(u) - ln).abs() <= 1e-11 * ln.abs(), "{u}: {}", ln_cdf(u));
        }
        for u in [-3.0, -0.5, 0.0, 0.25, 2.5] {
            assert!((quantile(cdf(u)) - u).abs() < 1e-12);
        }
    }

    #[test]
    fn the_bisection_returns_a_reach_that_held() {
        let edge = 1.234_567_89;
        let found = largest_reach(0.0, |u| u < edge);
        assert!(found < edge && edge - found < 1e-14);
    }
}
