"""AUROC, certified AUC and their ranks: the numbers of the agent, and of scipy."""

import json
from pathlib import Path

import pytest
import torch

from certiscope_models.figures import (
    auroc,
    auroc_with_interval,
    certified_auc,
    certified_auc_with_interval,
    has_bounds,
    phi,
    upper_rank,
)

BOUNDS = Path(__file__).parents[2] / "tests" / "golden" / "bounds.json"


def arange(rows=1, to=100):
    return torch.arange(float(to), dtype=torch.float64).repeat(rows, 1)


def test_ranks_are_those_of_the_published_vectors():
    assert [upper_rank(1000, phi(multiple), 5e-4) for multiple in (0.5, 1.0, 1.5)] == [740, 879, 959]
    assert [upper_rank(100, phi(multiple), 5e-4) for multiple in (0.5, 1.0, 1.5)] == [85, 96, None]
    assert [upper_rank(1000, phi(multiple), 1e-3) for multiple in (0.5, 1.0, 1.5)] == [737, 877, 957]


def test_ranks_are_those_of_scipy_which_the_rust_tests_read_too():
    cases = json.loads(BOUNDS.read_text())["ranks"]
    assert len(cases) > 200
    for case in cases:
        assert upper_rank(case["draws"], phi(case["radius_in_sigmas"]), case["error"]) == case["rank"], case


def test_auroc_counts_ties_half():
    assert auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])) == pytest.approx(7 / 8)


def test_bounds_are_taken_on_the_side_that_costs():
    # at half a sigma and n = 100 the bounds are the 85th from below for a normal, from above for an anomalous picture
    normal = arange()
    assert certified_auc(normal, normal + 70.0, 0.5) == 1.0
    assert certified_auc(normal, normal + 68.0, 0.5) == 0.0


def test_a_certificate_that_needs_more_draws_is_lost():
    zeros, ones = torch.zeros(3, 100), torch.ones(4, 100)
    assert certified_auc(zeros, ones, 1.0) == 1.0
    assert certified_auc(zeros, ones, 1.5) == 0.0
    assert certified_auc_with_interval(zeros, ones, 1.5).high == 0.0
    assert certified_auc(torch.ones(3, 100), ones, 0.0) == 0.0


def test_intervals_hold_their_figure_and_shrink_with_more_pictures():
    generator = torch.Generator().manual_seed(1)
    widths = {}
    for count in (20, 200):
        normal, anomalous = torch.randn(2, count, 32, generator=generator) + torch.randn(
            2, count, 1, generator=generator
        )
        anomalous = anomalous + 1.0
        for name, found in (
            ("auroc", auroc_with_interval(normal, anomalous)),
            ("certified", certified_auc_with_interval(normal, anomalous, 0.2, alpha=0.05)),
        ):
            assert 0.0 <= found.low < found.value < found.high <= 1.0, name
            widths[name, count] = found.high - found.low
    assert all(widths[name, 200] < 0.6 * widths[name, 20] for name in ("auroc", "certified"))


def test_too_few_draws_for_a_bound_are_told_from_a_certified_auc_of_nought():
    worse = torch.zeros(3, 64), torch.zeros(3, 64)
    assert certified_auc(*worse, 0.1) == 0.0 and has_bounds(64, 0.1)
    apart = torch.zeros(3, 4), torch.ones(3, 4)
    assert certified_auc(*apart, 0.1) == 0.0 and not has_bounds(4, 0.1)
