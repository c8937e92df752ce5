//! The rule of a sequential certificate: the settings that the user chooses, and their check before the first frame.
//!
//! Guarantees: every [`SequentialRule`] can be met: if all draws agree, the target is certified within `max_draws`.
//! Other settings are refused with the number that would be enough. To cover rounding, a claim must be stronger than
//! `stopping` needs it to be, which costs a millionth of alpha.
//! Leaves out: when to stop and what is claimed (`stopping`), the largest radius (`radius`).
//! Costs: some fifty microseconds to make a rule.

use super::certificate::Side;
use super::prior::Prior;
use super::radius::DrawEvidence;

/// The largest number of draws at which the logarithms below are still exact to `ROUNDING`.
const MAX_DRAWS: u32 = 100_000;

/// The nats by which ln M_n must exceed ln(1/alpha), so that rounding never enlarges a radius. They cover the error of
/// sums of ln-gammas at `MAX_DRAWS`, and cost a millionth of alpha.
const ROUNDING: f64 = 1e-6;

/// What the user chooses of the sequential rule; sigma and the threshold come from the bundle. The configuration, the
/// inspector's settings and the parameters of each inspection embed this one type.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSettings {
    /// Failure probability of one frame's certificate.
    pub alpha: f64,
    /// l2 radius (model input, \[0,1\] units) at which drawing stops; 0 asks for the side alone.
    pub target_radius: f64,
    /// The most draws of one frame. After them the verdict is what is certified by then.
    pub max_draws: u32,
    pub prior: Prior,
}

impl RuleSettings {
    pub const USUAL_ALPHA: f64 = 0.001;
    pub const USUAL_MAX_DRAWS: u32 = 200;

    /// These settings with this target radius and the usual values for all others.
    pub fn new(target_radius: f64) -> Self {
        Self {
            alpha: Self::USUAL_ALPHA,
            target_radius,
            max_draws: Self::USUAL_MAX_DRAWS,
            prior: Prior::default(),
        }
    }

    /// Every value that cannot be used with any bundle. No other code checks these settings.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let &Self { alpha, target_radius, max_draws, .. } = self;
        let mut problems = Vec::new();
        if !(alpha > 0.0 && alpha < 0.5) {
            problems.push(SettingProblem {
                key: "alpha",
                value: alpha.to_string(),
                why: "not a failure probability that certifies anything; above 0 and below 0.5 is allowed",
            });
        }
        if !(target_radius >= 0.0 && target_radius.is_finite()) {
            problems.push(SettingProblem {
                key: "target_radius",
                value: target_radius.to_string(),
                why: NOT_A_RADIUS,
            });
        }
        if !(1..=MAX_DRAWS).contains(&max_draws) {
            problems.push(SettingProblem {
                key: "max_draws",
                value: max_draws.to_string(),
                why: "not a number of draws; 1 to 100000 is allowed",
            });
        }
        problems
    }
}

/// The reason given for a value that is not a radius.
pub(crate) const NOT_A_RADIUS: &str = "not a radius; 0 or more is allowed";

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("smoothing.{key} = {value}: {why}")]
pub struct SettingProblem {
    pub key: &'static str,
    pub value: String,
    pub why: &'static str,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    #[error(transparent)]
    Setting(#[from] SettingProblem),
    #[error(
        "calibration.threshold = {0}: not a finite number; run `certiscope calibrate` to make the threshold"
    )]
    Threshold(f32),
    #[error("detector.sigma = {0}: not a noise level; a number above 0 is needed")]
    Sigma(f64),
    #[error(
        "smoothing.max_draws = {max_draws}: too few for alpha = {alpha} and target_radius = {target_radius} with this prior; at least {needed} are needed"
    )]
    TooFewDraws { max_draws: u32, alpha: f64, target_radius: f64, needed: u32 },
    #[error(
        "smoothing.target_radius = {target_radius}: out of reach for alpha = {alpha} at sigma = {sigma}; at most {possible} is possible, with {MAX_DRAWS} draws"
    )]
    OutOfReach { target_radius: f64, alpha: f64, sigma: f64, possible: f64 },
}

/// A checked rule: when to stop drawing and what is then claimed. It is fixed before the frame is seen. Its sigma is
/// that of the noise and that of the radius.
#[derive(Debug, Clone, PartialEq)]
pub struct SequentialRule {
    settings: RuleSettings,
    threshold: f32,
    sigma: f64,
    draws_needed: u32,
}

impl SequentialRule {
    /// `threshold`: a draw counts as above it when its score is strictly larger. `sigma`: standard deviation of the
    /// noise of the draws, \[0,1\] units.
    pub fn new(settings: &RuleSettings, threshold: f32, sigma: f64) -> Result<Self, RuleError> {
        if let Some(problem) = settings.problems().into_iter().next() {
            return Err(RuleError::Setting(problem));
        }
        if !threshold.is_finite() {
            return Err(RuleError::Threshold(threshold));
        }
        if !(sigma > 0.0 && sigma.is_finite()) {
            return Err(RuleError::Sigma(sigma));
        }
        let mut rule = Self { settings: settings.clone(), threshold, sigma, draws_needed: 0 };
        let &RuleSettings { alpha, target_radius, max_draws, .. } = settings;
        match rule.draws_when_all_agree() {
            None => {
                Err(RuleError::OutOfReach { target_radius, alpha, sigma, possible: rule.largest_radius() })
            }
            Some(needed) if needed > max_draws => {
                Err(RuleError::TooFewDraws { max_draws, alpha, target_radius, needed })
            }
            Some(needed) => {
                rule.draws_needed = needed;
                Ok(rule)
            }
        }
    }

    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    pub fn max_draws(&self) -> u32 {
        self.settings.max_draws
    }

    /// How many draws the target radius takes when all of them agree, on the side that takes more.
    pub fn draws_needed(&self) -> u32 {
        self.draws_needed
    }

    /// The fewest draws that the target takes, as a sentence for people.
    pub fn cost_in_words(&self) -> String {
        let RuleSettings { alpha, target_radius, .. } = &self.settings;
        let Self { sigma, draws_needed, .. } = self;
        format!(
            "radius {target_radius} at sigma {sigma} and alpha {alpha} can be reached in {draws_needed} draws"
        )
    }

    /// Whether a certified radius (\[0,1\] units) is as large as was asked for.
    pub(super) fn is_met_by(&self, radius: f64) -> bool {
        radius >= self.settings.target_radius
    }

    pub(super) fn target_in_sigmas(&self) -> f64 {
        self.settings.target_radius / self.sigma
    }

    /// The radius that `MAX_DRAWS` draws certify when all of them agree, on the side that needs more draws.
    fn largest_radius(&self) -> f64 {
        let radius = |side| self.evidence(side, MAX_DRAWS, MAX_DRAWS).radius_in_sigmas(0.0).unwrap_or(0.0);
        self.sigma * radius(Side::Normal).min(radius(Side::Anomalous))
    }

    /// The fewest draws that certify the target when all agree. M_n is then convex in n and starts at 1, so a claim
    /// that holds once holds for every larger number.
    fn draws_when_all_agree(&self) -> Option<u32> {
        let certified = |draws| {
            Side::BOTH
                .into_iter()
                .all(|side| self.evidence(side, draws, draws).holds(self.target_in_sigmas()))
        };
        certified(MAX_DRAWS).then(|| least(0, MAX_DRAWS, certified))
    }

    pub(super) fn evidence(&self, side: Side, agreeing: u32, draws: u32) -> DrawEvidence {
        let disagreeing = draws - agreeing;
        let ln_marginal = match side {
            Side::Anomalous => self.settings.prior.ln_marginal(agreeing, disagreeing),
            Side::Normal => self.settings.prior.ln_marginal(disagreeing, agreeing),
        };
        DrawEvidence {
            ln_marginal,
            agreeing: f64::from(agreeing),
            disagreeing: f64::from(disagreeing),
            bar: -self.settings.alpha.ln() + ROUNDING,
        }
    }

    /// How many of `draws` must agree for a claim at radius 0: a*(0) of the method. A claim that holds
    /// also holds with more agreement (M_n is convex in it and at most 1 where the claim begins), so bisection is safe.
    pub(super) fn least_agreeing(&self, side: Side, draws: u32) -> Option<u32> {
        let claimed = |agreeing| self.evidence(side, agreeing, draws).holds(0.0);
        claimed(draws).then(|| least(draws / 2, draws, claimed))
    }
}

/// The least number in (fails, holds] at which `at` is true. `at` must be false up to some number and true from it on.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> RuleSettings {
        RuleSettings::new(0.05)
    }

    fn words(settings: &RuleSettings) -> String {
        SequentialRule::new(settings, 1.0, 0.1).unwrap_err().to_string()
    }

    #[test]
    fn a_target_that_cannot_be_met_is_refused_with_what_can() {
        let too_few = words(&RuleSettings { max_draws: 21, ..usual() });
        assert_eq!(
            too_few,
            "smoothing.max_draws = 21: too few for alpha = 0.001 and target_radius = 0.05 with this prior; at least 22 are needed"
        );
        let out_of_reach = words(&RuleSettings::new(0.6));
        let possible: f64 =
            out_of_reach.split("at most ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let at_most = |radius| RuleSettings { max_draws: MAX_DRAWS, ..RuleSettings::new(radius) };
        assert_eq!(SequentialRule::new(&at_most(possible), 1.0, 0.1).unwrap().draws_needed(), MAX_DRAWS);
        assert!(words(&at_most(possible + 1e-6)).contains("out of reach"));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_in_words() {
        for (settings, what) in [
            (RuleSettings { alpha: 0.0, ..usual() }, "smoothing.alpha = 0: not a failure probability"),
            (RuleSettings { alpha: f64::NAN, ..usual() }, "smoothing.alpha = NaN:"),
            (RuleSettings { alpha: 0.5, ..usual() }, "above 0 and below 0.5 is allowed"),
            (RuleSettings::new(-0.1), "smoothing.target_radius = -0.1: not a radius"),
            (RuleSettings::new(f64::INFINITY), "smoothing.target_radius = inf:"),
            (RuleSettings { max_draws: 0, ..usual() }, "smoothing.max_draws = 0:"),
            (RuleSettings { max_draws: MAX_DRAWS + 1, ..usual() }, "1 to 100000"),
        ] {
            assert!(words(&settings).contains(what), "{}", words(&settings));
        }
        let refused =
            |threshold, sigma| SequentialRule::new(&usual(), threshold, sigma).unwrap_err().to_string();
        assert!(refused(f32::NAN, 0.1).starts_with("calibration.threshold = NaN:"));
        assert!(refused(1.0, 0.0).starts_with("detector.sigma = 0:"));
        assert!(refused(1.0, f64::INFINITY).starts_with("detector.sigma = inf:"));
    }

    #[test]
    fn a_radius_as_large_as_the_target_meets_it() {
        let met = |target, radius| {
            SequentialRule::new(&RuleSettings::new(target), 1.0, 0.1).unwrap().is_met_by(radius)
        };
        assert!(met(0.05, 0.05) && !met(0.05, 0.05_f64.next_down()));
        assert!(met(0.0, 0.0), "a target of 0 asks for the side alone");
    }

    #[test]
    fn a_claim_needs_a_little_more_than_alpha_asks_for() {
        let bar = SequentialRule::new(&usual(), 1.0, 0.1).unwrap().evidence(Side::Normal, 9, 9).bar;
        assert!(bar > -0.001_f64.ln() && bar < -0.001_f64.ln() + 2e-6);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let settings = RuleSettings { alpha: 2.0, max_draws: 0, ..RuleSettings::new(f64::NAN) };
        let keys: Vec<_> = settings.problems().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["alpha", "target_radius", "max_draws"]);
        assert_eq!(usual().problems(), []);
    }
}
