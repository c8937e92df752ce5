"""The example's second product: disjoint sides, exact masks, every class, the same bytes."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage", reason="scikit-image is not installed: the example's textures are not tested")

from examples import textures
from examples.textures import CATEGORIES, KINDS, SIDE, load, render, side_of, window, write


@pytest.mark.parametrize("split, elsewhere", [("train", slice(272, None)), ("test", slice(None, 272 + 16))])
def test_pictures_come_from_their_own_side_of_the_original_only(split, elsewhere):
    """Whatever the other side and the guard band hold, the pictures stay the same."""
    original = load("gravel")
    other = original.copy()
    other[:, elsewhere] = 1 - other[:, elsewhere]
    for number in range(50):
        assert (render(original, 3, split, "good", number)[0] == render(other, 3, split, "good", number)[0]).all()


def test_the_guard_band_belongs_to_neither_side():
    columns = np.tile(np.arange(512), (512, 1))
    train, test = (np.unique(side_of(columns, split)) for split in ("train", "test"))
    assert (train == np.arange(272)).all()
    assert (test == np.arange(272 + 16, 512)).all()


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_changes_its_picture_inside_the_mask_and_nowhere_else(category, kind):
    original = load(category)
    for number in range(20):
        picture, twin, mask = render(original, 1, "test", kind, number)
        assert set(np.unique(mask)) == {0, 255}
        assert (picture == twin)[mask == 0].all()
        change = picture / 255.0 - twin / 255.0
        assert np.linalg.norm(change) > 0.95 * textures.FAINTEST
        # The mask is no larger than what it covers: most of it changed.
        assert (picture != twin)[mask == 255].mean() > 0.6


def test_windows_do_not_reach_beyond_the_side_they_are_cut_from():
    """A window of a ramp is a ramp again, rotated and flipped. Mirrored at a border, it would have a fold."""
    ramp = np.tile(np.linspace(0.2, 0.8, 224), (512, 1))
    for number in range(50):
        shown = window(ramp, np.random.default_rng(number))
        slopes = np.diff(shown, axis=1)
        assert (slopes > 0).mean() in (0, 1)


def test_a_category_has_every_class_and_the_same_bytes_again(tmp_path):
    original = load("brick")
    for run in ("first", "second"):
        write(tmp_path / run, original, seed=7, train=2, test_good=3, per_kind=1)
    files = sorted(f.relative_to(tmp_path / "first") for f in (tmp_path / "first").rglob("*.png"))
    masks = {f"ground_truth/{kind}/0000_mask.png" for kind in KINDS}
    good = {"train/good/0000.png", "train/good/0001.png", *(f"test/good/000{number}.png" for number in range(3))}
    assert {f.as_posix() for f in files} == masks | good | {f"test/{kind}/0000.png" for kind in KINDS}
    pictures = set()
    for file in files:
        written = (tmp_path / "first" / file).read_bytes()
        assert written == (tmp_path / "second" / file).read_bytes()
        with Image.open(tmp_path / "first" / file) as image:
            assert (image.size, image.mode) == ((SIDE, SIDE), "L")
        pictures.add(written)
    assert len(pictures) == len(files)
    assert (render(original, 7, "test", "wet", 0)[0] != render(original, 8, "test", "wet", 0)[0]).any()
