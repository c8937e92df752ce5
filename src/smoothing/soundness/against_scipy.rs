//! Compares the bounds with `tests/golden/bounds.json`, which scipy computed in another way, and with the figures that
//! the method gives.

use serde::Deserialize;

use super::*;
use crate::smoothing::fixed::upper_rank;

#[derive(Deserialize)]
struct ScipyVectors {
    gaussian: Vec<GaussianVector>,
    ranks: Vec<RankVector>,
    fixed: Vec<FixedVector>,
    marginals: Vec<MarginalVector>,
    sequential: Vec<SequentialVector>,
    agreement: Vec<AgreementVector>,
}

#[derive(Deserialize, Debug)]
struct GaussianVector {
    radius_in_sigmas: f64,
    ln_cdf: f64,
}

#[derive(Deserialize, Debug)]
struct RankVector {
    draws: u32,
    radius_in_sigmas: f64,
    error: f64,
    rank: Option<u32>,
}

#[derive(Deserialize, Debug)]
struct FixedVector {
    draws: u32,
    agreeing: u32,
    error: f64,
    radius_in_sigmas: Option<f64>,
}

#[derive(Deserialize, Debug)]
struct MarginalVector {
    prior: Vec<[f64; 3]>,
    ones: u32,
    zeros: u32,
    ln_marginal: f64,
}

#[derive(Deserialize, Debug)]
struct SequentialVector {
    prior: Vec<[f64; 3]>,
    draws: u32,
    agreeing: u32,
    alpha: f64,
    radius_in_sigmas: Option<f64>,
}

#[derive(Deserialize, Debug)]
struct AgreementVector {
    prior: Vec<[f64; 3]>,
    radius_in_sigmas: f64,
    alpha: f64,
    draws: u32,
}

fn golden() -> ScipyVectors {
    serde_json::from_str(include_str!("../../../tests/golden/bounds.json")).unwrap()
}

fn rule_with(prior: Prior, alpha: f64, radius_in_sigmas: f64) -> SequentialRule {
    let settings =
        RuleSettings { alpha, max_draws: 100_000, prior, ..RuleSettings::new(radius_in_sigmas * SIGMA) };
    SequentialRule::new(&settings, 0.5, SIGMA).unwrap()
}

/// Whether `found` is `golden` rounded down: at most as large, and less by no more than rounding down costs.
fn same_radius(found: Option<f64>, golden: Option<f64>) -> bool {
    match (found, golden) {
        (Some(found), Some(golden)) => found <= golden && found >= golden - 1e-5,
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn probabilities_of_a_radius_are_scipy_s_in_both_tails() {
    for row in golden().gaussian {
        let found = gaussian::ln_cdf(row.radius_in_sigmas);
        assert!((found - row.ln_cdf).abs() <= 2e-10 * row.ln_cdf.abs(), "{row:?}: {found}");
        assert_eq!(gaussian::cdf(row.radius_in_sigmas) + gaussian::cdf(-row.radius_in_sigmas), 1.0);
    }
}

#[test]
fn fixed_ranks_and_radii_are_scipy_s() {
    let golden = golden();
    assert!(golden.ranks.len() > 200 && golden.fixed.len() > 50);
    for row in golden.ranks {
        assert_eq!(upper_rank(row.draws, row.radius_in_sigmas, row.error), row.rank, "{row:?}");
    }
    for row in golden.fixed {
        let design = FixedDesign::new(row.draws, 2.0 * row.error, SIGMA).unwrap();
        let found = design.radius(row.agreeing).map(|radius| radius / SIGMA);
        assert!(same_radius(found, row.radius_in_sigmas), "{row:?}: {found:?}");
    }
}

#[test]
fn marginals_and_sequential_radii_are_scipy_s() {
    let golden = golden();
    assert!(golden.marginals.len() > 20 && golden.sequential.len() > 100);
    for row in golden.marginals {
        let found = Prior::new(&row.prior).unwrap().ln_marginal(row.ones, row.zeros);
        assert!((found - row.ln_marginal).abs() < 1e-8, "{row:?}: {found}");
    }
    for row in golden.sequential {
        let rule = rule_with(Prior::new(&row.prior).unwrap(), row.alpha, 0.0);
        for side in Side::BOTH {
            let found = rule.evidence(side, row.agreeing, row.draws).radius_in_sigmas(0.0);
            assert!(same_radius(found, row.radius_in_sigmas), "{side:?} {row:?}: {found:?}");
        }
    }
    for row in golden.agreement {
        let rule = rule_with(Prior::new(&row.prior).unwrap(), row.alpha, row.radius_in_sigmas);
        assert_eq!(rule.draws_needed(), row.draws, "{row:?}");
    }
}

#[test]
fn the_method_s_own_figures_come_out() {
    let ranks =
        |draws, error| [0.5, 1.0, 1.5].map(|radius_in_sigmas| upper_rank(draws, radius_in_sigmas, error));
    assert_eq!(ranks(1000, 0.001), [Some(737), Some(877), Some(957)]);
    assert_eq!(ranks(100, 0.001), [Some(84), Some(95), Some(100)]);
    assert_eq!(ranks(1000, 0.0005), [Some(740), Some(879), Some(959)]);
    assert_eq!(ranks(100, 0.0005), [Some(85), Some(96), None]);

    let run = FixedDesign::new(2000, 2e-5, 0.25).unwrap();
    let run = run.observe(&scores((1..=2000_u16).map(f32::from))).unwrap();
    assert_eq!((run.upper(0.36), run.lower(0.36)), (Some(1899.0), Some(102.0)));

    for (draws, radius_in_sigmas) in [(32, 0.80), (100, 1.45), (1000, 2.43)] {
        let best = FixedDesign::new(draws, 0.001, 1.0).unwrap().radius(draws).unwrap();
        assert!((best - radius_in_sigmas).abs() < 0.005, "{draws}: {best}");
    }

    let floors = [0.0, 0.5, 1.0, 1.5]
        .map(|radius_in_sigmas| (0.001_f64.ln() / gaussian::ln_cdf(radius_in_sigmas)).ceil() as u32);
    assert_eq!(floors, [10, 19, 40, 100]);
    let needed = |prior: &Prior| {
        [0.0, 0.5, 1.0, 1.5]
            .map(|radius_in_sigmas| rule_with(prior.clone(), 0.001, radius_in_sigmas).draws_needed())
    };
    assert_eq!(needed(&Prior::default()), [12, 22, 47, 119]);
    assert_eq!(needed(&Prior::new(&[[1.0, 0.5, 0.5]]).unwrap()), [13, 25, 55, 145]);
    // all weight on one side: few draws on that side, as in the figures, and many on the other
    let leaning =
        rule_with(Prior::new(&[[0.6, 500.0, 1.0], [0.2, 50.0, 1.0], [0.2, 0.5, 0.5]]).unwrap(), 0.001, 0.0);
    let least = |radius_in_sigmas| {
        (1..200).find(|&n| leaning.evidence(Side::Anomalous, n, n).holds(radius_in_sigmas))
    };
    assert_eq!([0.0, 0.5, 1.0, 1.5].map(least), [Some(11), Some(20), Some(43), Some(109)]);
    assert!(leaning.draws_needed() > 11);
}
