"""The linear DDPM noise schedule: how much signal is left at timestep k, and to which sigma that corresponds.

Guarantees: agrees with the Rust module `diffusion::schedule` and with diffusers' DDPMScheduler (tested).
Leaves out: every other schedule; certiscope bundles are linear with 1000 steps.
"""

import numpy as np

STEPS = 1000
BETA_FIRST = 1e-4
BETA_LAST = 0.02

_ALPHA_BAR = np.cumprod(1.0 - np.linspace(BETA_FIRST, BETA_LAST, STEPS, dtype=np.float64))


def alpha_bar(k):
    """Cumulative signal level at the 0-based timestep k (an int or an array of them), float64."""
    return _ALPHA_BAR[k]


def sigma_k(k):
    """Noise level of timestep k in units of the picture range [0,1]: sqrt((1-a)/a)/2."""
    a = alpha_bar(k)
    return np.sqrt((1.0 - a) / a) / 2.0


def first_k(sigma):
    """The smallest timestep whose own noise is at least `sigma`: below it, sigma cannot be certified."""
    reached = np.flatnonzero(sigma_k(np.arange(STEPS)) >= sigma)
    return int(reached[0]) if reached.size else None
