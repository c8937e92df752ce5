//! Noisy draws of the clean input. Everything that is certified sees the draws and never the clean input.
//!
//! Guarantees: a [`NoisyDraw`] holds z = x + N(0, sigma^2 I) and the rest of the noise, and gives no access to x.
//! The noise of a draw depends only on the frame's seed and the index of the draw: ChaCha20 keyed by the seed, one
//! stream per draw. So draws are independent of each other and of how they are batched, and a stored seed gives the
//! same draws again on any machine. The generator and the normal sampler are pinned in Cargo.toml, since a release
//! that changes their values would make every stored seed useless; a test compares their first values.
//! Costs: two normal numbers per input value, about 10 ns each.

use ndarray::{Array3, Zip};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use super::schedule::NoiseLevel;
use super::seed::FrameSeed;
use crate::preprocess::Input;

/// One noisy draw of one input, CHW.
///
/// The clean input cannot be read from it. Of these two examples only the first compiles, so it is not for a wrong name
/// that the second does not:
/// ```
/// use certiscope::testing::{diffusion::noise::NoisyDraw, preprocess::Input};
/// fn peek<'a>(draw: &NoisyDraw, input: &'a Input) -> &'a Input {
///     input
/// }
/// ```
/// ```compile_fail
/// use certiscope::testing::{diffusion::noise::NoisyDraw, preprocess::Input};
/// fn peek<'a>(draw: &'a NoisyDraw, input: &Input) -> &'a Input {
///     draw.input()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct NoisyDraw {
    /// z, in \[0,1\] units, not clamped.
    z: Array3<f32>,
    /// The rest of the noise of the timestep, already scaled, \[-1,1\] units; independent of x and z.
    inner: Array3<f32>,
    level: NoiseLevel,
}

impl NoisyDraw {
    /// Draw number `index` (from 0) of the frame with this seed.
    pub fn of(input: &Input, level: NoiseLevel, seed: FrameSeed, index: u32) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed.0);
        rng.set_stream(u64::from(index));
        let shape = input.view().raw_dim();
        let mut normals =
            || Array3::from_shape_simple_fn(shape, || -> f32 { StandardNormal.sample(&mut rng) });
        let noise = normals();
        let inner_noise = normals();
        Self::with_noise(input, level, noise, inner_noise)
    }

    /// A draw with given standard-normal noises, both CHW as the input: golden vectors store the noise
    /// itself, since a seed would tie them to one generator.
    pub fn with_noise(
        input: &Input,
        level: NoiseLevel,
        noise: Array3<f32>,
        inner_noise: Array3<f32>,
    ) -> Self {
        let sigma = level.sigma() as f32;
        let inner_sigma = level.inner_sigma() as f32;
        let mut z = noise;
        Zip::from(&mut z).and(input.view()).for_each(|z, &x| *z = x + sigma * *z);
        let inner = inner_noise.mapv_into(|e| inner_sigma * e);
        Self { z, inner, level }
    }

    pub fn z(&self) -> ndarray::ArrayView3<'_, f32> {
        self.z.view()
    }

    pub fn level(&self) -> NoiseLevel {
        self.level
    }

    /// x_k = sqrt(a_k) (2z - 1) + rest of the noise: what the U-Net sees, \[-1,1\] units. The one place
    /// where \[0,1\] becomes \[-1,1\].
    pub fn x_k(&self) -> Array3<f32> {
        let signal = self.level.alpha_bar().sqrt() as f32;
        let mut x_k = self.inner.clone();
        Zip::from(&mut x_k).and(&self.z).for_each(|x_k, &z| *x_k += signal * (2.0 * z - 1.0));
        x_k
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::schedule::{Schedule, Timestep};

    fn level() -> NoiseLevel {
        Schedule::linear(1000, 1e-4, 0.02).unwrap().noise_level(Timestep(100), 0.0625).unwrap()
    }

    fn grey(value: f32) -> Input {
        Input::from_unit_range(Array3::from_elem((1, 64, 64), value)).unwrap()
    }

    #[test]
    fn a_draw_depends_only_on_seed_and_index() {
        let [one, other] = [FrameSeed([7; 32]), FrameSeed([8; 32])];
        let z = |seed, index| NoisyDraw::of(&grey(0.5), level(), seed, index).z().to_owned();
        assert_eq!(z(one, 3), z(one, 3));
        assert_ne!(z(one, 3), z(one, 4));
        assert_ne!(z(one, 3), z(other, 3));
    }

    /// A stored seed must give the same draws in every release, so these values must never change.
    #[test]
    fn generator_and_normal_sampler_are_those_that_stored_seeds_were_made_with() {
        let draw = NoisyDraw::of(&grey(0.0), level(), FrameSeed([42; 32]), 5);
        let noise: Vec<f32> = draw.z().iter().take(4).map(|z| z / 0.0625).collect();
        for (got, stored) in noise.iter().zip(FIRST_NORMALS) {
            assert!((got - stored).abs() < 2e-6, "{noise:?}");
        }
    }

    const FIRST_NORMALS: [f32; 4] = [0.584531, -0.173714, 0.080417, 0.988398];

    #[test]
    fn the_noise_has_the_level_it_claims() {
        let draw = NoisyDraw::of(&grey(0.5), level(), FrameSeed([1; 32]), 0);
        let n = draw.z.len() as f64;
        let deviation = |values: &Array3<f32>, mean: f64| {
            (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt()
        };
        // 4096 values: the standard error of a standard deviation is 1.1 %; 5 % is beyond four of them.
        assert!((deviation(&draw.z, 0.5) / 0.0625 - 1.0).abs() < 0.05);
        assert!((deviation(&draw.inner, 0.0) / level().inner_sigma() - 1.0).abs() < 0.05);
        let x_k = draw.x_k();
        let total = (1.0 - level().alpha_bar()).sqrt();
        assert!((deviation(&x_k, 0.0) / total - 1.0).abs() < 0.05);
    }
}
