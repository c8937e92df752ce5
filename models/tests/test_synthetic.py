"""Synthetic defects and line augmentation: masks, range, shape and randomness."""

import pytest
import torch

from certiscope_models import synthetic
from certiscope_models.augment import Line, as_seen
from certiscope_models.synthetic import CATALOGUE, VISIBLE, region, with_defects

PICTURES = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 0.4 + 0.3


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_the_mask_tells_where_a_picture_changed():
    changed, mask = with_defects(PICTURES, PICTURES.roll(1, 0), generator())
    assert changed.shape == PICTURES.shape and mask.shape == (64, 1, 32, 32)
    assert 0.0 <= changed.min() and changed.max() <= 1.0 and set(mask.unique().tolist()) == {0.0, 1.0}
    difference = (changed - PICTURES).abs().mean(dim=1, keepdim=True)
    # What is outside the mask is the picture that was given, but for soft edges; what is in the mask changed nearby.
    near = torch.nn.functional.max_pool2d(mask, 7, 1, 3)
    assert (difference[mask == 0.0] == 0.0).float().mean() > 0.97
    assert (difference[near == 0.0] == 0.0).float().mean() > 0.99
    assert difference[near == 0.0].max() < 0.15
    changed_near = torch.nn.functional.avg_pool2d(difference, 3, 1, 1)
    assert (changed_near[mask == 1.0] > VISIBLE).all()
    assert (mask.flatten(1).sum(dim=1) > 0).float().mean() > 0.8


def test_every_shape_and_appearance_occurs_and_none_covers_everything():
    appearances = {appear for _, row in CATALOGUE for appear in row}
    assert len({shape for shape, _ in CATALOGUE}) == 6 and len(appearances) == 8
    _, mask = with_defects(PICTURES.repeat(4, 1, 1, 1), PICTURES.repeat(4, 1, 1, 1).roll(1, 0), generator(2))
    assert mask.mean(dim=(1, 2, 3)).quantile(0.98) < 0.95
    assert mask.mean() < 0.35


def test_islands_stay_islands():
    coverage = region(512, PICTURES, generator(3))
    assert 0.0 <= coverage.min() and coverage.max() <= 1.0
    assert coverage.mean(dim=(1, 2, 3)).max() < 0.5


def test_the_same_seed_gives_the_same_defects_and_another_one_others():
    one, again, other = (with_defects(PICTURES, PICTURES, generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_line_that_holds_everything_fixed_changes_nothing():
    assert torch.equal(as_seen(PICTURES, Line(), generator()), PICTURES)


def test_whole_pixels_are_moved_without_blur():
    seen = as_seen(PICTURES, Line(shift=3), generator())
    moves = {(dy, dx) for dy in range(-3, 4) for dx in range(-3, 4)}
    inside = slice(4, 28)
    for before, after in zip(PICTURES[:8], seen[:8]):
        found = [
            move
            for move in moves
            if torch.allclose(before.roll(move, dims=(1, 2))[:, inside, inside], after[:, inside, inside], atol=1e-5)
        ]
        assert len(found) == 1


@pytest.mark.parametrize(
    "line", [Line(flips=True), Line(crop=0.3), Line(shift=2, turn=5.0, zoom=0.1), Line(exposure=0.3, light=0.3)]
)
def test_pictures_stay_pictures(line):
    seen = as_seen(PICTURES, line, generator())
    assert seen.shape == PICTURES.shape and 0.0 <= seen.min() and seen.max() <= 1.0
    assert not torch.equal(seen, PICTURES)


def test_small_batches_reach_the_whole_catalogue(monkeypatch):
    drawn = set()

    def watched(row, shape):
        return lambda count, x, rng: (drawn.add(row) if count else None) or shape(count, x, rng)

    rows = [(watched(row, shape), appearances) for row, (shape, appearances) in enumerate(synthetic.CATALOGUE)]
    monkeypatch.setattr(synthetic, "CATALOGUE", rows)
    rng = generator()
    for _ in range(40):
        with_defects(PICTURES[:2], PICTURES[2:4], rng)
    assert drawn == set(range(len(rows)))


WIDE = torch.rand(64, 1, 16, 64, generator=torch.Generator().manual_seed(6)) * 0.4 + 0.3


def test_defects_are_put_everywhere_in_a_wide_picture_and_in_a_high_one():
    for x in (WIDE.repeat(8, 1, 1, 1), WIDE.mT.repeat(8, 1, 1, 1)):
        changed, mask = with_defects(x, x.roll(1, 0), generator(4))
        assert changed.shape == x.shape and mask.shape == x.shape
        assert (mask.flatten(1).sum(dim=1) > 0).float().mean() > 0.7
        across, down = (mask.mean(dim=(0, 1, axis)) for axis in (2, 3))
        for share in (across, down):  # no end of a side is left out, and none has all of them
            thirds = [part.mean() for part in share.split(len(share) // 3 + 1)]
            assert min(thirds) > 0.4 * max(thirds)


def test_spots_are_round_in_a_wide_picture(monkeypatch):
    """A length is the same number of px in both directions."""
    monkeypatch.setattr(synthetic, "rough_edge", lambda count, x, rng: torch.zeros(count, 1, *x.shape[2:]))
    x = torch.zeros(1, 1, 64, 256)
    covered = synthetic.blobs(400, x, generator(5)) > 0.5
    inner = covered[:, 0, 8:-8, 8:-8].any(dim=(1, 2)) & ~covered[:, 0, [0, -1]].any(dim=(1, 2))
    heights, widths = (covered[inner, 0].any(dim=axis).sum(dim=1).float().mean() for axis in (2, 1))
    assert 0.8 < widths / heights < 1.6  # several spots of one picture lie apart in both directions alike


def test_a_rotation_keeps_right_angles_in_a_wide_picture():
    x = torch.zeros(1, 1, 32, 96)
    x[..., 14:18, 24:72] = 1.0  # a bar of 48 x 4 px
    for seed in range(40):
        seen = as_seen(x, Line(turn=60.0), generator(seed))
        if torch.equal(seen, x):
            continue
        weight = seen[0, 0] / seen.sum()
        down, across = torch.meshgrid(torch.arange(32.0), torch.arange(96.0), indexing="ij")
        down, across = down - (weight * down).sum(), across - (weight * across).sum()
        moments = [(weight * a * b).sum() for a, b in ((across, across), (across, down), (down, down))]
        if seen[..., 0, :].any() or seen[..., -1, :].any():
            continue
        spread = torch.linalg.eigvalsh(torch.tensor([moments[:2], moments[1:]]))
        assert spread.max().sqrt() == pytest.approx(48 / 12**0.5, rel=0.03)
        assert spread.min().sqrt() == pytest.approx(4 / 12**0.5, rel=0.3)
