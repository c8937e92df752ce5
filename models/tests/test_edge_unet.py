"""EdgeUNet: the graph for one timestep is the model at that timestep, and no draw sees the others of its batch."""

import numpy as np
import pytest
import torch

from certiscope_models import Refused, onnx_graph, schedule
from certiscope_models.edge_unet import EdgeUNet


@pytest.fixture(scope="module")
def model():
    """A model of two levels whose every part does something, unlike in a new one."""
    torch.manual_seed(5)
    made = EdgeUNet(channels=3, unshuffle=2, widths=(16, 32), denoised=True).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.05 * torch.randn(weight.shape)
    return made


@pytest.fixture(scope="module")
def x_k():
    return torch.randn(8, 3, 16, 24, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_k_matters_and_the_model_for_one_k_is_the_model_at_that_k(model, x_k):
    at_25 = model(x_k, torch.full((8,), 25))
    assert (at_25.eps_hat - model(x_k, torch.full((8,), 60)).eps_hat).abs().max() > 1e-2
    for name in ("eps_hat", "defect_logit", "denoised"):
        wanted, found = (getattr(made, name) for made in (at_25, model.at(25)(x_k)))
        assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max(), name
    assert model.k is None and model.of_k is not None  # the model itself stays as it is


@torch.no_grad()
def test_a_draw_gives_the_same_alone_and_among_others(model, x_k):
    k = torch.arange(8) * 10
    for mode in (model.eval(), model.train()):
        together = mode(x_k, k)
        for n in range(8):
            alone = mode(x_k[n : n + 1], k[n : n + 1])
            for name in ("eps_hat", "defect_logit", "denoised"):
                wanted = getattr(together, name)
                assert (getattr(alone, name)[0] - wanted[n]).abs().max() < 1e-5 * wanted.abs().max(), name
    model.eval()


def test_the_model_for_one_k_refuses_another(model, x_k):
    with pytest.raises(Refused, match="made for k = 25 alone"):
        model.at(25)(x_k, torch.full((8,), 26))


@torch.no_grad()
def test_a_graph_without_k_equals_the_model_at_that_k(model, x_k):
    one = model.at(25)
    onnx_graph.round_to_fp16(one)
    graph = onnx_graph.to_onnx(one, 3, 16, 24)
    assert [taken.name for taken in graph.graph.input] == ["x_k"]
    running = onnx_graph.session(graph.SerializeToString())
    assert onnx_graph.verify(graph.SerializeToString(), one, 3, 16, 24, 25) <= 1e-4
    found = onnx_graph.denoiser(running)(x_k.numpy(), 25)
    unrounded = model(x_k, torch.full((8,), 25))
    np.testing.assert_allclose(found.eps_hat, one(x_k).eps_hat, atol=1e-5 * float(one(x_k).eps_hat.abs().max()))
    np.testing.assert_allclose(found.eps_hat, unrounded.eps_hat, atol=2e-2 * float(unrounded.eps_hat.abs().max()))


@torch.no_grad()
def test_the_denoised_draw_is_the_draw_less_the_noise_that_its_head_predicts(model, x_k):
    k = torch.arange(8) * 10
    a = torch.from_numpy(schedule.alpha_bar(k.numpy())).float().view(-1, 1, 1, 1)
    wanted = ((x_k - (1 - a).sqrt() * model.heads(x_k, k)["denoised"]) / a.sqrt() + 1) / 2
    found = model(x_k, k).denoised
    assert 0.0 <= found.min() and found.max() <= 1.0 and found.std() > 0.1
    torch.testing.assert_close(found, wanted.clamp(0.0, 1.0))


@torch.no_grad()
def test_the_graph_leaves_out_the_denoised_draw_and_its_work(model, x_k):
    one = model.at(25)
    onnx_graph.round_to_fp16(one)
    graph = onnx_graph.to_onnx(one, 3, 16, 24).graph
    assert [given.name for given in graph.output] == ["eps_hat", "defect_logit"]
    last = [tensor for tensor in graph.initializer if "out.weight" in tensor.name]
    assert [list(tensor.dims) for tensor in last] == [[4 * (3 + 1), 16, 3, 3]]
    assert one.out.out_channels == 4 * (3 + 1 + 3)  # the model itself still has it


def test_a_new_model_gives_no_more_than_its_stem():
    """The blocks begin as nothing, so that a network without normalisation starts with outputs of a sane size."""
    torch.manual_seed(0)
    found = EdgeUNet(channels=3, unshuffle=2, widths=(16, 32, 48, 64))(torch.randn(2, 3, 32, 16), torch.tensor([3, 30]))
    assert 0.2 < found.eps_hat.std() < 5.0


def test_a_head_is_left_out(x_k):
    found = EdgeUNet(channels=3, unshuffle=2, widths=(16, 32), head=False)(x_k, torch.full((8,), 30))
    assert found.eps_hat is not None and found.defect_logit is None and found.denoised is None
