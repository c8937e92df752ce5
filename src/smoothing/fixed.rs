//! Bounds at a number of draws that was fixed before the frame was seen (Clopper-Pearson, order statistics).
//!
//! Guarantees: each side errs with probability at most alpha / 2. A [`FixedRun`] exists only for exactly the
//! number of draws that its [`FixedDesign`] named: a run cut short has no certificate, and nothing of a
//! sequential run, whose length depends on its scores, can become one (read at every draw, a nominal .05
//! fails in .14 to .19 of the runs).
//! Costs: a certificate about 60 binomial tails of O(sqrt n) terms, a bound a dozen.

use statrs::function::gamma::ln_gamma;

use super::gaussian::{MAX_REACH, cdf, largest_reach, ln_cdf};
use super::{Certificate, CertifiedScore, Ranked, Side};

/// Everything that must be settled before the first draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FixedDesign {
    draws: u32,
    side_error: f64,
    sigma: f64,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FixedError {
    #[error("draws = {0}: not a number of draws; 1 to 100000")]
    Draws(u32),
    #[error("alpha = {0}: not a failure probability; more than 0 and less than 0.5")]
    Alpha(f64),
    #[error("sigma = {0}: not a noise level; more than 0")]
    Sigma(f64),
    #[error("scores = {got}: a bound at a fixed number of draws holds for that number only; exactly {fixed}")]
    Count { got: usize, fixed: u32 },
}

impl FixedDesign {
    /// `alpha` is the failure probability of one certificate; each side gets half of it.
    pub fn new(draws: u32, alpha: f64, sigma: f64) -> Result<Self, FixedError> {
        if !(1..=100_000).contains(&draws) {
            return Err(FixedError::Draws(draws));
        }
        if !(alpha > 0.0 && alpha < 0.5) {
            return Err(FixedError::Alpha(alpha));
        }
        if !(sigma > 0.0 && sigma.is_finite()) {
            return Err(FixedError::Sigma(sigma));
        }
        Ok(Self {
            draws,
            side_error: alpha / 2.0,
            sigma,
        })
    }

    pub fn draws(&self) -> u32 {
        self.draws
    }

    /// Takes the scores of the draws, all of them and no others.
    pub fn observe(self, scores: &[CertifiedScore]) -> Result<FixedRun, FixedError> {
        if scores.len() != self.draws as usize {
            return Err(FixedError::Count {
                got: scores.len(),
                fixed: self.draws,
            });
        }
        Ok(FixedRun {
            design: self,
            ranked: Ranked::new(scores.iter().map(|score| score.value())),
        })
    }

    /// Largest radius that `agreeing` draws certify (0 if they only certify the side), rounded down; `None`
    /// if they do not certify the side. The inverse of Clopper and Pearson's lower bound of p through the
    /// binomial tail: p_lower > q iff P(Bin(n, q) >= agreeing) <= side error.
    pub fn radius(&self, agreeing: u32) -> Option<f64> {
        let holds = |reach| tail(self.draws, agreeing, reach) <= self.side_error;
        holds(0.0).then(|| self.sigma * largest_reach(0.0, holds))
    }
}

/// The scores of one frame at a number of draws that was fixed beforehand.
#[derive(Debug, Clone)]
pub struct FixedRun {
    design: FixedDesign,
    ranked: Ranked,
}

impl FixedRun {
    /// L_r: lower bound of the score's Phi(-r/sigma)-quantile. Above the threshold it certifies `anomalous` at `radius`.
    pub fn lower(&self, radius: f64) -> Option<f32> {
        self.ranked.lower(self.rank(radius)? as usize)
    }

    /// U_r: upper bound of the score's Phi(r/sigma)-quantile. At or below the threshold it certifies `normal`.
    pub fn upper(&self, radius: f64) -> Option<f32> {
        self.ranked.upper(self.rank(radius)? as usize)
    }

    fn rank(&self, radius: f64) -> Option<u32> {
        upper_rank(
            self.design.draws,
            radius / self.design.sigma,
            self.design.side_error,
        )
    }

    pub fn certificate(&self, threshold: f32) -> Certificate {
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

/// The rank (from 1) of the order statistic that bounds the Phi(reach)-quantile from above, except with
/// probability `error`: the least k with P(Bin(draws, Phi(reach)) >= k) <= error. `None` if there is none.
pub fn upper_rank(draws: u32, reach: f64, error: f64) -> Option<u32> {
    let (mut fails, mut holds) = (0, draws.checked_add(1)?);
    while holds - fails > 1 {
        let middle = fails + (holds - fails) / 2;
        if tail(draws, middle, reach) <= error {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    (holds <= draws).then_some(holds)
}

/// The least number of draws at which the Phi(reach)-quantile has an upper bound: Phi(reach)^n <= error.
pub fn draws_for_rank(reach: f64, error: f64) -> Option<u32> {
    let draws = (error.ln() / ln_cdf(reach)).ceil();
    (draws <= f64::from(u32::MAX)).then_some(draws as u32)
}

/// P(Bin(draws, Phi(reach)) >= count), as a sum of positive terms that shrink geometrically: exact to about
/// 1e-12 of itself at any size, where the usual continued fraction stops after a fixed number of steps.
fn tail(draws: u32, count: u32, reach: f64) -> f64 {
    let (n, k) = (f64::from(draws), f64::from(count));
    if count == 0 {
        return 1.0;
    }
    if count > draws {
        return 0.0;
    }
    if k <= n * cdf(reach) {
        return 1.0 - tail(draws, draws - count + 1, -reach);
    }
    let reach = reach.clamp(-MAX_REACH, MAX_REACH);
    let ln_choose = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    let first = (ln_choose + k * ln_cdf(reach) + (n - k) * ln_cdf(-reach)).exp();
    let odds = cdf(reach) / cdf(-reach);
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
