"""Golden values of BMP reading: files written byte by byte here, and the model input that each must give.

The Rust and the Python tests both read bmp.json, so that a folder of BMP pictures trains on what the station sees. The
pixels are known before any BMP is written, so the expected input comes from them and not from a decoder.

    PYTHONPATH=models python tests/golden/make_bmp.py     # writes bmp.json beside this file
"""

import base64
import json
import struct
from pathlib import Path

import numpy as np

from certiscope_models.preprocess import resize, to_channels

WIDTH, HEIGHT = 13, 11  # an odd width: rows of a BMP are filled up to four bytes
BI_RGB = 0


def file(bits, rows, palette=b"", top_down=False):
    """A BMP with the rows (bytes, from the top) of a picture."""
    filled = [row + b"\0" * (-len(row) % 4) for row in (rows if top_down else rows[::-1])]
    pixels = b"".join(filled)
    start = 14 + 40 + len(palette)
    height = -HEIGHT if top_down else HEIGHT
    colours = len(palette) // 4
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, BI_RGB, len(pixels), 2835, 2835, colours, 0)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + palette + pixels


def cases():
    rng = np.random.default_rng(20261128)
    colour = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    grey = rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    few = rng.integers(0, 256, (16, 3), dtype=np.uint8)
    of_few = rng.integers(0, 16, (HEIGHT, WIDTH))
    two = rng.integers(0, 2, (HEIGHT, WIDTH))
    bgr = [row[:, ::-1].tobytes() for row in colour]
    bgrx = [np.dstack([row[None, :, ::-1], np.full((1, WIDTH, 1), 255, np.uint8)]).tobytes() for row in colour]
    greys = b"".join(bytes([level] * 3 + [0]) for level in range(256))
    colours = b"".join(bytes([*entry[::-1], 0]) for entry in few)
    nibbles = [bytes(int(a) << 4 | int(b) for a, b in zip(row[::2], [*row[1::2], 0])) for row in of_few]
    black_white = bytes([0, 0, 0, 0, 255, 255, 255, 0])

    yield "24 bits", colour, file(24, bgr)
    yield "24 bits, top row first", colour, file(24, bgr, top_down=True)
    yield "32 bits", colour, file(32, bgrx)
    yield "8 bits, grey palette", np.dstack([grey] * 3), file(8, [row.tobytes() for row in grey], greys)
    yield "8 bits, colour palette", few[of_few], file(8, [row.astype(np.uint8).tobytes() for row in of_few], colours)
    yield "4 bits, colour palette", few[of_few], file(4, nibbles, colours)
    yield (
        "1 bit",
        np.dstack([two * 255] * 3).astype(np.uint8),
        file(1, [np.packbits(row).tobytes() for row in two], black_white),
    )


def expected(pixels, channels):
    picture = np.ascontiguousarray(pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    return resize(to_channels(picture, channels), 8, 8)


def main():
    lines = []
    for name, pixels, content in cases():
        case = {"name": name, "file": base64.b64encode(content).decode(), "height": 8, "width": 8}
        for channels in (1, 3):
            case[f"input_{channels}"] = [round(float(v), 7) for v in expected(pixels, channels).ravel()]
        lines.append(json.dumps(case))
    out = Path(__file__).with_name("bmp.json")
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(out, len(lines), "pictures")


if __name__ == "__main__":
    main()
