"""Reference conversions of raw frames, written from the formats' definitions (BT.601, as V4L2 says for sRGB webcams)."""

import io

import numpy
from PIL import Image

from line import expect


def to_rgb(y, cb, cr):
    """Limited range."""
    y, cb, cr = (plane.astype(float) for plane in (y, cb, cr))
    luma, blue, red = 255 / 219 * (y - 16), 255 / 224 * (cb - 128), 255 / 224 * (cr - 128)
    rgb = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
    return numpy.clip(numpy.rint(numpy.stack(rgb, axis=-1)), 0, 255).astype(numpy.uint8)


def packed(raw, width, height, order):
    """4:2:2 with two pixels in four bytes; `order` gives the positions of Y, Cb and Cr."""
    four = numpy.frombuffer(raw, numpy.uint8).reshape(height, width // 2, 4)
    y = four[:, :, [order.index("Y"), order.rindex("Y")]].reshape(height, width)
    cb = numpy.repeat(four[:, :, order.index("B")], 2, axis=1)
    cr = numpy.repeat(four[:, :, order.index("R")], 2, axis=1)
    return to_rgb(y, cb, cr)


def planes_of_nv12(raw, width, height):
    flat = numpy.frombuffer(raw, numpy.uint8)
    y = flat[: width * height].reshape(height, width)
    both = flat[width * height:].reshape(height // 2, width // 2, 2).repeat(2, axis=0).repeat(2, axis=1)
    return to_rgb(y, both[:, :, 0], both[:, :, 1])


def reference(fourcc, raw, width, height):
    """The picture of a raw frame: RGB, or grey for GREY."""
    flat = numpy.frombuffer(raw, numpy.uint8)
    match fourcc:
        case "GREY":
            return flat.reshape(height, width)
        case "RGB3":
            return flat.reshape(height, width, 3)
        case "BGR3":
            return flat.reshape(height, width, 3)[:, :, ::-1]
        case "YUYV":
            return packed(raw, width, height, "YBYR")
        case "UYVY":
            return packed(raw, width, height, "BYRY")
        case "NV12":
            return planes_of_nv12(raw, width, height)
        case "MJPG":
            return numpy.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))


def compare(name, got, wanted, tolerance):
    """The largest difference of two pictures. Fails if it is above the tolerance."""
    got = numpy.asarray(got)
    expect(got.shape == wanted.shape, f"{name}: {got.shape} pixels, {wanted.shape} are right")
    worst = int(numpy.abs(got.astype(int) - wanted.astype(int)).max())
    expect(worst <= tolerance, f"{name}: differs by {worst} levels, {tolerance} are allowed")
    return worst


def grey(width, height, level, square=None, mark=0):
    """An even grey with, where asked, a brighter square. `mark` changes one corner pixel: no two frames alike."""
    picture = numpy.full((height, width), level, numpy.uint8)
    if square is not None:
        picture[height // 4: height * 9 // 16, width // 4: width * 9 // 16] = square
    picture[0, 0] = (int(picture[0, 0]) + mark) % 256
    return picture


def as_rgb(picture):
    return numpy.repeat(picture[:, :, None], 3, axis=2)


def jpeg(picture, quality=90):
    out = io.BytesIO()
    # Without subsampling: decoders may put colours between pixels as they like.
    Image.fromarray(picture).save(out, "JPEG", quality=quality, subsampling=0)
    return out.getvalue()
