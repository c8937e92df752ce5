"""The U-Net: diffusers' UNet2DModel on pixel-unshuffled pictures, with a defect head beside the predicted noise.

Pixel-unshuffle by f rearranges [C, H, W] as [C f^2, H/f, W/f]: the same numbers, but 1/f^2 of the places to convolve.
That makes one draw fast enough on a CPU.
"""

from dataclasses import dataclass

from diffusers import UNet2DModel
from torch import nn
from torch.nn import functional as F

from . import Refused
from .prediction import Prediction


@dataclass(frozen=True)
class Architecture:
    """The settings of a model; stored in every checkpoint."""

    size: int
    channels: int = 1
    unshuffle: int = 2
    base: int = 32
    multipliers: tuple = (1, 2, 3)
    attention: bool = True  # at the lowest level only
    head: bool = True  # a defect-logit map beside the predicted noise, of the same forward pass

    def __post_init__(self):
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        halvings = self.unshuffle * 2 ** (len(self.multipliers) - 1)
        if self.size % halvings or self.size % 8:
            raise Refused(f"architecture.size = {self.size}: not a multiple of {halvings} and of 8; choose one that is")
        if self.base % 8:
            raise Refused(f"architecture.base = {self.base}: not a multiple of 8; choose one that is")

    def describe(self, model):
        """One line for a person; of `model` only the parameters are counted."""
        widths = ", ".join(str(self.base * m) for m in self.multipliers)
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        return (
            f"UNet2DModel, pixel-unshuffle {self.unshuffle}, 1 resnet a level, widths {widths}, "
            f"{'attention at the lowest level' if self.attention else 'no attention'}, "
            f"{'predicted noise and defect head' if self.head else 'predicted noise only'}, {millions:.2f} M parameters"
        )


class UnshuffledUNet(nn.Module):
    """A `Prediction` = model(x_k, k): eps_hat and, with a head, defect_logit.

    x_k [B, C, H, W] in the network's own range, k [B] int64.
    """

    def __init__(self, unet, channels, unshuffle):
        super().__init__()
        self.unet = unet
        self.channels = channels
        self.unshuffle = unshuffle

    def forward(self, x_k, k):
        inner = F.pixel_unshuffle(x_k, self.unshuffle) if self.unshuffle > 1 else x_k
        out = self.unet(inner, k, return_dict=False)[0]
        out = F.pixel_shuffle(out, self.unshuffle) if self.unshuffle > 1 else out
        c = self.channels
        return Prediction(out[:, :c], out[:, c:]) if out.shape[1] > c else Prediction(out)


def build(architecture):
    """A new model; the global seed of torch decides its weights."""
    inner = architecture.unshuffle**2
    levels = len(architecture.multipliers)
    lowest = "Attn" if architecture.attention else ""
    unet = UNet2DModel(
        sample_size=architecture.size // architecture.unshuffle,
        in_channels=architecture.channels * inner,
        out_channels=(architecture.channels + architecture.head) * inner,
        layers_per_block=1,
        block_out_channels=tuple(architecture.base * m for m in architecture.multipliers),
        down_block_types=("DownBlock2D",) * (levels - 1) + (f"{lowest}DownBlock2D",),
        up_block_types=(f"{lowest}UpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        norm_num_groups=8,
        attention_head_dim=None,
        add_attention=architecture.attention,
    )
    return UnshuffledUNet(unet, architecture.channels, architecture.unshuffle)
