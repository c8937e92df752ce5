//! The sequential certificate, read after every draw: exact failure probabilities, simulations that stop at the first
//! wrong claim, and planted bugs.

use rand::RngExt;
use statrs::distribution::{ContinuousCDF, Normal};

use super::*;
use crate::smoothing::fixed::upper_rank;
use crate::smoothing::radius::DrawEvidence;

/// Draws of a run; the certificate is read after each of them.
const HORIZON: u32 = 200;

/// A rule with the target radius 0 and so many draws that a run does not end within `HORIZON`.
fn endless_rule(alpha: f64) -> SequentialRule {
    rule(alpha, 0.0, 100_000, 0.5)
}

/// P(a wrong claim after some draw), exactly: a recursion over (draws, ones) that ends a run at its first wrong claim.
fn failure_probability(horizon: u32, truth: f64, wrong: impl Fn(u32, u32) -> bool) -> f64 {
    let p = gaussian::cdf(truth);
    let mut alive = vec![0.0; horizon as usize + 1];
    let mut failed = 0.0;
    alive[0] = 1.0;
    for draws in 1..=horizon {
        for ones in (0..=draws).rev() {
            let one_less = if ones > 0 { alive[ones as usize - 1] } else { 0.0 };
            let mass = alive[ones as usize] * (1.0 - p) + one_less * p;
            let fails = wrong(draws, ones);
            failed += if fails { mass } else { 0.0 };
            alive[ones as usize] = if fails { 0.0 } else { mass };
        }
    }
    failed
}

/// The evidence for both sides at every (draws, ones) up to `HORIZON`.
struct Lattice(Vec<Vec<[DrawEvidence; 2]>>);

impl Lattice {
    fn new(evidence: impl Fn(Side, u32, u32) -> DrawEvidence) -> Self {
        let at = |draws, ones| {
            [evidence(Side::Anomalous, ones, draws), evidence(Side::Normal, draws - ones, draws)]
        };
        Self((0..=HORIZON).map(|draws| (0..=draws).map(|ones| at(draws, ones)).collect()).collect())
    }

    fn wrong(&self, truth: f64, draws: u32, ones: u32) -> bool {
        let [anomalous, normal] = &self.0[draws as usize][ones as usize];
        anomalous.holds(truth.max(0.0)) || normal.holds((-truth).max(0.0))
    }

    fn failure_probability(&self, truth: f64) -> f64 {
        failure_probability(HORIZON, truth, |draws, ones| self.wrong(truth, draws, ones))
    }

    /// The truth at which a wrong claim is most likely, with its probability.
    fn hardest(&self) -> (f64, f64) {
        (-24..=24)
            .map(|step| f64::from(step) / 10.0)
            .map(|truth| (truth, self.failure_probability(truth)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap()
    }
}

/// Whether `wrong(draws, ones)` is ever true in a run whose draws are ones with probability Phi(truth).
fn ever_wrong(rng: &mut ChaCha8Rng, truth: f64, mut wrong: impl FnMut(u32, u32) -> bool) -> bool {
    let p = gaussian::cdf(truth);
    let mut ones = 0;
    (1..=HORIZON).any(|draws| {
        ones += u32::from(rng.random_bool(p));
        wrong(draws, ones)
    })
}

#[test]
fn sequential_claims_fail_at_most_alpha_at_any_time_exactly() {
    for alpha in [0.2, ALPHA, 0.001, 1e-6] {
        let rule = endless_rule(alpha);
        let lattice = Lattice::new(|side, agreeing, draws| rule.evidence(side, agreeing, draws));
        let (truth, failure) = lattice.hardest();
        assert!(failure <= alpha, "alpha {alpha}: {failure} at Phi({truth})");
        assert!(failure > 0.1 * alpha, "alpha {alpha}: the scan found nothing hard: {failure}");
    }
}

#[test]
fn sequential_claims_fail_at_most_alpha_at_the_hardest_p() {
    let rule = endless_rule(ALPHA);
    let lattice = Lattice::new(|side, agreeing, draws| rule.evidence(side, agreeing, draws));
    let (truth, exact) = lattice.hardest();
    let p = gaussian::cdf(truth);
    let failed = failures(|rng| {
        let mut run = SequentialRun::new(&rule);
        (0..HORIZON).any(|_| {
            run.count_against_threshold(CertifiedScore::stored(f32::from(rng.random_bool(p))));
            wrong(run.side(), run.radius(), truth)
        })
    });
    assert!(!proves_unsound(failed, ALPHA), "{failed} of {RUNS} at Phi({truth})");
    let noise = 4.0 * (exact / RUNS as f64).sqrt();
    assert!((failed as f64 / RUNS as f64 - exact).abs() < noise, "{failed} of {RUNS} instead of {exact}");
}

#[test]
fn peeking_at_fixed_bounds_is_caught() {
    let truth = 0.5;
    let ranks: Vec<_> = (0..=HORIZON).map(|draws| upper_rank(draws, truth, ALPHA / 2.0)).collect();
    let planted = failures(|rng| {
        ever_wrong(rng, truth, |draws, ones| ranks[draws as usize].is_some_and(|least| ones >= least))
    });
    assert!(proves_unsound(planted, ALPHA), "{planted} of {RUNS}");
}

#[test]
fn a_prior_that_saw_the_frame_is_caught() {
    let fitted = Lattice::new(|side, agreeing, draws| {
        let ones = if side == Side::Anomalous { agreeing } else { draws - agreeing };
        // a narrow component, as if learnt from a station's frames, but placed at what this very frame shows
        let mean = (f64::from(ones) + 0.5) / (f64::from(draws) + 1.0);
        let seen = [0.8, 1000.0 * mean, 1000.0 * (1.0 - mean)];
        let prior = Prior::new(&[seen, [0.2, 0.5, 0.5]]).unwrap();
        let settings = RuleSettings { alpha: ALPHA, max_draws: 100_000, prior, ..RuleSettings::new(0.0) };
        SequentialRule::new(&settings, 0.5, SIGMA).unwrap().evidence(side, agreeing, draws)
    });
    let (truth, _) = fitted.hardest();
    let planted = failures(|rng| ever_wrong(rng, truth, |draws, ones| fitted.wrong(truth, draws, ones)));
    assert!(proves_unsound(planted, ALPHA), "{planted} of {RUNS}");
}

#[test]
fn dropping_half_of_the_disagreeing_draws_is_caught() {
    let rule = endless_rule(ALPHA);
    let truth = 0.5;
    let p = gaussian::cdf(truth);
    let planted = failures(|rng| {
        let mut run = SequentialRun::new(&rule);
        (0..HORIZON).any(|_| {
            let above = rng.random_bool(p);
            if above || rng.random_bool(0.5) {
                run.count_against_threshold(CertifiedScore::stored(f32::from(above)));
            }
            wrong(run.side(), run.radius(), truth)
        })
    });
    assert!(proves_unsound(planted, ALPHA), "{planted} of {RUNS}");
}

/// How many runs fail when draws are above with probability `above`, NaN with `nan`, and below otherwise. `keep` says
/// which scores are counted.
fn failures_with_nan(above: f64, nan: f64, keep: impl Fn(f32) -> bool) -> u64 {
    let rule = endless_rule(ALPHA);
    let quantile = |p| Normal::standard().inverse_cdf(p);
    let (plus, minus) = (quantile(above), quantile(above + nan));
    failures(|rng| {
        let mut run = SequentialRun::new(&rule);
        (0..HORIZON).any(|_| {
            let place: f64 = rng.random();
            let score = if place < above {
                1.0
            } else if place < above + nan {
                f32::NAN
            } else {
                0.0
            };
            if keep(score) {
                run.count_against_threshold(CertifiedScore::stored(score));
            }
            match run.side() {
                Some(Side::Anomalous) => wrong(run.side(), run.radius(), plus),
                side => wrong(side, run.radius(), minus),
            }
        })
    })
}

#[test]
fn one_threshold_covers_both_sides_with_scores_that_are_not_numbers() {
    for (above, nan) in [(0.5, 0.25), (0.49, 0.02), (0.25, 0.25), (0.0, 0.5), (0.69, 0.1)] {
        let failed = failures_with_nan(above, nan, |_| true);
        assert!(!proves_unsound(failed, ALPHA), "{above} {nan}: {failed} of {RUNS}");
    }
    let planted = failures_with_nan(0.5, 0.25, |score| !score.is_nan());
    assert!(proves_unsound(planted, ALPHA), "NaN left out: {planted} of {RUNS}");
}

#[test]
fn the_bounds_of_the_median_hold_at_every_draw() {
    let rule = endless_rule(ALPHA);
    let failed = failures(|rng| {
        let mut run = SequentialRun::new(&rule);
        (0..HORIZON / 2).any(|_| {
            run.count_against_threshold(CertifiedScore::stored(rng.random_range(-1.0..1.0)));
            let certificate = run.certificate();
            certificate.score_lower.is_some_and(|lower| lower > 0.0)
                || certificate.score_upper.is_some_and(|upper| upper < 0.0)
        })
    });
    assert!(!proves_unsound(failed, ALPHA), "{failed} of {RUNS}");
    assert!(failed > RUNS / 1000, "bounds that never fail bound nothing: {failed} of {RUNS}");
}

/// Power: the figures of the method, 5b: how many draws certify a frame at r = sigma, in the mean and on either side, if
/// its draws agree with probability p.
#[test]
fn clear_frames_cost_the_draws_that_the_method_says() {
    const FRAMES: u64 = 400;
    let rule = rule(0.001, SIGMA, 1000, 0.5);
    for (p, method) in [(0.97, 90.0), (0.99, 55.0), (0.999, 47.0)] {
        for side in Side::BOTH {
            let mut draws = 0;
            for seed in 0..FRAMES {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut run = SequentialRun::new(&rule);
                while run.state() == StoppingState::Continue {
                    let agrees = rng.random_bool(p);
                    let above = agrees == (side == Side::Anomalous);
                    run.count_against_threshold(CertifiedScore::stored(f32::from(above)));
                }
                assert!(run.state() == StoppingState::Settled && run.side() == Some(side), "{p} {seed}");
                draws += u64::from(run.draws());
            }
            let mean = draws as f64 / FRAMES as f64;
            assert!(mean > 0.85 * method && mean < 1.15 * method, "{p} {side:?}: {mean} draws");
        }
    }
}

/// Power: a score that is not a number costs draws, not the certificate.
#[test]
fn a_frame_with_some_scores_that_are_not_numbers_is_still_certified() {
    let rule = rule(0.001, 0.5 * SIGMA, 200, 0.5);
    for (score, side) in [(1.0, Side::Anomalous), (0.0, Side::Normal)] {
        let mut run = SequentialRun::new(&rule);
        for draw in 0..100 {
            let score = if draw % 20 == 7 { f32::NAN } else { score };
            run.count_against_threshold(CertifiedScore::stored(score));
        }
        assert_eq!(run.side(), Some(side));
        assert!(run.radius() >= 0.8 * SIGMA && run.radius() < 1.65 * SIGMA, "{}", run.radius() / SIGMA);
    }
}

/// Power: the bounds of the median come near it.
#[test]
fn the_bounds_of_the_median_are_near_it_after_many_draws() {
    let rule = endless_rule(0.001);
    for seed in 0..50 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut run = SequentialRun::new(&rule);
        for _ in 0..400 {
            run.count_against_threshold(CertifiedScore::stored(rng.random_range(-1.0..1.0)));
        }
        let certificate = run.certificate();
        let (lower, upper) = (certificate.score_lower.unwrap(), certificate.score_upper.unwrap());
        assert!(lower < upper && lower > -0.5 && upper < 0.5, "seed {seed}: {lower} to {upper}");
    }
}
