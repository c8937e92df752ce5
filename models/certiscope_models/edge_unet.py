"""EdgeUNet: a U-Net made for one draw after another on a CPU.

    pixel-unshuffle -> 3x3 convolution -> levels of blocks, each half as large as the one before -> and back up
    a block is  x + 1x1( relu( 3x3 depthwise( relu( 1x1(x) + bias of k ) ) ) )

Every choice is for speed in ONNX Runtime, measured with its profiler: nearly all work is 1x1 convolutions, the fastest
that it has; ReLU and the sum of a block become part of the convolution before them; widths that are multiples of 16
need no change of memory layout between nodes. There is no normalisation and no attention.
Guarantees: a draw sees nothing of the other draws of its batch, in training as in use, because no layer looks across
the batch. For one timestep k, `at(k)` is the same function without the input k: the bias of k is added to that of the
convolution.
Leaves out: the settings (`unet.Architecture`), and the diffusers U-Net that earlier versions trained.
"""

import copy
from math import log, sqrt

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from . import Refused, schedule
from .prediction import Prediction

EXPANSION = 2  # width inside of a block over its own
FREQUENCIES = 32  # of the sines and cosines that k becomes
HIDDEN = 128  # width of the layer between them and the biases
FIRST_BLOCKS, BLOCKS = 1, 2  # a level, on the way down and again on the way up: at full size, and below
RELU_GAIN = sqrt(2.0)  # makes up for the half that a ReLU takes away
STEM_GAIN = 2.0  # the noise in x_k has a deviation of about 0.1, and is to be predicted with deviation 1


def convolution(inside, outside, size, gain=RELU_GAIN, **others):
    """A convolution whose output has `gain` times the deviation of its input. Without normalisation this matters."""
    made = nn.Conv2d(inside, outside, size, **others)
    nn.init.normal_(made.weight, 0.0, gain / sqrt(made.weight[0].numel()))
    nn.init.zeros_(made.bias)
    return made


class Block(nn.Module):
    """Adds to x what it computes from it; nothing at first, so that a new network of any depth is well behaved."""

    def __init__(self, width):
        super().__init__()
        self.inner = EXPANSION * width
        self.expand = convolution(width, self.inner, 1)
        self.mix = convolution(self.inner, self.inner, 3, padding=1, groups=self.inner)
        self.project = convolution(self.inner, width, 1, gain=0.0)

    def forward(self, x, of_k):
        h = self.expand(x) if of_k is None else self.expand(x) + of_k
        return x + self.project(F.relu(self.mix(F.relu(h))))


class EdgeUNet(nn.Module):
    """A `Prediction` = model(x_k, k): eps_hat and, with their heads, defect_logit and denoised.

    x_k [B, C, H, W] in the network's own range, k [B] int64. What `at` returned takes x_k alone.
    """

    def __init__(self, channels, unshuffle, widths, head=True, denoised=False):
        super().__init__()
        self.unshuffle = unshuffle
        self.k = None  # the only timestep that the model is for; None: any
        heads = {"eps_hat": channels, "defect_logit": head, "denoised": channels * denoised}
        self.outputs = {name: int(count) for name, count in heads.items() if count}  # channels of each
        levels = range(len(widths))
        self.stem = convolution(channels * unshuffle**2, widths[0], 3, STEM_GAIN, padding=1)
        counts = [FIRST_BLOCKS if level == 0 else BLOCKS for level in levels]
        self.down = nn.ModuleList(nn.ModuleList(Block(widths[n]) for _ in range(counts[n])) for n in levels)
        self.up = nn.ModuleList(nn.ModuleList(Block(widths[n]) for _ in range(counts[n])) for n in levels[:-1])
        self.shrink = nn.ModuleList(convolution(*widths[n : n + 2], 2, 1.0, stride=2) for n in levels[:-1])
        self.grow = nn.ModuleList(convolution(widths[n + 1], widths[n], 1, 1.0) for n in levels[:-1])
        self.out = convolution(widths[0], sum(self.rows()), 3, 1.0, padding=1)
        levels_of_signal = torch.from_numpy(schedule.alpha_bar(np.arange(schedule.STEPS)))
        self.register_buffer("alpha_bar", levels_of_signal.float(), persistent=False)
        self.of_k = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, sum(b.inner for b in self.blocks()))
        )
        nn.init.zeros_(self.of_k[-1].weight)
        nn.init.zeros_(self.of_k[-1].bias)

    def blocks(self):
        """All blocks, in the order of their biases of k."""
        return [block for level in (*self.down, *self.up) for block in level]

    def biases(self, k):
        """{block: its bias [B, C, 1, 1]} at the timesteps k [B]."""
        slowness = torch.exp(torch.arange(FREQUENCIES, device=k.device) * (-log(1000.0) / FREQUENCIES))
        angle = k[:, None].to(self.out.weight.dtype) * slowness.to(self.out.weight.dtype)
        found = self.of_k(torch.cat([angle.sin(), angle.cos()], dim=1))[:, :, None, None]
        blocks = self.blocks()
        return dict(zip(blocks, found.split([block.inner for block in blocks], dim=1)))

    def forward(self, x_k, k=None):
        found = self.heads(x_k, k)
        if "denoised" in found:  # its head predicts the noise too, and is not to take a defect for noise
            a = self.alpha_bar[self.k if k is None else k].view(-1, 1, 1, 1)
            without = (x_k - (1.0 - a).sqrt() * found["denoised"]) / a.sqrt()
            found["denoised"] = ((without + 1.0) / 2.0).clamp(0.0, 1.0)
        return Prediction(**found)

    def heads(self, x_k, k):
        """{name: map [B, channels, H, W]} as the last convolution gives them."""
        of_k = self.biases_for(k)

        def through(level, h):
            for block in level:
                h = block(h, of_k.get(block))
            return h

        h = self.stem(F.pixel_unshuffle(x_k, self.unshuffle))
        kept = []
        for level, shrink in zip(self.down, self.shrink):
            h = through(level, h)
            kept.append(h)
            h = shrink(h)
        h = through(self.down[-1], h)
        for level, grow in zip(reversed(self.up), reversed(self.grow)):
            h = F.interpolate(grow(h), scale_factor=2.0, mode="nearest")
            h = through(level, h + kept.pop())
        out = F.pixel_shuffle(self.out(h), self.unshuffle)
        return dict(zip(self.outputs, out.split(list(self.outputs.values()), dim=1)))

    def biases_for(self, k):
        if self.k is None:
            return self.biases(k)
        if k is not None and bool((k != self.k).any()):
            raise Refused(f"k = {k.tolist()}: the model is made for k = {self.k} alone; give that or none")
        return {}

    @torch.no_grad()
    def keep(self, names):
        """Cut off the heads that are not in `names`, so that nobody waits for them."""
        rows = dict(zip(self.outputs, torch.arange(self.out.out_channels).split(self.rows())))
        self.outputs = {name: count for name, count in self.outputs.items() if name in names}
        kept = torch.cat([rows[name] for name in self.outputs])
        self.out.weight, self.out.bias = (nn.Parameter(w[kept]) for w in (self.out.weight, self.out.bias))
        self.out.out_channels = len(kept)

    def rows(self):
        """Channels of the last convolution that each head has."""
        return [count * self.unshuffle**2 for count in self.outputs.values()]

    @torch.no_grad()
    def at(self, k):
        """A copy of the model for the timestep k alone."""
        model = copy.deepcopy(self).eval()
        for block, bias in model.biases(torch.tensor([k], device=self.out.weight.device)).items():
            block.expand.bias += bias.flatten()
        model.k, model.of_k = k, None
        return model
