"""Golden pictures: small files of every format and kind, each with the samples that it must give, or the word of its refusal.

The Rust and the Python tests both read pictures.json, so that the trainer sees what the station sees. The rule that the two hold:

* The content decides the format. PNG, JPEG, BMP and TIFF are read, everything else is refused by name.
* The picture is turned as its orientation says: EXIF in a JPEG, eXIf in a PNG, tag 274 in a TIFF. A value outside 1 to 8 counts as 1.
  Nothing else turns it, such as XMP or the thumbnail's own orientation.
* Alpha and transparency are dropped: the colour below is kept as it is stored. Alpha that the colour was multiplied with is refused.
* Grey is what the format calls grey, and a palette whose entries are all grey. Other palettes give RGB. Pixels have no say.
* 1, 2 and 4 bits become 8. 16 bits stay 16. Colour profiles and gamma are not read.
* JPEG decodes as libjpeg does by default. CMYK and YCCK become RGB as Pillow does it.
* A file that lost data is refused, also where a decoder would fill in the rest. So is an index that the palette of a PNG does not have.

Of a lossless file the pixels are known before the file is written, so the expectation does not come from a decoder. Those of a
JPEG are what Pillow's libjpeg-turbo makes of it. `refused` is a word that the message of both programs must hold.

    python tests/golden/make_pictures.py     # writes pictures.json beside this file; needs numpy, Pillow and cjpeg
"""

import base64
import io
import json
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 11, 13  # odd, so that blocks, bytes and rows are all filled up
RNG = np.random.default_rng(20261128)


def noise(channels, top=256, dtype=np.uint8):
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    return RNG.integers(0, top, shape, dtype=dtype)


GREY, RGB, GREY_ALPHA, RGBA = noise(1), noise(3), noise(2), noise(4)
GREY16, RGB16 = noise(1, 65536, np.uint16), noise(3, 65536, np.uint16)
GREY_ALPHA16, RGBA16 = noise(2, 65536, np.uint16), noise(4, 65536, np.uint16)
TWO, FOUR, SIXTEEN = noise(1, 2), noise(1, 4), noise(1, 16)
COLOURS = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
GREYS = np.repeat(RNG.permutation(256).astype(np.uint8)[:, None], 3, axis=1)  # grey, and not in order
ONE_COLOURED = np.concatenate([GREYS[:15], [[200, 100, 50]]]).astype(np.uint8)


def turned(pixels, orientation):
    """The picture as a viewer shows it, by what EXIF says of each value."""
    return {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],  # mirrored
        3: lambda p: p[::-1, ::-1],  # half a turn
        4: lambda p: p[::-1],  # upside down
        5: lambda p: p.swapaxes(0, 1),  # mirrored on the diagonal
        6: lambda p: np.rot90(p, -1),  # a quarter turn clockwise shows it upright
        7: lambda p: np.rot90(p, 2).swapaxes(0, 1),  # mirrored on the other diagonal
        8: lambda p: np.rot90(p, 1),  # a quarter turn anticlockwise
    }[orientation](pixels)


def packed(pixels, bits):
    """The rows of a picture of 1, 2, 4 or 8 bits a sample, as bytes."""
    spread = (pixels.reshape(len(pixels), -1)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row).tobytes() for row in spread.reshape(len(pixels), -1).astype(np.uint8)]


# --- EXIF --------------------------------------------------------------------------------------


def exif(orientation, order="<", field=3, thumbnail=None):
    """A block of EXIF with an orientation, in a field of type 3 (16 bits) or 4 (32 bits)."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + ("HH" if field == 3 else "I"), *((orientation, 0) if field == 3 else (orientation,)))
    maker = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"abc\0")  # comes before the orientation
    entry = struct.pack(order + "HHI", 0x0112, field, 1) + value
    first = 8
    second = first + 2 + 24 + 4
    ifd = struct.pack(order + "H", 2) + maker + entry + struct.pack(order + "I", second if thumbnail else 0)
    if thumbnail:
        other = struct.pack(order + "HHIHH", 0x0112, 3, 1, thumbnail, 0)
        ifd += struct.pack(order + "H", 1) + other + struct.pack(order + "I", 0)
    return mark + struct.pack(order + "I", first) + ifd


# --- PNG ---------------------------------------------------------------------------------------

PNG_MARK = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data, crc=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)


def png(rows, bits, colour, *before, after=(), width=WIDTH, height=HEIGHT, interlace=0, squeezed=None, crc=None):
    """A PNG; `squeezed` in place of the compressed rows, `crc` in place of their checksum."""
    if squeezed is None:
        squeezed = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace))
    return b"".join([PNG_MARK, header, *before, chunk(b"IDAT", squeezed, crc), *after, chunk(b"IEND", b"")])


def raw(pixels):
    return [row.astype(">u2").tobytes() if pixels.dtype == np.uint16 else row.tobytes() for row in pixels]


def palette(entries):
    return chunk(b"PLTE", entries.astype(np.uint8).tobytes())


def adam7(pixels, bits):
    """The rows of the seven passes of an interlaced PNG."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = []
    for y, x, down, right in passes:
        part = pixels[y::down, x::right]
        if part.shape[1]:
            rows += raw(part) if bits >= 8 else packed(part, bits)
    return rows


def pngs():
    yield "png: grey, 8 bits", png(raw(GREY), 8, 0), GREY
    yield "png: grey, 16 bits", png(raw(GREY16), 16, 0), GREY16
    yield "png: grey, 4 bits", png(packed(SIXTEEN, 4), 4, 0), SIXTEEN * 17
    yield "png: grey, 2 bits", png(packed(FOUR, 2), 2, 0), FOUR * 85
    yield "png: grey, 1 bit", png(packed(TWO, 1), 1, 0), TWO * 255
    yield "png: RGB, 8 bits", png(raw(RGB), 8, 2), RGB
    yield "png: RGB, 16 bits", png(raw(RGB16), 16, 2), RGB16
    yield "png: RGB whose pixels are all grey", png(raw(np.dstack([GREY] * 3)), 8, 2), np.dstack([GREY] * 3)
    yield "png: grey with alpha, 8 bits", png(raw(GREY_ALPHA), 8, 4), GREY_ALPHA[..., 0]
    yield "png: grey with alpha, 16 bits", png(raw(GREY_ALPHA16), 16, 4), GREY_ALPHA16[..., 0]
    yield "png: RGBA, 8 bits", png(raw(RGBA), 8, 6), RGBA[..., :3]
    yield "png: RGBA, 16 bits", png(raw(RGBA16), 16, 6), RGBA16[..., :3]
    yield "png: palette, 8 bits", png(raw(GREY), 8, 3, palette(COLOURS)), COLOURS[GREY]
    yield "png: palette, 4 bits", png(packed(SIXTEEN, 4), 4, 3, palette(COLOURS[:16])), COLOURS[SIXTEEN]
    yield "png: palette, 2 bits", png(packed(FOUR, 2), 2, 3, palette(COLOURS[:4])), COLOURS[FOUR]
    yield "png: palette, 1 bit", png(packed(TWO, 1), 1, 3, palette(COLOURS[:2])), COLOURS[TWO]
    yield "png: grey palette", png(raw(GREY), 8, 3, palette(GREYS)), GREYS[GREY][..., 0]
    yield "png: grey palette, 4 bits", png(packed(SIXTEEN, 4), 4, 3, palette(GREYS[:16])), GREYS[SIXTEEN][..., 0]
    yield "png: grey palette, 1 bit", png(packed(TWO, 1), 1, 3, palette(GREYS[:2])), GREYS[TWO][..., 0]
    yield (
        "png: palette with one colour that no pixel has",
        png(packed(SIXTEEN % 15, 4), 4, 3, palette(ONE_COLOURED)),
        ONE_COLOURED[SIXTEEN % 15],
    )
    clear = chunk(b"tRNS", bytes(range(0, 160, 10)))
    yield "png: palette with transparency", png(packed(SIXTEEN, 4), 4, 3, palette(COLOURS[:16]), clear), COLOURS[SIXTEEN]
    yield (
        "png: grey palette with transparency",
        png(packed(SIXTEEN, 4), 4, 3, palette(GREYS[:16]), clear),
        GREYS[SIXTEEN][..., 0],
    )
    yield "png: grey with a transparent level", png(raw(GREY), 8, 0, chunk(b"tRNS", struct.pack(">H", GREY[0, 0]))), GREY
    key = struct.pack(">HHH", *map(int, RGB[0, 0]))
    yield "png: RGB with a transparent colour", png(raw(RGB), 8, 2, chunk(b"tRNS", key)), RGB
    key = struct.pack(">HHH", *map(int, RGB16[0, 0]))
    yield "png: RGB, 16 bits, with a transparent colour", png(raw(RGB16), 16, 2, chunk(b"tRNS", key)), RGB16
    yield "png: RGB with a suggested palette", png(raw(RGB), 8, 2, palette(COLOURS[:9])), RGB
    yield "png: interlaced RGB", png(adam7(RGB, 8), 8, 2, interlace=1), RGB
    yield "png: interlaced grey, 1 bit", png(adam7(TWO, 1), 1, 0, interlace=1), TWO * 255
    yield "png: interlaced grey with alpha", png(adam7(GREY_ALPHA, 8), 8, 4, interlace=1), GREY_ALPHA[..., 0]
    yield "png: interlaced RGBA, 16 bits", png(adam7(RGBA16, 16), 16, 6, interlace=1), RGBA16[..., :3]
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3000)))
    yield "png: gamma is not read", png(raw(GREY), 8, 0, chunk(b"gAMA", struct.pack(">I", 100_000))), GREY
    yield "png: a colour profile is not read", png(raw(RGB), 8, 2, profile), RGB
    yield "png: significant bits are not read", png(raw(GREY16), 16, 0, chunk(b"sBIT", b"\x0c")), GREY16
    for value in (1, 3, 6, 8):
        yield (
            f"png: orientation {value}",
            png(raw(RGB), 8, 2, chunk(b"eXIf", exif(value))),
            turned(RGB, value),
        )
    yield "png: orientation 6, 16 bits", png(raw(GREY16), 16, 0, chunk(b"eXIf", exif(6, ">"))), turned(GREY16, 6)
    yield "png: orientation 5 after the pixels", png(raw(GREY), 8, 0, after=[chunk(b"eXIf", exif(5))]), turned(GREY, 5)
    yield "png: orientation 6 of a palette", png(raw(GREY), 8, 3, palette(COLOURS), chunk(b"eXIf", exif(6))), turned(
        COLOURS[GREY], 6
    )
    yield "png: orientation 9 is none", png(raw(GREY), 8, 0, chunk(b"eXIf", exif(9))), GREY
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    yield "png: orientation in XMP is not read", png(raw(GREY), 8, 0, text), GREY

    whole = png(raw(GREY), 8, 0)
    squeezed = zlib.compress(b"".join(b"\0" + row for row in raw(GREY)), 9)
    yield "png: wrong checksum of a chunk", png(raw(GREY), 8, 0, crc=1), "damaged"
    yield "png: wrong checksum of the pixels", png([], 8, 0, squeezed=squeezed[:-4] + b"\0\0\0\1"), "damaged"
    yield "png: cut off", whole[: len(whole) // 2], "cut off"
    yield "png: without its end", whole[:-12], "cut off"
    yield "png: rows missing", png(raw(GREY)[:-1], 8, 0), "damaged"
    yield "png: an index that the palette does not have", png(packed(SIXTEEN, 4), 4, 3, palette(COLOURS[:9])), "damaged"
    control = chunk(b"acTL", struct.pack(">II", 2, 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0))
    second = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0))
    data = chunk(b"fdAT", struct.pack(">I", 2) + squeezed)
    yield "png: animated", png(raw(GREY), 8, 0, control, frame, after=[second, data]), "animated"


# --- JPEG --------------------------------------------------------------------------------------

# Smooth, as photographs are, with some noise; larger than one block of 2x2 chroma.
Y, X = np.mgrid[0:26, 0:37]
PHOTO = np.clip(
    np.dstack([128 + 90 * np.sin(X / 7), 128 + 80 * np.cos(Y / 5), 128 + 80 * np.sin((X + Y) / 9)])
    + RNG.normal(0, 6, (26, 37, 3)),
    0,
    255,
).astype(np.uint8)
PHOTO_GREY = PHOTO[..., 1]


def cjpeg(*arguments, pixels=PHOTO):
    kind = b"P6" if pixels.ndim == 3 else b"P5"
    content = kind + b" %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()
    return subprocess.run(["cjpeg", "-quality", "88", *arguments], input=content, capture_output=True, check=True).stdout


def separate(*arguments):
    """Every component in a scan of its own."""
    with tempfile.NamedTemporaryFile("w") as script:
        script.write("0;\n1;\n2;\n")
        script.flush()
        return cjpeg("-scans", script.name, *arguments)


def by_pillow(content):
    """What libjpeg makes of it, as it is stored."""
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as file:
        if file.mode == "CMYK":
            file = file.convert("RGB")
        assert file.mode in ("L", "RGB"), file.mode
        return np.asarray(file)


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def with_segment(content, marker, data):
    """The segment after the JFIF header."""
    after = 4 + struct.unpack(">H", content[4:6])[0]
    return content[:after] + segment(marker, data) + content[after:]


def with_exif(content, block):
    return with_segment(content, 0xE1, b"Exif\0\0" + block)


def inks(content, transform):
    """A JPEG of four components, with Adobe's marker or, with `None`, without it."""
    assert content[2:4] == b"\xff\xee", "Pillow writes Adobe's marker first"
    if transform is None:
        return content[:2] + content[18:]
    return content[:17] + bytes([transform]) + content[18:]


def jpegs():
    grey = cjpeg("-grayscale", pixels=PHOTO_GREY)
    usual = cjpeg("-sample", "2x2")
    files = {
        "grey": grey,
        "grey with a sampling factor of 2": cjpeg("-grayscale", "-sample", "2x2", pixels=PHOTO_GREY),
        "sampling 1x1": cjpeg("-sample", "1x1"),
        "sampling 2x1": cjpeg("-sample", "2x1"),
        "sampling 1x2": cjpeg("-sample", "1x2"),
        "sampling 2x2": usual,
        "sampling 4x1": cjpeg("-sample", "4x1"),
        "sampling 4x2": cjpeg("-sample", "4x2"),
        "chroma finer than luma": cjpeg("-sample", "1x1,2x2,2x2"),
        "a sampling of each component": cjpeg("-sample", "2x2,2x1,1x2"),
        "separate scans, sampling 1x1": separate("-sample", "1x1"),
        "separate scans, sampling 2x1": separate("-sample", "2x1"),
        "separate scans, sampling 1x2": separate("-sample", "1x2"),
        "separate scans, sampling 2x2": separate("-sample", "2x2"),
        "separate scans and restarts": separate("-sample", "2x2", "-restart", "1"),
        "restarts by row": cjpeg("-restart", "1"),
        "restarts by block": cjpeg("-restart", "1B"),
        "progressive": cjpeg("-progressive"),
        "progressive with restarts": cjpeg("-progressive", "-restart", "3B"),
        "progressive grey": cjpeg("-progressive", "-grayscale", pixels=PHOTO_GREY),
        "arithmetic coding": cjpeg("-arithmetic"),
        "arithmetic coding, progressive": cjpeg("-arithmetic", "-progressive"),
        "RGB components": cjpeg("-rgb"),
        "quality 1": cjpeg("-quality", "1"),
    }
    for name, content in files.items():
        yield f"jpeg: {name}", content, by_pillow(content)

    out = io.BytesIO()
    four = Image.frombytes("CMYK", (37, 26), np.dstack([PHOTO, 255 - PHOTO_GREY // 3]).tobytes())
    four.save(out, "JPEG", quality=90)
    cmyk = out.getvalue()
    for name, content in {
        "CMYK of Adobe": inks(cmyk, 0),
        "YCCK of Adobe": inks(cmyk, 2),
        "CMYK without Adobe's marker": inks(cmyk, None),
    }.items():
        yield f"jpeg: {name}", content, by_pillow(content)

    for value in range(1, 9):
        yield f"jpeg: orientation {value}", with_exif(usual, exif(value)), turned(by_pillow(usual), value)
    yield "jpeg: orientation 6, big-endian", with_exif(grey, exif(6, ">")), turned(by_pillow(grey), 6)
    yield "jpeg: orientation 8 in 32 bits", with_exif(grey, exif(8, field=4)), turned(by_pillow(grey), 8)
    yield "jpeg: orientation 0 is none", with_exif(grey, exif(0)), by_pillow(grey)
    yield "jpeg: orientation 9 is none", with_exif(grey, exif(9)), by_pillow(grey)
    yield "jpeg: orientation of the thumbnail only", with_exif(grey, exif(1, thumbnail=6)), by_pillow(grey)
    yield "jpeg: EXIF that ends early is none", with_exif(grey, exif(6)[:20]), by_pillow(grey)
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield "jpeg: orientation in XMP is not read", with_segment(grey, 0xE1, xmp), by_pillow(grey)
    both = with_exif(with_segment(grey, 0xE1, xmp.replace(b'"6"', b'"3"')), exif(8))
    yield "jpeg: EXIF counts beside XMP", both, turned(by_pillow(grey), 8)
    yield "jpeg: bytes after the end", grey + bytes(40) + b"trailer", by_pillow(grey)
    yield "jpeg: another JPEG after the end", grey + usual, by_pillow(grey)

    begin = grey.index(b"\xff\xda") + 2 + struct.unpack(">H", grey[grey.index(b"\xff\xda") + 2 :][:2])[0]
    scan = grey[begin:-2]
    end = b"\xff\xd9"
    half = scan[: len(scan) // 2].rstrip(b"\xff")
    yield "jpeg: cut off", grey[: begin + len(scan) // 2], "cut off"
    yield "jpeg: without its end marker", grey[:-2], "cut off"
    yield "jpeg: half a scan, then the end marker", grey[:begin] + half + end, "damaged"
    yield "jpeg: bytes too many before the end marker", grey[:-2] + b"\x12\x34\x56\x78" + end, "damaged"
    restarts = cjpeg("-grayscale", "-restart", "1B", pixels=PHOTO_GREY)
    at = restarts.index(b"\xff\xd2")
    yield "jpeg: a restart marker of another number", restarts[: at + 1] + b"\xd5" + restarts[at + 2 :], "damaged"
    after = restarts.index(b"\xff\xd3")
    yield "jpeg: an interval between restarts lost", restarts[:at] + restarts[after:], "damaged"
    last = restarts.rindex(b"\xff\xd0")
    first = restarts.index(b"\xff\xd0")
    assert last > first, "restart numbers go round"
    yield "jpeg: eight intervals lost, numbers in order", restarts[:first] + restarts[last:], "damaged"
    steps = cjpeg("-progressive", "-grayscale", pixels=PHOTO_GREY)
    starts = [at for at in range(len(steps) - 1) if steps[at : at + 2] == b"\xff\xda"]
    tables = [at for at in range(len(steps) - 1) if steps[at : at + 2] == b"\xff\xc4"]
    for done in (1, len(starts) - 1):
        stop = max(at for at in tables + starts if starts[done - 1] < at <= starts[done])
        yield f"jpeg: progressive, {done} of {len(starts)} scans", steps[:stop] + end, "damaged"
    apart = separate("-sample", "1x1")
    starts = [at for at in range(len(apart) - 1) if apart[at : at + 2] == b"\xff\xda"]
    stop = max(at for at in range(starts[1], starts[2] + 1) if apart[at : at + 2] in (b"\xff\xc4", b"\xff\xda"))
    yield "jpeg: one component has no scan", apart[:stop] + end, "damaged"
    frame = grey.index(b"\xff\xc0")
    yield "jpeg: 12 bits", grey[: frame + 1] + b"\xc1" + grey[frame + 2 : frame + 4] + b"\x0c" + grey[frame + 5 :], "12 bits"
    yield "jpeg: lossless", grey[: frame + 1] + b"\xc3" + grey[frame + 2 :], "lossless"


# --- BMP ---------------------------------------------------------------------------------------


def bmp(bits, rows, entries=None, top_down=False, used=None):
    """A BMP with the rows (bytes, from the top) of a picture."""
    table = b"" if entries is None else b"".join(bytes([*entry[::-1], 0]) for entry in entries)
    filled = [row + b"\0" * (-len(row) % 4) for row in (rows if top_down else rows[::-1])]
    pixels = b"".join(filled)
    start = 14 + 40 + len(table)
    height = -HEIGHT if top_down else HEIGHT
    used = len(table) // 4 if used is None else used
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, 0, len(pixels), 2835, 2835, used, 0)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + table + pixels


def bmps():
    bgr = raw(RGB[..., ::-1])
    in_order = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    yield "bmp: 24 bits", bmp(24, bgr), RGB
    yield "bmp: 24 bits, top row first", bmp(24, bgr, top_down=True), RGB
    filled = np.dstack([RGB[..., ::-1], np.full((HEIGHT, WIDTH), 255, np.uint8)])
    yield "bmp: 32 bits", bmp(32, raw(filled)), RGB
    yield "bmp: 8 bits, palette", bmp(8, raw(GREY), COLOURS), COLOURS[GREY]
    yield "bmp: 8 bits, grey palette in order", bmp(8, raw(GREY), in_order, used=0), GREY
    yield "bmp: 8 bits, grey palette", bmp(8, raw(GREY), GREYS), GREYS[GREY][..., 0]
    yield "bmp: 8 bits, grey palette, top row first", bmp(8, raw(GREY), GREYS, top_down=True), GREYS[GREY][..., 0]
    yield "bmp: 8 bits, 9 greys", bmp(8, raw(SIXTEEN % 9), GREYS[:9]), GREYS[SIXTEEN % 9][..., 0]
    yield "bmp: 4 bits, palette", bmp(4, packed(SIXTEEN, 4), COLOURS[:16]), COLOURS[SIXTEEN]
    yield "bmp: 4 bits, grey palette", bmp(4, packed(SIXTEEN, 4), GREYS[:16]), GREYS[SIXTEEN][..., 0]
    yield (
        "bmp: palette with one colour that no pixel has",
        bmp(4, packed(SIXTEEN % 15, 4), ONE_COLOURED),
        ONE_COLOURED[SIXTEEN % 15],
    )
    black_white = np.array([[0] * 3, [255] * 3], np.uint8)
    yield "bmp: 1 bit, black and white", bmp(1, packed(TWO, 1), black_white), TWO * 255
    yield "bmp: 1 bit, white and black", bmp(1, packed(TWO, 1), black_white[::-1]), 255 - TWO * 255
    yield "bmp: 1 bit, two colours", bmp(1, packed(TWO, 1), COLOURS[:2]), COLOURS[TWO]
    whole = bmp(24, bgr)
    yield "bmp: cut off", whole[: len(whole) // 2], "cut off"


# --- TIFF --------------------------------------------------------------------------------------


def tiff(data, photometric, bits, order="<", big=False, pages=1, compression=1, planar=1, tags=(), tile=None):
    """A TIFF of strips or tiles (a list of bytes); `tags` are more of (number, type, values)."""
    per_strip = -(-HEIGHT // (len(data) // (len(bits) if planar == 2 else 1)))
    entries = [(256, 3, [WIDTH]), (257, 3, [HEIGHT]), (258, 3, bits), (259, 3, [compression]), (262, 3, [photometric])]
    entries += [(277, 3, [len(bits)]), (284, 3, [planar]), *tags]
    place, lengths = (273, 279) if tile is None else (324, 325)
    entries += [(278, 3, [per_strip])] if tile is None else [(322, 3, [tile[1]]), (323, 3, [tile[0]])]
    kinds = {2: ("s", 1), 3: ("H", 2), 4: ("I", 4)}
    wide, count = ("Q", "Q") if big else ("I", "H")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8)))
    number = len(entries) + 2
    ifd_size = struct.calcsize(order + count) + number * (20 if big else 12) + struct.calcsize(order + wide)
    rest = len(head) + ifd_size * pages
    offsets = []
    for part in data:
        offsets.append(rest)
        rest += len(part) + len(part) % 2
    body = b"".join(part + b"\0" * (len(part) % 2) for part in data)
    entries += [(place, 4, offsets), (lengths, 4, [len(part) for part in data])]
    out = b""
    for page in range(pages):
        ifd = struct.pack(order + count, number)
        for tag, kind, values in sorted(entries):
            letter, size = kinds[kind]
            packed_values = struct.pack(f"{order}{len(values)}{letter}", *values)
            room = struct.calcsize(order + wide)
            if len(packed_values) > room:
                at = len(head) + ifd_size * pages + len(body)
                body += packed_values + b"\0" * (len(packed_values) % 2)
                packed_values = struct.pack(order + wide, at)
            ifd += struct.pack(order + "HH" + wide, tag, kind, len(values)) + packed_values.ljust(room, b"\0")
        following = len(head) + ifd_size * (page + 1) if page + 1 < pages else 0
        out += ifd + struct.pack(order + wide, following)
    return head + out + body


def strip(pixels, order="<"):
    return pixels.astype(order + "u2").tobytes() if pixels.dtype == np.uint16 else pixels.tobytes()


def by_libtiff(pixels, compression):
    """Written by libtiff through Pillow."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "TIFF", compression=compression)
    return out.getvalue()


def packbits(rows):
    return b"".join(bytes([len(row) - 1]) + row for row in rows)


def differences(pixels):
    """The horizontal predictor of TIFF."""
    out = pixels.copy()
    out[:, 1:] = pixels[:, 1:] - pixels[:, :-1]
    return out


def tiles(pixels, height=16, width=16):
    filled = np.zeros((height, width, *pixels.shape[2:]), pixels.dtype)
    filled[: pixels.shape[0], : pixels.shape[1]] = pixels
    return filled


def tiffs():
    for order, name in (("<", "little-endian"), (">", "big-endian")):
        yield f"tiff: grey, 8 bits, {name}", tiff([strip(GREY)], 1, [8], order), GREY
        yield f"tiff: grey, 16 bits, {name}", tiff([strip(GREY16, order)], 1, [16], order), GREY16
        yield f"tiff: RGB, 8 bits, {name}", tiff([strip(RGB)], 2, [8] * 3, order), RGB
        yield f"tiff: RGB, 16 bits, {name}", tiff([strip(RGB16, order)], 2, [16] * 3, order), RGB16
    yield "tiff: BigTIFF", tiff([strip(GREY)], 1, [8], big=True), GREY
    yield "tiff: three strips", tiff([strip(GREY[:4]), strip(GREY[4:8]), strip(GREY[8:])], 1, [8]), GREY
    yield "tiff: white is zero, 8 bits", tiff([strip(255 - GREY)], 0, [8]), GREY
    yield "tiff: white is zero, 16 bits", tiff([strip(65535 - GREY16)], 0, [16]), GREY16
    yield "tiff: white is zero, 1 bit", tiff([b"".join(packed(1 - TWO, 1))], 0, [1]), TWO * 255
    yield "tiff: grey, 1 bit", tiff([b"".join(packed(TWO, 1))], 1, [1]), TWO * 255
    yield "tiff: grey, 4 bits", tiff([b"".join(packed(SIXTEEN, 4))], 1, [4]), SIXTEEN * 17
    table = (320, 3, (COLOURS.T.astype(int) * 257).ravel().tolist())
    yield "tiff: palette", tiff([strip(GREY)], 3, [8], tags=[table]), COLOURS[GREY]
    old = (320, 3, COLOURS.T.astype(int).ravel().tolist())
    yield "tiff: palette of 8 bits, as old writers make it", tiff([strip(GREY)], 3, [8], tags=[old]), COLOURS[GREY]
    table = (320, 3, (GREYS.T.astype(int) * 257).ravel().tolist())
    yield "tiff: grey palette", tiff([strip(GREY)], 3, [8], tags=[table]), GREYS[GREY][..., 0]
    table = (320, 3, (COLOURS[:16].T.astype(int) * 257).ravel().tolist())
    yield "tiff: palette, 4 bits", tiff([b"".join(packed(SIXTEEN, 4))], 3, [4], tags=[table]), COLOURS[SIXTEEN]
    for compression, name in (("tiff_lzw", "LZW"), ("tiff_adobe_deflate", "Deflate"), ("packbits", "PackBits")):
        yield f"tiff: grey, {name}", by_libtiff(GREY, compression), GREY
        yield f"tiff: RGB, {name}", by_libtiff(RGB, compression), RGB
    yield "tiff: grey, 16 bits, LZW", by_libtiff(GREY16, "tiff_lzw"), GREY16
    predicted = (317, 3, [2])
    yield (
        "tiff: RGB, Deflate, predictor",
        tiff([zlib.compress(strip(differences(RGB)))], 2, [8] * 3, compression=8, tags=[predicted]),
        RGB,
    )
    yield (
        "tiff: grey, 16 bits, Deflate, predictor",
        tiff([zlib.compress(strip(differences(GREY16)))], 1, [16], compression=8, tags=[predicted]),
        GREY16,
    )
    yield "tiff: grey, tiles", tiff([strip(tiles(GREY))], 1, [8], tile=(16, 16)), GREY
    yield "tiff: RGB, tiles", tiff([strip(tiles(RGB))], 2, [8] * 3, tile=(16, 16)), RGB
    yield "tiff: RGB, one plane a colour", tiff([strip(RGB[..., i]) for i in range(3)], 2, [8] * 3, planar=2), RGB
    yield "tiff: RGB with alpha", tiff([strip(RGBA)], 2, [8] * 4, tags=[(338, 3, [2])]), RGBA[..., :3]
    yield "tiff: grey with alpha", tiff([strip(GREY_ALPHA)], 1, [8] * 2, tags=[(338, 3, [2])]), GREY_ALPHA[..., 0]
    for value in (1, 2, 6, 8):
        yield f"tiff: orientation {value}", tiff([strip(RGB)], 2, [8] * 3, tags=[(274, 3, [value])]), turned(RGB, value)
    yield "tiff: orientation 5, 16 bits", tiff([strip(GREY16)], 1, [16], tags=[(274, 3, [5])]), turned(GREY16, 5)
    yield "tiff: orientation 0 is none", tiff([strip(GREY)], 1, [8], tags=[(274, 3, [0])]), GREY

    yield "tiff: two pages", tiff([strip(GREY)], 1, [8], pages=2), "pages"
    yield "tiff: alpha that is multiplied in", tiff([strip(RGBA)], 2, [8] * 4, tags=[(338, 3, [1])]), "alpha"
    real = tiff([GREY.astype("<f4").tobytes()], 1, [32], tags=[(339, 3, [3])])
    yield "tiff: float", real, "float"
    yield "tiff: signed", tiff([strip(GREY16)], 1, [16], tags=[(339, 3, [2])]), "signed"
    yield "tiff: 32 bits", tiff([GREY.astype("<u4").tobytes()], 1, [32]), "32 bits"
    yield "tiff: 12 bits", tiff([bytes(HEIGHT * 20)], 1, [12]), "12 bits"
    yield "tiff: CMYK", tiff([strip(RGBA)], 5, [8] * 4), "CMYK"
    yield "tiff: YCbCr", tiff([strip(RGB)], 6, [8] * 3), "YCbCr"
    yield "tiff: Lab", tiff([strip(RGB)], 8, [8] * 3), "Lab"
    yield "tiff: JPEG inside", by_libtiff(RGB, "jpeg"), "JPEG"
    yield "tiff: fax inside", by_libtiff(TWO.astype(bool), "group4"), "compression"
    whole = tiff([strip(GREY)], 1, [8])
    yield "tiff: cut off", whole[:-20], "cut off"
    yield "tiff: short strip", tiff([strip(GREY)[:-20]], 1, [8]), "damaged"
    early = tiff([strip(GREY[:4])[:-9], strip(GREY[4:8]), strip(GREY[8:])], 1, [8])
    yield "tiff: short strip before another", early, "damaged"
    yield "tiff: short strip, Deflate", tiff([zlib.compress(strip(GREY)[:-20])], 1, [8], compression=8), "damaged"
    wrong = zlib.compress(strip(GREY))
    early = packbits([strip(row) for row in GREY])[:-20]
    yield "tiff: short strip, PackBits", tiff([early], 1, [8], compression=32773), "damaged"
    yield "tiff: wrong checksum, Deflate", tiff([wrong[:-4] + b"\0\0\0\1"], 1, [8], compression=8), "damaged"


# --- What is none of these ---------------------------------------------------------------------


def others():
    for kind in ("WebP", "GIF", "JPEG2000", "PPM"):
        out = io.BytesIO()
        Image.fromarray(RGB).save(out, kind)
        yield f"other: {kind}", out.getvalue(), {"JPEG2000": "JPEG 2000", "PPM": "PNM"}.get(kind, kind)
    yield "other: text", b"Bolts, washers, a list of things to buy.", "no known picture format"
    yield "other: nothing", b"", "empty"


def case(name, content, expected):
    out = {"name": name, "file": base64.b64encode(content).decode()}
    if isinstance(expected, str):
        return out | {"refused": expected}
    height, width = expected.shape[:2]
    channels = expected.shape[2] if expected.ndim == 3 else 1
    assert channels in (1, 3) and expected.dtype in (np.uint8, np.uint16), name
    samples = np.ascontiguousarray(expected).astype(expected.dtype.newbyteorder("<")).tobytes()
    size = {"width": width, "height": height, "channels": channels, "bits": 8 * expected.dtype.itemsize}
    return out | size | {"samples": base64.b64encode(samples).decode()}


def main():
    lines = [json.dumps(case(*made)) for kind in (pngs, jpegs, bmps, tiffs, others) for made in kind()]
    out = Path(__file__).with_name("pictures.json")
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(out, len(lines), "pictures")


if __name__ == "__main__":
    main()
