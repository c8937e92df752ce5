"""From a picture file to the model input: decode, scale to [0,1] in float32, colour, resize. No step rounds to 8 bits.

Guarantees: a PNG, JPEG or BMP file gives the input that the station computes from it (`capture::decode` and
`preprocess` in Rust); tests/fixtures/resize.json and tests/golden/bmp.json compare the two. As there, the content of a
file decides its format, never its name. The map from the decoded picture to the input is linear, with explicit weights
(`resize_weights`), so its operator norm is known.
Leaves out: cropping, and keeping the aspect ratio: a picture is squashed to the input size.
Costs: two matrix products a picture, about 3 ms at 640x400.
"""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from . import Refused

BT601 = np.array([0.299, 0.587, 0.114], dtype=np.float32)
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}  # in any case of letters; as in src/capture/folder.rs
FORMATS = ("PNG", "JPEG", "BMP")


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


def decode(path):
    """The picture at `path` as [C, H, W] float32 in [0,1], C = 1 or 3. Refuses what is empty, broken or unusual."""
    path = Path(path)
    try:
        with Image.open(path, formats=FORMATS) as file:
            file.load()
            deep = file.mode.startswith("I;16")
            if not deep and file.mode not in ("L", "RGB"):
                file = file.convert("L" if file.mode in ("1", "LA") else "RGB")
            pixels = np.asarray(file)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        size = path.stat().st_size if path.exists() else "missing"
        raise Refused(
            f"picture: {path} ({size} bytes): cannot be read: {error}; a PNG, JPEG or BMP picture is needed"
        ) from None
    picture = pixels.astype(np.float32) / np.float32(65535 if deep else 255)
    return picture[None] if picture.ndim == 2 else np.ascontiguousarray(picture.transpose(2, 0, 1))


def to_channels(picture, channels):
    """Colour to grey by BT.601, grey to three channels by repetition; [C, H, W] -> [channels, H, W]."""
    if picture.shape[0] == channels:
        return picture
    if channels == 1:
        return np.tensordot(BT601, picture, axes=1)[None]
    return np.repeat(picture, channels, axis=0)


def load_input(path, channels, height, width):
    """The model input [channels, height, width] float32 in [0,1] for the picture file at `path`."""
    return resize(to_channels(decode(path), channels), height, width)


def picture_files(folder):
    """Every PNG, JPEG or BMP below `folder`, sorted by path; refuses a folder without any."""
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise Refused(f"pictures: {folder}: no PNG, JPEG or BMP in it; a folder of pictures is needed")
    return files


def load_inputs(files, channels, height, width):
    """All of `files` as one array [N, channels, height, width] float32."""
    return np.stack([load_input(f, channels, height, width) for f in files])
