"""From a picture file to the model input: decode, scale to [0,1] in float32, colour, resize. No step rounds to 8 bits.

Guarantees: a picture file gives the input that the station computes from it (`capture::decode` and `preprocess` in
Rust); tests/fixtures/resize.json and tests/golden/bmp.json compare the two. The map from the decoded picture to the
input is linear, with explicit weights (`resize_weights`), so its operator norm is known.
Leaves out: cropping, and keeping the aspect ratio: a picture is squashed to the input, whose shape fits the pictures of
the training (`unet.sides`).
Costs: two matrix products a picture, about 3 ms at 640x400.
"""

import numpy as np

from .decode import read_picture
from .picture_files import picture_files  # noqa: F401  scripts import it from here

BT601 = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def resize_weights(size_in, size_out):
    """Weights [size_out, size_in] that resize one axis, float32; each row sums to 1.

    Shrinking averages the source interval under each output pixel, fractions included (area overlap); enlarging
    interpolates linearly between pixel centres and repeats the edge.
    """
    weights = np.zeros((size_out, size_in), dtype=np.float64)
    step = size_in / size_out
    if size_out <= size_in:
        for i in range(size_out):
            start, end = i * step, (i + 1) * step
            for j in range(int(start), min(int(np.ceil(end)), size_in)):
                weights[i, j] = max(0.0, min(end, j + 1) - max(start, j))
    else:
        for i in range(size_out):
            centre = min(max((i + 0.5) * step - 0.5, 0.0), size_in - 1.0)
            left = int(centre)
            right = min(left + 1, size_in - 1)
            weights[i, left] += 1.0 - (centre - left)
            weights[i, right] += centre - left
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resize(picture, height, width):
    """Resize `picture` [C, H, W] float32 to [C, height, width] float32."""
    rows = resize_weights(picture.shape[1], height)
    columns = resize_weights(picture.shape[2], width)
    return rows @ picture @ columns.T


def decode(path, full_scale=None):
    """The picture at `path` as [C, H, W] float32 in [0,1], C = 1 or 3. Refuses what cannot be read.

    `full_scale` is the sample that means white in a picture of 16 bits; 65535 if not given.
    """
    return scaled(read_picture(path), full_scale)


def scaled(samples, full_scale=None):
    """Samples [H, W] or [H, W, 3] of 8 or 16 bits as [C, H, W] float32; white is 1."""
    white = 255 if samples.dtype == np.uint8 else full_scale or 65535
    picture = samples.astype(np.float32) / np.float32(white)
    return picture[None] if picture.ndim == 2 else np.ascontiguousarray(picture.transpose(2, 0, 1))


def to_channels(picture, channels):
    """Colour to grey by BT.601, grey to three channels by repetition; [C, H, W] -> [channels, H, W]."""
    if picture.shape[0] == channels:
        return picture
    if channels == 1:
        return np.tensordot(BT601, picture, axes=1)[None]
    return np.repeat(picture, channels, axis=0)


def as_input(picture, channels, height, width):
    """A picture [C, H, W] as the model input [channels, height, width]."""
    return resize(to_channels(picture, channels), height, width)


def load_input(path, channels, height, width):
    """The model input [channels, height, width] float32 in [0,1] for the picture file at `path`."""
    return as_input(decode(path), channels, height, width)
