//! The noise schedule of the DDPM: which noise each timestep has, and which timestep covers a given sigma.
//!
//! Guarantees: every [`NoiseLevel`] has `0 < sigma <= sigma_k`, so the noise of the timestep can always be split into a
//! certified part and a rest (no square root of a negative number). Pure: no IO, no clock, no global state.
//! Leaves out: schedules that are not linear.

/// A diffusion timestep, counted from 0. It is a type, so that no plain number is taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestep(pub usize);

/// Cumulative signal levels `alpha_bar[k]` of a linear-beta DDPM (Ho et al. 2020, section 4).
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    alpha_bar: Vec<f64>,
}

/// Why a schedule, a timestep or a sigma is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    #[error(
        "schedule: {steps} steps, beta {first}..{last}: not a linear schedule; at least 1 step and 0 < beta_first <= beta_last < 1"
    )]
    Betas { steps: usize, first: f64, last: f64 },
    #[error("detector.k = {k}: the schedule has {steps} steps; allowed 0..{}", steps - 1)]
    Timestep { k: usize, steps: usize },
    #[error(
        "detector.sigma = {sigma}: more noise than timestep k = {k} has; allowed 0 < sigma <= {sigma_k:.4}, or raise k{}",
        first_k.map_or(String::new(), |k| format!(" to at least {k}"))
    )]
    Sigma { sigma: f64, k: usize, sigma_k: f64, first_k: Option<usize> },
}

impl Schedule {
    /// Betas spaced linearly from `first` to `last` over `steps` timesteps.
    pub fn linear(steps: usize, first: f64, last: f64) -> Result<Self, ScheduleError> {
        if steps == 0 || !(first > 0.0 && first <= last && last < 1.0) {
            return Err(ScheduleError::Betas { steps, first, last });
        }
        let gap = if steps > 1 { (last - first) / (steps - 1) as f64 } else { 0.0 };
        let alpha_bar = (0..steps)
            .scan(1.0, |product, k| {
                *product *= 1.0 - (first + gap * k as f64);
                Some(*product)
            })
            .collect();
        Ok(Self { alpha_bar })
    }

    /// Cumulative signal level a_k.
    pub fn alpha_bar(&self, k: Timestep) -> Result<f64, ScheduleError> {
        let steps = self.alpha_bar.len();
        self.alpha_bar.get(k.0).copied().ok_or(ScheduleError::Timestep { k: k.0, steps })
    }

    /// Noise level of timestep k in \[0,1\] units: sqrt((1 - a_k) / a_k) / 2. The half is the step from
    /// the network's \[-1,1\] to the input's \[0,1\].
    pub fn sigma_k(&self, k: Timestep) -> Result<f64, ScheduleError> {
        self.alpha_bar(k).map(sigma_of)
    }

    /// The first timestep that has at least the noise `sigma`.
    pub fn first_timestep(&self, sigma: f64) -> Option<Timestep> {
        self.alpha_bar.iter().position(|&a| sigma_of(a) >= sigma).map(Timestep)
    }

    /// Certification noise `sigma` at timestep `k`, checked.
    pub fn noise_level(&self, k: Timestep, sigma: f64) -> Result<NoiseLevel, ScheduleError> {
        let alpha_bar = self.alpha_bar(k)?;
        let sigma_k = sigma_of(alpha_bar);
        if !(sigma > 0.0 && sigma <= sigma_k) {
            let first_k = self.first_timestep(sigma).map(|k| k.0);
            return Err(ScheduleError::Sigma { sigma, k: k.0, sigma_k, first_k });
        }
        Ok(NoiseLevel { k, alpha_bar, sigma })
    }
}

fn sigma_of(alpha_bar: f64) -> f64 {
    ((1.0 - alpha_bar) / alpha_bar).sqrt() / 2.0
}

/// One timestep with one certification noise. The noise of a draw, the rest of the noise that is added inside, and the
/// sigma of the radius are all read from here (invariant 3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseLevel {
    k: Timestep,
    alpha_bar: f64,
    sigma: f64,
}

impl NoiseLevel {
    pub fn k(&self) -> Timestep {
        self.k
    }

    pub fn alpha_bar(&self) -> f64 {
        self.alpha_bar
    }

    /// Standard deviation of the certification noise, \[0,1\] units.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// Standard deviation of the rest of the noise, added inside in the network's \[-1,1\] units:
    /// sqrt(1 - a_k - 4 a_k sigma^2), so that x_k has the variance 1 - a_k the U-Net was trained on.
    pub fn inner_sigma(&self) -> f64 {
        (1.0 - self.alpha_bar - 4.0 * self.alpha_bar * self.sigma * self.sigma).max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ddpm() -> Schedule {
        Schedule::linear(1000, 1e-4, 0.02).unwrap()
    }

    /// The table of the method text, worked out independently of this code.
    #[test]
    fn agrees_with_the_table_of_the_linear_schedule() {
        for (sigma, first_k) in
            [(0.03, 15), (0.0625, 35), (0.10, 58), (0.125, 73), (0.20, 117), (0.25, 145), (0.50, 259)]
        {
            assert_eq!(ddpm().first_timestep(sigma), Some(Timestep(first_k)), "sigma {sigma}");
        }
        for (k, sigma_k) in
            [(25, 0.0477), (50, 0.0880), (75, 0.1290), (100, 0.1711), (150, 0.2610), (200, 0.3618)]
        {
            assert!((ddpm().sigma_k(Timestep(k)).unwrap() - sigma_k).abs() < 5e-5, "k {k}");
        }
    }

    #[test]
    fn both_noises_together_are_the_noise_of_the_timestep() {
        let level = ddpm().noise_level(Timestep(100), 0.0625).unwrap();
        let outer = 2.0 * level.alpha_bar().sqrt() * level.sigma();
        let total = outer * outer + level.inner_sigma() * level.inner_sigma();
        assert!((total - (1.0 - level.alpha_bar())).abs() < 1e-12);
    }

    #[test]
    fn refuses_more_certification_noise_than_the_timestep_has_and_names_the_way_out() {
        let words = ddpm().noise_level(Timestep(50), 0.1).unwrap_err().to_string();
        assert!(words.contains("0.0880") && words.contains("at least 58"), "{words}");
        assert!(ddpm().noise_level(Timestep(50), 0.0).is_err());
        assert!(ddpm().noise_level(Timestep(50), f64::NAN).is_err());
        assert!(ddpm().noise_level(Timestep(1000), 0.1).is_err());
        let sigma_k = ddpm().sigma_k(Timestep(50)).unwrap();
        assert!(ddpm().noise_level(Timestep(50), sigma_k).unwrap().inner_sigma() < 1e-6);
    }

    #[test]
    fn refuses_betas_that_are_no_schedule() {
        assert!(Schedule::linear(0, 1e-4, 0.02).is_err());
        assert!(Schedule::linear(10, 0.02, 1e-4).is_err());
        assert!(Schedule::linear(10, 0.1, 1.0).is_err());
        assert!(Schedule::linear(10, f64::NAN, 0.5).is_err());
    }
}
