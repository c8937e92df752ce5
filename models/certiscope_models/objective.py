"""The training losses: the noise loss of the denoiser and the losses of the defect head.

`losses` is a pure function of the model, normal pictures, changed pictures with masks, timesteps and two noises. Every
picture is passed as two noisy draws, because the spread between draws is what makes a certified radius small.
Terms (weights in `Weights`):
  noise        ||eps - eps_hat||^2 outside synthetic defects (DDPM, Ho et al. 2020)
  heal         ||x0_hat - normal||^2 inside them, so that the reconstruction paints the defect over (DiffusionAD)
  pixel        focal loss (Lin et al. 2017) and soft dice of the defect map
  picture      cross entropy of the pooled defect map: is there a defect anywhere? Left out for changes too small to be
               seen in the noise of the draw, where the right answer cannot be learnt
  kept         ||eps - eps_kept||^2 everywhere, of a model that gives the draw without its noise, with its defects kept
  consistency  squared difference of the pooled defect map between the two draws of one picture
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch.nn import functional as F

from . import schedule

FOCUS = 2.0  # exponent of the focal loss
BALANCE = 0.75  # weight of defect pixels in it; 1 - BALANCE for the others
POOLING_PX = 5  # the score's own mean filter
EVIDENT = 5.0  # l2 norm of a change in units of the noise level, above which it can be seen in the noise
SHARPNESS = 2.0  # of the smooth maximum: a logit 1/SHARPNESS below the largest counts less than half as much


@dataclass(frozen=True)
class Weights:
    """How much each term counts beside the noise loss."""

    heal: float = 1.0
    pixel: float = 10.0
    picture: float = 0.3
    consistency: float = 0.5
    kept: float = 1.0


@cache
def alpha_bars(device):
    """The signal level of every timestep, kept on `device`."""
    return torch.as_tensor(schedule.alpha_bar(np.arange(schedule.STEPS)), device=device)


def x_k_of(x, k, eps):
    """x_k of pictures in [0,1] at timesteps k [B] with noise eps, and sqrt(a_k), sqrt(1 - a_k) as [B, 1, 1, 1]."""
    a = alpha_bars(x.device)[k].view(-1, 1, 1, 1)
    signal, noise = a.sqrt().to(x.dtype), (1.0 - a).sqrt().to(x.dtype)
    return signal * (2.0 * x - 1.0) + noise * eps, signal, noise


def pooled(defect_logit):
    """The smooth maximum [B] of the mean-filtered map: like the score of a draw, with a gradient for every pixel."""
    means = F.avg_pool2d(defect_logit, POOLING_PX, 1, POOLING_PX // 2, count_include_pad=False)
    return torch.logsumexp(SHARPNESS * means.flatten(1), dim=1) / SHARPNESS


def focal(defect_logit, mask):
    entropy = F.binary_cross_entropy_with_logits(defect_logit, mask, reduction="none")
    wrong = 1.0 - torch.exp(-entropy)  # 1 - probability given to the truth
    weight = BALANCE * mask + (1.0 - BALANCE) * (1.0 - mask)
    return (weight * wrong**FOCUS * entropy).mean()


def dice(defect_logit, mask):
    p = torch.sigmoid(defect_logit)
    over = 2.0 * (p * mask).sum(dim=(1, 2, 3)) + 1.0
    return (1.0 - over / ((p**2 + mask).sum(dim=(1, 2, 3)) + 1.0)).mean()


def losses(model, weights, normal, changed, mask, k, eps):
    """The terms by name, unweighted, and their weighted sum as `loss`.

    normal, changed [B, C, H, W] in [0,1]; mask [B, 1, H, W]; k [B]; eps [2, B, C, H, W], one noise for each draw.
    """
    twice = (2, 1, 1, 1)
    x_k, signal, noise = x_k_of(changed.repeat(twice), k.repeat(2), eps.flatten(0, 1))
    out = model(x_k, k.repeat(2).to(x_k.device))
    eps_hat = out.eps_hat.float()
    outside = 1.0 - mask.repeat(twice)
    found = {"noise": (outside * (eps_hat - eps.flatten(0, 1)) ** 2).mean() / outside.mean()}
    if out.denoised is not None:  # in units of the noise, as eps_hat
        found["kept"] = ((2.0 * signal / noise * (out.denoised.float() - changed.repeat(twice))) ** 2).mean()
    if out.defect_logit is not None:
        defect_logit = out.defect_logit.float()
        x0_hat = (x_k - noise * eps_hat) / signal
        wrong = (1.0 - outside) * (x0_hat - (2.0 * normal.repeat(twice) - 1.0)) ** 2
        found["heal"] = wrong.sum() / mask.sum().clamp(min=1.0) / 2.0 / normal.shape[1]
        found["pixel"] = focal(defect_logit, mask.repeat(twice)) + 0.03 * dice(defect_logit, mask.repeat(twice))
        scores = pooled(defect_logit)
        change = ((changed - normal) ** 2).sum(dim=(1, 2, 3)).sqrt().repeat(2)
        sigma_k = (noise / signal / 2.0).flatten()
        seen = ((change == 0.0) | (change > EVIDENT * sigma_k)).to(scores.dtype)
        entropy = F.binary_cross_entropy_with_logits(scores, (change > 0.0).to(scores.dtype), reduction="none")
        found["picture"] = (seen * entropy).sum() / seen.sum().clamp(min=1.0)
        first, second = scores.chunk(2)
        found["consistency"] = ((first - second) ** 2).mean()
    total = sum(getattr(weights, name, 1.0) * found[name] for name in found)
    return {**found, "loss": total}
