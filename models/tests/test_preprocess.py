"""Resizing against matrices made by hand, its properties, and the refusal of bad files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from certiscope_models import Refused
from certiscope_models.preprocess import decode, load_input, picture_files, resize, resize_weights

FIXTURE = Path(__file__).parent / "fixtures" / "resize.json"


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
    Image.fromarray(np.full((4, 4, 3), (255, 0, 0), np.uint8)).save(tmp_path / "red.png")
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_allclose(load_input(tmp_path / "red.png", 1, 2, 2), 0.299, atol=1e-6)
    np.testing.assert_allclose(load_input(tmp_path / "deep.png", 3, 2, 2), np.ones((3, 2, 2)))


def test_pictures_that_cannot_be_read_are_refused_by_name(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "words.jpg").write_text("not a picture")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for name in ("empty.png", "words.jpg", "cut.png", "missing.png"):
        with pytest.raises(Refused, match=name):
            decode(tmp_path / name)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(Refused, match="no PNG or JPEG"):
        picture_files(tmp_path)
