"""The one Python definition of a draw, its reconstruction, its anomaly maps and its score (method.md, sections 3, 4).

Guarantees: `certified` takes the noisy draw z and never the clean picture, so a certificate about it is sound; the
Rust modules `diffusion::reconstruct` and `score` give the same numbers (tied by every bundle's golden vectors).
Leaves out: thresholds and verdicts, which exist in Rust only.
Arrays are float32 [..., C, H, W] in [0,1] unless said otherwise; maps are computed in float64.
A `denoise` is any function (x_k [B, C, H, W] float32, k int) -> (eps_hat like x_k, defect_logit [B, 1, H, W] or None).
Training maps are a dict with "mean" and "std" of the residual, and "defect_mean" and "defect_std" with a head; {} is raw.
"""

from dataclasses import dataclass

import numpy as np

from . import Refused, schedule


@dataclass(frozen=True)
class Detector:
    """What decides a score besides the model: timestep, certification noise, pooling, share of the defect map."""

    k: int
    sigma: float
    filter_px: int = 5
    scales: tuple = (1, 2, 4, 8)
    top_pixels: int = 1
    head_weight: float = 0.0

    def __post_init__(self):
        allowed = schedule.sigma_k(self.k)
        if not 0.0 < self.sigma <= allowed:
            raise Refused(
                f"detector.sigma = {self.sigma}: not a noise level k = {self.k} covers; above 0, at most {allowed:.4f}"
            )
        if self.filter_px % 2 == 0:
            raise Refused(f"score.filter_px = {self.filter_px}: has no middle pixel; an odd number")
        if not 0.0 <= self.head_weight <= 1.0:
            raise Refused(f"score.head_weight = {self.head_weight}: not a share; 0 to 1")


def draw(x, noise, sigma):
    """The noisy draw z = x + sigma noise; not clamped, so that it stays Gaussian."""
    return (x + np.float32(sigma) * noise).astype(np.float32)


def reconstruct(denoise, z, inner_noise, detector):
    """(x0_hat [B, C, H, W], defect_logit [B, H, W] or None) of the draws z, by one U-Net call.

    The rest of step k's noise is added inside.
    """
    a = schedule.alpha_bar(detector.k)
    rest = np.sqrt(max(0.0, 1.0 - a - 4.0 * a * detector.sigma**2))
    x_k = (np.sqrt(a) * (2.0 * z.astype(np.float64) - 1.0) + rest * inner_noise).astype(np.float32)
    eps_hat, defect_logit = denoise(x_k, detector.k)
    x0_hat = ((x_k - np.sqrt(1.0 - a) * eps_hat.astype(np.float64)) / np.sqrt(a) + 1.0) / 2.0
    return np.clip(x0_hat, 0.0, 1.0).astype(np.float32), None if defect_logit is None else defect_logit[:, 0]


def residual_map(a, b, detector):
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


def score(residual, defect, detector, maps):
    """Mean of the `top_pixels` largest values of the mixed map over the last two axes.

    The residual counts by its distance from the training mean in training deviations, the defect map upwards only.
    """
    mixed = 0.0
    if detector.head_weight < 1.0:
        distance = np.abs(residual - maps.get("mean", 0.0)) / maps.get("std", 1.0)
        mixed = (1.0 - detector.head_weight) * distance
    if detector.head_weight > 0.0:
        upwards = (defect - maps.get("defect_mean", 0.0)) / maps.get("defect_std", 1.0)
        mixed = mixed + detector.head_weight * upwards
    flat = mixed.reshape(*mixed.shape[:-2], -1)
    return np.sort(flat, axis=-1)[..., -detector.top_pixels :].mean(axis=-1)


def filtered(defect_logit, detector):
    """The defect map [..., H, W] float64, mean-filtered; None without a head."""
    return None if defect_logit is None else mean_filter(defect_logit.astype(np.float64), detector.filter_px)


def certified(denoise, z, inner_noise, detector, maps=None):
    """Certified score [B] of the draws z [B, C, H, W]: a function of the draw, blind to the clean picture."""
    x0_hat, defect_logit = reconstruct(denoise, z, inner_noise, detector)
    return score(residual_map(z, x0_hat, detector), filtered(defect_logit, detector), detector, maps or {})


def empirical(denoise, x, noise, inner_noise, detector, maps=None):
    """The score of the clean x [C, H, W] against the mean reconstruction of its d draws. No certificate.

    The paper's, with the draws' mean defect map as `head_weight` says. `noise` and `inner_noise` are [d, C, H, W];
    the result is one number.
    """
    x0_hat, defect_logit = reconstruct(denoise, draw(x, noise, detector.sigma), inner_noise, detector)
    mean = x0_hat.astype(np.float64).mean(axis=0)
    defect = None if defect_logit is None else defect_logit.astype(np.float64).mean(axis=0)
    return score(residual_map(x, mean, detector), filtered(defect, detector), detector, maps or {})
