//! One-shot reconstruction: one U-Net call turns a noisy draw into the picture that the model expects of a normal part.
//!
//! Guarantees: a [`Reconstruction`] holds x0_hat and the maps of the model with the draw they were made from, so the
//! certified score can be computed from it alone. Draws keep their order. A failed call is an error of the whole batch, so no
//! draw is lost silently.

use ndarray::{Array2, Array3, Array4, ArrayView2, ArrayView3, Axis, Zip};

use super::denoiser::{Denoiser, DenoiserError, Prediction};
use super::noise::NoisyDraw;

/// A noisy draw z and what the model makes of it: x0_hat, both CHW in \[0,1\] units (x0_hat clamped), and, from
/// a model with a defect head, the log odds of a defect at each pixel, HW; and from a model with a bank of features
/// their distance to it, HW.
#[derive(Debug, Clone)]
pub struct Reconstruction {
    z: Array3<f32>,
    x0_hat: Array3<f32>,
    defect_logit: Option<Array2<f32>>,
    feature_distance: Option<Array2<f32>>,
}

impl Reconstruction {
    pub fn z(&self) -> ArrayView3<'_, f32> {
        self.z.view()
    }

    pub fn x0_hat(&self) -> ArrayView3<'_, f32> {
        self.x0_hat.view()
    }

    pub fn defect_logit(&self) -> Option<ArrayView2<'_, f32>> {
        self.defect_logit.as_ref().map(|logit| logit.view())
    }

    pub fn feature_distance(&self) -> Option<ArrayView2<'_, f32>> {
        self.feature_distance.as_ref().map(|distance| distance.view())
    }
}

/// x0_hat = (x_k - sqrt(1 - a_k) eps_hat(x_k, k)) / sqrt(a_k), back to \[0,1\], clamped (DDPM, Ho et al. 2020,
/// eq. 15; the paper's one-shot reconstruction). One model call for the whole batch.
pub fn reconstruct(
    denoiser: &mut dyn Denoiser,
    draws: Vec<NoisyDraw>,
) -> Result<Vec<Reconstruction>, DenoiserError> {
    let Some(first) = draws.first() else {
        return Ok(Vec::new());
    };
    let level = first.level();
    let (channels, height, width) = first.z().dim();
    let mut x_k = Array4::zeros((draws.len(), channels, height, width));
    for (mut slot, draw) in x_k.outer_iter_mut().zip(&draws) {
        slot.assign(&draw.x_k());
    }
    let Prediction { eps_hat: mut x0_hat, defect_logit, feature_distance } =
        denoiser.predict(x_k.view(), level.k())?;
    check_shape("eps_hat", x0_hat.shape(), x_k.shape())?;
    for (output, maps) in [("defect_logit", &defect_logit), ("feature_distance", &feature_distance)] {
        if let Some(maps) = maps {
            check_shape(output, maps.shape(), &[x_k.dim().0, height, width])?;
        }
    }
    let signal = level.alpha_bar().sqrt() as f32;
    let noise = (1.0 - level.alpha_bar()).sqrt() as f32;
    Zip::from(&mut x0_hat).and(&x_k).for_each(|value, &x_k| {
        let network_units = (x_k - noise * *value) / signal;
        // `clamp` keeps NaN, so a fault of the model stays visible in the score.
        *value = ((network_units + 1.0) / 2.0).clamp(0.0, 1.0);
    });
    let parts = draws.into_iter().zip(x0_hat.axis_iter(Axis(0))).enumerate();
    Ok(parts
        .map(|(n, (draw, x0_hat))| Reconstruction {
            z: draw.z().to_owned(),
            x0_hat: x0_hat.to_owned(),
            defect_logit: map_of_draw(&defect_logit, n),
            feature_distance: map_of_draw(&feature_distance, n),
        })
        .collect())
}

fn map_of_draw(maps: &Option<Array3<f32>>, n: usize) -> Option<Array2<f32>> {
    maps.as_ref().map(|maps| maps.index_axis(Axis(0), n).to_owned())
}

fn check_shape(output: &'static str, got: &[usize], wanted: &[usize]) -> Result<(), DenoiserError> {
    if got == wanted {
        return Ok(());
    }
    Err(DenoiserError::Shape { output, got: got.to_vec(), wanted: wanted.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::schedule::{Schedule, Timestep};
    use crate::diffusion::seed::FrameSeed;
    use crate::diffusion::testing::GaussianDenoiser;
    use crate::preprocess::Input;

    /// With the analytic denoiser x0_hat is a known linear function of x_k.
    #[test]
    fn one_shot_reconstruction_is_the_posterior_mean_of_the_analytic_denoiser() {
        let level = Schedule::linear(1000, 1e-4, 0.02).unwrap().noise_level(Timestep(100), 0.1).unwrap();
        let mut denoiser = GaussianDenoiser::new(0.5, 0.05, level);
        let input = Input::from_unit_range(Array3::from_elem((1, 8, 8), 0.6)).unwrap();
        let draws: Vec<_> = (0..3).map(|i| NoisyDraw::of(&input, level, FrameSeed([3; 32]), i)).collect();
        let expected: Vec<_> = draws
            .iter()
            .map(|draw| draw.x_k().mapv(|x_k| (denoiser.gain() as f32 * x_k + 1.0) / 2.0))
            .collect();
        let pairs = reconstruct(&mut denoiser, draws).unwrap();
        for (pair, expected) in pairs.iter().zip(&expected) {
            Zip::from(pair.x0_hat()).and(expected).for_each(|got, want| assert!((got - want).abs() < 1e-5));
        }
    }
}
