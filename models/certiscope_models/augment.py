"""Change pictures of good parts as they differ on one line: in place, size, exposure and light.

Guarantees: a picture stays in [0,1] and keeps its shape. Everything random comes from the one generator given, on the
device of the pictures. Half of the pictures are moved by whole pixels only, so that the model also sees sharp ones.
Leaves out: changes of the part itself. Pictures are float32 [B, C, H, W] in [0,1].
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Line:
    """How much good pictures of one line differ; 0 for what is fixed there."""

    flips: bool = False
    shift: int = 0  # px of the model input
    turn: float = 0.0  # degrees
    zoom: float = 0.0  # share of the size
    crop: float = 0.0  # largest share of both sides that a window leaves out
    exposure: float = 0.0  # share of the gain; half of it for the offset and for gamma
    light: float = 0.0  # share of the gain, from one side of the picture to the other


def between(low, high, count, generator):
    """`count` uniform numbers as [B, 1, 1, 1]."""
    u = torch.rand(count, 1, 1, 1, generator=generator, device=generator.device)
    return low + (high - low) * u


def log_between(low, high, count, generator):
    """`count` numbers whose logarithm is uniform, as [B, 1, 1, 1]."""
    return torch.exp(between(torch.tensor(low).log().item(), torch.tensor(high).log().item(), count, generator))


def places(height, width, device):
    """Pixel centres of a picture, from -1 at one border to 1 at the other: (x, y), [1, 1, H, W] each."""
    down, across = ((torch.arange(side, device=device) + 0.5) * 2.0 / side - 1.0 for side in (height, width))
    y, x = torch.meshgrid(down, across, indexing="ij")
    return x[None, None], y[None, None]


def as_seen(x, line, generator):
    """The pictures `x` as the line might have shown them."""
    if line.flips:
        for axis in (2, 3):
            x = torch.where(between(0.0, 1.0, len(x), generator) < 0.5, x.flip(axis), x)
    if line.shift or line.turn or line.zoom:
        x = moved(x, line, generator)
    if line.crop:
        x = cropped(x, line, generator)
    if line.exposure or line.light:
        x = lit(x, line, generator)
    return x


def moved(x, line, generator):
    """Shift the pictures, and rotate and zoom every second one; places without pixels are mirrored."""
    count, _, height, width = x.shape
    turned = between(0.0, 1.0, count, generator) < 0.5
    angle = torch.where(turned, between(-line.turn, line.turn, count, generator), 0.0) * (torch.pi / 180.0)
    scale = torch.where(turned, 1.0 + between(-line.zoom, line.zoom, count, generator), 1.0)
    shift_x, shift_y = (between(-line.shift - 0.5, line.shift + 0.5, count, generator).round() for _ in range(2))
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    # grid_sample counts both axes from -1 to 1; a rotation keeps its angle only if the sides are taken into account
    upright, lying = height / width, width / height
    rows = [cos, -sin * upright, shift_x * 2.0 / width, sin * lying, cos, shift_y * 2.0 / height]
    theta = torch.cat(rows, dim=1).reshape(count, 2, 3)
    grid = F.affine_grid(theta, x.shape, align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def cropped(x, line, generator):
    """Replace every second picture by a window of it, enlarged to full size. No pixel beyond the border is made up."""
    count = len(x)
    chosen = between(0.0, 1.0, count, generator) < 0.5
    lacking = torch.where(chosen, between(0.0, line.crop, count, generator), 0.0)
    at_x, at_y = (between(-1.0, 1.0, count, generator) * lacking for _ in range(2))
    none = torch.zeros_like(lacking)
    theta = torch.cat([1.0 - lacking, none, at_x, none, 1.0 - lacking, at_y], dim=1).reshape(count, 2, 3)
    return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)


def lit(x, line, generator):
    """Change the exposure (gain, offset, gamma), and light the pictures from one side."""
    count = len(x)
    e, light = line.exposure, line.light
    gain = torch.exp(between(-e, e, count, generator))
    offset = between(-e / 4, e / 4, count, generator)
    gamma = torch.exp(between(-e / 2, e / 2, count, generator))
    across, down = places(*x.shape[2:], x.device)
    slope_x, slope_y, bow = (between(-light, light, count, generator) for _ in range(3))
    lamp = 1.0 + 0.5 * (slope_x * across + slope_y * down + bow * (across**2 + down**2 - 0.67))
    return ((x.clamp(1e-4, 1.0) ** gamma) * gain * lamp + offset).clamp(0.0, 1.0)
