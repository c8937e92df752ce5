//! The standard normal distribution, in the two forms a certificate needs: a probability and its logarithm.
//!
//! Guarantees: callers write 1 - Phi(u) as Phi(-u), never as a difference, and the two add up to 1. So a claim about a
//! probability is exact. Only the radius that belongs to it has the error of erfc (see `radius`).

use statrs::function::erf::erfc;

/// Phi(u).
pub(super) fn cdf(u: f64) -> f64 {
    if u > 0.0 { 1.0 - cdf(-u) } else { 0.5 * erfc(-u * std::f64::consts::FRAC_1_SQRT_2) }
}

/// ln Phi(u).
pub(super) fn ln_cdf(u: f64) -> f64 {
    if u > 0.0 { (-cdf(-u)).ln_1p() } else { cdf(u).ln() }
}
