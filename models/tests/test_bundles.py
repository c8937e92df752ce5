"""Every shipped bundle: whole, small enough, and scoring as it did when it was written.

Once `certiscope calibrate` has completed a bundle, its calibrated golden scores come from Rust; here they are compared
with those of Python. The scores of the bundle in tests/fixtures/three-maps are compared too.
"""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from certiscope_models.bundle import FORMAT, sha256
from certiscope_models.onnx_graph import denoiser, session
from certiscope_models.score_numpy import Detector, certified, draw, empirical

BUNDLES = sorted(p.parent for p in (Path(__file__).parents[1] / "bundles").glob("*/bundle.toml"))


THREE_MAPS = Path(__file__).parents[2] / "tests" / "fixtures" / "three-maps"


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda folder: folder.name)
def shipped(request):
    return opened(request.param)


@pytest.fixture(scope="module", params=[*BUNDLES, THREE_MAPS], ids=lambda folder: folder.name)
def scoring(request):
    return opened(request.param)


def opened(folder):
    table = tomllib.loads((folder / "bundle.toml").read_text())
    detector = Detector(
        table["detector"]["k"],
        table["detector"]["sigma"],
        table["score"]["filter_px"],
        tuple(table["score"]["scales"]),
        table["score"]["top_pixels"],
        table["score"].get("head_weight", 0.0),
        table["score"].get("feature_weight", 0.0),
    )
    denoise = denoiser(session(str(folder / table["model"]["file"]), threads=1))
    return folder, table, detector, denoise, load_file(folder / table["golden"]["file"])


def test_files_are_those_the_bundle_names(shipped):
    folder, table, *_ = shipped
    assert table["format"] == FORMAT and table["name"] == folder.name
    for part in ("model", "golden"):
        content = (folder / table[part]["file"]).read_bytes()
        assert sha256(content) == table[part]["sha256"], part
    assert (folder / table["model"]["file"]).stat().st_size <= 6 * 2**20
    assert (folder / "README.md").exists()


def test_golden_shapes_and_range(shipped):
    _, table, _, _, golden = shipped
    shape = tuple(table["input"][side] for side in ("channels", "height", "width"))
    m, d = golden["raw_score"].shape
    assert golden["input"].shape == (m, *shape)
    assert golden["noise"].shape == golden["inner_noise"].shape == (m, d, *shape)
    assert golden["input"].min() >= 0 and golden["input"].max() <= 1


def scores(shipped, maps=None):
    """Certified [m, d] and empirical [m] scores of the golden inputs, one draw at a time."""
    _, _, detector, denoise, golden = shipped
    maps = maps or {}
    of_draws = {name: array for name, array in maps.items() if not name.startswith("empirical_")}
    of_frames = {name.removeprefix("empirical_"): maps[name] for name in maps if name.startswith("empirical_")}
    pairs = list(zip(golden["input"], golden["noise"], golden["inner_noise"]))

    def alone(x, noise, inner, n):
        return certified(denoise, draw(x, noise[n : n + 1], detector.sigma), inner[n : n + 1], detector, of_draws)[0]

    by_draw = [[alone(x, noise, inner, n) for n in range(len(noise))] for x, noise, inner in pairs]
    by_frame = [empirical(denoise, x, noise, inner, detector, of_frames) for x, noise, inner in pairs]
    return np.array(by_draw), np.array(by_frame)


def assert_reproduced(computed, stored, spread, table):
    """Within the tolerance: a share of the spread, or of the stored score where that is larger (as in Rust)."""
    allowed = table["golden"]["tolerance"]["fp32"] * np.maximum(spread, np.abs(stored))
    assert (np.abs(computed - stored) <= allowed).all(), (computed, stored)


def test_raw_golden_scores_are_reproduced(scoring):
    _, table, _, _, golden = scoring
    by_draw, by_frame = scores(scoring)
    assert_reproduced(by_draw, golden["raw_score"], table["golden"]["raw_spread"], table)
    assert_reproduced(by_frame, golden["raw_empirical"], table["golden"]["raw_spread"], table)


def test_calibrated_golden_scores_of_rust_are_reproduced(scoring):
    folder, table, _, _, golden = scoring
    if "calibration" not in table:
        pytest.skip(f"{folder.name} is not calibrated yet")
    content = (folder / table["calibration"]["maps"]).read_bytes()
    assert sha256(content) == table["calibration"]["maps_sha256"]
    maps = load_file(folder / table["calibration"]["maps"])
    assert (maps["std"] > 0).all() and (maps["empirical_std"] > 0).all()
    by_draw, by_frame = scores(scoring, maps)
    assert_reproduced(by_draw, golden["score"], table["calibration"]["score_spread"], table)
    assert_reproduced(by_frame, golden["empirical"], table["calibration"]["empirical_spread"], table)


def test_there_are_bundles_to_test():
    assert {folder.name for folder in BUNDLES} == {"demo-line", "magnetic-tile"}
