"""JPEG, strictly: what libjpeg warns of is refused, and so is a picture whose scans do not hold all of it.

A JPEG has no checksum. A decoder that was made for a web browser shows what is left of a damaged one, and says nothing;
a model would learn from the grey rest. libjpeg notices most damage, as a warning, which simplejpeg can make an error.
It does not notice that a progressive picture lacks its last scans, so the scans are counted here.
Guarantees: a grey or coloured picture has the samples of libjpeg-turbo (accurate DCT, smooth upsampling), as in Rust.
"""

import io
import struct

import numpy as np
from PIL import Image

from . import Refused

START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
EXIF = b"Exif\0\0"


class Damaged(Exception):
    """What is wrong with the picture."""


def segments(data):
    """Yield (marker, content) of every segment from the start marker to the end marker; a scan's data is skipped."""
    at = 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise Damaged("it was cut off: its end is missing")
        marker = data[at + 1]
        if marker == 0xD9:
            return
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # data of a scan, a fill byte, a marker alone
            at += 1 if marker == 0xFF else 2
            continue
        if at + 4 > len(data):
            raise Damaged("it was cut off: its end is missing")
        length = struct.unpack(">H", data[at + 2 : at + 4])[0]
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + max(2, length)


def survey(data):
    """((height, width, channels), content of its EXIF segment or None) of a JPEG whose scans hold all of it."""
    frame, exif, left = None, None, {}  # left[component]: the lowest bit that each of its 64 coefficients still lacks
    for marker, content in segments(data):
        if marker in START_OF_FRAME and frame is None:
            if len(content) < 6 or len(content) < 6 + 3 * content[5]:
                raise Damaged("it is damaged: its header is too short")
            precision, height, width, channels = struct.unpack(">BHHB", content[:6])
            if marker in (0xC3, 0xC7, 0xCB, 0xCF):
                raise Damaged("it is a lossless JPEG; an ordinary one is needed")
            if precision != 8:
                raise Damaged(f"it has {precision} bits a sample; 8 are needed")
            frame = height, width, channels
            left = {content[6 + 3 * n]: [None] * 64 for n in range(channels)}
        elif marker == 0xE1 and exif is None and content.startswith(EXIF):
            exif = content[len(EXIF) :]
        elif marker == 0xDA and content:
            count = content[0]
            if len(content) < 4 + 2 * count:
                raise Damaged("it is damaged: the header of a scan is too short")
            first, last, bits = content[1 + 2 * count : 4 + 2 * count]
            for n in range(count):
                if content[1 + 2 * n] in left:
                    left[content[1 + 2 * n]][first : last + 1] = [bits & 15] * (min(last, 63) + 1 - first)
    if frame is None:
        raise Damaged("it is damaged: it has no picture in it")
    if any(bit != 0 for component in left.values() for bit in component):
        raise Damaged("it is damaged: scans are missing")
    return frame, exif


def samples(data, channels):
    """The samples [H, W] or [H, W, 3] uint8; four inks become RGB as Pillow does it."""
    try:
        import simplejpeg  # here, because listing files and reading other formats work without it
    except ImportError:
        raise Refused("simplejpeg: not installed: JPEG pictures cannot be read; install requirements.txt") from None

    colours = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(channels)
    if colours is None:
        raise Damaged(f"it has {channels} channels; grey or three colours are needed")
    try:
        found = simplejpeg.decode_jpeg(data, colours, fastdct=False, fastupsample=False, strict=True)
    except ValueError as error:
        if "subsampling" in str(error):
            raise Damaged(
                "its colour sampling is not one of 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1, so lost data would not be noticed"
            ) from None
        raise Damaged(f"it is damaged: {error}") from None
    if channels == 4:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as file:
            return np.asarray(file.convert("RGB"))
    return found[..., 0] if channels == 1 else found
