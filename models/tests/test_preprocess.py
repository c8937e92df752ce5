"""Resizing against matrices made by hand, its properties, pictures as Rust reads them, the refusal of bad files."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from certiscope_models import Refused
from certiscope_models.preprocess import decode, load_input, resize, resize_weights

FIXTURE = Path(__file__).parent / "fixtures" / "resize.json"
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "size_in, size_out, wanted",
    [
        (4, 2, [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]),
        (3, 2, [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]),
        (2, 4, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]),
        (2, 2, [[1, 0], [0, 1]]),
    ],
)
def test_weights_made_by_hand(size_in, size_out, wanted):
    np.testing.assert_allclose(resize_weights(size_in, size_out), wanted, atol=1e-7)


@pytest.mark.parametrize("size_in, size_out", [(103, 64), (403, 128), (1, 5), (7, 7), (9, 32), (632, 128)])
def test_weights_average(size_in, size_out):
    weights = resize_weights(size_in, size_out)
    assert weights.shape == (size_out, size_in)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)
    if size_out <= size_in:  # every source pixel counts the same
        np.testing.assert_allclose(weights.sum(axis=0), size_out / size_in, atol=1e-5)


def test_the_fixture_the_rust_tests_read():
    cases = json.loads(FIXTURE.read_text())
    assert len(cases) >= 7
    for case in cases:
        picture = np.array(case["picture"], np.float32).reshape(1, case["height"], case["width"])
        resized = resize(picture, case["out_height"], case["out_width"])
        np.testing.assert_allclose(resized.ravel(), case["resized"], atol=1e-6)
        rng = np.random.default_rng(0)
        moved = rng.standard_normal(picture.shape).astype(np.float32)
        gain = np.linalg.norm(resize(moved, *resized.shape[1:])) / np.linalg.norm(moved)
        assert gain <= case["norm"] * (1 + 1e-5)


def test_colour_and_depth(tmp_path):
    Image.fromarray(np.full((8, 8, 3), (255, 0, 0), np.uint8)).save(tmp_path / "red.png")
    Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_allclose(load_input(tmp_path / "red.png", 1, 2, 2), 0.299, atol=1e-6)
    np.testing.assert_allclose(load_input(tmp_path / "deep.png", 3, 2, 2), np.ones((3, 2, 2)))
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "twelve.png")
    np.testing.assert_allclose(decode(tmp_path / "twelve.png", full_scale=4095), np.ones((1, 8, 8)))


def test_pictures_that_cannot_be_read_are_refused_by_name(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "words.jpg").write_text("not a picture")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for name in ("empty.png", "words.jpg", "cut.png", "missing.png"):
        with pytest.raises(Refused, match=name):
            decode(tmp_path / name)


BMPS = json.loads((REPOSITORY / "tests" / "golden" / "bmp.json").read_text())


@pytest.mark.parametrize("case", BMPS, ids=lambda case: case["name"])
def test_a_bmp_gives_the_input_that_the_station_computes(tmp_path, case):
    """The Rust tests read the same file."""
    (tmp_path / "picture.bmp").write_bytes(base64.b64decode(case["file"]))
    for channels in (1, 3):
        found = load_input(tmp_path / "picture.bmp", channels, case["height"], case["width"])
        np.testing.assert_allclose(found.ravel(), case[f"input_{channels}"], atol=1e-6)


def test_a_bmp_that_is_cut_off_is_refused(tmp_path):
    content = base64.b64decode(BMPS[0]["file"])
    (tmp_path / "cut.bmp").write_bytes(content[: len(content) // 2])
    with pytest.raises(Refused, match="cut.bmp"):
        decode(tmp_path / "cut.bmp")


def test_the_content_decides_and_other_formats_are_refused(tmp_path):
    picture = Image.fromarray(np.zeros((16, 16), np.uint8))
    picture.save(tmp_path / "really-a-bmp.bmp")
    (tmp_path / "really-a-bmp.bmp").rename(tmp_path / "called.png")
    assert decode(tmp_path / "called.png").shape == (1, 16, 16)
    picture.save(tmp_path / "really-a-gif.gif")
    (tmp_path / "really-a-gif.gif").rename(tmp_path / "gif.png")
    with pytest.raises(Refused, match="gif.png"):
        decode(tmp_path / "gif.png")
