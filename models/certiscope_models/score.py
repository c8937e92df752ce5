"""The one Python definition of a draw, its reconstruction, its error map and its score (method.md, sections 3 and 4).

Guarantees: `certified` takes the noisy draw z and never the clean picture, so a certificate about it is sound; the
Rust modules `diffusion::reconstruct` and `score` give the same numbers (tied by every bundle's golden vectors).
Leaves out: thresholds and verdicts, which exist in Rust only.
Arrays are float32 [..., C, H, W] in [0,1] unless said otherwise; error maps are computed in float64.
A `denoise` is any function (x_k [B, C, H, W] float32, k int) -> eps_hat of the same shape.
"""

from dataclasses import dataclass

import numpy as np

from . import Refused, schedule


@dataclass(frozen=True)
class Detector:
    """What decides a score besides the model: timestep, certification noise and pooling."""

    k: int
    sigma: float
    filter_px: int = 5
    scales: tuple = (1, 2, 4, 8)
    top_pixels: int = 1

    def __post_init__(self):
        allowed = schedule.sigma_k(self.k)
        if not 0.0 < self.sigma <= allowed:
            raise Refused(
                f"detector.sigma = {self.sigma}: not a noise level k = {self.k} covers; above 0, at most {allowed:.4f}"
            )
        if self.filter_px % 2 == 0:
            raise Refused(f"score.filter_px = {self.filter_px}: has no middle pixel; an odd number")


def draw(x, noise, sigma):
    """The noisy draw z = x + sigma noise; not clamped, so that it stays Gaussian."""
    return (x + np.float32(sigma) * noise).astype(np.float32)


def reconstruct(denoise, z, inner_noise, detector):
    """x0_hat [B, C, H, W] of the draws z: the rest of step k's noise is added inside, one U-Net call."""
    a = schedule.alpha_bar(detector.k)
    rest = np.sqrt(max(0.0, 1.0 - a - 4.0 * a * detector.sigma**2))
    x_k = (np.sqrt(a) * (2.0 * z.astype(np.float64) - 1.0) + rest * inner_noise).astype(np.float32)
    eps_hat = denoise(x_k, detector.k).astype(np.float64)
    x0_hat = ((x_k - np.sqrt(1.0 - a) * eps_hat) / np.sqrt(a) + 1.0) / 2.0
    return np.clip(x0_hat, 0.0, 1.0).astype(np.float32)


def error_map(a, b, detector):
    """Multiscale squared difference of a and b [..., C, H, W], mean-filtered: [..., H, W] float64."""
    difference = a.astype(np.float64) - b.astype(np.float64)
    *lead, channels, height, width = difference.shape
    total = np.zeros((*lead, height, width))
    for f in detector.scales:
        blocks = difference.reshape(*lead, channels, height // f, f, width // f, f).mean(axis=(-3, -1))
        squared = (blocks**2).mean(axis=-3)
        total += squared.repeat(f, axis=-2).repeat(f, axis=-1)
    return mean_filter(total / len(detector.scales), detector.filter_px)


def mean_filter(maps, size):
    """Mean over the part of each size x size window that lies inside the map [..., H, W]."""
    for axis in (-2, -1):
        length = maps.shape[axis]
        at = np.arange(length)
        first = np.maximum(at - size // 2, 0)
        end = np.minimum(at + size // 2 + 1, length)
        window = ((at >= first[:, None]) & (at < end[:, None])) / (end - first)[:, None]  # [length, length]
        maps = np.moveaxis(np.moveaxis(maps, axis, -1) @ window.T, -1, axis)
    return maps


def score(error, detector, mean_map=0.0, std_map=1.0):
    """Mean of the `top_pixels` largest values of |error - mean| / std over the last two axes; raw with the defaults."""
    normalised = np.abs(error - mean_map) / std_map
    flat = normalised.reshape(*normalised.shape[:-2], -1)
    return np.sort(flat, axis=-1)[..., -detector.top_pixels :].mean(axis=-1)


def certified(denoise, z, inner_noise, detector, mean_map=0.0, std_map=1.0):
    """Certified score [B] of the draws z [B, C, H, W]: a function of the draw, blind to the clean picture."""
    x0_hat = reconstruct(denoise, z, inner_noise, detector)
    return score(error_map(z, x0_hat, detector), detector, mean_map, std_map)


def empirical(denoise, x, noise, inner_noise, detector, mean_map=0.0, std_map=1.0):
    """The paper's score of the clean x [C, H, W] against the mean reconstruction of its d draws. No certificate.

    `noise` and `inner_noise` are [d, C, H, W]; the result is one number.
    """
    x0_hat = reconstruct(denoise, draw(x, noise, detector.sigma), inner_noise, detector)
    mean = x0_hat.astype(np.float64).mean(axis=0)
    return score(error_map(x, mean, detector), detector, mean_map, std_map)
