"""Training: a resumed run equals one that never stopped, and what it writes can be read."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from certiscope_models import Refused
from certiscope_models.augment import Line
from certiscope_models.objective import Weights
from certiscope_models.provenance import provenance
from certiscope_models.recipe import Recipe
from certiscope_models.train import train
from certiscope_models.training import Training
from certiscope_models.unet import Architecture

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
    assert "--size 16" in found["command"] and found["command"].endswith("--flips")
    assert found["trained_on"] == "CPU" and found["minutes"] >= 0


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
    other = Architecture(size=32, channels=1)
    later = train(pictures, None, tmp_path / "later", other, still, begin=tmp_path / "earlier", every=1)
    for name, weight in earlier.ema.items():
        torch.testing.assert_close(weight, later.ema[name], msg=name)
    read = Training.load(tmp_path / "later" / "checkpoint.pt")
    found = provenance(read, read.ema_model())
    assert found["begun_with"] == provenance(earlier, earlier.ema_model())["command"]
    assert "begun_with" not in provenance(earlier, earlier.ema_model())


def test_the_command_in_the_provenance_trains_the_same_model(pictures, tmp_path, tiny, monkeypatch):
    """What a model card says must be enough to train again: same pictures, same command, same weights."""
    from certiscope_models.__main__ import main

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
