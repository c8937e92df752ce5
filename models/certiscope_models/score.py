"""The score of a draw, defined once, in PyTorch (method.md, sections 3 and 4).

    picture x -> draw z = x + sigma noise -> reconstruction x0_hat by one model call -> two maps -> one number

Guarantees: a gradient passes from the score to the draw, and through it to the picture: nothing here is inside
`no_grad`, and everything is differentiable almost everywhere. `certified` takes the draw and never the clean picture,
so that certificates are sound. The Rust modules `diffusion::reconstruct` and `score` give the same numbers (the
golden vectors of every bundle compare them). Maps are float64, whatever the model computes in.
Leaves out: thresholds and verdicts, which exist in Rust only; numpy arrays (`score_numpy`); many pictures (`measure`).
Costs: one model call a draw; the maps cost a few per cent of it.

Pictures and noises are [B, C, H, W] in units of [0,1], maps [B, H, W].
A model is a function (x_k [B, C, H, W], k [B] int64) -> (eps_hat like x_k,) or (eps_hat, defect_logit [B, 1, H, W]).
Training maps are a dict with "mean" and "std" of the residual map, and "defect_mean" and "defect_std" with a head;
{} leaves the maps as they are.
"""

from dataclasses import dataclass
from math import sqrt

import torch
from torch.nn import functional as F

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
                f"detector.sigma = {self.sigma}: not a noise level that k = {self.k} covers; "
                f"above 0 and up to {allowed:.4f} is allowed"
            )
        if self.filter_px % 2 == 0:
            raise Refused(f"score.filter_px = {self.filter_px}: has no middle pixel; an odd number is needed")
        if not 0.0 <= self.head_weight <= 1.0:
            raise Refused(f"score.head_weight = {self.head_weight}: not a share; 0 to 1 is allowed")


def draw(x, noise, sigma):
    """The noisy draw z = x + sigma noise. It is not clamped, so that it stays Gaussian."""
    return x + sigma * noise


def reconstruct(model, z, inner_noise, detector):
    """(x0_hat like z, defect_logit [B, H, W] or None) of the draws z, by one model call.

    The draw holds less noise than step k of the model expects: `inner_noise` adds the rest.
    """
    a = float(schedule.alpha_bar(detector.k))
    rest = sqrt(max(0.0, 1.0 - a - 4.0 * a * detector.sigma**2))
    x_k = (sqrt(a) * (2.0 * z.double() - 1.0) + rest * inner_noise.double()).to(z.dtype)
    eps_hat, *defect_logit = model(x_k, torch.full((len(z),), detector.k, device=z.device))
    x0_hat = ((x_k.double() - sqrt(1.0 - a) * eps_hat.double()) / sqrt(a) + 1.0) / 2.0
    return x0_hat.clamp(0.0, 1.0).to(z.dtype), defect_logit[0][:, 0] if defect_logit else None


def residual_map(a, b, scales):
    """The squared difference of a and b, averaged over channels and over blocks of several sizes: [B, H, W] float64."""
    difference = a.double() - b.double()
    total = 0.0
    for size in scales:
        squared = (F.avg_pool2d(difference, size) ** 2).mean(dim=1)
        total = total + squared.repeat_interleave(size, 1).repeat_interleave(size, 2)
    return total / len(scales)


def maps(model, z, inner_noise, detector):
    """(residual, defect or None): the two unfiltered maps [B, H, W] of the draws z."""
    x0_hat, defect_logit = reconstruct(model, z, inner_noise, detector)
    return residual_map(z, x0_hat, detector.scales), None if defect_logit is None else defect_logit.double()


def mean_filter(maps, size):
    """The mean over the part of each size x size window that lies inside the map [B, H, W]."""
    for window in ((size, 1), (1, size)) if size > 1 else ():
        half = window[0] // 2, window[1] // 2
        maps = F.avg_pool2d(maps[:, None], window, 1, half, count_include_pad=False)[:, 0]
    return maps


def filtered(residual, defect, detector):
    """Both maps after the mean filter; a map that the score does not use is None."""
    return (
        mean_filter(residual, detector.filter_px) if detector.head_weight < 1.0 else None,
        mean_filter(defect, detector.filter_px) if detector.head_weight > 0.0 else None,
    )


def pooled(residual, defect, detector, training_maps):
    """The scores [B] of filtered maps: the mean of the `top_pixels` largest values of their weighted sum.

    The residual counts by its distance from the training mean, in training deviations; the defect map upwards only.
    """
    mixed = 0.0
    if detector.head_weight < 1.0:
        distance = (residual - training_maps.get("mean", 0.0)).abs() / training_maps.get("std", 1.0)
        mixed = (1.0 - detector.head_weight) * distance
    if detector.head_weight > 0.0:
        upwards = (defect - training_maps.get("defect_mean", 0.0)) / training_maps.get("defect_std", 1.0)
        mixed = mixed + detector.head_weight * upwards
    return mixed.flatten(1).topk(detector.top_pixels, dim=1).values.mean(dim=1)


def certified(model, z, inner_noise, detector, training_maps=None):
    """The certified scores [B] of the draws z: functions of the draw alone, blind to the clean picture."""
    found = maps(model, z, inner_noise, detector)
    return pooled(*filtered(*found, detector), detector, training_maps or {})


def empirical(model, x, noise, inner_noise, detector, training_maps=None):
    """The score of one clean picture x [C, H, W] against the mean reconstruction of its draws. No certificate.

    This is the paper's score, with the mean defect map of the draws mixed in as `head_weight` says. `noise` and
    `inner_noise` are [draws, C, H, W]; the result has no dimension.
    """
    x0_hat, defect_logit = reconstruct(model, draw(x, noise, detector.sigma), inner_noise, detector)
    residual = residual_map(x[None], x0_hat.double().mean(dim=0, keepdim=True), detector.scales)
    defect = None if defect_logit is None else defect_logit.double().mean(dim=0, keepdim=True)
    return pooled(*filtered(residual, defect, detector), detector, training_maps or {})[0]
