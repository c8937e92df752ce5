//! The mixture prior over p: the alternative that the sequential test is tuned for, a weighted sum of Beta distributions.
//!
//! Guarantees: weights are positive and sum to one, and shapes are positive and bounded. So the prior is a
//! probability, and its marginals are finite. A prior is fixed before the frame's first draw, and nothing here can
//! change it. It decides how many draws a claim needs, never whether a claim is sound.
//! Costs: six ln-gammas for each component of a marginal, under a microsecond for the default.

use statrs::function::beta::ln_beta;

/// The largest shape of a component. A Beta with a larger one is nearly a single point, which no claim needs.
const MAX_SHAPE: f64 = 1e6;

/// A sum of Betas over p, the probability that a draw scores above the threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    components: Vec<[f64; 3]>,
    /// ln weight - ln B(u, v) of each component.
    ln_scales: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PriorError {
    #[error("smoothing.prior = []: no component; at least one [weight, u, v] is needed")]
    Empty,
    #[error("smoothing.prior weight = {0}: not a share; above 0 and up to 1 is allowed")]
    Weight(f64),
    #[error(
        "smoothing.prior shape = {0}: not a shape of a Beta distribution; above 0 and up to 1000000 is allowed"
    )]
    Shape(f64),
    #[error("smoothing.prior weights sum to {0}: not a probability; they must sum to 1")]
    Sum(f64),
}

impl Prior {
    /// A prior of `[weight, u, v]` components, each `weight * Beta(u, v)`.
    pub fn new(components: &[[f64; 3]]) -> Result<Self, PriorError> {
        if components.is_empty() {
            return Err(PriorError::Empty);
        }
        for &[weight, u, v] in components {
            if !(weight > 0.0 && weight <= 1.0) {
                return Err(PriorError::Weight(weight));
            }
            if let Some(shape) = [u, v].into_iter().find(|shape| !(*shape > 0.0 && *shape <= MAX_SHAPE)) {
                return Err(PriorError::Shape(shape));
            }
        }
        let sum: f64 = components.iter().map(|component| component[0]).sum();
        if (sum - 1.0).abs() > 1e-9 {
            return Err(PriorError::Sum(sum));
        }
        let ln_scales = components.iter().map(|&[weight, u, v]| weight.ln() - ln_beta(u, v)).collect();
        Ok(Self { components: components.to_vec(), ln_scales })
    }

    /// `[weight, u, v]` of each component: the form in which every inspection stores the prior.
    pub fn components(&self) -> &[[f64; 3]] {
        &self.components
    }

    /// ln of the integral of p^ones (1-p)^zeros over the prior.
    pub(super) fn ln_marginal(&self, ones: u32, zeros: u32) -> f64 {
        let (ones, zeros) = (f64::from(ones), f64::from(zeros));
        let ln_term = |(&[_, u, v], scale): (&[f64; 3], &f64)| scale + ln_beta(u + ones, v + zeros);
        let terms = || self.components.iter().zip(&self.ln_scales).map(ln_term);
        let largest = terms().fold(f64::NEG_INFINITY, f64::max);
        largest + terms().map(|term| (term - largest).exp()).sum::<f64>().ln()
    }
}

impl Default for Prior {
    /// The usual prior (method 5b), split evenly over both sides. Most frames of a line are clear, so most of the
    /// weight lies on p within about 1/500 of 0 or 1. For a frame that is less clear, Beta(1/2, 1/2) limits the extra
    /// cost to ln 5 nats, a few draws.
    fn default() -> Self {
        const COMPONENTS: [[f64; 3]; 5] =
            [[0.3, 500.0, 1.0], [0.3, 1.0, 500.0], [0.1, 50.0, 1.0], [0.1, 1.0, 50.0], [0.2, 0.5, 0.5]];
        Self::new(&COMPONENTS).expect("the default prior is valid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_probability_split_evenly_over_both_sides() {
        let prior = Prior::default();
        assert!(prior.ln_marginal(0, 0).abs() < 1e-12);
        for (ones, zeros) in [(7, 3), (400, 0), (2, 900)] {
            let gap = prior.ln_marginal(ones, zeros) - prior.ln_marginal(zeros, ones);
            assert!(gap.abs() < 1e-9, "{ones} {zeros}: {gap}");
        }
    }

    #[test]
    fn one_more_draw_splits_the_marginal() {
        let prior = Prior::new(&[[0.25, 3.0, 0.5], [0.75, 40.0, 2.0]]).unwrap();
        for (ones, zeros) in [(0, 0), (5, 1), (300, 20), (0, 2000)] {
            let both = prior.ln_marginal(ones + 1, zeros).exp() + prior.ln_marginal(ones, zeros + 1).exp();
            let whole = prior.ln_marginal(ones, zeros).exp();
            assert!((both - whole).abs() <= 1e-9 * whole, "{ones} {zeros}");
        }
    }

    #[test]
    fn a_prior_that_is_no_probability_is_refused_in_words() {
        let words = |components: &[[f64; 3]]| Prior::new(components).unwrap_err().to_string();
        assert!(words(&[]).contains("at least one [weight, u, v]"));
        assert!(words(&[[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]).contains("weight = 0: not a share"));
        assert!(words(&[[f64::NAN, 1.0, 1.0]]).contains("weight = NaN"));
        assert!(words(&[[1.0, 0.0, 1.0]]).contains("shape = 0"));
        assert!(words(&[[1.0, 1.0, f64::INFINITY]]).contains("shape = inf"));
        assert!(words(&[[0.5, 1.0, 1.0], [0.4, 2.0, 2.0]]).contains("sum to 0.9"));
    }
}
