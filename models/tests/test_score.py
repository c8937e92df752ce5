"""The score against cases computed by hand, and the property that every certificate needs."""

import numpy as np
import pytest
import torch

from certiscope_models import Refused, schedule
from certiscope_models.prediction import Prediction
from certiscope_models.score import Detector, filtered, mean_filter, pooled, residual_map
from certiscope_models.score_numpy import certified, draw, empirical, reconstruct

DETECTOR = Detector(k=50, sigma=0.03, filter_px=1)


def noise_free(x_k, k):
    return Prediction(np.zeros_like(x_k))


def score(residual, defect, detector, training_maps, feature=None):
    """The score of one picture's maps [H, W]."""
    one = [
        None if values is None else torch.as_tensor(values, dtype=torch.float64)[None]
        for values in (residual, defect, feature)
    ]
    maps = {name: torch.as_tensor(values) for name, values in training_maps.items()}
    return pooled(*filtered(*one, detector), detector, maps)[0].item()


def test_residual_map_of_one_wrong_pixel():
    """A difference of 1 in one pixel of an 8x8 picture: 1 at scale 1, (1/4)^2, (1/16)^2, (1/64)^2 at the others."""
    a, b = torch.zeros(2, 1, 1, 8, 8)
    b[0, 0, 2, 5] = 1.0
    error = residual_map(a, b, DETECTOR.scales)[0]
    scale = [1.0, 4.0**-2, 16.0**-2, 64.0**-2]
    assert error[2, 5].item() == pytest.approx(sum(scale) / 4)
    assert error[3, 4].item() == pytest.approx(sum(scale[1:]) / 4)  # same 2x2 block
    assert error[0, 7].item() == pytest.approx(sum(scale[2:]) / 4)  # same 4x4 block
    assert error[7, 0].item() == pytest.approx(scale[3] / 4)
    assert score(error, None, DETECTOR, {}) == pytest.approx(sum(scale) / 4)


def test_channels_are_averaged():
    a, b = torch.zeros(2, 1, 3, 8, 8)
    b[:, 1] = 0.6
    np.testing.assert_allclose(residual_map(a, b, DETECTOR.scales), 0.36 / 3, rtol=1e-6)


def test_mean_filter_counts_only_what_is_inside():
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0] = 9.0
    filtered = mean_filter(maps, 3)[0].numpy()
    assert filtered[0, 0] == pytest.approx(9 / 4)
    assert filtered[0, 1] == filtered[1, 0] == pytest.approx(9 / 6)
    assert filtered[1, 1] == pytest.approx(1.0)
    assert filtered[2, 2] == 0.0


def test_calibrated_score_and_pooling():
    error = [[1.0, 4.0], [2.0, 0.0]]
    maps = {"mean": [[1.0, 1.0], [3.0, 4.0]], "std": [[1.0, 2.0], [0.5, 1.0]]}
    assert score(error, None, DETECTOR, maps) == 4.0  # |0-4|/1, before 1.5, 2, 0
    top2 = Detector(k=50, sigma=0.03, filter_px=1, top_pixels=2)
    assert score(error, None, top2, maps) == 3.0


def test_the_defect_map_counts_upwards_and_by_its_weight():
    residual, defect = [[0.5, 2.0]], [[-6.0, 0.0]]
    maps = {"mean": 1.0, "std": 0.5, "defect_mean": -4.0, "defect_std": 2.0}

    def mixed(head_weight, top_pixels):
        detector = Detector(k=50, sigma=0.03, filter_px=1, top_pixels=top_pixels, head_weight=head_weight)
        return score(residual, defect, detector, maps)

    # residual 1 and 2 deviations away, defect map 1 below and 2 above: the same case as in Rust
    assert [mixed(0.0, 1), mixed(0.0, 2)] == [2.0, 1.5]
    assert [mixed(1.0, 1), mixed(1.0, 2)] == [2.0, 0.5]
    assert [mixed(0.75, 1), mixed(0.75, 2)] == [2.0, 0.75]


def test_the_three_maps_are_mixed_by_their_weights():
    residual, defect, feature = [[0.5, 2.0]], [[-6.0, 0.0]], [[20.0, 4.0]]
    maps = {"mean": 1.0, "std": 0.5, "defect_mean": -4.0, "defect_std": 2.0, "feature_mean": 8.0, "feature_std": 4.0}

    def mixed(head, features):
        found = []
        for top in (1, 2):
            detector = Detector(50, 0.03, 1, top_pixels=top, head_weight=head, feature_weight=features)
            found.append(score(residual, defect, detector, maps, feature))
        return found

    # deviations: residual 1 and 2, defect map -1 and 2, feature map 3 and -1: the same case as in Rust
    assert mixed(0.0, 1.0) == [3.0, 1.0]
    assert mixed(0.0, 0.5) == [2.0, 1.25]
    assert mixed(0.25, 0.5) == [1.5, 1.0]
    assert mixed(0.5, 0.5) == [1.0, 0.75]


@pytest.mark.parametrize("head, features", [(0.8, 0.2), (0.7, 0.3), (0.9, 0.1), (0.35, 0.65), (0.0, 1.0)])
def test_a_residual_of_weight_0_is_left_out_whatever_the_rounding(head, features):
    detector = Detector(50, 0.03, 1, head_weight=head, feature_weight=features)
    assert score([[np.nan]], [[1.0]], detector, {}, [[1.0]]) == pytest.approx(1.0)


@pytest.mark.parametrize("weight, output", [("head_weight", "defect_logit"), ("feature_weight", "feature_distance")])
def test_a_weight_of_a_map_that_the_model_does_not_give_is_refused(weight, output):
    z, inner = np.zeros((2, 1, 1, 8, 8), np.float32)
    detector = Detector(k=50, sigma=0.03, **{weight: 0.5})
    for of in (certified, lambda *case: empirical(case[0], z[0], z, *case[2:])):
        with pytest.raises(Refused, match=f"{weight} = 0.5: the model has no output {output}"):
            of(noise_free, z, inner, detector)


def test_a_feature_distance_that_is_no_number_gives_no_score():
    distance = np.ones((1, 1, 8, 8), np.float32)
    distance[0, 0, 3, 3] = np.nan
    z, inner = np.zeros((2, 1, 1, 8, 8), np.float32)
    for top in (1, 4):
        detector = Detector(k=50, sigma=0.03, top_pixels=top, feature_weight=0.1)
        found = certified(lambda x_k, k: Prediction(x_k, feature_distance=distance), z, inner, detector)
        assert np.isnan(found).all()


def test_the_empirical_score_takes_the_mean_feature_map_of_the_draws():
    distance = np.zeros((2, 1, 8, 8), np.float32)
    distance[0, 0, 1, 1], distance[1, 0, 1, 1], distance[1, 0, 6, 6] = 2.0, 4.0, 5.0
    detector = Detector(k=50, sigma=0.03, filter_px=1, feature_weight=1.0)
    noise, inner = np.zeros((2, 2, 1, 8, 8), np.float32)

    def features(x_k, k):
        return Prediction(x_k, feature_distance=distance)

    assert empirical(features, noise[0], noise, inner, detector) == 3.0
    np.testing.assert_array_equal(certified(features, noise, inner, detector), [2.0, 5.0])


def test_the_noise_of_step_k_is_whole():
    """The draw's own noise and the rest added inside give together the variance of step k."""
    rng = np.random.default_rng(0)
    x = np.full((1, 200, 200), 0.4, np.float32)
    noise, inner = rng.standard_normal((2, 1, 1, 200, 200), dtype=np.float32)
    seen = []

    def spy(x_k, k):
        seen.append(x_k)
        return Prediction(np.zeros_like(x_k))

    reconstruct(spy, draw(x, noise, 0.05), inner, Detector(k=80, sigma=0.05))
    a = schedule.alpha_bar(80)
    assert seen[0].mean() == pytest.approx(np.sqrt(a) * -0.2, abs=0.01)
    assert seen[0].var() == pytest.approx(1 - a, rel=0.02)


def test_reconstruction_inverts_the_noise_when_it_is_known():
    rng = np.random.default_rng(0)
    x = rng.random((1, 1, 8, 8), dtype=np.float32)
    sigma = float(schedule.sigma_k(50))
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    logit = np.ones((1, 1, 8, 8), np.float32)
    z = draw(x, noise, sigma)
    known = reconstruct(lambda x_k, k: Prediction(noise, logit), z, np.zeros_like(x), Detector(50, sigma))
    np.testing.assert_allclose(known[0], x, atol=1e-5)
    assert known[1].shape == (1, 8, 8)


def test_the_certified_score_cannot_see_the_clean_picture():
    """Another clean picture under the same draw: the certified score must not move, the empirical one must."""
    rng = np.random.default_rng(1)
    x, other = rng.random((2, 1, 8, 8)).astype(np.float64)
    z = (x + 0.03 * rng.standard_normal((1, 1, 8, 8))).astype(np.float32)
    inner = rng.standard_normal(z.shape, dtype=np.float32)
    scores, paper = [], []
    for clean in (x, other):
        noise = (z - clean) / 0.03  # float64, so that both pictures give the same draw to the last bit but one
        scores.append(certified(noise_free, draw(clean, noise, 0.03), inner, DETECTOR))
        paper.append(empirical(noise_free, clean, noise, inner, DETECTOR))
    np.testing.assert_allclose(*scores, rtol=1e-5)
    assert abs(paper[0] - paper[1]) > 0.1 * paper[0]


@pytest.mark.parametrize(
    "setting",
    [{"sigma": 0.0}, {"sigma": 0.0881}, {"sigma": float("nan")}, {"filter_px": 4}, {"head_weight": 1.1}]
    + [{"feature_weight": -0.1}, {"feature_weight": 1.1}, {"feature_weight": float("nan")}]
    + [{"head_weight": 0.6, "feature_weight": 0.5}],
)
def test_a_detector_without_a_certificate_is_refused(setting):
    with pytest.raises(Refused):
        Detector(**{"k": 50, "sigma": 0.03, **setting})
