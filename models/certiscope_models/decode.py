"""From a picture file to its samples, by the one rule that the station's decoder (`capture::decode` in Rust) has too.

The rule: the content decides the format, never the name: PNG, JPEG, BMP or TIFF. An orientation (EXIF in JPEG, eXIf in
PNG, tag 274 in TIFF) turns the picture; one outside 1 to 8 counts as 1. Alpha is dropped. A palette whose entries are
all grey gives a grey picture, any other one RGB; otherwise the format says what is grey, never the pixels. 1, 2 and 4
bits become 8; 16 bits stay 16. Colour profiles and gamma are not read.
Guarantees: tests/golden/pictures.json, which the Rust tests read too, holds both to this. A file that lost data is
refused: what libjpeg warns of, scans that are missing (`jpeg`), a checksum that is wrong in a PNG, short strips in a
TIFF. The size in the header is checked before memory of that size is taken.
Leaves out: TIFF of several pages, of 32 bits or floating point, and compressions other than LZW, Deflate and PackBits.
Refused here although the station reads them: JPEGs of unusual colour sampling, and TIFFs of 16 bits with alpha beside
grey or with one plane for each colour.
Costs: a JPEG takes one pass for its scans and one for its samples; a PNG is inflated twice, a 16-bit RGB file decoded
twice.
"""

import io
import struct
import sys
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from . import Refused, jpeg
from .jpeg import Damaged
from .picture_files import NEEDED

SIDES = range(8, 16_384 + 1)  # px
MAX_PIXELS = 40_000_000  # as `DecodeLimits::default` in Rust: 8K has 33 million
MAX_BYTES = 2**30
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow warns above it; here it is refused before anything is decoded

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIGNATURES = {PNG_SIGNATURE: "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
SIGNATURES |= {b"II+\0": "TIFF", b"MM\0+": "TIFF"}  # BigTIFF
# what is refused by its own name: bytes at a place in the file
OTHERS = {
    (8, b"WEBP"): "WebP",
    (0, b"GIF8"): "GIF",
    (4, b"ftypavif"): "AVIF",
    (4, b"ftyphei"): "HEIC",
    (4, b"ftypmif1"): "HEIF",
    (0, b"\0\0\0\x0cjP  "): "JPEG 2000",
    (0, b"\xff\x0a"): "JPEG XL",
    (0, b"\0\0\0\x0cJXL "): "JPEG XL",
    (0, b"%PDF"): "PDF",
    (0, b"8BPS"): "Photoshop",
    (0, b"v/1\x01"): "OpenEXR",
    **{(0, b"P%d" % n): "PNM" for n in range(1, 8)},
}
TURN, MIRROR = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}, {2, 4, 5, 7}  # quarter turns to the left, then left to right
LOW_BYTES = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
SPARE_BYTES = 1 << 20  # more than that behind the last row is no picture
READ_COMPRESSIONS = {1, 5, 8, 32946, 32773}  # none, LZW, Deflate under two numbers, PackBits


def read_picture(path):
    """The samples of the picture at `path`, turned as it asks for: [H, W] or [H, W, 3], uint8 or uint16."""
    path = Path(path)
    try:
        data = read_file(path)
        found = samples_of(data)
    except Damaged as damage:
        size = f"{path.stat().st_size} bytes" if path.exists() else "missing"
        raise Refused(f"picture: {path} ({size}): cannot be read: {damage}; a {NEEDED} picture is needed") from None
    return np.ascontiguousarray(found)


def read_file(path):
    """The content of the file; a file that is empty or huge is damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Damaged(error.strerror or str(error)) from None
    if not data:
        raise Damaged("it is empty")
    if len(data) > MAX_BYTES:
        raise Damaged("it is larger than 1 GiB")
    return data


def samples_of(data):
    """The samples of the picture file with the content `data`."""
    kind = next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)
    if kind is None:
        named = (name for (at, known), name in OTHERS.items() if data[at : at + len(known)] == known)
        raise Damaged(f"it is {next(named, 'of no known picture format')}")
    if kind == "JPEG":
        (height, width, channels), exif = jpeg.survey(data)
        require_size(width, height)
        return turned(jpeg.samples(data, channels), orientation(exif))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that is not used; lost data is looked for here
            return {"PNG": png, "BMP": bmp, "TIFF": tiff}[kind](data)
    except Image.DecompressionBombError:
        raise Damaged(f"it has more than {MAX_PIXELS} pixels") from None
    except Damaged:
        raise
    except UnidentifiedImageError:
        raise Damaged(f"it is a {kind} of a kind that is not read") from None
    except Exception as error:  # of a file that is wrong Pillow raises whatever its parser ran into
        words = str(error) or type(error).__name__
        raise Damaged(f"{'it was cut off' if 'truncated' in words else 'it is damaged'}: {words}") from None


def require_size(width, height):
    if width not in SIDES or height not in SIDES or width * height > MAX_PIXELS:
        allowed = f"{SIDES.start} to {SIDES.stop - 1} px a side and up to {MAX_PIXELS} pixels are allowed"
        raise Damaged(f"its size is {width}x{height}: {allowed}")


def opened(data, kind):
    """Pillow's reader of the file, its header read and its size allowed."""
    file = Image.open(io.BytesIO(data), formats=(kind,))
    require_size(*file.size)
    return file


def eight_bits(file, palette=None):
    """The samples of a picture that Pillow reads without loss; with `palette` [N, 3] in place of Pillow's."""
    file.load()
    if file.mode == "P":
        if palette is None:
            palette = np.array(file.getpalette("RGB"), np.uint8).reshape(-1, 3)
        indices = np.asarray(file)
        if indices.max() >= len(palette):
            raise Damaged(f"it is damaged: its palette has {len(palette)} entries, and a pixel has {indices.max()}")
        grey = (palette == palette[:, :1]).all()
        return (palette[:, 0] if grey else palette)[indices]
    if file.mode == "1":
        return np.asarray(file.convert("L"))
    found = np.asarray(file)
    if found.dtype != np.uint8 or file.mode not in ("L", "LA", "RGB", "RGBA", "RGBX"):
        raise Damaged(f"its pixels are {file.mode}; grey or RGB of 8 or 16 bits is needed")
    return found if found.ndim == 2 else found[..., 0] if found.shape[2] == 2 else found[..., :3]


def sixteen_bits(file, again):
    """The samples [H, W, 3] of `file` with 16 bits a colour, of which Pillow keeps only the upper byte.

    The file opened `again` gives the lower ones: it is read as if the two bytes were exchanged.
    """
    again.tile = [with_mode(tile, lambda mode: mode[:-1] + LOW_BYTES[mode[-1]]) for tile in again.tile]
    upper, lower = (np.asarray(one)[..., :3].astype(np.uint16) for one in (file, again))
    return upper << 8 | lower


def with_mode(tile, change):
    """Pillow's description of one tile with the name of its raw mode changed."""
    args = tile.args
    return tile._replace(args=change(args) if isinstance(args, str) else (change(args[0]), *args[1:]))


def png(data):
    bits, colours, exif, data = survey_of_png(data)
    file = opened(data, "PNG")
    if bits == 16 and colours in (2, 6):
        found = sixteen_bits(file, opened(data, "PNG"))
    elif bits == 16 and colours == 4:  # grey and alpha: four bytes a pixel, read as if they were RGBA
        file.tile = [with_mode(tile, lambda mode: "RGBA") for tile in file.tile]
        file.load()
        found = np.asarray(file).astype(np.uint16)
        found = found[..., 0] << 8 | found[..., 1]
    elif bits == 16:
        file.load()
        found = np.asarray(file).astype(np.uint16)
    else:
        found = eight_bits(file)
        if colours == 4 and found.ndim == 3:
            found = found[..., 0]
    return turned(found, orientation(exif))


def survey_of_png(data):
    """(bits, colour type, content of its eXIf chunk, the file without what is not read) of a PNG that is whole.

    Whole means that its checksums are right and that no row lacks. Texts, profiles and transparency are not read: they
    may be large once they are inflated.
    """
    at, header, exif, wanted, inflated = len(PNG_SIGNATURE), None, None, 0, 0
    kept = [PNG_SIGNATURE]
    inflate = zlib.decompressobj()
    while True:
        if at + 12 > len(data):
            raise Damaged("it was cut off: its end is missing")
        length, name = struct.unpack(">I4s", data[at : at + 8])
        if at + 12 + length > len(data):
            raise Damaged("it was cut off: its end is missing")
        content = data[at + 8 : at + 8 + length]
        if zlib.crc32(name + content) != struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0]:
            raise Damaged(f"it is damaged: the checksum of its {name.decode('latin-1')} chunk is wrong")
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            kept.append(data[at : at + 12 + length])
        at += 12 + length
        if header is None and name != b"IHDR":
            raise Damaged("it is damaged: its header is missing")
        if name == b"IHDR":
            header = struct.unpack(">IIBBBBB", content)
            require_size(*header[:2])
            wanted = bytes_in_png(*header[:4], header[6])
        elif name == b"acTL":
            raise Damaged("it is animated; one picture is needed")
        elif name == b"eXIf" and exif is None:
            exif = content
        elif name == b"IDAT" and not inflate.eof:
            inflated += count_inflated(inflate, content, wanted + SPARE_BYTES - inflated)
        elif name == b"IEND":
            break
    require_inflated(inflate, inflated, wanted)
    return header[2], header[3], exif, b"".join(kept)


def bytes_in_png(width, height, bits, colours, interlaced):
    """How many bytes the rows of a PNG have before they are compressed, with their filter bytes."""
    pixel = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    places = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    total = 0
    for x, y, right, down in places if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - x) // right), -(-(height - y) // down)
        total += rows * (1 + (columns * pixel + 7) // 8) if columns > 0 else 0
    return total


def bmp(data):
    file = opened(data, "BMP")
    if file.mode == "L" and data[28] == 4 and file.tile[0].codec_name == "raw":
        # The palette is 0, 1 ... 15. Pillow then forgets that two pixels share a byte.
        file.tile = [with_mode(tile, lambda mode: "L;4") for tile in file.tile]
        return eight_bits(file) // 17
    return eight_bits(file)


def tiff(data):
    tags = tags_of_tiff(data)
    bits, channels = require_readable(tags)
    require_strips(tags, data)
    inverted = bits == 16 and tags[262].values == (0,)  # nought is white
    if inverted:  # Pillow does not know it in every byte order: it reads it as if nought were black
        at = tags[262].at
        data = data[:at] + (1).to_bytes(2, tags[262].order) + data[at + 2 :]
    file, again = opened(data, "TIFF"), opened(data, "TIFF")
    if file.n_frames != 1:
        raise Damaged(f"it has {file.n_frames} pages; exactly one is needed")
    if tags.get(274, NO_TAG).values not in [(n,) for n in range(1, 9)]:
        for one in (file, again):  # Pillow turns a TIFF unasked, also for an orientation in XMP
            one.getexif()[274] = 1
    if bits == 16 and channels > 1:
        found = sixteen_bits(file, again)
    elif bits == 16:
        file.load()
        found = np.asarray(file).astype(np.uint16)
    else:
        found = eight_bits(file, palette_of(tags))
    return 65535 - found if inverted else found


def palette_of(tags):
    """The palette [N, 3] uint8 of a TIFF, or None. Its entries have 16 bits, but old writers gave them 8."""
    if tags.get(262, NO_TAG).values != (3,):
        return None
    entries = np.array(tags.get(320, NO_TAG).values, np.uint16).reshape(3, -1).T
    return (entries if entries.max() < 256 else entries >> 8).astype(np.uint8)


@dataclass(frozen=True)
class Tag:
    """The whole numbers of one TIFF tag, and where their bytes begin in the file."""

    values: tuple
    at: int = 0
    order: str = "little"


NO_TAG = Tag(())


def tags_of_tiff(data):
    """{number: Tag} of the first page; tags that hold no whole numbers are left out."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    place, count, entry, room = ("Q", "Q", "HHQ", 8) if big else ("I", "H", "HHI", 4)
    (start,) = struct.unpack_from(order + place, data, 8 if big else 4)
    (number,) = struct.unpack_from(order + count, data, start)
    first, size = start + struct.calcsize(order + count), struct.calcsize(order + entry) + room
    found = {}
    for at in range(first, first + min(number, 4096) * size, size):
        tag, kind, many = struct.unpack_from(order + entry, data, at)
        letter = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if letter is None or many > len(data):
            continue
        where = at + size - room
        if struct.calcsize(letter) * many > room:
            (where,) = struct.unpack_from(order + place, data, where)
        values = struct.unpack_from(f"{order}{many}{letter}", data, where)
        found[tag] = Tag(values, where, "little" if order == "<" else "big")
    return found


def require_readable(tags):
    """(bits, channels) of a TIFF; refuses by name what the station does not read either."""
    (compression,) = tags.get(259, Tag((1,))).values[:1]
    (photometric,) = tags.get(262, Tag((1,))).values[:1]
    bits, alpha = tags.get(258, Tag((1,))).values, tags.get(338, NO_TAG).values
    kind = set(tags.get(339, Tag((1,))).values)
    planar = tags.get(284, Tag((1,))).values == (2,)
    channels = {0: 1, 1: 1, 2: 3, 3: 1}.get(photometric)
    if compression not in READ_COMPRESSIONS:
        named = {6: "JPEG", 7: "JPEG", 34933: "PNG", 50000: "ZSTD", 50001: "WebP"}.get(compression, "number")
        raise Damaged(f"its compression is {named} ({compression}); none, LZW, Deflate or PackBits is needed")
    if channels is None:
        named = {4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab"}.get(photometric, photometric)
        raise Damaged(f"its colours are {named}; grey, RGB or a palette is needed")
    if kind != {1}:
        named = {2: "signed numbers", 3: "floating point"}.get(min(kind - {1}), "of no known kind")
        raise Damaged(f"its samples are {named}; whole numbers from 0 are needed")
    if len(set(bits)) != 1 or bits[0] not in ((1, 2, 4, 8) if photometric == 3 else (1, 2, 4, 8, 16)):
        raise Damaged(f"it has {' and '.join(map(str, sorted(set(bits))))} bits a sample; 8 or 16 are needed")
    if 1 in alpha:
        raise Damaged("its colours are multiplied by their alpha; plain colours are needed")
    if planar and bits[0] == 16 and channels == 3:
        raise Damaged("its colours are stored one after the other in 16 bits; they are needed pixel by pixel")
    return bits[0], channels


def require_strips(tags, data):
    """Refuse strips (or tiles) that lie beyond the end of the file or hold less than they should.

    Pillow reads on behind a short strip, into whatever comes next.
    """
    tiled = 324 in tags
    places, counts = (tags.get(number, NO_TAG).values for number in ((324, 325) if tiled else (273, 279)))
    if not places or len(places) != len(counts):
        raise Damaged("it is damaged: its list of strips is not whole")
    if any(place + count > len(data) for place, count in zip(places, counts)):
        raise Damaged("it was cut off: strips lie beyond its end")
    (width,), (height,), bits = tags[256].values, tags[257].values, tags.get(258, Tag((1,))).values
    require_size(width, height)
    planes = len(bits) if tags.get(284, Tag((1,))).values == (2,) else 1
    if tiled:
        (wide,), (high,) = tags[322].values, tags[323].values
        rows = [high] * (-(-height // high) * -(-width // wide))
    else:
        (high,) = tags.get(278, Tag((height,))).values
        wide, high = width, min(high, height)
        rows = [min(high, height - top) for top in range(0, height, high)]
    rows *= planes
    if len(rows) != len(places):
        raise Damaged("it is damaged: its list of strips is not whole")
    row = (wide * sum(bits) // planes + 7) // 8
    (compression,) = tags.get(259, Tag((1,))).values[:1]
    for place, count, high in zip(places, counts, rows):
        if compression == 1 and count < row * high:
            raise Damaged("it is damaged: a strip is too short for its rows")
        if compression in (8, 32946):
            require_deflated(data[place : place + count], row * high)


def require_deflated(strip, wanted):
    """Refuse a strip whose checksum is wrong, or that holds fewer than `wanted` bytes."""
    inflate = zlib.decompressobj()
    require_inflated(inflate, count_inflated(inflate, strip, wanted + SPARE_BYTES), wanted)


def count_inflated(inflate, content, room):
    """How many bytes `content` gives, counted until there are more than `room`; none of them is kept."""
    counted = 0
    try:
        while content and not inflate.eof and counted <= room:
            counted += len(inflate.decompress(content, 1 << 20))
            content = inflate.unconsumed_tail
    except zlib.error as error:
        raise Damaged(f"it is damaged: {error}") from None
    return counted


def require_inflated(inflate, inflated, wanted):
    """Refuse compressed pixels that ended before their last byte, or before the checksum behind it."""
    if inflated < wanted:
        raise Damaged(f"it is damaged: compressed pixels give {inflated} bytes, and {wanted} are needed")
    if not inflate.eof:
        raise Damaged("it is damaged: compressed pixels do not end with their checksum")


def orientation(exif):
    """The orientation in the content of an EXIF segment; 1 where it says nothing that can be read."""
    try:
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for n in range(count):
            tag, kind, number = struct.unpack_from(order + "HHI", exif, start + 2 + 12 * n)
            if tag == 274 and kind in (3, 4) and number == 1:
                return struct.unpack_from(order + {3: "H", 4: "I"}[kind], exif, start + 2 + 12 * n + 8)[0]
    except (KeyError, TypeError, struct.error):
        pass
    return 1


def turned(picture, turn):
    """The picture as a person is meant to see it, by its orientation `turn`."""
    picture = np.rot90(picture, TURN.get(turn, 0))
    return picture[:, ::-1] if turn in MIRROR else picture
