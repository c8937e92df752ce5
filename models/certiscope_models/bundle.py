"""Write a bundle folder: model.onnx, golden.safetensors, bundle.toml. `certiscope calibrate` completes it.

Guarantees: nothing is written unless the graph equals the PyTorch model (also in the scores of held-back pictures), is
small enough, and gives the same golden scores at two batch sizes. The golden inputs are synthetic textures, never
photographs.
Leaves out: training maps and threshold ([calibration]), which only the Rust tool makes.
Costs: SPREAD_DRAWS model calls for each held-back picture, for `raw_spread`.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import tomli_w
import torch
from safetensors.numpy import save
from tqdm import tqdm

from . import Refused, schedule
from .onnx_graph import denoiser, for_timestep, round_to_fp16, session, to_onnx, verify
from .picture_files import picture_files
from .picture_set import PictureSet
from .prediction import Prediction
from .score_numpy import certified, draw, empirical

FORMAT = 1
GOLDEN_INPUTS, GOLDEN_DRAWS = 3, 2
SPREAD_DRAWS = 16
COMPARED = 100  # held-back pictures whose scores are compared with those of PyTorch
TOLERANCE = {"fp32": 1e-4, "tf32": 2e-2, "fp16": 5e-2}  # shares of the spread (of the score, where larger)


@dataclass(frozen=True)
class Subject:
    """What is exported: the model, its input shape, and where it came from (the [provenance] table)."""

    model: object
    channels: int
    height: int
    width: int
    provenance: dict

    @property
    def shape(self):
        return self.channels, self.height, self.width


def smooth_textures(shape, rng):
    """GOLDEN_INPUTS synthetic pictures [m, C, H, W] float32 in [0.1, 0.9]: low-passed noise, from coarse to fine."""
    m = GOLDEN_INPUTS
    channels, height, width = shape
    pass_rows, pass_columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    frequency = np.hypot(pass_rows, pass_columns)
    noise = rng.standard_normal((m, channels, height, width))
    cut_off = np.array([0.02, 0.05, 0.1])[:, None, None, None]
    smooth = np.fft.ifft2(np.fft.fft2(noise) * np.exp(-((frequency / cut_off) ** 2))).real
    low, high = (f(smooth, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return (0.1 + 0.8 * (smooth - low) / (high - low)).astype(np.float32)


def golden_vectors(denoise, shape, detector, seed=0):
    """The tensors of golden.safetensors: inputs, both noises, and the raw scores that they give."""
    rng = np.random.default_rng(seed)
    x = smooth_textures(shape, rng)
    noise, inner = (rng.standard_normal((GOLDEN_INPUTS, GOLDEN_DRAWS, *shape), dtype=np.float32) for _ in range(2))
    z = draw(x[:, None], noise, detector.sigma)
    return {
        "input": x,
        "noise": noise,
        "inner_noise": inner,
        "raw_score": np.stack([certified(denoise, *pair, detector) for pair in zip(z, inner)]).astype(np.float32),
        "raw_empirical": np.array(
            [empirical(denoise, *row, detector) for row in zip(x, noise, inner)], dtype=np.float32
        ),
    }


def raw_scores(denoise, inputs, detector, draws, seed=0, progress=tqdm):
    """Raw certified scores [N, draws] of the pictures `inputs` [N, C, H, W]."""
    rng = np.random.default_rng(seed)
    rows = []
    for x in progress(inputs, desc="scoring held-back pictures", unit="picture"):
        noise, inner = rng.standard_normal((2, draws, *x.shape), dtype=np.float32)
        z = draw(x, noise, detector.sigma)
        rows.append(
            np.concatenate([certified(denoise, z[i : i + 8], inner[i : i + 8], detector) for i in range(0, draws, 8)])
        )
    return np.stack(rows)


def torch_denoiser(model):
    """The `denoise` function of `score_numpy` for a PyTorch model."""

    def denoise(x_k, k):
        with torch.no_grad():
            found = model(torch.from_numpy(x_k), torch.full((len(x_k),), k))
        return Prediction(**{name: out.numpy() for name, out in found.present().items()})

    return denoise


def check_scores(model, denoise, inputs, detector, spread, seed=0):
    """The largest difference between a score by `denoise` and by PyTorch with the same noise.

    It is a share of `spread`, or of the score where that is larger; one above the tolerance of fp32 is refused.
    """
    rng = np.random.default_rng(seed)
    worst = 0.0
    for x in inputs[:COMPARED]:
        noise, inner = rng.standard_normal((2, 1, *x.shape), dtype=np.float32)
        z = draw(x, noise, detector.sigma)
        got, wanted = (certified(f, z, inner, detector)[0] for f in (denoise, torch_denoiser(model)))
        difference = abs(got - wanted) / max(spread, abs(wanted))
        if not difference <= TOLERANCE["fp32"]:
            raise Refused(
                f"onnx: a picture scores {got}, {wanted} in PyTorch: {difference:.1e} of the spread; "
                f"at most {TOLERANCE['fp32']:.0e} is allowed"
            )
        worst = max(worst, float(difference))
    return worst


def check_golden(denoise, golden, detector, allowed):
    """Refuse golden scores that change by more than `allowed` when each draw is computed alone."""
    for x, noise, inner, wanted in zip(*(golden[name] for name in ("input", "noise", "inner_noise", "raw_score"))):
        for n in range(GOLDEN_DRAWS):
            got = certified(denoise, draw(x, noise[n : n + 1], detector.sigma), inner[n : n + 1], detector)[0]
            if not abs(got - wanted[n]) <= allowed:
                raise Refused(
                    f"golden: score {got} alone, {wanted[n]} in a batch: they differ too much; {allowed:.1e} is allowed"
                )


def score_table(detector):
    """The table [score] of bundle.toml."""
    return {
        "scales": list(detector.scales),
        "filter_px": detector.filter_px,
        "top_pixels": detector.top_pixels,
        "head_weight": detector.head_weight,
        # left out where it is 0, so that programs that do not know it can read the bundle
        **({"feature_weight": detector.feature_weight} if detector.feature_weight else {}),
    }


def manifest(name, content, vectors, shape, detector, draws, spread, provenance, version=1, storage="fp16"):
    """The tables of bundle.toml before a calibration, for the graph `content` and the golden tensors `vectors`.

    `shape` is (C, H, W) of the input; `spread` is `raw_spread`.
    """
    channels, height, width = shape
    return {
        "format": FORMAT,
        "name": name,
        "version": version,
        "model": {"file": "model.onnx", "sha256": sha256(content), "storage": storage},
        "input": {"channels": channels, "height": height, "width": width, "range": [0.0, 1.0]},
        "schedule": {
            "kind": "linear",
            "steps": schedule.STEPS,
            "beta_first": schedule.BETA_FIRST,
            "beta_last": schedule.BETA_LAST,
        },
        "detector": {"k": detector.k, "sigma": detector.sigma, "draws": draws},
        "score": score_table(detector),
        "golden": {
            "file": "golden.safetensors",
            "sha256": sha256(vectors),
            "raw_spread": spread,
            "tolerance": TOLERANCE,
        },
        "provenance": provenance,
    }


def write(subject, name, detector, draws, held_back, out, max_mib=6.0, version=1, read=None, progress=tqdm):
    """Write the bundle into the folder `out`, which may hold an earlier one; returns what the command prints.

    `read` is the set that reads the held-back pictures; its full scale becomes that of the bundle.
    `progress` shows how far the slowest part is, as tqdm does.
    """
    read = read or PictureSet()
    inputs = read.inputs(picture_files(held_back), *subject.shape)
    read.require_one_kind()
    model = for_timestep(subject.model, detector.k)
    round_to_fp16(model)
    graph = to_onnx(model, *subject.shape)
    content = graph.SerializeToString()
    if len(content) > max_mib * 2**20:
        raise Refused(f"model.onnx: {len(content) / 2**20:.1f} MiB: too large; up to {max_mib} MiB is allowed")
    difference = verify(content, model, *subject.shape, detector.k)

    denoise = denoiser(session(content))
    spread = float(
        np.median(raw_scores(denoise, inputs, detector, min(draws, SPREAD_DRAWS), progress=progress), axis=1).std()
    )
    if not spread > 0.0:
        raise Refused(
            f"golden.raw_spread = {spread}: all held-back pictures score the same; pictures that differ are needed"
        )
    scores_differ = check_scores(model, denoise, inputs, detector, spread)
    golden = golden_vectors(denoise, subject.shape, detector)
    check_golden(denoise, golden, detector, TOLERANCE["fp32"] * spread)
    vectors = save(golden)

    table = manifest(
        name, content, vectors, subject.shape, detector, draws, spread, subject.provenance, version=version
    )
    if read.full_scale not in (None, 65535):
        table["input"]["full_scale"] = read.full_scale
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("maps.*"):  # the maps of an earlier model do not fit this one
        stale.unlink()
    (out / "model.onnx").write_bytes(content)
    (out / "golden.safetensors").write_bytes(vectors)
    (out / "bundle.toml").write_text(tomli_w.dumps(table))
    return {
        "nodes": len(graph.graph.node),
        "mib": len(content) / 2**20,
        "difference": difference,
        "raw_spread": spread,
        "scores_differ": scores_differ,
        "compared": len(inputs[:COMPARED]),
    }


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def today():
    return datetime.now(UTC).date().isoformat()
