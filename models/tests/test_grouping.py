"""Hold-back by group: near-identical pictures never land on two sides."""

import json

import numpy as np
import pytest
from PIL import Image

from certiscope_models import Refused
from certiscope_models.grouping import LIMIT, fingerprint, groups_of, split


@pytest.fixture
def line(tmp_path):
    """A folder of 8 parts, each photographed three times under other exposures."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "good"
    folder.mkdir()
    for part in range(8):
        texture = rng.random((64, 64))
        for shot, gain in enumerate((120, 160, 200)):
            pixels = texture * gain + rng.normal(0, 2, texture.shape)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{shot}_{part}.png")
    return folder


def part_of(row):
    return row["file"].split("_")[1]


@pytest.mark.parametrize("seed", range(5))
def test_no_part_is_on_both_sides(line, tmp_path, seed):
    record = split(line, tmp_path / "out", 0.3, seed)
    fit, behind = ({part_of(row) for row in record[side]} for side in ("fit", "held-back"))
    assert fit and behind and not fit & behind
    assert fit | behind == {f"{part}.png" for part in range(8)}
    assert len(record["fit"]) + len(record["held-back"]) == 24
    assert len(record["held-back"]) <= 0.3 * 24
    assert json.loads((tmp_path / "out" / "split.json").read_text()) == record
    for side in ("fit", "held-back"):
        for row in record[side]:
            assert (tmp_path / "out" / side / row["file"]).read_bytes() == (line / row["file"]).read_bytes()


def test_no_pair_above_the_limit_is_separated(line):
    prints = np.stack([fingerprint(f) for f in sorted(line.iterdir())])
    groups = groups_of(prints)
    near = np.argwhere(prints @ prints.T > LIMIT)
    assert len(near) == 8 * 9
    assert all(groups[i] == groups[j] for i, j in near)


def test_groups_are_closed_under_chains():
    """a is near b, b is near c, a is not near c: one group all the same."""
    a, c = np.array([1.0, 0.0]), np.array([np.cos(1.0), np.sin(1.0)])
    b = np.array([np.cos(0.5), np.sin(0.5)])
    assert a @ c < LIMIT < a @ b
    assert groups_of(np.stack([a, c, b])) == [0, 0, 0]


def test_pictures_without_structure_are_one_part_and_like_no_other(tmp_path):
    pictures = [np.full((48, 80), grey, np.uint8) for grey in (0, 127, 255)]
    speck = np.full((512, 512), 127, np.uint8)
    speck[200, 300] += 1
    for n, picture in enumerate([*pictures, speck]):
        Image.fromarray(picture).save(tmp_path / f"{n}.png")
    assert groups_of(np.stack([fingerprint(f) for f in sorted(tmp_path.iterdir())])) == [0, 0, 0, 1]


def test_one_group_alone_cannot_be_split(tmp_path):
    (tmp_path / "good").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for n in range(4):
        Image.fromarray(pixels).save(tmp_path / "good" / f"{n}.png")
    with pytest.raises(Refused, match="one side is empty"):
        split(tmp_path / "good", tmp_path / "out", 0.3, 1)
