"""The scores of many pictures are those of one: batches and training maps change nothing."""

import numpy as np
import pytest
import torch
from with_features import WithFeatures

from certiscope_models import bundle, measure, score_numpy
from certiscope_models.score import Detector
from certiscope_models.search import detectors_to_try, search, weights
from certiscope_models.unet import Architecture, build


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("filter_px, top_pixels, head_weight", [(3, 1, 0.0), (3, 5, 1.0), (5, 4, 0.6)])
@pytest.mark.parametrize("normalised", [True, False])
def test_scores_are_those_of_single_draws(tiny_model, filter_px, top_pixels, head_weight, normalised):
    detector = Detector(50, 0.05, filter_px, top_pixels=top_pixels, head_weight=head_weight)
    x = torch.rand(1, 1, 16, 16, generator=generator(2))
    made = {}
    if normalised:
        made = measure.training_maps(tiny_model, x.repeat(6, 1, 1, 1), detector, [filter_px], generator(3))
    (found,) = measure.scores(tiny_model, x, [detector], made, 4, generator(7))

    same = generator(7)
    noise, inner = (torch.randn((4, 1, 16, 16), generator=same).numpy() for _ in range(2))
    maps = {name: values.numpy() for name, values in made.get(filter_px, {}).items()}
    assert set(maps) == ({"mean", "std", "defect_mean", "defect_std"} if normalised else set())
    z = score_numpy.draw(x.numpy(), noise, 0.05)
    alone = score_numpy.certified(bundle.torch_denoiser(tiny_model), z, inner, detector, maps)
    np.testing.assert_allclose(found[0], alone, rtol=1e-5)


def test_scores_with_features_are_those_of_single_draws(tiny_model):
    torch.manual_seed(4)
    model = WithFeatures(tiny_model).eval()
    detectors = [
        Detector(50, 0.05, px, top_pixels=top, head_weight=0.2, feature_weight=weight)
        for px, top, weight in ((3, 1, 0.0), (3, 5, 0.5), (5, 1, 0.8))
    ]
    x = torch.rand(1, 1, 16, 16, generator=generator(2))
    made = measure.training_maps(model, x.repeat(6, 1, 1, 1), detectors[0], [3, 5], generator(3))
    found = measure.scores(model, x, detectors, made, 4, generator(7))
    same = generator(7)
    noise, inner = (torch.randn((4, 1, 16, 16), generator=same).numpy() for _ in range(2))
    z = score_numpy.draw(x.numpy(), noise, 0.05)
    for row, detector in zip(found, detectors):
        maps = {name: values.numpy() for name, values in made[detector.filter_px].items()}
        assert set(maps) == {kind + part for kind in ("", "defect_", "feature_") for part in ("mean", "std")}
        alone = score_numpy.certified(bundle.torch_denoiser(model), z, inner, detector, maps)
        np.testing.assert_allclose(row[0], alone, rtol=1e-5)


def test_the_search_tries_the_weights_of_the_maps_that_the_model_gives(tiny_model):
    x = torch.rand(1, 16, 16, generator=generator(2))
    torch.manual_seed(4)
    headless = build(Architecture(16, 16, channels=1, unshuffle=2, base=8, multipliers=(1, 2), head=False)).eval()
    assert weights(headless, x, 25) == [(0.0, 0.0)]
    assert weights(tiny_model, x, 25) == [(0.0, 0.0), (0.5, 0.0), (0.8, 0.0), (1.0, 0.0)]
    assert weights(WithFeatures(headless), x, 25) == [(0.0, 0.0), (0.0, 0.3), (0.0, 0.6), (0.0, 1.0)]
    pairs = weights(WithFeatures(tiny_model), x, 25)
    assert {(0.8, 0.0), (0.35, 0.3), (0.4, 0.6), (0.0, 1.0)} <= set(pairs) and len(pairs) == 13
    tried = detectors_to_try(WithFeatures(tiny_model), x, 25)
    assert {(d.head_weight, d.feature_weight) for d in tried} == set(pairs)
    assert {(d.filter_px, d.top_pixels) for d in tried} == {(5, 1), (5, 32), (9, 1), (9, 32)} and len(tried) == 52


def test_training_maps_hold_the_mean_and_the_deviation_over_draws(tiny_model):
    detector = Detector(50, 0.05, 3)
    x = torch.rand(5, 1, 16, 16, generator=generator(2))
    made = measure.training_maps(tiny_model, x, detector, [3], generator(3))[3]
    same = generator(3)
    found = [measure.draw_maps(tiny_model, x, detector, same)[1] for _ in range(measure.MAP_DRAWS)]
    smooth = measure.mean_filter(torch.cat(found), 3)
    torch.testing.assert_close(made["defect_mean"], smooth.mean(0))
    torch.testing.assert_close(made["defect_std"], smooth.std(0).clamp(min=0.2 * smooth.std(0).mean().item()))


def test_the_search_puts_the_best_first(tiny_model):
    pictures = torch.rand(4, 1, 16, 16, generator=generator(2))
    levels = [[Detector(k, 0.04, 5, top_pixels=top, head_weight=0.5) for top in (1, 8)] for k in (25, 50)]
    rows = search(tiny_model, pictures, pictures, levels, draws=4)
    assert len(rows) == 4 and {row[0] for row in rows} == {detector for level in levels for detector in level}
    assert [(row[2], row[1].value) for row in rows] == sorted(((row[2], row[1].value) for row in rows), reverse=True)
