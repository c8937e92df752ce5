//! Bounds at a fixed number of draws: how often they are wrong, a planted rank that is off by one, and the two ways to
//! compute them compared with each other.

use proptest::prelude::*;
use rand::RngExt;
use rand_distr::StandardNormal;
use statrs::distribution::Discrete;

use super::*;
use crate::smoothing::fixed::upper_rank;

/// P(wrong claim), exactly, if each draw is above the threshold with probability Phi(truth).
fn failure_probability(design: FixedDesign, truth: f64) -> f64 {
    let draws = design.draws();
    let counts = Binomial::new(gaussian::cdf(truth), u64::from(draws)).unwrap();
    (0..=draws)
        .filter(|&above| {
            let claim = |side, agreeing| wrong(Some(side), design.radius(agreeing).unwrap_or(-1.0), truth);
            (design.radius(above).is_some() && claim(Side::Anomalous, above))
                || (design.radius(draws - above).is_some() && claim(Side::Normal, draws - above))
        })
        .map(|above| counts.pmf(u64::from(above)))
        .sum()
}

#[test]
fn fixed_bounds_fail_at_most_alpha_at_the_hardest_p() {
    let design = FixedDesign::new(100, ALPHA, SIGMA).unwrap();
    let (truth, exact) = (-60..=60)
        .map(|step| f64::from(step) / 25.0)
        .map(|truth| (truth, failure_probability(design, truth)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap();
    assert!(exact <= ALPHA, "{exact} at Phi({truth})");
    assert!(exact > 0.4 * ALPHA, "the scan found nothing hard: {exact} at Phi({truth})");
    let p = gaussian::cdf(truth);
    let failed = failures(|rng| {
        let run = design.observe(&scores((0..100).map(|_| f32::from(rng.random_bool(p))))).unwrap();
        let certificate = run.certificate(0.5);
        wrong(certificate.side, certificate.radius, truth)
    });
    assert!(!proves_unsound(failed, ALPHA), "{failed} of {RUNS} at Phi({truth})");
    let noise = 4.0 * (exact / RUNS as f64).sqrt();
    assert!((failed as f64 / RUNS as f64 - exact).abs() < noise, "{failed} of {RUNS} instead of {exact}");
}

#[test]
fn order_statistics_cover_their_quantile_and_ranks_read_from_zero_are_caught() {
    // nine draws: P(Bin(9, Phi(.5)) >= 9) = .036, but .181 for one rank less, so that one rank shows
    let (draws, radius_in_sigmas, side_error) = (9, 0.5, 0.05);
    let design = FixedDesign::new(draws, 2.0 * side_error, SIGMA).unwrap();
    let rank = upper_rank(draws, radius_in_sigmas, side_error).unwrap() as usize;
    let (mut above, mut below, mut planted) = (0, 0, 0);
    failures(|rng| {
        let values: [f32; 9] = std::array::from_fn(|_| rng.sample(StandardNormal));
        let run = design.observe(&scores(values)).unwrap();
        let mut ascending = values;
        ascending.sort_by(f32::total_cmp);
        above += u64::from(f64::from(run.upper(radius_in_sigmas * SIGMA).unwrap()) < radius_in_sigmas);
        below += u64::from(f64::from(run.lower(radius_in_sigmas * SIGMA).unwrap()) > -radius_in_sigmas);
        // the planted fault: the rank of L_r, n - k + 1, which counts from one, used as an index from zero
        planted += u64::from(f64::from(ascending[9 - rank + 1]) > -radius_in_sigmas);
        false
    });
    assert!(!proves_unsound(above, side_error), "U_r: {above} of {RUNS}");
    assert!(!proves_unsound(below, side_error), "L_r: {below} of {RUNS}");
    assert!(proves_unsound(planted, side_error), "planted: {planted} of {RUNS}");
}

/// Power: a clear frame is certified on its side, at a radius near the largest that so many draws allow.
#[test]
fn a_clear_frame_is_certified_at_a_fixed_number_of_draws_on_either_side() {
    let design = FixedDesign::new(100, 0.001, SIGMA).unwrap();
    let p = gaussian::cdf(2.5);
    for side in Side::BOTH {
        let mut at_sigma = 0;
        for seed in 0..200 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let drawn = (0..100).map(|_| f32::from(rng.random_bool(p) == (side == Side::Anomalous)));
            let certificate = design.observe(&scores(drawn)).unwrap().certificate(0.5);
            assert_eq!(certificate.side, Some(side), "seed {seed}");
            assert!(certificate.radius <= 2.5 * SIGMA, "seed {seed}");
            at_sigma += u32::from(certificate.radius >= SIGMA);
        }
        // 96 of 100 draws are enough; fewer agree in one frame of two thousand
        assert!(at_sigma >= 198, "{side:?}: {at_sigma} of 200");
    }
}

/// Power: order-statistic bounds are near their quantile.
#[test]
fn order_statistics_are_near_their_quantile() {
    let design = FixedDesign::new(1000, 0.001, SIGMA).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let values: Vec<f32> = (0..1000).map(|_| rng.sample(StandardNormal)).collect();
    let run = design.observe(&scores(values)).unwrap();
    for radius_in_sigmas in [0.0, 0.5, 1.0] {
        let upper = f64::from(run.upper(radius_in_sigmas * SIGMA).unwrap());
        let lower = f64::from(run.lower(radius_in_sigmas * SIGMA).unwrap());
        assert!(
            upper < radius_in_sigmas + 0.3 && upper > radius_in_sigmas,
            "U at {radius_in_sigmas}: {upper}"
        );
        assert!(
            lower > -radius_in_sigmas - 0.3 && lower < -radius_in_sigmas,
            "L at {radius_in_sigmas}: {lower}"
        );
    }
}

proptest! {
    #[test]
    fn percentile_and_clopper_pearson_routes_agree(
        // few values, so that scores tie with each other and with the threshold; some are not a number
        values in prop::collection::vec(prop_oneof![9 => (0_u8..8).prop_map(f32::from), 1 => Just(f32::NAN)], 1..300),
        lean in 0.0_f32..8.0,
        threshold in 0_u8..8,
        radius_in_sigmas in 0.0_f64..2.5,
        alpha in prop_oneof![Just(0.2), Just(0.05), Just(0.001)],
    ) {
        let values = values.into_iter().map(|value| if value < lean { value.min(1.0) } else { value });
        let values: Vec<f32> = values.collect();
        let threshold = f32::from(threshold);
        let radius = radius_in_sigmas * SIGMA;
        let design = FixedDesign::new(values.len() as u32, alpha, SIGMA).unwrap();
        let run = design.observe(&scores(values.iter().copied())).unwrap();

        let above = values.iter().filter(|&&value| value > threshold).count() as u32;
        let below = values.iter().filter(|&&value| value <= threshold).count() as u32;
        let counted = |agreeing| design.radius(agreeing).is_some_and(|largest| radius <= largest);
        prop_assert_eq!(run.lower(radius).is_some_and(|lower| lower > threshold), counted(above));
        prop_assert_eq!(run.upper(radius).is_some_and(|upper| upper <= threshold), counted(below));

        let certificate = run.certificate(threshold);
        prop_assert_eq!(certificate.side == Some(Side::Anomalous), design.radius(above).is_some());
        prop_assert_eq!(certificate.side == Some(Side::Normal), design.radius(below).is_some());
        let r = certificate.radius;
        match certificate.side {
            Some(Side::Anomalous) => {
                prop_assert!(run.lower(r).unwrap() > threshold);
                prop_assert!(run.lower(r + 1e-6).is_none_or(|lower| lower <= threshold));
            }
            Some(Side::Normal) => {
                prop_assert!(run.upper(r).unwrap() <= threshold);
                prop_assert!(run.upper(r + 1e-6).is_none_or(|upper| upper > threshold));
            }
            None => prop_assert_eq!(r, 0.0),
        }
    }
}
