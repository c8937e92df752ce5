//! The rule of a sequential certificate: what is claimed when, checked before the first frame.
//!
//! Guarantees: a rule that exists can be met: its target is reached within its draws if all of them agree, or
//! it is refused with the number that would do. Claims follow `sequential`, with a millionth of alpha to spare
//! for rounding.
//! Costs: evidence is a microsecond; a checked rule some fifty of them.

use super::gaussian::{cdf, largest_reach, ln_cdf};
use super::{Prior, Side};

/// Numbers of draws up to which the logarithms below are exact to `ROUNDING`.
const MAX_DRAWS: u32 = 100_000;

/// Nats that a claim must have to spare, so that rounding never widens a radius: it covers the error of
/// sums of ln-gammas at `MAX_DRAWS`, and costs a millionth of alpha.
const ROUNDING: f64 = 1e-6;

/// What a station asks for, before it was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Failure probability of one frame's certificate.
    pub alpha: f64,
    /// A draw is `above` when its score is strictly larger.
    pub threshold: f32,
    /// Standard deviation of the noise of the draws, \[0,1\] units.
    pub sigma: f64,
    /// Draw on until this radius is certified (l2 at the model input); 0 asks for the side alone.
    pub target_radius: f64,
    pub max_draws: u32,
    pub prior: Prior,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    #[error("smoothing.alpha = {0}: not a failure probability; more than 0 and less than 0.5")]
    Alpha(f64),
    #[error("calibration.threshold = {0}: not a number; a finite one, made by `certiscope calibrate`")]
    Threshold(f32),
    #[error("detector.sigma = {0}: not a noise level; more than 0")]
    Sigma(f64),
    #[error("smoothing.target_radius = {0}: not a radius; 0 or more")]
    TargetRadius(f64),
    #[error("smoothing.max_draws = {0}: not a number of draws; 1 to {MAX_DRAWS}")]
    MaxDraws(u32),
    #[error(
        "smoothing.max_draws = {max_draws}: too few for alpha = {alpha} and target_radius = {target_radius} with this prior; at least {needed}"
    )]
    TooFewDraws { max_draws: u32, alpha: f64, target_radius: f64, needed: u32 },
    #[error(
        "smoothing.target_radius = {target_radius}: out of reach for alpha = {alpha} at sigma = {sigma}; at most {reachable} with {MAX_DRAWS} draws"
    )]
    OutOfReach { target_radius: f64, alpha: f64, sigma: f64, reachable: f64 },
}

/// A stopping and claiming rule that can be met. It stands before the frame is seen, and holds the one sigma
/// that both the noise and the radius are made with.
#[derive(Debug, Clone, PartialEq)]
pub struct SequentialRule {
    settings: Settings,
    reachable_draws: u32,
}

impl SequentialRule {
    pub fn new(settings: Settings) -> Result<Self, RuleError> {
        let Settings { alpha, threshold, sigma, target_radius, max_draws, .. } = settings;
        if !(alpha > 0.0 && alpha < 0.5) {
            return Err(RuleError::Alpha(alpha));
        }
        if !threshold.is_finite() {
            return Err(RuleError::Threshold(threshold));
        }
        if !(sigma > 0.0 && sigma.is_finite()) {
            return Err(RuleError::Sigma(sigma));
        }
        if !(target_radius >= 0.0 && target_radius.is_finite()) {
            return Err(RuleError::TargetRadius(target_radius));
        }
        if !(1..=MAX_DRAWS).contains(&max_draws) {
            return Err(RuleError::MaxDraws(max_draws));
        }
        let mut rule = Self { settings, reachable_draws: 0 };
        match rule.draws_when_all_agree() {
            None => {
                Err(RuleError::OutOfReach { target_radius, alpha, sigma, reachable: rule.reachable_radius() })
            }
            Some(needed) if needed > max_draws => {
                Err(RuleError::TooFewDraws { max_draws, alpha, target_radius, needed })
            }
            Some(needed) => {
                rule.reachable_draws = needed;
                Ok(rule)
            }
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Draws that the target radius takes when all of them agree, on the costlier side.
    pub fn reachable_draws(&self) -> u32 {
        self.reachable_draws
    }

    pub(super) fn target_reach(&self) -> f64 {
        self.settings.target_radius / self.settings.sigma
    }

    /// The radius that the most draws allowed certify when all of them agree, on the costlier side.
    fn reachable_radius(&self) -> f64 {
        let reach = |side| self.evidence(side, MAX_DRAWS, MAX_DRAWS).reach(0.0).unwrap_or(0.0);
        self.settings.sigma * reach(Side::Normal).min(reach(Side::Anomalous))
    }

    /// With all draws in agreement M_n is convex in n and starts at 1, so once a claim holds it keeps holding.
    fn draws_when_all_agree(&self) -> Option<u32> {
        let reached = |draws| {
            Side::BOTH.into_iter().all(|side| self.evidence(side, draws, draws).holds(self.target_reach()))
        };
        reached(MAX_DRAWS).then(|| least(0, MAX_DRAWS, reached))
    }

    pub(super) fn evidence(&self, side: Side, agreeing: u32, draws: u32) -> Evidence {
        let disagreeing = draws - agreeing;
        let ln_marginal = match side {
            Side::Anomalous => self.settings.prior.ln_marginal(agreeing, disagreeing),
            Side::Normal => self.settings.prior.ln_marginal(disagreeing, agreeing),
        };
        Evidence {
            ln_marginal,
            agreeing: f64::from(agreeing),
            disagreeing: f64::from(disagreeing),
            bar: -self.settings.alpha.ln() + ROUNDING,
        }
    }

    /// Draws that must agree, of `draws`, for a claim at radius 0: a*(0) of the method. More agreement never
    /// hurts a claim (M_n is convex in it and at most 1 where the claim begins), so bisection is safe.
    pub(super) fn least_agreeing(&self, side: Side, draws: u32) -> Option<u32> {
        let claimed = |agreeing| self.evidence(side, agreeing, draws).holds(0.0);
        claimed(draws).then(|| least(draws / 2, draws, claimed))
    }
}

/// The least number in (fails, holds] at which `at` is true: false at first, then true for good.
fn least(mut fails: u32, mut holds: u32, at: impl Fn(u32) -> bool) -> u32 {
    while holds - fails > 1 {
        let middle = fails + (holds - fails) / 2;
        if at(middle) {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    holds
}

/// What the draws say for one side. On the side `normal` q = Phi(-reach) counts the ones, so on both sides
/// Phi(reach) belongs to the draws that agree.
pub(super) struct Evidence {
    ln_marginal: f64,
    agreeing: f64,
    disagreeing: f64,
    bar: f64,
}

impl Evidence {
    pub(super) fn holds(&self, reach: f64) -> bool {
        let ln_likelihood = self.agreeing * ln_cdf(reach) + self.disagreeing * ln_cdf(-reach);
        self.agreeing > (self.agreeing + self.disagreeing) * cdf(reach)
            && self.ln_marginal - ln_likelihood >= self.bar
    }

    /// The largest reach that is claimed, if it is at least `held`.
    pub(super) fn reach(&self, held: f64) -> Option<f64> {
        self.holds(held).then(|| largest_reach(held, |reach| self.holds(reach)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            alpha: 0.001,
            threshold: 1.0,
            sigma: 0.1,
            target_radius: 0.05,
            max_draws: 200,
            prior: Prior::default(),
        }
    }

    fn words(settings: Settings) -> String {
        SequentialRule::new(settings).unwrap_err().to_string()
    }

    #[test]
    fn a_target_that_cannot_be_met_is_refused_with_what_can() {
        let too_few = words(Settings { max_draws: 21, ..settings() });
        assert_eq!(
            too_few,
            "smoothing.max_draws = 21: too few for alpha = 0.001 and target_radius = 0.05 with this prior; at least 22"
        );
        let out_of_reach = words(Settings { target_radius: 0.6, ..settings() });
        let reachable: f64 =
            out_of_reach.split("at most ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let at_most = Settings { target_radius: reachable, max_draws: MAX_DRAWS, ..settings() };
        assert_eq!(SequentialRule::new(at_most.clone()).unwrap().reachable_draws(), MAX_DRAWS);
        assert!(words(Settings { target_radius: reachable + 1e-6, ..at_most }).contains("out of reach"));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_in_words() {
        for (settings, what) in [
            (Settings { alpha: 0.0, ..settings() }, "smoothing.alpha = 0:"),
            (Settings { alpha: f64::NAN, ..settings() }, "smoothing.alpha = NaN:"),
            (Settings { alpha: 0.5, ..settings() }, "less than 0.5"),
            (Settings { threshold: f32::NAN, ..settings() }, "calibration.threshold = NaN:"),
            (Settings { sigma: 0.0, ..settings() }, "detector.sigma = 0:"),
            (Settings { target_radius: -0.1, ..settings() }, "smoothing.target_radius = -0.1:"),
            (Settings { max_draws: 0, ..settings() }, "smoothing.max_draws = 0:"),
            (Settings { max_draws: MAX_DRAWS + 1, ..settings() }, "1 to 100000"),
        ] {
            assert!(words(settings.clone()).contains(what), "{}", words(settings));
        }
    }
}
