"""Export: the file computes what PyTorch computes, or no file is written."""

import copy
import tomllib

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from with_features import OneTimestep, WithFeatures

from certiscope_models import Refused, bundle, onnx_graph
from certiscope_models.prediction import Prediction
from certiscope_models.score_numpy import Detector, certified, draw
from certiscope_models.unet import Architecture, build

DETECTOR = Detector(k=50, sigma=0.03, filter_px=3, head_weight=0.5)


@pytest.fixture
def held_back(tmp_path):
    folder = tmp_path / "held-back"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(4):
        Image.fromarray((rng.random((20, 20)) * 60 * (n + 1)).astype(np.uint8)).save(folder / f"{n}.png")
    return folder


@pytest.fixture
def subject(tiny_model):
    return bundle.Subject(tiny_model, 1, 16, 16, {"data": "noise", "seed": 3})


@pytest.fixture(scope="module", params=["edge", "diffusers"])
def exported(request):
    """(model, graph) of one export, for the tests that only look: exporting costs seconds."""
    torch.manual_seed(3)
    model = build(Architecture(16, 16, 1, base=8, multipliers=(1, 2), network=request.param)).eval()
    onnx_graph.round_to_fp16(model)
    return model, onnx_graph.to_onnx(model, 1, 16, 16)


def test_the_graph_equals_the_model_at_every_batch_size(exported):
    tiny_model, graph = exported
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # a name: dynamic
    content = graph.SerializeToString()
    assert onnx_graph.verify(content, tiny_model, 1, 16, 16) <= 1e-4
    running = onnx_graph.session(content)
    x_k = torch.randn(5, 1, 16, 16)
    with torch.no_grad():
        wanted = tiny_model(x_k, torch.full((5,), 9))
    found = onnx_graph.denoiser(running)(x_k.numpy(), 9).present()
    assert list(found) == ["eps_hat", "defect_logit"]
    for got, right in zip(found.values(), wanted.present().values(), strict=True):
        np.testing.assert_allclose(got, right.numpy(), atol=1e-4)


def test_a_model_without_a_head_exports_the_predicted_noise_alone():
    torch.manual_seed(3)
    model = build(
        Architecture(height=16, width=16, channels=3, unshuffle=2, base=8, multipliers=(1, 2), head=False)
    ).eval()
    onnx_graph.round_to_fp16(model)
    content = onnx_graph.to_onnx(model, 3, 16, 16).SerializeToString()
    assert onnx_graph.verify(content, model, 3, 16, 16) <= 1e-4
    found = onnx_graph.denoiser(onnx_graph.session(content))(np.zeros((2, 3, 16, 16), np.float32), 9)
    assert found.eps_hat.shape == (2, 3, 16, 16) and list(found.present()) == ["eps_hat"]


@pytest.fixture(scope="module")
def three_maps():
    """(model, graph bytes): all three outputs, made for k = 50; the graph has no input k."""
    torch.manual_seed(3)
    unet = build(Architecture(16, 16, channels=1, unshuffle=2, base=8, multipliers=(1, 2)))
    model = OneTimestep(WithFeatures(unet), 50).eval()
    onnx_graph.round_to_fp16(model)
    graph = onnx_graph.to_onnx(model, 1, 16, 16)
    for taken in [taken for taken in graph.graph.input if taken.name == "k"]:
        graph.graph.input.remove(taken)
    return model, graph.SerializeToString()


def test_a_graph_for_one_timestep_gives_all_maps_by_their_names(three_maps):
    model, content = three_maps
    assert onnx_graph.verify(content, model, 1, 16, 16, k=50) <= 1e-4
    running = onnx_graph.session(content)
    assert [taken.name for taken in running.get_inputs()] == ["x_k"]
    x_k = torch.randn(3, 1, 16, 16)
    found = onnx_graph.denoiser(running)(x_k.numpy(), 50)
    with torch.no_grad():
        wanted = model(x_k, None)
    found, wanted = found.present(), wanted.present()
    assert list(found) == list(wanted) == ["eps_hat", "defect_logit", "feature_distance"]
    for name, right in wanted.items():
        np.testing.assert_allclose(found[name], right.numpy(), atol=1e-4)
    with pytest.raises(Refused, match="made for one timestep"):
        onnx_graph.verify(content, model, 1, 16, 16)


def test_a_graph_whose_outputs_are_not_those_of_the_model_is_refused(three_maps):
    model, content = three_maps
    with pytest.raises(Refused, match="outputs eps_hat, defect_logit, feature_distance: those of the model are"):
        onnx_graph.verify(content, OneTimestep(model.model.model, 50), 1, 16, 16, k=50)


def test_a_bundle_with_a_feature_map_says_its_weight(three_maps, held_back, tmp_path, monkeypatch):
    model, content = three_maps
    monkeypatch.setattr(bundle, "to_onnx", lambda *_: onnx.load_from_string(content))
    subject = bundle.Subject(model, 1, 16, 16, {"data": "noise"})
    detector = Detector(50, 0.03, 3, head_weight=0.25, feature_weight=0.5)
    bundle.write(subject, "tiny", detector, 8, held_back, tmp_path / "tiny")
    table = tomllib.loads((tmp_path / "tiny" / "bundle.toml").read_text())
    assert table["score"]["head_weight"] == 0.25 and table["score"]["feature_weight"] == 0.5
    golden = load_file(tmp_path / "tiny" / "golden.safetensors")
    denoise = onnx_graph.denoiser(onnx_graph.session(content))
    z = draw(golden["input"][0], golden["noise"][0], detector.sigma)
    for other, same in ((detector, True), (Detector(50, 0.03, 3, head_weight=0.25), False)):
        scores = certified(denoise, z, golden["inner_noise"][0], other)
        assert np.allclose(scores, golden["raw_score"][0], rtol=1e-4) == same


def test_a_feature_weight_that_the_model_cannot_serve_writes_no_bundle(subject, held_back, tmp_path):
    with pytest.raises(Refused, match="feature_weight = 0.5: the model has no output feature_distance"):
        bundle.write(subject, "tiny", Detector(50, 0.03, feature_weight=0.5), 8, held_back, tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()


def test_weights_are_stored_in_half_precision(exported):
    tiny_model, graph = exported
    sizes = {onnx.TensorProto.FLOAT16: 0, onnx.TensorProto.FLOAT: 0}
    for tensor in graph.graph.initializer:
        sizes[tensor.data_type] = sizes.get(tensor.data_type, 0) + int(np.prod(tensor.dims))
    weights = sum(p.numel() for p in tiny_model.parameters())
    assert sizes[onnx.TensorProto.FLOAT16] > 0.9 * weights
    assert sizes[onnx.TensorProto.FLOAT] < 0.1 * weights


def test_a_model_that_changed_after_export_is_refused(exported):
    model, graph = exported
    changed = copy.deepcopy(model)
    with torch.no_grad():
        (changed.unet.conv_out if hasattr(changed, "unet") else changed.out).bias += 2e-4
    with pytest.raises(Refused, match="differs from PyTorch"):
        onnx_graph.verify(graph.SerializeToString(), changed, 1, 16, 16)


def test_weights_beyond_half_precision_are_refused(tiny_model):
    with torch.no_grad():
        tiny_model.stem.weight[0, 0, 0, 0] = 1e5
    with pytest.raises(Refused, match="stem.weight"):
        onnx_graph.round_to_fp16(tiny_model)


def test_a_bundle_holds_what_the_agent_checks(subject, held_back, tmp_path):
    found = bundle.write(subject, "tiny", DETECTOR, 8, held_back, tmp_path / "tiny")
    table = tomllib.loads((tmp_path / "tiny" / "bundle.toml").read_text())
    for part in ("model", "golden"):
        content = (tmp_path / "tiny" / table[part]["file"]).read_bytes()
        assert bundle.sha256(content) == table[part]["sha256"]
    graph = onnx.load(tmp_path / "tiny" / "model.onnx").graph
    assert [taken.name for taken in graph.input] == ["x_k"]  # made for the k of the detector alone
    assert table["detector"] == {"k": 50, "sigma": 0.03, "draws": 8}
    assert table["score"] == {"scales": [1, 2, 4, 8], "filter_px": 3, "top_pixels": 1, "head_weight": 0.5}
    assert table["golden"]["raw_spread"] == found["raw_spread"] > 0
    golden = load_file(tmp_path / "tiny" / "golden.safetensors")
    assert {name: array.shape for name, array in golden.items()} == {
        "input": (3, 1, 16, 16),
        "noise": (3, 2, 1, 16, 16),
        "inner_noise": (3, 2, 1, 16, 16),
        "raw_score": (3, 2),
        "raw_empirical": (3,),
    }
    assert 0 <= golden["input"].min() and golden["input"].max() <= 1


def changed_by(denoise, change):
    """`denoise` with a change of each of its outputs."""
    return lambda x_k, k: Prediction(**{name: change(out) for name, out in denoise(x_k, k).present().items()})


def test_golden_scores_notice_another_model(exported):
    denoise = onnx_graph.denoiser(onnx_graph.session(exported[1].SerializeToString()))
    golden = bundle.golden_vectors(denoise, (1, 16, 16), DETECTOR)
    bundle.check_golden(denoise, golden, DETECTOR, 1e-7)
    with pytest.raises(Refused, match="golden"):
        bundle.check_golden(changed_by(denoise, lambda out: out + np.float32(1e-3)), golden, DETECTOR, 1e-7)


def test_scores_that_are_not_those_of_pytorch_are_refused(exported):
    model, graph = exported
    denoise = onnx_graph.denoiser(onnx_graph.session(graph.SerializeToString()))
    inputs = np.random.default_rng(4).random((100, 1, 16, 16), dtype=np.float32)
    assert bundle.check_scores(model, denoise, inputs, DETECTOR, spread=0.01) <= 1e-4
    with pytest.raises(Refused, match="in PyTorch"):
        bundle.check_scores(
            model, changed_by(denoise, lambda out: out * np.float32(1.01)), inputs, DETECTOR, spread=0.01
        )


def test_the_size_limit_holds(subject, held_back, tmp_path):
    with pytest.raises(Refused, match="too large"):
        bundle.write(subject, "tiny", DETECTOR, 8, held_back, tmp_path / "tiny", max_mib=0.01)
    assert not (tmp_path / "tiny").exists()


def test_raw_scores_are_those_of_single_draws(exported):
    denoise = onnx_graph.denoiser(onnx_graph.session(exported[1].SerializeToString()))
    x = np.random.default_rng(2).random((1, 1, 16, 16), dtype=np.float32)
    scores = bundle.raw_scores(denoise, x, DETECTOR, draws=10)
    noise, inner = np.random.default_rng(0).standard_normal((2, 10, 1, 16, 16), dtype=np.float32)
    alone = certified(denoise, draw(x[0], noise[9:], 0.03), inner[9:], DETECTOR)
    assert scores.shape == (1, 10)
    assert scores[0, 9] == pytest.approx(alone[0], rel=1e-4)
