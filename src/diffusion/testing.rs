//! For tests only: a denoiser with formulas for the scores and radii that it leads to.

use ndarray::ArrayView4;

use super::denoiser::{Denoiser, DenoiserError, Prediction};
use super::schedule::{NoiseLevel, Timestep};

/// The best possible denoiser when every normal input is `mean` + N(0, spread^2 I) in \[0,1\] units:
/// E\[x0 | x_k\] is linear in x_k, hence so is x0_hat (before the clamp) in z.
#[derive(Debug, Clone)]
pub struct GaussianDenoiser {
    mean: f64,
    spread: f64,
    level: NoiseLevel,
}

impl GaussianDenoiser {
    pub fn new(mean: f64, spread: f64, level: NoiseLevel) -> Self {
        Self { mean, spread, level }
    }

    /// The weight that x_k has in E\[x0 | x_k\] beside the mean (both in \[-1,1\] units):
    /// sqrt(a) v / (a v + 1 - a), v being the variance of the normal inputs in \[-1,1\] units.
    pub fn gain(&self) -> f64 {
        let (a, v) = (self.level.alpha_bar(), (2.0 * self.spread).powi(2));
        a.sqrt() * v / (a * v + 1.0 - a)
    }
}

impl Denoiser for GaussianDenoiser {
    fn predict(&mut self, x_k: ArrayView4<'_, f32>, k: Timestep) -> Result<Prediction, DenoiserError> {
        if k != self.level.k() {
            return Err(DenoiserError::Call(format!("made for k = {}, asked for {}", self.level.k().0, k.0)));
        }
        let a = self.level.alpha_bar();
        let mean = 2.0 * self.mean - 1.0;
        let eps_hat = x_k.mapv(|value| {
            let x_k = f64::from(value);
            let x0 = mean + self.gain() * (x_k - a.sqrt() * mean);
            ((x_k - a.sqrt() * x0) / (1.0 - a).sqrt()) as f32
        });
        Ok(Prediction { eps_hat, defect_logit: None, feature_distance: None })
    }
}
