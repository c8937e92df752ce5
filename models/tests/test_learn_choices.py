"""What `learn` estimates and chooses, on pictures whose answer is known."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from certiscope_models import Refused, figures, schedule
from certiscope_models.learn import budget, choices, choose, jitter, look, parts
from certiscope_models.learn.progress import Progress, in_words
from certiscope_models.unet import Architecture


def part(side=64, at=(0, 0), turn=0.0, gain=1.0, slope=0.0):
    """A bright plate with two holes and a notch, that looks different when mirrored."""
    y, x = np.meshgrid(np.arange(side) - side / 2 - at[0], np.arange(side) - side / 2 - at[1], indexing="ij")
    angle = np.deg2rad(turn)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    plate = (np.abs(u) < 20) & (np.abs(v) < 14)
    plate &= (u - 8) ** 2 + (v - 4) ** 2 > 16
    plate &= (u + 10) ** 2 + (v + 6) ** 2 > 5
    plate &= ~((u > 12) & (v < -8))
    across = np.linspace(-1, 1, side)[None]
    return np.clip((0.15 + 0.5 * plate) * gain * (1 + slope * across), 0, 1).astype(np.float32)


def grain(rng, count, side=64):
    return rng.normal(0, 0.01, (count, side, side)).astype(np.float32)


def test_a_part_that_lies_still_gets_no_shift_and_one_that_moves_gets_what_it_moves():
    rng = np.random.default_rng(1)
    still = np.stack([part()] * 30) + grain(rng, 30)
    found, _ = jitter.estimate(still)
    assert (found["shift"], found["turn"], found["zoom"], found["crop"]) == (0.0, 0.0, 0.0, 0.0)
    moved = np.stack([part(at=rng.integers(-4, 5, 2)) for _ in range(40)]) + grain(rng, 40)
    found, _ = jitter.estimate(moved)
    assert 3 / 64 <= found["shift"] <= 6 / 64 and found["turn"] <= 2.0
    assert jitter.line_of(found, 128).shift in range(6, 13)
    turned = np.stack([part(turn=rng.uniform(-6, 6)) for _ in range(40)]) + grain(rng, 40)
    found, _ = jitter.estimate(turned)
    assert 4.0 <= found["turn"] <= 8.0 and found["shift"] <= 2 / 64


def test_a_texture_gets_windows_and_may_be_mirrored_but_a_part_with_a_notch_may_not():
    rng = np.random.default_rng(2)
    textures = rng.random((30, 64, 64)).astype(np.float32)
    found, why = jitter.estimate(textures)
    assert found["crop"] == jitter.WINDOWS and found["shift"] == 0.0 and found["flips"] and "windows" in why
    found, _ = jitter.estimate(np.stack([part()] * 30) + grain(rng, 30))
    assert not found["flips"]
    aslant = np.stack(
        [
            (textures[n] + np.roll(textures[n], (1, 1), (0, 1)) + np.roll(textures[n], (2, 2), (0, 1))) / 3
            for n in range(30)
        ]
    )
    found, _ = jitter.estimate(aslant)
    assert found["crop"] and not found["flips"]  # a grain from left above to right below


def test_exposure_and_light_are_the_spread_of_the_block_means():
    rng = np.random.default_rng(3)
    steady, _ = jitter.estimate(np.stack([part()] * 40) + grain(rng, 40))
    assert steady["exposure"] == jitter.EXPOSURE[0] and steady["light"] == jitter.LIGHT[0]
    brighter, _ = jitter.estimate(np.stack([part(gain=np.exp(g)) for g in rng.uniform(-0.12, 0.12, 40)]))
    assert 0.08 < brighter["exposure"] < 0.14 and brighter["light"] == jitter.LIGHT[0]
    lit, _ = jitter.estimate(np.stack([part(slope=s) for s in rng.uniform(-0.08, 0.08, 40)]))
    assert 0.1 < lit["light"] < 0.2 and lit["exposure"] < 0.05


def test_sides_share_no_part_and_the_threshold_has_one_picture_of_each():
    groups = [n // 2 for n in range(160)]  # two pictures of each of 80 parts
    sides, rate = parts.sides_of([str(n) for n in range(160)], groups, seed=1)
    of = {side: [row["group"] for row in rows] for side, rows in sides.items()}
    assert rate == 0.05 and len(of["threshold"]) == len(set(of["threshold"])) == int(parts.THRESHOLD_SHARE * 80)
    assert set(of["fit"]) | set(of["choose"]) | set(of["threshold"]) == set(range(80))
    assert not set(of["fit"]) & (set(of["choose"]) | set(of["threshold"])) and not set(of["choose"]) & set(
        of["threshold"]
    )
    assert all(of[side].count(group) == 2 for side in ("fit", "choose") for group in of[side])
    assert set(of["maps"]) == set(of["fit"]) and len(of["maps"]) == len(set(of["maps"])) >= parts.MAPS_LEAST
    assert parts.sides_of([str(n) for n in range(160)], groups, seed=1)[0] == sides
    assert parts.sides_of([str(n) for n in range(160)], groups, seed=2)[0] != sides


@pytest.mark.parametrize("number", range(parts.LEAST, 1000, 7))
def test_every_number_of_parts_gives_enough_for_the_threshold_and_for_the_maps(number):
    sides, rate = parts.sides_of([str(n) for n in range(number)], list(range(number)), seed=1)
    assert len(sides["threshold"]) >= parts.needed(rate) and len(sides["maps"]) >= parts.MAPS_LEAST
    assert len(sides["choose"]) >= parts.CHOOSE_LEAST


def test_rates_need_what_calibrate_needs():
    assert [parts.needed(rate) for rate in parts.RATES] == [99, 49, 19, 9]
    with pytest.raises(Refused, match="39 pictures of 39 different parts: too few; at least 40"):
        parts.sides_of([str(n) for n in range(39)], list(range(39)), seed=1)


def test_the_noise_certifies_the_radius_with_the_draws_that_were_meant():
    radius = choices.radius_of(None, (3, 128, 128))
    assert radius == pytest.approx(0.1, abs=1e-3)
    sigma = choices.sigma_of(radius)
    assert figures.has_bounds(choices.AGREEING_DRAWS + 2, radius / sigma)
    assert not figures.has_bounds(choices.AGREEING_DRAWS - 5, radius / sigma)
    for k in choices.timesteps_of(sigma):
        assert schedule.sigma_k(k) >= sigma
        assert k < choices.k_max_of(choices.timesteps_of(sigma))
    assert choices.radius_of(0.2, (1, 64, 64)) == 0.2
    with pytest.raises(Refused, match="learn.radius = 5.0000"):
        choices.sigma_of(5.0)


def test_the_input_is_no_larger_than_the_pictures_and_smaller_ones_are_tried_where_time_is_short():
    def inputs(*pictures):
        return [(found.height, found.width) for found in choices.architectures_of(*pictures)]

    assert inputs(320, 320, 3, "quick") == [(128, 128), (96, 96), (64, 64)]
    assert inputs(606, 242, 1, "best") == [(80, 208)]
    assert inputs(40, 32, 1, "quick") == [(32, 40)]
    assert inputs(8, 8, 1, "quick") == [(16, 16)]


def test_a_slower_machine_trains_fewer_steps_and_no_budget_is_exceeded():
    counts = {"fit": 130, "choose": 25, "threshold": 54, "maps": 130, "defects": 0}
    found = []
    for step in (0.1, 0.5, 1.4):
        speed = budget.Speed(step, step / 70)
        others = budget.seconds_of_stages(speed, counts, 64, [33, 47, 66], 16, 52)
        steps, seconds = budget.steps_of("quick", speed, others, 100)
        assert seconds + sum(others.values()) <= budget.SECONDS["quick"] + 1 <= 30 * 60
        found.append(steps)
    assert found == sorted(found, reverse=True) and found[-1] > budget.ENOUGH_STEPS["quick"]
    assert budget.steps_of("quick", budget.Speed(1.0, 0.1), {}, 100, asked=7)[0] == 7


def seen(pictures):
    measures = np.array([look.measured(picture) for picture in pictures])
    likeness = np.arctanh(np.clip(look.likeness_of(pictures), -0.999, 0.999))
    return look.Seen(list(range(len(pictures))), np.column_stack([measures, likeness]), pictures, False)


def test_odd_pictures_are_named_with_what_is_odd_and_usual_ones_are_not():
    rng = np.random.default_rng(4)
    usual = np.stack([part(gain=g) for g in rng.uniform(0.75, 1.25, 40)]) + grain(rng, 40)
    assert look.odd(seen(usual)) == {}
    pictures = usual.copy()
    pictures[3] = pictures[3] * 0.05
    kernel = np.ones(9) / 9
    for _ in range(2):
        pictures[5] = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), 1, pictures[5]).T
    pictures[7] = np.flip(pictures[7], (0, 1))[:, ::-1].T
    found = look.odd(seen(pictures))
    assert set(found) == {3, 5, 7}
    assert "darker" in found[3] and "blurred" in found[5] and "unlike" in found[7]


def test_masks_lie_beside_or_in_ground_truth_and_kinds_are_the_folders(tmp_path):
    from PIL import Image

    test = tmp_path / "test"
    for file in ("test/hole/1.png", "test/hole/1_mask.png", "test/crack/1.png", "ground_truth/crack/1_mask.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16)).save(tmp_path / file)
    pictures, masks = look.masks_of(test)
    assert {str(file.relative_to(tmp_path)): str(mask.relative_to(tmp_path)) for file, mask in masks.items()} == {
        "test/hole/1.png": "test/hole/1_mask.png",
        "test/crack/1.png": "ground_truth/crack/1_mask.png",
    }
    assert {kind: len(files) for kind, files in look.kinds_of(test, pictures).items()} == {"crack": 1, "hole": 1}


def test_the_choice_weighs_real_kinds_as_much_as_all_synthetic_defects():
    generator = torch.Generator().manual_seed(1)
    good = torch.randn(20, 16, generator=generator, dtype=torch.float64)
    detector = choices.detectors(25, 0.03, (1, 32, 32), True)[0]
    far, same = good + 10.0, good.clone()
    best = choose.row(detector, {"good": good, "synthetic": far})
    assert best["reached"] == 1.0
    half = choose.row(detector, {"good": good, "synthetic": far, "real: a": same, "real: b": same})
    kind = (half["auroc"]["real: a"] + half["apart"]["real: a"]) / 2
    assert half["reached"] == pytest.approx((1.0 + kind) / 2) and kind < 0.4
    assert choose.detector_of(best) == detector


def test_the_bar_never_goes_back_and_counts_down():
    progress = Progress({"one": 10.0, "two": 30.0, "three": 10.0})
    shown = []
    progress.begin("one", "first")
    shown.append(progress.bar.n)
    for _ in progress.steps(range(4)):
        shown.append(progress.bar.n)
    progress.begin("two", "second")
    shown.append(progress.bar.n)
    assert shown[-1] == 200
    assert progress.left() == pytest.approx(40.0, abs=1.0)
    progress.expect({"two": 300.0})  # it takes longer than was thought
    progress.at(0.1)
    shown.append(progress.bar.n)
    progress.begin("three", "third")
    progress.at(1.0)
    shown.append(progress.bar.n)
    progress.close()
    assert all(a <= b for a, b in pairwise(shown)) and shown[-1] == 1000
    assert [in_words(seconds) for seconds in (0.2, 89, 600, 8000)] == ["1 s", "89 s", "10 min", "2.2 h"]


def test_an_architecture_of_a_plan_can_be_read_back():
    from dataclasses import asdict

    found = choices.architecture_of(64, 1.5, 3)
    assert Architecture(**asdict(found)) == found
