"""The score of a draw, defined once, in PyTorch (method.md, sections 3 and 4).

    picture x -> draw z = x + sigma noise -> one model call -> reconstruction x0_hat and up to three maps -> one number

The maps are the residual of the draw against x0_hat, the log odds of a defect (from a model with a defect head), and
the distance of frozen network features to a bank of normal ones (from a model with such a bank). Each map passes the
mean filter; then, with h = `head_weight` and f = `feature_weight`, each pixel is

    mixed = (1 - h - f) |residual - mean| / std + h (defect - defect_mean) / defect_std
            + f (feature - feature_mean) / feature_std

and the score is the mean of the `top_pixels` largest pixels. All three maps are functions of the draw alone.

Guarantees: a gradient passes from the score to the draw, and through it to the picture: nothing here is inside
`no_grad`, and everything is differentiable almost everywhere. `certified` takes the draw and never the clean picture,
so that certificates are sound. The Rust modules `diffusion::reconstruct` and `score` give the same numbers (the
golden vectors of every bundle compare them). Maps are float64, whatever the model computes in.
Leaves out: thresholds and verdicts, which exist in Rust only; numpy arrays (`score_numpy`); many pictures (`measure`).
Costs: one model call a draw; the maps cost a few per cent of it.

Pictures and noises are [B, C, H, W] in units of [0,1], maps [B, H, W].
A model is a function (x_k [B, C, H, W], k [B] int64) -> `Prediction`.
Training maps are a dict with "mean" and "std" of the residual map, "defect_mean" and "defect_std" with a head, and
"feature_mean" and "feature_std" with a bank of features; {} leaves the maps as they are.
"""

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import torch
from torch.nn import functional as F

from . import Refused, schedule


@dataclass(frozen=True)
class Detector:
    """What decides a score besides the model: timestep, certification noise, pooling, shares of the maps."""

    k: int
    sigma: float
    filter_px: int = 5
    scales: tuple = (1, 2, 4, 8)
    top_pixels: int = 1
    head_weight: float = 0.0
    feature_weight: float = 0.0

    @property
    def residual_weight(self):
        """What the other two leave of 1. Their sum is taken first: it is rounded to 1 where the weights add up to 1."""
        return 1.0 - (self.head_weight + self.feature_weight)

    def __post_init__(self):
        allowed = schedule.sigma_k(self.k)
        if not 0.0 < self.sigma <= allowed:
            raise Refused(
                f"detector.sigma = {self.sigma}: not a noise level that k = {self.k} covers; "
                f"above 0 and up to {allowed:.4f} is allowed"
            )
        if self.filter_px % 2 == 0:
            raise Refused(f"score.filter_px = {self.filter_px}: has no middle pixel; an odd number is needed")
        for name in ("head_weight", "feature_weight"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise Refused(f"score.{name} = {getattr(self, name)}: not a share; 0 to 1 is allowed")
        if self.residual_weight < 0.0:
            raise Refused(
                f"score: head_weight = {self.head_weight} and feature_weight = {self.feature_weight}: more than the "
                f"whole score; a sum of at most 1 is allowed"
            )


class Maps(NamedTuple):
    """The maps of draws, each [B, H, W] float64; None for what the model does not give or the score does not use."""

    residual: torch.Tensor | None
    defect: torch.Tensor | None = None
    feature: torch.Tensor | None = None


KINDS = Maps("", "defect_", "feature_")  # what the names of the training maps of each kind begin with


def draw(x, noise, sigma):
    """The noisy draw z = x + sigma noise. It is not clamped, so that it stays Gaussian."""
    return x + sigma * noise


def reconstruct(model, z, inner_noise, detector):
    """(x0_hat like z, defect_logit [B, H, W] or None, feature_distance [B, H, W] or None) of the draws z.

    One model call for all of them.

    The draw holds less noise than step k of the model expects: `inner_noise` adds the rest.
    """
    a = float(schedule.alpha_bar(detector.k))
    rest = sqrt(max(0.0, 1.0 - a - 4.0 * a * detector.sigma**2))
    x_k = (sqrt(a) * (2.0 * z.double() - 1.0) + rest * inner_noise.double()).to(z.dtype)
    found = model(x_k, torch.full((len(z),), detector.k, device=z.device))
    x0_hat = ((x_k.double() - sqrt(1.0 - a) * found.eps_hat.double()) / sqrt(a) + 1.0) / 2.0
    defect_logit, feature_distance = (
        None if out is None else out[:, 0] for out in (found.defect_logit, found.feature_distance)
    )
    return x0_hat.clamp(0.0, 1.0).to(z.dtype), defect_logit, feature_distance


def residual_map(a, b, scales):
    """The squared difference of a and b, averaged over channels and over blocks of several sizes: [B, H, W] float64."""
    difference = a.double() - b.double()
    total = 0.0
    for size in scales:
        squared = (F.avg_pool2d(difference, size) ** 2).mean(dim=1)
        total = total + squared.repeat_interleave(size, 1).repeat_interleave(size, 2)
    return total / len(scales)


def maps(model, z, inner_noise, detector):
    """The unfiltered `Maps` of the draws z."""
    x0_hat, *of_model = reconstruct(model, z, inner_noise, detector)
    return Maps(residual_map(z, x0_hat, detector.scales), *(None if out is None else out.double() for out in of_model))


def mean_filter(maps, size):
    """The mean over the part of each size x size window that lies inside the map [B, H, W]."""
    for window in ((size, 1), (1, size)) if size > 1 else ():
        half = window[0] // 2, window[1] // 2
        maps = F.avg_pool2d(maps[:, None], window, 1, half, count_include_pad=False)[:, 0]
    return maps


def filtered(residual, defect, feature, detector):
    """The `Maps` after the mean filter; a map that the score does not use is None."""
    require_maps(defect, feature, detector)
    weights = detector.residual_weight, detector.head_weight, detector.feature_weight
    found = (residual, defect, feature)
    return Maps(*(mean_filter(one, detector.filter_px) if w > 0.0 else None for one, w in zip(found, weights)))


def require_maps(defect, feature, detector):
    """Refuse a weight for a map that the model does not give."""
    needed = (defect, "head_weight", "defect_logit"), (feature, "feature_weight", "feature_distance")
    for found, weight, output in needed:
        if found is None and getattr(detector, weight) > 0.0:
            raise Refused(
                f"score.{weight} = {getattr(detector, weight)}: the model has no output {output}; "
                f"0, or a model with that output, is needed"
            )


def pooled(residual, defect, feature, detector, training_maps):
    """The scores [B] of filtered maps: the mean of the `top_pixels` largest values of their weighted sum.

    The residual counts by its distance from the training mean, in training deviations; the other maps upwards only.
    """
    mixed = 0.0
    if detector.residual_weight > 0.0:
        distance = (residual - training_maps.get("mean", 0.0)).abs() / training_maps.get("std", 1.0)
        mixed = detector.residual_weight * distance
    if detector.head_weight > 0.0:
        upwards = (defect - training_maps.get("defect_mean", 0.0)) / training_maps.get("defect_std", 1.0)
        mixed = mixed + detector.head_weight * upwards
    if detector.feature_weight > 0.0:
        upwards = (feature - training_maps.get("feature_mean", 0.0)) / training_maps.get("feature_std", 1.0)
        mixed = mixed + detector.feature_weight * upwards
    return mixed.flatten(1).topk(detector.top_pixels, dim=1).values.mean(dim=1)


def certified(model, z, inner_noise, detector, training_maps=None):
    """The certified scores [B] of the draws z: functions of the draw alone, blind to the clean picture."""
    found = maps(model, z, inner_noise, detector)
    return pooled(*filtered(*found, detector), detector, training_maps or {})


def empirical(model, x, noise, inner_noise, detector, training_maps=None):
    """The score of one clean picture x [C, H, W] against the mean reconstruction of its draws. No certificate.

    This is the paper's score, with the mean defect map and the mean feature map of the draws mixed in by their
    weights. `noise` and `inner_noise` are [draws, C, H, W]; the result has no dimension.
    """
    x0_hat, *of_model = reconstruct(model, draw(x, noise, detector.sigma), inner_noise, detector)
    residual = residual_map(x[None], x0_hat.double().mean(dim=0, keepdim=True), detector.scales)
    means = (None if out is None else out.double().mean(dim=0, keepdim=True) for out in of_model)
    return pooled(*filtered(residual, *means, detector), detector, training_maps or {})[0]
