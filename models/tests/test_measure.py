"""The search's scores are those of score.py; its ranks are those of the agent; it never sees a real defect."""

import numpy as np
import pytest
import torch

from certiscope_models import measure, score
from certiscope_models.measure import Level, Pooling, auroc, certified_auc, phi, upper_rank


def test_ranks_are_those_of_the_published_vectors():
    assert [upper_rank(1000, phi(reach), 5e-4) for reach in (0.5, 1.0, 1.5)] == [740, 879, 959]
    assert [upper_rank(100, phi(reach), 5e-4) for reach in (0.5, 1.0, 1.5)] == [85, 96, None]
    assert [upper_rank(1000, phi(reach), 1e-3) for reach in (0.5, 1.0, 1.5)] == [737, 877, 957]


def test_auroc_counts_ties_half():
    assert auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == pytest.approx(7 / 8)


def test_bounds_are_taken_on_the_side_that_costs():
    # at reach 0.5 and n = 100 the bounds are the 85th from below for a normal, from above for an anomalous picture
    normal = np.arange(100.0)[None]
    assert certified_auc(normal, normal + 70.0, reach=0.5) == 1.0
    assert certified_auc(normal, normal + 68.0, reach=0.5) == 0.0


def test_a_certificate_that_needs_more_draws_is_lost():
    apart = np.zeros((3, 100)), np.ones((4, 100))
    assert certified_auc(*apart, reach=1.0) == 1.0
    assert certified_auc(*apart, reach=1.5) == 0.0
    assert certified_auc(np.ones((3, 100)), np.ones((4, 100)), reach=0.0) == 0.0


@pytest.mark.parametrize("pooling", [Pooling(0.0, 3, 1), Pooling(1.0, 3, 5), Pooling(0.6, 5, 4)])
def test_scores_equal_the_one_definition(tiny_model, pooling):
    level = Level(k=50, sigma=0.05)
    x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    filters = {pooling.filter_px}
    maps = measure.training_maps(tiny_model, x.repeat(6, 1, 1, 1), level, filters, torch.Generator().manual_seed(3))
    found = measure.scores(tiny_model, x, level, [pooling], maps, 4, torch.Generator().manual_seed(7))[pooling][0]

    same = torch.Generator().manual_seed(7)
    noise, inner = (torch.randn((4, 1, 16, 16), generator=same).numpy() for _ in range(2))

    def denoise(x_k, k):
        with torch.no_grad():
            eps_hat, logit = tiny_model(torch.from_numpy(x_k), torch.full((len(x_k),), k))
        return eps_hat.numpy(), logit.numpy()

    detector = score.Detector(
        50, 0.05, pooling.filter_px, top_pixels=pooling.top_pixels, head_weight=pooling.head_weight
    )
    names = {0: ("mean", "std"), 1: ("defect_mean", "defect_std")}
    named = {
        name: array.numpy()
        for kind, pair in names.items()
        for name, array in zip(pair, maps[pooling.filter_px, kind])
    }
    z = score.draw(x.numpy(), noise, 0.05)
    np.testing.assert_allclose(found, score.certified(denoise, z, inner, detector, named), rtol=1e-4)
