"""The bank of features in `learn`: made once for a timestep, kept, exported; left out where the input is small."""

import pytest
import torch

from certiscope_models import onnx_graph
from certiscope_models.efficientnet_lite0 import NAMED
from certiscope_models.features import WithFeatures
from certiscope_models.learn import bank, choices
from certiscope_models.recipe import Recipe
from certiscope_models.training import Training
from certiscope_models.unet import Architecture

SIDE, K = bank.LEAST_PX, 25
SMALL = Architecture(SIDE, SIDE, base=8, multipliers=(1, 2))


@pytest.fixture(scope="module")
def normal():
    return torch.rand(5, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def training():
    return Training(SMALL, Recipe(1))


def with_bank(training, normal, folder, k=K, seed=1):
    return bank.with_bank(training.ema_model(), SMALL, normal, k, folder, seed)


def test_a_bank_is_made_once_and_kept(training, normal, tmp_path, monkeypatch):
    first = with_bank(training, normal, tmp_path).distance_of.bank
    assert first.shape[1] == bank.PATCHES
    assert not torch.equal(with_bank(training, normal, tmp_path / "other", seed=2).distance_of.bank, first)
    assert not torch.equal(with_bank(training, normal, tmp_path, k=K + 5).distance_of.bank, first)

    def never(*_):
        raise AssertionError("a bank that is kept was made again")

    monkeypatch.setattr(WithFeatures, "bank_of", never)
    assert torch.equal(with_bank(training, normal, tmp_path).distance_of.bank, first)


def test_a_broken_off_bank_is_not_taken(training, normal, tmp_path, monkeypatch):
    def broken_off(content, file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(torch, "save", broken_off)
        with_bank(training, normal, tmp_path)
    assert with_bank(training, normal, tmp_path).distance_of.bank.shape[1] == bank.PATCHES


def test_what_is_exported_has_the_map_and_names_the_weights(training, normal, tmp_path):
    subject = choices.subject_of(training, with_bank(training, normal, tmp_path), {"data": "made up"})
    assert subject.provenance["features"] == NAMED and subject.shape == (1, SIDE, SIDE)
    onnx_graph.round_to_fp16(subject.model)
    of_one = onnx_graph.for_timestep(subject.model, K)
    graph = onnx_graph.to_onnx(of_one, *subject.shape)
    assert [given.name for given in graph.graph.output] == ["eps_hat", "defect_logit", "feature_distance"]
    assert [taken.name for taken in graph.graph.input] == ["x_k"]
    assert onnx_graph.verify(graph.SerializeToString(), of_one, *subject.shape, K) <= 1e-4


def test_a_small_input_has_no_features_and_needs_no_folder(normal, tmp_path):
    small = Architecture(SIDE - 8, SIDE, base=8, multipliers=(1, 2))
    training = Training(small, Recipe(1))
    model = training.ema_model()
    assert bank.with_bank(model, small, normal[:, :, 8:], K, tmp_path / "none", 1) is model
    assert not (tmp_path / "none").exists()
    assert "features" not in choices.subject_of(training, model, {}).provenance


def test_where_there_are_features_every_map_has_a_share():
    detectors = choices.detectors(K, 0.04, (1, SIDE, SIDE), True)
    assert detectors and all(min(d.residual_weight, d.head_weight, d.feature_weight) > 0.1 for d in detectors)
    assert all(d.feature_weight == 0.0 for d in choices.detectors(K, 0.04, (1, SIDE, SIDE), False))
