//! Tests that the certificates are sound. The name of each test is what it shows.
//!
//! A claim is wrong when the true p contradicts it: `anomalous at r` with p <= Phi(r/sigma), `normal at r`
//! with 1-p < Phi(r/sigma). An opposite verdict inside a certified radius is the case r = 0 at the changed frame.
//!
//! Simulations use alpha = .05, where 2,000 runs have power: they find a failure rate of .09 with probability .999. Only
//! the value that ln M_n must reach depends on alpha, and the exact recursion in `sequential` also covers .001.
//! Planted bugs go through the same check as the real code, and the check must find them.
//! These tests are unit tests, since only inside the crate can a `CertifiedScore` be made without a draw.

mod against_scipy;
mod fixed;
mod linear;
mod sequential;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Binomial, DiscreteCDF};

use super::certificate::{Certificate, Side};
use super::fixed::FixedDesign;
use super::gaussian;
use super::prior::Prior;
use super::rule::{RuleSettings, SequentialRule};
use super::stopping::{SequentialRun, StoppingState};
use crate::score::CertifiedScore;

const SIGMA: f64 = 0.25;
const ALPHA: f64 = 0.05;
const RUNS: u64 = 2000;

/// Whether a claim contradicts the truth; `truth` is Phi^-1(p).
fn wrong(side: Option<Side>, radius: f64, truth: f64) -> bool {
    match side {
        None => false,
        Some(Side::Anomalous) => truth <= 0.0 || radius > SIGMA * truth,
        Some(Side::Normal) => truth > 0.0 || radius > -SIGMA * truth,
    }
}

/// How many of `RUNS` independent runs fail.
fn failures(mut fails: impl FnMut(&mut ChaCha8Rng) -> bool) -> u64 {
    (0..RUNS).filter(|&run| fails(&mut ChaCha8Rng::seed_from_u64(run))).count() as u64
}

/// The check that all simulations use: the one-sided 99.9 % lower bound of the failure rate (Clopper-Pearson) exceeds
/// `error`.
fn proves_unsound(failures: u64, error: f64) -> bool {
    failures > 0 && Binomial::new(error, RUNS).unwrap().sf(failures - 1) < 0.001
}

/// A rule with the default prior.
fn rule(alpha: f64, target: f64, max_draws: u32, threshold: f32) -> SequentialRule {
    let settings = RuleSettings { alpha, max_draws, ..RuleSettings::new(target) };
    SequentialRule::new(&settings, threshold, SIGMA).unwrap()
}

fn scores(values: impl IntoIterator<Item = f32>) -> Vec<CertifiedScore> {
    values.into_iter().map(CertifiedScore::stored).collect()
}

#[test]
fn the_check_flags_what_it_should_and_nothing_else() {
    assert!(!proves_unsound(0, ALPHA));
    assert!(!proves_unsound(RUNS / 20, ALPHA), "a rate of alpha itself is allowed");
    // scipy.stats.beta.ppf(.001, k, 2001 - k): .04963 at k = 131, .05006 at k = 132
    assert!(!proves_unsound(131, ALPHA));
    assert!(proves_unsound(132, ALPHA));
}
