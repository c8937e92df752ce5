//! Bounds at a number of draws that was fixed before the frame was seen (Clopper-Pearson, order statistics).
//!
//! Guarantees: each side is wrong with probability at most alpha / 2. A [`FixedRun`] exists only with exactly the
//! number of draws that its [`FixedDesign`] names. So a run that was cut short has no certificate, and neither has a
//! sequential run, whose length depends on its scores. (Read after every draw, these bounds at a nominal .05 fail in
//! .14 to .19 of the runs.)
//! Leaves out: certificates that may be read after every draw (`stopping`).
//! Costs: about 60 binomial tails of O(sqrt n) terms for a certificate, a dozen for a bound.

use statrs::function::gamma::ln_gamma;

use super::certificate::{Certificate, Side};
use super::gaussian::{cdf, ln_cdf};
use super::radius::{MAX_RADIUS_IN_SIGMAS, largest_radius_in_sigmas};
use super::ranked::Ranked;
use crate::score::CertifiedScore;

/// What is fixed before the first draw: number of draws, failure probability, sigma.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FixedDesign {
    draws: u32,
    side_error: f64,
    sigma: f64,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum FixedError {
    #[error("draws = {0}: not a number of draws; 1 to 100000 is allowed")]
    Draws(u32),
    #[error("alpha = {0}: not a failure probability; above 0 and below 0.5 is allowed")]
    Alpha(f64),
    #[error("sigma = {0}: not a noise level; a number above 0 is needed")]
    Sigma(f64),
    #[error(
        "scores = {got}: the bound holds for the number of draws that was fixed; exactly {fixed} are needed"
    )]
    Count { got: usize, fixed: u32 },
}

impl FixedDesign {
    /// `alpha` is the failure probability of one certificate; each side gets half of it.
    pub(crate) fn new(draws: u32, alpha: f64, sigma: f64) -> Result<Self, FixedError> {
        if !(1..=100_000).contains(&draws) {
            return Err(FixedError::Draws(draws));
        }
        if !(alpha > 0.0 && alpha < 0.5) {
            return Err(FixedError::Alpha(alpha));
        }
        if !(sigma > 0.0 && sigma.is_finite()) {
            return Err(FixedError::Sigma(sigma));
        }
        Ok(Self { draws, side_error: alpha / 2.0, sigma })
    }

    pub(crate) fn draws(&self) -> u32 {
        self.draws
    }

    /// The run with these scores: one score for each of the draws that the design names.
    pub(crate) fn observe(self, scores: &[CertifiedScore]) -> Result<FixedRun, FixedError> {
        if scores.len() != self.draws as usize {
            return Err(FixedError::Count { got: scores.len(), fixed: self.draws });
        }
        Ok(FixedRun { design: self, ranked: Ranked::new(scores.iter().map(|score| score.value())) })
    }

    /// The largest radius that `agreeing` draws certify, rounded down; 0 if they certify the side only, `None` if not
    /// even that. It inverts Clopper and Pearson's lower bound of p by the binomial tail:
    /// p_lower > q iff P(Bin(n, q) >= agreeing) <= side error.
    pub(crate) fn radius(&self, agreeing: u32) -> Option<f64> {
        let holds = |radius_in_sigmas| tail(self.draws, agreeing, radius_in_sigmas) <= self.side_error;
        holds(0.0).then(|| self.sigma * largest_radius_in_sigmas(0.0, holds))
    }
}

/// The scores of one frame at a number of draws that was fixed beforehand.
#[derive(Debug, Clone)]
pub(crate) struct FixedRun {
    design: FixedDesign,
    ranked: Ranked,
}

impl FixedRun {
    /// L_r: lower bound of the score's Phi(-r/sigma)-quantile. Above the threshold it certifies `anomalous` at `radius`.
    pub(crate) fn lower(&self, radius: f64) -> Option<f32> {
        self.ranked.lower(self.rank(radius)? as usize)
    }

    /// U_r: upper bound of the score's Phi(r/sigma)-quantile. At or below the threshold it certifies `normal`.
    pub(crate) fn upper(&self, radius: f64) -> Option<f32> {
        self.ranked.upper(self.rank(radius)? as usize)
    }

    fn rank(&self, radius: f64) -> Option<u32> {
        upper_rank(self.design.draws, radius / self.design.sigma, self.design.side_error)
    }

    /// The smoothed score: the median of the scores that are numbers.
    pub(crate) fn median(&self) -> Option<f32> {
        self.ranked.median()
    }

    pub(crate) fn certificate(&self, threshold: f32) -> Certificate {
        let claim = Side::BOTH.into_iter().find_map(|side| {
            let radius = self.design.radius(self.ranked.agreeing(side, threshold) as u32)?;
            Some((side, radius))
        });
        Certificate {
            side: claim.map(|(side, _)| side),
            radius: claim.map_or(0.0, |(_, radius)| radius),
            draws: self.design.draws,
            above: self.ranked.agreeing(Side::Anomalous, threshold) as u32,
            not_a_number: self.ranked.not_a_number() as u32,
            score: self.ranked.median(),
            score_lower: self.lower(0.0),
            score_upper: self.upper(0.0),
        }
    }
}

/// The rank (from 1) of the order statistic that bounds the Phi(r/sigma)-quantile from above, except with
/// probability `error`: the least k with P(Bin(draws, Phi(r/sigma)) >= k) <= error. `None` if there is none.
pub fn upper_rank(draws: u32, radius_in_sigmas: f64, error: f64) -> Option<u32> {
    let (mut fails, mut holds) = (0, draws.checked_add(1)?);
    while holds - fails > 1 {
        let middle = fails + (holds - fails) / 2;
        if tail(draws, middle, radius_in_sigmas) <= error {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    (holds <= draws).then_some(holds)
}

/// The least number of draws at which the Phi(r/sigma)-quantile has an upper bound: Phi(r/sigma)^n <= error.
pub(crate) fn draws_for_rank(radius_in_sigmas: f64, error: f64) -> Option<u32> {
    let draws = (error.ln() / ln_cdf(radius_in_sigmas)).ceil();
    (draws <= f64::from(u32::MAX)).then_some(draws as u32)
}

/// P(Bin(draws, Phi(r/sigma)) >= count), as a sum of positive terms that shrink geometrically. Its relative error is
/// about 1e-12 at any size; the usual continued fraction stops after a fixed number of steps.
fn tail(draws: u32, count: u32, radius_in_sigmas: f64) -> f64 {
    let (n, k) = (f64::from(draws), f64::from(count));
    if count == 0 {
        return 1.0;
    }
    if count > draws {
        return 0.0;
    }
    if k <= n * cdf(radius_in_sigmas) {
        return 1.0 - tail(draws, draws - count + 1, -radius_in_sigmas);
    }
    let radius_in_sigmas = radius_in_sigmas.clamp(-MAX_RADIUS_IN_SIGMAS, MAX_RADIUS_IN_SIGMAS);
    let ln_choose = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    let first = (ln_choose + k * ln_cdf(radius_in_sigmas) + (n - k) * ln_cdf(-radius_in_sigmas)).exp();
    let odds = cdf(radius_in_sigmas) / cdf(-radius_in_sigmas);
    let (mut term, mut sum) = (first, first);
    for i in count..draws {
        term *= odds * f64::from(draws - i) / f64::from(i + 1);
        sum += term;
        if term <= sum * f64::EPSILON {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_another_length_has_no_bounds() {
        let design = FixedDesign::new(3, 0.1, 1.0).unwrap();
        for length in [0, 2, 4] {
            let refused = design.observe(&vec![CertifiedScore::stored(1.0); length]).unwrap_err();
            assert!(refused.to_string().ends_with("exactly 3 are needed"), "{refused}");
        }
    }

    #[test]
    fn a_nan_counts_against_both_sides() {
        let design = FixedDesign::new(20, 0.05, 1.0).unwrap();
        let certificate = |others: f32| {
            let scores: Vec<_> =
                (0..20).map(|i| CertifiedScore::stored(if i < 6 { f32::NAN } else { others })).collect();
            design.observe(&scores).unwrap().certificate(1.0)
        };
        for others in [0.0, 2.0] {
            assert_eq!(certificate(others).side, None);
            assert_eq!(certificate(others).not_a_number, 6);
        }
    }

    #[test]
    fn the_tail_adds_up_at_any_size() {
        for (draws, radius_in_sigmas) in [(1, 0.3), (50, -1.0), (50, 2.0), (100_000, 0.0), (100_000, 3.0)] {
            let middle = (f64::from(draws) * cdf(radius_in_sigmas)) as u32;
            for count in [0, 1, middle, middle + 1, draws, draws + 1] {
                let beyond = tail(draws, (draws + 1).saturating_sub(count), -radius_in_sigmas);
                assert!(
                    (tail(draws, count, radius_in_sigmas) + beyond - 1.0).abs() < 1e-9,
                    "{draws} {count} {radius_in_sigmas}"
                );
            }
        }
        // scipy.stats.binom.sf(50499, 100000, .5)
        assert!((tail(100_000, 50_500, 0.0) - 0.0007911799394257577).abs() < 1e-12);
    }

    #[test]
    fn a_design_that_means_nothing_is_refused_in_words() {
        let words = |draws, alpha, sigma| FixedDesign::new(draws, alpha, sigma).unwrap_err().to_string();
        assert!(words(0, 0.1, 1.0).starts_with("draws = 0:"));
        assert!(words(9, f64::NAN, 1.0).starts_with("alpha = NaN:"));
        assert!(words(9, 0.1, -1.0).starts_with("sigma = -1:"));
    }

    #[test]
    fn the_draws_a_rank_needs_are_the_first_that_have_it() {
        for (radius_in_sigmas, error) in [(0.0, 0.01), (1.0, 0.001), (2.5, 0.05)] {
            let draws = draws_for_rank(radius_in_sigmas, error).unwrap();
            assert_eq!(upper_rank(draws, radius_in_sigmas, error), Some(draws));
            assert_eq!(upper_rank(draws - 1, radius_in_sigmas, error), None);
        }
        assert_eq!(draws_for_rank(9.0, 0.01), None);
    }
}
