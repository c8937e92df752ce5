"""A map of how unlike the good parts each place of a draw looks, to the frozen features of EfficientNet-Lite0.

    draw x_k -> a picture made of it -> frozen features at every place -> distance to the nearest patch of the bank

The idea is that of PatchCore (Roth et al. 2022): the bank holds patches of good parts, chosen so that every patch of a
good part has one near it. No training is needed. The picture is, by `source`,
  draw            the draw itself; the bank then holds patches of noisy good parts
  reconstruction  x0_hat, the one-shot reconstruction by the U-Net
  denoised        the third head of the U-Net: the draw without its noise, but with its defects ("denoised smoothing",
                  Salman et al. 2020). Features of it are nearly those of the clean picture
Guarantees: the map is a function of x_k (and k) alone, so of the draw, and a certificate holds for it. Everything is
ONNX operators of one graph with the U-Net. The bank takes at most BANK_MIB as half precision.
Leaves out: the training maps of the distances (`certiscope calibrate`), and their weight in the score.
Costs: the README says how many ms a draw.

Pictures are float32 [B, C, H, W] in [0,1]; x_k is in the network's own range.
"""

from math import ceil, sqrt

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from . import Refused, schedule
from .efficientnet_lite0 import CHANNELS, STRIDE, Trunk
from .objective import x_k_of

SOURCES = ("draw", "reconstruction", "denoised")
BANK_MIB = 1.0
BANK_LARGEST = int(BANK_MIB * 2**20) // (2 * CHANNELS)  # patches that fit, as half precision
SIDE = 224  # px: the trunk was trained on pictures of SIDE x SIDE
AT_ONCE = 16  # pictures a call
PROJECTED = 24  # directions in which the coreset compares patches
POOL = 40_000  # patches that the coreset chooses from
NEAREST = 1e-3  # distances below count as this: the root has no gradient at 0


def trunk_size(height, width):
    """(height, width) of the picture that the trunk sees: about SIDE * SIDE px, in the same aspect ratio as nearly as
    multiples of STRIDE allow; a larger picture is not made smaller."""
    grown = max(1.0, SIDE / sqrt(height * width))
    return tuple(STRIDE * ceil(round(side * grown) / STRIDE) for side in (height, width))


class FrozenFeatures(nn.Module):
    """patches [B, CHANNELS, h, w] = features(pictures [B, C, H, W] in [0,1]), h and w an eighth of the trunk's size.

    A patch is the mean over 3x3 places of a block's features, of both blocks one above the other.
    """

    def __init__(self, channels, height, width):
        super().__init__()
        self.size = trunk_size(height, width)
        self.resizes = self.size != (height, width)
        self.trunk = Trunk(channels)

    def forward(self, pictures):
        if self.resizes:
            pictures = F.interpolate(pictures, size=self.size, mode="bilinear", align_corners=False)
        fine, coarse = (F.avg_pool2d(found, 3, 1, 1) for found in self.trunk(pictures))
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([fine, coarse], dim=1)


class FeatureDistance(nn.Module):
    """distance [B, 1, H, W] = distance_of(patches [B, D, h, w]): to the nearest patch of the bank [N, D].

    ||f - b||^2 = ||f||^2 - 2 f.b + ||b||^2, so that the whole bank is one matrix product. Patches and bank are centred
    first, which changes no distance and keeps the three terms small beside their sum.
    """

    def __init__(self, bank, height, width):
        super().__init__()
        if bank.ndim != 2 or not len(bank):
            raise Refused(f"features: a bank of shape {tuple(bank.shape)}: no patches; [patches, channels] is needed")
        if 2 * bank.numel() > BANK_MIB * 2**20:
            raise Refused(f"features: a bank of {len(bank)} patches: too large; up to {BANK_MIB} MiB is allowed")
        centre = bank.mean(dim=0).half().float()
        self.register_buffer("centre", centre.view(1, -1, 1, 1))
        self.register_buffer("bank", (bank - centre).T.contiguous().half().float())  # [D, N], as stored
        self.size = height, width

    def forward(self, patches):
        count, channels, height, width = (int(n) for n in patches.shape)
        found = (patches - self.centre).permute(0, 2, 3, 1).reshape(-1, channels)
        to_bank = (self.bank**2).sum(dim=0) - 2.0 * (found @ self.bank)
        squared = (found**2).sum(dim=1) + to_bank.amin(dim=1)
        distance = squared.clamp(min=NEAREST**2).sqrt().reshape(-1, 1, height, width)
        return F.interpolate(distance, size=self.size, mode="bilinear", align_corners=False)


class WithFeatures(nn.Module):
    """`unet` with the map of feature distances as a third output: a `Prediction` = model(x_k, k).

    Without a `distance_of` the bank is still to be made (`learn_bank`). What `at` returned takes x_k alone.
    """

    def __init__(self, unet, features, source, distance_of=None):
        super().__init__()
        if source not in SOURCES:
            raise Refused(f"features.source = {source!r}: unknown; allowed: {', '.join(SOURCES)}")
        self.unet, self.features, self.distance_of = unet, features, distance_of
        self.source = source
        self.k = None  # the only timestep that the model is for; None: any
        levels = torch.from_numpy(schedule.alpha_bar(np.arange(schedule.STEPS)))
        # not in the state dict, and so not rounded with the weights
        self.register_buffer("signal", levels.sqrt().float(), persistent=False)
        self.register_buffer("noise", (1.0 - levels).sqrt().float(), persistent=False)

    def picture(self, x_k, k, found):
        """The pictures in [0,1], or about it, that the features see: made of the draws alone.

        `found` is the U-Net's `Prediction` of them.
        """
        if self.source == "denoised":
            if found.denoised is None:
                raise Refused(
                    "features.source = 'denoised': the network has no such head; draw or reconstruction is allowed"
                )
            return found.denoised
        at = self.k if k is None else k
        signal, noise = (level[at].view(-1, 1, 1, 1) for level in (self.signal, self.noise))
        if self.source == "reconstruction":
            return (((x_k - noise * found.eps_hat) / signal + 1.0) / 2.0).clamp(0.0, 1.0)
        return (x_k / signal + 1.0) / 2.0

    def patches(self, x_k, k=None):
        """(Prediction of the U-Net, patches [B, CHANNELS, h, w]) of the draws x_k."""
        found = self.unet(x_k) if k is None else self.unet(x_k, k)
        return found, self.features(self.picture(x_k, k, found))

    def forward(self, x_k, k=None):
        found, patches = self.patches(x_k, k)
        return found._replace(feature_distance=self.distance_of(patches), denoised=None)

    def keep(self, names):
        """Cut off the heads of the U-Net that are neither in `names` nor looked at, so that nobody waits for them."""
        if hasattr(self.unet, "keep"):
            self.unet.keep((*names, *["denoised"] * (self.source == "denoised")))

    @torch.no_grad()
    def at(self, k):
        """A copy of the model for the timestep k alone; the model itself if its U-Net takes any timestep only."""
        if not hasattr(self.unet, "at"):
            return self
        made = WithFeatures(self.unet.at(k), self.features, self.source, self.distance_of)
        made.k = k
        return made.eval()

    @torch.no_grad()
    def bank_of(self, normal, k, generator, size=BANK_LARGEST):
        """At most `size` patches [n, CHANNELS] of draws of the good pictures `normal` [N, C, H, W] at timestep k."""
        self.eval()
        kept, each = [], ceil(POOL / len(normal))
        for x in normal.split(AT_ONCE):
            of_draws = torch.full((len(x),), k, device=x.device)
            eps = torch.randn(x.shape, generator=generator, device=x.device)
            x_k, _, _ = x_k_of(x, of_draws, eps)
            for of_picture in self.patches(x_k, of_draws)[1].flatten(2).transpose(1, 2):
                chosen = torch.randperm(len(of_picture), generator=generator, device=x.device)[:each]
                kept.append(of_picture[chosen])
        return k_centre(torch.cat(kept), size, generator)

    def learn_bank(self, normal, k, generator, size=BANK_LARGEST):
        """Fill the bank (see `bank_of`)."""
        self.distance_of = FeatureDistance(self.bank_of(normal, k, generator, size), *normal.shape[-2:])
        return self


def k_centre(patches, count, generator):
    """At most `count` of the patches [M, D], each the farthest from those before it (greedy k-centre, as in PatchCore).

    Distances are taken in PROJECTED random directions, which keeps them nearly and costs a fraction. Equal patches are
    taken once.
    """
    directions = torch.randn(patches.shape[1], PROJECTED, generator=generator, device=patches.device)
    seen = (patches - patches.mean(dim=0)) @ directions / PROJECTED**0.5
    chosen = [0]
    nearest = ((seen - seen[0]) ** 2).sum(dim=1)
    while len(chosen) < min(count, len(patches)):
        farthest = int(nearest.argmax())
        if nearest[farthest] == 0.0:
            break
        chosen.append(farthest)
        nearest = torch.minimum(nearest, ((seen - seen[farthest]) ** 2).sum(dim=1))
    return patches[torch.tensor(chosen, device=patches.device)]
