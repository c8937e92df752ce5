"""Training: a resumed run equals one that never stopped, and what it writes can be read."""

import csv
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from certiscope_models import Refused, bundle, onnx_graph
from certiscope_models.__main__ import main
from certiscope_models.augment import Line
from certiscope_models.objective import Weights
from certiscope_models.provenance import provenance
from certiscope_models.recipe import Recipe
from certiscope_models.score import Detector
from certiscope_models.train import train
from certiscope_models.training import Training
from certiscope_models.training_data import aspect_of
from certiscope_models.unet import Architecture, sides

RECIPE = Recipe(
    steps=6,
    batch=4,
    lr=1e-3,
    k_max=100,
    seed=4,
    line=Line(flips=True, shift=1, exposure=0.1, turn=4.0),
    weights=Weights(consistency=0.7, heal=0.9),
)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(7):
        Image.fromarray(rng.integers(0, 255, (20, 24), dtype=np.uint8)).save(folder / f"{n}.png")
    return folder


def test_three_steps_and_a_resume_equal_six_steps(pictures, tmp_path, tiny):
    straight = train(pictures, pictures, tmp_path / "straight", tiny, RECIPE, every=2)
    train(pictures, pictures, tmp_path / "halves", tiny, RECIPE, stop_after=3, every=2)
    torch.rand(100)  # the global random state must not matter
    resumed = train(pictures, pictures, tmp_path / "halves", tiny, RECIPE, resume=True, every=2)
    assert straight.done == resumed.done == 6
    for name, weight in straight.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
        assert torch.equal(straight.ema[name], resumed.ema[name]), name


def test_a_run_leaves_a_log_sample_sheets_and_its_provenance(pictures, tmp_path, tiny):
    train(pictures, pictures, tmp_path / "run", tiny, RECIPE, every=3)
    rows = list(csv.DictReader(open(tmp_path / "run" / "losses.csv")))
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert all(float(row["held_back_loss"]) > 0 for row in rows)
    with Image.open(tmp_path / "run" / "samples" / "000006.png") as sheet:
        assert sheet.size == (4 * 16, 8 * 16)  # input | x_k | x0_hat | defect map, eight rows
    training = Training.load(tmp_path / "run" / "checkpoint.pt")
    found = provenance(training, training.ema_model())
    assert (found["steps"], found["images"], found["groups"], found["seed"]) == (6, 7, 7, 4)
    assert "--height 16 --width 16" in found["command"] and found["command"].endswith("--flips")
    assert found["trained_on"] == "CPU" and found["minutes"] >= 0


def test_a_wide_model_trains_exports_and_keeps_its_golden_scores(pictures, tmp_path):
    wide = Architecture(height=16, width=32, channels=1, base=8, multipliers=(1, 2))
    train(pictures, pictures, tmp_path / "run", wide, RECIPE, every=3)
    with Image.open(tmp_path / "run" / "samples" / "000006.png") as sheet:
        assert sheet.size == (4 * 32, 8 * 16)
    training = Training.load(tmp_path / "run" / "checkpoint.pt")
    assert training.architecture == wide
    subject = bundle.Subject(training.ema_model(), 1, 16, 32, provenance(training, training.model))
    detector = Detector(50, 0.03, 3, head_weight=0.5)
    bundle.write(subject, "wide", detector, 8, pictures, tmp_path / "bundle")
    table = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    assert (table["input"]["height"], table["input"]["width"]) == (16, 32)
    golden = load_file(tmp_path / "bundle" / "golden.safetensors")
    assert golden["input"].shape == (3, 1, 16, 32)
    denoise = onnx_graph.denoiser(onnx_graph.session(str(tmp_path / "bundle" / "model.onnx")))
    bundle.check_golden(denoise, golden, detector, 1e-4 * table["golden"]["raw_spread"])


def test_a_size_keeps_the_aspect_ratio_of_the_pictures(pictures, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    for n in range(3):  # as a camera on its side; of all pictures that can be read the middle one counts
        Image.fromarray(rng.integers(0, 255, (60, 20), dtype=np.uint8)).save(tmp_path / f"{n}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for n in range(2):
        Image.fromarray(rng.integers(0, 255, (20, 20), dtype=np.uint8)).save(tmp_path / f"square-{n}.png")
    assert aspect_of(tmp_path) == pytest.approx(24 / 20)  # 7 of the fixture's 24x20, 3 and 2 of these
    assert sides(128, 2.5, 16) == (80, 208) and sides(128, 1.0, 16) == (128, 128)
    assert sides(128, 1.25, 16) == (112, 144) and sides(128, 0.4, 16) == (208, 80)
    assert sides(16, 40.0, 8) == (8, 104)  # never 0
    words = "--steps 1 --batch 2 --base 8 --multipliers 1,2 --size 40 --threads 1"
    monkeypatch.setattr("sys.argv", f"x train --data {pictures} --out {tmp_path / 'run'} {words}".split())
    main()
    assert Training.load(tmp_path / "run" / "checkpoint.pt").architecture == Architecture(40, 48, 1, 2, 8, (1, 2))


def test_a_height_without_a_width_is_refused(pictures, tmp_path, monkeypatch):
    words = "--steps 1 --height 16"
    monkeypatch.setattr("sys.argv", f"x train --data {pictures} --out {tmp_path / 'run'} {words}".split())
    with pytest.raises(SystemExit, match="train.height = 16, train.width = None: give both"):
        main()


def test_a_checkpoint_of_a_square_input_from_an_earlier_version_loads(pictures, tmp_path, tiny):
    train(pictures, pictures, tmp_path / "run", tiny, RECIPE, stop_after=3, every=3)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    state["architecture"]["size"] = state["architecture"].pop("height")
    del state["architecture"]["width"]
    torch.save(state, checkpoint)
    assert Training.load(checkpoint).architecture == tiny
    assert train(pictures, pictures, tmp_path / "run", None, RECIPE, resume=True).done == 6


def test_training_lowers_the_loss(pictures, tmp_path, tiny):
    recipe = Recipe(steps=60, batch=8, lr=3e-3, k_max=100, seed=1)
    train(pictures, pictures, tmp_path / "run", tiny, recipe, every=20)
    rows = list(csv.DictReader(open(tmp_path / "run" / "losses.csv")))
    assert float(rows[-1]["loss"]) < 0.95 * float(rows[0]["loss"])


def test_a_run_is_not_overwritten_and_not_resumed_from_nothing(pictures, tmp_path, tiny):
    train(pictures, None, tmp_path / "run", tiny, Recipe(steps=1, batch=2))
    with pytest.raises(Refused, match="holds a checkpoint"):
        train(pictures, None, tmp_path / "run", tiny, RECIPE)
    with pytest.raises(Refused, match="not there"):
        train(pictures, None, tmp_path / "other", tiny, RECIPE, resume=True)


def test_a_run_begins_with_the_averaged_weights_of_another_one(pictures, tmp_path, tiny):
    earlier = train(pictures, pictures, tmp_path / "earlier", tiny, RECIPE, every=3)
    still = Recipe(**{**vars(RECIPE), "steps": 1, "lr": 0.0, "seed": 9})
    other = Architecture(height=32, width=32, channels=1)
    later = train(pictures, None, tmp_path / "later", other, still, begin=tmp_path / "earlier", every=1)
    for name, weight in earlier.ema.items():
        torch.testing.assert_close(weight, later.ema[name], msg=name)
    read = Training.load(tmp_path / "later" / "checkpoint.pt")
    found = provenance(read, read.ema_model())
    assert found["begun_with"] == provenance(earlier, earlier.ema_model())["command"]
    assert "begun_with" not in provenance(earlier, earlier.ema_model())


def test_the_command_in_the_provenance_trains_the_same_model(pictures, tmp_path, tiny, monkeypatch):
    """What a model card says must be enough to train again: same pictures, same command, same weights."""
    torch.set_num_threads(1)  # as the command below: sums over several threads come in another order
    first = train(pictures, pictures, tmp_path / "run", tiny, RECIPE, every=3)
    words = provenance(first, first.ema_model())["command"].split()[3:]
    places = ["--data", str(pictures), "--held-back", str(pictures), "--out", str(tmp_path / "again"), "--threads", "1"]
    monkeypatch.setattr("sys.argv", ["certiscope_models", "train", *words[1:], *places])
    main()
    again = Training.load(tmp_path / "again" / "checkpoint.pt")
    assert again.recipe == first.recipe and again.architecture == first.architecture
    for name, weight in first.ema.items():
        torch.testing.assert_close(weight, again.ema[name], msg=name)
