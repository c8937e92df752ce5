"""The denoiser: diffusers' UNet2DModel on pixel-unshuffled pictures.

Pixel-unshuffle by f turns [C, H, W] into [C f^2, H/f, W/f]: the same numbers, 1/f^2 of the places to convolve, which
is what makes one draw affordable on a CPU.
"""

from dataclasses import dataclass

from diffusers import UNet2DModel
from torch import nn
from torch.nn import functional as F

from . import Refused


@dataclass(frozen=True)
class Architecture:
    """What `build` needs; stored in every checkpoint."""

    size: int
    channels: int = 1
    unshuffle: int = 2
    base: int = 32
    multipliers: tuple = (1, 2, 3)
    attention: bool = True  # at the lowest level only

    def __post_init__(self):
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        halvings = self.unshuffle * 2 ** (len(self.multipliers) - 1)
        if self.size % halvings or self.size % 8:
            raise Refused(f"architecture.size = {self.size}: not a multiple of {halvings} and 8; one that is")
        if self.base % 8:
            raise Refused(f"architecture.base = {self.base}: normalised in 8 groups; a multiple of 8")

    def describe(self, model):
        """One line for a person; `model` is only counted."""
        widths = ", ".join(str(self.base * m) for m in self.multipliers)
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        return (
            f"UNet2DModel, pixel-unshuffle {self.unshuffle}, 1 resnet a level, widths {widths}, "
            f"{'attention at the lowest level' if self.attention else 'no attention'}, {millions:.2f} M parameters"
        )


class UnshuffledUNet(nn.Module):
    """eps_hat = model(x_k, k): x_k [B, C, H, W] in the network's own range, k [B] int64, eps_hat like x_k."""

    def __init__(self, unet, unshuffle):
        super().__init__()
        self.unet = unet
        self.unshuffle = unshuffle

    def forward(self, x_k, k):
        inner = F.pixel_unshuffle(x_k, self.unshuffle) if self.unshuffle > 1 else x_k
        eps_hat = self.unet(inner, k, return_dict=False)[0]
        return F.pixel_shuffle(eps_hat, self.unshuffle) if self.unshuffle > 1 else eps_hat


def build(architecture):
    """A freshly initialised model; the global torch seed decides its weights."""
    inner = architecture.channels * architecture.unshuffle**2
    levels = len(architecture.multipliers)
    lowest = "Attn" if architecture.attention else ""
    unet = UNet2DModel(
        sample_size=architecture.size // architecture.unshuffle,
        in_channels=inner,
        out_channels=inner,
        layers_per_block=1,
        block_out_channels=tuple(architecture.base * m for m in architecture.multipliers),
        down_block_types=("DownBlock2D",) * (levels - 1) + (f"{lowest}DownBlock2D",),
        up_block_types=(f"{lowest}UpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        norm_num_groups=8,
        attention_head_dim=None,
        add_attention=architecture.attention,
    )
    return UnshuffledUNet(unet, architecture.unshuffle)
