"""The table of noise levels, also compared with that of diffusers."""

import numpy as np
import pytest
from diffusers import DDPMScheduler

from certiscope_models import schedule


@pytest.mark.parametrize(
    "k, sigma", [(25, 0.0477), (50, 0.0880), (75, 0.1290), (100, 0.1711), (150, 0.2610), (200, 0.3618)]
)
def test_sigma_of_k(k, sigma):
    assert schedule.sigma_k(k) == pytest.approx(sigma, abs=5e-5)


@pytest.mark.parametrize(
    "sigma, k", [(0.03, 15), (0.0625, 35), (0.10, 58), (0.125, 73), (0.20, 117), (0.25, 145), (0.50, 259)]
)
def test_first_k_that_covers_sigma(sigma, k):
    assert schedule.first_k(sigma) == k
    assert schedule.sigma_k(k) >= sigma > schedule.sigma_k(k - 1)


def test_a_sigma_that_is_exactly_that_of_a_timestep_is_covered_by_it():
    for k in (0, 1, 25, 58, 259, 998, 999):
        assert schedule.first_k(float(schedule.sigma_k(k))) == k


def test_first_k_of_an_unreachable_sigma():
    assert schedule.first_k(1e6) is None


def test_diffusers_trains_with_the_same_signal_levels():
    theirs = DDPMScheduler(1000, beta_schedule="linear", beta_start=1e-4, beta_end=0.02).alphas_cumprod.numpy()
    np.testing.assert_allclose(theirs, schedule.alpha_bar(np.arange(1000)), rtol=2e-4, atol=1e-7)
