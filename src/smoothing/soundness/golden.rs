//! The bounds against `tests/golden/bounds.json`, which scipy made another way, and against the method's figures.

use serde::Deserialize;

use super::*;
use crate::calibration::{Request, ThresholdRule};
use crate::smoothing::fixed::upper_rank;

#[derive(Deserialize)]
struct Golden {
    gaussian: Vec<Gaussian>,
    ranks: Vec<Rank>,
    fixed: Vec<Fixed>,
    marginals: Vec<Marginal>,
    sequential: Vec<Sequential>,
    agreement: Vec<Agreement>,
    spread: Vec<Spread>,
}

#[derive(Deserialize, Debug)]
struct Gaussian {
    reach: f64,
    ln_cdf: f64,
}

#[derive(Deserialize, Debug)]
struct Rank {
    draws: u32,
    reach: f64,
    error: f64,
    rank: Option<u32>,
}

#[derive(Deserialize, Debug)]
struct Fixed {
    draws: u32,
    agreeing: u32,
    error: f64,
    reach: Option<f64>,
}

#[derive(Deserialize, Debug)]
struct Marginal {
    prior: Vec<[f64; 3]>,
    ones: u32,
    zeros: u32,
    ln_marginal: f64,
}

#[derive(Deserialize, Debug)]
struct Sequential {
    prior: Vec<[f64; 3]>,
    draws: u32,
    agreeing: u32,
    alpha: f64,
    reach: Option<f64>,
}

#[derive(Deserialize, Debug)]
struct Agreement {
    prior: Vec<[f64; 3]>,
    reach: f64,
    alpha: f64,
    draws: u32,
}

#[derive(Deserialize, Debug)]
struct Spread {
    frames: usize,
    false_alarms: f64,
    rank: usize,
    realised: [f64; 2],
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/bounds.json")).unwrap()
}

fn rule(prior: Prior, alpha: f64, reach: f64) -> SequentialRule {
    let settings = Settings {
        alpha,
        threshold: 0.5,
        sigma: SIGMA,
        target_radius: reach * SIGMA,
        max_draws: 100_000,
        prior,
    };
    SequentialRule::new(settings).unwrap()
}

/// The reach that `golden` names is met from below, to within what rounding down costs.
fn same_reach(found: Option<f64>, golden: Option<f64>) -> bool {
    match (found, golden) {
        (Some(found), Some(golden)) => found <= golden && found >= golden - 1e-5,
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn probabilities_of_a_reach_are_scipy_s_in_both_tails() {
    for row in golden().gaussian {
        let found = gaussian::ln_cdf(row.reach);
        assert!((found - row.ln_cdf).abs() <= 2e-10 * row.ln_cdf.abs(), "{row:?}: {found}");
        assert_eq!(gaussian::cdf(row.reach) + gaussian::cdf(-row.reach), 1.0);
    }
}

#[test]
fn fixed_ranks_and_radii_are_scipy_s() {
    let golden = golden();
    assert!(golden.ranks.len() > 200 && golden.fixed.len() > 50);
    for row in golden.ranks {
        assert_eq!(upper_rank(row.draws, row.reach, row.error), row.rank, "{row:?}");
    }
    for row in golden.fixed {
        let design = FixedDesign::new(row.draws, 2.0 * row.error, SIGMA).unwrap();
        let found = design.radius(row.agreeing).map(|radius| radius / SIGMA);
        assert!(same_reach(found, row.reach), "{row:?}: {found:?}");
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
        let rule = rule(Prior::new(&row.prior).unwrap(), row.alpha, 0.0);
        for side in Side::BOTH {
            let found = rule.evidence(side, row.agreeing, row.draws).reach(0.0);
            assert!(same_reach(found, row.reach), "{side:?} {row:?}: {found:?}");
        }
    }
    for row in golden.agreement {
        let rule = rule(Prior::new(&row.prior).unwrap(), row.alpha, row.reach);
        assert_eq!(rule.reachable_draws(), row.draws, "{row:?}");
    }
}

#[test]
fn the_spread_of_the_realised_false_alarm_rate_is_scipy_s() {
    for row in golden().spread {
        let request =
            Request { false_alarms: row.false_alarms, beta: 0.01, radius: 0.0, sigma: SIGMA, draws: 64 };
        let bounds: Vec<f32> = (1..=row.frames).map(|frame| frame as f32).collect();
        let threshold = ThresholdRule::new(request).unwrap().threshold(&bounds).unwrap();
        assert_eq!((threshold.rank, threshold.value), (row.rank, row.rank as f32), "{row:?}");
        for (found, golden) in threshold.realised.into_iter().zip(row.realised) {
            assert!((found - golden).abs() < 1e-9, "{row:?}: {found}");
        }
    }
}

#[test]
fn the_method_s_own_figures_come_out() {
    let ranks = |draws, error| [0.5, 1.0, 1.5].map(|reach| upper_rank(draws, reach, error));
    assert_eq!(ranks(1000, 0.001), [Some(737), Some(877), Some(957)]);
    assert_eq!(ranks(100, 0.001), [Some(84), Some(95), Some(100)]);
    assert_eq!(ranks(1000, 0.0005), [Some(740), Some(879), Some(959)]);
    assert_eq!(ranks(100, 0.0005), [Some(85), Some(96), None]);

    let run = FixedDesign::new(2000, 2e-5, 0.25).unwrap();
    let run = run.observe(&scores((1..=2000_u16).map(f32::from))).unwrap();
    assert_eq!((run.upper(0.36), run.lower(0.36)), (Some(1899.0), Some(102.0)));

    for (draws, reach) in [(32, 0.80), (100, 1.45), (1000, 2.43)] {
        let best = FixedDesign::new(draws, 0.001, 1.0).unwrap().radius(draws).unwrap();
        assert!((best - reach).abs() < 0.005, "{draws}: {best}");
    }

    let floors = [0.0, 0.5, 1.0, 1.5].map(|reach| (0.001_f64.ln() / gaussian::ln_cdf(reach)).ceil() as u32);
    assert_eq!(floors, [10, 19, 40, 100]);
    let needed =
        |prior: &Prior| [0.0, 0.5, 1.0, 1.5].map(|reach| rule(prior.clone(), 0.001, reach).reachable_draws());
    assert_eq!(needed(&Prior::default()), [12, 22, 47, 119]);
    assert_eq!(needed(&Prior::new(&[[1.0, 0.5, 0.5]]).unwrap()), [13, 25, 55, 145]);
    // all the weight on one side: cheap there, which is what the figures are about, and dear on the other
    let leaning =
        rule(Prior::new(&[[0.6, 500.0, 1.0], [0.2, 50.0, 1.0], [0.2, 0.5, 0.5]]).unwrap(), 0.001, 0.0);
    let least = |reach| (1..200).find(|&n| leaning.evidence(Side::Anomalous, n, n).holds(reach));
    assert_eq!([0.0, 0.5, 1.0, 1.5].map(least), [Some(11), Some(20), Some(43), Some(109)]);
    assert!(leaning.reachable_draws() > 11);
}
