"""One rule for pictures in trainer and station: tests/golden/pictures.json, which the Rust tests read too."""

import base64
import io
import json
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from certiscope_models import Refused
from certiscope_models.decode import MAX_PIXELS, read_picture, samples_of
from certiscope_models.jpeg import Damaged

CASES = json.loads((Path(__file__).parents[2] / "tests" / "golden" / "pictures.json").read_text())
# simplejpeg knows the usual samplings only. The trainer refuses the others by name; the station reads them.
UNCHECKED = {"jpeg: sampling 4x2", "jpeg: chroma finer than luma", "jpeg: a sampling of each component"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_picture_gives_the_samples_or_the_refusal_of_the_station(tmp_path, case):
    file = tmp_path / "part.png"  # the content decides, never the name
    file.write_bytes(base64.b64decode(case["file"]))
    wanted = "sampling" if case["name"] in UNCHECKED else case.get("refused")
    if wanted:
        with pytest.raises(Refused, match=wanted) as refused:
            read_picture(file)
        assert "part.png" in str(refused.value) and "is needed" in str(refused.value)
        return
    shape = (case["height"], case["width"]) + ((3,) if case["channels"] == 3 else ())
    samples = np.frombuffer(base64.b64decode(case["samples"]), f"<u{case['bits'] // 8}").reshape(shape)
    found = read_picture(file)
    assert (found.dtype, found.shape) == (samples.dtype, samples.shape)
    np.testing.assert_array_equal(found, samples)


def test_the_golden_pictures_are_of_every_kind():
    kinds = {case["name"].split(":")[0] for case in CASES}
    assert kinds == {"png", "jpeg", "bmp", "tiff", "other"} and len(CASES) >= 170
    assert UNCHECKED <= {case["name"] for case in CASES}


def encoded(picture, kind, **options):
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **options)
    return out.getvalue()


def photograph(height=48, width=64):
    """Smooth, with noise, so that a JPEG has many bytes."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:height, :width]
    return np.clip(128 + 80 * np.sin(x / 7 + y / 5) + rng.normal(0, 20, (height, width)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.95])
def test_a_jpeg_scan_that_ends_early_is_damaged_although_its_end_marker_is_there(share):
    whole = encoded(photograph(), "JPEG", quality=90)
    start = whole.index(b"\xff\xda") + 10
    cut = whole[start : start + int(len(whole[start:-2]) * share)].rstrip(b"\xff")
    assert samples_of(whole).shape == (48, 64)
    with pytest.raises(Damaged, match="damaged"):
        samples_of(whole[:start] + cut + b"\xff\xd9")


def test_every_scan_of_a_progressive_jpeg_is_needed():
    for picture in (photograph(), np.dstack([photograph()] * 3)):
        whole = encoded(picture, "JPEG", progressive=True)
        scans = [at for at in range(len(whole) - 1) if whole[at : at + 2] == b"\xff\xda"]
        tables = [at for at in range(len(whole) - 1) if whole[at : at + 2] == b"\xff\xc4"]
        assert samples_of(whole).shape[:2] == (48, 64) and len(scans) > 4
        for before, after in zip(scans, scans[1:]):
            end = min([at for at in tables if before < at < after], default=after)
            with pytest.raises(Damaged, match="scans are missing"):
                samples_of(whole[:end] + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_a_picture_cut_off_anywhere_is_refused(kind):
    whole = encoded(np.dstack([photograph(24, 40)] * 3), kind)
    for length in [*range(0, 64), *range(64, len(whole) - 1, 97), len(whole) - 1]:
        if kind == "TIFF" and length > len(whole) - 8:
            continue
        with pytest.raises(Damaged):
            samples_of(whole[:length])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_changed_bytes_give_a_picture_or_a_refusal_and_nothing_else(kind):
    whole = encoded(np.dstack([photograph(24, 40)] * 3), kind)
    rng = np.random.default_rng(7)
    for _ in range(400):
        changed = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 5)):
            changed[at] ^= int(rng.integers(1, 256))
        try:
            found = samples_of(bytes(changed))
        except Damaged:
            continue
        assert found.ndim in (2, 3) and found.dtype in (np.uint8, np.uint16)


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken():
    for kind in ("PNG", "BMP"):
        content = bytearray(encoded(photograph(), kind))
        where, order = {"PNG": (16, "big"), "BMP": (18, "little")}[kind]
        content[where : where + 8] = (16_000).to_bytes(4, order) + (15_999).to_bytes(4, order)
        if kind == "PNG":
            content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow's own warning of large pictures
            with pytest.raises(Damaged, match=f"{MAX_PIXELS} pixels"):
                samples_of(bytes(content))


@pytest.mark.parametrize("size", [(7, 40), (40, 7)])
def test_a_picture_smaller_than_the_station_takes_is_refused(size):
    with pytest.raises(Damaged, match="8 to 16384 px"):
        samples_of(encoded(np.zeros(size, np.uint8), "PNG"))


def test_a_file_that_is_missing_is_refused_by_name(tmp_path):
    with pytest.raises(Refused, match="gone.png .missing.*No such file"):
        read_picture(tmp_path / "gone.png")


def test_a_bmp_of_four_bits_whose_palette_is_its_index_gives_the_index(tmp_path):
    """The station reads it so; Pillow alone fails."""
    indices = np.random.default_rng(1).integers(0, 16, (8, 16), dtype=np.uint8)
    rows = b"".join((row[::2] << 4 | row[1::2]).tobytes() for row in indices[::-1])
    palette = b"".join(bytes([n, n, n, 0]) for n in range(16))
    start = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, 16, 8, 1, 4, 0, len(rows), 2835, 2835, 16, 0)
    content = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + palette + rows
    np.testing.assert_array_equal(samples_of(content), indices)


def test_a_png_without_the_checksum_of_its_pixels_is_refused():
    """Its pixels are all there, and its chunks have the right checksums."""
    rows = zlib.compress(b"".join(b"\0" + bytes(range(8 * y, 8 * y + 8)) for y in range(8)))

    def png(pixels):
        parts = [(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b"")]
        number = struct.Struct(">I").pack
        chunks = (number(len(data)) + kind + data + number(zlib.crc32(kind + data)) for kind, data in parts)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    assert samples_of(png(rows)).shape[:2] == (8, 8)
    with pytest.raises(Damaged, match="do not end with their checksum"):
        samples_of(png(rows[:-4]))


def test_texts_in_a_png_are_not_read_however_large():
    """Pillow would refuse the picture for a text of more than a megabyte; the station does not look at it."""
    whole = encoded(photograph(), "PNG")
    text = b"Comment\0\0" + zlib.compress(bytes(5_000_000))
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    np.testing.assert_array_equal(samples_of(whole[:33] + chunk + whole[33:]), photograph())


def test_without_simplejpeg_a_jpeg_is_refused_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    (tmp_path / "part.jpg").write_bytes(encoded(photograph(), "JPEG"))
    with pytest.raises(Refused, match="simplejpeg: not installed.*requirements.txt"):
        read_picture(tmp_path / "part.jpg")
