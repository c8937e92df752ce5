"""The networks and their settings: `EdgeUNet`, and the diffusers U-Net that earlier versions trained.

Both work on pixel-unshuffled pictures, and have a defect head beside the predicted noise.
Pixel-unshuffle by f rearranges [C, H, W] as [C f^2, H/f, W/f]: the same numbers, but 1/f^2 of the places to convolve.
That makes one draw fast enough on a CPU.
"""

from dataclasses import dataclass
from itertools import product
from math import lcm, log, sqrt

from diffusers import UNet2DModel
from torch import nn
from torch.nn import functional as F

from . import Refused
from .edge_unet import EdgeUNet
from .prediction import Prediction

NETWORKS = ("edge", "diffusers")


@dataclass(frozen=True)
class Architecture:
    """The settings of a model; stored in every checkpoint."""

    height: int
    width: int
    channels: int = 1
    unshuffle: int = 2
    base: int = 32
    multipliers: tuple = (1, 2, 3)
    attention: bool = True  # at the lowest level of the diffusers network only; the other has none
    head: bool = True  # a defect-logit map beside the predicted noise, of the same forward pass
    network: str = "edge"  # one of NETWORKS
    denoised: bool = True  # the draw without its noise as a third output; of the edge network only

    def __post_init__(self):
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        if self.network not in NETWORKS:
            raise Refused(f"architecture.network = {self.network}: unknown; {' or '.join(NETWORKS)} is allowed")
        multiple = multiple_of(self.unshuffle, self.multipliers)
        for name, side in (("height", self.height), ("width", self.width)):
            if side % multiple or side <= 0:
                raise Refused(f"architecture.{name} = {side}: not a multiple of {multiple}; choose one that is")
        if self.base % 8:
            raise Refused(f"architecture.base = {self.base}: not a multiple of 8; choose one that is")

    @property
    def widths(self):
        """Channels of each level, from full size down."""
        return tuple(self.base * m for m in self.multipliers)

    @classmethod
    def stored(cls, settings):
        """The architecture with the settings of a checkpoint.

        Earlier versions had one network, and square inputs, whose side they stored as `size`.
        """
        settings = {"network": "diffusers", "denoised": False, **settings}
        side = settings.pop("size", None)
        return cls(**({"height": side, "width": side} if side else {}), **settings)

    def describe(self, model):
        """One line for a person; of `model` only the parameters are counted."""
        widths = ", ".join(str(width) for width in self.widths)
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        attention = "attention at the lowest level" if self.attention else "no attention"
        edge = self.network == "edge"
        kind = ["EdgeUNet"] if edge else ["UNet2DModel", "1 resnet a level", attention]
        heads = ["predicted noise", *["defect head"] * self.head, *["denoised draw"] * (edge and self.denoised)]
        words = [*kind, f"pixel-unshuffle {self.unshuffle}", f"widths {widths}", " and ".join(heads)]
        return ", ".join([*words, f"{millions:.2f} M parameters"])


def multiple_of(unshuffle, multipliers):
    """Both sides of the input are multiples of this: each level halves them, and the score has blocks of 8 px."""
    return lcm(unshuffle * 2 ** (len(multipliers) - 1), 8)


def sides(size, aspect, multiple):
    """(height, width) of an input of about size * size px for pictures `aspect` times as wide as high.

    Both are multiples of `multiple`. So a picture may be squashed by a few per cent; it is never padded or cut.
    """

    def near(side):
        low = max(1, int(side // multiple))
        return low * multiple, (low + 1) * multiple

    def error(pair):
        height, width = pair
        return 2 * abs(log(width / height / aspect)) + abs(log(width * height / size**2))

    return min(product(near(size / sqrt(aspect)), near(size * sqrt(aspect))), key=error)


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
    if architecture.network == "edge":
        a = architecture
        return EdgeUNet(a.channels, a.unshuffle, a.widths, a.head, a.denoised)
    return diffusers_unet(architecture)


def diffusers_unet(architecture):
    """The network of earlier versions, so that their checkpoints can be resumed and exported."""
    inner = architecture.unshuffle**2
    levels = len(architecture.multipliers)
    lowest = "Attn" if architecture.attention else ""
    unet = UNet2DModel(
        sample_size=(architecture.height // architecture.unshuffle, architecture.width // architecture.unshuffle),
        in_channels=architecture.channels * inner,
        out_channels=(architecture.channels + architecture.head) * inner,
        layers_per_block=1,
        block_out_channels=architecture.widths,
        down_block_types=("DownBlock2D",) * (levels - 1) + (f"{lowest}DownBlock2D",),
        up_block_types=(f"{lowest}UpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        norm_num_groups=8,
        attention_head_dim=None,
        add_attention=architecture.attention,
    )
    return UnshuffledUNet(unet, architecture.channels, architecture.unshuffle)
