"""Real defects pasted into good parts: where they come to lie, and that nothing else changes."""

import torch

from certiscope_models.learn.pasted import Pasted


def defects():
    """Two good surfaces of 0.4 with a bright bar and a dark spot, and their masks."""
    pictures, masks = torch.full((2, 1, 48, 64), 0.4), torch.zeros(2, 1, 48, 64)
    pictures[0, 0, 10:14, 20:50], masks[0, 0, 10:14, 20:50] = 0.9, 1.0
    pictures[1, 0, 30:38, 5:13], masks[1, 0, 30:38, 5:13] = 0.05, 1.0
    return Pasted(pictures, masks)


def test_a_pasted_defect_changes_the_picture_where_the_mask_is_and_nowhere_else():
    x = torch.full((64, 1, 48, 64), 0.6)
    changed, mask = defects().paste(x, torch.Generator().manual_seed(1))
    assert changed.shape == x.shape and mask.shape == (64, 1, 48, 64)
    assert 0.0 <= changed.min() and changed.max() <= 1.0
    shown = mask.sum(dim=(1, 2, 3))
    assert (shown >= 8).float().mean() > 0.9  # some lie half outside
    near = torch.nn.functional.max_pool2d(mask, 9, 1, 4)
    assert float(((changed - x).abs() * (1.0 - near)).max()) < 0.02
    brighter = ((changed - x) * mask).sum(dim=(1, 2, 3)) / shown.clamp(min=1.0)
    assert (brighter > 0.1).any() and (brighter < -0.1).any()  # the bar and the spot
    places = {tuple(torch.nonzero(one[0])[0].tolist()) for one in mask if one.any()}
    assert len(places) > 40  # each lies somewhere else


def test_the_light_of_the_picture_of_a_defect_is_not_taken_for_a_defect():
    """A mask over a part without any defect, in darker light: what is pasted is at most that light."""
    picture, mask = torch.full((1, 1, 48, 48), 0.3), torch.zeros(1, 1, 48, 48)
    mask[0, 0, 20:28, 20:28] = 1.0
    x = torch.full((32, 1, 48, 48), 0.6)
    changed, _ = Pasted(picture, mask).paste(x, torch.Generator().manual_seed(2))
    steps = (changed - x).flatten(1).min(dim=1).values
    assert steps.min() >= -0.31 and (steps > -0.1).any() and (steps < -0.2).any()


def test_the_last_of_the_defective_pictures_get_real_defects_and_the_others_stay():
    normal = torch.full((8, 1, 48, 64), 0.6)
    changed, mask = normal + 0.01, torch.zeros(8, 1, 48, 64)
    defects().into(normal, changed, mask, 4, torch.Generator().manual_seed(3))
    touched = [bool(mask[n].any()) for n in range(8)]
    assert touched == [False, False, True, True, False, False, False, False]
    assert torch.equal(changed[:2], normal[:2] + 0.01) and torch.equal(changed[4:], normal[4:] + 0.01)


def test_the_same_seed_pastes_the_same():
    x = torch.rand(6, 3, 48, 64, generator=torch.Generator().manual_seed(4))
    colour = Pasted(defects().defects.repeat(1, 3, 1, 1), defects().masks)
    first, second = (colour.paste(x, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
