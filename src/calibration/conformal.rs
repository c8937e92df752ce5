//! The threshold, computed from normal frames (split conformal), with its guarantee. Statistics only.
//!
//! Given are m normal frames, one per part, from which nothing else was made. All get the same number of draws. For
//! frame i let Q_i be the Phi(r_cal / sigma)-quantile of its score, and D_i its (1 - beta) upper order-statistic bound.
//! tau is the j-th smallest D_i with j = ceil((m+1)(1-f)).
//!
//! The guarantee (our own generalisation of the method's r_cal = 0, where Q is the median): a frame is
//! certifiable as normal at r_cal, given enough draws, iff Q <= tau. Let D be the bound that a fresh normal
//! frame would get. D and D_1..D_m are exchangeable, so P(D > tau) <= f; and P(D < Q) <= beta. If neither
//! happens, Q <= D <= tau. Hence
//! ```text
//! P(a fresh normal frame is not certifiable as normal at r_cal, in the limit of draws) <= f + beta
//! P(a fresh normal frame is called anomalous)                             <= f + beta + alpha
//! ```
//! The second holds because a certificate `anomalous` that is right needs a median above tau, and the median is at
//! most Q. So r_cal > 0 bounds abstaining at radii up to r_cal too, not just false alarms; its price is a higher tau.
//! Both are means over calibration sets; for one set the realised share is Beta(m+1-j, j) distributed.
//!
//! Guarantees: too few frames or too few draws are refused with the number needed. A frame whose scores are not numbers
//! counts as infinitely anomalous, and tau itself is always finite.
//! Leaves out: training maps, files, which frames to take (see [`crate::near_duplicates`] for one per part).

use statrs::distribution::{Beta, ContinuousCDF};

use crate::score::CertifiedScore;
use crate::smoothing::Ranked;
use crate::smoothing::fixed::{draws_for_rank, upper_rank};

/// What the threshold shall do; not checked yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ThresholdRequest {
    /// f: share of normal frames that may end above the threshold.
    pub false_alarms: f64,
    /// Failure probability of one frame's bound.
    pub beta: f64,
    /// r_cal: l2 radius at the model input at which normal frames should be certifiable.
    pub radius: f64,
    pub sigma: f64,
    /// Draws of each frame, the same for all.
    pub draws: u32,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum CalibrationError {
    #[error(
        "{name} = {value}: no guarantee can be made with this probability; above 0 and below 0.5 is allowed"
    )]
    Probability { name: &'static str, value: f64 },
    #[error("detector.sigma = {0}: not a noise level; a number above 0 is needed")]
    Sigma(f64),
    #[error("radius = {0}: not a radius; 0 or more is allowed")]
    Radius(f64),
    #[error(
        "draws = {draws}: too few to bound a score at radius {radius} with beta = {beta}; {needed} needed"
    )]
    TooFewDraws { draws: u32, radius: f64, beta: f64, needed: String },
    #[error(
        "scores = {got}: every frame of a calibration gets the same number of draws; exactly {draws} are needed"
    )]
    Count { got: usize, draws: u32 },
    #[error(
        "normal frames = {got}: too few for a false alarm rate of {false_alarms}; at least {needed} are needed, one of each part"
    )]
    TooFewFrames { got: usize, false_alarms: f64, needed: usize },
    #[error(
        "threshold = infinite: a share of more than {0} of the normal frames gave scores that are not finite numbers; a model that gives finite scores is needed"
    )]
    NotFinite(f64),
}

/// A checked [`ThresholdRequest`]: so many draws give a bound for each frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ThresholdRule {
    request: ThresholdRequest,
    rank: u32,
}

/// The threshold, and the false-alarm rates that it may really have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Threshold {
    pub value: f32,
    /// How many normal frames it was made from.
    pub frames: usize,
    pub rank: usize,
    /// The 5 % and 95 % points, over calibration sets, of the share of normal frames above the threshold.
    pub realised: [f64; 2],
}

impl ThresholdRule {
    pub(crate) fn new(request: ThresholdRequest) -> Result<Self, CalibrationError> {
        let ThresholdRequest { false_alarms, beta, radius, sigma, draws } = request;
        for (name, value) in [("false_alarms", false_alarms), ("beta", beta)] {
            if !(value > 0.0 && value < 0.5) {
                return Err(CalibrationError::Probability { name, value });
            }
        }
        if !(sigma > 0.0 && sigma.is_finite()) {
            return Err(CalibrationError::Sigma(sigma));
        }
        if !(radius >= 0.0 && radius.is_finite()) {
            return Err(CalibrationError::Radius(radius));
        }
        let radius_in_sigmas = radius / sigma;
        let rank =
            upper_rank(draws, radius_in_sigmas, beta).ok_or_else(|| CalibrationError::TooFewDraws {
                draws,
                radius,
                beta,
                needed: match draws_for_rank(radius_in_sigmas, beta) {
                    Some(draws) => format!("at least {draws} are"),
                    None => "a smaller radius is".into(),
                },
            })?;
        Ok(Self { request, rank })
    }

    /// The least number of normal frames for a threshold.
    pub(crate) fn frames_needed(&self) -> usize {
        frames_needed(self.request.false_alarms)
    }

    /// D_i: the upper bound of one frame's quantile; infinite if so many scores are not numbers that the bound falls on
    /// one of them.
    pub(crate) fn bound(&self, scores: &[CertifiedScore]) -> Result<f32, CalibrationError> {
        if scores.len() != self.request.draws as usize {
            return Err(CalibrationError::Count { got: scores.len(), draws: self.request.draws });
        }
        let ranked = Ranked::new(scores.iter().map(|score| score.value()));
        Ok(ranked.upper(self.rank as usize).unwrap_or(f32::INFINITY))
    }

    /// tau, from the bounds of the normal frames, one frame of each part.
    pub(crate) fn threshold(&self, bounds: &[f32]) -> Result<Threshold, CalibrationError> {
        let false_alarms = self.request.false_alarms;
        let frames = bounds.len();
        // ceil((m+1)(1-f)), written so that a product such as 100 * .29 = 28.999... keeps its whole value
        let above = ((frames + 1) as f64 * false_alarms + ROUNDING).floor() as usize;
        if above == 0 {
            return Err(CalibrationError::TooFewFrames {
                got: frames,
                false_alarms,
                needed: self.frames_needed(),
            });
        }
        let rank = frames + 1 - above;
        let mut ascending = bounds.to_vec();
        ascending.sort_unstable_by(f32::total_cmp);
        let value = ascending[rank - 1];
        if !value.is_finite() {
            return Err(CalibrationError::NotFinite(false_alarms));
        }
        let share = Beta::new(above as f64, rank as f64).expect("both ranks are positive");
        let realised = [0.05, 0.95].map(|probability| share.inverse_cdf(probability));
        Ok(Threshold { value, frames, rank, realised })
    }
}

/// The least number of normal frames, one of each part, with which a threshold can keep this share of false alarms.
pub(crate) fn frames_needed(false_alarms: f64) -> usize {
    (1.0 / false_alarms - ROUNDING).ceil() as usize - 1
}

/// Tolerance for products that binary fractions make slightly less than a whole number. It changes a probability by
/// at most this much.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;

    const REQUEST: ThresholdRequest =
        ThresholdRequest { false_alarms: 0.05, beta: 0.01, radius: 0.0, sigma: 0.1, draws: 64 };

    #[test]
    fn too_few_frames_are_refused_with_the_number() {
        for (false_alarms, needed) in [(0.05, 19), (0.01, 99), (0.3, 3), (0.29, 3), (0.07, 14)] {
            let rule = ThresholdRule::new(ThresholdRequest { false_alarms, ..REQUEST }).unwrap();
            assert_eq!(rule.frames_needed(), needed);
            let refused = rule.threshold(&vec![1.0; needed - 1]).unwrap_err();
            assert!(refused.to_string().contains(&format!("at least {needed}")), "{refused}");
            assert_eq!(rule.threshold(&vec![1.0; needed]).unwrap().rank, needed);
        }
    }

    #[test]
    fn too_few_draws_are_refused_with_the_number() {
        let refused = ThresholdRule::new(ThresholdRequest { draws: 6, ..REQUEST }).unwrap_err().to_string();
        assert!(refused.ends_with("at least 7 are needed"), "{refused}");
        assert!(ThresholdRule::new(ThresholdRequest { draws: 7, ..REQUEST }).is_ok());
        let refused =
            ThresholdRule::new(ThresholdRequest { radius: 0.9, ..REQUEST }).unwrap_err().to_string();
        assert!(refused.ends_with("a smaller radius is needed"), "{refused}");
        let rule = ThresholdRule::new(REQUEST).unwrap();
        assert!(matches!(
            rule.bound(&[CertifiedScore::stored(1.0); 63]),
            Err(CalibrationError::Count { got: 63, .. })
        ));
    }

    #[test]
    fn requests_that_mean_nothing_are_refused_in_words() {
        for (request, what) in [
            (ThresholdRequest { false_alarms: 0.0, ..REQUEST }, "false_alarms = 0:"),
            (ThresholdRequest { beta: f64::NAN, ..REQUEST }, "beta = NaN:"),
            (ThresholdRequest { sigma: 0.0, ..REQUEST }, "detector.sigma = 0:"),
            (ThresholdRequest { radius: -1.0, ..REQUEST }, "radius = -1:"),
        ] {
            let refused = ThresholdRule::new(request).unwrap_err().to_string();
            assert!(refused.starts_with(what), "{refused}");
        }
    }

    #[test]
    fn frames_that_give_no_numbers_raise_the_threshold_and_never_vanish() {
        let rule = ThresholdRule::new(REQUEST).unwrap();
        assert_eq!(rule.bound(&[CertifiedScore::stored(f32::NAN); 64]).unwrap(), f32::INFINITY);
        let mut bounds: Vec<f32> = (0..39).map(|frame| frame as f32).collect();
        assert_eq!(rule.threshold(&bounds).unwrap().value, 37.0);
        bounds[0] = f32::INFINITY;
        assert_eq!(rule.threshold(&bounds).unwrap().value, 38.0);
        bounds[1] = f32::INFINITY;
        assert!(matches!(rule.threshold(&bounds), Err(CalibrationError::NotFinite(_))));
    }

    /// Frames whose scores are N(mean, 1), each with another mean. Q = mean + radius_in_sigmas is known exactly.
    fn uncertifiable(request: ThresholdRequest, planted: bool) -> (u32, u32) {
        let rule = ThresholdRule::new(request).unwrap();
        let radius_in_sigmas = request.radius / request.sigma;
        let (mut failed, runs) = (0, 1000);
        for run in 0..runs {
            let mut rng = ChaCha8Rng::seed_from_u64(u64::from(run));
            let mut frame = || 0.3 * rng.sample::<f64, _>(StandardNormal);
            let means: Vec<f64> = (0..19).map(|_| frame()).collect();
            let fresh = frame() + radius_in_sigmas;
            let bounds = means.iter().map(|mean| {
                let scores: Vec<_> = (0..request.draws)
                    .map(|_| CertifiedScore::stored((mean + rng.sample::<f64, _>(StandardNormal)) as f32))
                    .collect();
                rule.bound(&scores).unwrap() - if planted { 2.0 * radius_in_sigmas as f32 } else { 0.0 }
            });
            let tau = rule.threshold(&bounds.collect::<Vec<_>>()).unwrap().value;
            failed += u32::from(fresh > f64::from(tau));
        }
        (failed, runs)
    }

    /// Finds a rank that is off by one: among exchangeable values the share above tau is known exactly.
    #[test]
    fn a_fresh_bound_lies_above_the_threshold_exactly_as_often_as_asked() {
        // m = 19: 2 of 20 ranks lie above; m = 25: 2 of 26
        for (false_alarms, frames, exactly) in [(0.1, 19, 0.1), (0.1, 25, 2.0 / 26.0), (0.05, 19, 0.05)] {
            let rule = ThresholdRule::new(ThresholdRequest { false_alarms, ..REQUEST }).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(frames);
            let (mut above, mut within, runs) = (0, 0, 20_000);
            for _ in 0..runs {
                let bounds: Vec<f32> = (0..frames).map(|_| rng.random()).collect();
                let threshold = rule.threshold(&bounds).unwrap();
                above += u32::from(rng.random::<f32>() > threshold.value);
                // of uniform values the share above tau is 1 - tau
                let [low, high] = threshold.realised;
                within += u32::from((low..high).contains(&(1.0 - f64::from(threshold.value))));
            }
            // five standard deviations of 20,000 runs are .011; the next rank is .038 off at least
            let share = |count| f64::from(count) / f64::from(runs);
            assert!((share(above) - exactly).abs() < 0.011, "{frames}: {} above, {exactly}", share(above));
            assert!((share(within) - 0.9).abs() < 0.011, "{frames}: {} within the 90 %", share(within));
        }
    }

    #[test]
    fn a_fresh_normal_frame_is_certifiable_but_for_f_and_beta() {
        for radius in [0.0, 0.1] {
            let request = ThresholdRequest { false_alarms: 0.1, beta: 0.05, radius, ..REQUEST };
            let (failed, runs) = uncertifiable(request, false);
            // a rate of at most .15, plus three standard deviations of 1,000 runs
            assert!(f64::from(failed) <= 0.15 * f64::from(runs) + 34.0, "{failed} of {runs} at {radius}");
        }
        // planted: the quantile of the wrong side
        let request = ThresholdRequest { false_alarms: 0.1, beta: 0.05, radius: 0.1, ..REQUEST };
        let (failed, runs) = uncertifiable(request, true);
        assert!(f64::from(failed) > 0.15 * f64::from(runs) + 34.0, "planted: {failed} of {runs}");
    }

    /// Rank and spread by scipy, from `tests/golden/bounds.json`.
    #[test]
    fn the_spread_of_the_realised_false_alarm_rate_is_scipy_s() {
        #[derive(serde::Deserialize)]
        struct SpreadVectors {
            spread: Vec<SpreadVector>,
        }
        #[derive(serde::Deserialize, Debug)]
        struct SpreadVector {
            frames: usize,
            false_alarms: f64,
            rank: usize,
            realised: [f64; 2],
        }
        let golden: SpreadVectors =
            serde_json::from_str(include_str!("../../tests/golden/bounds.json")).unwrap();
        assert!(!golden.spread.is_empty());
        for row in golden.spread {
            let request = ThresholdRequest { false_alarms: row.false_alarms, ..REQUEST };
            let bounds: Vec<f32> = (1..=row.frames).map(|frame| frame as f32).collect();
            let threshold = ThresholdRule::new(request).unwrap().threshold(&bounds).unwrap();
            assert_eq!((threshold.rank, threshold.value), (row.rank, row.rank as f32), "{row:?}");
            for (found, golden) in threshold.realised.into_iter().zip(row.realised) {
                assert!((found - golden).abs() < 1e-9, "{row:?}: {found}");
            }
        }
    }
}
