"""A gradient passes from the scores to the picture, through noise, model, reconstruction, maps and pooling.

An attack needs it. It is compared with finite differences in float64.
"""

import pytest
import torch
from with_features import WithFeatures

from certiscope_models import measure, score
from certiscope_models.prediction import Prediction
from certiscope_models.score import Detector
from certiscope_models.unet import Architecture, build

DETECTORS = [
    Detector(50, 0.05, 3),
    Detector(50, 0.05, 5, top_pixels=7, head_weight=0.6),
    Detector(50, 0.05, 1, scales=(1, 4), top_pixels=3, head_weight=1.0),
    Detector(50, 0.05, 3, top_pixels=5, head_weight=0.3, feature_weight=0.5),
    Detector(50, 0.05, 3, top_pixels=64, feature_weight=1.0),  # all pixels: a feature sees its neighbours only
]
THREE_MAPS = DETECTORS[3]


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    square = Architecture(height=8, width=8, channels=1, unshuffle=1, base=8, multipliers=(1, 2), attention=False)
    unet = build(square)
    return WithFeatures(unet).double().eval()


@pytest.fixture(scope="module")
def case():
    """(x, noise, inner noise, training maps): one picture, two draws of it."""
    x = torch.rand(1, 1, 8, 8, generator=generator(1), dtype=torch.float64) * 0.6 + 0.2
    noise, inner = torch.randn(2, 2, 1, 8, 8, generator=generator(2), dtype=torch.float64)
    mean, std = torch.rand(2, 8, 8, generator=generator(3), dtype=torch.float64) * 0.1 + 0.05
    maps = {"mean": mean, "std": std, "defect_mean": -mean, "defect_std": std}
    return x, noise, inner, {**maps, "feature_mean": 0.5 * mean, "feature_std": std + 0.02}


def certified(model, case, detector):
    """The certified scores as a function of the picture."""
    _, noise, inner, maps = case
    return lambda x: score.certified(model, score.draw(x, noise, detector.sigma), inner, detector, maps)


def empirical(model, case, detector):
    _, noise, inner, maps = case
    return lambda x: score.empirical(model, x[0], noise, inner, detector, maps)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("of", [certified, empirical])
def test_the_gradient_of_a_score_is_that_of_finite_differences(model, case, detector, of):
    x = case[0].clone().requires_grad_()
    scores = of(model, case, detector)
    value = scores(x).sum()
    assert value.requires_grad, "no gradient passes: is something inside no_grad, detached, or turned into numpy?"
    (gradient,) = torch.autograd.grad(value, x)
    assert (gradient != 0.0).float().mean() > 0.5  # the network is local: far pixels may have no slope
    with torch.no_grad():
        step = 1e-6
        for seed in range(8):
            way = torch.randn(x.shape, generator=generator(seed), dtype=torch.float64)
            way /= way.norm()
            there, back = scores(x + step * way).sum(), scores(x - step * way).sum()
            slope = ((there - back) / (2 * step)).item()
            assert (gradient * way).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_gradient_passes_through_the_model_and_not_around_it(model, case, detector):
    x = case[0].clone().requires_grad_()

    def cut(x_k, k):
        return Prediction(**{name: out.detach() for name, out in model(x_k, k).present().items()})

    (whole,) = torch.autograd.grad(certified(model, case, detector)(x).sum(), x)
    around = certified(cut, case, detector)(x).sum()
    (around,) = torch.autograd.grad(around, x, allow_unused=True) if around.requires_grad else (torch.zeros_like(x),)
    difference = whole - (torch.zeros_like(x) if around is None else around)
    assert difference.norm() > 1e-3 * whole.norm()


def test_every_part_of_the_score_lets_a_gradient_pass(model, case):
    x, noise, inner, maps = case
    detector = THREE_MAPS
    z = score.draw(x, noise, detector.sigma).requires_grad_()
    x0_hat, logit, distance = score.reconstruct(model, z, inner, detector)
    found = score.maps(model, z, inner, detector)
    smooth = score.filtered(*found, detector)
    parts = {
        "draw": score.draw(x.clone().requires_grad_(), noise, detector.sigma),
        "reconstruction": x0_hat,
        "defect logit": logit,
        "feature distance": distance,
        "residual map": found.residual,
        "defect map": found.defect,
        "feature map": found.feature,
        "filtered residual": smooth.residual,
        "filtered defect map": smooth.defect,
        "filtered feature map": smooth.feature,
        "pooled": score.pooled(*smooth, detector, maps),
    }
    assert [name for name, part in parts.items() if not part.requires_grad] == []


def test_measuring_many_pictures_keeps_no_gradient(tiny_model):
    x = torch.rand(2, 1, 16, 16).requires_grad_()
    (found,) = measure.scores(tiny_model, x, [Detector(50, 0.05)], {}, 3, generator(1))
    assert not found.requires_grad
