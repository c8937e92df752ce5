"""Ablation tables: one row from training to figures, what is refused, and the committed tables."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from certiscope_models import Refused, ablation
from certiscope_models.__main__ import main
from certiscope_models.training import Training

TABLES = sorted((Path(__file__).parents[1] / "ablation").glob("*.toml"))
TINY = """
[train]
size = 16
base = 8
multipliers = [1, 2]
no-attention = true
steps = 2
batch = 2
[run.base]
[run.no-head]
no-head = true
[run.later]
begin-with = "base"
lr = 0.0001
seed = 5
[measure]
k = 50
draws = 12
alpha = 0.4
[[row]]
name = "base"
run = "base"
head-weight = 0.8
[[row]]
name = "residual alone"
run = "no-head"
training-maps = false
[[row]]
name = "later"
run = "later"
head-weight = 1.0
k = 25
sigma = 0.03
"""


def pictures(folder, count, rng, bright=0):
    folder.mkdir(parents=True)
    for n in range(count):
        pixels = rng.integers(0, 120, (24, 24), dtype=np.uint8)
        pixels[8:16, 8:16] += bright
        Image.fromarray(pixels).save(folder / f"{n}.png")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pictures(tmp_path / "fit", 5, rng)
    pictures(tmp_path / "held-back", 4, rng)
    pictures(tmp_path / "test" / "good", 4, rng)
    pictures(tmp_path / "test" / "bright", 3, rng, bright=130)
    pictures(tmp_path / "test" / "faint", 2, rng, bright=1)
    (tmp_path / "table.toml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ablate(monkeypatch, words=""):
    line = f"ablate --table table.toml --fit fit --held-back held-back --test test --out out --threads 1 {words}"
    monkeypatch.setattr("sys.argv", ["certiscope-models", *line.split()])
    main()


def test_one_command_makes_the_rows_of_a_table(folders, monkeypatch, capsys):
    ablate(monkeypatch)
    printed = capsys.readouterr().out.splitlines()
    assert printed == (folders / "out" / "table.md").read_text().splitlines() and len(printed) == 2 + 3
    assert len({line.count("|") for line in printed}) == 1
    rows = [json.loads(line) for line in (folders / "out" / "rows.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == ["base", "residual alone", "later"]
    for row in rows:
        assert set(row["kinds"]) == {"bright", "faint"} and row["steps"] == 2
        for found in (*row["held back"].values(), *row["test"].values(), *row["kinds"].values()):
            assert 0.0 <= found["low"] <= found["value"] <= found["high"] <= 1.0
        assert row["radius"] == pytest.approx(0.2 / (256 * 256 * 3) ** 0.5 * 16)
    assert "0.8, 5, 1" in printed[2] and "without training maps" in printed[3] and "k = 25" in printed[4]
    assert Training.load(folders / "out" / "later" / "checkpoint.pt").begun.startswith(
        "python -m certiscope_models train"
    )


def test_a_row_gives_the_same_figures_again_and_does_not_train_again(folders, monkeypatch):
    ablate(monkeypatch, "--row base")
    before = (folders / "out" / "base" / "checkpoint.pt").read_bytes()
    ablate(monkeypatch, "--row base")
    first, again = (folders / "out" / "rows.jsonl").read_text().splitlines()
    assert first == again
    assert (folders / "out" / "base" / "checkpoint.pt").read_bytes() == before
    with pytest.raises(SystemExit, match="other settings"):
        ablate(monkeypatch, "--row base --steps 3")


def test_a_trial_is_shorter_and_says_so(folders, monkeypatch, capsys):
    ablate(monkeypatch, "--row later --steps 1")
    assert "later: run later, 1 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, words",
    [
        (("head-weight = 0.8", "head-wait = 0.8"), "head_wait: unknown"),
        (('run = "base"', 'run = "basis"'), "run 'basis': not defined"),
        (("steps = 2", "stepps = 2"), "--steps"),
        (("batch = 2", "batch = 2\ncolour = 3"), "--colour"),
        (("sigma = 0.03", "sigma = 0.3"), "detector.sigma = 0.3"),
        (("training-maps = false", "head-weight = 0.5"), "no head"),
        (("k = 50", ""), "k: missing"),
        (("[train]", "[train"), "cannot be read"),
    ],
)
def test_a_wrong_table_is_refused_before_anything_is_trained(folders, change, words):
    (folders / "table.toml").write_text(TINY.replace(*change))
    with pytest.raises(Refused, match=words):
        ablation.read(folders / "table.toml")


def test_an_unknown_row_or_a_test_folder_without_defects_is_refused(folders, monkeypatch):
    with pytest.raises(SystemExit, match="'bass': not in table.toml; base, residual alone, later"):
        ablate(monkeypatch, "--row bass")
    (folders / "test" / "good").rename(folders / "test" / "other")
    with pytest.raises(SystemExit, match="no good/"):
        ablate(monkeypatch)
    assert not (folders / "out").exists()


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_the_committed_tables_can_be_read(path):
    table = ablation.read(path)
    assert len({row.name for row in table.rows}) == len(table.rows) >= 10


def test_the_run_that_ships_has_the_settings_of_its_bundle():
    """Run G1 of full.toml, and the command in the bundle's own provenance."""
    import tomllib

    bundle = Path(__file__).parents[1] / "bundles" / "magnetic-tile" / "bundle.toml"
    shipped = tomllib.loads(bundle.read_text())["provenance"]["command"].split()[4:]
    table = ablation.read(next(path for path in TABLES if path.stem == "full"))
    assert ablation.settings_of(table.runs["G1"][1]) == ablation.settings_of(shipped)


def test_a_table_that_nobody_reads_is_finished_all_the_same(folders, monkeypatch):
    """`ablate | head -n 1`: the rows are in the files."""
    line = "ablate --table table.toml --fit fit --held-back held-back --test test --out out --threads 1 --row base"
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr("sys.argv", ["certiscope-models", *line.split()])
    with open(write, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        main()
        with contextlib.suppress(OSError):
            stdout.close()
    assert len((folders / "out" / "rows.jsonl").read_text().splitlines()) == 1
    assert len((folders / "out" / "table.md").read_text().splitlines()) == 3


def test_masks_are_no_kind_and_good_parts_have_one_folder(tmp_path, capsys):
    for name in ("good/1.png", "crack/1.png", "ground_truth/crack/1.png", ".hidden/1.png", "beside.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert ablation.kinds_of(tmp_path) == {
        "crack": [tmp_path / "crack" / "1.png"],
        "good": [tmp_path / "good" / "1.png"],
    }
    assert f"{tmp_path}: 1 picture" in capsys.readouterr().err
    (tmp_path / "OK").mkdir()
    (tmp_path / "OK" / "1.png").touch()
    with pytest.raises(Refused, match="holds good parts too"):
        ablation.kinds_of(tmp_path)
